//! Supplier and buyer.
//!
//! Names carry no label as often as they do, so several weak witnesses are added up: a label, a legal form,
//! the place at the top, the type size, a repetition, the sender of the mail, a web address.

mod names;

use std::collections::BTreeSet;

use super::{Hints, empty, found};
use crate::document::{Field, Kind};
use crate::read::text::fold;
use crate::read::view::{How, View};
use crate::read::words::Role;

pub use names::clean;

pub struct Supplier {
    pub field: Field,
    /// Cells of the buyer's address: what stands there is not the supplier's.
    pub buyer_lines: BTreeSet<(usize, usize)>,
}

struct Candidate {
    name: String,
    score: i32,
    place: String,
}

#[must_use]
pub fn read(view: &View, kind: Kind, hints: &Hints) -> (Supplier, Field) {
    let buyer_lines = buyer_block(view);
    let witness = Witness::new(view, hints);
    let mut candidates = Vec::new();
    labelled(view, &buyer_lines, &witness, &mut candidates);
    by_place(view, kind, &buyer_lines, &witness, &mut candidates);
    let sender = sender_name(hints);
    if let Some(sender) = &sender {
        let score = if hints.is_body { 95 } else { 52 };
        candidates.push(Candidate { name: sender.clone(), score, place: "the sender of the mail".into() });
    }
    let best = candidates.into_iter().reduce(|best, c| if c.score > best.score { c } else { best });
    let field = match best {
        #[expect(clippy::cast_precision_loss, reason = "scores are small")]
        Some(best) if best.score >= 42 => found(best.name, (best.score as f32 / 130.0).min(0.95), best.place),
        _ => empty("no name of a supplier stands out"),
    };
    let buyer = buyer(view, field.value.as_deref());
    (Supplier { field, buyer_lines }, buyer)
}

/// What the mail and the rest of the document know about the supplier.
struct Witness {
    /// Folded words of the sender's name.
    sender: Vec<String>,
    /// Names in web and mail addresses: `coolblue` of `www.coolblue.nl`.
    domains: Vec<String>,
}

impl Witness {
    fn new(view: &View, hints: &Hints) -> Self {
        let forwarded = hints.forwarded;
        let sender = if forwarded {
            Vec::new()
        } else {
            fold::words(&hints.sender).into_iter().map(|w| w.key).collect()
        };
        let mut domains: Vec<String> =
            view.cells().flat_map(|(_, _, m)| names::domains(&m.cell.text)).collect();
        if !forwarded {
            domains.extend(names::domains(&hints.sender_address));
        }
        domains.sort();
        domains.dedup();
        Self { sender, domains }
    }

    fn weight(&self, name: &str) -> i32 {
        let words: Vec<String> = fold::words(name).into_iter().map(|w| w.key).collect();
        let joined: String = words.concat();
        if joined.is_empty() {
            return 0;
        }
        let long = |w: &&String| w.len() > 2 && !names::is_legal_word(w);
        let shared = words.iter().filter(long).any(|w| self.sender.contains(w));
        let all = !self.sender.is_empty()
            && words.iter().filter(long).all(|w| self.sender.contains(w))
            && words.iter().any(|w| w.len() > 2);
        let domain = self.domains.iter().any(|d| {
            d.len() > 3
                && (joined.starts_with(d.as_str())
                    || words
                        .iter()
                        .any(|w| w.len() > 3 && d.starts_with(w.as_str()) && !names::is_trade_word(w)))
        });
        i32::from(all) * 45 + i32::from(shared && !all) * 20 + i32::from(domain) * 22
    }
}

fn sender_name(hints: &Hints) -> Option<String> {
    let name = hints.sender.trim().trim_matches('"').trim();
    let usable =
        !hints.forwarded && !name.is_empty() && !name.contains('@') && name.chars().any(char::is_alphabetic);
    let service = [
        "noreply",
        "no reply",
        "notifications",
        "billing",
        "accounts",
        "info",
        "service",
        "invoice",
        "invoices",
        "receipts",
        "support",
        "accounting",
        "buchhaltung",
    ];
    (usable && !service.contains(&fold::key(name).as_str())).then(|| name.to_owned())
}

