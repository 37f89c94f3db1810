//! Chaos with real processes: load, faults, and then a checker.
//!
//! ```text
//!  plan ──► faults ──► two schedulers, two workers, Redis ◄── clients, a worker of our own, mail
//!                                     │                               │
//!                        journal: what the API tells      record: what was acknowledged
//!                                     └──────────► check ◄────────────┘
//! ```
//!
//! The seed decides what fails and what is called; how long each takes is up to the machine, so a seed repeats the plan
//! and not the moment.

mod chance;
mod check;
mod client;
mod journal;
mod mail;
mod plan;
mod record;
mod worker;
mod world;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use chance::Chance;
use check::Findings;
use docket::schedule::v1 as pb;
use journal::Journal;
use mail::{MAILBOXES, Post};
use plan::Step;
use record::Record;
use tokio::{sync::watch, task::JoinSet};
use world::{World, Wound};

const CLIENTS: usize = 4;
const WORKERS: usize = 2;
const BEAT: Duration = Duration::from_millis(100);
/// Peace between two steps of the plan; see [`plan::RULE`].
const PEACE: Duration = Duration::from_secs(2);
/// Between two readings of the journal.
const READING: Duration = Duration::from_secs(3);
/// Once nothing fails any more, all that was promised comes within this.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Options {
    pub seed: u64,
    pub play: Play,
}

/// What happens to the processes while they work.
pub enum Play {
    /// For so many seconds, everything fails in every way.
    Chaos(u64),
    /// Each service is told to stop and started again, one after the other: a rolling restart; or a rolling upgrade, if the
    /// binaries of the previous release lie in this folder.
    Rolling(Option<PathBuf>),
}

impl Options {
    fn previous(&self) -> Option<&Path> {
        match &self.play {
            Play::Chaos(_) => None,
            Play::Rolling(previous) => previous.as_deref(),
        }
    }
}

pub struct Report {
    pub violations: Vec<String>,
}

/// `say` gets a line at a time.
///
/// # Errors
/// When it cannot go on: then nothing is known.
pub async fn run(options: Options, say: impl Fn(&str)) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new().prefix("docket-chaos-").tempdir()?;
    let world = World::start(folder.path(), options.previous())?;
    say(&format!("seed {}; data and logs in {}", options.seed, folder.path().display()));
    match &options.play {
        Play::Chaos(seconds) => say(&format!("{seconds} s of chaos; rule of the plan: {}", plan::RULE)),
        Play::Rolling(None) => say("each service is restarted, one after the other"),
        Play::Rolling(Some(_)) => say("each service is upgraded, one after the other"),
    }
    let logs = world.logs();
    let findings = match Drill::new(world, &options, &say).await {
        Ok(mut drill) => drill.play(&options).await,
        Err(error) => Err(error),
    };
    let findings = findings.unwrap_or_else(|error| Findings {
        compared: vec!["it broke off before everything was compared".into()],
        violations: vec![format!("{error:#}")],
    });
    findings.compared.iter().for_each(|line| say(&format!("compared {line}")));
    let report = Report { violations: findings.violations };
    if report.violations.is_empty() {
        say("nothing lost, nothing doubled");
        return Ok(report);
    }
    let _ = folder.keep();
    report.violations.iter().take(50).for_each(|line| say(&format!("VIOLATION {line}")));
    say(&format!("{} violations with seed {}; logs:", report.violations.len(), options.seed));
    logs.iter().for_each(|path| say(&format!("  {}", path.display())));
    Ok(report)
}

struct Drill<'a> {
    world: World,
    post: Post,
    record: Arc<Record>,
    journal: Journal,
    chance: Chance,
    post_chance: Chance,
    begin: Instant,
    next_mail: Instant,
    next_reading: Instant,
    say: &'a dyn Fn(&str),
}

impl<'a> Drill<'a> {
    async fn new(world: World, options: &Options, say: &'a dyn Fn(&str)) -> anyhow::Result<Self> {
        let post = Post::open(&world.folder.join("mail"), &world).await?;
        Ok(Self {
            world,
            post,
            record: Arc::new(Record::default()),
            journal: Journal::default(),
            chance: Chance::new(options.seed, "plan"),
            post_chance: Chance::new(options.seed, "mail"),
            begin: Instant::now(),
            next_mail: Instant::now(),
            next_reading: Instant::now() + READING,
            say,
        })
    }

    fn say(&self, line: &str) {
        (self.say)(&format!("{:7.1} s  {line}", self.begin.elapsed().as_secs_f64()));
    }

