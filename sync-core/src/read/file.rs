//! One file of a message to the documents in it.

use chrono::{DateTime, NaiveDate};

use super::archive::{self, Budget};
use super::detect::{self, Around, Verdict};
use super::fields::{self, Hints};
use super::mime::{File, Mail};
use super::sniff::{self, Nature};
use super::text::fold;
use super::view::View;
use super::words::surroundings::FORWARD_PREFIXES;
use super::{clean, guarded, html, pdf, plain, xml};
use crate::document::{Fields, FoundDocument, Kind, Limits, Origin, State};

/// What the mail says about all of its files.
pub struct Context {
    pub hints: Hints,
    pub subject: String,
    pub letter: String,
}

impl Context {
    #[must_use]
    pub fn of(mail: &Mail) -> Self {
        let letter =
            if mail.text.trim().is_empty() { html::sheet(&mail.html).text() } else { mail.text.clone() };
        let letter: String = letter.chars().take(4000).collect();
        let forwarded = is_forward(&mail.head.subject);
        let original = forwarded.then(|| quoted_sender(&letter)).flatten();
        let sent = mail.head.date.and_then(|s| DateTime::from_timestamp(s, 0)).map(|d| d.date_naive());
        let hints = Hints {
            sent: sent.filter(|d| *d > NaiveDate::MIN),
            forwarded: forwarded && original.is_none(),
            sender: original.clone().unwrap_or_else(|| mail.sender.clone()),
            sender_address: if original.is_some() { String::new() } else { mail.sender_address.clone() },
            subject: mail.head.subject.clone(),
            is_body: false,
        };
        Self { hints, subject: mail.head.subject.clone(), letter }
    }
}

fn is_forward(subject: &str) -> bool {
    let mut rest = subject;
    while let Some((prefix, tail)) = rest.split_once(':') {
        let key = fold::key(prefix);
        if key.contains(' ') || key.chars().count() > 12 {
            return false;
        }
        if FORWARD_PREFIXES.contains(&key.as_str()) {
            return true;
        }
        rest = tail;
    }
    false
}

/// The sender that a forwarded letter names: `From: Coolblue B.V. <…>`.
fn quoted_sender(letter: &str) -> Option<String> {
    letter.lines().take(40).find_map(|line| {
        let (label, value) = line.trim_start_matches(['>', ' ', '*']).split_once(':')?;
        let key = fold::key(label);
        let is_from = [
            "from",
            "von",
            "de",
            "da",
            "van",
            "od",
            "fra",
            "fran",
            "lahettaja",
            "felado",
            "απο",
            "от",
            "expediteur",
            "remitente",
            "mittente",
            "nadawca",
        ]
        .contains(&key.as_str());
        let name = value.trim().trim_matches('*').split(['<', '[']).next()?.trim().trim_matches('"').trim();
        (is_from && !name.is_empty() && !name.contains('@')).then(|| clean::line(name))
    })
}

/// Reads a file; archives are opened as deep as the limits allow.
pub fn read(
    file: &File,
    context: &Context,
    depth: usize,
    limits: &Limits,
    budget: &mut Budget,
    found: &mut Vec<FoundDocument>,
    reasons: &mut Vec<String>,
) {
    let nature = sniff::nature(file);
    if nature == Nature::Zip {
        if depth >= limits.archive_depth {
            reasons.push(format!("{}: archives are nested too deeply", shown(file)));
            return;
        }
        let (members, trouble) =
            guarded(|| archive::members(&file.bytes, budget)).unwrap_or_else(|e| (Vec::new(), e));
        if !trouble.is_empty() {
            reasons.push(format!("{}: {trouble}", shown(file)));
        }
        for member in members {
            let path = format!("{}/{}", file.path, member.name);
            let inner = File { path, name: member.name, bytes: member.bytes, ..File::default() };
            read(&inner, context, depth + 1, limits, budget, found, reasons);
        }
        return;
    }
    match guarded(|| document(file, nature, context)).and_then(|r| r) {
        Ok(document) => found.push(document),
        Err(reason) => reasons.push(format!("{}: {reason}", shown(file))),
    }
}

