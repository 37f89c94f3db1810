//! Text from outside, made safe to log, show and send back.

/// At most `max` bytes, without control characters and without marks that reverse the direction of text.
pub fn clean(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for c in text.chars().filter(|c| !is_unsafe(*c)) {
        if clean.len() + c.len_utf8() > max {
            break;
        }
        clean.push(c);
    }
    clean
}

pub fn is_clean(text: &str) -> bool {
    !text.chars().any(is_unsafe)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_and_logs_see_no_tricks() {
        assert_eq!(clean("a\u{1b}[31mb\r\nc\u{202e}d\0", 100), "a[31mbcd");
        assert_eq!(clean("äöü", 3), "ä");
    }
}
