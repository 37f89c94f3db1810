//! XML, archives and what they mean: 49 to 53.
//!
//! Elsewhere: 49's entities also in `read/xml.rs`, 51's links and folders in `read/archive.rs`, 52's spellings in
//! `read/text/amount.rs` and `date.rs`, 53's kinds among the fixtures of `reading.rs`.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use sync_core::document::{Kind, State};

use super::made::{self, stream};
use super::{INVOICE, attached, documents, read, total};

fn ubl(total: &str) -> String {
    format!(
        "<Invoice xmlns=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\" \
         xmlns:cbc=\"urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2\" \
         xmlns:cac=\"urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2\">\
         <cbc:ID>2026-17</cbc:ID><cbc:IssueDate>2026-03-04</cbc:IssueDate>\
         <cbc:DocumentCurrencyCode>EUR</cbc:DocumentCurrencyCode>\
         <cac:LegalMonetaryTotal><cbc:TaxExclusiveAmount currencyID=\"EUR\">100.00</cbc:TaxExclusiveAmount>\
         <cbc:TaxInclusiveAmount currencyID=\"EUR\">{total}</cbc:TaxInclusiveAmount>\
         <cbc:PayableAmount currencyID=\"EUR\">{total}</cbc:PayableAmount></cac:LegalMonetaryTotal></Invoice>"
    )
}

#[test]
fn bad_input_49_entities_attributes_and_encodings() {
    let good = ubl("120.00");
    assert_eq!(documents(attached("i.xml", good.as_bytes())).first().and_then(total), Some("120.00"));
    let mut laughs = String::from("<!DOCTYPE x [<!ENTITY a \"ha\">");
    for n in 0..20 {
        let _ = write!(laughs, "<!ENTITY a{} \"&a{0};&a{0};\">", n);
    }
    for doctype in [
        &format!("{laughs}]>"),
        "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>",
        "<!DOCTYPE x [<!ENTITY a SYSTEM \"http://169.254.169.254/latest\">]>",
        "<!DOCTYPE Invoice SYSTEM \"http://169.254.169.254/x.dtd\">",
    ] {
        let raw = format!("{doctype}{}", good.replace("2026-17", "&a;"));
        let message = read(attached("i.xml", raw.as_bytes())).expect("readable");
        assert!(message.documents.iter().all(|it| it.state != State::Filed), "{:?}", message.documents);
        assert!(!message.reason.contains("root:"), "{}", message.reason);
    }
    let mut many = String::from("<Invoice ");
    for n in 0..1_000_000 {
        let _ = write!(many, "a{n}=\"\" ");
    }
    assert!(read(attached("i.xml", (many + "/>").as_bytes())).is_ok());
    let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(read(attached("i.xml", &wide)).is_ok(), "UTF-16 without a mark or a declaration");
}

