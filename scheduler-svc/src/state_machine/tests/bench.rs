//! Drives a machine through simulated time.

mod worker;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{START, judge::Judge, mirror::Mirror};
use crate::{
    record,
    state_machine::{
        Config, StateMachine,
        command::*,
        definition::{Definition, Input, Labels, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
        failure::{Class, Failure},
        history::{Ring, UNIT},
        id::{ReplyTo, RunId, SessionId, Uid},
        output::*,
        run::Finished,
        schedule::{Decision, Span, Verdict},
        timer::Now,
        timing::{Cron, CronSource, Fold, Gap, Timing},
        view::{LiveRun, RunView, ScheduleView},
    },
    store::{Key, key::Name},
};

pub struct Bench {
    pub machine: StateMachine,
    pub config: Config,
    pub now: Now,
    /// What the store holds.
    pub records: BTreeMap<Key, Bytes>,
    pub events: Vec<Event>,
    pub messages: Vec<(SessionId, Message)>,
    pub closed: Vec<SessionId>,
    pub replies: Vec<(ReplyTo, Reply)>,
    pub judge: Judge,
    mirror: Mirror,
    /// Workers that send their heartbeats while time passes.
    attended: Vec<SessionId>,
    epoch: u64,
    next_number: u64,
}

/// A schedule with everything at its default.
pub fn definition(id: &str, timing: Timing) -> Definition {
    Definition {
        key: ScheduleKey::new("default", id),
        terms: Terms {
            timing,
            task: Task { kind: "sync".into(), timeout: 600_000, queue_timeout: 0 },
            spread: 0,
            overlap: Overlap::Skip,
            misfire: Misfire::Coalesce,
            retry: Retry::default(),
            priority: 5,
            start: None,
            end: None,
            max_runs: 0,
            pause_after_failures: 0,
            delete_when_ended: false,
        }
        .into(),
        input: Input::default(),
        tenant: "".into(),
        limits: Box::default(),
        saved_by: Default::default(),
        labels: Labels::default(),
    }
}

/// The same, but for what is changed in it.
pub fn with(mut definition: Definition, change: impl FnOnce(&mut Definition)) -> Definition {
    change(&mut definition);
    definition
}

pub fn every(interval: i64) -> Timing {
    Timing::Every { interval, anchor: None }
}

pub fn cron(expression: &str, zone: &str) -> Timing {
    let source = CronSource {
        expressions: vec![expression.into()],
        time_zone: zone.into(),
        gap: Gap::default(),
        fold: Fold::default(),
    };
    Timing::Cron(Arc::new(Cron::new(source).expect(expression)))
}

pub fn key(id: &str) -> ScheduleKey {
    ScheduleKey::new("default", id)
}

pub fn failure(class: Class) -> Failure {
    Failure::new(class, "CODE", "a reason")
}

pub fn held(job: &Job) -> Held {
    Held { id: job.id, attempt: job.attempt, token: job.token, progress: None, checkpoint: None }
}

pub fn request(id: &str, body: u8) -> Option<Request> {
    Some(Request { id: id.into(), body: [body; 16] })
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        let now = Now { wall: START, elapsed: 1_000 };
        Self {
            machine: StateMachine::new(config, 1, now),
            config,
            now,
            records: BTreeMap::new(),
            events: Vec::new(),
            messages: Vec::new(),
            closed: Vec::new(),
            replies: Vec::new(),
            judge: Judge::default(),
            mirror: Mirror::default(),
            attended: Vec::new(),
            epoch: 1,
            next_number: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    // --- stepping --------------------------------------------------------------------------------------------

    /// Applies one command as a batch of its own.
    pub fn apply(&mut self, command: &Command) -> ReplyTo {
        let to = ReplyTo(self.number());
        self.machine.apply(self.now, to, command);
        self.commit();
        to
    }

    pub fn reply(&mut self, to: ReplyTo) -> Option<Reply> {
        let index = self.replies.iter().position(|(other, _)| *other == to)?;
        Some(self.replies.remove(index).1)
    }

    pub fn ask(&mut self, command: &Command) -> Reply {
        let to = self.apply(command);
        self.reply(to).expect("an answer at once")
    }

    pub fn call(&mut self, command: &Command) -> Answer {
        self.ask(command).expect("no refusal")
    }

    pub fn refused(&mut self, command: &Command) -> Refusal {
        self.ask(command).expect_err("a refusal")
    }

    pub fn wake(&mut self) -> usize {
        let handled = self.machine.wake(self.now);
        self.commit();
        handled
    }

    /// Seals until nothing is left to do, and keeps what was written and said.
    pub fn commit(&mut self) {
        loop {
            let mut output = self.machine.seal();
            for write in std::mem::take(&mut output.writes) {
                match write.value {
                    Some(value) => self.records.insert(write.key, value),
                    None => self.records.remove(&write.key),
                };
            }
            self.judge.hear(self.now, &output);
            self.mirror.hear(&output);
            self.events.append(&mut output.events);
            self.messages.append(&mut output.messages);
            self.closed.append(&mut output.closed);
            self.replies.append(&mut output.replies);
            self.machine.check().unwrap_or_else(|broken| panic!("at {:?}: {broken}", self.now));
            if !self.machine.has_more() {
                break;
            }
        }
        self.mirror.compare(&self.machine);
        self.machine.next_wake();
    }

    /// Lets time pass, waking the machine when it asks for it.
    pub fn pass(&mut self, millis: i64) {
        let end = self.now.elapsed + millis.unsigned_abs();
        loop {
            while self.wake() > 0 {}
            let wake = self.machine.next_wake();
            let wall = wake.wall.map(|at| self.now.elapsed + (at - self.now.wall).max(1).unsigned_abs());
            let next = wake.elapsed.map(|at| at.max(self.now.elapsed + 1)).into_iter().chain(wall).min();
            let next = next.unwrap_or(end).min(end);
            self.skip((next - self.now.elapsed) as i64);
            self.attend();
            if next == end {
                while self.wake() > 0 {}
                return;
            }
        }
    }

    /// Heartbeats of the workers that are well, before their leases are half over.
    fn attend(&mut self) {
        for session in self.attended.clone() {
            let Some(found) = self.machine.sessions.get(&session) else { continue };
            let half_over = self.now.wall - found.heard >= (self.config.lease / 2) as i64;
            let held = found.held.iter().filter(|_| half_over).map(|key| {
                let run = &self.machine.runs[*key];
                let token = run.lease().expect("held").token;
                Held { id: run.id, attempt: run.attempt, token, progress: None, checkpoint: None }
            });
            let held: Vec<Held> = held.collect();
            if half_over {
                self.beat(session, u64::MAX, held);
            }
        }
    }

    /// Time passes in which the machine hears and does nothing.
    pub fn skip(&mut self, millis: i64) {
        self.now.wall += millis;
        self.now.elapsed += millis.unsigned_abs();
    }

    /// The wall clock is set.
    pub fn set_clock(&mut self, by: i64) {
        self.now.wall += by;
    }

    /// A new process, after `outage` in which none ran.
    pub fn restart(&mut self, outage: i64) {
        self.skip(outage);
        self.epoch += 1;
        self.machine = self.loaded();
        self.mirror = Mirror::of(&self.machine);
        // What the load did is in the mirror already.
        let mut told = Output { events: std::mem::take(&mut self.machine.out.events), ..Output::default() };
        self.judge.hear(self.now, &told);
        self.events.append(&mut told.events);
        self.machine.check().unwrap_or_else(|broken| panic!("after a restart: {broken}"));
        self.machine.next_wake();
    }

    /// How many records there are, but for the one of the whole store.
    pub fn kept(&self) -> usize {
        self.records.keys().filter(|key| **key != Key::new(&Name::Meta)).count()
    }

    /// What history takes, by what is stored: each record in whole units.
    pub fn cold_bytes(&self) -> u64 {
        let cold = self.records.iter().filter(|(key, _)| key.is_cold());
        cold.map(|(key, value)| ((key.as_bytes().len() + value.len()) as u64).div_ceil(UNIT) * UNIT).sum()
    }

    /// Another machine from the same records.
    pub fn loaded(&self) -> StateMachine {
        let hot = self.records.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        StateMachine::load(self.config, self.epoch, self.now, hot).expect("readable records")
    }

    /// Another machine from all that this one would write for a store that has lost it. What it would write has the
    /// keys that the store has; only the meta record waits for the first write.
    pub fn rewritten(&self) -> StateMachine {
        let snapshot = self.machine.records();
        let names = |key: &Key| key.name().filter(|name| *name != Name::Meta);
        let mut made: Vec<String> =
            snapshot.iter().filter_map(|(key, _)| Some(format!("{:?}", names(key)?))).collect();
        let stored = self.records.keys().filter(|key| !key.is_cold());
        let mut stored: Vec<String> = stored.filter_map(|key| Some(format!("{:?}", names(key)?))).collect();
        made.sort_unstable();
        stored.sort_unstable();
        assert_eq!(made, stored);
        StateMachine::load(self.config, self.epoch, self.now, snapshot).expect("readable records")
    }

    // --- schedules -------------------------------------------------------------------------------------------

    pub fn upsert(&mut self, definition: Definition) -> Upsert {
        Upsert {
            definition,
            uid: Uid(u128::from(self.number()) << 96 | u128::from(self.next_number)),
            etag: None,
            create_only: false,
            request: None,
            validate_only: false,
            actor: "tester".into(),
        }
    }

    pub fn save(&mut self, definition: Definition) -> (ScheduleView, Change) {
        let upsert = self.upsert(definition);
        self.send_upsert(upsert)
    }

    pub fn send_upsert(&mut self, upsert: Upsert) -> (ScheduleView, Change) {
        match self.call(&Command::Upsert(Box::new(upsert))) {
            Answer::Upserted { schedule, change, .. } => (*schedule, change),
            other => panic!("{other:?}"),
        }
    }

    pub fn view(&mut self, id: &str) -> ScheduleView {
        match self.call(&Command::GetSchedule(key(id))) {
            Answer::Schedule(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub fn gone(&mut self, id: &str) -> bool {
        self.ask(&Command::GetSchedule(key(id))).is_err()
    }

    pub fn trigger(&mut self, id: &str) -> Command {
        Command::Trigger(TriggerNow { key: key(id), request: None, actor: "tester".into() })
    }

    /// The run, and whether it is new.
    pub fn run_now(&mut self, id: &str) -> (RunId, bool) {
        let trigger = self.trigger(id);
        match self.call(&trigger) {
            Answer::Triggered { run, created } => (run_id(&run), created),
            other => panic!("{other:?}"),
        }
    }

    pub fn pause(&mut self, id: &str, until: Option<i64>) -> bool {
        let pause =
            Pause { key: key(id), note: "holiday".into(), until, request: None, actor: "tester".into() };
        match self.call(&Command::Pause(pause)) {
            Answer::Paused { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }

    pub fn resume(&mut self, id: &str, catch_up: bool) -> bool {
        let resume = Resume { key: key(id), catch_up, request: None, actor: "tester".into() };
        match self.call(&Command::Resume(resume)) {
            Answer::Resumed { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }

    pub fn remove(&mut self, id: &str, cancel_running: bool) -> Command {
        Command::Delete(Delete {
            key: key(id),
            cancel_running,
            etag: None,
            request: None,
            actor: "tester".into(),
        })
    }

    pub fn delete(&mut self, id: &str, cancel_running: bool) {
        let delete = self.remove(id, cancel_running);
        self.call(&delete);
    }

    /// Accepted and existing. Asked again when history has changed meanwhile, as the edge does.
    pub fn backfill(&mut self, id: &str, span: Span) -> Result<(u64, u64), Refusal> {
        loop {
            let as_of = match self.ask(&Command::GetSchedule(key(id)))? {
                Answer::Schedule(view) => view.rings,
                other => panic!("{other:?}"),
            };
            let log = self.decisions(id).into_iter().filter(|decision| decision.verdict == Verdict::Fired);
            let known = log.map(|decision| Span { from: decision.first, to: decision.last + 1 }).collect();
            let (key, actor) = (key(id), "tester".into());
            let backfill = Backfill { key, span, known, as_of, request: None, actor };
            match self.ask(&Command::Backfill(Box::new(backfill))) {
                Ok(Answer::Backfilled { accepted, existing }) => return Ok((accepted, existing)),
                Ok(other) => panic!("{other:?}"),
                Err(Refusal::Changed) => {}
                Err(refusal) => return Err(refusal),
            }
        }
    }

    pub fn cancel_run(&mut self, id: RunId) -> Result<(), Refusal> {
        let cancel = CancelRun {
            namespace: "default".into(),
            id,
            note: "enough".into(),
            request: None,
            actor: "tester".into(),
        };
        self.ask(&Command::CancelRun(cancel)).map(|_| ())
    }

    /// A change of all schedules whose id begins with `prefix`.
    pub fn bulk(&mut self, prefix: &str, change: BulkChange) -> Command {
        let filter = ListSchedules {
            namespace: "default".into(),
            after: None,
            prefix: prefix.into(),
            labels: BTreeMap::new(),
            states: Vec::new(),
            pause_reasons: Vec::new(),
            limit: 0,
        };
        Command::Bulk(Box::new(Bulk { filter, change, done: 0, request: None, actor: "tester".into() }))
    }

    // --- what there is ---------------------------------------------------------------------------------------

    pub fn live(&mut self, id: RunId) -> Option<LiveRun> {
        let get = GetRun { namespace: "default".into(), id, wait: false };
        match self.ask(&Command::GetRun(get)).ok()? {
            Answer::Run(view) => match *view {
                RunView::Live(live) => Some(*live),
                RunView::Final { .. } => None,
            },
            other => panic!("{other:?}"),
        }
    }

    /// The decision log, oldest first.
    pub fn decisions(&mut self, id: &str) -> Vec<Decision> {
        let view = self.view(id);
        let kept = view.rings.numbers(Ring::Decisions).map(|number| {
            let name = Ring::Decisions.name(view.uid, number);
            record::read_decision(self.records[&Key::new(&name)].clone()).expect("a decision")
        });
        kept.chain(view.decision.clone()).collect()
    }

    /// Both rings of ends, newest first.
    pub fn history(&mut self, id: &str) -> Vec<Finished> {
        let view = self.view(id);
        let ring =
            |ring: Ring| view.rings.numbers(ring).map(move |number| Key::new(&ring.name(view.uid, number)));
        let keys = ring(Ring::Succeeded).chain(ring(Ring::Unsucceeded));
        let read = |key| record::read_finished(view.uid, self.records[&key].clone()).expect("an end");
        let mut finished: Vec<Finished> = keys.map(read).collect();
        finished.sort_by_key(|finished| std::cmp::Reverse((finished.finish, finished.id)));
        finished
    }

    /// Nominal times that fired, in order.
    pub fn fired(&self) -> Vec<i64> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Fired { id, .. } => Some(id.nominal),
                _ => None,
            })
            .collect()
    }
}

pub fn run_id(view: &RunView) -> RunId {
    match view {
        RunView::Live(live) => live.id,
        RunView::Final { id, .. } => *id,
    }
}
