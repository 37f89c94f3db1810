//! Short runs of the drill: two schedulers, workers and Redis under load fail in every way (as in `make chaos`), or are
//! restarted one after the other; then everything is compared with what was acknowledged.

#[path = "../examples/chaos/drill/mod.rs"]
mod drill;
mod harness;

use std::{path::PathBuf, sync::Mutex};

use drill::{Options, Play};

async fn passes(options: Options) {
    let told = Mutex::new(String::new());
    let say = |line: &str| {
        let mut told = told.lock().expect("a line");
        told.push_str(line);
        told.push('\n');
    };
    let report = drill::run(options, say).await;
    let told = told.lock().expect("all lines").clone();
    assert!(report.is_ok_and(|report| report.violations.is_empty()), "\n{told}");
    assert!(told.contains("nothing lost, nothing doubled"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_doubled_while_everything_fails() {
    passes(Options { seed: 6, play: Play::Chaos(12) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_and_doubles_nothing() {
    passes(Options { seed: 7, play: Play::Rolling(None) }).await;
}

/// S5: two releases run side by side while one takes the other's place.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binaries of the previous release: make test-upgrade"]
async fn s5_a_rolling_upgrade_from_the_previous_release_loses_and_doubles_nothing() {
    let previous = std::env::var_os("DOCKET_PREVIOUS_BIN").expect("DOCKET_PREVIOUS_BIN names their folder");
    passes(Options { seed: 8, play: Play::Rolling(Some(PathBuf::from(previous))) }).await;
}
