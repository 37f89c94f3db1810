//! An app that mirrors schedules and live runs, as docs/events.md tells it: whatever happens, and however slowly it
//! reads, its picture ends as the scheduler's.

use std::collections::BTreeMap;

use docket::schedule::v1 as pb;
use pb::EventType as T;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    app::{Events, labelled, list, start, watch},
    served::{Served, every, schedule},
};

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Saved last: whoever sees it has seen everything.
const LAST: &str = "last";

#[derive(Debug, Default, PartialEq)]
struct Mirror {
    /// By id: uid, etag, state.
    schedules: BTreeMap<String, (String, String, pb::ScheduleState)>,
    /// Live ones, by id.
    runs: BTreeMap<String, pb::RunState>,
}

impl Mirror {
    async fn read(served: &mut Served) -> Self {
        let mut mirror = Self::default();
        let all = pb::ListSchedulesRequest { page_size: 1_000, ..Default::default() };
        let listed = served.schedules.list_schedules(all).await.expect("schedules").into_inner();
        listed.schedules.iter().for_each(|schedule| mirror.see(schedule));
        let all = pb::ListRunsRequest { page_size: 1_000, ..Default::default() };
        let listed = served.runs.list_runs(all).await.expect("runs").into_inner();
        listed.runs.iter().for_each(|run| mirror.see_run(run));
        mirror
    }

    fn see(&mut self, schedule: &pb::Schedule) {
        let shown = (schedule.uid.clone(), schedule.etag.clone(), schedule.state());
        self.schedules.insert(schedule.schedule_id.clone(), shown);
    }

    fn see_run(&mut self, run: &pb::Run) {
        match run.state() {
            live @ (pb::RunState::Queued | pb::RunState::Running) => {
                self.runs.insert(run.run_id.clone(), live);
            }
            _ => drop(self.runs.remove(&run.run_id)),
        }
    }

    fn apply(&mut self, event: &pb::Event) {
        if let Some(run) = &event.run {
            return self.see_run(run);
        }
        let schedule = event.schedule.as_ref().expect("one of the two");
        if event.r#type() != T::ScheduleDeleted {
            return self.see(schedule);
        }
        // Its name may belong to another by now.
        if self.schedules.get(&schedule.schedule_id).is_some_and(|(uid, ..)| *uid == schedule.uid) {
            self.schedules.remove(&schedule.schedule_id);
        }
    }
}

#[tokio::test]
async fn r8_a_mirror_ends_as_what_it_mirrors() {
    let mut resets = 0;
    for seed in 0..12 {
        resets += mirrored(seed).await;
    }
    assert!(resets > 3, "too little was lost on the way: {resets} resets");
}

/// Returns how often the mirror had to be read anew.
async fn mirrored(seed: u64) -> usize {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut served = start(24, 100).await;
    for id in IDS {
        served.upsert(schedule(id, every(3_600))).await.expect("upsert");
    }
    let mut app = App::new(&mut served).await;
    for n in 0..120 {
        step(&mut served, &mut dice, n).await;
        // It may miss its turn many times in a row.
        if dice.random_range(0..20) == 0 {
            app.look(&mut served).await;
        }
    }
    served.upsert(labelled(LAST, "red")).await.expect("upsert");
    while !app.mirror.schedules.contains_key(LAST) {
        app.message(&mut served).await;
    }
    assert_eq!(app.mirror, Mirror::read(&mut served).await, "seed {seed}");
    app.resets
}

struct App {
    stream: Events,
    cursor: String,
    mirror: Mirror,
    resets: usize,
}

impl App {
    async fn new(served: &mut Served) -> Self {
        let mut stream = watch(served, pb::WatchEventsRequest::default()).await.expect("watch");
        let first = stream.message().await.expect("a stream").expect("a message");
        Self { stream, cursor: first.cursor, mirror: Mirror::read(served).await, resets: 0 }
    }

    /// Connects anew, since on the same stream what is on its way is never lost, and reads a little.
    async fn look(&mut self, served: &mut Served) {
        let request = pb::WatchEventsRequest { cursor: self.cursor.clone(), ..Default::default() };
        self.stream = watch(served, request).await.expect("watch");
        self.message(served).await;
        let request = pb::ListEventsRequest { cursor: self.cursor.clone(), ..Default::default() };
        if !list(served, request).await.expect("kept").events.is_empty() {
            self.message(served).await;
        }
    }

    async fn message(&mut self, served: &mut Served) {
        let message = self.stream.message().await.expect("a stream").expect("a message");
        if message.reset {
            self.resets += 1;
            self.mirror = Mirror::read(served).await;
        }
        message.events.iter().for_each(|event| self.mirror.apply(event));
        self.cursor = message.cursor;
    }
}

/// Something changes. A refusal is as good as any answer.
async fn step(served: &mut Served, dice: &mut SmallRng, n: i64) {
    let schedule_id = IDS[dice.random_range(0..IDS.len())].to_owned();
    match dice.random_range(0..6) {
        0 => drop(served.upsert(schedule(&schedule_id, every(3_600 + n))).await),
        1 => {
            let pause = pb::PauseScheduleRequest { schedule_id, ..Default::default() };
            drop(served.schedules.pause_schedule(pause).await);
        }
        2 => {
            let resume = pb::ResumeScheduleRequest { schedule_id, ..Default::default() };
            drop(served.schedules.resume_schedule(resume).await);
        }
        3 => {
            let delete = pb::DeleteScheduleRequest { schedule_id, ..Default::default() };
            drop(served.schedules.delete_schedule(delete).await);
        }
        _ => {
            let trigger = pb::TriggerScheduleRequest { schedule_id, ..Default::default() };
            let Ok(triggered) = served.schedules.trigger_schedule(trigger).await else { return };
            let run_id = triggered.into_inner().run.expect("a run").run_id;
            if dice.random_range(0..2) == 0 {
                let cancel = pb::CancelRunRequest { run_id, ..Default::default() };
                drop(served.runs.cancel_run(cancel).await);
            }
        }
    }
}
