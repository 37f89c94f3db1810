//! Structured e-invoices: the most trusted source.
//!
//! UBL, CII, ZUGFeRD 1, FatturaPA, and some national forms. A DOCTYPE is refused: no invoice format has one
//! and it is the way in for entity bombs. Values are taken as they stand; nothing is computed except a
//! FatturaPA total that the file leaves out.

mod cii;
mod fatturapa;
mod national;
mod tree;
mod ubl;

use roxmltree::{Document, ParsingOptions};

use crate::document::{Fields, Kind};

/// An invoice in XML.
#[derive(Clone, Debug)]
pub struct Structured {
    pub kind: Kind,
    pub fields: Fields,
    pub flags: Vec<String>,
}

/// What an XML file is.
pub enum Outcome {
    Invoice(Box<Structured>),
    /// Well-formed, but something else: the root's name.
    Other(String),
    /// Cannot be parsed: the reason.
    Broken(String),
}

const NODES_MAX: u32 = 500_000;
const BYTES_MAX: usize = 20 << 20;
/// The parser recurses per level: real invoices stay below 20.
const DEPTH_MAX: usize = 200;
/// Of one element; real ones have a dozen, all of them namespaces.
const ATTRIBUTES_MAX: usize = 100;

#[must_use]
pub fn read(bytes: &[u8]) -> Outcome {
    if bytes.len() > BYTES_MAX {
        return Outcome::Broken("the XML is too large".into());
    }
    let text = decode(bytes);
    if let Some(reason) = refusal(&text) {
        return Outcome::Broken(reason.into());
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(
        text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']),
        options,
    ) {
        Ok(document) => document,
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    let root = document.root_element();
    let found = match root.tag_name().name() {
        "Invoice" | "CreditNote" | "SelfBilledInvoice" | "SelfBilledCreditNote" if ubl::fits(root) => {
            Some(ubl::read(root))
        }
        "CrossIndustryInvoice" | "CrossIndustryDocument" => Some(cii::read(root)),
        "FatturaElettronica" | "FatturaElettronicaSemplificata" => Some(fatturapa::read(root)),
        _ => national::read(root),
    };
    match found {
        Some(found) => Outcome::Invoice(Box::new(found)),
        None => Outcome::Other(root.tag_name().name().chars().take(60).collect()),
    }
}

/// Whether bytes look like XML at all.
#[must_use]
pub fn is_xml(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(256)).unwrap_or_default();
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let utf16 = head.starts_with(b"\xff\xfe<\0")
        || head.starts_with(b"\xfe\xff\0<")
        || head.starts_with(b"<\0?\0")
        || head.starts_with(b"\0<\0?");
    let start = head.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    let head = head.get(start..).unwrap_or_default();
    utf16
        || head.starts_with(b"<?xml")
        || head.first() == Some(&b'<')
            && head.get(1).is_some_and(|b| b.is_ascii_alphabetic())
            && !is_html(head)
}

fn is_html(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    [
        "<html",
        "<head",
        "<body",
        "<div",
        "<p>",
        "<table",
        "<meta",
        "<!doctype html",
        "<br",
        "<span",
        "<font",
        "<style",
        "<center",
    ]
    .iter()
    .any(|t| head.starts_with(t))
}

/// UTF-8, UTF-16 with or without a mark, Latin-1 if it says so or is no UTF-8.
fn decode(bytes: &[u8]) -> String {
    let pairs = |big: bool, from: usize| {
        let units: Vec<u16> = bytes
            .get(from..)
            .unwrap_or_default()
            .chunks_exact(2)
            .filter_map(|c| {
                Some(if big {
                    u16::from_be_bytes([*c.first()?, *c.get(1)?])
                } else {
                    u16::from_le_bytes([*c.first()?, *c.get(1)?])
                })
            })
            .collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, ..] => pairs(false, 2),
        [0xfe, 0xff, ..] => pairs(true, 2),
        [b'<', 0, ..] => pairs(false, 0),
        [0, b'<', ..] => pairs(true, 0),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
        },
    }
}

