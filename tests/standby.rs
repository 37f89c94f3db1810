//! Two schedulers on one real Redis: any client may talk to either, and one takes over from the other (rules O and S).

mod harness;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use docket::{errors, schedule::v1 as pb};
use futures_util::future::join_all;
use harness::{Plan, Scheduler, Service, redis::Redis};
use prost_types::Duration as ProtoDuration;

const PATIENCE: Duration = Duration::from_secs(180);

struct World {
    folder: tempfile::TempDir,
    redis: Redis,
    plans: [Plan; 2],
    schedulers: [Service; 2],
    clients: [Scheduler; 2],
}

impl World {
    /// The first one leads.
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let redis = Redis::start(&folder.path().join("redis"));
        let start = |name: &str| {
            let plan = Plan::new("scheduler-svc", &folder.path().join(name))
                .set("DOCKET_STORE__URL", redis.url())
                .set("DOCKET_STORE__LEASE_MS", 1_500);
            let service = plan.start().expect("scheduler-svc");
            let plan = plan.set("DOCKET_GRPC__LISTEN", service.grpc).set("DOCKET_HTTP__LISTEN", service.http);
            (plan, service)
        };
        let ((first_plan, first), (second_plan, second)) = (start("first"), start("second"));
        let clients =
            [Scheduler::connect(&first), Scheduler::connect(&second)].map(|one| one.expect("clients"));
        Self { folder, redis, plans: [first_plan, second_plan], schedulers: [first, second], clients }
    }

    /// A worker that knows only one of them.
    fn worker(&self, of: usize) -> Service {
        Plan::new("worker-svc", self.folder.path())
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", self.schedulers[of].grpc))
            .set("DOCKET_WORKER__ID", "w1")
            .set("DOCKET_WORKER__KINDS", "noop")
            .start()
            .expect("worker-svc")
    }

    async fn upsert(&self, by: usize, id: &str, seconds: i64) {
        self.save(by, id, seconds, None).await;
    }

    /// None while nobody leads.
    async fn run(&self, by: usize, run_id: &str, wait: i64) -> Option<pb::Run> {
        let wait = Some(ProtoDuration { seconds: wait, nanos: 0 });
        let get = pb::GetRunRequest { run_id: run_id.into(), wait, ..Default::default() };
        self.clients[by].runs.clone().get_run(get).await.ok()?.into_inner().run
    }

    async fn save(&self, by: usize, id: &str, seconds: i64, args: Option<prost_types::Struct>) {
        let every = pb::Every { interval: Some(ProtoDuration { seconds, nanos: 0 }), anchor: None };
        let schedule = pb::Schedule {
            schedule_id: id.into(),
            timing: Some(pb::schedule::Timing::Every(every)),
            task: Some(pb::Task { kind: "noop".into(), args, ..Default::default() }),
            ..Default::default()
        };
        let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
        self.clients[by].schedules.clone().upsert_schedule(request).await.expect("an upsert");
    }

    async fn status(&self, of: usize) -> pb::GetStatusResponse {
        let answer = self.clients[of].status.clone().get_status(pb::GetStatusRequest::default()).await;
        answer.expect("a status").into_inner()
    }

    /// The status code of a GET.
    fn http(&self, of: usize, path: &str) -> u16 {
        self.get(of, path).split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code")
    }

    /// The answer to a GET.
    fn get(&self, of: usize, path: &str) -> String {
        let mut stream = TcpStream::connect(self.schedulers[of].http).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    async fn until_leads(&self, which: usize) {
        let begin = Instant::now();
        while self.status(which).await.role() != pb::Role::Leader {
            assert!(begin.elapsed() < PATIENCE, "it does not lead");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_available(&self, which: usize, available: bool) {
        let begin = Instant::now();
        while self.status(which).await.store.expect("a store").available != available {
            assert!(begin.elapsed() < PATIENCE, "its status does not become available = {available}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a schedule now, and waits for the end of the run. Asked again while nobody leads.
    async fn sync_now(&self, by: usize, id: &str) -> pb::Run {
        let begin = Instant::now();
        let request_id = format!("{id}-{}", begin.elapsed().as_nanos());
        loop {
            assert!(begin.elapsed() < PATIENCE, "no run came to its end");
            let request = pb::TriggerScheduleRequest {
                schedule_id: id.into(),
                request_id: request_id.clone(),
                ..Default::default()
            };
            let run = match self.clients[by].schedules.clone().trigger_schedule(request).await {
                Ok(answer) => answer.into_inner().run.expect("a run"),
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                    continue;
                }
            };
            let wait = Some(ProtoDuration { seconds: 5, nanos: 0 });
            let get = pb::GetRunRequest { run_id: run.run_id, wait, ..Default::default() };
            match self.clients[by].runs.clone().get_run(get).await.map(tonic::Response::into_inner) {
                Ok(pb::GetRunResponse { run: Some(run) }) if run.finish_time.is_some() => return run,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Every decision about a schedule, from first to last: no time twice, none left out.
    async fn fired(&self, by: usize, id: &str) -> Vec<i64> {
        let request = pb::ListRunsRequest {
            filter: Some(pb::RunFilter { schedule_id: id.into(), ..Default::default() }),
            page_size: 1_000,
            ..Default::default()
        };
        let answer = self.clients[by].runs.clone().list_runs(request).await.expect("runs").into_inner();
        let mut times: Vec<i64> =
            answer.runs.iter().filter_map(|run| Some(run.nominal_time?.seconds)).collect();
        times.sort_unstable();
        times
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_any_client_may_talk_to_any_replica() {
    let world = World::start();
    let (leader, standby) = (world.status(0).await, world.status(1).await);
    assert_eq!((leader.role(), standby.role()), (pb::Role::Leader, pb::Role::Standby));
    assert_eq!(standby.leader, world.schedulers[0].grpc.to_string(), "it tells who leads");
    assert_eq!((leader.store.expect("a store").kind, standby.epoch), ("redis".into(), leader.epoch));
    world.upsert(1, "mb-1", 3_600).await;
    let request = pb::GetScheduleRequest { schedule_id: "mb-2".into(), ..Default::default() };
    let missing = world.clients[1].schedules.clone().get_schedule(request).await.expect_err("there is none");
    assert_eq!(
        errors::reason_of(&missing),
        Some(errors::Reason::ScheduleNotFound),
        "errors come through whole"
    );
    let _worker = world.worker(1);
    let run = world.sync_now(1, "mb-1").await;
    assert_eq!((run.state(), run.worker_id.as_str()), (pb::RunState::Succeeded, "w1"));
    assert_eq!(world.sync_now(0, "mb-1").await.state(), pb::RunState::Succeeded);
}

/// A call that was passed on to somebody who does not lead, or not any more under that epoch, goes no further.
#[tokio::test(flavor = "multi_thread")]
async fn s2_a_call_is_passed_on_once_at_the_most() {
    let world = World::start();
    world.upsert(0, "mb-1", 3_600).await;
    let epoch = world.status(0).await.epoch;
    let ask = async |by: usize, expected: i64| {
        let get = pb::GetScheduleRequest { schedule_id: "mb-1".into(), ..Default::default() };
        let mut request = tonic::Request::new(get);
        request.metadata_mut().insert("docket-expected-epoch", expected.into());
        world.clients[by].schedules.clone().get_schedule(request).await
    };
    assert!(ask(0, epoch).await.is_ok(), "the leader that was meant");
    for (by, expected) in [(0, epoch - 1), (0, epoch + 1), (1, epoch), (1, epoch + 1)] {
        let refused = ask(by, expected).await.expect_err("nobody who leads under that epoch");
        assert_eq!(errors::reason_of(&refused), Some(errors::Reason::NotLeader), "{by} {expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_a_killed_leader_is_replaced_and_its_worker_goes_on() {
    let mut world = World::start();
    world.upsert(0, "often", 1).await;
    world.upsert(0, "mb-1", 3_600).await;
    let _worker = world.worker(1);
    world.sync_now(1, "mb-1").await;
    world.schedulers[0].kill();
    world.until_leads(1).await;
    assert_eq!(world.sync_now(1, "mb-1").await.state(), pb::RunState::Succeeded);
    let before = world.status(1).await;
    // The former leader comes back and stands by.
    world.schedulers[0] = world.plans[0].start().expect("a restart");
    let back = world.status(0).await;
    assert_eq!((back.role(), back.epoch), (pb::Role::Standby, before.epoch));
    let times = world.fired(0, "often").await;
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "no time fired twice: {times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_a_leader_that_is_told_to_stop_hands_over() {
    let mut world = World::start();
    world.upsert(0, "mb-1", 3_600).await;
    let _worker = world.worker(1);
    world.sync_now(1, "mb-1").await;
    assert_eq!(world.schedulers[0].terminate().expect("its end"), Some(0));
    world.until_leads(1).await;
    assert_eq!(world.sync_now(1, "mb-1").await.state(), pb::RunState::Succeeded);
}

/// Stopped past its lease, the leader wakes as if nothing had happened. It has been replaced, finds out, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn o5_a_leader_that_slept_past_its_lease_steps_down() {
    let world = World::start();
    world.upsert(0, "mb-1", 3_600).await;
    world.schedulers[0].signal("-STOP");
    world.until_leads(1).await;
    world.upsert(1, "mb-2", 3_600).await;
    world.schedulers[0].signal("-CONT");
    // It may not know yet; whatever it answers is what the new leader says.
    let get = |id: &str| pb::GetScheduleRequest { schedule_id: id.into(), ..Default::default() };
    let begin = Instant::now();
    let seen = loop {
        match world.clients[0].schedules.clone().get_schedule(get("mb-2")).await {
            Ok(answer) => break answer.into_inner().schedule.expect("a schedule"),
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "a stale answer: {status:?}"),
        }
        assert!(begin.elapsed() < PATIENCE, "it never stepped down");
    };
    assert_eq!(seen.schedule_id, "mb-2");
    assert_eq!(world.status(0).await.role(), pb::Role::Standby);
}

/// While Redis is away nothing is acknowledged, and the status says so; then it all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_redis_is_away() {
    let mut world = World::start();
    world.upsert(0, "mb-1", 3_600).await;
    world.redis.kill();
    let request = pb::PauseScheduleRequest { schedule_id: "mb-1".into(), ..Default::default() };
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(2));
    let paused = world.clients[0].schedules.clone().pause_schedule(request).await;
    assert!(paused.is_err(), "acknowledged: {paused:?}");
    let store = world.status(0).await.store.expect("a store");
    assert!(!store.available && !store.detail.is_empty(), "{store:?}");
    world.until_available(1, false).await;
    world.redis.restart();
    world.until_available(0, true).await;
    world.until_available(1, true).await;
    world.upsert(0, "mb-2", 3_600).await;
    let list = world.clients[1].schedules.clone().list_schedules(pb::ListSchedulesRequest::default()).await;
    assert_eq!(list.expect("a list").into_inner().schedules.len(), 2, "nothing is lost, nothing is doubled");
}

/// A scheduler that is started while Redis is away says that it is alive, and leads once Redis is back.
#[tokio::test(flavor = "multi_thread")]
async fn s3_a_scheduler_starts_while_redis_is_away() {
    let mut world = World::start();
    world.upsert(0, "mb-1", 3_600).await;
    for scheduler in &mut world.schedulers {
        scheduler.kill();
    }
    world.redis.kill();
    world.schedulers[0] = world.plans[0].start().expect("it serves");
    let status = world.status(0).await;
    assert_eq!((status.role(), status.leader.as_str()), (pb::Role::Standby, ""), "nobody leads");
    assert_eq!((world.http(0, "/livez"), world.http(0, "/readyz")), (200, 503));
    let store = status.store.expect("a store");
    assert!(!store.available && store.detail.contains("Connection refused"), "{store:?}");
    let ready = world.get(0, "/readyz");
    assert!(ready.contains("no scheduler leads; the store cannot be used: Connection refused"), "{ready}");
    world.redis.restart();
    world.until_leads(0).await;
    assert_eq!((world.http(0, "/livez"), world.http(0, "/readyz")), (200, 200));
    let request = pb::GetScheduleRequest { schedule_id: "mb-1".into(), ..Default::default() };
    world.clients[0].schedules.clone().get_schedule(request).await.expect("what was acknowledged");
}

/// Redis with everything in it, as it is at a moment, and as it was then.
const SAVE: &str = "for _, key in ipairs(redis.call('KEYS', '{docket:0}:*')) do
    redis.call('COPY', key, '{saved}:' .. key)
end";
const FALL_BACK: &str =
    "for _, key in ipairs(redis.call('KEYS', '{docket:0}:*')) do redis.call('DEL', key) end
for _, key in ipairs(redis.call('KEYS', '{saved}:*')) do redis.call('COPY', key, string.sub(key, 9)) end";

/// A result was accepted and acknowledged; then the leader dies, and Redis loses the commits of the last moments. The
/// worker hands the result in to the next leader: the run is not done again.
#[tokio::test(flavor = "multi_thread")]
async fn o10_a_result_that_was_lost_with_its_leader_is_handed_in_again() {
    let mut world = World::start();
    let _worker = world.worker(1);
    let sleep = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1_000.0)) };
    let args = prost_types::Struct { fields: [("sleep_ms".to_owned(), sleep)].into() };
    world.save(0, "slow", 3_600, Some(args)).await;
    world.upsert(0, "quick", 3_600).await;
    let request = pb::TriggerScheduleRequest { schedule_id: "slow".into(), ..Default::default() };
    let run =
        world.clients[0].schedules.clone().trigger_schedule(request).await.expect("a run").into_inner().run;
    let run_id = run.expect("a run").run_id;
    let begin = Instant::now();
    while world.run(0, &run_id, 0).await.expect("a run").state() != pb::RunState::Running {
        assert!(begin.elapsed() < PATIENCE, "nobody takes it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.redis.ask(&["EVAL", SAVE, "0"]).expect("saved");
    let done = world.run(0, &run_id, 5).await.expect("a run");
    assert_eq!((done.state(), done.attempt), (pb::RunState::Succeeded, 1));
    // A receipt of a later run: that of the first has arrived as well.
    world.sync_now(0, "quick").await;
    world.schedulers[0].kill();
    world.redis.ask(&["EVAL", FALL_BACK, "0"]).expect("fallen back");
    world.until_leads(1).await;
    let again = loop {
        assert!(begin.elapsed() < PATIENCE, "it does not come to its end");
        match world.run(1, &run_id, 5).await {
            Some(run) if run.finish_time.is_some() => break run,
            Some(_) | None => {}
        }
    };
    assert_eq!((again.state(), again.attempt), (pb::RunState::Succeeded, 1), "it was not done again");
}

/// Four rounds of callers give up on a scheduler that stands still, all on one connection. That is no flood of resets: the
/// connection, and the calls on it, live on.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_give_up_on_a_stopped_scheduler_are_served_when_it_goes_on() {
    const PATIENCE: Duration = Duration::from_millis(50);
    let folder = tempfile::tempdir().expect("a folder");
    let service = Plan::new("scheduler-svc", folder.path()).start().expect("scheduler-svc");
    let client = Scheduler::connect(&service).expect("clients").status;
    let ask = async || client.clone().get_status(pb::GetStatusRequest::default()).await;
    ask().await.expect("a connection");
    service.signal("-STOP");
    for _ in 0..4 {
        let given_up = join_all((0..60).map(|_| tokio::time::timeout(PATIENCE, ask()))).await;
        assert!(given_up.iter().all(Result::is_err), "it stands still");
    }
    service.signal("-CONT");
    for answer in join_all((0..60).map(|_| ask())).await {
        answer.expect("it goes on");
    }
}
