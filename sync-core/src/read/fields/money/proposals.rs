//! Amounts that a label proposes for a place.

mod runs;

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
            // `Net total`: without tax in one country, what is to pay in another
            if *slot == Slot::Net && label.is(Role::PlainTotal) {
                push(&mut out, Slot::Sum, 64, line, &values);
            }
        }
        if !any && row.cells.len() > 1 {
            below(view, line, &labels, &mut out);
        }
    }
    runs::collect(view, &mut out);
    sum_rows(&mut out);
    out.retain(|p| p.slot != Slot::Ignored);
    out
}

/// Of several rows with net, tax and total the one that sums up the others is the document's.
fn sum_rows(out: &mut [Proposal]) {
    let rows: Vec<(usize, Decimal)> =
        out.iter().filter(|p| p.slot == Slot::Sum && !p.main).map(|p| (p.line, p.value)).collect();
    for (line, value) in &rows {
        let others: Vec<Decimal> = rows.iter().filter(|(l, _)| l != line).map(|(_, v)| *v).collect();
        let pair = others.iter().enumerate().any(|(i, a)| others.iter().skip(i + 1).any(|b| a + b == *value));
        if pair || others.len() > 2 && others.iter().sum::<Decimal>() == *value {
            out.iter_mut().filter(|p| p.line == *line).for_each(|p| p.score += 45);
        }
    }
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
    merge(cells, out)
}

/// Neighbours in one cell that make one label: `Total` + `VAT`, `Total` + `VAT included`, `Total` + `excl. VAT`.
fn merge<'a>(cells: &[Marked], labels: Vec<RowLabel<'a>>) -> Vec<RowLabel<'a>> {
    let mut out: Vec<RowLabel<'a>> = Vec::new();
    for label in labels {
        let near = out.last().is_some_and(|(cell, before, ..)| {
            *cell == label.0 && label.1.first_word <= before.first_word + before.words + 2
        });
        let Some(last) = out.last_mut().filter(|_| near) else {
            out.push(label);
            continue;
        };
        let sums = matches!(last.2, Slot::Sum | Slot::Total | Slot::Subtotal | Slot::Net | Slot::Payable);
        match (label.2, scope(cells, last, &label)) {
            (Slot::Tax, Scope::Without) if sums => (last.1, last.2, last.3) = (label.1, Slot::Net, 92),
            (Slot::Tax, Scope::With) if sums => last.1 = label.1,
            (Slot::Sum | Slot::Ignored, _) => last.1 = label.1,
            (slot, _) if last.2 == Slot::Sum && adjoins(last.1, label.1) => {
                // `Total TVA` is the tax; `Total` with anything else is that thing
                *last = (label.0, label.1, slot, label.3);
            }
            _ => out.push(label),
        }
    }
    out
}

fn adjoins(before: &Label, after: &Label) -> bool {
    after.first_word <= before.first_word + before.words + 1
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    With,
    Without,
    Open,
}

const WITH: &[&str] = &[
    "incl",
    "inkl",
    "including",
    "inclusive",
    "included",
    "inc",
    "inclus",
    "incluse",
    "incluido",
    "incluida",
    "inclusa",
    "compresa",
    "comprise",
    "comprises",
    "inclusief",
    "vcetne",
    "vc",
    "vratane",
    "s",
    "z",
    "su",
    "ar",
    "con",
    "com",
    "c",
    "med",
    "mit",
    "with",
    "sis",
    "dahil",
    "cu",
    "avec",
    "με",
    "с",
    "met",
    "ttc",
    "enthalten",
    "ivato",
    "inclusive",
    "sa",
    "przez",
];

const WITHOUT: &[&str] = &[
    "excl",
    "exkl",
    "excluding",
    "exclusive",
    "excluded",
    "ex",
    "ekskl",
    "eks",
    "ohne",
    "hors",
    "sin",
    "esclusa",
    "sem",
    "exclusief",
    "bez",
    "be",
    "uden",
    "utan",
    "uten",
    "ilman",
    "nelkul",
    "fara",
    "без",
    "χωρις",
    "brez",
    "without",
    "before",
    "hariç",
    "haric",
    "sans",
    "zonder",
    "exclus",
];

/// Whether the words up to and in the second label say that tax is in the amount or not.
fn scope(cells: &[Marked], before: &RowLabel<'_>, after: &RowLabel<'_>) -> Scope {
    let Some(marked) = cells.get(after.0) else { return Scope::Open };
    let from = before.1.first_word;
    let to = after.1.first_word + after.1.words + 1;
    let words = marked.words.get(from..to.min(marked.words.len())).unwrap_or_default();
    let has = |list: &[&str]| words.iter().any(|w| list.contains(&w.key.as_str()));
    if has(WITHOUT) {
        Scope::Without
    } else if has(WITH) {
        Scope::With
    } else {
        Scope::Open
    }
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

/// Values under their labels: a small table.
fn below(view: &View, line: usize, labels: &[RowLabel<'_>], out: &mut Vec<Proposal>) {
    let next = line + 1;
    let Some(row) = view.lines.get(next).filter(|row| row_labels(&row.cells).is_empty()) else { return };
    for (cell, _, slot, score) in labels {
        let Some(own) = view.cell(line, *cell) else { continue };
        for (c, marked) in row.cells.iter().enumerate().filter(|(_, c)| c.cell.overlap(&own.cell) > 0.3) {
            let only_amount =
                marked.words.iter().all(|w| w.key.chars().any(|c| c.is_ascii_digit()) || w.key.len() <= 4);
            let values: Vec<Decimal> = marked
                .amounts
                .iter()
                .filter(|a| is_money(view, next, c, a))
                .filter_map(|a| a.value(view.style))
                .collect();
            if only_amount {
                push(out, *slot, score - 22, next, &values);
            }
        }
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
    ];
    view.cells().any(|(_, _, m)| {
        let key = m.words.iter().map(|w| w.key.as_str()).collect::<Vec<_>>().join(" ");
        PAID.iter().any(|p| key.contains(p))
    })
}
