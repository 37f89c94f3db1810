//! Amounts that a label proposes for a place.

use rust_decimal::Decimal;

use crate::read::labels::Label;
use crate::read::text::amount::Amount;
use crate::read::view::{Marked, View};
use crate::read::words::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Net,
    Subtotal,
    Tax,
    Total,
    /// The word total or sum alone.
    Sum,
    Payable,
    Tendered,
    Change,
    Rounding,
    Prepaid,
    Ignored,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub slot: Slot,
    pub value: Decimal,
    pub score: i32,
    pub line: usize,
    /// The amount that the label is most likely about; others of its line are second choices.
    pub main: bool,
}

#[must_use]
pub fn collect(view: &View) -> Vec<Proposal> {
    let mut out = Vec::new();
    let mut waiting: Vec<(usize, Slot, i32)> = Vec::new();
    for (line, row) in view.lines.iter().enumerate() {
        triple(view, line, &mut out);
        let labels = row_labels(&row.cells);
        if labels.is_empty() {
            continue;
        }
        let mut any = false;
        for (n, (cell, label, slot, score)) in labels.iter().enumerate() {
            let until = labels.get(n + 1).map(|(c, l, ..)| (*c, l.start));
            let values = amounts_after(view, line, *cell, label.end, until);
            any |= !values.is_empty();
            push(&mut out, *slot, *score, line, &values);
        }
        if !any {
            // a header over a column, or a label with its value on the next line
            any = below(view, line, &labels, &mut out);
        }
        if !any && row.cells.len() == 1 {
            waiting.extend(labels.first().map(|(_, _, slot, score)| (line, *slot, *score)));
        }
    }
    pair_columns(view, &waiting, &mut out);
    out.retain(|p| p.slot != Slot::Ignored);
    out
}

fn push(out: &mut Vec<Proposal>, slot: Slot, score: i32, line: usize, values: &[Decimal]) {
    let last = values.len().saturating_sub(1);
    for (n, value) in values.iter().enumerate() {
        let main = n == last;
        out.push(Proposal { slot, value: *value, score: if main { score } else { score - 35 }, line, main });
    }
}

type RowLabel<'a> = (usize, &'a Label, Slot, i32);

/// The labels of amounts in a line, from left to right.
fn row_labels(cells: &[Marked]) -> Vec<RowLabel<'_>> {
    let mut out = Vec::new();
    for (c, marked) in cells.iter().enumerate() {
        // a sentence with many words is no line of a summary
        let prose = marked.words.len() > 14;
        for label in &marked.labels {
            if let Some((slot, score)) = slot_of(label)
                && !(prose && slot != Slot::Payable && slot != Slot::Total)
            {
                let late = i32::try_from(label.first_word).unwrap_or(9).min(4) * 3;
                out.push((c, label, slot, score - late - i32::from(prose) * 25));
            }
        }
    }
    merge(out)
}

