//! A forecast of a million schedules: the longest turn on the shard's thread, and the adding up beside it.
//!
//! `cargo bench -p scheduler-svc --bench forecast`; a number as argument stands for the million.

#![allow(clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use scheduler_svc::{
    forecast::{Bounds, Drains, Forecast, Range},
    state_machine::{
        Config, StateMachine,
        command::{self, Command, Upsert},
        definition::{Definition, Input, Misfire, Overlap, Retry, ScheduleKey, Task, Terms},
        gate::limit::Limit,
        id::{ReplyTo, Uid},
        output::Answer,
        timer::Now,
        timing::{Cron, CronSource, Fold, Gap, Timing},
    },
};

const DAY: u32 = 86_400_000;
const WALL: i64 = 1_795_392_000_000;

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    println!("forecast of {count} schedules, each with a limit of its own and a shared one");
    let daily = |n: usize| (cron(&format!("{} {} * * *", n % 60, n % 24)), 3_600_000);
    show("daily, 120 timings, spread 1 h", count, daily);
    let hourly = |n: usize| (cron(&format!("{} {} * * * *", n % 9, n % 60)), 600_000);
    show("hourly, 180 timings, spread 10 min", count, hourly);
    show("every minute, spread 10 min", count, |_| (cron("* * * * *"), 600_000));
    show("every second", count, |_| (Timing::Every { interval: 1_000, anchor: None }, 0));
    let own = |n: usize| (cron(&format!("{} {} {} * * *", n % 60, n / 60 % 60, n / 3_600 % 24)), 0);
    show("daily, all timings different, up to 86 400", count, own);
}

fn cron(text: &str) -> Timing {
    let (expressions, time_zone) = (vec![text.into()], "Europe/Berlin".into());
    let source = CronSource { expressions, time_zone, gap: Gap::default(), fold: Fold::default() };
    Timing::Cron(Arc::new(Cron::new(source).expect(text)))
}

fn show(what: &str, count: usize, timing: impl Fn(usize) -> (Timing, u32)) {
    let mut machine = filled(count, timing);
    for (days, step) in [(1, 60_000), (7, 60_000)] {
        let limits = vec![("provider:x".into(), rate(1_000_000)), ("mailbox:*".into(), rate(1_000))];
        let range = Range { from: WALL, horizon: days * DAY, step };
        let start = Instant::now();
        let mut forecast = Forecast::new(range, Bounds::default(), Drains::new(limits));
        let mut longest = Duration::ZERO;
        let mut ask = command::Forecast { namespace: "default".into(), after: None };
        let mut outcome = Ok(());
        loop {
            let turn = Instant::now();
            machine.apply(Now { wall: WALL, elapsed: 2 }, ReplyTo(1), &Command::Forecast(ask.clone()));
            let reply = machine.seal().replies.remove(0).1;
            longest = longest.max(turn.elapsed());
            let Ok(Answer::Forecast(page)) = reply else { panic!("a page") };
            outcome = outcome.and_then(|()| forecast.add(&page));
            ask.after = page.next;
            if ask.after.is_none() || outcome.is_err() {
                break;
            }
        }
        let due = outcome.and_then(|()| forecast.finish()).map(|(steps, _)| steps.iter().sum::<u64>());
        let due = due.map_or("refused".into(), |due| format!("{due} due"));
        let (all, turn) = (start.elapsed().as_secs_f64(), longest.as_secs_f64() * 1e3);
        println!("  {what:45} {days} d: {all:6.2} s in all, longest turn {turn:5.2} ms, {due}");
    }
}

fn rate(rate: u64) -> Limit {
    Limit { max_running: None, rate, burst: 1 }
}

fn filled(count: usize, timing: impl Fn(usize) -> (Timing, u32)) -> StateMachine {
    let now = Now { wall: WALL, elapsed: 1 };
    let config = Config { schedules_per_namespace: count, ..Config::default() };
    let mut machine = StateMachine::new(config, 1, now);
    for n in 0..count {
        let upsert = Upsert {
            definition: definition(n, timing(n)),
            uid: Uid((n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            etag: None,
            create_only: false,
            request: None,
            validate_only: false,
            actor: "bench".into(),
        };
        machine.apply(now, ReplyTo(1), &Command::Upsert(Box::new(upsert)));
        if n % 1_000 == 999 {
            machine.seal();
        }
    }
    machine.seal();
    machine
}

fn definition(n: usize, (timing, spread): (Timing, u32)) -> Definition {
    Definition {
        key: ScheduleKey::new("default", &format!("mb-{n:08}")),
        terms: Terms {
            timing,
            task: Task { kind: "sync".into(), timeout: 600_000, queue_timeout: 0 },
            spread,
            overlap: Overlap::Skip,
            misfire: Misfire::Coalesce,
            retry: Retry::default(),
            priority: 5,
            start: None,
            end: None,
            max_runs: 0,
            pause_after_failures: 0,
            delete_when_ended: false,
        }
        .into(),
        input: Input::default(),
        tenant: "".into(),
        limits: [format!("mailbox:mb-{n:08}").into(), "provider:x".into()].into(),
        saved_by: Default::default(),
        labels: Default::default(),
    }
}
