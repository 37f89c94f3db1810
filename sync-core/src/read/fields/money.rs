//! Net, tax, total and payable.
//!
//! Labels propose, arithmetic decides: a total that is net plus tax, or what was paid less the change, beats
//! one that merely stands beside the word.

mod proposals;

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::{empty, found};
use crate::document::{Field, Kind};
use crate::read::text::amount::show;
use crate::read::view::View;
use proposals::{Proposal, Slot};

#[derive(Clone, Debug, Default)]
pub struct Money {
    pub net: Field,
    pub tax: Field,
    pub total: Field,
    pub payable: Field,
    /// Lines where the total stands: the currency is there.
    pub total_lines: BTreeSet<usize>,
}

#[must_use]
pub fn read(view: &View, kind: Kind, flags: &mut Vec<String>) -> Money {
    let all = proposals::collect(view);
    let Some(total) = choose_total(&all, kind).or_else(|| only_amount(view, kind)) else {
        return without_total(&all);
    };
    let (net, tax, agrees) = choose_parts(&all, total.value);
    let net = net.or_else(|| stated_remainder(view, total.value, tax.as_ref()));
    let mut money = Money {
        total_lines: all.iter().filter(|p| p.value == total.value).map(|p| p.line).collect(),
        ..Money::default()
    };
    let certain: f32 = if agrees { 0.97 } else { 0.8 };
    #[expect(clippy::cast_precision_loss, reason = "scores are small")]
    let confidence = certain.min(total.score as f32 / 110.0);
    money.total = found(show(total.value), confidence, view.line_text(total.line));
    money.net = part(view, net.as_ref(), agrees, "no amount without tax was found");
    money.tax = part(view, tax.as_ref(), agrees, "no amount of tax was found");
    if let (Some(net), Some(tax)) = (&net, &tax)
        && net.value + tax.value != total.value
    {
        flags.push("totals disagree".into());
        for field in [&mut money.total, &mut money.net, &mut money.tax] {
            field.confidence *= 0.6;
            field.reason = "net and tax do not make up the total".into();
        }
    }
    money.payable = payable(view, &all, &total, kind);
    money
}

fn part(view: &View, part: Option<&Proposal>, agrees: bool, none: &str) -> Field {
    match part {
        Some(p) => found(show(p.value), if agrees { 0.95 } else { 0.65 }, view.line_text(p.line)),
        None => empty(none),
    }
}

fn without_total(all: &[Proposal]) -> Money {
    let reason = if all.is_empty() { "no amount with a label was found" } else { "no total was found" };
    Money {
        net: empty(reason),
        tax: empty(reason),
        total: empty(reason),
        payable: empty(reason),
        ..Money::default()
    }
}

fn slots<'a>(all: &'a [Proposal], wanted: &'a [Slot]) -> impl Iterator<Item = &'a Proposal> {
    all.iter().filter(move |p| wanted.contains(&p.slot))
}

/// The total with the best evidence.
fn choose_total(all: &[Proposal], kind: Kind) -> Option<Proposal> {
    let mut best: Option<(i32, Proposal)> = None;
    let till = kind == Kind::Receipt || slots(all, &[Slot::Tendered]).next().is_some();
    let wanted = [Slot::Total, Slot::Payable, Slot::Sum, if till { Slot::Subtotal } else { Slot::Total }];
    for candidate in slots(all, &wanted) {
        let weak = i32::from(candidate.slot == Slot::Subtotal) * 22;
        let score = candidate.score + support(all, candidate, kind) - weak;
        // of equals the later: totals stand at the end
        if best.as_ref().is_none_or(|(s, _)| score >= *s) {
            best = Some((score, Proposal { score, ..candidate.clone() }));
        }
    }
    let best = best.map(|(score, p)| (score, after_rounding(all, p)));
    best.filter(|(score, p)| *score >= 45 && (!p.value.is_zero() || *score >= 90)).map(|(_, p)| p)
}

/// Where cash is rounded to five cents, the amount after rounding is the total.
fn after_rounding(all: &[Proposal], total: Proposal) -> Proposal {
    let five = Decimal::new(5, 2);
    let rounded = slots(all, &[Slot::Rounding])
        .map(|r| total.value + r.value)
        .find(|v| *v != total.value && (*v % five).is_zero());
    match rounded {
        Some(value) if !(total.value % five).is_zero() => Proposal { value, ..total },
        _ => total,
    }
}

