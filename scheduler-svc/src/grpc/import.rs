//! Import: a stream of schedules, checked in parallel and applied in order, page by page (rule P3).
//!
//! ```text
//!   messages ──► pages of PAGE ──► checked, CHECKING at once ──► applied, one command a page ──► counted
//! ```
//!
//! Decoding, checking, the machine and the commit overlap; the pages of all imports that are under way share a
//! [`Lane`], so other calls wait for a few pages at most. However the stream ends, what was applied stays.

mod check;
mod missing;
mod tally;

use std::{sync::Arc, time::Instant};

use docket::{
    errors::Violation,
    identity::{self, Identity},
    schedule::v1::{self as pb, ImportMode},
};
use futures_util::{Stream, TryStreamExt as _, future, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Status, Streaming};

use check::{Checked, Checker};
use missing::Missing;
use tally::Tally;

use super::{Services, bulk, call_error, deadline, field, internal, mismatch, schedule::now};
use crate::{
    shard::{CallError, Handle, Pending},
    state_machine::{
        command::{self, Command, ImportItem},
        output::{Answer, Conflict, Imported},
    },
};

/// Schedules of one command: less than 2 ms of the machine's time.
const PAGE: usize = 250;
/// Pages that are checked at once.
const CHECKING: usize = 3;
/// Pages that wait for the machine or for their commit, of all imports together. Half of them make up the next batch
/// while the other half is committed, so a sync to disk is shared by some 2 000 schedules.
const IN_FLIGHT: usize = 16;

/// What the imports of a process share: places in the machine's queue.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Semaphore>);

impl Default for Lane {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT)))
    }
}

pub async fn import(
    services: &Services,
    lane: &Lane,
    request: Request<Streaming<pb::ImportSchedulesRequest>>,
) -> Result<pb::ImportSchedulesResponse, Status> {
    tokio::select! {
        imported = all(services, lane, request) => imported,
        () = services.stopping.cancelled() => Err(call_error(CallError::Stopped)),
    }
}

async fn all(
    services: &Services,
    lane: &Lane,
    request: Request<Streaming<pb::ImportSchedulesRequest>>,
) -> Result<pb::ImportSchedulesResponse, Status> {
    let (begun, deadline, identity) = (now(), deadline(&request), identity::of(&request)?);
    let mut messages = request.into_inner();
    let first = messages.message().await?.unwrap_or_default();
    let plan = Arc::new(Plan::new(services, &identity, first.options)?);
    let pages = Pages { messages, rest: first.schedules.into_iter(), named: 0, ended: false };
    let machine = Machine { shard: services.shard.clone(), lane: lane.clone(), deadline, plan: plan.clone() };
    let mut tally = Tally::default();
    checked(pages, &plan)
        .and_then(|page| machine.clone().enqueue(page))
        .try_buffered(IN_FLIGHT)
        .try_for_each(|done| future::ready(tally.add(done)))
        .await?;
    if plan.missing.is_some() {
        // A call that its client has cancelled looks like one whose stream has ended well. Once it yields, the
        // transport drops it.
        tokio::task::yield_now().await;
        machine.delete_missing(begun, &mut tally).await?;
    }
    if !plan.validate_only {
        machine.confirm().await?;
    }
    Ok(tally.into_response())
}

/// What the options ask for.
struct Plan {
    checker: Arc<Checker>,
    validate_only: bool,
    /// Set with delete_missing.
    missing: Option<Missing>,
    actor: Arc<str>,
}

impl Plan {
    fn new(
        services: &Services,
        identity: &Identity,
        options: Option<pb::ImportOptions>,
    ) -> Result<Self, Status> {
        let Some(options) = options else {
            return Err(Violation::new("options", "is required in the first message").into());
        };
        let namespace = field::id("options.namespace", identity.namespace(&options.namespace)?)?;
        let restore = match ImportMode::try_from(options.mode) {
            Ok(ImportMode::Upsert) => false,
            Ok(ImportMode::Restore) => true,
            Ok(ImportMode::Unspecified) | Err(_) => {
                return Err(Violation::new("options.mode", "is required: set UPSERT or RESTORE").into());
            }
        };
        if options.missing_filter.is_some() && !options.delete_missing {
            let remedy = "belongs to delete_missing: set it, or leave the filter out";
            return Err(Violation::new("options.missing_filter", remedy).into());
        }
        let filter = options.missing_filter.unwrap_or_default();
        let filter = bulk::matching(namespace, "options.missing_filter", &filter)?;
        let checker = Checker {
            namespace: namespace.into(),
            restore,
            default_spread: services.default_spread,
            digests: options.delete_missing,
        };
        Ok(Self {
            checker: Arc::new(checker),
            validate_only: options.validate_only,
            missing: options.delete_missing.then_some(Missing { filter }),
            actor: identity.name().into(),
        })
    }
}

