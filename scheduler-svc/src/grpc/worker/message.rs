//! What workers say, as commands; what the machine answers, as messages. Pure, so that the simulation speaks through
//! the same words.

use std::sync::Arc;

use bytes::Bytes;
use docket::{
    errors::{self, Reason, Violation},
    identity::{Identity, Scope},
    schedule::v1 as pb,
};
use prost::Message as _;
use prost_types::Struct;
use tonic::Status;

use crate::{
    grpc::{convert, field, not_leader, text::clean},
    state_machine::{
        command::{self, Caller, Held, OpenSession, Progress, Reported},
        failure::{Class, Failure},
        id::{RunId, SessionId},
        output::{Action, Order, Receipt},
        view::WorkerView,
    },
};

const SLOTS_MAX: u32 = 10_000;
const SLOTS_DEFAULT: u32 = 16;
const KINDS_MAX: usize = 64;
const REPORTS_MAX: usize = 1_000;
const CHECKPOINT_BYTES: usize = 16 << 10;
const RESULT_BYTES: usize = 4 << 10;
const NOTE_BYTES: usize = 256;
const MESSAGE_BYTES: usize = 1 << 10;
const CODE_BYTES: usize = 63;
const RETRY_AFTER_MAX: i64 = 86_400_000;

/// What every worker is told when its stream opens. Milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub lease: u64,
    pub heartbeat: u64,
    pub max_batch: usize,
}

impl Terms {
    pub fn welcome(self, id: SessionId, epoch: u64, orders: Vec<Order>) -> pb::Welcome {
        pb::Welcome {
            session_id: id.to_string(),
            epoch: epoch as i64,
            lease: Some(convert::duration(self.lease as i64)),
            heartbeat: Some(convert::duration(self.heartbeat as i64)),
            max_batch: self.max_batch as i32,
            server_version: env!("CARGO_PKG_VERSION").into(),
            orders: orders.into_iter().map(order).collect(),
        }
    }
}

/// Who speaks for a worker.
fn caller(identity: &Identity) -> Caller {
    let names = |scope: &Scope| match scope {
        Scope::All => None,
        Scope::Only(names) => Some(names.iter().map(|name| name.as_str().into()).collect()),
    };
    Caller {
        name: identity.name().into(),
        namespaces: names(identity.namespaces()),
        kinds: names(identity.kinds()),
    }
}

/// `own` is the epoch of the process that is spoken to.
///
/// # Errors
/// `INVALID_ARGUMENT` names the field; `UNAVAILABLE` when the worker has heard of a later epoch.
pub fn heartbeat(
    identity: &Identity,
    own: u64,
    body: &pb::HeartbeatRequest,
) -> Result<command::Heartbeat, Status> {
    let is_current = is_current(own, body.epoch)?;
    let (mut held, mut unknown) = (Vec::with_capacity(body.held.len()), Vec::new());
    field::count("held", body.held.len(), SLOTS_MAX as usize)?;
    for one in &body.held {
        match held_run(one)? {
            Some(one) => held.push(one),
            None => unknown.push((clean(&one.run_id, 128), one.attempt.max(0) as u32)),
        }
    }
    Ok(command::Heartbeat {
        // A session id that does not parse is as unknown as one of another epoch: the worker opens a new one.
        session: SessionId::parse(&body.session_id).filter(|_| is_current).unwrap_or(SessionId(0)),
        caller: caller(identity),
        worker_id: said(&body.worker_id),
        received: u64::try_from(body.received).unwrap_or(0),
        slots: body.slots.map(slots).transpose()?,
        draining: body.draining,
        held,
        unknown,
    })
}

/// `next`: milliseconds until the next heartbeat.
pub fn heard(
    epoch: u64,
    orders: Vec<Order>,
    reopen: bool,
    assigned: Vec<(RunId, u32, u64)>,
    next: u64,
) -> pb::HeartbeatResponse {
    pb::HeartbeatResponse {
        epoch: epoch as i64,
        orders: orders.into_iter().map(order).collect(),
        next: Some(convert::duration(next as i64)),
        reopen,
        assigned: assigned.into_iter().map(assigned_run).collect(),
    }
}

/// # Errors
/// `INVALID_ARGUMENT` when there are too many; `UNAVAILABLE` when the worker has heard of a later epoch. A report that
/// is wrong in itself is no error: it has a receipt that says so.
pub fn reports(
    identity: &Identity,
    own: u64,
    body: &pb::ReportResultsRequest,
) -> Result<Vec<command::Report>, Status> {
    field::count("reports", body.reports.len(), REPORTS_MAX)?;
    // Leases of an earlier epoch are still leases; what counts is the token.
    is_current(own, body.epoch)?;
    let (caller, worker_id) = (caller(identity), said(&body.worker_id));
    Ok(body.reports.iter().map(|one| report(caller.clone(), worker_id.clone(), one)).collect())
}