fn support(all: &[Proposal], candidate: &Proposal, kind: Kind) -> i32 {
    let value = candidate.value;
    let mut score = 0;
    let nets: Vec<Decimal> = slots(all, &[Slot::Net, Slot::Subtotal]).map(|p| p.value).collect();
    let taxes = tax_values(all);
    let adds_up = nets.iter().any(|n| taxes.iter().any(|t| !t.is_zero() && n + t == value));
    score += i32::from(adds_up) * 40;
    // cash less change
    let tendered: Vec<Decimal> = slots(all, &[Slot::Tendered]).map(|p| p.value).collect();
    let change: Vec<Decimal> = slots(all, &[Slot::Change]).map(|p| p.value).collect();
    let paid = tendered.iter().any(|t| change.iter().any(|c| t - c.abs() == value));
    score += i32::from(paid) * 45;
    score += i32::from(!paid && tendered.contains(&value)) * 12;
    // a sum that was rounded is not yet the total
    let rounding: Vec<Decimal> =
        slots(all, &[Slot::Rounding]).map(|p| p.value).filter(|r| !r.is_zero()).collect();
    let sums: Vec<Decimal> = slots(all, &[Slot::Total, Slot::Sum, Slot::Subtotal]).map(|p| p.value).collect();
    let rounded = rounding.iter().any(|r| sums.iter().any(|s| s + r == value));
    score += i32::from(rounded) * 25;
    let same = slots(all, &[Slot::Total, Slot::Payable, Slot::Sum]).filter(|p| p.value == value).count();
    score += i32::from(same > 1) * 10;
    // less a prepayment it is what remains, not the total
    let prepaid: Vec<Decimal> =
        slots(all, &[Slot::Prepaid]).map(|p| p.value.abs()).filter(|p| !p.is_zero()).collect();
    let remains = candidate.slot == Slot::Payable && prepaid.iter().any(|p| sums.contains(&(value + p)));
    score -= i32::from(remains) * 60;
    score -= i32::from(value.is_zero()) * 40;
    // what a card or an account holds, not what was bought
    score -= i32::from(candidate.slot == Slot::Payable && kind == Kind::Receipt) * 14;
    // a net amount with the word total
    let is_net = nets.contains(&value) && taxes.iter().any(|t| !t.is_zero() && sums.contains(&(value + t)));
    score -= i32::from(is_net) * 35;
    score -= i32::from(value.is_sign_negative() && kind != Kind::CreditNote) * 15;
    score
}

/// A receipt that shows one amount only means that one.
fn only_amount(view: &View, kind: Kind) -> Option<Proposal> {
    if kind != Kind::Receipt {
        return None;
    }
    let mut money = view
        .cells()
        .flat_map(|(line, _, m)| m.amounts.iter().filter(|a| a.is_money()).map(move |a| (line, a)));
    let (line, first) = money.next()?;
    let value = first.value(view.style)?;
    let same = money.all(|(_, a)| a.value(view.style) == Some(value));
    same.then_some(Proposal { slot: Slot::Sum, value, score: 60, line, main: true })
}

/// All tax amounts, and the sum of the different ones (several rates).
fn tax_values(all: &[Proposal]) -> Vec<Decimal> {
    let mut values: Vec<Decimal> = slots(all, &[Slot::Tax]).map(|p| p.value).collect();
    let mut lines = BTreeSet::new();
    let distinct: Vec<Decimal> =
        slots(all, &[Slot::Tax]).filter(|p| p.main && lines.insert(p.line)).map(|p| p.value).collect();
    if (2..=8).contains(&distinct.len()) {
        values.push(distinct.iter().sum());
        for (i, a) in distinct.iter().enumerate() {
            values.extend(distinct.iter().skip(i + 1).map(|b| a + b));
        }
    }
    values
}

