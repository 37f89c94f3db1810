//! `make demo`: watch Docket do what it exists for, on real input, with real processes.
//!
//! Starts both services in a temporary folder, connects three sample mailboxes, sets schedules, and shows what
//! happens: runs, documents, a new mail, kills and restarts. Whatever is killed is started again, and then everything
//! is counted through the API. Runs until Ctrl-C; with `DEMO_SECONDS` it does the kills itself and ends with exit
//! code 0, or 1 if anything that was promised did not come.

#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/harness/mod.rs"]
mod harness;

mod count;
mod show;
mod stage;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use count::{Count, count};
use docket::{library::v1 as lib, schedule::v1 as pb};
use harness::{Library, Plan, Scheduler, Service};
use prost_types::{Duration as ProtoDuration, Struct, Value, value::Kind};
use show::Show;
use stage::{PEOPLE, Person, Stage};

const BEAT: Duration = Duration::from_millis(250);
/// Within this a promise has to come true.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let seconds: Option<u64> =
        std::env::var("DEMO_SECONDS").ok().map(|s| s.parse()).transpose().context("DEMO_SECONDS")?;
    let folder = tempfile::Builder::new().prefix("docket-demo-").tempdir()?;
    let mut demo = Demo::set_up(folder.path()).await?;
    tokio::select! {
        done = demo.play(seconds) => done,
        _ = tokio::signal::ctrl_c() => {
            println!();
            demo.show.documents(&demo.library).await?;
            demo.verdict().await.map(|_| ())
        }
    }
}

struct Demo {
    stage: Stage,
    plans: [Plan; 2],
    services: [Service; 2],
    scheduler: Scheduler,
    library: Library,
    show: Show,
}

impl Demo {
    async fn set_up(folder: &Path) -> anyhow::Result<Self> {
        let mail = folder.join("mail");
        std::fs::create_dir_all(&mail)?;
        let stage = Stage::build(&mail)?;
        let scheduler_plan = Plan::new("scheduler-svc", folder);
        let scheduler = scheduler_plan.start()?;
        let worker_plan = Plan::new("worker-svc", folder)
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_WORKER__ID", "demo-worker")
            .set("DOCKET_SOURCES__FOLDER_ROOT", mail.display());
        let worker = worker_plan.start()?;
        // From now on each keeps its ports, so that clients find it again after a restart.
        let keep = |plan: Plan, service: &Service| {
            plan.set("DOCKET_GRPC__LISTEN", service.grpc).set("DOCKET_HTTP__LISTEN", service.http)
        };
        let plans = [keep(scheduler_plan, &scheduler), keep(worker_plan, &worker)];
        let clients = (Scheduler::connect(&scheduler)?, Library::connect(&worker)?);
        let show = Show::new();
        show.services(&scheduler, &worker, folder);
        let services = [scheduler, worker];
        let demo = Self { stage, plans, services, scheduler: clients.0, library: clients.1, show };
        for person in &PEOPLE {
            demo.connect(person).await?;
        }
        Ok(demo)
    }

