//! Scripts: blocks of commands, each with what came out of it.
//!
//! ```text
//! # comment
//! command
//! command
//! ---
//! output
//! output
//!                ◄ an empty line ends the output
//! command …
//! ```

use std::{collections::VecDeque, fmt, str::FromStr};

#[derive(Debug)]
pub struct Script {
    pub blocks: Vec<Block>,
    /// Comments after the last block.
    tail: String,
}

#[derive(Debug, Default)]
pub struct Block {
    /// Commands and comments, as they were written.
    head: String,
    pub commands: Vec<Line>,
    pub output: Vec<String>,
}

/// One command: words, of which some are `name=value`.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number in the file.
    pub number: usize,
    pub text: String,
    words: VecDeque<String>,
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut blocks = Vec::new();
        let mut block = Block::default();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if line == "---" {
                let output = lines.by_ref().map(|(_, line)| line).take_while(|line| !line.is_empty());
                block.output = output.map(String::from).collect();
                blocks.push(std::mem::take(&mut block));
                continue;
            }
            block.head += line;
            block.head += "\n";
            if !line.is_empty() && !line.starts_with('#') {
                let line =
                    Line::parse(index + 1, line).map_err(|why| format!("line {}: {why}", index + 1))?;
                block.commands.push(line);
            }
        }
        match block.commands.first() {
            Some(line) => Err(format!("line {}: commands without `---` below them", line.number)),
            None => Ok(Self { blocks, tail: block.head }),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, block) in self.blocks.iter().enumerate() {
            let last = index + 1 == self.blocks.len() && self.tail.is_empty();
            write!(f, "{}---\n{}\n{}", block.head, block.output.join("\n"), if last { "" } else { "\n" })?;
        }
        f.write_str(&self.tail)
    }
}

impl Line {
    /// Words are set apart by spaces; `"…"` keeps some together.
    fn parse(number: usize, text: &str) -> Result<Self, String> {
        let mut words = VecDeque::new();
        let (mut word, mut quoted, mut any) = (String::new(), false, false);
        for char in text.chars() {
            match char {
                '"' => (quoted, any) = (!quoted, true),
                ' ' if !quoted => {
                    if std::mem::take(&mut any) {
                        words.push_back(std::mem::take(&mut word));
                    }
                }
                _ => {
                    word.push(char);
                    any = true;
                }
            }
        }
        if quoted {
            return Err("a `\"` without its end".into());
        }
        words.extend(any.then_some(word));
        Ok(Self { number, text: text.into(), words })
    }

    /// The next word that is no option.
    pub fn word(&mut self) -> Option<String> {
        let index = self.words.iter().position(|word| !is_option(word))?;
        self.words.remove(index)
    }

    pub fn need(&mut self, what: &str) -> Result<String, String> {
        self.word().ok_or_else(|| format!("{what} is missing"))
    }

    /// All words that are left and are no options.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.word()).collect()
    }

    /// Whether this word is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let index = self.words.iter().position(|word| word == name);
        index.and_then(|index| self.words.remove(index)).is_some()
    }

    /// The value of `name=value`.
    pub fn option(&mut self, name: &str) -> Option<String> {
        let value = |word: &String| word.strip_prefix(name)?.strip_prefix('=').map(String::from);
        let index = self.words.iter().position(|word| value(word).is_some())?;
        self.words.remove(index).as_ref().and_then(value)
    }

    pub fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.option(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| format!("`{name}={value}` is no number"))
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(value) = self.option(name) else { return Ok(None) };
        choose(&value, choices).map(Some).map_err(|why| format!("{name}: {why}"))
    }

    /// Nothing may be left over.
    pub fn done(&self) -> Result<(), String> {
        self.words.front().map_or(Ok(()), |word| Err(format!("`{word}` is not understood")))
    }
}

pub fn choose<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
    let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("`{value}` is none of {}", names()))
}

/// `name=value`; a name is made of small letters and `_`.
fn is_option(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    !name.is_empty() && name.chars().all(|char| char.is_ascii_lowercase() || char == '_')
}
