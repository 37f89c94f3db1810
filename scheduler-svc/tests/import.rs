//! Imports and exports as a client makes them.

#[path = "import/bad.rs"]
mod bad;
#[path = "import/missing.rs"]
mod missing;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "served/raw.rs"]
mod raw;
#[allow(dead_code, reason = "other tests use the rest")]
mod served;

use docket::schedule::v1 as pb;
use pb::{ImportMode, ImportSchedulesResponse, schedule::Timing};
use scheduler_svc::state_machine::Config;
use served::{Served, cron, every, hello, schedule};
use tonic::Status;

fn upsert() -> pb::ImportOptions {
    pb::ImportOptions { mode: ImportMode::Upsert.into(), ..Default::default() }
}

fn restore() -> pb::ImportOptions {
    pb::ImportOptions { mode: ImportMode::Restore.into(), ..Default::default() }
}

fn record(schedule: pb::Schedule) -> pb::ScheduleRecord {
    pb::ScheduleRecord { schedule: Some(schedule), ..Default::default() }
}

fn hourly(id: &str) -> pb::ScheduleRecord {
    record(schedule(id, every(3600)))
}

fn id(record: &pb::ScheduleRecord) -> &str {
    record.schedule.as_ref().map_or("", |schedule| &schedule.schedule_id)
}

/// One message with the options, then the others with `per_message` schedules each.
fn messages(
    options: pb::ImportOptions,
    records: &[pb::ScheduleRecord],
    per_message: usize,
) -> Vec<pb::ImportSchedulesRequest> {
    let first = pb::ImportSchedulesRequest { options: Some(options), schedules: Vec::new() };
    let rest = records.chunks(per_message);
    let rest = rest.map(|some| pb::ImportSchedulesRequest { options: None, schedules: some.to_vec() });
    std::iter::once(first).chain(rest).collect()
}

impl Served {
    async fn import(
        &mut self,
        options: pb::ImportOptions,
        records: &[pb::ScheduleRecord],
    ) -> Result<ImportSchedulesResponse, Status> {
        self.send(messages(options, records, 100)).await
    }

    async fn send(
        &mut self,
        messages: Vec<pb::ImportSchedulesRequest>,
    ) -> Result<ImportSchedulesResponse, Status> {
        Ok(self.schedules.import_schedules(tokio_stream::iter(messages)).await?.into_inner())
    }

    async fn export_messages(
        &mut self,
        request: pb::ExportSchedulesRequest,
    ) -> Vec<pb::ExportSchedulesResponse> {
        let mut stream = self.schedules.export_schedules(request).await.expect("a stream").into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await.expect("a message") {
            messages.push(message);
        }
        messages
    }

    async fn export(&mut self) -> Vec<pb::ScheduleRecord> {
        let messages = self.export_messages(pb::ExportSchedulesRequest::default()).await;
        messages.into_iter().flat_map(|message| message.schedules).collect()
    }

    async fn ids(&mut self) -> Vec<String> {
        self.export().await.iter().map(|record| id(record).to_owned()).collect()
    }

    async fn get(&mut self, id: &str) -> pb::Schedule {
        let get = pb::GetScheduleRequest { schedule_id: id.into(), ..Default::default() };
        self.schedules.get_schedule(get).await.expect("get").into_inner().schedule.expect("a schedule")
    }
}

/// Created, updated, unchanged, deleted, refused.
fn counts(answer: &ImportSchedulesResponse) -> [i64; 5] {
    [answer.created, answer.updated, answer.unchanged, answer.deleted, answer.refused]
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Seconds from now.
fn ahead(seconds: u64) -> prost_types::Timestamp {
    (std::time::SystemTime::now() + std::time::Duration::from_secs(seconds)).into()
}

/// A schedule that sets every field.
fn full(id: &str) -> pb::Schedule {
    let value = |number| prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) };
    let args = prost_types::Struct { fields: [("a".into(), value(1.5)), ("b".into(), value(-2.0))].into() };
    pb::Schedule {
        schedule_id: id.into(),
        timing: Some(Timing::Cron(pb::Cron {
            expressions: vec!["30 2 * * *".into(), "0 9-17 * * MON-FRI".into()],
            time_zone: "Europe/Berlin".into(),
            gap: pb::GapPolicy::Shift.into(),
            fold: pb::FoldPolicy::Both.into(),
        })),
        task: Some(pb::Task {
            kind: "sync".into(),
            args: Some(args),
            payload: b"bytes".as_slice().into(),
            timeout: span(90),
            queue_timeout: span(3600),
        }),
        spread: span(600),
        overlap: pb::OverlapPolicy::BufferOne.into(),
        misfire: Some(pb::Misfire { mode: pb::MisfireMode::All.into(), window: span(7200), max_runs: 7 }),
        retry: Some(pb::Retry { max_attempts: 3, min_backoff: span(2), max_backoff: span(60) }),
        tenant: "acme".into(),
        limits: vec!["mailbox:1".into(), "imap.example.com".into()],
        priority: 3,
        start_time: Some(ahead(86_400)),
        end_time: Some(ahead(864_000)),
        max_runs: 12,
        pause_after_failures: 4,
        labels: [("owner".into(), "user-7".into())].into(),
        ..Default::default()
    }
}

