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
