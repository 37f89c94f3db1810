//! Names of folders: modified UTF-7 on the wire, and which one a mailbox means.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// A folder as the server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// As on the wire.
    pub raw: String,
    /// As a person would write it.
    pub name: String,
    pub delimiter: Option<char>,
    /// In lower case, as in `\archive`.
    pub attributes: Vec<String>,
}

impl Folder {
    pub fn new(raw: String, delimiter: Option<char>, attributes: Vec<String>) -> Self {
        let name = decode(&raw);
        Self { raw, name, delimiter, attributes }
    }

    pub fn inbox() -> Self {
        Self::new("INBOX".into(), None, Vec::new())
    }

    /// Whether messages can be in it.
    pub fn is_selectable(&self) -> bool {
        !self.attributes.iter().any(|it| it == "\\noselect" || it == "\\nonexistent")
    }

    /// Whether a mailbox that says `wanted` means this folder. `\Archive` is a special use; in names `/` stands for
    /// whatever the server separates levels with.
    pub fn is_meant(&self, wanted: &str) -> bool {
        if wanted.starts_with('\\') {
            return self.attributes.iter().any(|it| it.eq_ignore_ascii_case(wanted));
        }
        if wanted.eq_ignore_ascii_case("INBOX") {
            return self.raw.eq_ignore_ascii_case("INBOX");
        }
        if wanted == self.name || wanted == self.raw {
            return true;
        }
        let Some(delimiter) = self.delimiter.filter(|it| *it != '/') else { return false };
        wanted == self.name.replace(delimiter, "/")
    }
}

/// A name as a string of the protocol. None if it cannot be one.
pub fn quote(raw: &str) -> Option<String> {
    if raw.contains(['\r', '\n', '\0']) {
        return None;
    }
    Some(format!("\"{}\"", raw.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Names that are not what they should be stay as they are.
fn decode(raw: &str) -> String {
    try_decode(raw).unwrap_or_else(|| raw.to_owned())
}

fn try_decode(raw: &str) -> Option<String> {
    let mut name = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        name.push_str(before);
        let (coded, after) = after.split_once('-')?;
        if coded.is_empty() {
            name.push('&');
        } else {
            let bytes = BASE64.decode(coded).ok()?;
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            name.push_str(&String::from_utf16(&units.collect::<Vec<_>>()).ok()?);
        }
        rest = after;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modified_utf7() {
        for (raw, name) in [
            ("INBOX", "INBOX"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("A&-B", "A&B"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("&2D3eAA-", "😀"),
            ("broken &APw", "broken &APw"),
            ("broken &***-", "broken &***-"),
            ("&2D0-", "&2D0-"),
        ] {
            assert_eq!(decode(raw), name, "{raw}");
        }
    }

    #[test]
    fn the_folder_that_is_meant() {
        let folder = |raw: &str, attributes: &[&str]| {
            let attributes = attributes.iter().map(|it| (*it).to_owned()).collect();
            Folder::new(raw.into(), Some('.'), attributes)
        };
        let archive = folder("INBOX.Rechnungen &- Belege", &["\\archive", "\\hasnochildren"]);
        for wanted in ["INBOX.Rechnungen & Belege", "INBOX/Rechnungen & Belege", "\\Archive", "\\archive"] {
            assert!(archive.is_meant(wanted), "{wanted}");
        }
        for other in ["INBOX", "Rechnungen & Belege", "\\All", "inbox.rechnungen & belege"] {
            assert!(!archive.is_meant(other), "{other}");
        }
        assert!(folder("Inbox", &[]).is_meant("INBOX") && Folder::inbox().is_meant("inbox"));
        assert!(!folder("x", &["\\noselect"]).is_selectable());
    }

    #[test]
    fn quoting() {
        assert_eq!(quote("a\"b\\c").unwrap(), "\"a\\\"b\\\\c\"");
        assert_eq!(quote("a\r\nD2 DELETE x"), None);
    }
}