#[test]
fn bad_input_50_the_xml_and_the_print_disagree() {
    let names = "/Names<</EmbeddedFiles<</Names[(factur-x.xml) 6 0 R]>>>>";
    let file = b"<</Type/Filespec/F(factur-x.xml)/AFRelationship/Alternative/EF<</F 7 0 R>>>>".to_vec();
    let xml = stream("/Type/EmbeddedFile/Subtype/text#2Fxml", ubl("150.00").as_bytes());
    let found = documents(attached("invoice.pdf", &made::with(INVOICE, names, &[file, xml])));
    let found = found.first().expect("a document");
    assert_eq!(total(found), Some("150.00"), "the XML is trusted more");
    assert_eq!(found.fields.total.other_value.as_deref(), Some("120.00"));
    assert!(found.flags.iter().any(|flag| flag == "printed total differs"), "{:?}", found.flags);
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn bad_input_51_archives_in_archives() {
    let mut nest = zipped(&[("zeros", &vec![0; 8 << 20])]);
    for _ in 0..4 {
        let files: Vec<(String, &[u8])> = (0..16).map(|n| (format!("{n}.zip"), nest.as_slice())).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        nest = zipped(&files);
    }
    let message = read(attached("invoice.zip", &nest)).expect("readable");
    assert!(message.documents.is_empty() && !message.reason.is_empty(), "{message:?}");
    // What is good beside the bomb is read.
    let mixed = zipped(&[("bomb.zip", &nest), ("/abs/../invoice.txt", INVOICE.as_bytes())]);
    let found = documents(attached("invoice.zip", &mixed));
    let names: Vec<_> = found.iter().map(|it| it.file_name.as_deref()).collect();
    assert_eq!((names, found.first().and_then(total)), (vec![Some("invoice.txt")], Some("120.00")));
}

#[test]
fn bad_input_51_directories_that_lie() {
    let good = zipped(&[("invoice.txt", INVOICE.as_bytes()), ("other.txt", b"hello")]);
    assert_eq!(documents(attached("i.zip", &good)).len(), 1);
    // Places of the central directory, member by member: all ones, and the first member's for both.
    let directory = good.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    for (at, value) in [(42, [0xff; 4]), (20, [0xff; 4]), (24, [0xff, 0xff, 0xff, 0x7f]), (42, [1, 0, 0, 0])]
    {
        let mut bad = good.clone();
        bad[directory + at..directory + at + 4].copy_from_slice(&value);
        assert!(read(attached("i.zip", &bad)).is_ok());
    }
    let second = directory + 4 + good[directory + 4..].windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    let mut overlapping = good.clone();
    overlapping[second + 42..second + 46].copy_from_slice(&[0; 4]);
    let found = documents(attached("i.zip", &overlapping));
    assert!(found.len() <= 1, "the same bytes are one document: {found:?}");
    let names: Vec<String> = (0..65_536).map(|n| format!("{n}.txt")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
    let message = read(attached("i.zip", &zipped(&many))).expect("readable");
    assert!(message.documents.is_empty() && message.reason.contains("65536 members"), "{}", message.reason);
}

#[test]
fn bad_input_52_odd_values_stay_open() {
    let text = |line: &str| format!("Nordwind Ltd\nInvoice 2026-17\nDate: {line}\n");
    for (line, why) in [("4 March 2569", "Buddhist"), ("1 Ramadan 1447", "Hijri")] {
        let found = documents(attached("invoice.txt", (text(line) + "Total 120.00 EUR\n").as_bytes()));
        assert_eq!(found.first().and_then(|it| it.fields.issue_date.value.as_deref()), None, "{why}");
    }
    let dollars = documents(attached("invoice.txt", (text("4 March 2026") + "Total $ 120.00\n").as_bytes()));
    let dollars = &dollars.first().expect("a document").fields;
    assert_eq!(dollars.total.value.as_deref(), Some("120.00"));
    assert!(dollars.currency.value.as_deref().is_none_or(|code| code == "USD"), "{:?}", dollars.currency);
}

#[test]
fn bad_input_53_kinds_that_resemble_invoices() {
    let letter = |head: &str| documents(attached("file.txt", format!("Nordwind Ltd\n{head}").as_bytes()));
    let credit = letter("Credit note 2026-18\nfor invoice 2026-17\nDate: 4 March 2026\nTotal -120.00 EUR\n");
    assert_eq!(credit.first().map(|it| it.kind), Some(Kind::CreditNote));
    for (name, text) in [
        ("pro forma", "Pro forma invoice 2026-17\nThis is not a tax invoice\nTotal 120.00 EUR\n".to_owned()),
        ("statement", {
            let rows: String = (1..=40).map(|n| format!("Invoice 2026-{n}  {n}.00 EUR\n")).collect();
            format!("Statement of account\n{rows}Balance 820.00 EUR\n")
        }),
    ] {
        let found = letter(&text);
        assert!(found.len() <= 1, "{name}: {found:?}");
        assert!(found.iter().all(|it| it.confidence <= 1.0), "{name}: {found:?}");
    }
    let two = format!("{INVOICE}\n\nNordwind Ltd\nInvoice 2026-18\nDate: 5 March 2026\nTotal 90.00 EUR\n");
    assert!(documents(attached("file.txt", two.as_bytes())).len() <= 1, "a file is one document");
}
