//! What happened, as lines: a hash of all of them, and the last ones for people.

use std::{collections::VecDeque, fmt};

/// Lines kept for a report.
const KEPT: usize = 400;

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
    /// Every line, if asked for.
    pub all: Option<Vec<String>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, tail: VecDeque::new(), all: None }
    }
}

impl Trace {
    pub fn line(&mut self, at: u64, text: fmt::Arguments<'_>) {
        let line = format!("{:>9}.{:03} {text}", at / 1000, at % 1000);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.lines += 1;
        if let Some(all) = &mut self.all {
            all.push(line.clone());
        }
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub fn tail(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.tail.iter().map(String::as_str)
    }
}
