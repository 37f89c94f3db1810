//! Is this an accounting document, and of what kind?
//!
//! Evidence is added up: titles (where they stand, how large), labels of numbers and dates, a total that is
//! the sum of its parts, what the mail around it says. A title of something else (a quote, a statement) that
//! stands as prominently outweighs it.

use super::labels;
use super::text::fold;
use super::view::View;
use super::words::Role;
use super::words::surroundings::{BULK, TALK};
use crate::document::Kind;

/// What stands around a text: subject, file name, covering letter.
#[derive(Clone, Debug, Default)]
pub struct Around {
    pub subject: String,
    pub file_name: String,
    pub letter: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub kind: Kind,
    pub confidence: f32,
}

const KINDS: [(Role, Kind); 4] = [
    (Role::CreditNote, Kind::CreditNote),
    (Role::Receipt, Kind::Receipt),
    (Role::Order, Kind::OrderConfirmation),
    (Role::Invoice, Kind::Invoice),
];

const TILL: &[&str] = &[
    "cashier",
    "terminal",
    "till",
    "pos",
    "table",
    "kasse",
    "kassierer",
    "caisse",
    "cassa",
    "kasa",
    "kassa",
    "pokladna",
    "caja",
    "caixa",
    "salesperson",
    "waiter",
    "tse",
    "kasjer",
    "pax",
];

/// Points for each kind and for being something else.
#[derive(Clone, Debug, Default)]
struct Score {
    kinds: [i32; 4],
    other: i32,
}

impl Score {
    fn raise(&mut self, role: Role, points: i32) {
        if role == Role::Other {
            self.other = self.other.max(points);
        } else if let Some(at) = KINDS.iter().position(|(r, _)| *r == role)
            && let Some(own) = self.kinds.get_mut(at)
        {
            *own = (*own).max(points);
        }
    }

    fn add(&mut self, role: Role, points: i32) {
        if let Some(at) = KINDS.iter().position(|(r, _)| *r == role)
            && let Some(own) = self.kinds.get_mut(at)
        {
            *own += points;
        }
    }

    fn best(&self) -> (Kind, i32) {
        let mut best = (Kind::Invoice, 0);
        for ((_, kind), points) in KINDS.iter().zip(self.kinds) {
            if points > best.1 {
                best = (*kind, points);
            }
        }
        best
    }
}

/// A file's text.
///
/// # Errors
/// Why it is none, for people.
pub fn attachment(view: &View, around: &Around) -> Result<Verdict, String> {
    let mut score = titles(view);
    let title = score.best().1;
    labels_in(view, &mut score);
    let substance = substance(view);
    let mut outside = Score::default();
    hint(&mut outside, &around.subject, 8);
    hint(&mut outside, &around.file_name, 8);
    for ((role, _), points) in KINDS.iter().zip(outside.kinds) {
        score.add(*role, points.min(8));
    }
    let (kind, points) = score.best();
    let other = score.other + outside.other / 2;
    if score.other >= 14 && other >= title {
        return Err("its title is that of another kind of paper".into());
    }
    if substance.total_points < 8 {
        return Err("it shows no amounts that add up to something".into());
    }
    let sum = points + substance.points;
    if points < 8 || sum < 26 {
        // a till's slip needs no title
        let till = substance.till && (substance.has_tax || substance.paid || substance.adds_up);
        if substance.has_date
            && (till || substance.paid && substance.adds_up)
            && score.other < 10
            && substance.words < 500
        {
            return Ok(Verdict { kind: Kind::Receipt, confidence: 0.7 });
        }
        return Err("it does not say that it is an invoice or a receipt".into());
    }
    Ok(Verdict { kind: refine(kind, &score, &substance), confidence: confidence(sum) })
}