/// Whether a worker speaks of this leadership (rule O5). It may not know the epoch, or know an earlier one.
fn is_current(own: u64, epoch: i64) -> Result<bool, Status> {
    if own == 0 {
        // It has just stopped to lead, which says nothing about the worker's epoch.
        return Err(not_leader());
    }
    let own = own as i64;
    if epoch > own {
        tracing::warn!(own, heard = epoch, "a worker has heard of a later epoch; was the store restored?");
        return Err(errors::status(
            Reason::NotServing,
            format!("epoch: this scheduler is of epoch {own}; open StreamDueJobs at the leader"),
        ));
    }
    Ok(epoch == 0 || epoch == own)
}

/// None when the worker does not say who it is. An id that is none of ours matches no session and no lease.
fn said(worker_id: &str) -> Option<Arc<str>> {
    (!worker_id.is_empty()).then(|| worker_id.into())
}

fn assigned_run((id, attempt, token): (RunId, u32, u64)) -> pb::HeldRun {
    pb::HeldRun {
        run_id: id.to_string(),
        attempt: attempt as i32,
        lease_token: token as i64,
        progress: None,
        checkpoint: None,
    }
}

/// # Errors
/// `INVALID_ARGUMENT` names the field; `PERMISSION_DENIED` when the identity may not serve what it asks for.
pub fn open_session(
    identity: &Identity,
    id: SessionId,
    body: &pb::StreamDueJobsRequest,
) -> Result<OpenSession, Status> {
    identity.about(&body.worker_id);
    for kind in &body.kinds {
        identity.kind(kind)?;
    }
    for namespace in &body.namespaces {
        identity.namespace(namespace)?;
    }
    if body.kinds.is_empty() {
        return Err(Violation::new("kinds", "needs at least one, as in \"document-sync\"").into());
    }
    field::count("kinds", body.kinds.len(), KINDS_MAX)?;
    for (index, kind) in body.kinds.iter().enumerate() {
        field::id(&format!("kinds[{index}]"), kind)?;
    }
    let namespaces = match (body.namespaces.as_slice(), identity.namespaces()) {
        ([], Scope::All) => None,
        ([], Scope::Only(allowed)) => Some(allowed.iter().map(|one| one.as_str().into()).collect()),
        (asked, _) => {
            let check = |one: &String| Ok(identity.namespace(field::id("namespaces", one)?)?.into());
            Some(asked.iter().map(check).collect::<Result<_, Status>>()?)
        }
    };
    field::count("held", body.held.len(), SLOTS_MAX as usize)?;
    let mut held = Vec::new();
    for one in &body.held {
        held.extend(held_run(one)?);
    }
    Ok(OpenSession {
        session: id,
        caller: caller(identity),
        worker_id: field::id("worker_id", &body.worker_id)?.into(),
        instance: field::id("instance", &body.instance)?.into(),
        version: clean(&body.version, 64).into(),
        slots: if body.slots == 0 { SLOTS_DEFAULT } else { slots(body.slots)? },
        kinds: body.kinds.iter().map(|kind| kind.as_str().into()).collect(),
        namespaces,
        archive_id: Some(field::optional_id("archive_id", &body.archive_id)?)
            .filter(|id| !id.is_empty())
            .map(Into::into),
        held,
        draining: body.draining,
    })
}

fn slots(slots: i32) -> Result<u32, Violation> {
    u32::try_from(slots)
        .ok()
        .filter(|slots| *slots <= SLOTS_MAX)
        .ok_or_else(|| Violation::new("slots", format!("must be 0 to {SLOTS_MAX}")))
}

/// None when the run id is none of ours.
fn held_run(held: &pb::HeldRun) -> Result<Option<Held>, Violation> {
    let Some(id) = RunId::parse(&held.run_id) else { return Ok(None) };
    Ok(Some(Held {
        id,
        attempt: held.attempt.max(0) as u32,
        token: held.lease_token as u64,
        progress: held.progress.as_ref().map(|progress| Progress {
            done: progress.done,
            total: progress.total,
            note: clean(&progress.note, NOTE_BYTES).into(),
        }),
        // One that is too large must not cost the worker all its leases.
        checkpoint: held.checkpoint.clone().filter(|checkpoint| checkpoint.len() <= CHECKPOINT_BYTES),
    }))
}

/// A report that is wrong in itself ends its attempt: sent again it would be wrong again.
pub fn report(caller: Caller, worker_id: Option<Arc<str>>, report: &pb::Report) -> command::Report {
    let (outcome, invalid) = match outcome(report) {
        Ok(outcome) => (outcome, None),
        Err(why) => {
            let failure = Failure::new(Class::Permanent, "INVALID_REPORT", why.as_str());
            (
                Reported::Failure { failure: Box::new(failure), partial: Bytes::new(), checkpoint: None },
                Some(why.into()),
            )
        }
    };
    command::Report {
        caller,
        worker_id,
        id: RunId::parse(&report.run_id),
        attempt: report.attempt.max(0) as u32,
        token: report.lease_token as u64,
        outcome,
        invalid,
    }
}

