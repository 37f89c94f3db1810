//! Text from outside made fit to be shown and stored: no control characters, no reversal of direction, a
//! bounded length.

use crate::document::Fields;

const LENGTH_MAX: usize = 300;

#[must_use]
pub fn line(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let blank = c.is_whitespace();
        if blank {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else if !is_hidden(c) {
            out.push(c);
        }
        if out.chars().count() >= LENGTH_MAX {
            break;
        }
    }
    out.trim_end().to_owned()
}

/// A file's name without folders.
#[must_use]
pub fn file_name(text: &str) -> String {
    let name = line(text);
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    last.trim_matches('.').trim().to_owned()
}

/// What was read in a document, for people and programs: each text one line of [`line`]'s kind.
pub fn fields(fields: &mut Fields) {
    for field in super::fields::all(fields) {
        for text in [&mut field.value, &mut field.other_value] {
            *text = text.take().map(|text| line(&text)).filter(|text| !text.is_empty());
        }
        for text in [&mut field.place, &mut field.reason] {
            *text = line(text);
        }
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{ad}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tricks_vanish() {
        assert_eq!(line("a\u{202e}fdp.exe\0\r\nX"), "afdp.exe X");
        assert_eq!(file_name("../../../etc/passwd"), "passwd");
        assert_eq!(file_name("C:\\x\\Rechnung.pdf"), "Rechnung.pdf");
        assert_eq!(file_name(".."), "");
        assert!(line(&"x".repeat(5000)).chars().count() <= 300);
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in "\\PC{0,40}[\\x00-\\x1f\\u{202e}]{0,5}\\PC{0,400}") {
            let cleaned = line(&text);
            prop_assert!(!cleaned.chars().any(is_hidden));
            prop_assert!(cleaned.chars().count() <= 300);
        }
    }
}
