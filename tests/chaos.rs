//! A short run of `make chaos`: two schedulers, workers and Redis fail under load, and everything is compared.

#[path = "../examples/chaos/drill/mod.rs"]
mod drill;
mod harness;

use std::sync::Mutex;

use drill::Options;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_doubled_while_everything_fails() {
    let told = Mutex::new(String::new());
    let say = |line: &str| {
        let mut told = told.lock().expect("a line");
        told.push_str(line);
        told.push('\n');
    };
    let report = drill::run(Options { seconds: 12, seed: 6 }, say).await;
    let told = told.lock().expect("all lines").clone();
    assert!(report.is_ok_and(|report| report.violations.is_empty()), "\n{told}");
    assert!(told.contains("nothing lost, nothing doubled"), "{told}");
}