fn shown(file: &File) -> String {
    if file.name.is_empty() { format!("part {}", file.path) } else { file.name.clone() }
}

fn document(file: &File, nature: Nature, context: &Context) -> Result<FoundDocument, String> {
    match nature {
        Nature::Xml => structured(file),
        Nature::Pdf => from_pdf(file, context),
        Nature::Html => {
            let text = String::from_utf8_lossy(&file.bytes);
            from_sheet(file, &html::sheet(&text), Origin::Html, context)
        }
        Nature::Text => from_sheet(file, &plain::sheet(&decode(&file.bytes)), Origin::Text, context),
        Nature::Image => picture(file, context),
        Nature::Ignored(reason) => Err(reason.into()),
        Nature::Zip | Nature::Unknown => Err("a kind of file that is not read".into()),
    }
}

/// UTF-8, else Windows' western set, which is what old tills and shops write.
fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => bytes.iter().map(|b| if *b == 0x80 { '€' } else { char::from(*b) }).collect(),
    }
}

fn structured(file: &File) -> Result<FoundDocument, String> {
    match xml::read(&file.bytes) {
        xml::Outcome::Invoice(found) => {
            let mut document =
                new(file, Nature::Xml, Verdict { kind: found.kind, confidence: 1.0 }, State::Filed);
            document.fields = found.fields;
            document.flags = found.flags;
            super::merge::check_totals(&mut document);
            Ok(document)
        }
        xml::Outcome::Other(root) => Err(format!("XML of another kind ({})", clean::line(&root))),
        xml::Outcome::Broken(reason) => Err(format!("the XML cannot be read: {reason}")),
    }
}

fn from_pdf(file: &File, context: &Context) -> Result<FoundDocument, String> {
    let pdf = match pdf::read(&file.bytes) {
        Ok(pdf) => pdf,
        Err(failure) => return unreadable(file, context, &failure),
    };
    let embedded =
        pdf.attached.iter().filter(|a| xml::is_xml(&a.bytes)).find_map(|a| match xml::read(&a.bytes) {
            xml::Outcome::Invoice(found) => Some((a.name.clone(), found)),
            _ => None,
        });
    if let Some((name, found)) = embedded {
        let mut document =
            new(file, Nature::Pdf, Verdict { kind: found.kind, confidence: 1.0 }, State::Filed);
        document.fields = found.fields;
        document.flags = found.flags;
        document.flags.push(format!("fields from {}", clean::file_name(&name)));
        super::merge::check_totals(&mut document);
        compare_with_print(&mut document, &pdf, context);
        return Ok(document);
    }
    if pdf.sheet.len() < 25 {
        return match detect::surroundings(&around(file, context)) {
            Some(verdict) => Ok(new(file, Nature::Pdf, verdict, State::NeedsOcr)),
            None if pdf.trouble.is_empty() => Err("a PDF without text".into()),
            None => Err(format!("its text cannot be read: {}", pdf.trouble)),
        };
    }
    let mut document = from_sheet(file, &pdf.sheet, Origin::PdfText, context)?;
    document.media_type = "application/pdf".into();
    if !pdf.trouble.is_empty() {
        document.flags.push("only part of the text could be read".into());
    }
    Ok(document)
}

/// The XML is trusted more; where the printed total differs, people should know.
fn compare_with_print(document: &mut FoundDocument, pdf: &pdf::Pdf, context: &Context) {
    let view = View::new(&pdf.sheet);
    let (printed, _) = fields::read(&view, document.kind, Origin::PdfText, &context.hints);
    let total = &mut document.fields.total;
    if let (Some(stated), Some(shown)) = (&total.value, &printed.total.value)
        && stated != shown
        && printed.total.confidence > 0.85
        && document.fields.payable.value.as_ref() != Some(shown)
    {
        total.other_value = Some(shown.clone());
        document.flags.push("printed total differs".into());
    }
}

