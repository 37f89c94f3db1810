//! What the store holds, decoded, and what each commit changed of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use scheduler_svc::{
    record::{self, StoredClosing},
    state_machine::{
        definition::{Definition, ScheduleKey},
        gate::limit::Limit,
        id::{RunId, Trigger, Uid},
        request::Seen,
        run::{Finished, Outcome, Phase, Run},
        schedule::{Decision, Schedule, Span, Status, Verdict},
        timing::Interner,
    },
    store::{Key, Write, key::Name},
};

use super::{Broken, holds, runs::overrun};

/// The store's contents as the judge reads them.
#[derive(Debug, Default)]
pub struct Durable {
    definitions: HashMap<(Uid, u32), Arc<Definition>>,
    interner: Interner,
    pub schedules: BTreeMap<Uid, Schedule>,
    /// Every schedule that ever was.
    former: BTreeSet<Uid>,
    pub runs: BTreeMap<RunId, Run>,
    pub requests: BTreeMap<(String, String), Seen>,
    /// The last runs of each schedule that ended well, and those that did not: by number.
    history: BTreeMap<(Uid, bool, u32), (RunId, Outcome)>,
    /// Schedules of which one commit ended more runs than their rings keep: not every end can be read.
    crowded: BTreeSet<Uid>,
    /// The cold part of each schedule's decision log, by number.
    log: BTreeMap<(Uid, u32), Decision>,
}

/// What one commit changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Before and after.
    pub schedules: Vec<(Uid, Option<Schedule>, Option<Schedule>)>,
    pub runs: Vec<(RunId, Option<Run>, Option<Run>)>,
    pub finished: Vec<Finished>,
    pub limits: Vec<(String, Option<Limit>)>,
    pub closings: Vec<(String, Option<StoredClosing>)>,
    /// Entries that this commit added to the decision logs, in order.
    pub decided: BTreeMap<Uid, Vec<Decided>>,
}

/// One entry, or what an entry grew by.
#[derive(Clone, Debug)]
pub struct Decided {
    pub entry: Decision,
    /// The first time where it is known: an entry that grew says only where it ends.
    pub first: Option<i64>,
    /// How many times; None = too many to count.
    pub count: Option<u64>,
}

impl Changes {
    /// One line for each thing that changed.
    pub fn tell(&self, log: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for (uid, _, after) in &self.schedules {
            let Some(after) = after else {
                log(format_args!("  schedule {uid} is gone"));
                continue;
            };
            let pause = after.pause().map(|pause| (pause.reason, pause.time, pause.until));
            let (id, generation, revision) = (&after.definition.key.id, after.generation, after.revision);
            log(format_args!(
                "  schedule {id} {uid} {:?} {generation}.{revision} through {} {pause:?}",
                after.status, after.decided_through
            ));
            for Decided { entry, first, count } in self.decided.get(uid).into_iter().flatten() {
                let (verdict, last, run) = (entry.verdict, entry.last, entry.run);
                log(format_args!("    {verdict:?} {first:?} to {last}: {count:?} {run:?}"));
            }
        }
        for (id, before, after) in &self.runs {
            let phase = |run: &Option<Run>| {
                run.as_ref().map(|run| (run.attempt, run.phase_name(), run.last_token, run.lost_token))
            };
            let definition = after.as_ref().or(before.as_ref()).map(|run| run.definition.clone());
            let place = definition.map(|it| (it.task.kind.clone(), it.tenant.clone(), it.priority));
            log(format_args!("  run {id} {:?} to {:?} {place:?}", phase(before), phase(after)));
        }
        for (key, limit) in &self.limits {
            log(format_args!("  limit {key} is {limit:?}"));
        }
        for (key, closing) in &self.closings {
            log(format_args!("  closing of {key} is {closing:?}"));
        }
        for finished in &self.finished {
            let class = finished.failure.as_ref().map(|failure| (failure.class, &*failure.code));
            log(format_args!("  run {} {:?} {class:?}", finished.id, finished.outcome));
        }
    }
}

trait PhaseName {
    fn phase_name(&self) -> String;
}

impl PhaseName for Run {
    fn phase_name(&self) -> String {
        match &self.phase {
            Phase::Behind => "behind".into(),
            Phase::Ready(_) => "ready".into(),
            Phase::Backoff { until, .. } => format!("backoff {until}"),
            Phase::Running(lease) => format!("running {} {}", lease.worker_id, lease.token),
            Phase::Cancelling { lease, .. } => format!("cancelling {} {}", lease.worker_id, lease.token),
        }
    }
}

impl Durable {
    fn definition(&self, uid: Uid, generation: u32) -> Option<Arc<Definition>> {
        self.definitions.get(&(uid, generation)).cloned()
    }

    pub fn named(&self, key: &ScheduleKey) -> Option<&Schedule> {
        self.schedules
            .values()
            .find(|schedule| schedule.definition.key == *key && schedule.status != Status::Deleted)
    }

