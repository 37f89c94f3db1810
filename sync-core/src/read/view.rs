//! A sheet with everything marked in it: labels, amounts, dates. What the fields are read from.

use chrono::NaiveDate;

use super::labels::{self, Label};
use super::sheet::{Cell, Sheet};
use super::text::amount::{self, Amount, Style};
use super::text::date::{self, Found};
use super::text::fold::{self, Word};
use super::words::Role;

pub struct View {
    pub lines: Vec<Row>,
    pub style: Style,
    pub usual_size: f32,
}

pub struct Row {
    pub cells: Vec<Marked>,
    pub size: f32,
    pub page: u32,
    pub gap: bool,
}

pub struct Marked {
    pub cell: Cell,
    pub words: Vec<Word>,
    pub labels: Vec<Label>,
    pub amounts: Vec<Amount>,
    pub dates: Vec<Found>,
}

/// A piece of a cell where a label's value may stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    pub line: usize,
    pub cell: usize,
    pub from: usize,
    pub to: usize,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Inline,
    Right,
    Below,
}

const LINES_MAX: usize = 3000;

impl View {
    #[must_use]
    pub fn new(sheet: &Sheet) -> Self {
        let lines: Vec<Row> = sheet
            .lines
            .iter()
            .take(LINES_MAX)
            .map(|line| Row {
                cells: line.cells.iter().map(mark).collect(),
                size: line.size,
                page: line.page,
                gap: line.gap,
            })
            .collect();
        let style = amount::style_of(lines.iter().flat_map(|l| &l.cells).flat_map(|c| &c.amounts));
        Self { lines, style, usual_size: sheet.usual_size() }
    }

    #[must_use]
    pub fn cell(&self, line: usize, cell: usize) -> Option<&Marked> {
        self.lines.get(line)?.cells.get(cell)
    }

    /// Every cell with its place.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize, &Marked)> {
        self.lines
            .iter()
            .enumerate()
            .flat_map(|(l, row)| row.cells.iter().enumerate().map(move |(c, m)| (l, c, m)))
    }

    /// Every label that has one of the roles.
    pub fn labels<'a>(&'a self, roles: &'a [Role]) -> impl Iterator<Item = (usize, usize, &'a Label)> {
        self.cells()
            .flat_map(move |(l, c, m)| m.labels.iter().filter(|x| x.any(roles)).map(move |x| (l, c, x)))
    }

    #[must_use]
    pub fn line_text(&self, line: usize) -> String {
        let cells = self.lines.get(line).map(|l| l.cells.as_slice()).unwrap_or_default();
        cells.iter().map(|c| c.cell.text.as_str()).collect::<Vec<_>>().join("  ")
    }

    /// Where the value of a label may stand: after it, to its right, below it.
    #[must_use]
    pub fn spots(&self, line: usize, cell: usize, label: &Label) -> Vec<Spot> {
        let mut out = Vec::new();
        let Some(own) = self.cell(line, cell) else { return out };
        let stop = own
            .labels
            .iter()
            .filter(|l| l.start >= label.end && starts_value_label(own, l))
            .map(|l| l.start)
            .min();
        let to = stop.unwrap_or(own.cell.text.len());
        let rest = own.cell.text.get(label.end..to).unwrap_or_default();
        if rest.chars().any(char::is_alphanumeric) {
            out.push(Spot { line, cell, from: label.end, to, how: How::Inline });
        }
        if stop.is_none() {
            self.right_of(line, cell, &mut out);
        }
        self.below(line, cell, &mut out);
        out
    }

    fn right_of(&self, line: usize, cell: usize, out: &mut Vec<Spot>) {
        let mut at = cell + 1;
        // a colon or a sign alone is no value
        while let Some(next) = self.cell(line, at) {
            if next.cell.text.chars().any(char::is_alphanumeric) {
                out.push(Spot { line, cell: at, from: 0, to: next.cell.text.len(), how: How::Right });
                return;
            }
            at += 1;
        }
    }

    fn below(&self, line: usize, cell: usize, out: &mut Vec<Spot>) {
        let Some(own) = self.cell(line, cell) else { return };
        let page = self.lines.get(line).map(|l| l.page);
        let last = self.lines.get(line).is_some_and(|l| l.cells.len() == cell + 1);
        for next in line + 1..=line + 3 {
            let Some(row) = self.lines.get(next).filter(|r| Some(r.page) == page) else { return };
            let best = row
                .cells
                .iter()
                .enumerate()
                .map(|(i, c)| (i, c, c.cell.overlap(&own.cell)))
                .filter(|(_, _, overlap)| *overlap > 0.3)
                .max_by(|a, b| a.2.total_cmp(&b.2));
            // a value set to the right margin under a label on the left of the same column
            let flush = || {
                let mut right =
                    row.cells.iter().enumerate().filter(|(_, c)| c.cell.left >= own.cell.left - 3.0);
                right
                    .next()
                    .filter(|_| right.next().is_none() && next == line + 1 && last)
                    .map(|(i, c)| (i, c, 0.0))
            };
            if let Some((index, found, _)) = best.or_else(flush) {
                out.push(Spot {
                    line: next,
                    cell: index,
                    from: 0,
                    to: found.cell.text.len(),
                    how: How::Below,
                });
                return;
            }
        }
    }

    #[must_use]
    pub fn spot_text(&self, spot: &Spot) -> &str {
        self.cell(spot.line, spot.cell).and_then(|m| m.cell.text.get(spot.from..spot.to)).unwrap_or_default()
    }

    /// The first date in a spot, with where it ends.
    #[must_use]
    pub fn date_in(&self, spot: &Spot) -> Option<&Found> {
        let cell = self.cell(spot.line, spot.cell)?;
        cell.dates.iter().find(|d| d.start >= spot.from && d.end <= spot.to)
    }

    /// All dates of the sheet.
    pub fn dates(&self) -> impl Iterator<Item = (usize, usize, &Found)> {
        self.cells().flat_map(|(l, c, m)| m.dates.iter().map(move |d| (l, c, d)))
    }

    /// Dates that have one reading.
    pub fn certain_dates(&self) -> impl Iterator<Item = NaiveDate> {
        self.dates().filter_map(|(_, _, d)| d.value(date::Order::Unknown))
    }
}

/// Whether a later label in the same cell begins a value of its own (`Date: … Due: …`) and is not just a
/// word of the value (`Total EUR`, `Paris, 3 March, due …`).
fn starts_value_label(cell: &Marked, label: &Label) -> bool {
    let after = cell.cell.text.get(label.end..).unwrap_or_default().trim_start();
    let separated = after.starts_with([':', '#']) || label.words > 1;
    separated && !label.any(&[Role::PlainDate])
}

fn mark(cell: &Cell) -> Marked {
    let words = fold::words(&cell.text);
    let labels = labels::find(&words);
    let dates = date::scan(&cell.text);
    let amounts = amount::scan(&cell.text)
        .into_iter()
        .filter(|a| !dates.iter().any(|d| a.start < d.end && d.start < a.end))
        .collect();
    Marked { cell: cell.clone(), words, labels, amounts, dates }
}
