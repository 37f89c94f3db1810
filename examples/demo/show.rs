//! What the demo prints: a line when something happens, tables when asked.

use std::{collections::BTreeMap, path::Path, time::Instant};

use docket::{library::v1 as lib, schedule::v1 as pb};

use crate::{
    count::{Count, documents},
    harness::{Library, Scheduler, Service},
    stage::PEOPLE,
};

pub struct Show {
    start: Instant,
    /// The run of each schedule that was shown last.
    shown_runs: BTreeMap<&'static str, String>,
    shown_documents: usize,
}

impl Show {
    pub fn new() -> Self {
        Self { start: Instant::now(), shown_runs: BTreeMap::new(), shown_documents: 0 }
    }

    pub fn say(&self, line: &str) {
        println!("{:6.1} s  {line}", self.start.elapsed().as_secs_f64());
    }

    pub fn services(&self, scheduler: &Service, worker: &Service, folder: &Path) {
        println!("\nDocket demo in {}", folder.display());
        for service in [scheduler, worker] {
            println!(
                "  {:14} gRPC {}  http://{}  pid {}",
                service.name,
                service.grpc,
                service.http,
                service.pid()
            );
        }
        println!();
    }

    pub fn try_it(&self, scheduler: &Service, worker: &Service) {
        let (s, w) = (scheduler.grpc, worker.grpc);
        println!("\nTry it from another terminal:");
        println!(
            "  grpcurl -plaintext -d '{{\"schedule_id\": \"anna-maildir\"}}' {s} docket.schedule.v1.ScheduleService/ExplainSchedule"
        );
        println!(
            "  grpcurl -plaintext -d '{{\"filter\": {{\"owner\": \"bruno\"}}}}' {w} docket.library.v1.DocumentService/ListDocuments"
        );
        println!("or, without grpcurl:");
        println!(
            "  npx @bufbuild/buf curl --protocol grpc --http2-prior-knowledge -d '{{}}' http://{s}/docket.schedule.v1.StatusService/GetStatus"
        );
        println!(
            "or kill -9 either of them ({} or {}): it is started again, and everything is counted.\n",
            scheduler.pid(),
            worker.pid()
        );
    }

    /// Runs and documents since the last call. What cannot be asked now is shown next time.
    pub async fn news(&mut self, scheduler: &Scheduler, library: &Library) {
        for person in &PEOPLE {
            let request = pb::GetScheduleRequest { schedule_id: person.mailbox.into(), ..Default::default() };
            let Ok(answer) = scheduler.schedules.clone().get_schedule(request).await else { return };
            let Some(run) = answer.into_inner().schedule.and_then(|schedule| schedule.last_run) else {
                continue;
            };
            if self.shown_runs.get(person.mailbox) != Some(&run.run_id) {
                self.run(person.mailbox, &run);
                self.shown_runs.insert(person.mailbox, run.run_id);
            }
        }
        let Ok(all) = documents(library).await else { return };
        for document in all.iter().skip(self.shown_documents) {
            self.say(&format!("  filed   {}", line(document)));
        }
        self.shown_documents = self.shown_documents.max(all.len());
    }

    fn run(&self, mailbox: &str, run: &pb::RunSummary) {
        let number = |name: &str| {
            let value = run
                .result
                .as_ref()
                .and_then(|result| result.fields.get(name))
                .and_then(|value| value.kind.clone());
            if let Some(prost_types::value::Kind::NumberValue(number)) = value { number } else { 0.0 }
        };
        match &run.failure {
            Some(failure) => self.say(&format!("run  {mailbox}: {} {}", failure.code, failure.message)),
            None if number("messages_read") > 0.0 => self.say(&format!(
                "run  {mailbox}: read {} mails, {} new documents, {} duplicates",
                number("messages_read"),
                number("documents_new"),
                number("duplicates")
            )),
            None => self.say(&format!("run  {mailbox}: nothing new")),
        }
    }

    pub async fn documents(&mut self, library: &Library) -> anyhow::Result<()> {
        let all = documents(library).await?;
        println!(
            "\n{:7} {:28} {:18} {:10} {:>12} {:3}  {:10} kind",
            "owner", "supplier", "number", "date", "total", "", "origin"
        );
        for document in &all {
            println!("{}", line(document));
        }
        println!();
        Ok(())
    }

    pub fn count(&self, count: &Count) {
        self.say(&format!(
            "counted: {} of {} mails looked at, {} documents, {} of {} due times decided; lost: {}, doubled: {}",
            count.looked_at, count.mails, count.documents, count.decided, count.due, count.lost, count.doubled
        ));
    }
}

fn line(document: &lib::Document) -> String {
    let value = |field: &Option<lib::Field>| {
        field.as_ref().and_then(|field| field.value.clone()).unwrap_or_else(|| "-".into())
    };
    let origin = document
        .total
        .as_ref()
        .or(document.number.as_ref())
        .map_or(lib::FieldOrigin::Unspecified, lib::Field::from);
    format!(
        "{:7} {:28} {:18} {:10} {:>12} {:3}  {:10} {}",
        document.owner,
        cut(&value(&document.supplier), 28),
        cut(&value(&document.number), 18),
        value(&document.issue_date),
        value(&document.total),
        value(&document.currency),
        origin.as_str_name().trim_start_matches("FIELD_ORIGIN_").to_lowercase().replace('_', " "),
        document.kind().as_str_name().trim_start_matches("DOCUMENT_KIND_").to_lowercase().replace('_', " "),
    )
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        text.into()
    } else {
        text.chars().take(width - 1).chain(['…']).collect()
    }
}
