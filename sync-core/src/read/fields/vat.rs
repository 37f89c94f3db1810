//! The supplier's VAT or tax id.

use super::parties::Supplier;
use super::{empty, found};
use crate::document::Field;
use crate::read::view::View;
use crate::read::words::Role;

#[must_use]
pub fn read(view: &View, supplier: &Supplier) -> Field {
    let mut best: Option<(String, i32, String)> = None;
    for (line, cell, label) in view.labels(&[Role::VatId]) {
        let in_buyer_block = supplier.buyer_lines.contains(&(line, cell));
        for spot in view.spots(line, cell, label) {
            let Some(id) = id(view.spot_text(&spot)) else { continue };
            let formed = is_european(&id);
            let score = 50 + i32::from(formed) * 30
                - i32::from(in_buyer_block) * 60
                - i32::from(label.is(Role::Tax)) * i32::from(!formed) * 40
                - i32::from(says_yours(view, line, cell, label.start)) * 60;
            if best.as_ref().is_none_or(|b| score > b.1) {
                best = Some((id, score, view.line_text(line)));
            }
            break;
        }
    }
    match best {
        #[expect(clippy::cast_precision_loss, reason = "scores are small")]
        Some((id, score, place)) if score >= 40 => found(id, score as f32 / 100.0, place),
        _ => empty("no tax number of the supplier was found"),
    }
}

/// `Uw BTW nummer`, `Your VAT no`: the reader's own.
fn says_yours(view: &View, line: usize, cell: usize, at: usize) -> bool {
    let before = view.cell(line, cell).and_then(|m| m.cell.text.get(..at)).unwrap_or_default();
    let key = crate::read::text::fold::key(before);
    ["your", "ihre", "uw", "votre", "su", "vostra", "deres", "er", "customer", "client", "kunden", "klant"]
        .iter()
        .any(|w| key.ends_with(w))
}

/// The id that a text begins with, without blanks and points: `DE 232 446 240` is `DE232446240`.
fn id(text: &str) -> Option<String> {
    let text =
        text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '.' | '#' | '-' | '/'));
    let mut out = String::new();
    let mut blanks = 0;
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => {
                // `DE123456789 IBAN …`: a word after the digits is another thing
                if blanks > 0
                    && c.is_ascii_alphabetic()
                    && out.chars().filter(char::is_ascii_digit).count() > 6
                {
                    break;
                }
                out.push(c.to_ascii_uppercase());
                blanks = 0;
            }
            ' ' | '\u{a0}' if blanks == 0 => blanks = 1,
            '.' | '-' | '/' => {}
            ':' if out.len() == 2 => {}
            _ => break,
        }
        if out.len() > 18 {
            break;
        }
    }
    // `NL:NL8204…`: the country twice
    let doubled =
        out.get(..2).is_some_and(|c| out.get(2..4) == Some(c) && c.chars().all(char::is_alphabetic));
    if doubled {
        out.drain(..2);
    }
    let digits = out.chars().filter(char::is_ascii_digit).count();
    ((6..=18).contains(&out.len()) && digits >= 5).then_some(out)
}

/// Begins with a country and has the length of its ids.
fn is_european(id: &str) -> bool {
    let digits = id.chars().filter(char::is_ascii_digit).count();
    let lengths: &[usize] = match id.get(..2).unwrap_or_default() {
        "AT" => &[11],
        "BE" => &[12],
        "BG" => &[11, 12],
        "CY" => &[11],
        "CZ" => &[10, 11, 12],
        "DE" | "EE" | "EL" | "GR" | "PT" => &[11],
        "DK" | "FI" | "HU" | "LU" | "MT" | "SI" => &[10],
        "ES" => &[11],
        "FR" => &[13],
        "GB" => &[11, 14],
        "HR" | "IT" | "LV" => &[13],
        "IE" => &[10, 11],
        "LT" => &[11, 14],
        "NL" | "SE" => &[14],
        "PL" | "SK" => &[12],
        "RO" => &[4, 5, 6, 7, 8, 9, 10, 11, 12],
        "CH" => &[12, 15],
        "NO" => &[11, 14],
        _ => return false,
    };
    lengths.contains(&id.len()) && digits >= 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lose_their_blanks() {
        assert_eq!(id(": DE 232 446 240").as_deref(), Some("DE232446240"));
        assert_eq!(id(" NL:NL8204.71.616.B.02 Nederland").as_deref(), Some("NL820471616B02"));
        assert_eq!(id(" 774-00-01-454").as_deref(), Some("7740001454"));
        assert_eq!(id(" 19%"), None);
        assert_eq!(id("DE123456789 IBAN DE00").as_deref(), Some("DE123456789"));
        assert!(is_european("NL820471616B02"));
        assert!(!is_european("7740001454"));
    }
}
