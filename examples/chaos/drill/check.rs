//! The checker: compares what was acknowledged with what the API and the archive say. It knows nothing of how either
//! came about.

use std::collections::{BTreeMap, BTreeSet};

use docket::schedule::v1::{self as pb, Verdict};

use super::{
    journal::{Journal, Life, Seen},
    mail::{Filed, MAILBOXES},
    record::{Entry, Known, millis},
};

/// What was compared, as lines for people, and what does not fit.
#[derive(Default)]
pub struct Findings {
    pub compared: Vec<String>,
    pub violations: Vec<String>,
}

impl Findings {
    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }

    fn compared(&mut self, what: String) {
        self.compared.push(what);
    }
}

/// Every acknowledged schedule is there as it was acknowledged, and no other one.
pub fn schedules(findings: &mut Findings, known: &Known, present: &[pb::Schedule]) {
    let mut there: BTreeMap<&str, Entry> = BTreeMap::new();
    for schedule in present {
        if there.insert(&schedule.schedule_id, Entry::of(Some(schedule))).is_some() {
            findings.wrong(format!("{} is there twice", schedule.schedule_id));
        }
    }
    for (id, entry) in &known.schedules {
        let found = there.remove(id.as_str()).unwrap_or_default();
        if found != *entry {
            findings.wrong(format!("{id}: acknowledged was {entry:?}, there is {found:?}"));
        }
    }
    for id in there.keys().filter(|id| !MAILBOXES.contains(id)) {
        findings.wrong(format!("{id} is there, and nobody created it"));
    }
    let calls: Vec<String> =
        known.acknowledged.iter().map(|(name, count)| format!("{count} {name}")).collect();
    findings.compared(format!(
        "calls: {} acknowledged; {} without an answer were repeated; {} reads at once were as acknowledged",
        calls.join(", "),
        known.unanswered,
        known.read
    ));
    findings.compared(format!(
        "schedules: {} of the record, {} in the list",
        known.schedules.len(),
        present.len()
    ));
}

/// Every nominal time is decided exactly once, and each FIRED has its one run.
pub fn decisions(findings: &mut Findings, known: &Known, journal: &Journal, present: &[pb::Schedule]) {
    let alive: BTreeSet<&str> = present.iter().map(|schedule| schedule.uid.as_str()).collect();
    let mut by_verdict: BTreeMap<&str, i64> = BTreeMap::new();
    let (mut times, mut entries) = (0, 0);
    for (uid, life) in &journal.schedules {
        times += in_turn(findings, life, alive.contains(uid.as_str()));
        entries += life.decisions.len();
        for decision in life.decisions.values() {
            *by_verdict.entry(decision.verdict().as_str_name()).or_default() += decision.count;
        }
        paused(findings, known, uid, life);
        if alive.contains(uid.as_str()) {
            runs_of(findings, journal, uid, life);
        }
    }
    let verdicts: Vec<String> = by_verdict
        .iter()
        .map(|(name, count)| format!("{count} {}", name.trim_start_matches("VERDICT_")))
        .collect();
    findings.compared(format!(
        "nominal times: {times} in {entries} decisions of {} schedules ({}), read in {} rounds",
        journal.schedules.len(),
        verdicts.join(", "),
        journal.rounds
    ));
}

/// The log is one line of times without a gap or an overlap, from the anchor on. Returns how many times.
fn in_turn(findings: &mut Findings, life: &Life, alive: bool) -> i64 {
    let mut decided = 0;
    let mut next = life.anchor + life.interval;
    for decision in life.decisions.values() {
        let (first, last) = (millis(decision.first_nominal_time), millis(decision.last_nominal_time));
        let count = (last - first) / life.interval.max(1) + 1;
        if first != next || decision.count != count {
            let id = &life.id;
            findings.wrong(format!("{id}: {next} is the next time to be decided, and there is {decision:?}"));
        }
        decided += count;
        next = last + life.interval;
    }
    // Paused times are decided when the pause ends.
    if alive && next <= life.decided_through {
        findings.wrong(format!("{}: {next} has no decision, through {}", life.id, life.decided_through));
    }
    decided
}

/// Nominal times that fired, each with the run that its decision names: that of the last of a range.
fn fired(life: &Life) -> BTreeMap<i64, Option<&str>> {
    let mut fired = BTreeMap::new();
    for decision in life.decisions.values().filter(|decision| decision.verdict() == Verdict::Fired) {
        let (first, last) = (millis(decision.first_nominal_time), millis(decision.last_nominal_time));
        let times = (first..last).step_by(life.interval.max(1) as usize);
        fired.extend(times.map(|time| (time, None)));
        fired.insert(last, Some(decision.run_id.as_str()));
    }
    fired
}

/// Between the answer to Pause and the call of Resume nothing fires.
fn paused(findings: &mut Findings, known: &Known, uid: &str, life: &Life) {
    let pauses = known.pauses.get(uid).map_or(&[][..], Vec::as_slice);
    for at in fired(life).keys() {
        if let Some(pause) = pauses.iter().find(|(from, to)| (*from..*to).contains(at)) {
            findings.wrong(format!("{}: {at} fired within the pause {pause:?}", life.id));
        }
    }
}

