//! Glyphs with their places, sorted into lines and cells.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

use crate::read::sheet::{Cell, Line, Sheet};

/// One document cannot take more: the first pages hold an invoice's fields.
const GLYPHS_MAX: usize = 150_000;
const PAGES_MAX: u32 = 40;

/// Glyphs that were drawn one after the other without a gap: overprinted text stays apart.
#[derive(Clone, Debug)]
struct Run {
    page: u32,
    left: f32,
    right: f32,
    y: f32,
    size: f32,
    text: String,
    blank_before: bool,
}

#[derive(Default)]
pub struct Collector {
    page: u32,
    glyphs: usize,
    runs: Vec<Run>,
    blank: bool,
}

impl OutputDev for Collector {
    fn begin_page(
        &mut self,
        page: u32,
        _: &MediaBox,
        _: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        self.page = page;
        if page > PAGES_MAX { Err(too_long()) } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "places on a page need no more than f32")]
    fn output_character(
        &mut self,
        transform: &Transform,
        width: f64,
        _spacing: f64,
        font_size: f64,
        text: &str,
    ) -> Result<(), OutputError> {
        self.glyphs += 1;
        if self.glyphs > GLYPHS_MAX {
            return Err(too_long());
        }
        let rotated = transform.m12.abs() > 0.05 * transform.m11.abs().max(0.001);
        let scale_x = transform.m11 * font_size;
        let size = (transform.m22 * font_size).abs();
        let finite = transform.m31.is_finite() && transform.m32.is_finite() && size.is_finite();
        if rotated || !finite || text.is_empty() || size < 0.5 {
            return Ok(());
        }
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let width = (width * scale_x).abs() as f32;
        self.add(&text, transform.m31 as f32, transform.m32 as f32, width, size as f32);
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

fn too_long() -> OutputError {
    OutputError::IoError(std::io::Error::other("more text than an invoice has"))
}

impl Collector {
    fn add(&mut self, text: &str, x: f32, y: f32, width: f32, size: f32) {
        if text.trim().is_empty() {
            self.blank = true;
            return;
        }
        let blank_before = std::mem::take(&mut self.blank);
        if let Some(run) = self.runs.last_mut() {
            let gap = x - run.right;
            let same_line = run.page == self.page
                && (run.y - y).abs() < 0.1 * size
                && (run.size - size).abs() < 0.1 * size;
            if same_line && gap.abs() < 0.16 * size && !blank_before {
                run.text.push_str(text);
                run.right = x + width;
                return;
            }
        }
        let text = text.to_owned();
        self.runs.push(Run { page: self.page, left: x, right: x + width, y, size, text, blank_before });
    }

    #[must_use]
    pub fn into_sheet(self) -> Sheet {
        let mut rows: Vec<Vec<Run>> = Vec::new();
        let mut runs = self.runs;
        runs.sort_by(|a, b| a.page.cmp(&b.page).then(b.y.total_cmp(&a.y)).then(a.left.total_cmp(&b.left)));
        for run in runs {
            let fits = rows.last().and_then(|row| row.first()).is_some_and(|first| {
                first.page == run.page && (first.y - run.y).abs() < 0.4 * first.size.min(run.size).max(2.0)
            });
            match rows.last_mut() {
                Some(row) if fits => row.push(run),
                _ => rows.push(vec![run]),
            }
        }
        let mut lines: Vec<(f32, Line)> = rows.into_iter().filter_map(line).collect();
        let mut previous: Option<(u32, f32, f32)> = None;
        for (y, line) in &mut lines {
            let wide = previous.is_some_and(|(page, above, size)| {
                page == line.page && above - *y > 1.9 * size.max(line.size)
            });
            line.gap = wide || previous.is_none_or(|(page, ..)| page != line.page);
            previous = Some((line.page, *y, line.size));
        }
        Sheet { lines: lines.into_iter().map(|(_, line)| line).collect() }
    }
}

/// One row of runs: words where the gap is small, cells where it is wide or where runs overlap.
fn line(mut row: Vec<Run>) -> Option<(f32, Line)> {
    row.sort_by(|a, b| a.left.total_cmp(&b.left));
    // bold text is often drawn twice, a hair apart
    row.dedup_by(|b, a| a.text == b.text && (a.left - b.left).abs() < 0.12 * a.size);
    let mut cells: Vec<Cell> = Vec::new();
    for run in &row {
        match cells.last_mut() {
            Some(cell) if joins(run.left - cell.right, run) => {
                if run.left - cell.right > 0.14 * run.size || run.blank_before {
                    cell.text.push(' ');
                }
                cell.text.push_str(&run.text);
                cell.right = cell.right.max(run.right);
            }
            _ => cells.push(Cell::new(run.text.clone(), run.left, run.right)),
        }
    }
    cells.iter_mut().for_each(|cell| cell.text = unspaced(&cell.text));
    let size = row.iter().map(|r| r.size).fold(0.0, f32::max);
    let first = row.first()?;
    Some((first.y, Line { cells, size, page: first.page, gap: false }))
}

fn joins(gap: f32, run: &Run) -> bool {
    gap < 1.1 * run.size && gap > -0.3 * run.size
}

/// `W A R E N R E C H N U N G`: a word set with wide spacing.
fn unspaced(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let single = words.iter().all(|w| w.chars().count() == 1 && w.chars().all(char::is_alphabetic));
    if single && words.len() > 4 { words.concat() } else { text.to_owned() }
}