    pub fn live(&self, uid: Uid) -> impl Iterator<Item = &Run> {
        let from = RunId { uid, trigger: Trigger::Scheduled, nominal: i64::MIN };
        self.runs.range(from..).map(|(_, run)| run).take_while(move |run| run.id.uid == uid)
    }

    /// The nominal time that is not decided since its run waits behind a live one.
    pub fn undecided(&self, uid: Uid) -> Option<i64> {
        self.live(uid).find(|run| !run.decided).map(|run| run.id.nominal)
    }

    pub fn was_stored(&self, uid: Uid) -> bool {
        self.former.contains(&uid)
    }

    /// Whether nothing of a schedule goes on, or its state cannot be read.
    pub fn is_set_aside(&self, uid: Uid) -> bool {
        self.schedules.get(&uid).is_none_or(|schedule| schedule.status == Status::Quarantined)
    }

    /// Whether history knows the end of a run.
    pub fn has_ended(&self, id: RunId) -> bool {
        self.ended(id.uid).any(|(other, _)| other == id)
    }

    /// Whether more of its runs ended in one commit than could be kept.
    pub fn is_crowded(&self, uid: Uid) -> bool {
        self.crowded.contains(&uid)
    }

    /// Whether the end of a run may have been overwritten in the commit that brought it, or is gone with its schedule.
    pub fn may_not_show(&self, id: RunId) -> bool {
        self.is_crowded(id.uid) || !self.schedules.contains_key(&id.uid)
    }

    /// What history knows of a schedule.
    pub fn ended(&self, uid: Uid) -> impl Iterator<Item = (RunId, Outcome)> {
        let all = self.history.range((uid, false, 0)..=(uid, true, u32::MAX));
        all.map(|(_, ended)| *ended)
    }

    /// Times of a schedule that have a run of their own, as far as its history reaches.
    pub fn times_with_runs(&self, uid: Uid) -> Vec<Span> {
        let cold = self.log.range((uid, 0)..=(uid, u32::MAX)).map(|(_, entry)| entry);
        let hot = self.schedules.get(&uid).and_then(|schedule| schedule.past().decision.as_ref());
        let fired = cold.chain(hot).filter(|entry| entry.verdict == Verdict::Fired);
        let fired = fired.map(|entry| Span { from: entry.first, to: entry.last + 1 });
        let ended = self.ended(uid).filter(|(id, _)| id.trigger != Trigger::Manual);
        fired.chain(ended.map(|(id, _)| Span { from: id.nominal, to: id.nominal + 1 })).collect()
    }

    /// What is shown of a schedule whose state cannot be read, and that it was loaded at this time.
    pub fn stand_in(&mut self, uid: Uid, wall: i64) -> Option<Schedule> {
        let former = self.schedules.get(&uid)?;
        let mut schedule = Schedule::new(uid, former.definition.clone(), wall);
        (schedule.generation, schedule.status) = (former.generation, Status::Quarantined);
        // What is still live has been, wherever the clock has been set.
        let live = self.live(uid).filter(|run| run.id.trigger == Trigger::Scheduled);
        let decided = live.map(|run| run.id.nominal).max();
        schedule.decided_through = decided.map_or(wall, |decided| decided.max(wall));
        self.log.retain(|(of, _), _| *of != uid);
        self.history.retain(|(of, ..), _| *of != uid);
        self.schedules.insert(uid, schedule.clone());
        Some(schedule)
    }

