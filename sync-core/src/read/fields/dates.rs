//! Issue date and due date.
//!
//! `03/04/2026` is read only with evidence of the order: the other dates of the document, its country, the
//! day on which the mail was sent.

use chrono::{NaiveDate, TimeDelta};

use super::currencies::Country;
use super::{Hints, empty, found};
use crate::document::{Field, Kind};
use crate::read::text::date::{Found, Order};
use crate::read::view::{How, View};
use crate::read::words::Role;

/// The order of day and month in this document.
#[must_use]
pub fn order(view: &View, country: Option<Country>, hints: &Hints) -> Order {
    let (mut day, mut month) = (0, 0);
    for (_, _, date) in view.dates() {
        match date.votes() {
            Order::DayFirst => day += 1,
            Order::MonthFirst => month += 1,
            Order::Unknown => {}
        }
    }
    match (day, month) {
        (0, 0) => {}
        (_, 0) => return Order::DayFirst,
        (0, _) => return Order::MonthFirst,
        _ => {}
    }
    by_repetition(view)
        .or_else(|| by_country(view, country))
        .or_else(|| hints.sent.and_then(|sent| by_sending(view, sent)))
        .unwrap_or_default()
}

/// The same day is written a second time in a form with one reading.
fn by_repetition(view: &View) -> Option<Order> {
    let certain: Vec<NaiveDate> = view.certain_dates().collect();
    view.dates().filter_map(|(_, _, d)| d.readings()).find_map(|(day_first, month_first)| {
        match (certain.contains(&day_first), certain.contains(&month_first)) {
            (true, false) => Some(Order::DayFirst),
            (false, true) => Some(Order::MonthFirst),
            _ => None,
        }
    })
}

fn by_country(view: &View, country: Option<Country>) -> Option<Order> {
    if let Some(country) = country {
        return match country {
            Country::UnitedStates => Some(Order::MonthFirst),
            // both are in use
            Country::Canada => None,
            _ => Some(Order::DayFirst),
        };
    }
    // currencies of countries that put the day first; the name of the tax
    let mut marks = view.cells().flat_map(|(_, _, m)| &m.amounts).filter_map(|a| a.mark);
    let european = marks.any(|m| matches!(m, crate::read::text::currency::Mark::Code(code) if !matches!(code, "USD" | "CAD" | "PHP")));
    let vat = view
        .cells()
        .any(|(_, _, m)| m.words.iter().any(|w| matches!(w.key.as_str(), "vat" | "gst" | "iban")));
    (european || vat).then_some(Order::DayFirst)
}

/// A document is sent soon after it is issued and not before.
fn by_sending(view: &View, sent: NaiveDate) -> Option<Order> {
    let near = |d: NaiveDate| d <= sent + TimeDelta::days(2) && d >= sent - TimeDelta::days(31);
    let (_, _, first) = view.dates().find(|(_, _, d)| d.readings().is_some())?;
    let (day_first, month_first) = first.readings()?;
    match (near(day_first), near(month_first)) {
        (true, false) => Some(Order::DayFirst),
        (false, true) => Some(Order::MonthFirst),
        _ => None,
    }
}

struct Candidate {
    date: Option<NaiveDate>,
    text: String,
    score: i32,
    place: String,
    at: (usize, usize, usize),
}

