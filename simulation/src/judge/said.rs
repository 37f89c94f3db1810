//! What leaves a scheduler: nothing before it is durable (P1), and nothing that contradicts what is.
//!
//! When a batch is released, the store holds exactly what the machine held when it closed the batch, unless another
//! owner has opened the store meanwhile. So answers can be compared with the records themselves.

use std::collections::{BTreeMap, BTreeSet};

use docket::schedule::v1 as pb;
use scheduler_svc::state_machine::{
    id::{RunId, SessionId, Uid},
    output::{Action, Answer, Body, Event, Order, Receipt, Reply},
    run::Phase,
    schedule::Status,
    view::{RunView, ScheduleView},
};

use super::{Compared, Verdict, broken, durable::Durable, holds, runs::Runs};

const P1: &str = "P1 write first, then speak";

#[derive(Debug, Default)]
pub struct Said {
    started: BTreeSet<(RunId, u32)>,
    ended: BTreeSet<(RunId, u32)>,
    finished: BTreeSet<RunId>,
    /// Of the last message of each session; the welcome is 1.
    sequences: BTreeMap<SessionId, u64>,
    /// Jobs that were sent: session, sequence, token.
    sent: Vec<(SessionId, u64, RunId, u64)>,
}

impl Said {
    pub fn event(
        &mut self,
        event: &Event,
        durable: &Durable,
        runs: &Runs,
        compared: &mut Compared,
    ) -> Verdict {
        compared.events += 1;
        match event {
            Event::Fired { id, .. } => {
                let stored = runs.knows(*id) || durable.may_not_show(*id);
                holds(P1, stored, || format!("{id} fired, and is not stored"))
            }
            Event::Started { run, .. } => {
                let (id, attempt) = (&run.id, &run.attempt);
                let stored = runs.leases.values().any(|lease| lease.id == *id && lease.attempt == *attempt);
                holds(P1, stored, || format!("{id} attempt {attempt} started, and is not stored"))?;
                let new = self.started.insert((*id, *attempt)) || runs.may_come_again(*id);
                holds("no two live leases on a run", new, || format!("{id} attempt {attempt} started again"))
            }
            Event::AttemptEnded { id, attempt, .. } => {
                let new = self.ended.insert((*id, *attempt)) || runs.may_come_again(*id);
                holds("no two live leases on a run", new, || format!("{id} attempt {attempt} ended again"))
            }
            Event::Finished { finished, .. } => {
                let id = finished.id;
                holds(P1, runs.has_ended(id) || durable.may_not_show(id), || {
                    format!("{id} finished, and that is not stored")
                })?;
                let new = self.finished.insert(id) || runs.may_come_again(id);
                holds("a run ends once", new, || format!("{id} finished again"))
            }
            Event::Created { .. }
            | Event::Retrying { .. }
            | Event::Discarded { .. }
            | Event::Schedule { .. }
            | Event::TimesMoved { .. }
            | Event::GateClosed { .. }
            | Event::GateReopened { .. }
            | Event::WorkerJoined { .. }
            | Event::WorkerLost { .. }
            | Event::WorkerTwice { .. } => Ok(()),
        }
    }

    pub fn message(
        &mut self,
        session: SessionId,
        sequence: u64,
        body: &Body,
        runs: &Runs,
        compared: &mut Compared,
    ) -> Verdict {
        compared.messages += 1;
        let last = self.sequences.entry(session).or_insert(1);
        holds("W2 messages of a session are numbered", sequence == *last + 1, || {
            format!("session {session}: {sequence} after {last}")
        })?;
        *last = sequence;
        let Body::Jobs(jobs) = body else { return Ok(()) };
        for job in jobs {
            let Some(lease) = runs.leases.get(&job.token) else {
                return broken(P1, format!("{} was sent, and its lease {} is not stored", job.id, job.token));
            };
            let same = (lease.id, lease.attempt) == (job.id, job.attempt);
            self.sent.push((session, sequence, job.id, job.token));
            holds(P1, same, || format!("{} attempt {} was sent under {lease:?}", job.id, job.attempt))?;
            let checkpoint = job.checkpoint.as_ref().map(|bytes| bytes.to_vec());
            holds("an attempt is handed the last checkpoint", checkpoint == lease.checkpoint, || {
                format!("{} attempt {}", job.id, job.attempt)
            })?;
        }
        Ok(())
    }
}

impl Said {
    /// A job that was sent up to `received` and is not listed never arrived: its lease is over with this answer (W3).
    pub fn unlisted(&self, beat: &pb::HeartbeatRequest, durable: &Durable) -> Verdict {
        let Some(session) = SessionId::parse(&beat.session_id) else { return Ok(()) };
        let up_to = |sequence: u64| i64::try_from(sequence).is_ok_and(|sequence| sequence <= beat.received);
        for (_, _, id, token) in self.sent.iter().filter(|(of, at, ..)| *of == session && up_to(*at)) {
            let lives = durable.runs.get(id).and_then(|run| run.lease());
            let lives = lives.is_some_and(|lease| lease.token == *token);
            let listed = beat.held.iter().any(|held| held.lease_token as u64 == *token);
            holds("W3 what is not listed is lost", !lives || listed, || format!("{id} under {token}"))?;
        }
        Ok(())
    }
}