    /// Applies a commit and says what it changed.
    ///
    /// # Errors
    /// When a record cannot be read, or a key is written twice.
    pub fn apply(&mut self, writes: &[Write]) -> Result<Changes, Broken> {
        let unreadable = |key: &Key| {
            let key = format!("{:?}", key.name());
            move |why: record::Unreadable| Broken {
                rule: "records can be read",
                how: format!("{key}: {why:?}"),
            }
        };
        let mut keys = BTreeSet::new();
        let mut named = Vec::new();
        for write in writes {
            holds("a batch names each key once", keys.insert(&write.key), || {
                format!("{:?}", write.key.name())
            })?;
            let name = write.key.name().ok_or_else(|| Broken {
                rule: "records can be read",
                how: format!("an unknown key {:?}", write.key.as_bytes()),
            })?;
            named.push((name, write));
        }
        for (name, write) in &named {
            if let (Name::Definition(uid, generation), Some(value)) = (name, &write.value) {
                let definition =
                    record::read_definition(value.clone(), |source| self.interner.compile(source));
                let definition = definition.map_err(unreadable(&write.key))?;
                self.definitions.insert((*uid, *generation), Arc::new(definition));
            }
        }
        let mut changes = Changes::default();
        let mut log = Vec::new();
        for (name, write) in &named {
            let key = &write.key;
            match (name, &write.value) {
                (Name::State(uid), value) => {
                    let after = value
                        .clone()
                        .map(|value| {
                            record::read_state(*uid, value, |generation| self.definition(*uid, generation))
                        })
                        .transpose()
                        .map_err(unreadable(key))?;
                    self.former.insert(*uid);
                    let before = match &after {
                        Some(after) => self.schedules.insert(*uid, after.clone()),
                        None => self.schedules.remove(uid),
                    };
                    changes.schedules.push((*uid, before, after));
                }
                (Name::Run(id), value) => {
                    let after = value
                        .clone()
                        .map(|value| {
                            record::read_run(*id, value, |generation| self.definition(id.uid, generation))
                        })
                        .transpose()
                        .map_err(unreadable(key))?;
                    let before = match &after {
                        Some(after) => self.runs.insert(*id, after.clone()),
                        None => self.runs.remove(id),
                    };
                    // One that could not be read goes unseen.
                    if before.is_some() || after.is_some() {
                        changes.runs.push((*id, before, after));
                    }
                }
                (Name::Request { namespace, id }, value) => {
                    let at = (namespace.clone(), id.clone());
                    match value {
                        Some(value) => {
                            let seen = record::read_request(value.clone()).map_err(unreadable(key))?;
                            self.requests.insert(at, seen);
                        }
                        None => {
                            self.requests.remove(&at);
                        }
                    }
                }
                (Name::Decision(uid, slot), Some(value)) => {
                    let entry = record::read_decision(value.clone()).map_err(unreadable(key))?;
                    log.push(((*uid, *slot), entry));
                }
                (Name::Succeeded(uid, slot) | Name::Unsucceeded(uid, slot), Some(value)) => {
                    let finished = record::read_finished(*uid, value.clone()).map_err(unreadable(key))?;
                    let well = matches!(name, Name::Succeeded(..));
                    self.history.insert((*uid, well, *slot), (finished.id, finished.outcome));
                    changes.finished.push(finished);
                }
                (Name::Limit { key: name, .. }, value) => {
                    let limit = value.clone().map(record::read_limit).transpose().map_err(unreadable(key))?;
                    changes.limits.push((name.clone(), limit));
                }
                (Name::Closing { key: name, .. }, value) => {
                    let closing =
                        value.clone().map(record::read_closing).transpose().map_err(unreadable(key))?;
                    changes.closings.push((name.clone(), closing));
                }
                (Name::Meta, Some(value)) => {
                    record::read_meta(value.clone()).map_err(unreadable(key))?;
                }
                (Name::Decision(uid, slot), None) => {
                    self.log.remove(&(*uid, *slot));
                }
                (Name::Succeeded(uid, slot), None) => {
                    self.history.remove(&(*uid, true, *slot));
                }
                (Name::Unsucceeded(uid, slot), None) => {
                    self.history.remove(&(*uid, false, *slot));
                }
                _ => {}
            }
        }
        self.log.extend(log);
        for (name, write) in &named {
            if let (Name::Definition(uid, generation), None) = (name, &write.value) {
                self.definitions.remove(&(*uid, *generation));
            }
        }
        for (uid, before, after) in &changes.schedules {
            let Some(after) = after else { continue };
            let decided = self.decided(before.as_ref(), after)?;
            if !decided.is_empty() {
                changes.decided.insert(*uid, decided);
            }
        }
        let crowded = changes.schedules.iter().filter(|schedule| overrun(Some(schedule)));
        self.crowded.extend(crowded.map(|(uid, ..)| *uid));
        Ok(changes)
    }

    /// The entries that came, from two states of the log: its newest entry is in the hot state, older ones move to
    /// the ring. Entries may only grow at the end.
    fn decided(&self, before: Option<&Schedule>, after: &Schedule) -> Result<Vec<Decided>, Broken> {
        let uid = after.uid;
        let (from, to) =
            (before.map_or(0, |before| before.past().rings.decisions), after.past().rings.decisions);
        let mut entries: Vec<Decision> =
            (from..to).filter_map(|number| self.log.get(&(uid, number)).cloned()).collect();
        holds("P1 decision logs are whole", entries.len() == (to - from) as usize, || {
            format!("{uid}: {} of {} entries are stored", entries.len(), to - from)
        })?;
        entries.extend(after.past().decision.clone());
        let known = before.and_then(|before| before.past().decision.as_ref());
        let mut decided = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let grew_from = known.filter(|_| index == 0);
            let (first, count) = match grew_from {
                None => (Some(entry.first), entry.count),
                Some(known) => {
                    let same = known.verdict == entry.verdict && known.first == entry.first;
                    holds("P1 decisions stay", same && known.last <= entry.last, || {
                        format!("{uid}: {known:?} became {entry:?}")
                    })?;
                    if known.last == entry.last && known.count == entry.count {
                        continue;
                    }
                    (None, entry.count.zip(known.count).map(|(now, then)| now - then))
                }
            };
            decided.push(Decided { entry, first, count });
        }
        Ok(decided)
    }
}