#[must_use]
pub fn read(view: &View, kind: Kind, order: Order, hints: &Hints) -> (Field, Field) {
    let due = best(labelled(view, &[Role::DueDate], order, 100));
    let mut issue = labelled(view, &[Role::IssueDate], order, 100);
    issue.extend(labelled(view, &[Role::PlainDate], order, 72));
    issue.extend(beside_titles(view, order));
    let claimed = claimed_by_others(view);
    issue.retain(|c| !claimed.contains(&c.at));
    issue.extend(unlabelled(view, kind, order, &claimed));
    if kind == Kind::OrderConfirmation {
        issue.extend(labelled(view, &[Role::OtherDate], order, 50));
    }
    if let Some(sent) = hints.sent {
        // nobody issues a document after it was sent
        issue.retain(|c| c.date.is_none_or(|d| d <= sent + TimeDelta::days(3)) || c.score >= 90);
    }
    if issue.is_empty() && kind == Kind::Receipt {
        issue = only_day(view, order);
    }
    let issue = best(issue);
    let issue_date = field(issue, "no date of issue was found");
    let mut due_date = field(due, "no due date is stated");
    if let (Some(issued), Some(due)) = (&issue_date.value, &due_date.value)
        && due < issued
    {
        due_date.confidence *= 0.5;
        due_date.reason = "earlier than the date of issue".into();
    }
    (issue_date, due_date)
}

fn field(best: Option<Candidate>, none: &str) -> Field {
    match best {
        #[expect(clippy::cast_precision_loss, reason = "scores are small")]
        Some(Candidate { date: Some(date), score, place, .. }) => {
            found(date.to_string(), score as f32 / 110.0, place)
        }
        Some(Candidate { date: None, text, place, .. }) => {
            let mut field = empty(format!("{text} can be read in two ways"));
            field.place = place.chars().take(160).collect();
            field
        }
        None => empty(none),
    }
}

/// The best; of equals the first.
fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    for candidate in candidates {
        if best.as_ref().is_none_or(|b| candidate.score > b.score) {
            best = Some(candidate);
        }
    }
    best
}

fn candidate(view: &View, at: (usize, usize), found: &Found, order: Order, score: i32) -> Candidate {
    let text =
        view.cell(at.0, at.1).and_then(|m| m.cell.text.get(found.start..found.end)).unwrap_or_default();
    Candidate {
        date: found.value(order),
        text: text.to_owned(),
        score,
        place: view.line_text(at.0),
        at: (at.0, at.1, found.start),
    }
}

fn labelled(view: &View, roles: &[Role], order: Order, base: i32) -> Vec<Candidate> {
    let mut out = Vec::new();
    let due = roles.contains(&Role::DueDate);
    for (line, cell, label) in view.labels(roles) {
        // `Data` may be one of several things: the plain reading is the weaker one
        let shared = label.any(&[Role::OtherDate]) && !due;
        let before = out.len();
        for spot in view.spots(line, cell, label) {
            let Some(date) = view.date_in(&spot) else {
                // what stands beside the label is its value, even if it is no date
                if spot.how == How::Inline && due && view.spot_text(&spot).split_whitespace().count() > 3 {
                    continue;
                }
                if spot.how == How::Right
                    || spot.how == How::Inline && label.words > 0 && view.spot_text(&spot).trim().len() > 24
                {
                    break;
                }
                continue;
            };
            let between = view
                .cell(spot.line, spot.cell)
                .and_then(|m| m.cell.text.get(spot.from..date.start))
                .unwrap_or_default();
            let words = between.split_whitespace().filter(|w| w.chars().any(char::is_alphanumeric)).count();
            if words > 4 && spot.how != How::Below || words > 1 && spot.how == How::Below {
                break;
            }
            let penalty = match spot.how {
                How::Inline => 0,
                How::Right => 1,
                How::Below => 10,
            };
            #[expect(
                clippy::cast_possible_wrap,
                clippy::cast_possible_truncation,
                reason = "at most 4 words"
            )]
            let score = base - penalty - 4 * words as i32 - i32::from(shared) * 20;
            out.push(candidate(view, (spot.line, spot.cell), date, order, score));
            break;
        }
        let header = view.lines.get(line).is_some_and(|l| l.cells.len() > 1);
        if out.len() == before
            && header
            && let Some((l, c, date)) = deeper(view, line, cell)
        {
            out.push(candidate(view, (l, c), date, order, base - 18));
        }
    }
    out
}

