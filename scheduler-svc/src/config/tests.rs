use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    Config::load(Some(file.path()))
}

#[test]
fn h_a_namespace_takes_what_it_leaves_out_from_all() {
    let config = load("[history]\ndecisions = 20\n[history.namespaces.shop]\nruns = 50\n").expect("valid");
    let own: Vec<_> = config.history.of_namespaces().collect();
    assert_eq!(own, [("shop".into(), Kept { runs: 50, failed_runs: 10, decisions: 20 })]);
    assert_eq!(load("").expect("the defaults").history.kept(), Kept::default());
}

#[test]
fn o10_an_ack_that_the_store_cannot_give_is_refused() {
    for (url, ack, error) in [
        ("embedded:x", "replica", "only Redis has replicas"),
        ("memory:", "replica", "only Redis has replicas"),
        ("memory:", "disk", "has none"),
    ] {
        let why = load(&format!("[store]\nurl = \"{url}\"\nack = \"{ack}\"")).expect_err(url).to_string();
        assert!(why.starts_with("store.ack is ") && why.contains(error), "{why}");
    }
    for (url, ack) in [("embedded:x", "disk"), ("redis://x", "replica"), ("redis://x", "disk")] {
        load(&format!("[store]\nurl = \"{url}\"\nack = \"{ack}\"")).expect(url);
    }
    assert!(load("[store]\nack = \"paper\"").expect_err("no such").to_string().contains("ack"));
}

#[test]
fn h_sizes_of_history_have_their_bounds() {
    for (text, error) in [
        ("[history]\nruns = 0", "history.runs is 0; it must be 1 to 100"),
        ("[history]\nbytes_max = 5", "history.bytes_max is 5; it must be 1048576 to 1099511627776"),
        (
            "[history.namespaces.shop]\nfailed_runs = 101",
            "history.namespaces.shop.failed_runs is 101; it must be 1 to 100",
        ),
    ] {
        assert_eq!(load(text).expect_err(text).to_string(), error);
    }
    assert!(load("[history.namespaces.shop]\nrun = 5").is_err(), "a key that does not exist");
}

#[test]
fn a_log_level_that_would_silence_the_log_is_refused() {
    for level in ["loud", "info,scheduler_svc", "info,scheduler_svc=loud"] {
        let why = load(&format!("[log]\nlevel = \"{level}\"")).expect_err(level).to_string();
        assert!(why.starts_with("log.level"), "{why}");
    }
    load("[log]\nlevel = \"info,scheduler_svc=debug\"").expect("valid");
}

#[test]
fn what_cannot_work_is_refused_before_a_port_is_bound() {
    for (text, error) in [
        ("[telemetry]\notlp_endpoint = \"localhost:4317\"", "telemetry.otlp_endpoint is `localhost:4317`"),
        ("[telemetry]\notlp_endpoint = \"https://c:4317\"", "without TLS"),
        ("[grpc]\nlisten = \"127.0.0.1:7399\"\n[http]\nlisten = \"127.0.0.1:7399\"", "a port of its own"),
    ] {
        let why = load(text).expect_err(error).to_string();
        assert!(why.contains(error), "{why}");
    }
}

#[test]
fn what_is_printed_is_read_again_and_holds_no_secret() {
    let config = load(
        "[store]\nurl = \"rediss://docket:s3cret@redis:6379\"\n[history.namespaces.shop]\nruns = 50\n\
         [telemetry]\notlp_endpoint = \"http://u:s3cret@collector:4317\"",
    )
    .expect("valid");
    let printed = settings::printed(&config).expect("TOML");
    assert!(!printed.contains("s3cret"), "{printed}");
    assert!(printed.contains("rediss://[redacted]@redis:6379"), "{printed}");
    let again = load(&printed).expect("what was printed");
    assert_eq!(settings::printed(&again).expect("TOML"), printed);
}
