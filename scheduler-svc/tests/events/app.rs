//! What an app does: calls, and streams of events.

use docket::{
    errors::{Reason, reason_of},
    schedule::v1::{self as pb, run_service_client::RunServiceClient},
};
use scheduler_svc::{event_log, shard::Options};
use tonic::{Status, Streaming, transport::Channel};

use crate::served::{Served, every, schedule};

pub type Events = Streaming<pb::WatchEventsResponse>;

/// With a log of so many events, for so many watchers.
pub async fn start(events: usize, watchers: usize) -> Served {
    let bounds = event_log::Bounds { events, watchers, ..event_log::Bounds::default() };
    Served::start_with(Options { events: bounds, ..Options::default() }).await
}

/// A connection on which the server may send little before the client reads.
pub async fn stingy(url: &str) -> Channel {
    const WINDOW: u32 = 65_535;
    let endpoint = Channel::from_shared(url.to_owned()).expect("a URL");
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    endpoint.connect().await.expect("a connection")
}

pub async fn list(served: &Served, request: pb::ListEventsRequest) -> Result<pb::ListEventsResponse, Status> {
    Ok(served.runs.clone().list_events(request).await?.into_inner())
}

pub async fn watch(served: &Served, request: pb::WatchEventsRequest) -> Result<Events, Status> {
    watch_on(served.channel.clone(), request).await
}

pub async fn watch_on(channel: Channel, request: pb::WatchEventsRequest) -> Result<Events, Status> {
    Ok(RunServiceClient::new(channel).watch_events(request).await?.into_inner())
}

/// The next so many events of a stream.
pub async fn events(stream: &mut Events, count: usize) -> Vec<pb::Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let message = stream.message().await.expect("a stream").expect("a message");
        if let Some(last) = message.events.last() {
            assert_eq!(last.cursor, message.cursor);
        }
        events.extend(message.events);
    }
    assert_eq!(events.len(), count);
    events
}

pub fn types(events: &[pb::Event]) -> Vec<pb::EventType> {
    events.iter().map(pb::Event::r#type).collect()
}

/// Of the schedules that they are about.
pub fn ids(events: &[pb::Event]) -> Vec<&str> {
    events.iter().map(schedule_id).collect()
}

fn schedule_id(event: &pb::Event) -> &str {
    let run = event.run.as_ref().map(|run| run.schedule_id.as_str());
    run.or(event.schedule.as_ref().map(|schedule| schedule.schedule_id.as_str())).expect("one of the two")
}

pub fn labelled(id: &str, team: &str) -> pb::Schedule {
    pb::Schedule { labels: [("team".into(), team.into())].into(), ..schedule(id, every(3600)) }
}

pub fn refused(status: &Status, reason: Reason) {
    assert_eq!((status.code(), reason_of(status)), (reason.code(), Some(reason)), "{status:?}");
}

impl Served {
    pub async fn pause(&mut self, id: &str, note: &str) {
        let pause =
            pb::PauseScheduleRequest { schedule_id: id.into(), note: note.into(), ..Default::default() };
        self.schedules.pause_schedule(pause).await.expect("pause");
    }

    pub async fn pause_all(&mut self, team: &str, note: &str) {
        let labels = [("team".into(), team.into())].into();
        let filter = Some(pb::ScheduleFilter { labels, ..Default::default() });
        let pause = pb::PauseScheduleRequest { filter, note: note.into(), ..Default::default() };
        self.schedules.pause_schedule(pause).await.expect("pause");
    }

    pub async fn resume(&mut self, id: &str) {
        let resume = pb::ResumeScheduleRequest { schedule_id: id.into(), ..Default::default() };
        self.schedules.resume_schedule(resume).await.expect("resume");
    }

    pub async fn delete(&mut self, id: &str) {
        let delete = pb::DeleteScheduleRequest { schedule_id: id.into(), ..Default::default() };
        self.schedules.delete_schedule(delete).await.expect("delete");
    }

    pub async fn trigger(&mut self, id: &str) -> pb::Run {
        let trigger = pb::TriggerScheduleRequest { schedule_id: id.into(), ..Default::default() };
        self.schedules.trigger_schedule(trigger).await.expect("trigger").into_inner().run.expect("a run")
    }

    pub async fn cancel(&mut self, run_id: &str) {
        let cancel = pb::CancelRunRequest { run_id: run_id.into(), ..Default::default() };
        self.runs.cancel_run(cancel).await.expect("cancel");
    }
}
