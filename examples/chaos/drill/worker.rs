//! A worker that counts receipts: it reports late, twice, and through any replica, and now and then it sleeps past its
//! leases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use docket::schedule::v1::{self as pb, ReceiptStatus, report::Outcome};
use prost_types::{Struct, Value, value::Kind};
use tokio::{sync::watch, time::Instant};
use tonic::{Request, Status, Streaming};

use super::{chance::Chance, record::Record};
use crate::harness::Scheduler;

/// What it runs.
pub const KIND: &str = "chaos";
const TICK: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);

pub struct Worker {
    id: String,
    chance: Chance,
    replicas: [Scheduler; 2],
    record: Arc<Record>,
    held: BTreeMap<(String, i32), Held>,
    epoch: i64,
    session: String,
    received: i64,
    heartbeat: Duration,
    next_heartbeat: Instant,
    next_report: Instant,
    results: u64,
}

struct Held {
    token: i64,
    ends: Instant,
    outcome: Option<pb::Report>,
    /// It has its receipt; it is sent once more all the same.
    again: bool,
}

impl Worker {
    pub fn new(name: usize, seed: u64, replicas: [Scheduler; 2], record: Arc<Record>) -> Self {
        Self {
            id: format!("chaos-{name}"),
            chance: Chance::new(seed, &format!("worker {name}")),
            replicas,
            record,
            held: BTreeMap::new(),
            epoch: 0,
            session: String::new(),
            received: 0,
            heartbeat: Duration::from_secs(1),
            next_heartbeat: Instant::now(),
            next_report: Instant::now(),
            results: 0,
        }
    }

    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let replica = self.replicas[self.chance.index(2)].clone();
            if let Ok(stream) = self.open(&replica).await {
                // Whatever ends it: the next one begins.
                let _ = self.serve(&replica, stream, &stop).await;
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn open(&mut self, replica: &Scheduler) -> Result<Streaming<pb::StreamDueJobsResponse>, Status> {
        let hello = pb::StreamDueJobsRequest {
            worker_id: self.id.clone(),
            instance: self.id.clone(),
            slots: 16,
            kinds: vec![KIND.into()],
            held: self.listed(),
            ..Default::default()
        };
        let mut workers = replica.workers.clone();
        let opened = tokio::time::timeout(ANSWER, workers.stream_due_jobs(hello)).await;
        Ok(opened.map_err(|_| Status::deadline_exceeded("no stream"))??.into_inner())
    }

    fn listed(&self) -> Vec<pb::HeldRun> {
        let held = self.held.iter().filter(|(_, held)| !held.again);
        held.map(|((run_id, attempt), held)| pb::HeldRun {
            run_id: run_id.clone(),
            attempt: *attempt,
            lease_token: held.token,
            ..Default::default()
        })
        .collect()
    }

    async fn serve(
        &mut self,
        replica: &Scheduler,
        mut stream: Streaming<pb::StreamDueJobsResponse>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), Status> {
        let first = tokio::time::timeout(ANSWER, stream.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no welcome"))??;
        let Some(pb::stream_due_jobs_response::Message::Welcome(welcome)) = first.and_then(|one| one.message)
        else {
            return Err(Status::internal("no welcome"));
        };
        if welcome.epoch < self.epoch {
            return Ok(());
        }
        (self.epoch, self.session, self.received) = (welcome.epoch, welcome.session_id, 1);
        self.next_heartbeat = Instant::now() + self.heartbeat;
        self.obey(welcome.orders);
        while !*stop.borrow() {
            let message = tokio::time::timeout(TICK, stream.message()).await;
            if let Ok(message) = message {
                self.take(message?.ok_or_else(|| Status::unavailable("ended"))?);
            }
            if self.next_report <= Instant::now() {
                self.next_report = Instant::now() + TICK;
                self.report().await;
            }
            if self.next_heartbeat <= Instant::now() {
                self.beat(replica).await?;
            }
            if self.chance.between(1, 400) == 1 {
                tokio::time::sleep(Duration::from_millis(6_500)).await;
            }
        }
        Ok(())
    }

    fn take(&mut self, message: pb::StreamDueJobsResponse) {
        use pb::stream_due_jobs_response::Message;
        self.received = message.sequence;
        match message.message {
            Some(Message::DueJobs(due)) => {
                for job in due.jobs {
                    let ends = Instant::now() + Duration::from_millis(self.chance.between(0, 1_200));
                    let held = Held { token: job.lease_token, ends, outcome: None, again: false };
                    self.held.insert((job.run_id, job.attempt), held);
                }
            }
            Some(Message::Cancel(cancel)) => self.end(&(cancel.run_id, cancel.attempt)),
            _ => {}
        }
    }

    fn obey(&mut self, orders: Vec<pb::Order>) {
        for order in orders {
            let key = (order.run_id.clone(), order.attempt);
            match order.action() {
                pb::OrderAction::Cancel => self.end(&key),
                pb::OrderAction::Drop => drop(self.held.remove(&key)),
                pb::OrderAction::Unspecified => self.record.violation(format!("an empty order: {order:?}")),
            }
        }
    }

    async fn beat(&mut self, replica: &Scheduler) -> Result<(), Status> {
        let mut request = Request::new(pb::HeartbeatRequest {
            worker_id: self.id.clone(),
            session_id: self.session.clone(),
            epoch: self.epoch,
            received: self.received,
            held: self.listed(),
            ..Default::default()
        });
        request.set_timeout(ANSWER);
        let answer = replica.workers.clone().heartbeat(request).await?.into_inner();
        self.next_heartbeat = Instant::now() + self.heartbeat;
        self.obey(answer.orders);
        if answer.reopen { Err(Status::unavailable("reopen")) } else { Ok(()) }
    }

    /// An attempt ends by chance, mostly well.
    fn end(&mut self, key: &(String, i32)) {
        let fails = self.chance.happens(12);
        let Some(held) = self.held.get_mut(key).filter(|held| held.outcome.is_none()) else { return };
        let outcome = if fails {
            let class = pb::FailureClass::Transient.into();
            Outcome::Failure(pb::Failure { class, message: "by chance".into(), ..Default::default() })
        } else {
            self.results += 1;
            let name = format!("{}-{}", self.id, self.results);
            self.record.open().sent.entry(key.0.clone()).or_default().insert(name.clone());
            let value = Value { kind: Some(Kind::StringValue(name)) };
            Outcome::Success(pb::Success { result: Some(Struct { fields: [("name".into(), value)].into() }) })
        };
        held.outcome = Some(pb::Report {
            run_id: key.0.clone(),
            attempt: key.1,
            lease_token: held.token,
            outcome: Some(outcome),
            ..Default::default()
        });
    }

    /// Hands in what has ended. An answer that is lost means that all of it is sent again.
    async fn report(&mut self) {
        let now = Instant::now();
        let ended: Vec<_> =
            self.held.iter().filter(|(_, held)| held.ends <= now).map(|(key, _)| key.clone()).collect();
        ended.iter().for_each(|key| self.end(key));
        let reports: Vec<_> = self.held.values().filter_map(|held| held.outcome.clone()).collect();
        if reports.is_empty() {
            return;
        }
        let mut request = Request::new(pb::ReportResultsRequest {
            worker_id: self.id.clone(),
            session_id: self.session.clone(),
            epoch: self.epoch,
            reports: reports.clone(),
        });
        request.set_timeout(ANSWER);
        let replica = self.replicas[self.chance.index(2)].clone();
        let Ok(answer) = replica.workers.clone().report_results(request).await else { return };
        let receipts = answer.into_inner().receipts;
        if receipts.len() != reports.len() {
            return self.record.violation(format!("{} receipts for {}", receipts.len(), reports.len()));
        }
        for (report, receipt) in reports.into_iter().zip(receipts) {
            self.receipt(report, &receipt);
        }
    }

    fn receipt(&mut self, report: pb::Report, receipt: &pb::Receipt) {
        let key = (report.run_id.clone(), report.attempt);
        {
            let mut record = self.record.open();
            if receipt.status() == ReceiptStatus::Accepted {
                *record.receipts.entry(key.clone()).or_default() += 1;
                if let Some(name) = name_of(&report) {
                    record.accepted.entry(report.run_id).or_default().push(name);
                }
            } else {
                *record.other_receipts.entry(receipt.status().as_str_name()).or_default() += 1;
                if matches!(receipt.status(), ReceiptStatus::Invalid | ReceiptStatus::Unspecified) {
                    record.violations.push(format!("{key:?}: {receipt:?}"));
                }
            }
        }
        let again = self.chance.happens(10);
        match self.held.get_mut(&key) {
            Some(held) if again && !held.again => held.again = true,
            _ => drop(self.held.remove(&key)),
        }
    }
}

fn name_of(report: &pb::Report) -> Option<String> {
    let Some(Outcome::Success(success)) = &report.outcome else { return None };
    name_in(success.result.as_ref()?)
}

/// The name that a result has.
pub fn name_in(result: &Struct) -> Option<String> {
    match &result.fields.get("name")?.kind {
        Some(Kind::StringValue(name)) => Some(name.clone()),
        _ => None,
    }
}