    /// What an app does when a user connects a mailbox and picks a schedule: two calls.
    async fn connect(&self, person: &Person) -> anyhow::Result<()> {
        let source = lib::FolderSource { path: person.mailbox.into(), format: person.format.into() };
        let mailbox = lib::Mailbox {
            mailbox_id: person.mailbox.into(),
            owner: person.owner.into(),
            source: Some(lib::mailbox::Source::Folder(source)),
            ..Default::default()
        };
        let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: None };
        self.library.mailboxes.clone().connect_mailbox(request).await?;
        let mailbox_id = Value { kind: Some(Kind::StringValue(person.mailbox.into())) };
        let schedule = pb::Schedule {
            schedule_id: person.mailbox.into(),
            timing: Some(pb::schedule::Timing::Every(pb::Every {
                interval: Some(ProtoDuration { seconds: person.every, nanos: 0 }),
                anchor: None,
            })),
            task: Some(pb::Task {
                kind: "document-sync".into(),
                args: Some(Struct { fields: [("mailbox_id".into(), mailbox_id)].into() }),
                ..Default::default()
            }),
            labels: [("owner".into(), person.owner.into())].into(),
            ..Default::default()
        };
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        self.scheduler.schedules.clone().upsert_schedule(request).await?;
        let mails = self.stage.mails(person)?;
        self.show.say(&format!(
            "connected {} ({} mails, {}), every {} s",
            person.mailbox,
            mails,
            person.format_name(),
            person.every
        ));
        Ok(())
    }

    async fn play(&mut self, seconds: Option<u64>) -> anyhow::Result<()> {
        let begin = Instant::now();
        self.until("every mail has been looked at", |count| count.looked_at >= count.mails).await?;
        self.show.documents(&self.library).await?;
        self.new_mail().await?;
        self.show.try_it(&self.services[0], &self.services[1]);
        let Some(seconds) = seconds else { return self.go_on_for_ever().await };
        for victim in [0, 1] {
            let pid = self.services[victim].pid();
            self.show
                .say(&format!("kill -9 {pid} ({}), while a new mail arrives", self.services[victim].name));
            self.stage.arrive(&PEOPLE[victim])?;
            self.services[victim].kill();
            self.restart(victim)?;
            self.until("the new mail has been looked at", |count| count.looked_at >= count.mails).await?;
        }
        while begin.elapsed() < Duration::from_secs(seconds) {
            self.beat().await?;
        }
        self.show.documents(&self.library).await?;
        let count = self.verdict().await?;
        anyhow::ensure!(count.is_clean(), "something was lost or doubled: {count:?}");
        Ok(())
    }

    async fn go_on_for_ever(&mut self) -> anyhow::Result<()> {
        loop {
            self.beat().await?;
        }
    }

    /// One new mail: the next run files it, and only it.
    async fn new_mail(&mut self) -> anyhow::Result<()> {
        let person = &PEOPLE[2];
        let before = count(&self.scheduler, &self.library, &self.stage).await?;
        self.show.say(&format!("a new mail arrives in {}", person.mailbox));
        self.stage.arrive(person)?;
        self.until("the new mail has been looked at", |count| count.looked_at >= count.mails).await?;
        let after = count(&self.scheduler, &self.library, &self.stage).await?;
        let (looked_at, filed) = (after.looked_at - before.looked_at, after.documents - before.documents);
        self.show
            .say(&format!("its run looked at {looked_at} mail and filed {filed} document, nothing else"));
        anyhow::ensure!(
            (looked_at, filed) == (1, 1),
            "the new mail should be the only one: {before:?}, then {after:?}"
        );
        Ok(())
    }

    /// Shows what happened, and starts again what was killed.
    async fn beat(&mut self) -> anyhow::Result<()> {
        tokio::time::sleep(BEAT).await;
        for victim in [0, 1] {
            if self.services[victim].has_ended() {
                self.show.say(&format!("{} was killed", self.services[victim].name));
                self.restart(victim)?;
                self.until("everything has been looked at again", |count| count.looked_at >= count.mails)
                    .await?;
                self.verdict().await?;
            }
        }
        self.show.news(&self.scheduler, &self.library).await;
        Ok(())
    }

    fn restart(&mut self, victim: usize) -> anyhow::Result<()> {
        self.services[victim] = self.plans[victim].start()?;
        let service = &self.services[victim];
        self.show.say(&format!("{} runs again, pid {}", service.name, service.pid()));
        Ok(())
    }

    /// Goes on until the count shows it. A service that is being restarted is given time.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Count) -> bool) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.show.news(&self.scheduler, &self.library).await;
            let now = count(&self.scheduler, &self.library, &self.stage).await;
            if now.as_ref().is_ok_and(&is_so) {
                return Ok(());
            }
            anyhow::ensure!(begin.elapsed() < PATIENCE, "waited in vain until {what}: {now:?}");
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn verdict(&self) -> anyhow::Result<Count> {
        let count = count(&self.scheduler, &self.library, &self.stage).await?;
        self.show.count(&count);
        Ok(count)
    }
}
