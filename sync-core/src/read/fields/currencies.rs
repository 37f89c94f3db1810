//! The currency, and the country that a document comes from where it shows.
//!
//! A sign that several currencies share is settled by the country or not at all.

use std::collections::BTreeMap;

use super::money::Money;
use super::{empty, found};
use crate::document::Field;
use crate::read::text::currency::{self, Mark};
use crate::read::view::View;
use crate::read::words::Role;

/// Where the document was issued, as far as its currency and its way of writing dates go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Country {
    UnitedStates,
    Canada,
    Australia,
    NewZealand,
    Singapore,
    Malaysia,
    India,
    Sweden,
    Norway,
    Denmark,
    Iceland,
    /// Some other country that puts the day first.
    DayFirst,
}

impl Country {
    fn dollar(self) -> Option<&'static str> {
        match self {
            Self::UnitedStates => Some("USD"),
            Self::Canada => Some("CAD"),
            Self::Australia => Some("AUD"),
            Self::NewZealand => Some("NZD"),
            Self::Singapore => Some("SGD"),
            _ => None,
        }
    }

    fn krone(self) -> Option<&'static str> {
        match self {
            Self::Sweden => Some("SEK"),
            Self::Norway => Some("NOK"),
            Self::Denmark => Some("DKK"),
            Self::Iceland => Some("ISK"),
            _ => None,
        }
    }
}

/// Signs of a country in the text: legal forms, names of taxes, addresses. Only unmistakable ones.
#[must_use]
pub fn country(view: &View) -> Option<Country> {
    let mut votes: BTreeMap<u8, (Country, usize)> = BTreeMap::new();
    for (_, _, marked) in view.cells() {
        let keys: Vec<&str> = marked.words.iter().map(|w| w.key.as_str()).collect();
        for (n, vote) in
            [by_words(&keys), us_address(&marked.cell.text), by_language(marked)].into_iter().enumerate()
        {
            if let Some(country) = vote {
                let weight = if n == 2 { 1 } else { 3 };
                votes.entry(country as u8).or_insert((country, 0)).1 += weight;
            }
        }
    }
    votes.into_values().max_by_key(|(_, n)| *n).map(|(country, _)| country)
}

fn by_words(keys: &[&str]) -> Option<Country> {
    let has = |words: &[&str]| keys.windows(words.len()).any(|w| w == words);
    if has(&["sdn", "bhd"])
        || has(&["kuala", "lumpur"])
        || has(&["selangor"])
        || has(&["johor"])
        || has(&["malaysia"])
        || has(&["rm"])
    {
        return Some(Country::Malaysia);
    }
    if has(&["gstin"]) || has(&["pvt", "ltd"]) || has(&["cgst"]) || has(&["igst"]) {
        return Some(Country::India);
    }
    if has(&["abn"]) || has(&["australia"]) {
        return Some(Country::Australia);
    }
    if has(&["new", "zealand"]) {
        return Some(Country::NewZealand);
    }
    if has(&["hst"]) || has(&["qst"]) || has(&["canada"]) {
        return Some(Country::Canada);
    }
    if has(&["singapore"]) || has(&["pte", "ltd"]) {
        return Some(Country::Singapore);
    }
    if has(&["sales", "tax"]) || has(&["united", "states"]) || has(&["us", "dollars"]) {
        return Some(Country::UnitedStates);
    }
    None
}

/// Languages that one country's currency goes with.
fn by_language(marked: &crate::read::view::Marked) -> Option<Country> {
    let label = marked.labels.iter().find(|l| l.languages.len() == 1 && !l.languages.contains(&"en"))?;
    match *label.languages.first()? {
        "sv" => Some(Country::Sweden),
        "no" => Some(Country::Norway),
        "da" => Some(Country::Denmark),
        "is" => Some(Country::Iceland),
        _ => Some(Country::DayFirst),
    }
}

const STATES: &str = "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC";

/// `Omaha, NE 68000`: a state and a ZIP code.
fn us_address(text: &str) -> Option<Country> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c == ',' || c == '·').filter(|w| !w.is_empty()).collect();
    let zip = |w: &str| {
        let five = w.get(..5).unwrap_or_default();
        five.len() == 5
            && five.bytes().all(|b| b.is_ascii_digit())
            && (w.len() == 5 || w.as_bytes().get(5) == Some(&b'-'))
    };
    words
        .windows(3)
        .any(|w| matches!(w, [city, state, code] if STATES.split(' ').any(|s| s == *state) && zip(code) && city.chars().all(|c| c.is_alphabetic() || c == '.')))
        .then_some(Country::UnitedStates)
}