/// The stream, cut anew.
struct Pages {
    messages: Streaming<pb::ImportSchedulesRequest>,
    /// Of the last message.
    rest: std::vec::IntoIter<pb::ScheduleRecord>,
    /// How many schedules came before.
    named: u64,
    ended: bool,
}

impl Pages {
    /// The next page, with the number of its first schedule, from 0.
    async fn next(&mut self) -> Result<Option<(u64, Vec<pb::ScheduleRecord>)>, Status> {
        let mut page = Vec::with_capacity(PAGE);
        loop {
            page.extend(self.rest.by_ref().take(PAGE - page.len()));
            if page.len() == PAGE || self.ended {
                break;
            }
            match self.messages.message().await? {
                None => self.ended = true,
                Some(message) if message.options.is_some() => {
                    let remedy = "belongs into the first message only; what came before it is imported";
                    return Err(Violation::new("options", remedy).into());
                }
                Some(message) => self.rest = message.schedules.into_iter(),
            }
        }
        let first = self.named;
        self.named += page.len() as u64;
        Ok(Some((first, page)).filter(|(_, page)| !page.is_empty()))
    }
}

/// Pages ready for the machine, in the order of the stream.
fn checked(pages: Pages, plan: &Plan) -> impl Stream<Item = Result<Checked, Status>> {
    let pages = stream::try_unfold(pages, |mut pages| async move {
        Ok::<_, Status>(pages.next().await?.map(|page| (page, pages)))
    });
    let checker = plan.checker.clone();
    let check = move |(first, page)| {
        let checker = checker.clone();
        let checked = tokio::task::spawn_blocking(move || checker.check(first, page, now()));
        async move { checked.await.map_err(|_| internal("checking an import has panicked")) }
    };
    let parts = |parts: Vec<Checked>| stream::iter(parts.into_iter().map(Ok));
    pages.map_ok(check).try_buffered(CHECKING).map_ok(parts).try_flatten()
}

/// What came of a page: the digests of its ids, what the machine says, and what never reached it.
type Done = (Vec<u128>, Imported, Vec<pb::ImportError>);

/// The way to the machine.
#[derive(Clone)]
struct Machine {
    shard: Handle,
    lane: Lane,
    deadline: Option<Instant>,
    plan: Arc<Plan>,
}

impl Machine {
    /// Puts a page into the queue, when it is its turn. Resolves to what will come of it.
    async fn enqueue(self, page: Checked) -> Result<impl Future<Output = Result<Done, Status>>, Status> {
        let Checked { items, named, errors } = page;
        let under_way = if items.is_empty() { None } else { Some(self.send(items).await?) };
        Ok(async move {
            let imported = match under_way {
                Some(under_way) => under_way.imported().await?,
                None => Imported::default(),
            };
            Ok((named, imported, errors))
        })
    }

    async fn send(&self, items: Vec<ImportItem>) -> Result<UnderWay, Status> {
        let place = self.lane.0.clone().acquire_owned().await.map_err(|_| internal("the lane is closed"))?;
        let (validate_only, actor) = (self.plan.validate_only, self.plan.actor.clone());
        let command = Command::Import(Box::new(command::Import { items, validate_only, actor }));
        let pending = self.shard.enqueue(command, self.deadline).await.map_err(call_error)?;
        Ok(UnderWay { pending, _place: place })
    }
}

impl Machine {
    /// Resolves when all pages are as safe as `store.ack` asks.
    async fn confirm(&self) -> Result<(), Status> {
        let answer = self.shard.call(Command::Confirm, self.deadline).await.map_err(call_error)?;
        if matches!(answer, Answer::Confirmed) { Ok(()) } else { Err(mismatch()) }
    }
}

/// A page in the machine's hands.
struct UnderWay {
    pending: Pending,
    _place: OwnedSemaphorePermit,
}

impl UnderWay {
    async fn imported(self) -> Result<Imported, Status> {
        match self.pending.answer().await.map_err(call_error)? {
            Answer::Imported(imported) => Ok(*imported),
            _ => Err(mismatch()),
        }
    }
}

pub fn about_conflict(conflict: Conflict) -> String {
    match conflict {
        Conflict::IdTaken(uid) => format!(
            "another schedule has this id here, with uid {uid}: delete it first, or import in mode UPSERT"
        ),
        Conflict::UidTaken => {
            "another schedule has this uid here: delete it first, or import in mode UPSERT".into()
        }
        Conflict::Ending => {
            "it was deleted here and its last run is still on a worker: restore it once that run is final".into()
        }
        Conflict::Diverged => {
            "it was changed here since the export, and so was the record: delete it here to restore the record, or \
             leave the record out to keep it"
                .into()
        }
        Conflict::Over => {
            "it has ended and would be deleted at once (delete_when_ended): leave it out, or clear the field".into()
        }
    }
}