/// The mail's own text.
///
/// # Errors
/// Why it is none, for people.
pub fn body(view: &View, around: &Around) -> Result<Verdict, String> {
    let mut score = titles(view);
    hint(&mut score, &around.subject, 14);
    labels_in(view, &mut score);
    let substance = substance(view);
    let (kind, points) = score.best();
    let key = fold::key(&around.letter);
    let subject = fold::key(&around.subject);
    let has = |text: &str, table: &[&str]| table.iter().any(|w| contains_words(text, w));
    if has(&subject, TALK) {
        return Err("its subject is that of a reminder or notice".into());
    }
    let mut sum = points + substance.points;
    sum -= i32::from(has(&key, BULK)) * 8;
    sum -= i32::from(has(&key, TALK)) * 8;
    if score.other >= 16 && score.other > points {
        return Err("its title is that of another kind of paper".into());
    }
    let single = substance.single_amount && substance.has_number && points >= 16;
    if substance.total_points < 10 && !single {
        return Err("no total is shown".into());
    }
    if substance.words > 400 && substance.total_points < 20 {
        return Err("a long text, not a document".into());
    }
    // amounts that add up speak for themselves: a ride, a meal
    let adds_up = substance.adds_up && substance.has_date;
    if sum < 34 && !(adds_up && sum >= 26) && !(single && sum >= 28) {
        return Err("it talks of payments but is no document".into());
    }
    let kind = if points < 8 { Kind::Receipt } else { refine(kind, &score, &substance) };
    Ok(Verdict { kind, confidence: confidence(sum) })
}

/// A picture or a locked file: only the surroundings can tell.
#[must_use]
pub fn surroundings(around: &Around) -> Option<Verdict> {
    let mut score = Score::default();
    hint(&mut score, &around.subject, 20);
    hint(&mut score, &around.file_name, 22);
    hint(&mut score, &around.letter, 12);
    let (kind, points) = score.best();
    (points >= 12 && score.other < points).then_some(Verdict { kind, confidence: 0.6 })
}

fn confidence(sum: i32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "scores are small")]
    let value = 0.5 + sum as f32 / 150.0;
    value.clamp(0.5, 0.98)
}

fn contains_words(text: &str, phrase: &str) -> bool {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|t| t.find(phrase)).map(|at| at + from) {
        let before = text.get(..at).and_then(|t| t.chars().next_back());
        let after = text.get(at + phrase.len()..).and_then(|t| t.chars().next());
        if before.is_none_or(|c| c == ' ') && after.is_none_or(|c| c == ' ') {
            return true;
        }
        from = at + phrase.len().max(1);
    }
    false
}

/// Cells that are a title, scored by their place.
fn titles(view: &View) -> Score {
    let mut score = Score::default();
    let roles = [Role::Invoice, Role::Receipt, Role::CreditNote, Role::Order, Role::Other];
    for (line, cell, label) in view.labels(&roles) {
        let (Some(marked), Some(row)) = (view.cell(line, cell), view.lines.get(line)) else { continue };
        let words = marked.words.len();
        let ends_cell = label.first_word + label.words >= words;
        if label.first_word > 3 && !ends_cell || words > label.words + 9 {
            continue;
        }
        let alone = words <= label.words + 2;
        let tall = view.usual_size > 0.0 && row.size > view.usual_size * 1.2;
        let top = match line {
            0..=2 => 8,
            3..=11 => 5,
            12..=25 => 2,
            _ => 0,
        };
        let extra = i32::try_from(words.saturating_sub(label.words)).unwrap_or(9).min(9);
        let points = 8 + i32::from(alone) * 6 + i32::from(tall) * 9 + top
            - extra
            - i32::from(label.first_word > 1) * 4;
        for role in roles.iter().filter(|r| label.is(**r)) {
            if *role == Role::Other {
                // names of other papers are everyday words as well: only true titles count
                let title = alone && (tall || line <= 2 && row.cells.len() <= 2)
                    || tall && line <= 6 && label.first_word == 0;
                let value = label.any(&[Role::OrderNumber, Role::OtherNumber, Role::OtherAmount])
                    && !tall
                    && line > 2;
                let shared = label.any(&[Role::Order, Role::Invoice, Role::Receipt, Role::CreditNote]);
                if title && !value && !shared {
                    score.raise(Role::Other, points + 4);
                }
            } else {
                score.raise(*role, points);
            }
        }
    }
    score
}