fn unreadable(file: &File, context: &Context, failure: &pdf::Failure) -> Result<FoundDocument, String> {
    let (flag, reason) = match failure {
        pdf::Failure::Encrypted => ("encrypted", "the PDF is encrypted".to_owned()),
        pdf::Failure::Damaged(error) => {
            ("damaged", format!("the PDF cannot be read: {}", clean::line(error)))
        }
    };
    let verdict = detect::surroundings(&around(file, context)).ok_or_else(|| reason.clone())?;
    let mut document = new(file, Nature::Pdf, verdict, State::Unreadable);
    document.flags.push(flag.into());
    give_reason(&mut document.fields, &reason);
    Ok(document)
}

/// Pictures smaller than this are logos.
const PICTURE_BYTES_MIN: usize = 8 << 10;
const PICTURE_SIDE_MIN: u32 = 250;

fn picture(file: &File, context: &Context) -> Result<FoundDocument, String> {
    let key = fold::key(&file.name.replace(['_', '-', '.'], " "));
    let decoration = [
        "logo",
        "signature",
        "banner",
        "icon",
        "footer",
        "header",
        "image001",
        "facebook",
        "linkedin",
        "twitter",
        "pixel",
        "spacer",
    ];
    let small = file.bytes.len() < PICTURE_BYTES_MIN
        || sniff::dimensions(&file.bytes).is_some_and(|(w, h)| w < PICTURE_SIDE_MIN || h < PICTURE_SIDE_MIN);
    if file.embedded || small || decoration.iter().any(|w| key.contains(w)) {
        return Err("a picture of the layout".into());
    }
    let verdict = detect::surroundings(&around(file, context))
        .ok_or("a picture, and nothing says that it is a document")?;
    let mut document = new(file, Nature::Image, verdict, State::NeedsOcr);
    give_reason(&mut document.fields, "a picture: needs character recognition");
    Ok(document)
}

fn give_reason(all: &mut Fields, reason: &str) {
    fields::all(all).into_iter().for_each(|f| reason.clone_into(&mut f.reason));
}

fn from_sheet(
    file: &File,
    sheet: &super::sheet::Sheet,
    origin: Origin,
    context: &Context,
) -> Result<FoundDocument, String> {
    let view = View::new(sheet);
    let verdict = detect::attachment(&view, &around(file, context))?;
    let nature = if origin == Origin::Html { Nature::Html } else { Nature::Text };
    let mut document = new(file, nature, verdict, State::Filed);
    let (read, flags) = fields::read(&view, verdict.kind, origin, &context.hints);
    document.fields = read;
    document.flags = flags;
    Ok(document)
}

fn around(file: &File, context: &Context) -> Around {
    Around { subject: context.subject.clone(), file_name: file.name.clone(), letter: context.letter.clone() }
}

fn new(file: &File, nature: Nature, verdict: Verdict, state: State) -> FoundDocument {
    FoundDocument {
        kind: verdict.kind,
        state,
        confidence: verdict.confidence,
        fields: Fields::default(),
        part: file.path.clone(),
        file_name: (!file.name.is_empty()).then(|| file.name.clone()),
        media_type: sniff::media_type(file, nature),
        flags: Vec::new(),
        content: file.bytes.clone(),
    }
}

/// The kind of a document that is the mail itself.
#[must_use]
pub fn of_body(kind: Kind, confidence: f32, is_html: bool, content: Vec<u8>) -> FoundDocument {
    FoundDocument {
        kind,
        state: State::Filed,
        confidence,
        fields: Fields::default(),
        part: "body".into(),
        file_name: None,
        media_type: if is_html { "text/html".into() } else { "text/plain".into() },
        flags: Vec::new(),
        content,
    }
}
