//! An expression's normal form: one text for all spellings of the same masks, in the dialect itself.

use std::fmt;

use super::expression::{Days, Expression};

impl fmt::Display for Expression {
    /// Five fields, or six when seconds are named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds != 1 {
            write!(f, "{} ", field(self.seconds, 0, 59))?;
        }
        let (minutes, hours) = (field(self.minutes, 0, 59), field(self.hours.into(), 0, 23));
        let months = field(self.months.into(), 1, 12);
        write!(f, "{minutes} {hours} {} {months} {}", self.days.month_text(), self.days.week_text())
    }
}

impl Days {
    fn month_text(&self) -> String {
        if !self.month_restricted {
            return "*".into();
        }
        let mut items = ranges(self.of_month.into(), 1, 31);
        items.extend(bits(self.nearest.into(), 1, 31).map(|day| format!("{day}W")));
        items.extend(self.last.then(|| "L".into()));
        items.extend(self.last_workday.then(|| "LW".into()));
        items.join(",")
    }

    fn week_text(&self) -> String {
        if !self.week_restricted {
            return "*".into();
        }
        let mut items = ranges(self.of_week.into(), 0, 6);
        items.extend(bits(self.last_of_week.into(), 0, 6).map(|day| format!("{day}L")));
        items.extend(bits(self.nth, 0, 34).map(|bit| format!("{}#{}", bit % 7, bit / 7 + 1)));
        items.join(",")
    }
}

/// `*`, a step, or a list of values and ranges, whichever says it first.
fn field(mask: u64, low: u32, high: u32) -> String {
    let stepped =
        |step: &u32| bits(u64::MAX, low, high).step_by(*step as usize).fold(0, |m, bit| m | 1 << bit);
    match (1..=high / 2).find(|step| stepped(step) == mask) {
        Some(1) => "*".into(),
        Some(step) => format!("*/{step}"),
        None => ranges(mask, low, high).join(","),
    }
}

fn ranges(mask: u64, low: u32, high: u32) -> Vec<String> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for bit in bits(mask, low, high) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == bit => *end = bit,
            _ => ranges.push((bit, bit)),
        }
    }
    let text = |(from, to): (u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.into_iter().map(text).collect()
}

fn bits(mask: u64, low: u32, high: u32) -> impl Iterator<Item = u32> {
    (low..=high).filter(move |bit| mask >> bit & 1 == 1)
}
