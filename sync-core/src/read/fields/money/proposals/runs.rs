//! Labels and amounts on lines of their own, as scanned receipts have them.

use rust_decimal::Decimal;

use super::{Proposal, Slot, push, row_labels};
use crate::read::view::View;
use crate::read::words::Role;

/// Text from a scan: a label and its amount on lines of their own, or a block of labels and then a block of
/// amounts, paired in order.
pub fn collect(view: &View, out: &mut Vec<Proposal>) {
    let mut labels: Vec<(Slot, i32, bool)> = Vec::new();
    let mut values: Vec<(usize, Decimal)> = Vec::new();
    let mut interrupted = false;
    for line in 0..=view.lines.len() {
        let kind = kind_of(view, line);
        match kind {
            Kind::Noise => continue,
            Kind::Amount(value) if !labels.is_empty() => values.push((line, value)),
            Kind::Label(slot, score, both) => {
                if !values.is_empty() {
                    settle(&mut labels, &mut values, out);
                }
                labels.push((slot, score, both));
            }
            // a card's number or the like between the labels
            Kind::Other if values.is_empty() && labels.len() > 1 && !interrupted => interrupted = true,
            Kind::Amount(_) | Kind::Other => {
                interrupted = false;
                settle(&mut labels, &mut values, out);
            }
        }
    }
}

enum Kind {
    Label(Slot, i32, bool),
    Amount(Decimal),
    /// A colon, a sign, a code of the tax.
    Noise,
    Other,
}

fn kind_of(view: &View, line: usize) -> Kind {
    let Some(row) = view.lines.get(line) else { return Kind::Other };
    let [marked] = row.cells.as_slice() else { return Kind::Other };
    if let Some(value) = lone_amount(view, line) {
        return Kind::Amount(value);
    }
    // its value stands beside it
    let has_money = marked.amounts.iter().any(|a| !a.percent);
    if let Some((_, label, slot, score)) =
        row_labels(&row.cells).last().filter(|_| !has_money && marked.words.len() <= 8)
    {
        return Kind::Label(*slot, *score, *slot == Slot::Net && label.is(Role::PlainTotal));
    }
    let letters = marked.cell.text.chars().filter(|c| c.is_alphanumeric()).count();
    if letters <= 2 { Kind::Noise } else { Kind::Other }
}

fn settle(labels: &mut Vec<(Slot, i32, bool)>, values: &mut Vec<(usize, Decimal)>, out: &mut Vec<Proposal>) {
    if values.len() < labels.len() {
        labels.retain(|(slot, ..)| *slot != Slot::Ignored);
    }
    // fewer values than labels: no telling which is missing
    if values.len() >= labels.len() {
        let penalty = if labels.len() == 1 { 2 } else { 6 };
        for ((slot, score, both), (line, value)) in labels.iter().zip(values.iter()) {
            push(out, *slot, score - penalty, *line, &[*value]);
            if *both {
                push(out, Slot::Sum, 62, *line, &[*value]);
            }
        }
    }
    labels.clear();
    values.clear();
}

fn lone_amount(view: &View, line: usize) -> Option<Decimal> {
    let row = view.lines.get(line).filter(|r| r.cells.len() == 1)?;
    let marked = row.cells.first()?;
    if marked.cell.text.trim() == "0" {
        return Some(Decimal::ZERO);
    }
    match marked.amounts.as_slice() {
        [only]
            if only.is_money()
                && marked.words.len() <= 3
                && marked.labels.iter().all(|l| l.words == 1 && l.end - l.start < 4) =>
        {
            only.value(view.style)
        }
        _ => None,
    }
}
