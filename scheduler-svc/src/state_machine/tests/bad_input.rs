//! Odd inputs 18, 28 and 29: a crowd of schedules at each second, and changes on the very tick of a fire.

use super::{bench::*, *};
use crate::state_machine::{Config, command::Command, id::ReplyTo, schedule::Verdict, timing::Timing};

#[test]
fn bad_input_18_every_second_for_a_crowd() {
    // Five turns of timers and more; `make bench` has the herd of 100 000.
    const SCHEDULES: usize = 11_000;
    let config = Config::default();
    let mut bench = Bench::with(config);
    let each_second = cron("* * * * * *", "");
    for n in 0..SCHEDULES {
        let upsert = bench.upsert(definition(&format!("mb-{n}"), each_second.clone()));
        let to = ReplyTo(bench.number());
        bench.machine.apply(bench.now, to, &Command::Upsert(Box::new(upsert)));
    }
    bench.machine.seal();
    bench.skip(SECOND);
    let mut turns = Vec::new();
    loop {
        let handled = bench.machine.wake(bench.now);
        bench.machine.seal();
        if handled == 0 {
            break;
        }
        turns.push(handled);
    }
    assert_eq!(turns.iter().sum::<usize>(), SCHEDULES, "each fires once");
    assert!(turns.iter().all(|turn| *turn <= config.timers_per_turn), "{turns:?}");
    bench.machine.check().expect("sound");
}

#[test]
fn bad_input_28_changes_in_the_millisecond_of_the_fire() {
    type Act = fn(&mut Bench);
    let acts: [(&str, Act); 2] = [
        ("update", |bench| drop(bench.save(definition("a", every(HOUR))))),
        ("pause", |bench| assert!(bench.pause("a", None))),
    ];
    for (name, act) in acts {
        for wake_first in [true, false] {
            let mut bench = Bench::new();
            bench.save(definition("a", every(MINUTE)));
            bench.skip(MINUTE);
            if wake_first {
                bench.wake();
            }
            act(&mut bench);
            while bench.wake() > 0 {}
            // What was due is decided before the change, whichever comes first.
            assert_eq!(bench.fired(), [START + MINUTE], "{name}, woken first: {wake_first}");
        }
    }
    // A deleted schedule leaves nothing behind that would still have to run.
    for wake_first in [true, false] {
        let mut bench = Bench::new();
        bench.save(definition("a", every(MINUTE)));
        bench.skip(MINUTE);
        if wake_first {
            bench.wake();
        }
        bench.delete("a", false);
        bench.worker(1);
        bench.pass(HOUR);
        assert!(bench.gone("a") && bench.jobs().is_empty(), "woken first: {wake_first}");
    }
    let mut bench = Bench::new();
    bench.save(definition("a", every(MINUTE)));
    bench.skip(MINUTE);
    bench.save(definition("a", every(2 * MINUTE)));
    bench.pause("a", None);
    bench.resume("a", false);
    bench.delete("a", false);
    assert_eq!(bench.fired(), [START + MINUTE], "all of it within one millisecond");
}

#[test]
fn bad_input_29_clock_stepped_back_over_a_fire_just_sent() {
    let timings: [Timing; 2] = [every(MINUTE), cron("* * * * *", "Europe/Berlin")];
    for timing in timings {
        let mut bench = Bench::new();
        bench.save(definition("a", timing));
        bench.worker(1);
        bench.pass(MINUTE);
        let job = bench.job();
        bench.set_clock(-MINUTE / 2);
        bench.succeed(&job);
        bench.pass(MINUTE - SECOND);
        assert_eq!(bench.fired(), [START + MINUTE], "not again");
        bench.pass(MINUTE / 2 + SECOND);
        assert_eq!(bench.fired(), [START + MINUTE, START + 2 * MINUTE]);
        assert!(bench.decisions("a").iter().all(|decision| decision.verdict == Verdict::Fired));
    }
}
