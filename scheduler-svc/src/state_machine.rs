//! The scheduler's state as one deterministic value.
//!
//! Inputs: a [`Command`] or the call to [`StateMachine::wake`], and both clocks ([`Now`]). Outputs: writes, replies,
//! messages to workers and events ([`Output`]), and when to be called again ([`StateMachine::next_wake`]). It never
//! fails: a refusal is a reply. It holds every schedule, live run, queue, lease and timer in memory, and nothing that
//! is history. No step is unbounded: what could be long is done in turns.
//!
//! Read in this order: [`definition`], [`schedule`] and [`run`] are the things, `slots` and `index` hold the schedules;
//! [`command`] and [`output`] are the surface; `timing` names times, `fire` decides them (`overlap` while another run is
//! live, `catch_up` when they come late), `queue`, [`gate`], `dispatch` and `lease` hand runs to workers, `lost` takes
//! them back, `work` ends runs, [`history`] keeps what became of them, `writes` makes records of what changed; `save`,
//! `pause` and `api` change schedules, `bulk` many of them, `import` takes and [`snapshot`] gives them whole, `read` shows
//! them, [`look`] counts them, [`forecast`] names what comes (`pace` measures for it, `crowd` warns), `load` brings a
//! machine back from its records, `everything` makes them all anew, `quarantine` sets aside what cannot be processed;
//! `check` says what must always hold.
//!
//! Absent on purpose: async, IO, clocks, randomness, gRPC.

pub mod command;
pub mod definition;
pub mod failure;
pub mod history;
pub mod id;
pub mod look;
pub mod output;
pub mod request;
pub mod run;
pub mod schedule;
pub mod snapshot;
pub mod timer;
pub mod timing;
pub mod view;

mod api;
mod bulk;
mod catch_up;
mod check;
mod config;
mod crowd;
mod difference;
mod dispatch;
mod everything;
mod fire;
pub mod forecast;
pub mod gate;
mod import;
mod index;
mod lease;
mod load;
mod lost;
mod overlap;
mod pace;
mod partial;
mod pause;
pub mod poison;
mod quarantine;
mod queue;
mod read;
mod retime;
mod save;
mod slots;
mod work;
mod writes;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use command::Command;
pub use config::Config;
use crowd::Crowds;
use gate::Gates;
use history::History;
use id::{ReplyTo, RunId, SessionId, Uid};
use index::Index;
use lease::Session;
pub use load::LoadError;
use look::Tally;
use output::{Answer, Event, Output, Refusal, Totals};
use pace::Pace;
use quarantine::Handling;
use queue::Queue;
use request::Requests;
use run::{Run, RunKey};
use schedule::{Schedule, SlotKey};
use slots::Slots;
use timer::{ElapsedTimer, Now, Timers, Wake, WallTimer};
use timing::Interner;
use view::RunView;

use crate::store::key::Name;

/// While workers are connected or awaited, the machine is called at least this often, so that it notices when it
/// could not hear.
const TICK: u64 = 500;

#[derive(Debug)]
pub struct StateMachine {
    config: Config,
    epoch: u64,
    now: Now,

    schedules: Slots,
    index: Index,
    by_uid: HashTable<SlotKey>,
    runs: Slab<Run>,
    queue: Queue,
    gates: Gates,
    sessions: HashMap<SessionId, Session>,
    timers: Timers,
    queue_timers: HashMap<RunKey, u64>,
    requests: Requests,
    archives: BTreeMap<String, Box<str>>,

    crons: Interner,
    terms: definition::Pool,
    crowds: Crowds,
    pace: Pace,
    history: History,
    names: hashbrown::HashSet<Arc<str>>,
    next_token: u64,
    heartbeats: u64,
    totals: Totals,
    /// Runs as of the last seal, for metrics.
    tally: Tally,
    /// Of the last thousand fires.
    lateness: VecDeque<i64>,
    /// When the machine had asked to be called.
    expected_call: u64,
    /// Until then no worker is blamed for silence, elapsed milliseconds (rule W4).
    lenient_until: u64,
    /// Whether leases that were found at load still wait for their workers.
    has_orphans: bool,

    /// Records that could not be read at load.
    unreadable: Vec<LoadError>,
    /// Of these, runs and definitions of a schedule that can be read; they go when it is saved anew, or is gone.
    unreadable_of: HashMap<Uid, Vec<Name>>,
    /// The tz database that next times were stored with, if it is not this one's.
    former_tzdb: Option<String>,
    /// Schedules whose next time another tz database has moved.
    moved: Vec<SlotKey>,
    handling: Handling,
    /// Who triggered a run in this batch.
    triggered: Vec<(ReplyTo, Box<RunView>, bool)>,

