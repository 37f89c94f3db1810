//! `GetForecast`: reads the schedules page by page and adds them up on a blocking thread.

use std::{cmp::Reverse, time::Instant, time::SystemTime};

use docket::{errors::Violation, identity::Identity, schedule::v1 as pb};
use tokio::sync::Semaphore;
use tonic::Status;

use super::{call_error, convert, explain::instant, field, internal, mismatch};
use crate::{
    forecast::{Bounds, Drain, Drains, Forecast, HORIZON_MAX, Range, TooMuch},
    shard::Handle,
    state_machine::{
        command::{self, Command},
        forecast::Page,
        gate::limit::Limit,
        output::Answer,
    },
};

const DAY: i64 = 86_400_000;
const MINUTE: i64 = 60_000;
const STEPS_MAX: i64 = 10_080;
const TOP_STEPS: usize = 10;
const DRAINS_MAX: usize = 100;
const LIMITS_PER_PAGE: usize = 1_000;
/// As many schedules in the same second are worth a warning.
const CROWD: u32 = 1_000;

/// One forecast is calculated at a time; others wait, and hold nothing meanwhile.
static TURN: Semaphore = Semaphore::const_new(1);

pub async fn forecast(
    shard: &Handle,
    identity: &Identity,
    body: &pb::GetForecastRequest,
    until: Option<Instant>,
) -> Result<pb::GetForecastResponse, Status> {
    let namespace = field::id("namespace", identity.namespace(&body.namespace)?)?;
    let range = range(body)?;
    let _turn = TURN.acquire().await.map_err(|_| internal("the forecasts' semaphore is closed"))?;
    let mut forecast =
        Forecast::new(range, Bounds::default(), Drains::new(limits(shard, namespace, until).await?));
    let mut ask = command::Forecast { namespace: namespace.into(), after: None };
    loop {
        let answer = shard.call(Command::Forecast(ask.clone()), until).await.map_err(call_error)?;
        let Answer::Forecast(page) = answer else { return Err(mismatch()) };
        ask.after = page.next.clone();
        forecast = blocking(move || add(forecast, &page)).await??;
        if ask.after.is_none() {
            break;
        }
    }
    blocking(move || forecast.finish().map(|(steps, drains)| shown(range, &steps, &drains)).map_err(too_much))
        .await?
}

fn add(mut forecast: Forecast, page: &Page) -> Result<Forecast, Status> {
    forecast.add(page).map_err(too_much)?;
    Ok(forecast)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| internal("a forecast panicked"))
}

fn too_much(TooMuch: TooMuch) -> Status {
    let remedy = "holds too many different times of the namespace's schedules; ask for a shorter one";
    Violation::new("horizon", remedy).into()
}

fn range(body: &pb::GetForecastRequest) -> Result<Range, Violation> {
    let longest = i64::from(HORIZON_MAX);
    let horizon = field::millis("horizon", body.horizon.as_ref(), MINUTE, longest, DAY)?;
    let step = field::millis("step", body.step.as_ref(), 1_000, longest, MINUTE)?;
    let steps = horizon.unsigned_abs().div_ceil(step.unsigned_abs());
    if steps > STEPS_MAX.unsigned_abs() {
        let remedy = format!("divides the horizon into {steps} steps; at most {STEPS_MAX} are answered");
        return Err(Violation::new("step", remedy));
    }
    let from = field::optional_time("from", body.from.as_ref())?;
    let from = from.unwrap_or_else(|| now().div_euclid(step) * step);
    Ok(Range { from, horizon: horizon as u32, step: step as u32 })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// All limits of a namespace.
async fn limits(
    shard: &Handle,
    namespace: &str,
    until: Option<Instant>,
) -> Result<Vec<(Box<str>, Limit)>, Status> {
    let mut list = command::ListLimits {
        namespace: namespace.into(),
        prefix: "".into(),
        after: None,
        limit: LIMITS_PER_PAGE,
    };
    let mut all = Vec::new();
    loop {
        let answer = shard.call(Command::ListLimits(list.clone()), until).await.map_err(call_error)?;
        let Answer::Limits { limits, next } = answer else { return Err(mismatch()) };
        all.extend(limits.into_iter().filter_map(|view| Some((view.key, view.limit?))));
        list.after = next;
        if list.after.is_none() {
            return Ok(all);
        }
    }
}

fn shown(range: Range, steps: &[u64], drains: &[Drain]) -> pb::GetForecastResponse {
    let step = |index: usize| pb::ForecastStep {
        time: Some(convert::timestamp(range.from + index as i64 * i64::from(range.step))),
        due: steps[index] as i64,
    };
    let mut top: Vec<usize> = (0..steps.len()).filter(|index| steps[*index] > 0).collect();
    top.sort_by_key(|index| Reverse(steps[*index]));
    let drain = |drain: &Drain| pb::ForecastDrain {
        limit: drain.limit.to_string(),
        due: drain.due as i64,
        expected: drain.expected.map(|millis| convert::duration(i64::try_from(millis).unwrap_or(i64::MAX))),
        key: drain.key.to_string(),
        keys: drain.keys as i64,
    };
    pb::GetForecastResponse {
        steps: (0..steps.len()).map(step).collect(),
        top_steps: top.into_iter().take(TOP_STEPS).map(step).collect(),
        drains: drains.iter().take(DRAINS_MAX).map(drain).collect(),
    }
}

/// For a person who saves a schedule: it is one of very many at the same time.
pub fn crowd_warning(others: u32, next_due: Option<i64>) -> Option<String> {
    if others < CROWD {
        return None;
    }
    let at = next_due.map(|due| format!(" (next at {})", instant(due))).unwrap_or_default();
    Some(format!(
        "{others} other schedules have this timing and no spread, so all are due in the same second{at}; set spread, \
         600s for instance"
    ))
}
