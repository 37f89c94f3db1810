//! HTML to a sheet, as it would be seen: rows of tables become lines of cells.
//!
//! A small tolerant scanner of tags, not a browser: no CSS except `display:none`, no scripts. It keeps a flat
//! list of open tables, so that no nesting can exhaust the stack.

mod token;

pub use token::{Attribute, Token, Tokens, decode_entities};

use super::sheet::{Cell, Line, Sheet};

const TABLES_DEEP_MAX: usize = 12;
const LINES_MAX: usize = 4000;

#[derive(Default)]
struct Frame {
    lines: Vec<Line>,
    text: String,
    /// Of the table that this frame is a cell of: the finished cells of the row.
    row: Vec<Vec<Line>>,
    in_cell: bool,
}

#[must_use]
pub fn sheet(html: &str) -> Sheet {
    let mut frames = vec![Frame::default()];
    let mut hidden: Option<(String, usize)> = None;
    for token in Tokens::new(html) {
        if let Some((tag, depth)) = &mut hidden {
            match &token {
                Token::Open { name, empty: false, .. } if name == tag => *depth += 1,
                Token::Close { name } if name == tag => *depth -= 1,
                _ => {}
            }
            if *depth == 0 {
                hidden = None;
            }
            continue;
        }
        match token {
            Token::Open { name, attributes, empty } => {
                let invisible =
                    matches!(name.as_str(), "script" | "style" | "head" | "title" | "template" | "noscript")
                        || is_hidden(&attributes);
                let void = matches!(
                    name.as_str(),
                    "img"
                        | "br"
                        | "meta"
                        | "link"
                        | "input"
                        | "hr"
                        | "col"
                        | "source"
                        | "area"
                        | "base"
                        | "wbr"
                );
                if invisible && !empty && !void {
                    hidden = Some((name, 1));
                } else {
                    open(&mut frames, &name);
                }
            }
            Token::Close { name } => close(&mut frames, &name),
            Token::Text(text) => {
                if let Some(frame) = frames.last_mut() {
                    push_text(&mut frame.text, &decode_entities(text));
                }
            }
            Token::Raw { .. } => {}
        }
    }
    while frames.len() > 1 {
        end_table(&mut frames);
    }
    let mut last = frames.pop().unwrap_or_default();
    end_line(&mut last);
    last.lines.truncate(LINES_MAX);
    Sheet { lines: last.lines }
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.name == "hidden"
            || a.name == "style" && {
                let style: String =
                    a.value.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
                style.contains("display:none") || style.contains("mso-hide:all")
            }
    })
}

fn push_text(out: &mut String, text: &str) {
    for c in text.chars() {
        let blank = matches!(c, ' ' | '\n' | '\r' | '\t');
        if blank {
            if !out.is_empty() && !out.ends_with([' ', '\n']) {
                out.push(' ');
            }
        } else if !c.is_control()
            && !matches!(c, '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{feff}' | '\u{ad}' | '\u{34f}')
        {
            out.push(c);
        }
    }
}

fn open(frames: &mut Vec<Frame>, name: &str) {
    match name {
        "table" if frames.len() < TABLES_DEEP_MAX => {
            if let Some(frame) = frames.last_mut() {
                end_line(frame);
            }
            frames.push(Frame::default());
        }
        "tr" | "table" => {
            if frames.len() > 1 {
                end_row(frames);
            } else if let Some(frame) = frames.last_mut() {
                end_line(frame);
            }
        }
        "td" | "th" if frames.len() > 1 => {
            end_cell(frames);
            if let Some(frame) = frames.last_mut() {
                frame.in_cell = true;
            }
        }
        name if is_block(name) => {
            if let Some(frame) = frames.last_mut() {
                end_line(frame);
            }
        }
        _ => {}
    }
}

fn close(frames: &mut Vec<Frame>, name: &str) {
    match name {
        "table" if frames.len() > 1 => end_table(frames),
        "tr" if frames.len() > 1 => end_row(frames),
        "td" | "th" if frames.len() > 1 => end_cell(frames),
        name if is_block(name) => {
            if let Some(frame) = frames.last_mut() {
                end_line(frame);
            }
        }
        _ => {}
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "br"
            | "li"
            | "ul"
            | "ol"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "hr"
            | "section"
            | "article"
            | "header"
            | "footer"
            | "address"
            | "blockquote"
            | "pre"
            | "dt"
            | "dl"
            | "tr"
            | "table"
            | "tbody"
            | "thead"
            | "center"
            | "body"
            | "form"
    )
}

