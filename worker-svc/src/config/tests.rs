use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    Config::load(Some(file.path()))
}

#[test]
fn what_cannot_work_is_refused_before_a_port_is_bound() {
    for (text, error) in [
        ("[telemetry]\notlp_endpoint = \"localhost:4317\"", "telemetry.otlp_endpoint is `localhost:4317`"),
        ("[telemetry]\notlp_endpoint = \"https://c:4317\"", "without TLS"),
        ("[grpc]\nlisten = \"127.0.0.1:7399\"\n[http]\nlisten = \"127.0.0.1:7399\"", "a port of its own"),
        ("[archive]\nblobs_url = \"./data/blobs\"", "archive.blobs_url is `./data/blobs`: "),
    ] {
        let why = load(text).expect_err(error).to_string();
        assert!(why.contains(error), "{why}");
    }
}

#[test]
fn files_that_a_worker_needs_are_looked_at_with_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let (keys, broken) = (folder.path().join("keys"), folder.path().join("broken"));
    let why = |change: &dyn Fn(&mut Config)| {
        let mut config = load("").expect("the defaults");
        change(&mut config);
        config.check_files().map_err(|error| error.to_string())
    };
    let with_keys = |file: &Path| why(&|config| config.credentials.key_file = file.into());
    let missing = with_keys(&keys).expect_err("missing");
    assert!(missing.starts_with("credentials.key_file: ") && missing.contains("keys create"), "{missing}");
    assert_eq!(missing.matches("No such file").count(), 1, "{missing}");
    key_file::create(&keys).expect("a key file");
    assert_eq!(with_keys(&keys), Ok(()));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).expect("a mode");
    let exposed = with_keys(&keys).expect_err("exposed");
    assert!(exposed.contains("chmod 600"), "{exposed}");
    fs::write(&broken, "nothing").expect("written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o600)).expect("a mode");
    assert!(with_keys(&broken).expect_err("broken").contains("line 1"));

    let no_ca = why(&|config| config.sources.ca_file = folder.path().join("none")).expect_err("no file");
    assert!(no_ca.starts_with("sources.ca_file /") && no_ca.contains("PEM"), "{no_ca}");
    assert!(why(&|config| config.sources.ca_file = broken.clone()).is_err(), "no certificate in it");
    let no_root =
        why(&|config| config.sources.folder_root = folder.path().join("none")).expect_err("no folder");
    assert!(no_root.starts_with("sources.folder_root /"), "{no_root}");
    assert_eq!(why(&|config| config.sources.folder_root = folder.path().into()), Ok(()));
}

#[test]
fn what_is_printed_is_read_again_and_holds_no_secret() {
    let config = load(
        "[scheduler]\nurl = \"http://u:s3cret@scheduler:7310\"\n\
         [archive]\ndatabase_url = \"postgres://docket:s3cret@db/docket?sslmode=require\"\n\
         [telemetry]\notlp_endpoint = \"http://u:s3cret@collector:4317\"\n\
         [oauth.google]\nclient_id = \"c\"\nclient_secret = \"s3cret\"",
    )
    .expect("valid");
    let printed = settings::printed(&config).expect("TOML");
    assert!(!printed.contains("s3cret"), "{printed}");
    assert!(printed.contains("client_secret = \"[redacted]\""), "{printed}");
    let again = load(&printed).expect("what was printed");
    assert_eq!(settings::printed(&again).expect("TOML"), printed);
}
