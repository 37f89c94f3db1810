//! The checker sees what it is there for: each case is a clean account with one thing wrong.

use docket::{
    library::v1 as lib,
    schedule::v1::{RunState, Trigger},
};
use prost_types::Timestamp;

use super::*;

const UID: &str = "u";

/// One schedule, every second from 10 s on, that fired at 11, 12 and 13; its runs have succeeded.
struct Account {
    known: Known,
    journal: Journal,
    present: Vec<pb::Schedule>,
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn fired(first: i64, last: i64) -> pb::Decision {
    pb::Decision {
        first_nominal_time: at(first),
        last_nominal_time: at(last),
        count: last - first + 1,
        verdict: Verdict::Fired.into(),
        run_id: format!("r{last}"),
        ..Default::default()
    }
}

fn clean() -> Account {
    let schedule = pb::Schedule { schedule_id: "app-0-0".into(), uid: UID.into(), ..Default::default() };
    let mut known = Known::default();
    known.schedules.insert("app-0-0".into(), Entry::of(Some(&schedule)));
    known.sent.insert("r12".into(), ["one".to_owned()].into());
    known.accepted.insert("r12".into(), vec!["one".into()]);
    known.receipts.insert(("r12".into(), 1), 1);
    let mut journal = Journal::default();
    let decisions = [(11_000, fired(11, 12)), (13_000, fired(13, 13))].into();
    let id = "app-0-0".into();
    let life = Life { id, anchor: 10_000, interval: 1_000, decided_through: 13_000, decisions };
    journal.schedules.insert(UID.into(), life);
    for second in 11..=13 {
        let name = (second == 12).then(|| "one".to_owned());
        let run = Seen {
            uid: UID.into(),
            trigger: Trigger::Scheduled,
            nominal: second * 1000,
            state: RunState::Succeeded,
            name,
            attempts: 1,
        };
        journal.runs.insert(format!("r{second}"), run);
    }
    Account { known, journal, present: vec![schedule] }
}

fn judged(spoil: impl Fn(&mut Account)) -> Vec<String> {
    let mut account = clean();
    spoil(&mut account);
    let mut findings = Findings::default();
    schedules(&mut findings, &account.known, &account.present);
    decisions(&mut findings, &account.known, &account.journal, &account.present);
    runs(&mut findings, &account.known, &account.journal, &account.present);
    findings.violations
}

fn finds(part: &str, spoil: impl Fn(&mut Account)) {
    let violations = judged(spoil);
    assert!(violations.iter().any(|violation| violation.contains(part)), "{part}: {violations:?}");
}

fn life(account: &mut Account) -> &mut Life {
    account.journal.schedules.get_mut(UID).expect("its life")
}

#[test]
fn a_clean_account_is_clean() {
    assert_eq!(judged(|_| {}), Vec::<String>::new());
}

#[test]
fn schedules_that_are_lost_doubled_or_older_are_found() {
    finds("acknowledged was", |account| account.present.clear());
    finds("is there twice", |account| account.present.push(account.present[0].clone()));
    finds("acknowledged was", |account| account.present[0].etag = "older".into());
    finds("nobody created it", |account| account.known.schedules.clear());
}

#[test]
fn times_without_a_decision_or_with_two_are_found() {
    finds("has no decision", |account| life(account).decided_through = 14_000);
    finds("is the next time", |account| drop(life(account).decisions.remove(&11_000)));
    finds("is the next time", |account| drop(life(account).decisions.insert(12_000, fired(12, 12))));
    finds("within the pause", |account| {
        drop(account.known.pauses.insert(UID.into(), vec![(11_500, 12_500)]));
    });
}

#[test]
fn runs_that_are_lost_or_doubled_are_found() {
    finds("there is no run of it", |account| drop(account.journal.runs.remove("r12")));
    finds("run again of 12000", |account| {
        let run = account.journal.runs.remove("r12").expect("a run");
        account.journal.runs.insert("r12".into(), Seen { uid: UID.into(), name: None, ..run });
        let doubled = Seen { uid: UID.into(), trigger: Trigger::Scheduled, nominal: 12_000, ..clean_run() };
        account.journal.runs.insert("again".into(), doubled);
    });
    finds("nobody was told", |account| {
        account.journal.runs.insert("m".into(), Seen { trigger: Trigger::Manual, ..clean_run() });
    });
    finds("is not there", |account| drop(account.known.triggered.insert("m".into(), "app-0-0".into())));
}

fn clean_run() -> Seen {
    clean().journal.runs.remove("r13").expect("a run")
}

#[test]
fn results_that_are_lost_or_accepted_twice_are_found() {
    finds("were accepted", |account| *account.known.receipts.entry(("r12".into(), 1)).or_default() += 1);
    finds("2 results were accepted", |account| {
        account.known.accepted.entry("r12".into()).or_default().push("two".into());
    });
    finds("was accepted, and it is", |account| {
        account.journal.runs.get_mut("r12").expect("a run").state = RunState::Queued;
    });
    finds("which nobody sent", |account| account.known.sent.clear());
}

#[test]
fn documents_that_are_missing_or_doubled_are_found() {
    let message = |id: &str| lib::Message {
        source_id: id.into(),
        document_ids: vec![format!("d-{id}")],
        ..Default::default()
    };
    let document = |sha256: &str| lib::Document { sha256: sha256.into(), ..Default::default() };
    let judged = |messages: &[&str], contents: &[&str]| {
        let filed = Filed {
            messages: messages.iter().map(|id| message(id)).collect(),
            documents: contents.iter().map(|sha256| document(sha256)).collect(),
        };
        let mut findings = Findings::default();
        documents(&mut findings, "mail-0", 2, &filed);
        findings.violations.len()
    };
    assert_eq!(judged(&["a", "b"], &["x", "y"]), 0);
    assert_eq!(judged(&["a"], &["x"]), 2);
    assert_eq!(judged(&["a", "b"], &["x"]), 1);
    assert_eq!(judged(&["a", "b"], &["x", "y", "y"]), 1);
    assert_eq!(judged(&["a", "b", "b"], &["x", "y"]), 1);
}
