//! Finds labels in text: phrases of the tables, whatever their case, accents and punctuation.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::text::fold::{self, Word};
use super::words::{Entry, Role, amounts, dates, numbers, parties, titles};

/// A phrase of the tables in a text. One place may mean several things (`Data` is a date in two languages,
/// `CUI` a tax number): all of its roles are given.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub roles: Vec<Role>,
    pub languages: Vec<&'static str>,
    pub start: usize,
    pub end: usize,
    pub words: usize,
    /// Where its first word stands among the words of the text.
    pub first_word: usize,
}

impl Label {
    #[must_use]
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    #[must_use]
    pub fn any(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|r| roles.contains(r))
    }
}

struct Phrase {
    words: Vec<String>,
    roles: Vec<Role>,
    languages: Vec<&'static str>,
}

type Index = HashMap<String, Vec<Phrase>>;

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index::new();
        for table in [titles::TITLES, numbers::NUMBERS, amounts::AMOUNTS, dates::DATES, parties::PARTIES] {
            table.iter().for_each(|entry| add(&mut index, entry));
        }
        // longest first, so that the first match is the best
        index.values_mut().for_each(|phrases| phrases.sort_by_key(|p| std::cmp::Reverse(p.words.len())));
        index
    })
}

fn add(index: &mut Index, (language, role, phrases): &Entry) {
    for phrase in phrases.split('|') {
        let words: Vec<String> = fold::words(phrase).into_iter().map(|w| w.key).collect();
        let Some(first) = words.first() else { continue };
        let known = index.entry(first.clone()).or_default();
        if let Some(same) = known.iter_mut().find(|p| p.words == words) {
            if !same.roles.contains(role) {
                same.roles.push(*role);
            }
            if !same.languages.contains(language) {
                same.languages.push(language);
            }
        } else {
            known.push(Phrase { words, roles: vec![*role], languages: vec![language] });
        }
    }
}

/// The labels of a text from left to right; they do not overlap.
#[must_use]
pub fn find(words: &[Word]) -> Vec<Label> {
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(word) = words.get(i) {
        match longest_at(words, i, word) {
            Some(label) => {
                i += label.words;
                out.push(label);
            }
            None => i += 1,
        }
    }
    out
}

fn longest_at(words: &[Word], at: usize, word: &Word) -> Option<Label> {
    let phrases = index().get(&word.key)?;
    let found = phrases.iter().find(|phrase| {
        phrase.words.iter().enumerate().all(|(n, key)| words.get(at + n).is_some_and(|w| w.key == *key))
    })?;
    let last = words.get(at + found.words.len() - 1)?;
    Some(Label {
        roles: found.roles.clone(),
        languages: found.languages.clone(),
        start: word.start,
        end: last.end,
        words: found.words.len(),
        first_word: at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str) -> Vec<Vec<Role>> {
        find(&fold::words(text)).into_iter().map(|l| l.roles).collect()
    }

    #[test]
    fn the_longest_phrase_wins() {
        assert_eq!(roles("Invoice No.: 12"), [vec![Role::InvoiceNumber]]);
        assert_eq!(roles("TOTAL SALES (EXCLUDING GST) :"), [vec![Role::Net]]);
        assert_eq!(roles("Rechnungs-Nr. 5"), [vec![Role::InvoiceNumber]]);
        assert_eq!(roles("Facture n° 5"), [vec![Role::InvoiceNumber]]);
        assert_eq!(roles("Totaal incl. btw"), [vec![Role::Total]]);
    }
}
