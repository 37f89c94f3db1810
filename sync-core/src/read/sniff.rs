//! What a file is by its bytes; what it calls itself counts only where the bytes say nothing.

use super::{archive, mime::File, pdf, xml};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    Pdf,
    Xml,
    Html,
    Zip,
    Image,
    Text,
    /// Known and not read: why.
    Ignored(&'static str),
    Unknown,
}

#[must_use]
pub fn nature(file: &File) -> Nature {
    let bytes = &file.bytes;
    let name = file.name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    if bytes.is_empty() {
        return Nature::Ignored("the file is empty");
    }
    if pdf::is_pdf(bytes) {
        return Nature::Pdf;
    }
    if archive::is_zip(bytes) {
        // office documents are archives too
        let office = ends(&[".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".apk", ".pkpass"])
            || file.media_type.contains("officedocument");
        return if office { Nature::Ignored("office documents are not read") } else { Nature::Zip };
    }
    if is_image(bytes) {
        return Nature::Image;
    }
    if let Some(reason) = ignored(file, &name) {
        return Nature::Ignored(reason);
    }
    if xml::is_xml(bytes) {
        return Nature::Xml;
    }
    let head =
        String::from_utf8_lossy(bytes.get(..bytes.len().min(512)).unwrap_or_default()).to_ascii_lowercase();
    if head.contains("<html")
        || head.contains("<!doctype html")
        || file.media_type == "text/html"
        || ends(&[".html", ".htm"])
    {
        return Nature::Html;
    }
    let plain = !bytes.iter().take(2000).any(|b| *b == 0);
    if plain && (file.media_type.starts_with("text/plain") || ends(&[".txt", ".text"])) {
        return Nature::Text;
    }
    Nature::Unknown
}

/// Kinds that never are documents, or that this reader leaves alone; by declaration and by name.
fn ignored(file: &File, name: &str) -> Option<&'static str> {
    let ends = |endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    match file.media_type.as_str() {
        "application/ms-tnef" | "application/vnd.ms-tnef" => return Some("winmail.dat is not read"),
        "application/pkcs7-mime" | "application/x-pkcs7-mime" | "application/pgp-encrypted" => {
            return Some("the part is encrypted");
        }
        "application/pkcs7-signature"
        | "application/x-pkcs7-signature"
        | "application/pgp-signature"
        | "application/pgp-keys" => return Some("a signature"),
        "text/calendar" | "application/ics" | "text/vcard" | "text/x-vcard" => {
            return Some("a calendar entry or card");
        }
        kind if kind.starts_with("message/") || kind == "text/rfc822-headers" => {
            return Some("a delivery report");
        }
        kind if kind.starts_with("audio/") || kind.starts_with("video/") => return Some("sound or film"),
        _ => {}
    }
    if ends(&[
        ".exe", ".scr", ".js", ".vbs", ".bat", ".cmd", ".com", ".dll", ".msi", ".ps1", ".hta", ".lnk", ".iso",
    ]) {
        return Some("a program");
    }
    if ends(&[".ics", ".vcf", ".asc", ".p7s", ".sig"]) {
        return Some("a calendar entry, card or signature");
    }
    if ends(&[".csv", ".json", ".log", ".md", ".css", ".diff", ".patch", ".yml", ".yaml", ".sql"]) {
        return Some("a table or source text");
    }
    None
}

fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff")
        || bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        || bytes.starts_with(b"II*\0")
        || bytes.starts_with(b"MM\0*")
        || bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")
        || bytes.get(4..12).is_some_and(|b| b == b"ftypheic" || b == b"ftypheix" || b == b"ftypmif1")
}

/// Width and height of a PNG or JPEG, where they can be seen without decoding.
#[must_use]
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let be16 = |at: usize| Some(u32::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    if bytes.starts_with(b"\x89PNG") {
        let be32 = |at: usize| Some((be16(at)? << 16) | be16(at + 2)?);
        return Some((be32(16)?, be32(20)?));
    }
    if !bytes.starts_with(b"\xff\xd8") {
        return None;
    }
    let mut at = 2;
    while bytes.get(at) == Some(&0xff) {
        let marker = *bytes.get(at + 1)?;
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return Some((be16(at + 7)?, be16(at + 5)?));
        }
        at += 2 + be16(at + 2)? as usize;
    }
    None
}

/// The media type that the bytes show.
#[must_use]
pub fn media_type(file: &File, nature: Nature) -> String {
    match nature {
        Nature::Pdf => "application/pdf".into(),
        Nature::Xml => "application/xml".into(),
        Nature::Html => "text/html".into(),
        Nature::Text => "text/plain".into(),
        Nature::Image if file.bytes.starts_with(b"\xff\xd8") => "image/jpeg".into(),
        Nature::Image if file.bytes.starts_with(b"\x89PNG") => "image/png".into(),
        _ => file.media_type.clone(),
    }
}