/// One of each kind and state.
async fn variety(served: &mut Served) {
    let anchored = pb::Every { interval: span(5400), anchor: Some(ahead(0)) };
    for one in [
        full("full"),
        schedule("anchored", Timing::Every(anchored)),
        schedule("every", every(3600)),
        schedule("once", Timing::At(ahead(7200))),
        schedule("ended", Timing::At(ahead(0))),
        schedule("paused", cron(&["@daily"], "America/New_York")),
        schedule("until", every(60)),
    ] {
        served.upsert(one).await.expect("upsert");
    }
    served.upsert(pb::Schedule { priority: 2, ..schedule("every", every(3600)) }).await.expect("upsert");
    for (id, until) in [("paused", None), ("until", Some(ahead(300)))] {
        let note = format!("{id}: Ferien");
        let pause = pb::PauseScheduleRequest { schedule_id: id.into(), note, until, ..Default::default() };
        served.schedules.pause_schedule(pause).await.expect("pause");
    }
    // Its only run, and one by hand.
    let mut jobs = served.workers.stream_due_jobs(hello()).await.expect("a stream").into_inner();
    let trigger = pb::TriggerScheduleRequest { schedule_id: "every".into(), ..Default::default() };
    served.schedules.trigger_schedule(trigger).await.expect("trigger");
    let mut done = 0;
    while done < 2 {
        let message = jobs.message().await.expect("a message").expect("more").message;
        let Some(pb::stream_due_jobs_response::Message::DueJobs(jobs)) = message else { continue };
        let report = |job: pb::DueJob| pb::Report {
            run_id: job.run_id,
            attempt: job.attempt,
            lease_token: job.lease_token,
            outcome: Some(pb::report::Outcome::Success(pb::Success::default())),
            ..Default::default()
        };
        done += jobs.jobs.len();
        let reports = jobs.jobs.into_iter().map(report).collect();
        let request = pb::ReportResultsRequest { reports, ..Default::default() };
        served.workers.report_results(request).await.expect("report");
    }
}

#[tokio::test]
async fn one_server_is_restored_from_another() {
    let mut one = Served::start().await;
    variety(&mut one).await;
    let exported = one.export().await;
    let ids: Vec<&str> = exported.iter().map(id).collect();
    assert_eq!(ids, ["anchored", "ended", "every", "full", "once", "paused", "until"]);
    let every = &exported[2];
    assert!(every.last_manual_time.is_some() && every.revision == 2);

    let mut other = Served::start().await;
    let answer = other.import(restore(), &exported).await.expect("restored");
    assert_eq!((counts(&answer), answer.errors), ([7, 0, 0, 0, 0], vec![]));
    assert_eq!(other.export().await, exported);
    for id in ids {
        // History stays behind.
        let here = pb::Schedule { last_run: None, last_success: None, ..one.get(id).await };
        assert_eq!(other.get(id).await, here);
    }
    let answer = other.import(restore(), &exported).await.expect("again");
    assert_eq!(counts(&answer), [0, 0, 7, 0, 0], "twice changes nothing");
    let etag = one.get("full").await.etag;
    let request = pb::UpsertScheduleRequest {
        schedule: Some(schedule("full", served::every(60))),
        etag,
        ..Default::default()
    };
    other
        .schedules
        .upsert_schedule(request)
        .await
        .expect("an etag from the first server holds on the second");
}

#[tokio::test]
async fn an_import_saves_as_upserts_do() {
    let mut served = Served::start().await;
    served.upsert(schedule("same", every(3600))).await.expect("upsert");
    served.upsert(schedule("other", every(60))).await.expect("upsert");
    let records = [hourly("same"), hourly("other"), hourly("new"), record(full("full"))];
    let answer = served.import(upsert(), &records).await.expect("imported");
    assert_eq!(counts(&answer), [2, 1, 1, 0, 0]);
    let upserted = served.upsert(full("full")).await.expect("upsert");
    assert_ne!(upserted.change(), pb::Change::Created);
    let answer = served.import(upsert(), &records).await.expect("again");
    assert_eq!(answer.unchanged + answer.updated, 4);
}

