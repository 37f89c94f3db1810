//! The processes, and what is done to them.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use docket::schedule::v1 as pb;
use tonic::Request;

use super::{
    chance::Chance,
    plan::{Blow, Fault, Victim},
};
use crate::harness::{Library, Plan, Scheduler, Service, redis::Redis};

/// Within this everything has to be well again.
const PATIENCE: Duration = Duration::from_secs(60);
/// As far back as a log that is synced every second may be torn.
const LOST: Duration = Duration::from_millis(900);

pub struct World {
    pub folder: PathBuf,
    redis: Redis,
    plans: Vec<Plan>,
    /// Two schedulers, then two workers.
    services: Vec<Service>,
    pub clients: [Scheduler; 2],
    pub libraries: [Library; 2],
    /// How long the log of Redis was, of late.
    log: VecDeque<(Instant, PathBuf, u64)>,
}

impl World {
    /// The first scheduler leads. `previous`: where the binaries of the release are that it begins with; whatever is
    /// started later is of this one.
    pub fn start(folder: &Path, previous: Option<&Path>) -> anyhow::Result<Self> {
        let mail = folder.join("mail");
        fs::create_dir_all(&mail)?;
        let redis = Redis::start(&folder.join("redis"));
        let (mut plans, mut services) = (Vec::new(), Vec::new());
        let mut start = |plan: Plan| -> anyhow::Result<std::net::SocketAddr> {
            let first = Plan { binaries: previous.map(Path::to_owned), ..plan.clone() };
            let service = first.start()?;
            plans
                .push(plan.set("DOCKET_GRPC__LISTEN", service.grpc).set("DOCKET_HTTP__LISTEN", service.http));
            let address = service.grpc;
            services.push(service);
            Ok(address)
        };
        let mut schedulers = Vec::new();
        for name in ["scheduler-0", "scheduler-1"] {
            let plan = Plan::new("scheduler-svc", &folder.join(name))
                .set("DOCKET_STORE__URL", redis.url())
                .set("DOCKET_STORE__LEASE_MS", 1_500)
                .set("DOCKET_LEASE__TERM_MS", 5_000)
                .set("DOCKET_LEASE__HEARTBEAT_MS", 1_000)
                .set("DOCKET_LEASE__RECONNECT_GRACE_MS", 1_500)
                .set("DOCKET_HISTORY__RUNS", 100)
                .set("DOCKET_HISTORY__FAILED_RUNS", 100)
                .set("DOCKET_HISTORY__DECISIONS", 100);
            schedulers.push(start(plan)?);
        }
        for (n, scheduler) in schedulers.iter().enumerate() {
            let plan = Plan::new("worker-svc", &folder.join(format!("worker-{n}")))
                .set("DOCKET_SCHEDULER__URL", format!("http://{scheduler}"))
                .set("DOCKET_WORKER__ID", format!("worker-{n}"))
                .set("DOCKET_WORKER__KINDS", "noop,document-sync")
                .set("DOCKET_ARCHIVE__DATABASE_URL", format!("sqlite:{}/archive.db", folder.display()))
                .set("DOCKET_ARCHIVE__BLOBS_URL", format!("file:{}/blobs", folder.display()))
                .set("DOCKET_SOURCES__FOLDER_ROOT", mail.display());
            start(plan)?;
        }
        let clients = [Scheduler::connect(&services[0])?, Scheduler::connect(&services[1])?];
        let libraries = [Library::connect(&services[2])?, Library::connect(&services[3])?];
        let folder = folder.to_owned();
        Ok(Self { folder, redis, plans, services, clients, libraries, log: VecDeque::new() })
    }

    /// For people who look for the cause.
    pub fn logs(&self) -> Vec<PathBuf> {
        let redis = self.redis.folder().join("log");
        self.services.iter().map(|service| service.log.clone()).chain([redis]).collect()
    }

    /// Keeps an eye on the log of Redis; called often.
    pub fn look(&mut self) {
        let path = self.redis.log();
        if let Ok(meta) = fs::metadata(&path) {
            self.log.push_back((Instant::now(), path, meta.len()));
        }
        while self.log.len() > 2 && self.log[1].0.elapsed() > LOST {
            self.log.pop_front();
        }
    }

