//! A calendar as naive as can be: it walks second by second or interval by interval, and knows UTC only.

use chrono::{DateTime, Datelike as _, Timelike as _};
use scheduler_svc::state_machine::{definition::Definition, timing::Timing};

/// Times walked at most when looking for the next one.
const STEPS: usize = 200_000;

/// What names a schedule's times.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    form: Form,
    start: Option<i64>,
    end: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Every { interval: i64, anchor: i64 },
    At(i64),
    Cron(Vec<Pattern>),
}

/// Second, minute, hour; days are always `*` in the simulated workload.
#[derive(Clone, Debug, PartialEq)]
struct Pattern([Vec<bool>; 3]);

impl Calendar {
    pub fn new(definition: &Definition, anchor: i64) -> Self {
        let form = match &definition.timing {
            Timing::Every { interval, .. } => Form::Every { interval: *interval, anchor },
            Timing::At(at) => Form::At(*at),
            Timing::Cron(cron) => {
                Form::Cron(cron.source().expressions.iter().map(|text| Pattern::read(text)).collect())
            }
        };
        Self { form, start: definition.start, end: definition.end }
    }

    /// The first time after `after`.
    pub fn next(&self, after: i64) -> Option<i64> {
        let after = self.start.map_or(after, |start| after.max(start - 1));
        let next = match &self.form {
            Form::At(at) => Some(*at).filter(|at| *at > after),
            Form::Every { interval, anchor } => {
                let mut at = *anchor;
                if after >= at {
                    at += (after - at) / interval * interval;
                    while at <= after {
                        at += interval;
                    }
                }
                Some(at)
            }
            Form::Cron(patterns) => patterns.iter().filter_map(|pattern| pattern.next(after)).min(),
        };
        next.filter(|next| self.end.is_none_or(|end| *next < end))
    }

    /// All times in `(after, through]`.
    pub fn between(&self, after: i64, through: i64) -> Vec<i64> {
        let walk = std::iter::successors(self.next(after), |at| self.next(*at));
        walk.take_while(|at| *at <= through).collect()
    }

    pub fn names(&self, time: i64) -> bool {
        self.next(time - 1) == Some(time)
    }

    pub fn at(&self) -> Option<i64> {
        if let Form::At(at) = self.form { Some(at) } else { None }
    }
}

impl Pattern {
    fn read(text: &str) -> Self {
        let fields: Vec<&str> = text.split(' ').collect();
        let (second, rest) = if fields.len() == 6 { (fields[0], &fields[1..]) } else { ("0", &fields[..]) };
        assert!(rest[2..].iter().all(|day| *day == "*"), "the workload names no days: {text}");
        Self([matches(second, 60), matches(rest[0], 60), matches(rest[1], 24)])
    }

    fn next(&self, after: i64) -> Option<i64> {
        let mut at = after.div_euclid(1_000) + 1;
        for _ in 0..STEPS {
            let time = DateTime::from_timestamp(at, 0)?;
            let [seconds, minutes, hours] = &self.0;
            if !hours[time.hour() as usize] {
                at += 3_600 - i64::from(time.minute()) * 60 - i64::from(time.second());
            } else if !minutes[time.minute() as usize] {
                at += 60 - i64::from(time.second());
            } else if !seconds[time.second() as usize] {
                at += 1;
            } else {
                debug_assert!(time.year() > 2000);
                return Some(at * 1_000);
            }
        }
        None
    }
}

fn matches(field: &str, size: usize) -> Vec<bool> {
    (0..size)
        .map(|value| {
            field.split(',').any(|part| match part.split_once('/') {
                Some(("*", step)) => value % step.parse::<usize>().expect("a step") == 0,
                Some(_) => panic!("a form that the workload does not use: {field}"),
                None => part == "*" || part.parse() == Ok(value),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_walked() {
        let noon = 1_770_000_000_000 - 1_770_000_000_000 % 86_400_000;
        let next = |text, after| Pattern::read(text).next(noon + after).map(|at| at - noon);
        assert_eq!(next("*/20 * * * * *", 0), Some(20_000));
        assert_eq!(next("5 * * * *", 0), Some(300_000));
        assert_eq!(next("5 * * * *", 300_000), Some(3_900_000));
        assert_eq!(next("30 2 * * *", 1), Some(9_000_000));
        assert_eq!(next("0,15 */2 * * * *", 0), Some(15_000));
        assert_eq!(next("0,15 */2 * * * *", 15_000), Some(120_000));
    }
}
