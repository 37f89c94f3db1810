//! One document as one line of CSV (RFC 4180), for spreadsheets.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, and the text comes from strangers'
//! mail. Such a cell gets an apostrophe in front, unless it is a plain number. All cells are quoted. The text begins
//! with a byte order mark, since some spreadsheets take it for another encoding otherwise.

use docket::library::v1 as pb;

use super::{json::fields, short, time};

const MARK: &str = "\u{feff}";
const COLUMNS: [&str; 25] = [
    "document_id",
    "owner",
    "mailbox_id",
    "kind",
    "state",
    "supplier",
    "vat_id",
    "buyer",
    "number",
    "issue_date",
    "due_date",
    "currency",
    "net",
    "tax",
    "total",
    "payable",
    "received_time",
    "from",
    "subject",
    "file_name",
    "media_type",
    "size",
    "sha256",
    "flags",
    "create_time",
];

pub fn head() -> String {
    let mut head = MARK.to_owned();
    write(COLUMNS.iter().map(|name| (*name).to_owned()), &mut head);
    head
}

pub fn line(document: &pb::Document, out: &mut String) {
    let message = document.message.clone().unwrap_or_default();
    let value = |field: Option<&pb::Field>| field.and_then(|field| field.value.clone()).unwrap_or_default();
    let before = [
        document.document_id.clone(),
        document.owner.clone(),
        document.mailbox_id.clone(),
        short(document.kind().as_str_name(), "DOCUMENT_KIND_"),
        short(document.state().as_str_name(), "DOCUMENT_STATE_"),
    ];
    let after = [
        time(message.received_time.as_ref()),
        message.from,
        message.subject,
        message.file_name,
        document.media_type.clone(),
        document.size.to_string(),
        document.sha256.clone(),
        document.flags.join("; "),
        time(document.create_time.as_ref()),
    ];
    let fields = fields(document).map(|(_, field)| value(field));
    write(before.into_iter().chain(fields).chain(after), out);
}

fn write(cells: impl Iterator<Item = String>, out: &mut String) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push('"');
        if is_formula(&cell) {
            out.push('\'');
        }
        out.push_str(&cell.replace('"', "\"\""));
        out.push('"');
    }
    out.push_str("\r\n");
}

/// Also in full width, and behind spaces, which some programs cut off.
fn is_formula(cell: &str) -> bool {
    let text = cell.trim_start();
    let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠', '|', '%']);
    begins && !is_number(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_disarmed_and_numbers_are_not() {
        let written = |cell: &str| {
            let mut out = String::new();
            write([cell.to_owned()].into_iter(), &mut out);
            out.trim_end().to_owned()
        };
        for formula in ["=1+1", "+1", "-1+2", "@SUM(A1)", " =x", "－1", "-", "-1.2.3", "%0A=1", "|x"] {
            assert_eq!(written(formula), format!("\"'{formula}\""));
        }
        for plain in ["-12.50", "12", "a=b", "", "2026-05-03", "x@y.example"] {
            assert_eq!(written(plain), format!("\"{plain}\""));
        }
        assert_eq!(written("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }

    #[test]
    fn each_line_has_all_columns() {
        let mut out = head();
        line(&pb::Document::default(), &mut out);
        let lines: Vec<_> = out.lines().map(|line| line.split("\",\"").count()).collect();
        assert_eq!(lines, [COLUMNS.len(), COLUMNS.len()]);
    }
}
