//! A world around the state machine: both clocks, what the store holds, and who knows what by which name.
//!
//! It steps as the shard does: commands or a wake, one seal, one commit; only then is said what came out.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use bytes::Bytes;
use scheduler_svc::{
    record,
    state_machine::{
        Config, StateMachine,
        command::Command,
        history::Ring,
        id::{ReplyTo, RunId, Trigger, Uid},
        output::{Answer, Output, Refusal, Reply},
        schedule::{Decision, Verdict},
        timer::Now,
        view::ScheduleView,
    },
    store::{Key, key::Name},
};

use crate::{schedule::key, show, text, worker::Worker};

pub struct World {
    machine: StateMachine,
    pub now: Now,
    epoch: u64,
    /// What the store holds.
    pub records: BTreeMap<Key, Bytes>,
    pub workers: BTreeMap<String, Worker>,
    /// Every schedule that ever was.
    schedules: BTreeMap<Uid, Known>,
    replies: Vec<(ReplyTo, Reply)>,
    next_number: u64,
    /// What was said since it was last taken.
    pub said: Vec<String>,
    /// The date under which it was said.
    date: String,
}

struct Known {
    id: String,
    /// Up to where its decisions were said: number of the entry, and its last time.
    decided: Option<(u32, i64)>,
}

impl World {
    pub fn new(start: i64) -> Self {
        let now = Now { wall: start, elapsed: 1_000 };
        Self {
            machine: StateMachine::new(Config::default(), 1, now),
            now,
            epoch: 1,
            records: BTreeMap::new(),
            workers: BTreeMap::new(),
            schedules: BTreeMap::new(),
            replies: Vec::new(),
            next_number: 0,
            said: Vec::new(),
            date: String::new(),
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    // --- saying --------------------------------------------------------------------------------------------------

    /// A line of what happened, under its date and with its time.
    pub fn say(&mut self, what: impl AsRef<str>) {
        self.turn_page();
        self.said.push(format!("{}  {}", text::seconds(self.now.wall), what.as_ref()));
    }

    /// A line of a list that was asked for.
    pub fn list(&mut self, what: impl AsRef<str>) {
        self.turn_page();
        self.said.push(what.as_ref().trim_end().into());
    }

    fn turn_page(&mut self) {
        let date = text::date(self.now.wall);
        if self.date != date {
            self.said.push(date.clone());
            self.date = date;
        }
    }

    pub fn time(&self, at: i64) -> String {
        text::time(at, self.now.wall)
    }

    /// `mb-1@09:00`, `mb-1@manual-09:00`
    pub fn run_name(&self, id: RunId) -> String {
        let schedule = self.schedules.get(&id.uid).map_or("?", |known| &known.id);
        format!("{schedule}@{}", self.occurrence(id.trigger, id.nominal))
    }

    pub fn occurrence(&self, trigger: Trigger, nominal: i64) -> String {
        let trigger = match trigger {
            Trigger::Scheduled => "",
            Trigger::Manual => "manual-",
            Trigger::Backfill => "backfill-",
        };
        format!("{trigger}{}", self.time(nominal))
    }

    // --- stepping ------------------------------------------------------------------------------------------------

    /// The uid of the next schedule, if it is saved. Small numbers, so that etags are readable and backoff is the same
    /// in each play.
    pub fn next_uid(&self) -> Uid {
        let number = self.schedules.len() as u128 + 1;
        Uid(number << 96 | number)
    }

    /// A schedule of this uid is asked for by this id from now on.
    pub fn know(&mut self, uid: Uid, id: &str) {
        self.schedules.insert(uid, Known { id: id.into(), decided: None });
    }

    /// Applies one command as a batch of its own.
    pub fn ask(&mut self, command: &Command) -> Reply {
        let to = ReplyTo(self.number());
        self.machine.apply(self.now, to, command);
        self.commit();
        let index = self.replies.iter().position(|(other, _)| *other == to);
        index.map(|index| self.replies.remove(index).1).expect("an answer at once")
    }

    pub fn wake(&mut self) {
        while self.machine.wake(self.now) > 0 {
            self.commit();
        }
        self.commit();
    }

    fn commit(&mut self) {
        let mut outputs = Vec::new();
        let mut touched = BTreeSet::new();
        loop {
            let mut output = self.machine.seal();
            let writes = mem::take(&mut output.writes);
            if !writes.is_empty() {
                self.machine.check().unwrap_or_else(|broken| panic!("at {:?}: {broken}", self.now));
            }
            for write in writes {
                if let (Some(Name::State(uid)), Some(_)) = (write.key.name(), &write.value) {
                    touched.insert(uid);
                }
                match write.value {
                    Some(value) => self.records.insert(write.key, value),
                    None => self.records.remove(&write.key),
                };
            }
            outputs.push(output);
            if !self.machine.has_more() {
                break;
            }
        }
        touched.into_iter().for_each(|uid| self.say_decisions(uid));
        outputs.into_iter().for_each(|output| self.release(output));
        self.machine.next_wake();
    }

    fn release(&mut self, output: Output) {
        let lines: Vec<String> = output.events.iter().filter_map(|event| show::event(self, event)).collect();
        lines.into_iter().for_each(|line| self.say(line));
        self.replies.extend(output.replies);
        for (session, message) in output.messages {
            self.deliver(session, message);
        }
        for session in output.closed {
            self.cut_off(session);
        }
    }

    /// Time passes, and the machine is woken whenever it asks for it.
    pub fn advance(&mut self, millis: i64) {
        let end = self.now.elapsed + millis.unsigned_abs();
        loop {
            self.wake();
            self.attend();
            if self.now.elapsed >= end {
                return;
            }
            let wake = self.machine.next_wake();
            let wall = wake.wall.map(|at| self.now.elapsed + (at - self.now.wall).max(1).unsigned_abs());
            let next = wake.elapsed.into_iter().chain(wall).chain(self.next_deed()).min();
            let next = next.unwrap_or(end).clamp(self.now.elapsed + 1, end);
            self.skip((next - self.now.elapsed) as i64);
        }
    }

    /// Time passes in which the machine hears and does nothing.
    pub fn skip(&mut self, millis: i64) {
        self.now.wall += millis;
        self.now.elapsed += millis.unsigned_abs();
    }

    /// The process is gone for a while; a new one begins with what was committed.
    pub fn crash(&mut self, outage: i64) -> Result<(), String> {
        self.skip(outage);
        self.epoch += 1;
        self.workers.values_mut().for_each(|worker| worker.connected = false);
        let hot = self.records.iter().filter(|(key, _)| !key.is_cold());
        let hot = hot.map(|(key, value)| (key.clone(), value.clone())).collect();
        self.machine = StateMachine::load(Config::default(), self.epoch, self.now, hot)
            .map_err(|error| error.to_string())?;
        self.say(format!("the scheduler starts: epoch {}", self.epoch));
        let unreadable: Vec<String> =
            self.machine.unreadable().iter().map(|error| error.why.clone()).collect();
        unreadable.into_iter().for_each(|why| self.say(format!("a record cannot be read: {why}")));
        self.wake();
        Ok(())
    }

    // --- what there is -------------------------------------------------------------------------------------------

    pub fn view(&mut self, id: &str) -> Result<ScheduleView, Refusal> {
        match self.ask(&Command::GetSchedule(key(id)))? {
            Answer::Schedule(view) => Ok(*view),
            other => panic!("{other:?}"),
        }
    }

    /// The decision log, oldest first, each entry with its number.
    pub fn decisions(&self, view: &ScheduleView) -> Vec<(u32, Decision)> {
        let kept = view.rings.numbers(Ring::Decisions).map(|number| {
            let name = Ring::Decisions.name(view.uid, number);
            (number, record::read_decision(self.records[&Key::new(&name)].clone()).expect("a decision"))
        });
        kept.chain(view.decision.clone().map(|newest| (view.rings.decisions, newest))).collect()
    }

    /// What was decided about a schedule since it was last said; fires say so themselves.
    fn say_decisions(&mut self, uid: Uid) {
        let Some(Known { id, decided }) = self.schedules.get(&uid) else { return };
        let (id, decided) = (id.clone(), *decided);
        let to = ReplyTo(self.number());
        self.machine.apply(self.now, to, &Command::GetSchedule(key(&id)));
        let mut output = self.machine.seal();
        assert!(output.writes.is_empty(), "a read changes nothing");
        let reply = output.replies.pop();
        let Some((_, Ok(Answer::Schedule(view)))) = reply.filter(|_| output.events.is_empty()) else {
            return;
        };
        if view.uid != uid {
            return;
        }
        let log = self.decisions(&view);
        for (number, mut decision) in log.iter().cloned() {
            match decided {
                Some((said, _)) if number < said => continue,
                Some((said, last)) if number == said => {
                    if decision.last <= last {
                        continue;
                    }
                    // More of the same: only what is new.
                    let times = view.definition.times(view.anchor);
                    decision.first = times.next(last).unwrap_or(decision.first);
                    decision.count = times.count(last, decision.last);
                }
                _ => {}
            }
            if decision.verdict != Verdict::Fired {
                let line = format!("{id}@{}", show::decision(self, &id, &decision));
                self.say(line);
            }
        }
        let newest = log.last().map(|(number, decision)| (*number, decision.last));
        if let Some(known) = self.schedules.get_mut(&uid) {
            known.decided = newest;
        }
    }
}
