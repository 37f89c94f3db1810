//! The sequential model of one schedule as its owner knows it. Answers must match it, whatever was lost on the way.

use std::{collections::BTreeSet, sync::Arc};

use scheduler_svc::state_machine::{
    definition::Definition,
    id::{RunId, Uid},
    output::{Answer, Change, Refusal, Reply},
    schedule::{PauseReason, Status},
    timing::Timing,
    view::{RunView, ScheduleView},
};

use super::{Verdict, broken, durable::Durable, holds, runs::Runs};
use crate::workload::{Ask, NO_ETAG, Op};

const MODEL: &str = "replies match a sequential model";

/// What the owner knows.
#[derive(Debug, Default)]
pub struct Known {
    pub schedule: Option<Saved>,
    /// Runs that were promised.
    pub triggered: Vec<RunId>,
    /// How many manual runs of the schedule were promised.
    promised: u64,
    /// Something was done to it that may have set it aside.
    pub poisoned: bool,
    /// What an upsert was to save that failed by INTERNAL: an earlier try of it may have been applied.
    pub doubt: Option<Box<Definition>>,
    /// Runs that were live when it was seen last.
    pub active: Vec<RunId>,
    uids: BTreeSet<Uid>,
}

#[derive(Clone, Debug)]
pub struct Saved {
    pub uid: Uid,
    pub definition: Arc<Definition>,
    generation: u32,
    pub etag: String,
    /// As the owner asked for it; until when.
    pub paused: Option<Option<i64>>,
    /// It may have ended at any time.
    finite: bool,
}

impl Saved {
    /// It may have been deleted when it ended.
    fn may_be_gone(&self) -> bool {
        self.finite && self.definition.delete_when_ended
    }
}

fn is_finite(definition: &Definition) -> bool {
    matches!(definition.timing, Timing::At(_)) || definition.end.is_some() || definition.max_runs > 0
}

impl Known {
    /// `uids`: those of all tries of an upsert. `lived`: whether a run was live at some time since the call was sent.
    pub fn answered(
        &mut self,
        ask: &Ask,
        uids: &[Uid],
        reply: &Reply,
        lived: &dyn Fn(RunId) -> bool,
    ) -> Verdict {
        if let Err(Refusal::ScheduleNotFound) = reply {
            self.doubt = None;
            return self.not_found(ask);
        }
        match (&ask.op, reply) {
            (Op::Upsert { .. }, _) => self.upserted(ask, uids, reply),
            (Op::Delete { .. }, Ok(Answer::Deleted(count))) => {
                let known = self.schedule.take();
                holds(MODEL, *count == 1 && known.is_some(), || format!("deleted {count}, known: {known:?}"))
            }
            (Op::Pause { note, until }, Ok(Answer::Paused { schedule, .. })) => {
                let paused = schedule.status == Status::Paused;
                if let Some(known) = &mut self.schedule {
                    known.paused = paused.then_some(*until);
                }
                self.seen(schedule)?;
                let kept = schedule
                    .pause
                    .as_ref()
                    .is_some_and(|pause| *pause.note == **note && pause.until == *until);
                let known = self.schedule.as_ref();
                // A revoked consent may have taken its place, where the answer is that to a retry.
                let reason = schedule.pause.as_ref().map(|pause| pause.reason);
                let kept = kept || reason == Some(PauseReason::Reauthorize);
                // A pause may be over by itself before its answer.
                let over = until.is_some() && schedule.status == Status::Active;
                let refused = matches!(schedule.status, Status::Ended | Status::Quarantined)
                    && known.is_some_and(|known| known.finite);
                let aside = self.poisoned && schedule.status == Status::Quarantined;
                holds(MODEL, paused && kept || over || refused || aside, || format!("paused: {schedule:?}"))
            }
            (Op::Resume { .. }, Ok(Answer::Resumed { schedule, .. })) => {
                if let Some(known) = &mut self.schedule {
                    known.paused = None;
                }
                self.seen(schedule)?;
                // It may have been paused again, by a failure, before the answer to a retry.
                let requested =
                    schedule.pause.as_ref().is_some_and(|pause| pause.reason == PauseReason::Requested);
                holds(MODEL, !requested, || format!("resumed: {schedule:?}"))
            }
            (Op::Trigger, _) => self.triggered(reply, lived),
            (Op::Reuse, _) => holds(
                "P5 a request id names one request",
                matches!(reply, Err(Refusal::RequestIdReused)),
                || format!("{reply:?}"),
            ),
            (Op::Get, Ok(Answer::Schedule(schedule))) => {
                if let Some(doubt) = self.doubt.take() {
                    self.settle(&doubt, schedule);
                }
                self.seen(schedule)
            }
            (Op::List, Ok(Answer::Schedules { schedules, .. })) => self.listed(ask, schedules),
            (Op::GetRun(id), _) => self.run(*id, reply),
            (Op::CancelRun(id), _) => self.cancelled(*id, reply),
            (Op::RetryRuns(ids), Ok(Answer::Progress { done, skipped, next })) => {
                self.promised += done;
                let whole = done + skipped == ids.len() as u64 && next.is_none();
                holds(MODEL, whole, || format!("{done} and {skipped} of {ids:?}"))
            }
            (Op::Backfill(_), Err(Refusal::ScheduleQuarantined)) if self.poisoned => Ok(()),
            (Op::Backfill(_), Ok(Answer::Backfilled { .. })) => Ok(()),
            (
                Op::Backfill(_),
                Err(Refusal::SchedulePaused | Refusal::Changed | Refusal::BackfillUnderWay),
            ) => Ok(()),
            (op, other) => broken(MODEL, format!("{op:?} was answered {other:?}")),
        }
    }