/// Net and tax that make up the total; else the best labelled ones that can be true.
fn choose_parts(all: &[Proposal], total: Decimal) -> (Option<Proposal>, Option<Proposal>, bool) {
    let mut best: Option<(i32, Proposal, Proposal)> = None;
    let tax_sum =
        |value: Decimal, line: usize| Proposal { slot: Slot::Tax, value, score: 60, line, main: true };
    let mut taxes: Vec<Proposal> = slots(all, &[Slot::Tax]).cloned().collect();
    let last_line = taxes.last().map_or(0, |t| t.line);
    taxes.extend(tax_values(all).into_iter().map(|v| tax_sum(v, last_line)));
    for net in slots(all, &[Slot::Net, Slot::Subtotal]) {
        for tax in &taxes {
            if net.value + tax.value == total {
                let score = net.score + tax.score;
                if best.as_ref().is_none_or(|(s, ..)| score > *s) {
                    best = Some((score, net.clone(), tax.clone()));
                }
            }
        }
    }
    if let Some((_, net, tax)) = best {
        return (Some(net), Some(tax), true);
    }
    let plausible = |p: &&Proposal| p.value.abs() <= total.abs();
    let tax = slots(all, &[Slot::Tax])
        .filter(|p| p.main && plausible(p) && p.value.abs() * Decimal::from(3) < total.abs() && p.score >= 60)
        .max_by_key(|p| p.score)
        .cloned();
    let net = slots(all, &[Slot::Net]).filter(plausible).max_by_key(|p| p.score).cloned();
    // two that do not add up, without anything to tell which is wrong: the stronger label stays
    match (net, tax) {
        (Some(net), Some(tax)) if net.score > 80 => (Some(net), Some(tax), false),
        (Some(_), Some(tax)) => (None, Some(tax), false),
        (net, tax) => (net.filter(|n| n.value == total || n.score >= 90), tax, false),
    }
}

/// The total less the tax, if that very amount stands in the document (a single line item, say).
fn stated_remainder(view: &View, total: Decimal, tax: Option<&Proposal>) -> Option<Proposal> {
    let rest = total - tax?.value;
    let line = view.cells().find_map(|(line, _, marked)| {
        marked.amounts.iter().any(|a| a.is_money() && a.value(view.style) == Some(rest)).then_some(line)
    })?;
    Some(Proposal { slot: Slot::Net, value: rest, score: 60, line, main: true })
}

fn payable(view: &View, all: &[Proposal], total: &Proposal, kind: Kind) -> Field {
    let labelled = slots(all, &[Slot::Payable])
        .filter(|p| p.value.abs() <= total.value.abs())
        .max_by_key(|p| (p.score, p.line));
    if let Some(p) = labelled {
        return found(show(p.value), 0.9, view.line_text(p.line));
    }
    let prepaid = slots(all, &[Slot::Prepaid]).any(|p| !p.value.is_zero());
    let paid = slots(all, &[Slot::Tendered]).any(|p| p.value == total.value) || proposals::says_paid(view);
    match kind {
        Kind::Invoice if !prepaid && !paid => {
            found(show(total.value), 0.7, "the total: no payment and no other amount due is stated")
        }
        _ => empty("the document does not say what is still due"),
    }
}

/// See [`super::Facts`].
#[must_use]
pub fn facts(view: &View) -> super::Facts {
    let all = proposals::collect(view);
    let total = choose_total(&all, Kind::Receipt).filter(|t| !t.value.is_zero());
    let amounts: Vec<(usize, Decimal)> = view
        .cells()
        .flat_map(|(line, _, m)| m.amounts.iter().filter(|a| a.is_money()).map(move |a| (line, a)))
        .filter_map(|(line, a)| a.value(view.style).map(|v| (line, v)))
        .collect();
    let distinct: BTreeSet<Decimal> = amounts.iter().map(|(_, v)| *v).collect();
    let sums = total.as_ref().is_some_and(|t| {
        let (net, tax, agrees) = choose_parts(&all, t.value);
        agrees && net.is_some() && tax.is_some_and(|x| !x.value.is_zero()) || items_add_up(&amounts, t)
    });
    super::Facts {
        total: total.is_some(),
        net: slots(&all, &[Slot::Net, Slot::Subtotal]).next().is_some(),
        tax: slots(&all, &[Slot::Tax]).next().is_some(),
        adds_up: sums,
        paid: slots(&all, &[Slot::Tendered])
            .any(|p| total.as_ref().is_some_and(|t| p.value.abs() >= t.value.abs())),
        single_amount: distinct.len() == 1,
    }
}

/// The lines just above the total sum up to it.
fn items_add_up(amounts: &[(usize, Decimal)], total: &Proposal) -> bool {
    let mut above: Vec<(usize, Decimal)> = Vec::new();
    for (line, value) in amounts.iter().filter(|(line, _)| *line < total.line) {
        // the last amount of a line is its sum
        match above.last_mut() {
            Some(last) if last.0 == *line => last.1 = *value,
            _ => above.push((*line, *value)),
        }
    }
    let mut sum = Decimal::ZERO;
    for (n, (_, value)) in above.iter().rev().take(60).enumerate() {
        sum += value;
        if n > 0 && sum == total.value {
            return true;
        }
    }
    false
}