/// Labels of numbers and dates that only one kind has.
fn labels_in(view: &View, score: &mut Score) {
    let mut seen: Vec<Role> = Vec::new();
    for (_, _, marked) in view.cells().filter(|(_, _, m)| m.words.len() <= 14) {
        for label in &marked.labels {
            for role in &label.roles {
                if !seen.contains(role) {
                    seen.push(*role);
                }
            }
        }
    }
    for (label, kind, points) in [
        (Role::InvoiceNumber, Role::Invoice, 9),
        (Role::CreditNumber, Role::CreditNote, 10),
        (Role::ReceiptNumber, Role::Receipt, 4),
        (Role::OrderNumber, Role::Order, 4),
        (Role::DueDate, Role::Invoice, 4),
        (Role::Tendered, Role::Receipt, 3),
        (Role::Change, Role::Receipt, 8),
    ] {
        if seen.contains(&label) {
            score.add(kind, points);
        }
    }
}

fn hint(score: &mut Score, text: &str, points: i32) {
    let words = fold::words(&text.replace(['_', '-', '.'], " "));
    for label in labels::find(&words) {
        for (role, kind) in [
            (Role::InvoiceNumber, Role::Invoice),
            (Role::ReceiptNumber, Role::Receipt),
            (Role::CreditNumber, Role::CreditNote),
        ] {
            if label.is(role) {
                score.raise(kind, points);
            }
        }
        for role in [Role::Invoice, Role::Receipt, Role::CreditNote, Role::Order, Role::Other] {
            if label.is(role) {
                score.raise(role, points);
            }
        }
    }
    let inflected = [
        "invoic", "rechnung", "factur", "fattur", "faktur", "fatur", "szamla", "lasku", "sask", "receipt",
        "quittung",
    ];
    if words.iter().any(|w| inflected.iter().any(|stem| w.key.starts_with(stem)))
        && score.best().1 < points - 2
    {
        score.raise(Role::Invoice, points - 2);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Substance {
    points: i32,
    total_points: i32,
    adds_up: bool,
    paid: bool,
    has_date: bool,
    has_number: bool,
    single_amount: bool,
    has_tax: bool,
    /// Words that only a till prints.
    till: bool,
    words: usize,
}

/// Amounts with labels, sums, dates, tax ids.
fn substance(view: &View) -> Substance {
    let facts = super::fields::facts(view);
    let has = |role: Role| {
        view.labels(&[role]).any(|(l, c, _)| view.cell(l, c).is_some_and(|m| m.words.len() <= 12))
    };
    let words = view.cells().map(|(_, _, m)| m.words.len()).sum();
    let has_number = [Role::InvoiceNumber, Role::ReceiptNumber, Role::CreditNumber, Role::OrderNumber]
        .into_iter()
        .any(has);
    let mut out = Substance {
        adds_up: facts.adds_up,
        paid: facts.paid,
        has_date: view.dates().next().is_some(),
        has_number,
        single_amount: facts.single_amount,
        has_tax: facts.tax,
        till: view.cells().any(|(_, _, m)| m.words.iter().any(|w| TILL.contains(&w.key.as_str()))),
        words,
        ..Substance::default()
    };
    out.total_points = i32::from(facts.total) * 12
        + i32::from(facts.adds_up) * 10
        + i32::from(facts.single_amount && has_number) * 8;
    out.points = out.total_points
        + i32::from(facts.tax) * 6
        + i32::from(facts.net) * 3
        + i32::from(facts.paid) * 6
        + i32::from(has(Role::DueDate)) * 3
        + i32::from(has(Role::VatId)) * 3
        + i32::from(has_number) * 4
        + i32::from(out.has_date) * 3;
    out
}

/// Small corrections between kinds that share their words.
fn refine(kind: Kind, score: &Score, substance: &Substance) -> Kind {
    let [credit, receipt, _, invoice] = score.kinds;
    match kind {
        // `Rechnungskorrektur / Gutschrift` names the invoice as well
        Kind::Invoice if credit >= 14 && credit + 12 >= invoice => Kind::CreditNote,
        // a till's tax invoice
        Kind::Invoice if substance.paid && receipt + 6 >= invoice => Kind::Receipt,
        kind => kind,
    }
}
