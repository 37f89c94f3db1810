//! A message taken apart: its head, its own text, its files; and the same for every message inside it.

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::clean;
use crate::document::{Limits, MessageHead};

/// One message: the outer one or one that it carries.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    pub head: MessageHead,
    pub sender: String,
    pub sender_address: String,
    pub html: String,
    pub text: String,
    pub files: Vec<File>,
    /// The type of its root: `multipart/report`, `text/calendar`.
    pub media_type: String,
}

#[derive(Clone, Debug, Default)]
pub struct File {
    /// `2.1` as in IMAP; members of archives add `/name`.
    pub path: String,
    pub name: String,
    pub media_type: String,
    pub bytes: Vec<u8>,
    /// Shown inside the HTML text by its content id.
    pub embedded: bool,
}

/// # Errors
/// The bytes are no message.
pub fn read(raw: &[u8], limits: &Limits) -> Result<Vec<Mail>, String> {
    let message = MessageParser::default().parse(raw).ok_or("the bytes are no mail message")?;
    let mut out = Vec::new();
    walk_message(&message, "", 0, limits, &mut out);
    Ok(out)
}

fn walk_message(message: &Message<'_>, prefix: &str, depth: usize, limits: &Limits, out: &mut Vec<Mail>) {
    if depth > limits.depth || out.len() > limits.parts {
        return;
    }
    let at = out.len();
    out.push(head_of(message));
    let root_path = if prefix.is_empty() { String::new() } else { prefix.to_owned() };
    let mut stack: Vec<(u32, String, usize)> = vec![(0, root_path, depth)];
    let mut seen = 0;
    while let Some((id, path, level)) = stack.pop() {
        let Some(part) = message.parts.get(id as usize) else { continue };
        seen += 1;
        if level > limits.depth + 1 || seen > limits.parts + 1 {
            continue;
        }
        match &part.body {
            PartType::Multipart(children) => {
                for (n, child) in children.iter().enumerate().rev() {
                    let number = n + 1;
                    let path = if path.is_empty() { number.to_string() } else { format!("{path}.{number}") };
                    stack.push((*child, path, level + 1));
                }
            }
            PartType::Message(inner) => walk_message(inner, &or_one(&path), level + 1, limits, out),
            _ => {
                if let Some(mail) = out.get_mut(at) {
                    leaf(message, part, or_one(&path), mail);
                }
            }
        }
    }
    if let Some(mail) = out.get_mut(at) {
        let shown: Vec<bool> = mail.files.iter().map(|f| is_shown(mail, f)).collect();
        mail.files.iter_mut().zip(shown).for_each(|(f, shown)| f.embedded = shown);
    }
}

fn or_one(path: &str) -> String {
    if path.is_empty() { "1".into() } else { path.to_owned() }
}

fn head_of(message: &Message<'_>) -> Mail {
    let from = message.from().and_then(|a| a.first());
    let name = from.and_then(|a| a.name()).map(clean::line).unwrap_or_default();
    let address = from.and_then(|a| a.address()).map(clean::line).unwrap_or_default();
    let shown = match (name.is_empty(), address.is_empty()) {
        (false, false) => clean::line(&format!("{name} <{address}>")),
        (false, true) => name.clone(),
        _ => address.clone(),
    };
    let head = MessageHead {
        message_id: message.message_id().map(clean::line).filter(|id| !id.is_empty()),
        date: message
            .date()
            .filter(|d| (1970..=2200).contains(&d.year))
            .map(mail_parser::DateTime::to_timestamp),
        from: shown,
        subject: message.subject().map(clean::line).unwrap_or_default(),
    };
    let media_type = message.parts.first().map(media_type).unwrap_or_default();
    Mail { head, sender: name, sender_address: address, media_type, ..Mail::default() }
}

fn media_type(part: &MessagePart<'_>) -> String {
    let Some(stated) = part.content_type() else { return "text/plain".into() };
    let kind = match stated.subtype() {
        Some(subtype) => format!("{}/{subtype}", stated.ctype()),
        None => stated.ctype().to_owned(),
    };
    clean::line(&kind).to_ascii_lowercase()
}

fn leaf(message: &Message<'_>, part: &MessagePart<'_>, path: String, mail: &mut Mail) {
    let media_type = media_type(part);
    let name = part.attachment_name().map(clean::file_name).unwrap_or_default();
    let is_attached =
        part.content_disposition().is_some_and(|d| d.ctype().eq_ignore_ascii_case("attachment"));
    let is_text = matches!(media_type.as_str(), "text/plain" | "text/html");
    if is_text && name.is_empty() && !is_attached {
        match &part.body {
            PartType::Html(html) => join(&mut mail.html, html),
            PartType::Text(text) if media_type == "text/plain" => join(&mut mail.text, text),
            _ => {}
        }
        if mail.html.len() + mail.text.len() > 0 && !looks_binary(part) {
            return;
        }
    }
    let bytes = match &part.body {
        // without a closing delimiter the parser leaves the encoding in place
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
            still_encoded(part, bytes).unwrap_or_else(|| bytes.to_vec())
        }
        PartType::Text(text) | PartType::Html(text) => {
            let bytes = original(message, part).unwrap_or_else(|| text.as_bytes().to_vec());
            still_encoded(part, &bytes).unwrap_or(bytes)
        }
        PartType::Message(_) | PartType::Multipart(_) => return,
    };
    let embedded =
        part.content_id().is_some_and(|id| !id.is_empty() && mail.html.contains(id.trim_matches(['<', '>'])));
    mail.files.push(File { path, name, media_type, bytes, embedded });
}

fn join(out: &mut String, more: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(more);
}

fn looks_binary(part: &MessagePart<'_>) -> bool {
    match &part.body {
        PartType::Text(text) | PartType::Html(text) => {
            text.get(..text.len().min(5)).is_some_and(|t| t.starts_with("%PDF"))
        }
        _ => false,
    }
}

/// A text part's bytes before any character set was applied: a PDF may be declared as text.
fn original(message: &Message<'_>, part: &MessagePart<'_>) -> Option<Vec<u8>> {
    let raw = message.raw_message.get(part.offset_body as usize..part.offset_end as usize)?;
    match part.encoding {
        Encoding::Base64 => base64_decode(raw),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
        Encoding::None => Some(raw.to_vec()),
    }
}

/// Base64 that was not decoded: decoded as far as it goes.
fn still_encoded(part: &MessagePart<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    let stated = part.content_transfer_encoding()?.trim().eq_ignore_ascii_case("base64");
    let fits = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\r' | b'\n');
    let clean: Vec<u8> =
        bytes.iter().take_while(fits).filter(|b| !b.is_ascii_whitespace()).copied().collect();
    let whole = clean.len() - clean.len() % 4;
    let most = clean.len() > 40 && clean.len() * 10 > bytes.len() * 9;
    if !stated || !most { None } else { base64_decode(clean.get(..whole)?) }
}

/// Small pictures in signatures and layouts.
fn is_shown(mail: &Mail, file: &File) -> bool {
    file.embedded
        || file.media_type.starts_with("image/")
            && !file.name.is_empty()
            && mail.html.contains(&format!("cid:{}", file.name))
}
