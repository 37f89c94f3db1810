//! From the text of a cron expression to its masks. Every error names the field and says what would be right.

use super::expression::{Days, Expression};

const TEXT_MAX: usize = 256;

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", low: 0, high: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", low: 0, high: 59, names: &[] };
const HOUR: Field = Field { name: "hour", low: 0, high: 23, names: &[] };
const DAY_OF_MONTH: Field = Field { name: "day of month", low: 1, high: 31, names: &[] };
/// The first name is `low`.
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
const DAY_OF_WEEK: Field =
    Field { name: "day of week", low: 0, high: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };

pub(super) fn expression(text: &str) -> Result<Expression, String> {
    let text = text.trim();
    if text.len() > TEXT_MAX {
        return Err(format!("is longer than {TEXT_MAX} characters"));
    }
    let text = if text.starts_with('@') { macro_text(text)? } else { text };
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let (second, rest) = match fields.as_slice() {
        rest @ [_, _, _, _, _] => ("0", rest),
        [second, rest @ ..] if rest.len() == 5 => (*second, rest),
        _ => {
            let count = fields.len();
            return Err(format!(
                "has {count} fields; write 5 (minute hour day-of-month month day-of-week), or 6 with leading seconds"
            ));
        }
    };
    let mut days = Days::default();
    day_of_month(rest[2], &mut days)?;
    day_of_week(rest[4], &mut days)?;
    Ok(Expression {
        seconds: SECOND.mask(second)?,
        minutes: MINUTE.mask(rest[0])?,
        hours: HOUR.mask(rest[1])? as u32,
        months: MONTH.mask(rest[3])? as u16,
        days,
    })
}

fn macro_text(text: &str) -> Result<&'static str, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@every" => return Err("@every is not cron; set the timing `every` with an interval".into()),
        _ if text.to_ascii_lowercase().starts_with("@every") => {
            return Err("@every is not cron; set the timing `every` with an interval".into());
        }
        _ => {
            return Err(
                "is no macro; known are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"
                    .into(),
            );
        }
    })
}

fn day_of_month(text: &str, days: &mut Days) -> Result<(), String> {
    days.month_restricted = !matches!(text, "*" | "?" | "*/1");
    if !days.month_restricted {
        return Ok(());
    }
    for item in DAY_OF_MONTH.items(text)? {
        let upper = item.to_ascii_uppercase();
        if upper == "L" {
            days.last = true;
        } else if upper == "LW" || upper == "WL" {
            days.last_workday = true;
        } else if let Some(day) = upper.strip_suffix('W') {
            let value = DAY_OF_MONTH.value(day);
            days.nearest |= 1
                << value.map_err(|_| {
                    format!("day of month: `{item}`: before W comes one day from 1 to 31, as in 15W")
                })?;
        } else if upper.starts_with("L-") {
            return Err(format!(
                "day of month: `{item}`: nothing is counted back from L; write L, LW or the days"
            ));
        } else {
            days.of_month |= DAY_OF_MONTH.item(item)? as u32;
        }
    }
    Ok(())
}

fn day_of_week(text: &str, days: &mut Days) -> Result<(), String> {
    days.week_restricted = !matches!(text, "*" | "?" | "*/1");
    if !days.week_restricted {
        return Ok(());
    }
    for item in DAY_OF_WEEK.items(text)? {
        if let Some((day, nth)) = item.split_once('#') {
            let week: u32 = nth.parse().ok().filter(|n| (1..=5).contains(n)).ok_or_else(|| {
                format!("day of week: `{item}`: after # comes 1 to 5, as in 2#1 (the first Tuesday)")
            })?;
            days.nth |= 1 << (7 * (week - 1) + DAY_OF_WEEK.value(day)? % 7);
        } else if let Some(day) = item.strip_suffix(['L', 'l']) {
            if day.is_empty() {
                return Err("day of week: `L` needs its day, as in 5L (the last Friday)".into());
            }
            days.last_of_week |= 1 << (DAY_OF_WEEK.value(day)? % 7);
        } else {
            let mask = DAY_OF_WEEK.item(item)?;
            days.of_week |= (mask as u8 & 0x7f) | u8::from(mask & (1 << 7) != 0);
        }
    }
    Ok(())
}

impl Field {
    fn mask(&self, text: &str) -> Result<u64, String> {
        self.items(text)?.try_fold(0, |mask, item| Ok(mask | self.item(item)?))
    }