fn outcome(report: &pb::Report) -> Result<Reported, String> {
    use pb::report::Outcome;
    match &report.outcome {
        None => Err("outcome: set success or failure".into()),
        Some(Outcome::Success(success)) => {
            Ok(Reported::Success { result: result("result", success.result.as_ref())? })
        }
        Some(Outcome::Failure(failed)) => {
            if report.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.len() > CHECKPOINT_BYTES) {
                return Err(format!("checkpoint: at most {CHECKPOINT_BYTES} bytes"));
            }
            Ok(Reported::Failure {
                failure: Box::new(failure(failed)?),
                partial: result("partial_result", report.partial_result.as_ref())?,
                checkpoint: report.checkpoint.clone(),
            })
        }
    }
}

fn result(name: &str, result: Option<&Struct>) -> Result<Bytes, String> {
    let checked = result.map_or(Ok(()), |result| field::json(name, result));
    checked.map_err(|violation| format!("{}: {}", violation.field, violation.message))?;
    let bytes: Bytes = result.map(|result| result.encode_to_vec().into()).unwrap_or_default();
    if bytes.len() > RESULT_BYTES {
        return Err(format!("{name}: is {} bytes; at most {RESULT_BYTES} are allowed", bytes.len()));
    }
    Ok(bytes)
}

fn failure(failure: &pb::Failure) -> Result<Failure, String> {
    let class = u32::try_from(failure.class).ok().and_then(Class::from_number);
    let class = class.ok_or("failure.class: must be one of FailureClass")?;
    let retry_after =
        field::millis("failure.retry_after", failure.retry_after.as_ref(), 0, RETRY_AFTER_MAX, 0);
    Ok(Failure {
        class,
        code: clean(&failure.code, CODE_BYTES).into(),
        message: clean(&failure.message, MESSAGE_BYTES).into(),
        retry_after: retry_after.map_err(|violation| format!("{}: {}", violation.field, violation.message))?
            as u32,
        limit: clean(&failure.limit, 128).into(),
    })
}

pub fn receipt(receipt: Receipt) -> pb::Receipt {
    use pb::ReceiptStatus as S;
    let (status, reason, next) = match receipt {
        Receipt::Accepted { next_attempt } => (S::Accepted, String::new(), next_attempt),
        Receipt::Repeated => (S::Repeated, "accepted before".into(), None),
        Receipt::Stale(why) => (S::Stale, why.into(), None),
        Receipt::Forgotten => (S::Forgotten, "no such live run".into(), None),
        Receipt::Invalid(why) => (S::Invalid, why.into(), None),
    };
    pb::Receipt { status: status.into(), reason, next_attempt_time: next.map(convert::timestamp) }
}

fn order(order: Order) -> pb::Order {
    let action = match order.action {
        Action::Cancel => pb::OrderAction::Cancel,
        Action::Drop => pb::OrderAction::Drop,
    };
    pb::Order {
        run_id: order.run_id,
        attempt: order.attempt as i32,
        action: action.into(),
        reason: order.reason.into(),
    }
}

/// A worker may serve namespaces that the caller knows nothing of.
pub(super) fn worker(identity: &Identity, view: &WorkerView) -> pb::Worker {
    let known = view.namespaces.iter().filter(|one| identity.namespaces().allows(one));
    pb::Worker {
        worker_id: view.worker_id.to_string(),
        instance: view.instance.to_string(),
        session_id: view.session.to_string(),
        version: view.version.to_string(),
        kinds: view.kinds.iter().map(|kind| kind.to_string()).collect(),
        namespaces: known.map(|one| one.to_string()).collect(),
        slots: view.slots as i32,
        held: view.held as i32,
        draining: view.draining,
        connected: view.connected,
        connect_time: Some(convert::timestamp(view.opened)),
        last_heartbeat_time: Some(convert::timestamp(view.heard)),
    }
}

#[cfg(test)]
mod tests {
    use docket::errors::reason_of;

    use super::*;

    /// A scheduler that has just stopped to lead knows no epoch of its own.
    #[test]
    fn o5_an_epoch_is_later_only_than_one_that_is_known() {
        let reason = |own, epoch| is_current(own, epoch).map_err(|status| reason_of(&status));
        assert_eq!(reason(0, 1), Err(Some(Reason::NotLeader)));
        assert_eq!(reason(2, 3), Err(Some(Reason::NotServing)));
        assert_eq!((reason(2, 2), reason(2, 1), reason(2, 0)), (Ok(true), Ok(false), Ok(true)));
    }
}