    /// Takes over what an upsert has saved after all.
    fn settle(&mut self, doubt: &Definition, view: &ScheduleView) {
        let known = self.schedule.as_ref().filter(|known| known.uid == view.uid);
        if *view.definition != *doubt || known.is_some_and(|known| known.generation == view.generation) {
            return;
        }
        if known.is_none() {
            self.promised = 0;
            self.uids.insert(view.uid);
        }
        self.schedule = Some(Saved {
            uid: view.uid,
            definition: view.definition.clone(),
            generation: view.generation,
            etag: view.etag.clone(),
            paused: known.and_then(|known| known.paused),
            finite: is_finite(doubt),
        });
    }

    fn not_found(&mut self, ask: &Ask) -> Verdict {
        let gone = self.schedule.take();
        // What an upsert saved may have ended before its retry is answered.
        let saved = match &ask.op {
            Op::Upsert { definition, .. } => is_finite(definition) && definition.delete_when_ended,
            _ => false,
        };
        let right = saved || gone.as_ref().is_none_or(Saved::may_be_gone);
        holds(MODEL, right, || format!("{:?} found nothing, known: {gone:?}", ask.op))
    }

    fn upserted(&mut self, ask: &Ask, uids: &[Uid], reply: &Reply) -> Verdict {
        let Op::Upsert { definition, trial, etag } = &ask.op else { return Ok(()) };
        let (schedule, change) = match reply {
            Err(Refusal::Poisonous) if self.poisoned => {
                self.doubt = Some(definition.clone());
                return Ok(());
            }
            Ok(Answer::Upserted { schedule, change, .. }) => (schedule, *change),
            Err(Refusal::NeverFires) => {
                return holds(MODEL, is_finite(definition), || format!("never fires: {definition:?}"));
            }
            Err(Refusal::EtagMismatch { current }) => {
                let other = etag.as_ref() != Some(current);
                return holds(MODEL, etag.is_some() && other, || format!("{etag:?} against {current}"));
            }
            other => return broken(MODEL, format!("upsert was answered {other:?}")),
        };
        holds(MODEL, *schedule.definition == **definition, || {
            format!("saved {definition:?}, shown {:?}", schedule.definition)
        })?;
        let wrong = etag.as_ref().is_some_and(|etag| etag == NO_ETAG);
        holds(MODEL, !wrong, || "an upsert with a wrong etag was accepted".into())?;
        if *trial {
            return Ok(());
        }
        let known = self.schedule.as_ref();
        let right = match (change, known) {
            (Change::Created, None) => true,
            (Change::Created, Some(known)) => known.may_be_gone(),
            (Change::Unchanged, Some(known)) => {
                known.uid == schedule.uid
                    && *known.definition == **definition
                    && known.generation == schedule.generation
            }
            (Change::Updated, Some(known)) => {
                known.uid == schedule.uid
                    && (*known.definition != **definition || self.poisoned)
                    && known.generation + 1 == schedule.generation
            }
            (Change::Unchanged | Change::Updated, None) => false,
        };
        holds(MODEL, right, || format!("{change:?} as {:?}, known: {known:?}", schedule.uid))?;
        if change == Change::Created {
            let ours = uids.contains(&schedule.uid) && self.uids.insert(schedule.uid);
            holds(MODEL, ours && schedule.generation == 1, || {
                format!("created as {:?} of {uids:?}", schedule.uid)
            })?;
            self.promised = 0;
        }
        let paused = known.filter(|known| known.uid == schedule.uid).and_then(|known| known.paused);
        self.schedule = Some(Saved {
            uid: schedule.uid,
            definition: schedule.definition.clone(),
            generation: schedule.generation,
            etag: schedule.etag.clone(),
            paused,
            finite: is_finite(definition),
        });
        self.seen(schedule)
    }