fn labelled(view: &View, buyer: &BTreeSet<(usize, usize)>, witness: &Witness, out: &mut Vec<Candidate>) {
    for (line, cell, label) in view.labels(&[Role::Seller]) {
        let alone = view.cell(line, cell).is_some_and(|m| m.words.len() <= label.words + 1);
        if alone && let Some((name, at)) = name_below(view, line, cell, buyer) {
            let score = 80 + names::form_weight(&name) / 2 + witness.weight(&name) / 2;
            out.push(Candidate { name, score, place: view.line_text(at) });
        }
        for spot in view.spots(line, cell, label) {
            let marked_off = view.spot_text(&spot).trim_start().starts_with(':');
            if label.first_word > 1 && !marked_off || spot.how != How::Inline && !alone {
                continue;
            }
            let raw = view.spot_text(&spot);
            let separated = raw.trim_start().starts_with(':') || spot.how != How::Inline;
            let begins_label = view.cell(spot.line, spot.cell).is_some_and(|m| {
                spot.how != How::Inline
                    && m.labels.first().is_some_and(|l| {
                        l.start == 0 && !l.any(&[Role::Seller]) && l.words * 2 > m.words.len()
                    })
            });
            let Some(name) = clean(raw).filter(|n| names::is_name(n)) else { continue };
            // `Seller: Number: 5`, a heading over further labels
            let inner_label = raw.trim_start_matches([' ', ':']).contains(':');
            if begins_label
                || inner_label
                || !separated && !names::has_legal_form(&name)
                || buyer.contains(&(spot.line, spot.cell))
            {
                continue;
            }
            // `From` and `recipient` may begin other sentences
            let weak = label.any(&[Role::OtherDate, Role::Buyer, Role::OtherParty]);
            let score = 88 + names::form_weight(&name) / 2 + witness.weight(&name) / 2
                - i32::from(weak) * 30
                - i32::from(spot.how == How::Below) * 4;
            out.push(Candidate { name, score, place: view.line_text(spot.line) });
            break;
        }
    }
}

/// The first name under a heading such as `Seller`: numbers may stand before it.
fn name_below(
    view: &View,
    line: usize,
    cell: usize,
    buyer: &BTreeSet<(usize, usize)>,
) -> Option<(String, usize)> {
    let own = view.cell(line, cell)?;
    (line + 1..=line + 5).find_map(|next| {
        let row = view.lines.get(next)?;
        let (at, marked) = row.cells.iter().enumerate().find(|(_, c)| c.cell.overlap(&own.cell) > 0.3)?;
        let labelled = marked.cell.text.contains(':')
            || marked.labels.first().is_some_and(|l| l.start == 0 && !l.is(Role::Seller));
        let name = clean(&marked.cell.text).filter(|n| names::is_name(n))?;
        (!labelled && !buyer.contains(&(next, at))).then_some((name, next))
    })
}

/// Names by where and how they stand.
fn by_place(
    view: &View,
    kind: Kind,
    buyer: &BTreeSet<(usize, usize)>,
    witness: &Witness,
    out: &mut Vec<Candidate>,
) {
    let count = view.lines.len();
    let mut seen: Vec<(String, usize)> = Vec::new();
    for (_, _, marked) in view.cells() {
        if let Some(name) = clean(&marked.cell.text) {
            let key = fold::key(&name);
            match seen.iter_mut().find(|(k, _)| *k == key) {
                Some((_, n)) => *n += 1,
                None => seen.push((key, 1)),
            }
        }
    }
    for (line, cell, marked) in view.cells() {
        if line > 60 && line + 25 < count {
            continue;
        }
        let Some(name) = clean(&marked.cell.text).filter(|n| names::is_name(n)) else { continue };
        let name = with_line_above(view, line, cell, name);
        let key = fold::key(&name);
        let top = match line {
            0 => 30,
            1 => 22,
            2..=3 => 14,
            4..=8 => 6,
            _ => 0,
        };
        let till = i32::from(kind == Kind::Receipt) * top / 2;
        let row_size = view.lines.get(line).map_or(0.0, |l| l.size);
        let tall = i32::from(row_size > view.usual_size * 1.25) * 16;
        let times = seen.iter().find(|(k, _)| *k == key).map_or(1, |(_, n)| *n);
        let repeated = i32::from(times > 1) * 8;
        let titles = [Role::Invoice, Role::Receipt, Role::CreditNote, Role::Order, Role::Other];
        let titled = marked.labels.iter().any(|l| l.any(&titles));
        let label_free =
            marked.labels.iter().all(|l| l.any(&[Role::Seller]) || l.words * 3 < marked.words.len().max(3));
        let registered = names::has_registration(&marked.cell.text) || next_is_registration(view, line);
        let score = top
            + till
            + tall
            + repeated
            + names::form_weight(&name)
            + witness.weight(&name)
            + i32::from(registered) * 24
            - i32::from(!label_free) * 60
            - i32::from(buyer.contains(&(line, cell))) * 120
            - i32::from(fold::words(&name).len() > 8) * 25
            - i32::from(marked.amounts.iter().any(|a| a.is_money())) * 20
            - i32::from(titled) * 40;
        out.push(Candidate { name, score, place: view.line_text(line) });
    }
}

