//! What goes wrong, and when: drawn from the seed.

use std::fmt;

use super::chance::Chance;

/// Printed with the plan: the one thing that Docket does not survive whole (docs/redis.md), so the plan leaves it out.
pub const RULE: &str = "the leader and Redis never fail within two seconds of each other, and nothing fails until the \
                        last failure is healed for two seconds";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Leader,
    Standby,
    Worker(usize),
    Redis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// kill -9, and a new process later.
    Kill,
    /// SIGSTOP past the lease, then SIGCONT.
    Stop,
    /// SIGTERM, its end, and a new process later.
    Terminate,
    /// Redis only: kill -9, and some of what it wrote within the last second never reached the disk.
    Cut,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub victim: Victim,
    pub blow: Blow,
    /// Milliseconds until it is healed.
    pub down: u64,
}

/// One fault, sometimes with another one before it is healed.
#[derive(Clone, Debug)]
pub struct Step {
    /// Milliseconds of peace before it.
    pub pause: u64,
    pub faults: Vec<Fault>,
    /// Milliseconds between the two.
    pub between: u64,
}

impl Step {
    pub fn draw(chance: &mut Chance) -> Self {
        let pause = chance.between(200, 2_500);
        let first = fault(chance);
        let mut faults = vec![first];
        if chance.happens(40) {
            let second = std::iter::repeat_with(|| fault(chance)).find(|second| may_meet(first, *second));
            faults.extend(second);
        }
        // So the standby is known for one before Redis is gone.
        faults.sort_by_key(|fault| fault.victim == Victim::Redis);
        Self { pause, faults, between: chance.between(0, 2_000) }
    }
}

/// Each service is told to stop and comes back: workers first, the leader last, so that it has another to hand over to.
pub fn rolling() -> impl Iterator<Item = Step> {
    let victims = [Victim::Worker(0), Victim::Worker(1), Victim::Standby, Victim::Leader];
    let fault = |victim| Fault { victim, blow: Blow::Terminate, down: 500 };
    victims.into_iter().map(move |victim| Step { pause: 1_000, faults: vec![fault(victim)], between: 0 })
}

/// Never the leader and Redis, and nothing twice. What is the leader may change with the first fault, so two schedulers
/// fail together only when Redis stays.
fn may_meet(first: Fault, second: Fault) -> bool {
    let both = [first.victim, second.victim];
    first.victim != second.victim && !(both.contains(&Victim::Leader) && both.contains(&Victim::Redis))
}

fn fault(chance: &mut Chance) -> Fault {
    let victim = match chance.between(0, 9) {
        0..=3 => Victim::Leader,
        4 => Victim::Standby,
        5..=6 => Victim::Worker(chance.index(2)),
        _ => Victim::Redis,
    };
    let blow = match (victim, chance.between(0, 5)) {
        (_, 0..=2) => Blow::Kill,
        (_, 3) => Blow::Stop,
        (Victim::Redis, _) => Blow::Cut,
        (_, 4) => Blow::Stop,
        _ => Blow::Terminate,
    };
    let down = match blow {
        // The leases of schedulers are 1.5 s, those of workers 5 s.
        Blow::Stop if matches!(victim, Victim::Worker(_)) => chance.between(5_500, 7_500),
        Blow::Stop => chance.between(1_800, 5_000),
        Blow::Kill | Blow::Terminate | Blow::Cut => chance.between(0, 3_500),
    };
    Fault { victim, blow, down }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blow = match self.blow {
            Blow::Kill => "kill -9",
            Blow::Stop => "SIGSTOP",
            Blow::Terminate => "SIGTERM",
            Blow::Cut => "kill -9, with the tail of the log lost,",
        };
        match self.victim {
            Victim::Leader => write!(f, "{blow} leader, {} ms", self.down),
            Victim::Standby => write!(f, "{blow} standby, {} ms", self.down),
            Victim::Worker(n) => write!(f, "{blow} worker {n}, {} ms", self.down),
            Victim::Redis => write!(f, "{blow} Redis, {} ms", self.down),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_keeps_its_rule_and_leaves_nothing_else_out() {
        let mut chance = Chance::new(1, "plan");
        let steps: Vec<Step> = std::iter::repeat_with(|| Step::draw(&mut chance)).take(2_000).collect();
        let has = |step: &Step, victim| step.faults.iter().any(|fault| fault.victim == victim);
        assert!(!steps.iter().any(|step| has(step, Victim::Leader) && has(step, Victim::Redis)));
        for victim in [Victim::Leader, Victim::Standby, Victim::Worker(0), Victim::Worker(1), Victim::Redis] {
            for blow in [Blow::Kill, Blow::Stop, Blow::Terminate, Blow::Cut] {
                let drawn = steps.iter().flat_map(|step| &step.faults);
                let drawn = drawn.filter(|fault| (fault.victim, fault.blow) == (victim, blow)).count();
                let fits = match blow {
                    Blow::Kill | Blow::Stop => true,
                    Blow::Terminate => victim != Victim::Redis,
                    Blow::Cut => victim == Victim::Redis,
                };
                assert_eq!(drawn > 0, fits, "{victim:?} {blow:?}: {drawn}");
            }
        }
    }
}
