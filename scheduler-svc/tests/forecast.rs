//! `GetForecast` as an operator meets it, and the warning about a crowded time.

#[allow(dead_code, reason = "shared with the other tests of the surface")]
mod served;

use docket::{
    errors::{Reason, reason_of},
    schedule::v1::{self as pb, limit_service_client::LimitServiceClient},
};
use served::{Served, cron, every, schedule};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// 2090-01-01T00:00:00Z.
const FROM: i64 = 3_786_912_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn from(seconds: i64) -> pb::GetForecastRequest {
    pb::GetForecastRequest { from: time(seconds), ..Default::default() }
}

async fn forecast(
    served: &mut Served,
    request: pb::GetForecastRequest,
) -> Result<pb::GetForecastResponse, Status> {
    Ok(served.status.get_forecast(request).await?.into_inner())
}

#[tokio::test]
async fn each_bad_field_of_a_forecast_is_named() {
    let mut served = Served::start().await;
    let base = || from(FROM);
    for (field, bad) in [
        ("namespace", pb::GetForecastRequest { namespace: "a b".into(), ..base() }),
        ("from", from(i64::MAX)),
        ("horizon", pb::GetForecastRequest { horizon: span(59), ..base() }),
        ("horizon", pb::GetForecastRequest { horizon: span(7 * DAY + 1), ..base() }),
        ("step", pb::GetForecastRequest { step: span(0), ..base() }),
        ("step", pb::GetForecastRequest { step: span(8), ..base() }),
        ("step", pb::GetForecastRequest { horizon: span(7 * DAY), step: span(59), ..base() }),
    ] {
        let status = forecast(&mut served, bad).await.expect_err(field);
        assert_eq!((status.code(), reason_of(&status)), (Code::InvalidArgument, Some(Reason::InvalidField)));
        let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
        assert_eq!(violations[0].field, field, "{}", status.message());
    }
    let week = pb::GetForecastRequest { horizon: span(7 * DAY), ..base() };
    assert_eq!(forecast(&mut served, week).await.expect("10 080 steps").steps.len(), 10_080);
}

#[tokio::test]
async fn steps_the_fullest_of_them_and_drains() {
    let mut served = Served::start().await;
    for (id, timing) in
        [("a", cron(&["0 6 * * *"], "")), ("b", cron(&["0 6,18 * * *"], "")), ("c", every(600))]
    {
        let mut schedule = schedule(id, timing);
        schedule.limits = vec!["provider:x".into(), format!("mailbox:{id}")];
        served.upsert(schedule).await.expect("upsert");
    }
    let pause = pb::PauseScheduleRequest {
        schedule_id: "c".into(),
        until: time(FROM + 23 * HOUR),
        ..Default::default()
    };
    served.schedules.pause_schedule(pause).await.expect("pause");
    let mut limits = LimitServiceClient::new(served.channel.clone());
    for (key, max_running, starts_per_second) in [("provider:*", None, 0.01), ("mailbox:*", Some(1), 0.0)] {
        let limit = pb::Limit { key: key.into(), max_running, starts_per_second, ..Default::default() };
        limits
            .set_limit(pb::SetLimitRequest { limit: Some(limit), ..Default::default() })
            .await
            .expect("set");
    }
    let hourly = pb::GetForecastRequest { step: span(HOUR), ..from(FROM) };
    let found = forecast(&mut served, hourly).await.expect("a forecast");
    assert_eq!(found.steps.len(), 24);
    assert_eq!((found.steps[6].time, found.steps[6].due), (time(FROM + 6 * HOUR), 2));
    assert_eq!((found.steps[22].due, found.steps[18].due), (0, 1), "paused until 23:00");
    let top: Vec<_> = found.top_steps.iter().map(|step| step.time.expect("a time").seconds - FROM).collect();
    assert_eq!(top, [23 * HOUR, 6 * HOUR, 18 * HOUR]);
    let of_c = found.steps[23].due;
    assert!((5..=6).contains(&of_c), "{of_c}");
    let drains: Vec<_> =
        found.drains.iter().map(|drain| (&*drain.limit, &*drain.key, drain.due, drain.keys)).collect();
    assert_eq!(drains, [("provider:*", "provider:x", 3 + of_c, 1), ("mailbox:*", "mailbox:c", of_c, 3)]);
    assert_eq!(found.drains[0].expected, span((2 + of_c) * 100));
    assert_eq!(found.drains[1].expected, None, "no run has ended yet");

    let now = forecast(&mut served, pb::GetForecastRequest::default()).await.expect("a forecast");
    assert_eq!(now.steps.len(), 1_440);
    assert_eq!(now.steps[0].time.expect("a time").seconds % 60, 0, "steps begin with the minute");
    assert_eq!(now.steps.iter().map(|step| step.due).sum::<i64>(), 3);
}

#[tokio::test]
async fn who_joins_a_crowd_is_warned() {
    let mut served = Served::start().await;
    let crowded = |id: String| schedule(&id, cron(&["0 6 * * *"], "Europe/Berlin"));
    for n in 0..1_000 {
        let saved = served.upsert(crowded(format!("mb-{n}"))).await.expect("upsert");
        assert!(saved.warnings.iter().all(|warning| warning.code != "CROWD"), "{n}");
    }
    let saved = served.upsert(crowded("one-more".into())).await.expect("upsert");
    let warning = saved.warnings.last().expect("a warning");
    assert_eq!(warning.code, "CROWD");
    let text = &warning.message;
    assert!(text.starts_with("1000 other schedules have this timing and no spread"), "{text}");
    let spread = pb::Schedule { spread: span(600), ..crowded("one-more".into()) };
    let saved = served.upsert(spread).await.expect("upsert");
    assert!(saved.warnings.iter().all(|warning| warning.code != "CROWD"));
}