#[tokio::test]
async fn of_one_id_the_last_counts_however_the_stream_is_cut() {
    let mut served = Served::start().await;
    let records: Vec<_> =
        (0..2_000_i64).map(|n| record(schedule(&format!("s{}", n % 3), every(60 + n)))).collect();
    for per_message in [1, 7, 2_000] {
        let mut messages = messages(upsert(), &records, per_message);
        messages.insert(1, pb::ImportSchedulesRequest::default());
        let answer = served.send(messages).await.expect("imported");
        assert_eq!(answer.created + answer.updated, 2_000);
        for (id, seconds) in [("s0", 2_058), ("s1", 2_059), ("s2", 2_057)] {
            let Some(Timing::Every(every)) = served.get(id).await.timing else { panic!("every") };
            assert_eq!(every.interval, span(seconds), "{id}");
        }
    }
}

#[tokio::test]
async fn p3_large_schedules_go_in_small_pages() {
    let mut served = Served::start().await;
    let mut large = schedule("large", every(3600));
    large.task.as_mut().expect("a task").payload = vec![7; 16 << 10].into();
    let named = |n: usize| record(pb::Schedule { schedule_id: format!("large-{n:03}"), ..large.clone() });
    let records: Vec<_> = (0..240).map(named).collect();
    let answer = served.send(messages(upsert(), &records, 240)).await.expect("imported");
    assert_eq!(answer.created, 240);
    let messages = served.export_messages(pb::ExportSchedulesRequest::default()).await;
    assert!(messages.iter().all(|message| prost::Message::encoded_len(message) < 1 << 20));
    assert!(messages.len() >= 4, "{}", messages.len());
    let exported: Vec<_> = messages.into_iter().flat_map(|message| message.schedules).collect();
    let mut other = Served::start().await;
    assert_eq!(other.send(crate::messages(restore(), &exported, 200)).await.expect("restored").created, 240);
    assert_eq!(other.export().await, exported);
}

#[tokio::test]
async fn an_export_takes_what_matches() {
    let mut served = Served::start().await;
    for n in 0..1_203 {
        let team = ["red", "blue"][n % 2];
        let labels = [("team".into(), team.into())].into();
        let one = pb::Schedule { labels, ..schedule(&format!("s{n:04}"), every(3600)) };
        served.upsert(one).await.expect("upsert");
    }
    let filter = pb::ScheduleFilter { labels: [("team".into(), "red".into())].into(), ..Default::default() };
    let request = pb::ExportSchedulesRequest { filter: Some(filter), ..Default::default() };
    let messages = served.export_messages(request).await;
    let ids: Vec<_> = messages.iter().flat_map(|message| &message.schedules).map(id).collect();
    assert_eq!(ids, (0..1_203).step_by(2).map(|n| format!("s{n:04}")).collect::<Vec<_>>());
    let other = pb::ExportSchedulesRequest { namespace: "shop".into(), filter: None };
    assert!(served.export_messages(other).await.is_empty());
}

#[tokio::test]
async fn only_checked_it_tells_the_difference() {
    let mut served = Served::start().await;
    let records: Vec<_> = (0..1_500).map(|n| hourly(&format!("s{n:04}"))).collect();
    let check = pb::ImportOptions { validate_only: true, ..upsert() };
    let answer = served.import(check.clone(), &records).await.expect("checked");
    assert_eq!((counts(&answer), answer.differences.len()), ([1_500, 0, 0, 0, 0], 1_000));
    assert!(served.ids().await.is_empty());
    served.import(upsert(), &records[..3]).await.expect("imported");
    let mut changed = records[1].clone();
    changed.schedule.as_mut().expect("it").timing = Some(every(60));
    let answer = served.import(check, &[records[0].clone(), changed]).await.expect("checked");
    assert_eq!(counts(&answer), [0, 1, 1, 0, 0]);
    let expected = pb::ImportDifference {
        schedule_id: "s0001".into(),
        change: pb::Change::Updated.into(),
        fields: vec!["every.interval".into()],
    };
    assert_eq!(answer.differences, [expected]);
}

#[tokio::test]
async fn a_full_namespace_takes_changes_and_no_more_schedules() {
    let mut served = Served::start_with(Config { schedules_per_namespace: 10, ..Config::default() }).await;
    let records: Vec<_> = (0..1_500).map(|n| hourly(&format!("s{n:04}"))).collect();
    let answer = served.import(upsert(), &records).await.expect("imported");
    assert_eq!((counts(&answer), answer.errors.len()), ([10, 0, 0, 0, 1_490], 1_000));
    let error = &answer.errors[0];
    assert_eq!((&*error.schedule_id, &*error.reason), ("s0010", "TOO_MANY_SCHEDULES"));
    assert!(error.message.contains("limits.schedules_per_namespace"), "{}", error.message);
    let answer = served.import(upsert(), &records[..10]).await.expect("imported");
    assert_eq!(counts(&answer), [0, 0, 10, 0, 0]);
}