/// A cheap look before the parser's: it recurses into elements, and compares each attribute with all others of its
/// element.
fn refusal(text: &str) -> Option<&'static str> {
    let mut rest = text.as_bytes();
    let mut depth: usize = 0;
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        rest = rest.get(at + 1..).unwrap_or_default();
        let aside = [(&b"!--"[..], &b"-->"[..]), (b"![CDATA[", b"]]>"), (b"?", b"?>")];
        if let Some((open, close)) = aside.into_iter().find(|(open, _)| rest.starts_with(open)) {
            rest = after(rest.get(open.len()..).unwrap_or_default(), close);
        } else if rest.first() == Some(&b'/') {
            depth = depth.saturating_sub(1);
        } else {
            let tag = Tag::at(rest);
            depth += usize::from(!tag.is_empty);
            if depth > DEPTH_MAX {
                return Some("the XML is nested too deeply");
            }
            if tag.attributes > ATTRIBUTES_MAX {
                return Some("an element of the XML has too many attributes");
            }
            rest = rest.get(tag.length..).unwrap_or_default();
        }
    }
    None
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.and_then(|at| text.get(at + end.len()..)).unwrap_or_default()
}

struct Tag {
    attributes: usize,
    /// Closed in itself: `<a/>`.
    is_empty: bool,
    /// Bytes up to its end, or to where it can be no tag any more.
    length: usize,
}

impl Tag {
    fn at(text: &[u8]) -> Self {
        let mut quote = None;
        let mut attributes = 0;
        for (at, byte) in text.iter().copied().enumerate() {
            match (quote, byte) {
                (_, b'<') => return Self { attributes, is_empty: false, length: at },
                (None, b'>') => {
                    let is_empty = at > 0 && text.get(at - 1) == Some(&b'/');
                    return Self { attributes, is_empty, length: at };
                }
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), _) if open == byte => quote = None,
                (None, b'=') => attributes += 1,
                _ => {}
            }
        }
        Self { attributes, is_empty: false, length: text.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> bool {
        matches!(read(text.as_bytes()), Outcome::Broken(_))
    }

    #[test]
    fn entities_and_nesting_are_refused() {
        let laughs = "<?xml version=\"1.0\"?><!DOCTYPE Invoice [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><Invoice>&b;</Invoice>";
        assert!(broken(laughs));
        assert!(broken("<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><x/>"));
        assert!(broken(&"<a>".repeat(100_000)));
        assert!(broken("not xml"));
        assert!(broken(""));
    }

    #[test]
    fn attributes_are_counted_where_they_are() {
        let many = |element: &str| format!("<a>{element} {}/></a>", "x".repeat(101).replace('x', " k=\"\""));
        assert_eq!(refusal(&many("<b")), Some("an element of the XML has too many attributes"));
        for aside in ["<!-- <z ' -->", "<![CDATA[ <z ' ]]>", "<?z ' ?>", "<z k='>'/>", "<z k=\">'\"/>"] {
            assert!(refusal(&many(&format!("{aside}<b"))).is_some(), "{aside}");
        }
        assert_eq!(refusal(&format!("<a k='1'>{}</a>", "=".repeat(500))), None, "text is none");
    }

    #[test]
    fn other_roots_are_named() {
        let order = "<Order xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:Order-2\"/>";
        assert!(matches!(read(order.as_bytes()), Outcome::Other(name) if name == "Order"));
        assert!(matches!(read(b"<Invoice/>"), Outcome::Other(_)));
    }

    #[test]
    fn utf16_without_a_mark() {
        let bytes: Vec<u8> =
            "<?xml version=\"1.0\"?><x/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(is_xml(&bytes));
        assert!(matches!(read(&bytes), Outcome::Other(_)));
    }
}
