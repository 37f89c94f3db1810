//! The task around the pipeline: a thread that pumps commands, time and commit outcomes, and a thread that commits.
//! Where `store.ack` asks for more than commits, a third one waits for that.
//!
//! A thread of its own keeps timers punctual however busy the gRPC runtime is. Nothing here waits for a client:
//! replies go to one-shot channels, messages to sessions into outboxes that are bounded by the session's slots; the
//! stream of a session whose outbox is full is cut.
//!
//! Order of stopping: callers end first (the queue closes), then what was gathered is committed and released, then the
//! committer ends.

mod committer;
mod handle;
mod observer;
mod outbox;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use committer::{Commit, Outcome, Question, Secured, start_committer, start_securer};
use handle::{Call, Desk};
pub use handle::{CallError, Handle, Pending};
pub use observer::Observer;
pub use outbox::{Messages, Outbox, outbox};

use crate::{
    allocator,
    event_log::{self, EventLog},
    metrics::{Committed, LOOK, Look},
    pipeline::{Halt, Pipeline, Step},
    state_machine::{
        Config, LoadError, StateMachine,
        command::Command,
        id::{ReplyTo, SessionId},
        output::{Output, Reply},
        timer::{Now, Wake},
    },
    store::{Batch, Key, Snapshot, Store, StoreError},
};

/// Calls that wait to be applied; over it, UNAVAILABLE (rule P3).
const QUEUE: usize = 4_096;
/// Calls that are applied between two looks at the clock.
const CALLS_PER_TURN: usize = 1_000;
/// The wall clock may be set while the shard sleeps, so it never sleeps longer.
const NAP_MAX: Duration = Duration::from_secs(1);
/// A clock that is set back by less, or differs by less from that of the leader before, is no news. Milliseconds.
const AHEAD_MIN: i64 = 10_000;

