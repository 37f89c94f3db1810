//! Foreign text made safe: bounded, and without characters that could drive a terminal or a log.

/// `text` without control and direction-override characters, at most `max` characters long.
pub fn clean(text: &str, max: usize) -> String {
    let safe = text.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|c| !is_override(*c));
    safe.take(max).collect::<String>().trim().to_owned()
}

/// Characters that reorder or hide the text around them.
fn is_override(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// For comparing names: lower case, letters and digits only.
pub fn fold(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// None unless `text` is pairs of hex digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_override_characters_are_removed() {
        assert_eq!(clean("a\u{1b}[31m\r\nb\u{202e}c", 100), "a [31m  bc");
        assert_eq!(clean(&"é".repeat(50), 10), "é".repeat(10));
        assert_eq!(fold("ACME GmbH & Co. KG"), "acmegmbhcokg");
    }
}