    async fn play(&mut self, options: &Options) -> anyhow::Result<Findings> {
        let (stop_clients, stopping) = watch::channel(false);
        let (stop_workers, workers_stopping) = watch::channel(false);
        let (mut clients, mut workers) = (JoinSet::new(), JoinSet::new());
        for name in 0..CLIENTS {
            let replicas = self.world.clients.clone();
            let client = client::Client::new(name, options.seed, replicas, self.record.clone());
            clients.spawn(client.run(stopping.clone()));
        }
        for name in 0..WORKERS {
            let replicas = self.world.clients.clone();
            let worker = worker::Worker::new(name, options.seed, replicas, self.record.clone());
            workers.spawn(worker.run(workers_stopping.clone()));
        }
        let first_epoch = self.world.epoch().await?;
        let mut faults = 0;
        match options.play {
            Play::Chaos(seconds) => {
                while self.begin.elapsed() < Duration::from_secs(seconds) {
                    let step = Step::draw(&mut self.chance);
                    faults += self.step(&step).await?;
                }
            }
            Play::Rolling(_) => {
                for step in plan::rolling() {
                    faults += self.step(&step).await?;
                }
                anyhow::ensure!(faults == 4, "{faults} of four services were restarted");
            }
        }
        self.say("nothing fails any more; comparing");
        stop_clients.send_replace(true);
        while let Some(done) = clients.join_next().await {
            done.context("a client")?;
        }
        let behind = self.settle().await?;
        // A receipt after the last reading could not be found in it.
        stop_workers.send_replace(true);
        while let Some(done) = workers.join_next().await {
            done.context("a worker")?;
        }
        let mut findings = self.compare().await?;
        findings.violations.extend(behind);
        let epochs = self.world.epoch().await? - first_epoch;
        findings.compared.insert(0, format!("after {faults} faults and {epochs} changes of the leader"));
        Ok(findings)
    }

    /// Returns how many faults it was.
    async fn step(&mut self, step: &Step) -> anyhow::Result<usize> {
        self.live(Duration::from_millis(step.pause)).await?;
        let (mut wounds, mut struck) = (Vec::new(), 0);
        for (n, fault) in step.faults.iter().enumerate() {
            if n > 0 {
                self.live_and_heal(Duration::from_millis(step.between), &mut wounds).await?;
            }
            match self.world.strike(*fault, &wounds, &mut self.chance).await? {
                Some(wound) => {
                    self.say(&fault.to_string());
                    wounds.push(wound);
                    struck += 1;
                }
                None => self.say(&format!("(nobody leads, or it is down already; left out: {fault})")),
            }
        }
        while !wounds.is_empty() {
            self.live_and_heal(BEAT, &mut wounds).await?;
        }
        self.world.until_well().await?;
        self.live(PEACE).await?;
        Ok(struck)
    }

    async fn live_and_heal(&mut self, time: Duration, wounds: &mut Vec<Wound>) -> anyhow::Result<()> {
        self.live(time).await?;
        for wound in wounds.extract_if(.., |wound| wound.heals <= Instant::now()) {
            self.world.heal(&wound)?;
        }
        Ok(())
    }

    /// Mail comes, the log of Redis is watched, the journal is read.
    async fn live(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.world.look();
            if self.next_mail <= Instant::now() {
                self.post.deliver(&mut self.post_chance)?;
                let pause = self.post_chance.between(300, 2_000);
                self.next_mail = Instant::now() + Duration::from_millis(pause);
            }
            if self.next_reading <= Instant::now() {
                self.next_reading = Instant::now() + READING;
                let which = self.chance_of_reader();
                let from = self.world.clients[which].clone();
                // Whoever is away is asked again soon.
                let _ = tokio::time::timeout(READING, self.journal.read(&from, false)).await;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(BEAT)).await;
        }
    }

    /// Not from the plan's stream: how often it is asked is up to the machine.
    fn chance_of_reader(&mut self) -> usize {
        self.post_chance.index(2)
    }

    /// Waits until all that was promised has come. Returns what has not.
    async fn settle(&mut self) -> anyhow::Result<Vec<String>> {
        self.world.until_well().await?;
        let (begin, healed) = (Instant::now(), record::now());
        loop {
            let present = self.journal.read(&self.world.clients[0], true).await?;
            let behind = self.behind(&present, healed).await?;
            if behind.is_empty() || begin.elapsed() > PATIENCE {
                return Ok(behind);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// What has to come still.
    async fn behind(&self, present: &[pb::Schedule], healed: i64) -> anyhow::Result<Vec<String>> {
        let mut behind = Vec::new();
        for schedule in present.iter().filter(|one| one.state() == pb::ScheduleState::Active) {
            let life = self.journal.schedules.get(&schedule.uid);
            if life.is_none_or(|life| life.decided_through < healed) {
                behind.push(format!("{} does not go on", schedule.schedule_id));
            }
        }
        for (n, mailbox) in MAILBOXES.iter().enumerate() {
            let filed = mail::filed(&self.world, mailbox).await?;
            if (filed.messages.len() as u64) < self.post.written(n) {
                behind.push(format!("{mailbox}: not all mail is looked at"));
            }
        }
        Ok(behind)
    }

    async fn compare(&mut self) -> anyhow::Result<Findings> {
        let present = self.journal.read(&self.world.clients[0], true).await?;
        let present = present.as_slice();
        let mut findings = Findings::default();
        {
            let known = self.record.open();
            findings.violations.extend(known.violations.iter().cloned());
            check::schedules(&mut findings, &known, present);
            check::decisions(&mut findings, &known, &self.journal, present);
            check::runs(&mut findings, &known, &self.journal, present);
        }
        findings.violations.append(&mut self.journal.violations);
        for (n, mailbox) in MAILBOXES.iter().enumerate() {
            let filed = mail::filed(&self.world, mailbox).await?;
            check::documents(&mut findings, mailbox, self.post.written(n), &filed);
        }
        Ok(findings)
    }
}