/// What stands at the amounts; the total's own mark counts most.
#[must_use]
pub fn read(view: &View, money: &Money, country: Option<Country>) -> Field {
    let mut votes: BTreeMap<&'static str, (i32, String)> = BTreeMap::new();
    let mut open: Option<&'static str> = None;
    for (line, cell, marked) in view.cells() {
        for amount in &marked.amounts {
            let Some(mark) = amount.mark else { continue };
            let near_total = money.total_lines.contains(&line);
            match settle(mark, country) {
                Some(code) => vote(&mut votes, code, if near_total { 10 } else { 2 }, view, line),
                None => open = Some(sign(mark)),
            }
        }
        for code in stated_codes(view, line, cell) {
            let near_total = money.total_lines.contains(&line);
            vote(&mut votes, code, if near_total { 9 } else { 3 }, view, line);
        }
    }
    let best = votes.iter().max_by_key(|(_, (n, _))| *n).map(|(code, (n, place))| (*code, *n, place.clone()));
    match best {
        Some((code, n, place)) => {
            let rivals: i32 = votes.iter().filter(|(c, _)| **c != code).map(|(_, (n, _))| *n).sum();
            let settled = open == Some("$") && code != "USD" || rivals * 2 > n;
            found(code, if settled { 0.7 } else { 0.95 }, place)
        }
        None => match (open, country) {
            (Some(sign), _) => empty(format!("the sign {sign} is used by several currencies")),
            (None, Some(Country::Malaysia)) => found("MYR", 0.6, "the country of the address"),
            (None, Some(Country::India)) => found("INR", 0.5, "the country of the tax number"),
            _ => empty("no currency is named"),
        },
    }
}

fn vote(
    votes: &mut BTreeMap<&'static str, (i32, String)>,
    code: &'static str,
    weight: i32,
    view: &View,
    line: usize,
) {
    votes.entry(code).or_insert_with(|| (0, view.line_text(line))).0 += weight;
}

fn settle(mark: Mark, country: Option<Country>) -> Option<&'static str> {
    match mark {
        Mark::Code(code) => Some(code),
        Mark::Dollar => country?.dollar(),
        Mark::Krone => country?.krone(),
        // no witness of Japan or China is looked for
        Mark::Yen => None,
        Mark::Rupee => Some("INR").filter(|_| country == Some(Country::India)),
    }
}

fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Code(code) => code,
        Mark::Dollar => "$",
        Mark::Krone => "kr",
        Mark::Yen => "¥",
        Mark::Rupee => "Rs",
    }
}

const CURRENCY_WORDS: &[&str] = &[
    "currency",
    "wahrung",
    "rechnungswahrung",
    "devise",
    "moneda",
    "divisa",
    "valuta",
    "moeda",
    "waluta",
    "mena",
    "valuutta",
    "penznem",
    "moneda",
    "валута",
    "νομισμα",
];
const MONEY: [Role; 6] =
    [Role::Total, Role::PlainTotal, Role::PlainAmount, Role::Payable, Role::Net, Role::Subtotal];

/// Codes and signs away from amounts: `Total EUR`, `Amount (RM)`, `Beträge in EUR`, `€` in a cell of its own.
fn stated_codes(view: &View, line: usize, cell: usize) -> Vec<&'static str> {
    let Some(marked) = view.cell(line, cell) else { return Vec::new() };
    let text = &marked.cell.text;
    let alone = marked.words.len() == 1;
    let named = marked.words.iter().any(|w| CURRENCY_WORDS.contains(&w.key.as_str()));
    let money_label = alone || named || marked.labels.iter().any(|l| l.any(&MONEY));
    let mut out: Vec<&'static str> = marked
        .words
        .iter()
        .filter(|w| !marked.amounts.iter().any(|a| a.start <= w.start && w.end <= a.end))
        .filter_map(|w| text.get(w.start..w.end))
        .filter_map(|raw| match raw {
            "RM" => Some("MYR"),
            // other codes are words and places as well: only beside the name of an amount
            "EUR" | "USD" | "GBP" => currency::code(raw),
            _ if !money_label => None,
            raw => currency::code(raw),
        })
        .collect();
    if text.contains('€') && marked.amounts.iter().all(|a| a.mark.is_none()) {
        out.push("EUR");
    }
    if text.contains('£') && marked.amounts.iter().all(|a| a.mark.is_none()) {
        out.push("GBP");
    }
    if text.contains("US Dollar") {
        out.push("USD");
    }
    out
}