    pub async fn status(&self, which: usize) -> Option<pb::GetStatusResponse> {
        let mut request = Request::new(pb::GetStatusRequest::default());
        request.set_timeout(Duration::from_secs(1));
        Some(self.clients[which].status.clone().get_status(request).await.ok()?.into_inner())
    }

    /// Of the schedulers that can be asked.
    pub async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        for which in [0, 1] {
            let status = self.status(which).await;
            let leads = status.filter(|status| status.role() == pb::Role::Leader).map(|status| status.epoch);
            leader = leader.max(leads.map(|epoch| (epoch, which)));
        }
        leader.map(|(_, which)| which)
    }

    /// Strikes, if the victim can be told and is not down already. Returns what is to be healed.
    pub async fn strike(
        &mut self,
        fault: Fault,
        wounds: &[Wound],
        chance: &mut Chance,
    ) -> anyhow::Result<Option<Wound>> {
        let which = match fault.victim {
            Victim::Leader => self.leader().await,
            Victim::Standby => self.leader().await.map(|leader| 1 - leader),
            Victim::Worker(n) => Some(2 + n),
            Victim::Redis => None,
        };
        if which.is_some() && wounds.iter().any(|wound| wound.which == which) {
            return Ok(None);
        }
        match (which, fault.victim) {
            (Some(which), _) => {
                let service = &mut self.services[which];
                match fault.blow {
                    Blow::Kill | Blow::Cut => service.kill(),
                    Blow::Stop => service.signal("-STOP"),
                    Blow::Terminate => {
                        let code = tokio::task::block_in_place(|| service.terminate())?;
                        anyhow::ensure!(code == Some(0), "{} ended with {code:?} on SIGTERM", service.name);
                    }
                }
            }
            (None, Victim::Redis) => match fault.blow {
                Blow::Stop => self.redis.signal("-STOP"),
                Blow::Kill | Blow::Terminate => self.redis.kill(),
                Blow::Cut => {
                    self.redis.kill();
                    self.cut(chance)?;
                }
            },
            (None, _) => return Ok(None),
        }
        Ok(Some(Wound { fault, which, heals: Instant::now() + Duration::from_millis(fault.down) }))
    }

    /// Anywhere in what was written of late, also in mid-record.
    fn cut(&self, chance: &mut Chance) -> anyhow::Result<()> {
        let path = self.redis.log();
        let length = fs::metadata(&path)?.len();
        let since = self.log.iter().find(|(at, known, _)| at.elapsed() <= LOST && *known == path);
        let from = since.map_or(length, |(_, _, length)| *length).min(length);
        fs::File::options().write(true).open(&path)?.set_len(chance.between(from, length))?;
        Ok(())
    }

    pub fn heal(&mut self, wound: &Wound) -> anyhow::Result<()> {
        match (wound.which, wound.fault.blow) {
            (Some(which), Blow::Stop) => self.services[which].signal("-CONT"),
            (Some(which), _) => {
                let plan = &self.plans[which];
                self.services[which] = tokio::task::block_in_place(|| plan.start())?;
            }
            (None, Blow::Stop) => self.redis.signal("-CONT"),
            (None, _) => tokio::task::block_in_place(|| self.redis.restart()),
        }
        Ok(())
    }

    /// Both schedulers answer, one leads, and its store can be written. Nobody may have died by himself.
    pub async fn until_well(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            for service in &mut self.services {
                anyhow::ensure!(
                    !service.has_ended(),
                    "{} ended by itself, see {}",
                    service.name,
                    service.log.display()
                );
            }
            let both = [self.status(0).await, self.status(1).await];
            let leads = |status: &pb::GetStatusResponse| {
                status.role() == pb::Role::Leader
                    && status.store.as_ref().is_some_and(|store| store.available)
            };
            if let [Some(one), Some(other)] = &both
                && leads(one) != leads(other)
            {
                return Ok(());
            }
            anyhow::ensure!(begin.elapsed() < PATIENCE, "not well again: {both:?}");
            self.look();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn epoch(&self) -> anyhow::Result<i64> {
        let leader = self.leader().await.context("nobody leads")?;
        Ok(self.status(leader).await.context("a status")?.epoch)
    }
}

pub struct Wound {
    pub fault: Fault,
    /// None is Redis.
    which: Option<usize>,
    pub heals: Instant,
}