    /// A view of it: everything that was acknowledged is there.
    pub fn seen(&mut self, view: &ScheduleView) -> Verdict {
        let Some(known) = &mut self.schedule else {
            return broken(
                "nothing acknowledged is lost",
                format!("{} should be gone", view.definition.key.id),
            );
        };
        let same = view.uid == known.uid
            && view.definition == known.definition
            && view.generation == known.generation;
        holds("nothing acknowledged is lost", same, || format!("known {known:?}, shown {view:?}"))?;
        let requested = view.pause.as_ref().is_some_and(|pause| pause.reason == PauseReason::Requested);
        let (paused, ended) = (view.status == Status::Paused, view.status == Status::Ended);
        let right = match known.paused {
            // It pauses by itself after failures; a pause that the owner asked for is known.
            None => !requested || !paused,
            Some(None) => paused || ended && known.finite,
            Some(Some(_)) => true,
        };
        // What was set aside is not paused any more.
        let right = right || self.poisoned;
        holds("nothing acknowledged is lost", right, || {
            format!("{}: asked for pause {:?}, shown {view:?}", view.definition.key.id, known.paused)
        })?;
        holds("a schedule ends only when its times do", !ended || known.finite, || format!("{view:?}"))?;
        known.etag.clone_from(&view.etag);
        self.active.clone_from(&view.active);
        Ok(())
    }

    fn triggered(&mut self, reply: &Reply, lived: &dyn Fn(RunId) -> bool) -> Verdict {
        let Some(known) = &self.schedule else {
            return broken(MODEL, format!("nothing to trigger, and {reply:?}"));
        };
        match reply {
            Ok(Answer::Triggered { run, created }) => {
                let id = match &**run {
                    RunView::Live(live) => live.id,
                    RunView::Final { id, .. } => *id,
                };
                holds(MODEL, id.uid == known.uid, || format!("{id} of {}", known.uid))?;
                let before = self.triggered.contains(&id);
                holds("R1 no run id twice", !*created || !before, || format!("{id} was created before"))?;
                holds("R1 trigger names a live run", lived(id), || format!("{id} (created: {created})"))?;
                if *created {
                    self.promised += 1;
                    self.triggered.push(id);
                }
                Ok(())
            }
            // It may have paused by itself.
            Err(Refusal::SchedulePaused) => Ok(()),
            Err(Refusal::ScheduleQuarantined) => holds(MODEL, self.poisoned, || "set aside".into()),
            // It may have been gone before a retry asked for the run again.
            Err(Refusal::RunNotFound) => holds(MODEL, known.may_be_gone(), || format!("{reply:?}")),
            other => broken(MODEL, format!("trigger was answered {other:?}")),
        }
    }

    fn listed(&mut self, ask: &Ask, schedules: &[ScheduleView]) -> Verdict {
        let shown = schedules.iter().find(|view| view.definition.key == ask.key);
        match shown {
            Some(view) => self.seen(view),
            None => self.not_found(ask),
        }
    }

    /// A run that is to be cancelled is live, or it is not.
    fn cancelled(&self, id: RunId, reply: &Reply) -> Verdict {
        let known = self.schedule.as_ref().filter(|known| known.uid == id.uid);
        match reply {
            Ok(Answer::Run(_)) | Err(Refusal::RunNotLive) => Ok(()),
            Err(Refusal::RunNotFound) => {
                holds("nothing acknowledged is lost", known.is_none_or(Saved::may_be_gone), || {
                    format!("{id} is not found")
                })
            }
            other => broken(MODEL, format!("cancel run was answered {other:?}")),
        }
    }

    fn run(&self, id: RunId, reply: &Reply) -> Verdict {
        let known = self.schedule.as_ref().filter(|known| known.uid == id.uid);
        match reply {
            Ok(Answer::Run(_)) => Ok(()),
            Err(Refusal::RunNotFound) => {
                holds("nothing acknowledged is lost", known.is_none_or(Saved::may_be_gone), || {
                    format!("{id} is not found")
                })
            }
            other => broken(MODEL, format!("get run was answered {other:?}")),
        }
    }
}

/// Long after the last fault: the records say what the owner was told, and what was promised was made.
pub fn is_settled(known: &Known, durable: &Durable, runs: &Runs, id: &str) -> Verdict {
    if let Some(saved) = &known.schedule {
        let made = runs.manual.get(&saved.uid).copied().unwrap_or_default();
        let all_shown = !durable.is_crowded(saved.uid);
        holds("a call that makes a run makes one", made == known.promised || !all_shown, || {
            format!("{id}: {made} manual runs, {} were promised", known.promised)
        })?;
    }
    let stored = durable
        .schedules
        .values()
        .find(|schedule| *schedule.definition.key.id == *id && !super::said::is_gone(schedule.status));
    let right = match (&known.schedule, stored) {
        (None, None) => true,
        (Some(saved), None) => saved.may_be_gone() || known.poisoned,
        (None, Some(_)) => false,
        (Some(known), Some(stored)) => known.uid == stored.uid && known.definition == stored.definition,
    };
    holds("nothing acknowledged is lost", right, || {
        format!("{id}: known {:?}, stored {stored:?}", known.schedule)
    })
}