/// `Facture n° 5 du 2 juillet 2015`, `Credit note CN-2291, 20 February 2026`: no label but the title.
fn beside_titles(view: &View, order: Order) -> Vec<Candidate> {
    let roles = [
        Role::Invoice,
        Role::Receipt,
        Role::CreditNote,
        Role::InvoiceNumber,
        Role::ReceiptNumber,
        Role::CreditNumber,
        Role::Order,
        Role::OrderNumber,
    ];
    let mut out = Vec::new();
    for (line, cell, label) in view.labels(&roles) {
        let Some(marked) = view.cell(line, cell) else { continue };
        let Some(date) = marked.dates.iter().find(|d| d.start >= label.end) else { continue };
        let between = marked.cell.text.get(label.end..date.start).unwrap_or_default();
        let foreign = marked
            .labels
            .iter()
            .any(|l| l.start >= label.end && l.end <= date.start && l.any(&[Role::DueDate, Role::OtherDate]));
        let reference = label.first_word > 0
            && marked
                .words
                .first()
                .is_some_and(|w| matches!(w.key.as_str(), "bezug" | "ref" | "reference" | "for" | "zu"));
        if between.split_whitespace().count() <= 6 && !foreign && !reference {
            let order_only = label.any(&[Role::Order, Role::OrderNumber]);
            out.push(candidate(view, (line, cell), date, order, 84 - i32::from(order_only) * 10));
        }
    }
    out
}

/// Places of dates that belong to another label: deliveries, due dates.
fn claimed_by_others(view: &View) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    for (line, cell, label) in view.labels(&[Role::DueDate, Role::OtherDate]) {
        if label.any(&[Role::IssueDate]) {
            continue;
        }
        let first =
            view.spots(line, cell, label).into_iter().find_map(|s| view.date_in(&s).map(|d| (s, d.start)));
        if let Some((spot, start)) = first {
            let words = view
                .cell(spot.line, spot.cell)
                .and_then(|m| m.cell.text.get(spot.from..start))
                .unwrap_or_default();
            if spot.how != How::Below && words.split_whitespace().count() <= 3
                || spot.how == How::Below && label.words + words.len() < 4
            {
                out.push((spot.line, spot.cell, start));
            }
        }
    }
    out
}

/// All dates of a receipt are one day, whatever they are called: entry and exit of a car park.
fn only_day(view: &View, order: Order) -> Vec<Candidate> {
    let days: std::collections::BTreeSet<Option<NaiveDate>> =
        view.dates().map(|(_, _, d)| d.value(order)).collect();
    if days.len() != 1 {
        return Vec::new();
    }
    view.dates().take(1).map(|(l, c, d)| candidate(view, (l, c), d, order, 50)).collect()
}

/// The value of a column may stand some lines below its header.
fn deeper(view: &View, line: usize, cell: usize) -> Option<(usize, usize, &Found)> {
    let own = view.cell(line, cell)?;
    (line + 1..=line + 4).find_map(|next| {
        let row = view.lines.get(next)?;
        row.cells.iter().enumerate().find_map(|(c, m)| {
            let date = m.dates.first()?;
            let alone = m.words.len() <= 4;
            (alone && m.cell.overlap(&own.cell) > 0.3).then_some((next, c, date))
        })
    })
}

/// A receipt often just shows its date; so do letters at their top.
fn unlabelled(view: &View, kind: Kind, order: Order, claimed: &[(usize, usize, usize)]) -> Vec<Candidate> {
    let all: Vec<_> = view.dates().filter(|(l, c, d)| !claimed.contains(&(*l, *c, d.start))).collect();
    let only =
        all.iter().filter_map(|(_, _, d)| d.value(order)).collect::<std::collections::BTreeSet<_>>().len()
            <= 1;
    let base = match (kind, only) {
        (Kind::Receipt, true) => 60,
        (Kind::Receipt, false) | (_, true) => 44,
        _ => 30,
    };
    all.into_iter().map(|(l, c, d)| candidate(view, (l, c), d, order, base)).collect()
}
