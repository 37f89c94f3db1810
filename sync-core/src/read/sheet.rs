//! A document's text as lines of cells: the one form that PDF, HTML and plain text are brought into.
//!
//! A cell is text that belongs together; cells of a line stand side by side. `x` grows to the right in
//! units of the source (points, characters, columns): good for comparing cells of one sheet only.

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub cells: Vec<Cell>,
    /// Height of its tallest text; 0 where the source does not say.
    pub size: f32,
    pub page: u32,
    /// Blank space above: a new block begins.
    pub gap: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    pub left: f32,
    pub right: f32,
}

impl Cell {
    #[must_use]
    pub fn new(text: impl Into<String>, left: f32, right: f32) -> Self {
        Self { text: text.into(), left, right }
    }

    /// How much of the narrower cell lies above or below the other, 0 to 1.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f32 {
        let common = self.right.min(other.right) - self.left.max(other.left);
        let narrow = (self.right - self.left).min(other.right - other.left).max(0.1);
        (common / narrow).clamp(0.0, 1.0)
    }
}

impl Line {
    #[must_use]
    pub fn text(&self) -> String {
        self.cells.iter().map(|c| c.text.as_str()).collect::<Vec<_>>().join("  ")
    }
}

impl Sheet {
    /// Visible characters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines
            .iter()
            .flat_map(|l| &l.cells)
            .map(|c| c.text.chars().filter(|c| c.is_alphanumeric()).count())
            .sum()
    }

    #[must_use]
    pub fn text(&self) -> String {
        self.lines.iter().map(Line::text).collect::<Vec<_>>().join("\n")
    }

    /// The size of most of the text.
    #[must_use]
    pub fn usual_size(&self) -> f32 {
        let mut sizes: Vec<f32> = self.lines.iter().map(|l| l.size).collect();
        sizes.sort_by(f32::total_cmp);
        sizes.get(sizes.len() / 2).copied().unwrap_or_default()
    }
}