/// A shard that runs, until its seat is vacated or all handles are gone.
pub struct Shard {
    pub handle: Handle,
    /// Resolves when the shard has stopped, with the reason if it did not mean to.
    pub stopped: oneshot::Receiver<Option<Halt>>,
    pub epoch: u64,
    /// Hot records that were loaded.
    pub loaded: usize,
    /// How long that took, without any wait to become the owner.
    pub load_time: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the store: {0}")]
    Store(#[from] StoreError),
    #[error("load the store: {0}")]
    Load(#[from] LoadError),
    #[error("start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How the shard is set up. A bare [`Config`] leaves the rest at its defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub machine: Config,
    pub events: event_log::Bounds,
}

impl From<Config> for Options {
    fn from(machine: Config) -> Self {
        Self { machine, ..Self::default() }
    }
}

/// Opens the store, loads the machine and starts both threads. Blocking.
///
/// # Errors
/// See [`StartError`].
pub fn start(
    store: Arc<dyn Store>,
    options: impl Into<Options>,
    observer: impl Observer,
) -> Result<Shard, StartError> {
    let options = options.into();
    start_at(&Handle::vacant(store, options.events), options.machine, observer)
}

/// The same behind a handle that others hold already.
///
/// # Errors
/// See [`StartError`]; the seat stays vacant.
pub fn start_at(handle: &Handle, config: Config, observer: impl Observer) -> Result<Shard, StartError> {
    let store = handle.store().clone();
    let clock = Clock::new();
    let opened = store.open()?;
    let loaded = opened.hot.len();
    let (begun, begin) = (Instant::now(), clock.now());
    let machine = load(config, begin, opened.epoch, opened.hot)?;
    allocator::trim();
    let load_time = opened.took + begun.elapsed();
    let events = handle.events().clone();
    events.begin(opened.epoch);
    let (commits, outcomes) = start_committer(store.clone())?;
    let (questions, secured) = start_securer(store.clone())?;
    let pipeline = Pipeline::new(machine, opened.seq);
    let (calls, queue) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut pump = Pump {
        pipeline: if store.secures() { pipeline.secure_changes() } else { pipeline },
        clock,
        queue,
        commits,
        outcomes,
        questions,
        secured,
        waiting: HashMap::new(),
        next_reply: 0,
        sessions: HashMap::new(),
        closing: HashMap::new(),
        observer: Box::new(observer),
        store,
        config,
        epoch: opened.epoch,
        events,
        in_flight: None,
        next_look: Instant::now(),
        last_wall: begin.wall,
    };
    let failed = Arc::new(AtomicBool::new(false));
    let fail = failed.clone();
    thread::Builder::new().name("shard".into()).spawn(move || {
        let halt = runtime.block_on(pump.run());
        // Before the pump is dropped, and with it what callers wait for.
        fail.store(matches!(halt, Some(Halt::Failed(_))), Ordering::Release);
        // Nobody may be listening any more.
        let _ = stop.send(halt);
    })?;
    handle.take(Desk::new(calls, opened.epoch, failed));
    Ok(Shard { handle: handle.clone(), stopped, epoch: opened.epoch, loaded, load_time })
}

fn load(config: Config, now: Now, epoch: u64, hot: Vec<(Key, Bytes)>) -> Result<StateMachine, LoadError> {
    let machine = StateMachine::load(config, epoch, now, hot)?;
    for record in machine.unreadable() {
        tracing::error!(key = %record.key, why = %record.why, "a record cannot be read; it is set aside and left as it is");
    }
    warn_ahead(&machine, now);
    Ok(machine)
}

/// A clock that was ahead and has been corrected leaves schedules silent; somebody should know.
fn warn_ahead(machine: &StateMachine, now: Now) {
    let Some(ahead) = machine.ahead(now.wall, AHEAD_MIN) else { return };
    let until = chrono::DateTime::from_timestamp_millis(ahead.until).unwrap_or_default();
    tracing::warn!(
        schedules = ahead.schedules,
        until = %until.format("%Y-%m-%dT%H:%M:%SZ"),
        "the clock was ahead: schedules that fired then have their times decided beyond now, and are silent until then"
    );
}

struct Pump {
    pipeline: Pipeline,
    clock: Clock,
    queue: mpsc::Receiver<Call>,
    commits: std::sync::mpsc::Sender<Commit>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    questions: std::sync::mpsc::Sender<Question>,
    secured: mpsc::UnboundedReceiver<Secured>,
    waiting: HashMap<ReplyTo, oneshot::Sender<Reply>>,
    next_reply: u64,
    sessions: HashMap<SessionId, Outbox>,
    /// By the replies that say so.
    closing: HashMap<ReplyTo, SessionId>,
    observer: Box<dyn Observer>,
    store: Arc<dyn Store>,
    config: Config,
    epoch: u64,
    events: Arc<EventLog>,
    /// When the commit in flight was first sent, and how many records it writes.
    in_flight: Option<(Instant, usize)>,
    next_look: Instant,
    /// The wall clock at the last look.
    last_wall: i64,
}

impl Pump {
    async fn run(&mut self) -> Option<Halt> {
        let mut open = true;
        loop {
            self.store.progress();
            self.look();
            self.pipeline.trust(self.store.trusted());
            if self.store.deposed() {
                self.pipeline.depose();
            }
            match self.pipeline.step() {
                Step::Commit { seq, batch } => self.commit(seq, batch),
                Step::Restore { seq, snapshot } => self.restore(seq, snapshot),
                Step::Release(output) => self.release(output),
                Step::Secure { seq } => self.secure(seq),
                Step::Reload => {
                    if let Err(error) = self.reload() {
                        return Some(Halt::Failed(error.to_string()));
                    }
                }
                Step::Wait(_) if self.pipeline.halted().is_some() => return self.pipeline.halted().cloned(),
                Step::Wait(_) if !open && self.pipeline.is_idle() => return None,
                Step::Wait(wake) => open = self.wait(wake, open).await,
            }
        }
    }

    /// After a panic of the machine (rule P4): another one takes its place, from what is durable.
    fn reload(&mut self) -> Result<(), StartError> {
        tracing::error!("the state machine panicked; its state is loaded anew");
        let opened = self.store.open()?;
        let machine = load(self.config, self.clock.now(), opened.epoch, opened.hot)?;
        self.epoch = opened.epoch;
        self.events.begin(opened.epoch);
        self.pipeline.reloaded(machine, opened.seq);
        self.waiting.retain(|to, _| self.pipeline.keeps(*to));
        let lost: Vec<_> =
            self.closing.extract_if(|to, _| !self.pipeline.keeps(*to)).map(|(_, id)| id).collect();
        self.sessions.retain(|id, _| self.pipeline.keeps_session(*id) && !lost.contains(id));
        Ok(())
    }

    /// Waits for whatever comes first. Returns whether callers are left.
    async fn wait(&mut self, wake: Wake, open: bool) -> bool {
        let nap = self.nap(wake);
        let room = self.pipeline.has_room();
        let mut calls = Vec::new();
        // All branches are safe to cancel: the channels keep what was not received.
        tokio::select! {
            biased;
            Some(outcome) = self.outcomes.recv() => {
                self.note_outcome(&outcome);
                match self.pipeline.committed(outcome) {
                    Some(Step::Release(output)) => self.release(output),
                    Some(Step::Commit { seq, batch }) => self.commit(seq, batch),
                    Some(Step::Restore { seq, snapshot }) => self.restore(seq, snapshot),
                    Some(Step::Wait(_) | Step::Reload | Step::Secure { .. }) | None => {}
                }
                open
            }
            Some(outcome) = self.secured.recv() => {
                if let Some(Step::Release(output)) = self.pipeline.secured(outcome) {
                    self.release(output);
                }
                open
            }
            () = std::future::ready(()), if nap.is_zero() => {
                self.pipeline.wake(self.clock.now());
                self.take_waiting(open)
            }
            received = self.queue.recv_many(&mut calls, CALLS_PER_TURN), if open && room => {
                let now = self.clock.now();
                calls.into_iter().for_each(|call| self.apply(now, call));
                received > 0
            }
            () = tokio::time::sleep(nap) => { self.pipeline.wake(self.clock.now()); open }
        }
    }

    /// Calls that wait already are applied between two turns of timers: however many schedules are due, the machine
    /// goes on hearing its workers.
    fn take_waiting(&mut self, open: bool) -> bool {
        let now = self.clock.now();
        for _ in 0..CALLS_PER_TURN {
            if !open || !self.pipeline.has_room() {
                break;
            }
            match self.queue.try_recv() {
                Ok(call) => self.apply(now, call),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        open
    }

    /// What is there is looked at once a second at the most; however busy the shard is, as often.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let look = Look { now: self.clock.now(), in_flight: self.in_flight.map(|(since, _)| since) };
        self.observer.looked(&look, &self.pipeline.machine().present());
        let before = std::mem::replace(&mut self.last_wall, look.now.wall);
        if before.saturating_sub(look.now.wall) > AHEAD_MIN {
            warn_ahead(self.pipeline.machine(), look.now);
        }
    }

    /// Of a commit that is sent again, the time counts from the first.
    fn note_outcome(&mut self, outcome: &Outcome) {
        let Some((since, writes)) = self.in_flight else { return };
        let done = outcome.is_ok();
        if !matches!(outcome, Err(StoreError::Unknown(_))) {
            self.in_flight = None;
        }
        self.observer.committed(&Committed { took: since.elapsed(), writes, done });
    }

    fn nap(&self, wake: Wake) -> Duration {
        let now = self.clock.now();
        let elapsed = wake.elapsed.map(|at| Duration::from_millis(at.saturating_sub(now.elapsed)));
        let wall =
            wake.wall.map(|at| Duration::from_millis(at.saturating_sub(now.wall).max(0).unsigned_abs()));
        elapsed.into_iter().chain(wall).min().map_or(NAP_MAX, |nap| nap.min(NAP_MAX))
    }

    fn apply(&mut self, now: Now, call: Call) {
        if call.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return;
        }
        if let Some((id, outbox)) = call.session {
            self.sessions.insert(id, outbox);
        }
        if let Command::Heartbeat(beat) = &call.command
            && let (Some(outbox), Some(slots)) = (self.sessions.get(&beat.session), beat.slots)
        {
            outbox.allow(slots);
        }
        self.next_reply += 1;
        let to = ReplyTo(self.next_reply);
        self.waiting.insert(to, call.reply);
        if let Command::CloseSession(id) = call.command {
            self.closing.insert(to, id);
        }
        self.pipeline.apply(now, to, call.command);
    }

    fn commit(&mut self, seq: u64, batch: Batch) {
        self.in_flight.get_or_insert((Instant::now(), batch.len()));
        // The committer lives as long as this sender.
        let _ = self.commits.send(Commit::Batch { epoch: self.epoch, seq, batch });
    }

    fn restore(&mut self, seq: u64, snapshot: Arc<Snapshot>) {
        self.in_flight.get_or_insert((Instant::now(), snapshot.hot.len() + snapshot.cold.len()));
        let _ = self.commits.send(Commit::Everything { epoch: self.epoch, seq, snapshot });
    }

    fn secure(&self, seq: u64) {
        // The securer lives as long as this sender.
        let _ = self.questions.send((self.epoch, seq));
    }

    /// What is not wanted any more is dropped: a caller that went away, a stream that broke.
    fn release(&mut self, output: Output) {
        for event in &output.events {
            self.observer.observe(event);
        }
        // Before the replies: whoever has an answer finds its event.
        self.events.append(output.events);
        // What was on its way to a session before it closed is still told.
        let closed: Vec<_> = output.replies.iter().filter_map(|(to, _)| self.closing.remove(to)).collect();
        for (to, reply) in output.replies {
            if let Some(waiting) = self.waiting.remove(&to) {
                let _ = waiting.send(reply);
            }
        }
        for (id, message) in output.messages {
            if self.sessions.get(&id).is_some_and(|outbox| outbox.send(message).is_err()) {
                self.cut(id);
            }
        }
        for id in output.closed.into_iter().chain(closed) {
            self.sessions.remove(&id);
        }
    }

    /// The stream of a session is not read: it ends here, and the machine hears of it as of any stream that broke.
    fn cut(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.next_reply += 1;
        self.pipeline.apply(self.clock.now(), ReplyTo(self.next_reply), Command::CloseSession(id));
    }
}

/// The process's clocks.
struct Clock {
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now() }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            wall: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
            elapsed: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests;
