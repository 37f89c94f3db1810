//! Identifiers as they stand after a label: invoice numbers and the like.

use crate::read::text::{amount, date};

const LENGTH_MAX: usize = 40;

/// The identifier that the text begins with: letters, digits and inner `-/._`, at least one digit.
#[must_use]
pub fn leading(text: &str) -> Option<String> {
    let text = strip_prefixes(text);
    let first = token(text)?;
    if has_digit(first) {
        return accept(first, text);
    }
    // `F 1234K20/1234/12`, `INV 2026-3`: letters first, then the digits
    let rest = text.get(first.len()..)?;
    let short = first.chars().count() <= 5 && first.chars().all(char::is_uppercase);
    let gap = rest.starts_with(' ') && !rest.starts_with("  ");
    let second = token(rest.trim_start()).filter(|t| has_digit(t))?;
    if short && gap && accept(second, rest.trim_start()).is_some() {
        return Some(format!("{first} {}", second.trim_end_matches(['.', '-', '/'])));
    }
    None
}

fn has_digit(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit())
}

/// Removes what stands between a label and its value: `: `, `No. `, `#`, `Nr.`, `is`.
fn strip_prefixes(text: &str) -> &str {
    let mut text = text;
    loop {
        let trimmed = text.trim_start_matches(|c: char| {
            c.is_whitespace()
                || matches!(
                    c,
                    ':' | '#' | '.' | '=' | '-' | '–' | '*' | ')' | '(' | '"' | '\'' | '№' | '/' | '°'
                )
        });
        let next = [
            "No.", "no.", "Nr.", "nr.", "NR.", "NO.", "Nº", "nº", "N°", "n°", "N.", "n.", "No ", "Nr ",
            "NO ", "č.", "Nro.", "nro ", "br.", "št.", "Αρ.", "bearing ",
        ]
        .iter()
        .find_map(|prefix| trimmed.strip_prefix(prefix));
        // `Handelsrechnung (380) Nr. 471102`: a code in brackets is no number
        let bracket = trimmed.split_once(')').filter(|(code, rest)| {
            code.len() <= 6 && text.contains('(') && rest.chars().any(|c| c.is_ascii_digit())
        });
        match next.or(bracket.map(|(_, rest)| rest)) {
            Some(rest) => text = rest,
            None => return trimmed,
        }
    }
}

fn token(text: &str) -> Option<&str> {
    let end = text
        .char_indices()
        .find(|(_, c)| !(c.is_alphanumeric() || matches!(c, '-' | '/' | '.' | '_' | '\\' | '+' | '–')))
        .map_or(text.len(), |(at, _)| at);
    let token = text.get(..end)?.trim_end_matches(['.', '-', '/', '_', '–', '+']);
    (!token.is_empty()).then_some(token)
}

/// No date, amount, e-mail address or IBAN.
fn accept(token: &str, text: &str) -> Option<String> {
    let fits = token.chars().count() <= LENGTH_MAX;
    let is_date = date::scan(text).first().is_some_and(|d| d.start == 0 && d.end >= token.len());
    let after = text.get(token.len()..).unwrap_or_default();
    let is_rate = after.trim_start().starts_with('%');
    let is_address = after.starts_with('@');
    let is_money = amount::scan(text).first().is_some_and(|a| {
        a.start == 0
            && a.end >= token.len()
            && (a.mark.is_some() && token.starts_with(|c: char| c.is_ascii_digit())
                || token.contains([',', '.']) && a.has_cents())
    });
    (fits && !is_date && !is_money && !is_rate && !is_address).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identifiers() {
        for (text, value) in [
            (": RE2026-00871", Some("RE2026-00871")),
            (" F 1234K20/1234/12", Some("F 1234K20/1234/12")),
            (" 184/A", Some("184/A")),
            ("# INV-2026-0315.", Some("INV-2026-0315")),
            (" 562044387 du 02 Juillet 2015", Some("562044387")),
            (" FV/2026/03/018", Some("FV/2026/03/018")),
            (" 19.01.2026", None),
            (" 12,50 EUR", None),
            (" Total", None),
            ("", None),
        ] {
            assert_eq!(leading(text).as_deref(), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_looks_like_a_number_of_ours_is_read_whole(prefix in "[A-Z]{1,3}", year in 2000u32..2030, n in 1u32..99999) {
            for text in [format!("{prefix}-{year}-{n}"), format!("{prefix}{n}"), format!("{prefix}/{year}/{n}")] {
                prop_assert_eq!(leading(&format!(": {text} x")), Some(text));
            }
        }

        #[test]
        fn never_fails(text in "\\PC{0,40}") {
            if let Some(id) = leading(&text) {
                prop_assert!(id.chars().any(|c| c.is_ascii_digit()));
            }
        }
    }
}