/// Neighbours in one cell that make one label: `Total` + `VAT`, `Total` + `net`, `VAT` + `included`.
fn merge(labels: Vec<RowLabel<'_>>) -> Vec<RowLabel<'_>> {
    let mut out: Vec<RowLabel<'_>> = Vec::new();
    for label in labels {
        let joined = out.last().is_some_and(|(cell, before, ..)| {
            *cell == label.0 && label.1.first_word <= before.first_word + before.words + 1
        });
        match out.last_mut() {
            // `Total EUR (VAT incl.)` stays a total, `VAT total` a tax; `Total VAT` is in the tables
            Some(last) if joined && matches!(label.2, Slot::Sum | Slot::Ignored) => last.1 = label.1,
            Some(last) if joined && last.2 == Slot::Sum => *last = label,
            _ => out.push(label),
        }
    }
    out
}

fn slot_of(label: &Label) -> Option<(Slot, i32)> {
    let order = [
        (Role::Payable, Slot::Payable, 92),
        (Role::Total, Slot::Total, 96),
        (Role::Net, Slot::Net, 92),
        (Role::Subtotal, Slot::Subtotal, 70),
        (Role::Tax, Slot::Tax, 80),
        (Role::Rounding, Slot::Rounding, 80),
        (Role::Change, Slot::Change, 80),
        (Role::Prepaid, Slot::Prepaid, 80),
        (Role::PlainTotal, Slot::Sum, 74),
        (Role::PlainAmount, Slot::Sum, 52),
        (Role::Tendered, Slot::Tendered, 70),
        (Role::OtherAmount, Slot::Ignored, 0),
    ];
    order.iter().find(|(role, ..)| label.is(*role)).map(|(_, slot, score)| (*slot, *score))
}

/// Money after a place in a line, up to another.
fn amounts_after(
    view: &View,
    line: usize,
    cell: usize,
    from: usize,
    until: Option<(usize, usize)>,
) -> Vec<Decimal> {
    let Some(row) = view.lines.get(line) else { return Vec::new() };
    let mut out = Vec::new();
    for (c, marked) in row.cells.iter().enumerate().skip(cell) {
        if until.is_some_and(|(stop, _)| c > stop) {
            break;
        }
        for amount in &marked.amounts {
            let after = c > cell || amount.start >= from;
            let before = until.is_none_or(|(stop, at)| c < stop || amount.start < at);
            if after && before && is_money(view, line, c, amount) {
                out.extend(amount.value(view.style));
            }
        }
    }
    out
}

/// Cents, or a mark in its cell or the one before.
fn is_money(view: &View, line: usize, cell: usize, amount: &Amount) -> bool {
    if amount.percent {
        return false;
    }
    if amount.is_money() {
        return true;
    }
    let lonely_sign = |c: Option<usize>| {
        c.and_then(|c| view.cell(line, c)).is_some_and(|m| {
            let text = m.cell.text.trim();
            text.chars().count() <= 3
                && (text.contains(['€', '$', '£'])
                    || crate::read::text::currency::mark_before(text).is_some())
        })
    };
    lonely_sign(cell.checked_sub(1)) || lonely_sign(Some(cell + 1))
}

/// Values under their labels: a small table, or label and value on lines of their own.
fn below(view: &View, line: usize, labels: &[RowLabel<'_>], out: &mut Vec<Proposal>) -> bool {
    let mut any = false;
    for (cell, label, slot, score) in labels {
        let Some(own) = view.cell(line, *cell) else { continue };
        // a column of items has such a header as well: only the line right below, and only summary words
        let next = line + 1;
        let Some(row) = view.lines.get(next) else { continue };
        if !row_labels(&row.cells).is_empty() {
            continue;
        }
        let single = row.cells.len() == 1 && view.lines.get(line).is_some_and(|l| l.cells.len() == 1);
        let target = row.cells.iter().enumerate().filter(|(_, c)| single || c.cell.overlap(&own.cell) > 0.3);
        for (c, marked) in target {
            let only_amount =
                marked.words.iter().all(|w| w.key.chars().any(|c| c.is_ascii_digit()) || w.key.len() <= 4);
            let values: Vec<Decimal> = marked
                .amounts
                .iter()
                .filter(|a| is_money(view, next, c, a))
                .filter_map(|a| a.value(view.style))
                .collect();
            if only_amount
                && !values.is_empty()
                && label.end + 4 >= own.cell.text.trim_end().len().saturating_sub(24)
            {
                let penalty = if single { 2 } else { 22 };
                push(out, *slot, score - penalty, next, &values);
                any = true;
            }
        }
    }
    any
}

/// Text from a scan may hold a block of labels and then a block of amounts: paired in order.
fn pair_columns(view: &View, waiting: &[(usize, Slot, i32)], out: &mut Vec<Proposal>) {
    let mut i = 0;
    while let Some((first, ..)) = waiting.get(i) {
        let mut n = 1;
        while waiting.get(i + n).is_some_and(|(line, ..)| *line == first + n) {
            n += 1;
        }
        let values: Vec<Decimal> = (0..n).map_while(|k| lone_amount(view, first + n + k)).collect();
        if n > 1 && values.len() == n && lone_amount(view, first + 2 * n).is_none() {
            for (k, value) in values.iter().enumerate() {
                if let Some((_, slot, score)) = waiting.get(i + k) {
                    push(out, *slot, score - 8, first + n + k, &[*value]);
                }
            }
        }
        i += n;
    }
}

fn lone_amount(view: &View, line: usize) -> Option<Decimal> {
    let row = view.lines.get(line).filter(|r| r.cells.len() == 1)?;
    let marked = row.cells.first()?;
    match marked.amounts.as_slice() {
        [only] if only.is_money() && marked.words.len() <= 2 => only.value(view.style),
        _ => None,
    }
}

/// A line that ends in net, tax and total (in this or the other order of the first two).
fn triple(view: &View, line: usize, out: &mut Vec<Proposal>) {
    let Some(row) = view.lines.get(line) else { return };
    let values: Vec<Decimal> = row
        .cells
        .iter()
        .enumerate()
        .flat_map(|(c, m)| m.amounts.iter().filter(move |a| is_money(view, line, c, a)))
        .filter_map(|a| a.value(view.style))
        .collect();
    let Some([a, b, c]) = values.get(values.len().wrapping_sub(3)..) else { return };
    if a + b != *c || b.is_zero() || a.is_zero() {
        return;
    }
    let (net, tax) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    let summary = row_labels(&row.cells)
        .iter()
        .any(|(_, _, slot, _)| matches!(slot, Slot::Sum | Slot::Total | Slot::Tax));
    let score = if summary { 85 } else { 46 };
    for (slot, value, less) in [(Slot::Net, net, 0), (Slot::Tax, tax, 0), (Slot::Sum, c, 5)] {
        out.push(Proposal { slot, value: *value, score: score - less, line, main: false });
    }
}

/// Phrases that say that nothing is due any more.
#[must_use]
pub fn says_paid(view: &View) -> bool {
    const PAID: &[&str] = &[
        "paid with",
        "paid in full",
        "payment received",
        "paid by",
        "bezahlt mit",
        "bereits bezahlt",
        "betrag dankend erhalten",
        "bereits beglichen",
        "betaald met",
        "is betaald",
        "reeds voldaan",
        "vooruitbetaald",
        "paye par",
        "deja paye",
        "reglee le",
        "pagado con",
        "pagado mediante",
        "pagato con",
        "pago com",
        "zaplacono",
        "zaplaceno",
        "betalt med",
        "betald med",
        "maksettu",
        "fizetve",
        "achitat",
        "платено",
        "amount paid",
        "paypal",
        "ideal op",
        "payee par",
        "uhrazeno",
        "acquittee",
    ];
    view.cells().any(|(_, _, m)| {
        let key = m.words.iter().map(|w| w.key.as_str()).collect::<Vec<_>>().join(" ");
        PAID.iter().any(|p| key.contains(p))
    })
}
