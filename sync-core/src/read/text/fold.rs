//! Words compared without case, accents and inner punctuation.
//!
//! A label such as `Rechnungs-Nr.:` and its spelling in a table, `rechnungsnr`, must meet, in every
//! language, so both sides pass through the same folding.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A word with its place in the text that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub key: String,
    pub start: usize,
    pub end: usize,
}

/// Lower case, no accents; letters that Unicode does not decompose get their usual plain spelling.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        match c {
            'ł' | 'Ł' => out.push('l'),
            'ø' | 'Ø' => out.push('o'),
            'đ' | 'Đ' | 'ð' | 'Ð' => out.push('d'),
            'ß' => out.push_str("ss"),
            'æ' | 'Æ' => out.push_str("ae"),
            'œ' | 'Œ' => out.push_str("oe"),
            'þ' | 'Þ' => out.push_str("th"),
            'ı' => out.push('i'),
            'ς' => out.push('σ'),
            c if c.is_ascii() => out.push(c.to_ascii_lowercase()),
            c => out.extend(
                c.to_lowercase().filter(|c| !is_combining_mark(*c)).map(|c| if c == 'ς' { 'σ' } else { c }),
            ),
        }
    }
    out
}

/// Splits into folded words. Inner points, hyphens and apostrophes vanish (`S.r.l.` is `srl`); `#` is a
/// word of its own, so is `n°` spelled `no`.
#[must_use]
pub fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let mut start: Option<usize> = None;
    let mut chars = text.char_indices().peekable();
    let close = |out: &mut Vec<Word>, start: &mut Option<usize>, end: usize| {
        if let Some(from) = start.take() {
            let raw = text.get(from..end).unwrap_or_default();
            let key: String = fold(raw).chars().filter(|c| c.is_alphanumeric()).collect();
            if !key.is_empty() {
                out.push(Word { key, start: from, end });
            }
        }
    };
    while let Some((at, c)) = chars.next() {
        let next_joins = chars.peek().is_some_and(|(_, n)| n.is_alphanumeric());
        if c.is_alphanumeric() || is_combining_mark(c) || matches!(c, 'º' | 'ª' | '№') {
            start.get_or_insert(at);
        } else if start.is_some()
            && matches!(c, '.' | '-' | '\'' | '’' | '_' | '\u{ad}' | '‐' | '‑')
            && next_joins
        {
            // stays inside the word
        } else if start.is_some() && c == '°' {
            // `n°` is written with the degree sign as often as with the ordinal one
            let from = start.take().unwrap_or(at);
            let mut key = fold(text.get(from..at).unwrap_or_default());
            key.push('o');
            out.push(Word { key, start: from, end: at + c.len_utf8() });
        } else {
            close(&mut out, &mut start, at);
            if c == '#' {
                out.push(Word { key: "#".into(), start: at, end: at + 1 });
            }
        }
    }
    close(&mut out, &mut start, text.len());
    out
}

/// The folded words as one string, for comparisons of names.
#[must_use]
pub fn key(text: &str) -> String {
    words(text).into_iter().map(|w| w.key).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_meet_whatever_their_spelling() {
        assert_eq!(key("Rechnungs-Nr.:"), "rechnungsnr");
        assert_eq!(key("FACTURE N° "), "facture no");
        assert_eq!(key("Factura nº 12"), "factura no 12");
        assert_eq!(key("Należność ogółem:"), "naleznosc ogolem");
        assert_eq!(key("Größe"), "grosse");
        assert_eq!(key("Τιμολόγιο"), key("ΤΙΜΟΛΟΓΙΟ"));
        assert_eq!(key("Invoice#"), "invoice #");
        assert_eq!(key("S.r.l."), "srl");
    }

    proptest! {
        #[test]
        fn words_point_into_their_text(text in "\\PC{0,80}") {
            for word in words(&text) {
                prop_assert!(text.get(word.start..word.end).is_some());
                prop_assert!(!word.key.is_empty());
            }
        }
    }
}
