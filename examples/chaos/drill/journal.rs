//! Everything that the API tells about decisions and runs, gathered while it runs, since only the last hundred are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use docket::schedule::v1 as pb;
use tonic::{Request, Status};

use super::{record::millis, worker::name_in};
use crate::harness::Scheduler;

/// How far back runs are asked for while it runs, milliseconds.
const WINDOW: i64 = 90_000;

#[derive(Default)]
pub struct Journal {
    /// By uid.
    pub schedules: BTreeMap<String, Life>,
    pub runs: BTreeMap<String, Seen>,
    pub violations: Vec<String>,
    pub rounds: u64,
}

/// One schedule from its creation to its deletion.
#[derive(Default)]
pub struct Life {
    pub id: String,
    pub anchor: i64,
    pub interval: i64,
    /// As the last export said.
    pub decided_through: i64,
    /// By the first nominal time.
    pub decisions: BTreeMap<i64, pb::Decision>,
}

pub struct Seen {
    pub uid: String,
    pub trigger: pb::Trigger,
    pub nominal: i64,
    pub state: pb::RunState,
    /// Of its result.
    pub name: Option<String>,
    pub attempts: i32,
}

impl Journal {
    /// First how far each schedule is, then runs, then decisions: so each run has its decision, and each decision up to
    /// where its schedule was has its run. Returns the schedules that are there.
    pub async fn read(&mut self, from: &Scheduler, all: bool) -> Result<Vec<pb::Schedule>, Status> {
        let mut present = Vec::new();
        let mut request = Request::new(pb::ExportSchedulesRequest::default());
        request.set_timeout(Duration::from_secs(10));
        let mut export = from.schedules.clone().export_schedules(request).await?.into_inner();
        while let Some(page) = export.message().await? {
            for record in page.schedules {
                self.note_record(&record);
                present.extend(record.schedule);
            }
        }
        self.read_runs(from, all).await?;
        for schedule in &present {
            let schedule_id = schedule.schedule_id.clone();
            let mut request = Request::new(pb::ExplainScheduleRequest { schedule_id, ..Default::default() });
            request.set_timeout(Duration::from_secs(5));
            match from.schedules.clone().explain_schedule(request).await {
                Ok(answer) => self.note_decisions(answer.into_inner()),
                Err(status) if status.code() == tonic::Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        self.rounds += 1;
        Ok(present)
    }

    fn note_record(&mut self, record: &pb::ScheduleRecord) {
        let Some(schedule) = &record.schedule else { return };
        let Some(pb::schedule::Timing::Every(every)) = &schedule.timing else { return };
        let life = self.schedules.entry(schedule.uid.clone()).or_default();
        life.id.clone_from(&schedule.schedule_id);
        life.interval = every.interval.as_ref().map_or(0, |interval| interval.seconds * 1000);
        let (anchor, through) = (millis(record.anchor), millis(record.decided_through));
        if life.anchor != 0 && life.anchor != anchor {
            self.violations.push(format!("{}: its anchor moved from {} to {anchor}", life.id, life.anchor));
        }
        if through < life.decided_through {
            let before = life.decided_through;
            self.violations.push(format!("{}: decided through {before}, then through {through}", life.id));
        }
        (life.anchor, life.decided_through) = (anchor, through);
    }

    async fn read_runs(&mut self, from: &Scheduler, all: bool) -> Result<(), Status> {
        let since = super::record::now() - WINDOW;
        let since = prost_types::Timestamp { seconds: since / 1000, nanos: 0 };
        let filter = Some(pb::RunFilter { nominal_from: Some(since).filter(|_| !all), ..Default::default() });
        let mut page_token = String::new();
        loop {
            let message = pb::ListRunsRequest {
                filter: filter.clone(),
                page_size: 1_000,
                page_token,
                ..Default::default()
            };
            let mut request = Request::new(message);
            request.set_timeout(Duration::from_secs(10));
            let page = from.runs.clone().list_runs(request).await?.into_inner();
            let mut ids = BTreeSet::new();
            for run in &page.runs {
                if !ids.insert(&run.run_id) {
                    // It ended while the page was read: as a live one, then in the history.
                    continue;
                }
                self.note_run(run);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(());
            }
        }
    }

    fn note_run(&mut self, run: &pb::Run) {
        let seen = Seen {
            uid: run.schedule_uid.clone(),
            trigger: run.trigger(),
            nominal: millis(run.nominal_time),
            state: run.state(),
            name: run.result.as_ref().and_then(name_in),
            attempts: run.attempt,
        };
        if let Some(before) = self.runs.insert(run.run_id.clone(), seen) {
            let now = &self.runs[&run.run_id];
            let is_final = before.state as i32 >= pb::RunState::Succeeded as i32;
            if is_final && (before.state, &before.name) != (now.state, &now.name) {
                let (was, is) = ((before.state, &before.name), (now.state, &now.name));
                self.violations.push(format!("run {} was {was:?} and is {is:?}", run.run_id));
            }
            if before.attempts > now.attempts {
                let (was, is) = (before.attempts, now.attempts);
                self.violations.push(format!("run {} had {was} attempts and has {is}", run.run_id));
            }
        }
    }

    fn note_decisions(&mut self, answer: pb::ExplainScheduleResponse) {
        let Some(schedule) = answer.schedule else { return };
        let life = self.schedules.entry(schedule.uid).or_default();
        for decision in answer.decisions {
            let first = millis(decision.first_nominal_time);
            if let Some(before) = life.decisions.get(&first) {
                let same = before.verdict() == decision.verdict()
                    && before.run_id == decision.run_id
                    && millis(before.last_nominal_time) <= millis(decision.last_nominal_time);
                // The last range of a kind grows; then its run may be another one.
                let grew = before.verdict() == decision.verdict()
                    && millis(before.last_nominal_time) < millis(decision.last_nominal_time);
                if !same && !grew {
                    self.violations.push(format!("{}: {before:?} became {decision:?}", life.id));
                }
            }
            life.decisions.insert(first, decision);
        }
    }
}
