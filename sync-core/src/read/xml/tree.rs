//! Paths through an XML tree by local names, and fields from what they lead to.

use roxmltree::Node;

use crate::document::{Field, Origin};
use crate::read::text::{amount, date};

/// The elements at a path such as `Party/PartyName/Name`; namespaces do not matter.
pub fn all<'a, 'i>(from: Node<'a, 'i>, path: &str) -> Vec<Node<'a, 'i>> {
    let mut found = vec![from];
    for step in path.split('/') {
        found = found
            .into_iter()
            .flat_map(|n| n.children().filter(move |c| c.is_element() && c.tag_name().name() == step))
            .collect();
    }
    found
}

pub fn first<'a, 'i>(from: Node<'a, 'i>, path: &str) -> Option<Node<'a, 'i>> {
    all(from, path).into_iter().next()
}

/// The trimmed text at the first of the paths that has any.
#[must_use]
pub fn text(from: Node<'_, '_>, paths: &[&str]) -> Option<(String, String)> {
    paths.iter().find_map(|path| {
        all(from, path).into_iter().find_map(|node| {
            let text = content(node);
            (!text.is_empty()).then(|| (text, (*path).to_owned()))
        })
    })
}

/// All text below a node, blanks folded.
#[must_use]
pub fn content(node: Node<'_, '_>) -> String {
    let joined: String = node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
    joined.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[must_use]
pub fn field(value: Option<(String, String)>, missing: &str) -> Field {
    match value {
        Some((value, place)) => Field {
            value: Some(value),
            origin: Some(Origin::Xml),
            confidence: 1.0,
            place,
            ..Field::default()
        },
        None => Field { reason: missing.to_owned(), ..Field::default() },
    }
}

#[must_use]
pub fn name(from: Node<'_, '_>, paths: &[&str]) -> Field {
    field(text(from, paths), "not in the XML")
}

/// An amount, normalised; what is no number stays empty with its text as the reason.
#[must_use]
pub fn money(value: Option<(String, String)>) -> Field {
    match value {
        Some((raw, place)) => match amount::machine(&raw) {
            Some(value) => field(Some((amount::show(value), place)), ""),
            None => field(None, &format!("not an amount: {}", raw.chars().take(40).collect::<String>())),
        },
        None => field(None, "not in the XML"),
    }
}

#[must_use]
pub fn day(value: Option<(String, String)>) -> Field {
    match value {
        Some((raw, place)) => match date::machine(&raw) {
            Some(date) => field(Some((date.to_string(), place)), ""),
            None => field(None, &format!("not a date: {}", raw.chars().take(40).collect::<String>())),
        },
        None => field(None, "not in the XML"),
    }
}