/// Each time that fired has one run, and no run is of another time.
fn runs_of(findings: &mut Findings, journal: &Journal, uid: &str, life: &Life) {
    let mut fired = fired(life);
    let scheduled = |(_, run): &(&String, &Seen)| run.uid == uid && run.trigger == pb::Trigger::Scheduled;
    for (run_id, run) in journal.runs.iter().filter(scheduled) {
        let named = fired.remove(&run.nominal);
        if named.is_none_or(|named| named.is_some_and(|named| named != run_id)) {
            findings.wrong(format!("{}: run {run_id} of {}; fired is {named:?}", life.id, run.nominal));
        }
    }
    for (nominal, _) in fired.range(..=life.decided_through) {
        findings.wrong(format!("{}: {nominal} fired, and there is no run of it", life.id));
    }
}

/// A run is triggered once per request, and its result is accepted once and stays.
pub fn runs(findings: &mut Findings, known: &Known, journal: &Journal, present: &[pb::Schedule]) {
    let alive: BTreeSet<&str> = present.iter().map(|schedule| schedule.uid.as_str()).collect();
    let mut manual = 0;
    for (run_id, run) in &journal.runs {
        if run.trigger == pb::Trigger::Manual {
            manual += 1;
            if !known.triggered.contains_key(run_id) {
                findings.wrong(format!("run {run_id} was triggered, and nobody was told"));
            }
        }
        if let Some(name) = &run.name
            && !known.sent.get(run_id).is_some_and(|names| names.contains(name))
        {
            findings.wrong(format!("run {run_id} has the result {name}, which nobody sent"));
        }
    }
    let kept: BTreeSet<&str> = present.iter().map(|schedule| schedule.schedule_id.as_str()).collect();
    for (run_id, id) in &known.triggered {
        // Schedules that come and go take their runs with them.
        let stays = !(id.ends_with("-4") || id.ends_with("-5"));
        if stays && kept.contains(id.as_str()) && !journal.runs.contains_key(run_id) {
            findings.wrong(format!("{id}: run {run_id} was triggered and is not there"));
        }
    }
    findings.compared(format!(
        "runs: {} seen; {manual} by hand, for {} triggers that were answered with a new run",
        journal.runs.len(),
        known.triggered.len()
    ));
    results(findings, known, journal, &alive);
}

fn results(findings: &mut Findings, known: &Known, journal: &Journal, alive: &BTreeSet<&str>) {
    for ((run_id, attempt), count) in known.receipts.iter().filter(|(_, count)| **count > 1) {
        findings.wrong(format!("run {run_id}: {count} reports of attempt {attempt} were accepted"));
    }
    let mut compared = 0;
    for (run_id, names) in &known.accepted {
        if names.len() > 1 {
            findings.wrong(format!("run {run_id}: {} results were accepted: {names:?}", names.len()));
        }
        let Some(run) = journal.runs.get(run_id).filter(|run| alive.contains(run.uid.as_str())) else {
            continue;
        };
        compared += 1;
        if run.state != pb::RunState::Succeeded || run.name.as_ref() != names.first() {
            let (state, name) = (run.state, &run.name);
            findings
                .wrong(format!("run {run_id}: {names:?} was accepted, and it is {state:?} with {name:?}"));
        }
    }
    let others: Vec<String> = known
        .other_receipts
        .iter()
        .map(|(name, count)| format!("{count} {}", name.trim_start_matches("RECEIPT_STATUS_")))
        .collect();
    findings.compared(format!(
        "results: {} accepted, {compared} of them found in their runs; other receipts: {}",
        known.accepted.len(),
        others.join(", ")
    ));
}

/// Each mail is looked at once and has its one document.
pub fn documents(findings: &mut Findings, mailbox: &str, written: u64, filed: &Filed) {
    let sources: BTreeSet<_> = filed.messages.iter().map(|message| &message.source_id).collect();
    if sources.len() as u64 != written || filed.messages.len() as u64 != written {
        let (listed, known) = (filed.messages.len(), sources.len());
        findings.wrong(format!("{mailbox}: {written} mails, {listed} messages, {known} different ones"));
    }
    for message in filed.messages.iter().filter(|message| message.document_ids.len() != 1) {
        findings.wrong(format!("{mailbox}: not one document: {message:?}"));
    }
    let contents: BTreeSet<_> = filed.documents.iter().map(|document| &document.sha256).collect();
    if contents.len() as u64 != written || filed.documents.len() as u64 != written {
        let (listed, known) = (filed.documents.len(), contents.len());
        findings.wrong(format!("{mailbox}: {written} mails, {listed} documents, {known} different ones"));
    }
    findings.compared(format!(
        "{mailbox}: {written} mails, {} messages, {} documents",
        filed.messages.len(),
        filed.documents.len()
    ));
}

#[cfg(test)]
mod tests;