fn end_line(frame: &mut Frame) {
    let text = std::mem::take(&mut frame.text);
    let text = text.trim();
    if !text.is_empty() && frame.lines.len() < LINES_MAX {
        frame.lines.extend(super::plain::sheet(text).lines);
    }
}

fn end_cell(frames: &mut [Frame]) {
    if let Some(frame) = frames.last_mut() {
        end_line(frame);
        if frame.in_cell {
            let lines = std::mem::take(&mut frame.lines);
            frame.row.push(lines);
            frame.in_cell = false;
        }
    }
}

/// The cells of a row side by side: the first lines of all beside each other, then the second ones.
fn end_row(frames: &mut [Frame]) {
    end_cell(frames);
    let Some(frame) = frames.last_mut() else { return };
    let row = std::mem::take(&mut frame.row);
    let height = row.iter().map(Vec::len).max().unwrap_or(0);
    let mut lines: Vec<Line> = Vec::new();
    for n in 0..height {
        let mut line = Line { page: 1, ..Line::default() };
        for (column, cell) in row.iter().enumerate() {
            let Some(part) = cell.get(n) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "columns of a table are few")]
            let left = column as f32 * 100.0;
            let count = part.cells.len().max(1);
            for (k, piece) in part.cells.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "cells of a line are few")]
                let (from, to) =
                    (left + 95.0 * k as f32 / count as f32, left + 95.0 * (k + 1) as f32 / count as f32);
                line.cells.push(Cell::new(piece.text.clone(), from, to));
            }
        }
        if !line.cells.is_empty() {
            lines.push(line);
        }
    }
    // rows of this table wait in the frame below until the table ends
    let below = frames.len().checked_sub(2).and_then(|i| frames.get_mut(i));
    if let Some(below) = below
        && below.lines.len() + lines.len() < LINES_MAX
    {
        below.lines.extend(lines);
    }
}

fn end_table(frames: &mut Vec<Frame>) {
    end_row(frames);
    if let Some(mut frame) = frames.pop() {
        end_line(&mut frame);
        if let Some(below) = frames.last_mut() {
            below.lines.extend(frame.lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(html: &str) -> Vec<Vec<String>> {
        sheet(html).lines.into_iter().map(|l| l.cells.into_iter().map(|c| c.text).collect()).collect()
    }

    #[test]
    fn rows_are_lines() {
        let html = "<style>p{}</style><h3>Factuur&nbsp;88</h3><table><tr><td>Totaal</td><td>&euro; 12,50</td></tr><tr><th>BTW<th>2,63</table><p>Dank<br>u";
        assert_eq!(
            rows(html),
            [
                vec!["Factuur\u{a0}88"],
                vec!["Totaal", "€ 12,50"],
                vec!["BTW", "2,63"],
                vec!["Dank"],
                vec!["u"]
            ]
        );
    }

    #[test]
    fn nested_tables_stand_side_by_side() {
        let html = "<table><tr><td><table><tr><td>a</td><td>1</td></tr></table></td><td><div>x</div><div>y</div></td></tr></table>";
        assert_eq!(rows(html), [vec!["a", "1", "x"], vec!["y"]]);
    }

    #[test]
    fn hidden_text_is_left_out() {
        assert_eq!(rows("<div style='display: none'>no<div>no</div></div><p>yes</p>"), [vec!["yes"]]);
    }

    #[test]
    fn depth_is_no_matter() {
        assert!(sheet(&"<table><tr><td>".repeat(50_000)).lines.is_empty());
        assert!(sheet(&"<div>".repeat(100_000)).lines.is_empty());
    }

    proptest! {
        #[test]
        fn never_fails(html in "(<[a-z/]{0,6}[ =\"a-z>]{0,5}|[a-z&;#0-9 ]{0,5}|</?(table|td|tr)>){0,30}") {
            let _ = sheet(&html);
        }
    }
}