/// An answer to the app against the records.
pub fn answered(reply: &Reply, durable: &Durable, runs: &Runs) -> Verdict {
    let Ok(answer) = reply else { return Ok(()) };
    match answer {
        Answer::Upserted { schedule, .. } => stored(schedule, durable),
        Answer::Paused { schedule, .. } | Answer::Resumed { schedule, .. } => stored(schedule, durable),
        Answer::Triggered { run, .. } => {
            let id = match &**run {
                RunView::Live(live) => live.id,
                RunView::Final { id, .. } => *id,
            };
            holds(P1, runs.knows(id) || durable.may_not_show(id), || {
                format!("{id} was promised, and is not stored")
            })
        }
        _ => Ok(()),
    }
}

/// Delete with `cancel_running`: no run of the deleted schedule goes on untold (R4).
pub fn cancelled(uid: Uid, durable: &Durable) -> Verdict {
    let untold = durable.live(uid).find(|run| matches!(run.phase, Phase::Running(_)));
    holds("R4 delete cancels what runs, if it is asked to", untold.is_none(), || {
        format!("{:?} goes on", untold.map(|run| run.id))
    })
}

/// What was shown is stored, or something later of the same schedule.
fn stored(view: &ScheduleView, durable: &Durable) -> Verdict {
    let Some(stored) = durable.schedules.get(&view.uid) else {
        // A schedule may end or be deleted in the batch that answers.
        let may_be_gone = view.definition.delete_when_ended || durable.was_stored(view.uid);
        return holds(P1, may_be_gone, || format!("{} was shown, and is not stored", view.uid));
    };
    let shown = revision(&view.etag);
    let kept = shown < stored.revision || shown == stored.revision && *stored.definition == *view.definition;
    holds(P1, kept, || format!("{}: shown revision {shown}, stored {}", view.uid, stored.revision))
}

fn revision(etag: &str) -> u32 {
    etag.split_once('-').and_then(|(_, revision)| revision.parse().ok()).unwrap_or(0)
}

/// Receipts against what is stored (rule W6).
pub fn receipts(
    request: &pb::ReportResultsRequest,
    receipts: &[Receipt],
    durable: &Durable,
    runs: &Runs,
    compared: &mut Compared,
) -> Verdict {
    let reports = &request.reports;
    holds("a receipt per report", reports.len() == receipts.len(), || {
        format!("{} for {}", receipts.len(), reports.len())
    })?;
    for (report, receipt) in reports.iter().zip(receipts) {
        compared.replies += 1;
        let token = report.lease_token as u64;
        let id = RunId::parse(&report.run_id);
        let run = id.and_then(|id| durable.runs.get(&id));
        let accepted = runs.accepted.contains(&token) || id.is_some_and(|id| gone(id, durable));
        let what = || format!("{receipt:?} for {} attempt {} token {token}", report.run_id, report.attempt);
        match receipt {
            Receipt::Accepted { .. } | Receipt::Repeated => {
                holds("nothing acknowledged is lost", accepted, what)?;
            }
            Receipt::Stale(_) | Receipt::Forgotten => {
                let lease = run.and_then(|run| run.lease());
                let current = lease
                    .is_some_and(|lease| lease.token == token && *lease.worker_id == *request.worker_id)
                    && run.is_some_and(|run| i64::from(run.attempt) == i64::from(report.attempt));
                holds("W6 an outcome is taken while its lease lives", !current, what)?;
                let late =
                    run.is_some_and(|run| run.lease().is_none() && run.lost_token == token && token > 0);
                holds("W6 a late outcome is taken until the run is given away", !late, what)?;
            }
            Receipt::Invalid(_) => {}
        }
    }
    Ok(())
}

/// A deleted schedule takes its records with it.
fn gone(id: RunId, durable: &Durable) -> bool {
    !durable.schedules.contains_key(&id.uid)
}

/// Orders against what is stored: a lease that lives is not dropped (W3), one that is cancelled is told so (W9).
pub fn orders(held: &[pb::HeldRun], instance: &str, orders: &[Order], durable: &Durable) -> Verdict {
    for one in held {
        let run = RunId::parse(&one.run_id).and_then(|id| durable.runs.get(&id));
        let Some((run, lease)) = run.and_then(|run| run.lease().map(|lease| (run, lease))) else { continue };
        let own = lease.token == one.lease_token as u64
            && i64::from(run.attempt) == i64::from(one.attempt)
            && &*lease.instance == instance;
        // Whoever lists a run twice, once under a token of its own making, is told about that one.
        let named = |other: &&pb::HeldRun| (&other.run_id, other.attempt) == (&one.run_id, one.attempt);
        if !own || held.iter().filter(named).count() > 1 {
            continue;
        }
        let same =
            |order: &&Order| (&order.run_id, i64::from(order.attempt)) == (&one.run_id, one.attempt.into());
        let told = orders.iter().find(same).map(|order| order.action);
        let cancelling = matches!(run.phase, Phase::Cancelling { .. });
        holds("W3 a lease that lives is not dropped", told != Some(Action::Drop), || one.run_id.clone())?;
        // The cancellation may be younger than the answer within its batch; then it was pushed.
        let uncalled = told == Some(Action::Cancel) && !cancelling;
        holds("W9 only what is cancelled is told to stop", !uncalled, || one.run_id.clone())?;
    }
    Ok(())
}

/// Whether the app may no longer find a schedule.
pub fn is_gone(status: Status) -> bool {
    status == Status::Deleted
}