/// A registration number in brackets stands below a shop's name.
fn next_is_registration(view: &View, line: usize) -> bool {
    view.lines.get(line + 1).is_some_and(|row| {
        row.cells.len() == 1
            && row.cells.first().is_some_and(|m| {
                let text = m.cell.text.trim();
                text.starts_with('(') && text.len() < 30 && text.chars().any(|c| c.is_ascii_digit())
            })
    })
}

/// A legal form with at most one other word is the end of a name that began on the line above.
fn with_line_above(view: &View, line: usize, cell: usize, name: String) -> String {
    let own_words = names::words_before_form(&name);
    if line == 0 || cell > 0 || own_words > 1 || !names::has_legal_form(&name) {
        return name;
    }
    let above = view
        .lines
        .get(line - 1)
        .filter(|row| row.cells.len() == 1 && line < 4)
        .and_then(|row| row.cells.first());
    let part = above.filter(|m| m.labels.is_empty() && m.words.len() <= 6).and_then(|m| clean(&m.cell.text));
    match part.filter(|p| names::is_name(p) && !names::has_legal_form(p)) {
        Some(part) => format!("{part} {name}"),
        None => name,
    }
}

/// Cells under and beside `Bill to` and its kin.
fn buyer_block(view: &View) -> BTreeSet<(usize, usize)> {
    let mut out = BTreeSet::new();
    for (line, cell, label) in view.labels(&[Role::Buyer, Role::OtherParty]) {
        let Some(own) = view.cell(line, cell) else { continue };
        if label.first_word > 0 || label.is(Role::Seller) && own.words.len() > label.words + 4 {
            continue;
        }
        let greeting = own.words.len() > label.words + 6;
        if greeting {
            continue;
        }
        out.insert((line, cell));
        let has_inline = own.words.len() > label.words;
        if let Some(right) = view.spots(line, cell, label).iter().find(|s| s.how == How::Right)
            && !has_inline
            && view.cell(right.line, right.cell).is_some_and(|m| m.labels.first().is_none_or(|l| l.start > 0))
        {
            out.insert((right.line, right.cell));
        }
        let page = view.lines.get(line).map(|l| l.page);
        for next in line + 1..line + if has_inline { 3 } else { 6 } {
            let Some(row) = view.lines.get(next).filter(|r| Some(r.page) == page) else { break };
            let starts_new = row.cells.iter().any(|c| {
                c.cell.overlap(&own.cell) > 0.3
                    && c.labels.first().is_some_and(|l| {
                        l.start == 0
                            && l.any(&[Role::Seller, Role::InvoiceNumber, Role::IssueDate, Role::Invoice])
                    })
            });
            if starts_new || row.gap && next > line + 1 {
                break;
            }
            for (c, marked) in row.cells.iter().enumerate() {
                if marked.cell.overlap(&own.cell) > 0.3 {
                    out.insert((next, c));
                }
            }
        }
    }
    out
}

fn buyer(view: &View, supplier: Option<&str>) -> Field {
    let supplier = supplier.map(fold::key).unwrap_or_default();
    for (line, cell, label) in view.labels(&[Role::Buyer]) {
        if label.first_word > 0 || label.is(Role::Seller) {
            continue;
        }
        for spot in view.spots(line, cell, label) {
            let raw = view.spot_text(&spot);
            let begins_label = spot.how != How::Inline
                && view
                    .cell(spot.line, spot.cell)
                    .is_some_and(|m| m.labels.first().is_some_and(|l| l.start == 0));
            let separated = raw.trim_start().starts_with(':') || spot.how != How::Inline || label.words > 1;
            let Some(name) = clean(raw).filter(|n| names::is_name(n)) else { continue };
            if begins_label || !separated || fold::key(&name) == supplier {
                continue;
            }
            let confidence = if names::has_legal_form(&name) { 0.8 } else { 0.6 };
            return found(name, confidence, view.line_text(spot.line));
        }
    }
    empty("no buyer is named with a label")
}
