//! Chance against a naive model: after each step, exactly the runs are held back that the model says cannot start.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{bench::*, limit::*};
use crate::state_machine::{
    command::{Command, DeleteLimit},
    definition::Definition,
    failure::Class,
    output::Job,
    schedule::Status,
};

const KEYS: [&str; 5] = ["a", "b", "m:1", "m:2", "m:3"];
const PATTERNS: [&str; 3] = ["*", "m:*", "m:1*"];

struct World {
    bench: Bench,
    dice: SmallRng,
    /// What is set, by key or pattern.
    limits: BTreeMap<String, u32>,
    running: Vec<Job>,
    next: usize,
    started: usize,
}

#[test]
fn r6_r7_random_permits_agree_with_a_naive_model() {
    let mut started = 0;
    for seed in 0..30 {
        let mut world = World {
            bench: Bench::new(),
            dice: SmallRng::seed_from_u64(seed),
            limits: BTreeMap::new(),
            running: Vec::new(),
            next: 0,
            started: 0,
        };
        world.bench.worker(1_000);
        for step in 0..200 {
            world.step();
            world.compare(seed, step);
        }
        started += world.started;
    }
    assert!(started > 2_000, "too little happened: {started} starts");
}

impl World {
    fn roll(&mut self, sides: usize) -> usize {
        self.dice.random_range(0..sides)
    }

    fn step(&mut self) {
        match self.roll(10) {
            0..=3 => self.fire(),
            4..=6 => self.end(),
            7 => self.set(),
            8 => self.unset(),
            _ => self.manage(),
        }
        let jobs = self.bench.jobs();
        self.started += jobs.len();
        self.running.extend(jobs);
    }

    fn fire(&mut self) {
        self.next += 1;
        let mut keys: Vec<&str> =
            (0..self.roll(4)).map(|_| KEYS[self.dice.random_range(0..KEYS.len())]).collect();
        keys.truncate(3);
        let mut definition: Definition = with_limits(&format!("s{}", self.next), &keys);
        definition.tenant = ["x", "y", "z"][self.roll(3)].into();
        definition.priority = 1 + self.roll(9) as u8;
        self.bench.run_all(vec![definition]);
    }

    fn end(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.roll(self.running.len());
        let job = self.running.remove(index);
        if self.roll(4) == 0 {
            self.bench.fail(&job, Class::Interrupted);
        } else {
            self.bench.succeed(&job);
        }
    }

    fn set(&mut self) {
        let key = self.name();
        let max = self.roll(4) as u32;
        self.bench.set_limit(&key, running(max));
        self.limits.insert(key, max);
    }

    fn unset(&mut self) {
        let key = self.name();
        if self.limits.remove(&key).is_some() {
            let delete = DeleteLimit { namespace: "default".into(), key: key.into(), request: None };
            self.bench.call(&Command::DeleteLimit(delete));
        }
    }

    fn name(&mut self) -> String {
        let all: Vec<&str> = KEYS.iter().chain(&PATTERNS).copied().collect();
        all[self.roll(all.len())].into()
    }

    /// Pauses, resumes, deletes, or restarts; the worker comes back with all that it has.
    fn manage(&mut self) {
        let id = format!("s{}", 1 + self.roll(self.next.max(1)));
        if self.bench.gone(&id) {
            return;
        }
        match self.roll(4) {
            0 => drop(self.bench.pause(&id, None)),
            1 => drop(self.bench.resume(&id, false)),
            2 => self.bench.delete(&id, false),
            _ => {
                self.bench.restart(0);
                let hello = self.bench.hello("one", 1_000, self.running.iter().map(held).collect());
                let session = self.bench.open(hello).0;
                self.bench.beat(session, 1, self.running.iter().map(held).collect());
            }
        }
    }

    fn max(&self, key: &str) -> Option<u32> {
        let patterns = PATTERNS.iter().filter(|pattern| key.starts_with(pattern.trim_end_matches('*')));
        let mut patterns: Vec<&&str> = patterns.collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        let names = std::iter::once(&key).chain(patterns);
        names.filter_map(|name| self.limits.get(*name)).copied().next()
    }

    /// No key has more runs than it may start, and no run waits that could start.
    fn compare(&mut self, seed: u64, step: usize) {
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        let machine = &self.bench.machine;
        let keys = |definition: &Definition| -> BTreeSet<String> {
            definition.limits.iter().map(|key| key.to_string()).collect()
        };
        for run in machine.runs.iter().map(|(_, run)| run).filter(|run| run.lease().is_some()) {
            for key in keys(&run.definition) {
                *held.entry(KEYS.iter().find(|known| **known == key).expect("known")).or_default() += 1;
            }
        }
        let full = |key: &str| self.max(key).is_some_and(|max| held.get(key).copied().unwrap_or(0) >= max);
        for (key, run) in &machine.runs {
            let paused = machine.schedules[run.schedule].status == Status::Paused;
            if run.lease().is_some() || paused {
                continue;
            }
            let blocked = keys(&run.definition).iter().any(|key| full(key));
            assert!(blocked, "seed {seed}, step {step}: {} waits and could start", run.id);
            assert!(machine.gates.wait(key, self.bench.now.elapsed).is_some(), "seed {seed}, step {step}");
        }
        assert_eq!(
            machine.runs.iter().filter(|(_, run)| run.lease().is_some()).count(),
            self.running.len(),
            "seed {seed}, step {step}"
        );
    }
}

/// A start never takes a permit that is not there: replayed start by start over all that was handed out.
#[test]
fn r6_no_key_ever_exceeds_its_limit() {
    for seed in 0..10 {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut bench = Bench::new();
        bench.set_limit("m:*", running(2));
        bench.set_limit("a", running(3));
        bench.worker(1_000);
        let mut live: Vec<Job> = Vec::new();
        for n in 0..200 {
            let keys: Vec<&str> = KEYS.iter().copied().filter(|_| dice.random_range(0..3) == 0).collect();
            bench.run_all(vec![with_limits(&format!("s{n}"), &keys)]);
            live.extend(bench.jobs());
            let count =
                |key: &str| live.iter().filter(|job| job.definition.limits.contains(&key.into())).count();
            assert!(
                count("a") <= 3 && ["m:1", "m:2", "m:3"].iter().all(|key| count(key) <= 2),
                "seed {seed}"
            );
            if dice.random_range(0..2) == 0 && !live.is_empty() {
                let job = live.swap_remove(dice.random_range(0..live.len()));
                bench.succeed(&job);
                live.extend(bench.jobs());
            }
        }
    }
}