    batch: u64,
    out: Output,
    /// Where in [`Output::writes`] a key stands.
    written: HashTable<usize>,
    hasher: DefaultHashBuilder,
    dirty_schedules: Vec<SlotKey>,
    dirty_runs: Vec<RunKey>,
    meta_dirty: bool,
    /// The meta record is to be written with the next batch that writes anything.
    meta_pending: bool,
    more_to_do: bool,
}

impl StateMachine {
    /// Applies one command. Its reply is in the next [`Self::seal`], or later if it waits for something.
    pub fn apply(&mut self, now: Now, to: ReplyTo, command: &Command) {
        self.handling = Handling::Nothing;
        self.hear(now);
        match command {
            Command::Upsert(upsert) => self.upsert(to, upsert),
            Command::Delete(delete) => self.delete_schedule(to, delete),
            Command::Pause(pause) => self.pause_schedule(to, pause),
            Command::Resume(resume) => self.resume_schedule(to, resume),
            Command::Trigger(trigger) => self.trigger(to, trigger),
            Command::Backfill(backfill) => self.backfill(to, backfill),
            Command::CancelRun(cancel) => self.cancel_run(to, cancel),
            Command::RetryRuns(retry) => self.retry_runs(to, retry),
            Command::Bulk(bulk) => self.bulk(to, bulk),
            Command::Import(import) => self.import(to, import),
            Command::DeleteNamed(delete) => self.delete_named(to, delete),
            Command::Export(list) => self.export(to, list),
            Command::GetSchedule(key) => self.get_schedule(to, key),
            Command::ListSchedules(list) => self.list_schedules(to, list),
            Command::GetRun(get) => self.get_run(to, get),
            Command::ListRuns(list) => self.list_runs(to, list),
            Command::GetStatus { namespace } => self.status(to, namespace),
            Command::Forecast(forecast) => self.forecast(to, forecast),
            Command::ListWorkers { namespace } => self.list_workers(to, namespace),
            Command::SetLimit(set) => self.set_limit(to, set),
            Command::ListLimits(list) => self.list_limits(to, list),
            Command::DeleteLimit(delete) => self.delete_limit(to, delete),
            Command::OpenSession(open) => self.open_session(to, open),
            Command::CloseSession(id) => {
                self.close_session(*id);
                self.answer(to, Answer::Closed);
            }
            Command::Confirm => self.answer(to, Answer::Confirmed),
            Command::SetAside { uid, why } => {
                self.set_aside(*uid, why);
                self.answer(to, Answer::Closed);
            }
            Command::Heartbeat(beat) => self.heartbeat(to, beat),
            Command::Report(reports) => self.report(to, reports),
        }
    }

    /// Handles what has come due, up to a bound. Returns how many timers it handled.
    pub fn wake(&mut self, now: Now) -> usize {
        self.hear(now);
        for handled in 0..self.config.timers_per_turn {
            if let Some(timer) = self.timers.pop(now) {
                self.elapsed_timer(timer);
            } else if let Some(timer) = self.timers.pop_wall(now) {
                self.wall_timer(timer);
            } else {
                return handled;
            }
        }
        self.config.timers_per_turn
    }

    /// Hands out what is ready and closes the batch: all that was changed since the last call.
    pub fn seal(&mut self) -> Output {
        self.handling = Handling::Nothing;
        let rechecking = self.recheck_gates();
        let assigning = self.dispatch();
        let trimming = self.trim_history();
        self.more_to_do = assigning || rechecking || trimming;
        self.answer_triggered();
        self.write_dirty();
        self.batch += 1;
        self.written.clear();
        mem::take(&mut self.out)
    }

    /// When to call [`Self::wake`], on either clock.
    pub fn next_wake(&mut self) -> Wake {
        let mut wake = self.timers.next();
        if !self.sessions.is_empty() || self.has_orphans {
            let tick = self.now.elapsed + TICK;
            wake.elapsed = Some(wake.elapsed.map_or(tick, |at| at.min(tick)));
        }
        self.expected_call = wake.elapsed.unwrap_or(self.now.elapsed).max(self.now.elapsed);
        wake
    }

    /// Whether the last seal stopped at a bound and another one would go on.
    pub fn has_more(&self) -> bool {
        self.more_to_do
    }