    fn items<'a>(&self, text: &'a str) -> Result<impl Iterator<Item = &'a str>, String> {
        if text.split(',').any(str::is_empty) {
            return Err(format!(
                "{}: `{text}` has an empty item; write values separated by single commas",
                self.name
            ));
        }
        Ok(text.split(','))
    }

    /// `*`, `a`, `a-b`, each with an optional `/step`.
    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(item, step)?)),
            None => (item, None),
        };
        // A star means each value once: for weekdays that is 0 to 6, although 7 is accepted as Sunday.
        let top = if self.high == 7 { 6 } else { self.high };
        let (low, high) = if range == "*" {
            (self.low, top)
        } else if let Some((low, high)) = range.split_once('-') {
            let (low, end) = (self.value(low)?, self.value(high)?);
            // `FRI-SUN` ends on the Sunday after, which as a number is 7.
            let sunday = self.high == 7 && high.eq_ignore_ascii_case("SUN") && low > 0;
            (low, if sunday { 7 } else { end })
        } else {
            let low = self.value(range)?;
            (low, if step.is_some() { top.max(low) } else { low })
        };
        if low > high {
            return Err(format!(
                "{}: `{item}` runs backwards; write two ranges, as in a-{top},{}-b",
                self.name, self.low
            ));
        }
        Ok((low..=high).step_by(step.unwrap_or(1)).fold(0, |mask, value| mask | 1 << value))
    }

    fn step(&self, item: &str, step: &str) -> Result<usize, String> {
        let width = (self.high - self.low + 1) as usize;
        number(step)
            .map(|step| step as usize)
            .filter(|step| (1..=width).contains(step))
            .ok_or_else(|| format!("{}: `{item}`: a step is a number from 1 to {width}", self.name))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.low + index as u32);
        }
        if text.is_empty() {
            return Err(format!("{}: a value is missing; write {} to {}", self.name, self.low, self.high));
        }
        number(text).filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| {
            let named = self.names.first().map_or_else(String::new, |first| {
                format!(" or {first} to {}", self.names[self.names.len() - 1])
            });
            format!("{}: `{text}` is not {} to {}{named}", self.name, self.low, self.high)
        })
    }
}

/// Digits only: `+5` parses as a number in Rust, but it is none here.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_the_remedy() {
        for (text, part) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("* * * * * * *", "7 fields"),
            ("60 * * * *", "minute: `60` is not 0 to 59"),
            ("* 24 * * *", "hour: `24`"),
            ("* * 0 * *", "day of month: `0` is not 1 to 31"),
            ("* * * 13 *", "month: `13` is not 1 to 12 or JAN to DEC"),
            ("* * * * 8", "day of week: `8` is not 0 to 7 or SUN to SAT"),
            ("5/0 * * * *", "a step is a number from 1 to 60"),
            ("*/+5 * * * *", "a step is a number"),
            ("*/70 * * * *", "a step is a number from 1 to 60"),
            ("1,2,,3 * * * *", "empty item"),
            ("30-10 * * * *", "runs backwards"),
            ("* * * * FRI-MON", "runs backwards"),
            ("? * * * *", "minute: `?`"),
            ("* * * * 2#6", "after # comes 1 to 5"),
            ("* * * * L", "needs its day"),
            ("* * W * *", "day of month: `W`: before W comes one day"),
            ("@reboot", "is no macro"),
            ("@every 5m", "set the timing `every`"),
            ("* * 1-5W * *", "before W comes one day"),
            ("* * L-3 * *", "nothing is counted back from L"),
            ("* * * * #6", "after # comes 1 to 5"),
            ("* * * * #2", "day of week: a value is missing; write 0 to 7"),
            ("-1 * * * *", "minute: a value is missing; write 0 to 59"),
            ("1-0 * * * *", "minute: `1-0` runs backwards"),
            ("٣ * * * *", "minute"),
        ] {
            let error = expression(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn spellings_of_the_same_expression_are_equal() {
        for (one, other) in [
            ("@daily", "0 0 * * *"),
            ("0 0 * * 7", "0 0 * * SUN"),
            ("0 0 * jan,FEB 1-5", "0 0 0 * 1,2 MON-FRI"),
            ("0 0 * * 6-7", "0 0 * * 0,6"),
            ("0 0 * * FRI-SUN", "0 0 * * 5-7"),
            ("  0   0 ? * 1 ", "0 0 * * 1"),
            ("0-59/15 * * * *", "*/15 * * * *"),
            ("@hourly", "0 0-23 * * *"),
        ] {
            assert_eq!(expression(one), expression(other), "{one} and {other}");
        }
    }
}
