//! Workers, as a test moves them.

use bytes::Bytes;

use super::{Bench, failure};
use crate::state_machine::{
    command::{Caller, Command, Heartbeat, Held, OpenSession, Report, Reported},
    failure::Class,
    id::SessionId,
    output::{Answer, Body, Job, Message, Order, Receipt},
};

impl Bench {
    pub fn hello(&mut self, instance: &str, slots: u32, held: Vec<Held>) -> OpenSession {
        OpenSession {
            caller: Caller::default(),
            session: SessionId(self.number()),
            worker_id: "worker".into(),
            instance: instance.into(),
            version: "1".into(),
            slots,
            kinds: vec!["sync".into()],
            namespaces: None,
            archive_id: None,
            held,
            draining: false,
        }
    }

    pub fn open(&mut self, open: OpenSession) -> (SessionId, Vec<Order>) {
        let id = open.session;
        match self.call(&Command::OpenSession(Box::new(open))) {
            Answer::Opened { orders, .. } => (id, orders),
            other => panic!("{other:?}"),
        }
    }

    /// A worker that is well: it sends its heartbeats while time passes.
    pub fn worker(&mut self, slots: u32) -> SessionId {
        let session = self.silent_worker(slots);
        self.attended.push(session);
        session
    }

    /// A worker that sends only what the test sends for it.
    pub fn silent_worker(&mut self, slots: u32) -> SessionId {
        let hello = self.hello("one", slots, Vec::new());
        self.open(hello).0
    }

    /// Jobs that were sent since the last call, to anyone.
    pub fn jobs(&mut self) -> Vec<Job> {
        let (jobs, rest) = std::mem::take(&mut self.messages)
            .into_iter()
            .partition(|(_, message)| matches!(message.body, Body::Jobs(_)));
        self.messages = rest;
        let jobs: Vec<(SessionId, Message)> = jobs;
        jobs.into_iter()
            .flat_map(|(_, message)| match message.body {
                Body::Jobs(jobs) => jobs,
                Body::Cancel { .. } => Vec::new(),
            })
            .collect()
    }

    /// The session that holds a job.
    pub fn session_of(&self, job: &Job) -> SessionId {
        let key = self.machine.run_of(job.id).expect("a live run");
        self.machine.runs[key].lease().and_then(|lease| lease.session).expect("a session")
    }

    pub fn job(&mut self) -> Job {
        let mut jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    }

    pub fn beat(&mut self, session: SessionId, received: u64, held: Vec<Held>) -> (Vec<Order>, bool) {
        let beat = Heartbeat {
            caller: Caller::default(),
            session,
            worker_id: None,
            received,
            slots: None,
            draining: false,
            held,
            unknown: Vec::new(),
        };
        match self.call(&Command::Heartbeat(Box::new(beat))) {
            Answer::Heard { orders, reopen, .. } => (orders, reopen),
            other => panic!("{other:?}"),
        }
    }

    pub fn report(&mut self, job: &Job, outcome: Reported) -> Receipt {
        let report = Report {
            caller: Caller::default(),
            worker_id: None,
            id: Some(job.id),
            attempt: job.attempt,
            token: job.token,
            outcome,
            invalid: None,
        };
        match self.call(&Command::Report(vec![report])) {
            Answer::Reported(mut receipts) => receipts.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn succeed(&mut self, job: &Job) -> Receipt {
        self.report(job, Reported::Success { result: Bytes::new() })
    }

    pub fn fail(&mut self, job: &Job, class: Class) -> Receipt {
        let failure = Box::new(failure(class));
        self.report(job, Reported::Failure { failure, partial: Bytes::new(), checkpoint: None })
    }
}