    /// When it was called last.
    pub fn now(&self) -> Now {
        self.now
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    fn hear(&mut self, now: Now) {
        let heard_last = mem::replace(&mut self.now, now).elapsed;
        self.forgive_deafness(heard_last);
    }

    fn elapsed_timer(&mut self, timer: ElapsedTimer) {
        self.handling = Handling::Elapsed(timer);
        match timer {
            ElapsedTimer::Backoff(key) => self.backoff_over(key),
            ElapsedTimer::Attempt(key) => self.attempt_timer(key),
            ElapsedTimer::Queue(key) => self.queue_timer(key),
            ElapsedTimer::Session(id) => self.session_timer(id),
            ElapsedTimer::Gate(gate) => self.gate_timer(gate),
            ElapsedTimer::Orphans => self.end_orphans(),
            ElapsedTimer::Requests => self.forget_requests(),
        }
    }

    fn wall_timer(&mut self, timer: WallTimer) {
        self.handling = Handling::Wall(timer);
        match timer {
            WallTimer::Due(slot) => self.fire_due(slot),
            WallTimer::Resume(slot) => self.pause_over(slot),
        }
    }

    // --- finding ---------------------------------------------------------------------------------------------

    fn slot_of(&self, uid: Uid) -> Option<SlotKey> {
        self.by_uid.find(hash(uid), |slot| self.schedules[*slot].uid == uid).copied()
    }

    /// A live run.
    fn run_of(&self, id: RunId) -> Option<RunKey> {
        let live = self.schedules[self.slot_of(id.uid)?].live();
        live.iter().copied().find(|key| self.runs[*key].id == id)
    }

    /// One allocation for all equal kinds, tenants and namespaces.
    fn name(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }

    // --- schedules come and go -------------------------------------------------------------------------------

    fn insert_schedule(&mut self, schedule: Schedule) -> SlotKey {
        let definition = schedule.definition.clone();
        // A deleted one lives on for its last run, while its name may belong to another by now.
        let named = schedule.status != schedule::Status::Deleted;
        let slot = self.add_schedule(schedule);
        if named {
            self.gates.count_uses(None, Some(&definition));
            self.crowds.count_uses(None, Some(&definition));
            self.index.insert(definition.key.clone(), slot);
        }
        slot
    }

    /// It is found by its uid, and by nothing else.
    fn add_schedule(&mut self, schedule: Schedule) -> SlotKey {
        let uid = schedule.uid;
        let slot = self.schedules.insert(schedule);
        let schedules = &self.schedules;
        self.by_uid.insert_unique(hash(uid), slot, |slot| hash(schedules[*slot].uid));
        self.history.add(&self.schedules[slot]);
        slot
    }

    /// Room for so many schedules more.
    fn reserve(&mut self, count: usize) {
        self.schedules.reserve(count);
        let schedules = &self.schedules;
        self.by_uid.reserve(count, |slot| hash(schedules[*slot].uid));
    }

    /// From now on nobody finds it by its name.
    fn hide_schedule(&mut self, slot: SlotKey) {
        let key = self.schedules[slot].definition.key.clone();
        if self.index.get(&key) == Some(slot) {
            self.index.remove(&key);
            self.gates.count_uses(Some(&self.schedules[slot].definition), None);
            self.crowds.count_uses(Some(&self.schedules[slot].definition), None);
        }
    }

    /// Removes a schedule that is deleted, or ended and to be deleted then, once its last run is final.
    fn remove_if_over(&mut self, slot: SlotKey) {
        let schedule = &self.schedules[slot];
        let ended = schedule.status == schedule::Status::Ended && schedule.definition.delete_when_ended;
        if !schedule.live().is_empty() || !(ended || schedule.status == schedule::Status::Deleted) {
            return;
        }
        if ended {
            self.schedules[slot].status = schedule::Status::Deleted;
            let actor = self.own_name();
            self.emit_schedule(slot, output::ScheduleChange::Deleted, &actor);
        }
        self.hide_schedule(slot);
        if let Some((at, timer)) = self.schedules[slot].armed.take() {
            self.timers.clear_wall(at, timer);
        }
        let schedule = self.schedules.remove(slot);
        if let Ok(entry) = self.by_uid.find_entry(hash(schedule.uid), |other| *other == slot) {
            entry.remove();
        }
        let uid = schedule.uid;
        self.drop_unreadable(uid);
        self.delete(&Name::State(uid));
        self.delete(&Name::Definition(uid, schedule.generation));
        self.forget_history(&schedule);
    }

    /// Drops the definition of a generation that is neither current nor pinned by a live run.
    fn forget_generation(&mut self, slot: SlotKey, generation: u32) {
        let schedule = &self.schedules[slot];
        let pinned = schedule.live().iter().any(|key| self.runs[*key].generation == generation);
        if generation != schedule.generation && !pinned {
            let uid = schedule.uid;
            self.delete(&Name::Definition(uid, generation));
        }
    }

    // --- output ----------------------------------------------------------------------------------------------

    fn answer(&mut self, to: ReplyTo, answer: Answer) {
        self.out.replies.push((to, Ok(answer)));
    }

    fn refuse(&mut self, to: ReplyTo, refusal: Refusal) {
        self.out.replies.push((to, Err(refusal)));
    }

    fn emit(&mut self, event: Event) {
        self.out.events.push(event);
    }
}

/// Uids are random: any 64 bits of them are a hash.
fn hash(uid: Uid) -> u64 {
    uid.0 as u64
}

#[cfg(test)]
pub(crate) mod tests;
