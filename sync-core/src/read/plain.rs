//! Plain text to a sheet: columns are runs of blanks, tabs, bars or dotted leaders.

use super::sheet::{Cell, Line, Sheet};

const LINES_MAX: usize = 5000;
const LINE_CHARS_MAX: usize = 2000;

#[must_use]
pub fn sheet(text: &str) -> Sheet {
    let mut sheet = Sheet::default();
    let mut gap = false;
    for raw in text.lines().take(LINES_MAX) {
        let cells = cells(raw);
        if cells.is_empty() {
            gap = true;
            continue;
        }
        sheet.lines.push(Line { cells, size: 0.0, page: 1, gap });
        gap = false;
    }
    sheet
}

fn cells(raw: &str) -> Vec<Cell> {
    let chars: Vec<char> =
        raw.chars().filter(|c| !c.is_control() || *c == '\t').take(LINE_CHARS_MAX).collect();
    let mut out = Vec::new();
    let mut text = String::new();
    let mut left = 0;
    let mut i = 0;
    while let Some(c) = chars.get(i) {
        let run = separator(chars.get(i..).unwrap_or_default());
        if run > 0 {
            flush(&mut out, &mut text, left, i);
            i += run;
            left = i;
            continue;
        }
        if text.is_empty() {
            left = i;
        }
        if !(text.is_empty() && c.is_whitespace()) {
            text.push(if c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{202f}' | '\u{2009}') {
                ' '
            } else {
                *c
            });
        }
        i += 1;
    }
    flush(&mut out, &mut text, left, i);
    out
}

fn flush(out: &mut Vec<Cell>, text: &mut String, left: usize, right: usize) {
    let done = std::mem::take(text);
    let done = done.trim().trim_matches(['*', '_', '=']).trim();
    let is_rule =
        done.chars().all(|c| matches!(c, '-' | '=' | '_' | '*' | '.' | '+' | '~' | '—' | '|' | '─'));
    if !is_rule {
        #[expect(clippy::cast_precision_loss, reason = "columns of a line are few")]
        out.push(Cell::new(done, left as f32, right as f32));
    }
}

/// The length of a column separator that starts here, or 0.
fn separator(chars: &[char]) -> usize {
    let run = |test: fn(char) -> bool| chars.iter().take_while(|c| test(**c)).count();
    let blanks = run(|c| c == ' ' || c == '\t');
    if blanks >= 2 || chars.first() == Some(&'\t') {
        return blanks;
    }
    let dots = run(|c| c == '.' || c == '…' || c == '·');
    if dots >= 3 {
        return dots;
    }
    let rules = run(|c| matches!(c, '-' | '_' | '=' | '*'));
    if rules >= 4 {
        return rules;
    }
    usize::from(matches!(chars.first(), Some('|' | '│' | '¦')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        sheet(line)
            .lines
            .first()
            .map(|l| l.cells.iter().map(|c| c.text.clone()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn columns() {
        assert_eq!(texts("Logo revision, 6 hours ......... 390.00"), ["Logo revision, 6 hours", "390.00"]);
        assert_eq!(texts("| Total | 12,00 |"), ["Total", "12,00"]);
        assert_eq!(texts("Total\t\t12,00 EUR"), ["Total", "12,00 EUR"]);
        assert_eq!(texts("a   b"), ["a", "b"]);
        assert!(sheet("-----\n=====\n").lines.is_empty());
    }
}
