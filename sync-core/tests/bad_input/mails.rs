//! 30 to 43.
//!
//! Elsewhere: 30, 31 and 43 in `hostile.rs`; 34 for folders in `catalog/conformance.rs` (equal bytes once per owner) and
//! for IMAP in `imap/hostile.rs`.

use std::fmt::Write as _;

use sync_core::document::{Origin, State};

use super::{INVOICE, attached, documents, multipart, read, total};

#[test]
fn bad_input_30_towers_of_messages() {
    let mut tower = String::new();
    for _ in 0..1000 {
        tower.push_str("Subject: x\nContent-Type: message/rfc822\n\n");
    }
    assert!(read(tower + INVOICE).is_err());
}

#[test]
fn bad_input_32_boundaries() {
    // One that is another's prefix; the inner mail's end must not be the outer's.
    let inner = format!(
        "Content-Type: multipart/alternative; boundary=xyzz\n\n--xyzz\nContent-Type: text/plain\n\nhello\n\
         --xyzz--\n--xyz\nContent-Type: text/plain; name=invoice.txt\n\n{INVOICE}\n--xyz--\n"
    );
    let raw = format!("Subject: x\nContent-Type: multipart/mixed; boundary=xyz\n\n--xyz\n{inner}");
    assert_eq!(documents(raw).first().and_then(total), Some("120.00"));
    // Missing, never closed, and as long as a page.
    for head in [
        "multipart/mixed",
        "multipart/mixed; boundary=a",
        &format!("multipart/mixed; boundary={}", "b".repeat(10_000)),
    ] {
        let raw = format!(
            "Subject: x\nContent-Type: {head}\n\n--a\nContent-Type: text/plain; name=i.txt\n\n{INVOICE}"
        );
        assert!(read(raw).is_ok(), "{}", &head[..30.min(head.len())]);
    }
}

#[test]
fn bad_input_33_dates() {
    let date = |date: &str| read(format!("Subject: x\n{date}\n\nhello")).expect("readable").head.date;
    assert_eq!(date("X: no date"), None);
    assert_eq!(date("Date: nonsense"), None);
    let _ =
        date(&format!("Date: {}Mon, 2 Mar 2026 10:00:00 +0000{}", "(".repeat(100_000), ")".repeat(100_000)));
    let year = |seconds: i64| seconds / 31_556_952 + 1970;
    for odd in ["Date: Mon, 2 Mar 24 10:00:00 +0000", "Date: Mon, 2 Mar 0024 10:00:00 +0000"] {
        assert!(date(odd).is_none_or(|seconds| (1970..=2200).contains(&year(seconds))), "{odd}");
    }
    assert_eq!(date("Date: Mon, 2 Mar 99999 10:00:00 +0000"), None);
}

#[test]
fn bad_input_34_two_message_ids() {
    let head = read("Message-ID: <a@x>\nMessage-ID: <b@x>\nSubject: x\n\nhello").expect("readable").head;
    assert!(matches!(head.message_id.as_deref(), Some("a@x" | "b@x")), "{head:?}");
    assert_eq!(read("Message-ID:\nSubject: x\n\nhello").expect("readable").head.message_id, None);
    let long = format!("Message-ID: <{}@x>\nSubject: x\n\nhello", "a".repeat(100_000));
    assert!(read(long).expect("readable").head.message_id.is_none_or(|id| id.len() <= 300));
}

#[test]
fn bad_input_35_headers_without_end_and_odd_line_ends() {
    let head =
        read([b"Subject: ".as_slice(), &vec![b'x'; (50 << 20) - 9]].concat()).map(|it| it.head.subject.len());
    assert!(head.is_ok_and(|length| length <= 300));
    let raw =
        format!("Subject: a\0b\nContent-Type: text/plain; name=i.txt\n\n{}", INVOICE.replace('\n', "\r\n\0"));
    assert!(read(raw).is_ok());
    let bare = format!("Subject: x\rContent-Type: text/plain; name=i.txt\r\r{}", INVOICE.replace('\n', "\r"));
    assert!(read(bare).is_ok());
}

#[test]
fn bad_input_36_charsets_that_lie() {
    let with = |charset: &str, body: &[u8]| {
        multipart(&[(&format!("Content-Type: text/plain; charset={charset}; name=invoice.txt"), body)])
    };
    for charset in ["utf-7", "x-unknown", "\"\"", "utf-8; charset=utf-16", &"c".repeat(5_000)] {
        let found = documents(with(charset, INVOICE.as_bytes()));
        assert_eq!(found.first().and_then(total), Some("120.00"), "{}", &charset[..8.min(charset.len())]);
    }
    // Says UTF-8, is Shift-JIS; the figures are ASCII in both.
    let lie = [b"\x90\xbf\x8b\x81\x8f\x91\n".as_slice(), INVOICE.as_bytes()].concat();
    assert_eq!(documents(with("utf-8", &lie)).first().and_then(total), Some("120.00"));
    // Words that unfold into words.
    let mut bomb = String::from("Subject:");
    for _ in 0..50_000 {
        let _ = write!(bomb, " =?utf-8?b?PT91dGYtOD9xP2E/PQ==?=\r\n");
    }
    assert!(read(bomb + "\r\nx").is_ok_and(|it| it.head.subject.chars().count() <= 300));
}

#[test]
fn bad_input_37_file_names() {
    let long = "n".repeat(4096);
    for (name, shown) in [
        ("filename=\"../../../invoice.txt\"", "invoice.txt"),
        ("filename=\"C:\\\\x\\\\invoice.txt\"", "invoice.txt"),
        ("filename=CON", "CON"),
        (&format!("filename={long}"), &long[..300]),
        ("filename*=utf-8''invoice%20%C3%BC.txt", "invoice ü.txt"),
        ("filename*1=\"ice.txt\"; filename*0=\"invo\"", "invoice.txt"),
        ("filename*=utf-8''..%2F..%2Finvoice.txt", "invoice.txt"),
    ] {
        let header = format!("Content-Type: text/plain\nContent-Disposition: attachment; {name}");
        let found = documents(multipart(&[(&header, INVOICE.as_bytes())]));
        let names: Vec<_> = found.iter().filter_map(|it| it.file_name.as_deref()).collect();
        assert_eq!(names, [shown], "{}", &name[..30.min(name.len())]);
    }
    let header =
        "Content-Type: text/plain\nContent-Disposition: attachment; filename=\"invoice\u{202e}txt.exe\"";
    let message = read(multipart(&[(header, INVOICE.as_bytes())])).expect("readable");
    assert!(message.documents.is_empty(), "a program, whatever it shows");
    assert!(message.reason.starts_with("invoicetxt.exe: "), "{}", message.reason);
}

#[test]
fn bad_input_38_base64() {
    let header = "Content-Type: text/plain; name=invoice.txt\nContent-Transfer-Encoding: base64";
    let good = "Tm9yZHdpbmQgTHRkCkludm9pY2UgMjAyNi0xNwpEYXRlOiA0IE1hcmNoIDIwMjYKTmV0IDEwMC4wMCBFVVIKVkFUIDIwJSAyMC4wMCBF\n\
                VVIKVG90YWwgMTIwLjAwIEVVUgo=";
    for body in [good.to_owned(), good.replace('=', ""), good.replace("Tm9y", "Tm 9\r\ny")] {
        let found = documents(multipart(&[(header, body.as_bytes())]));
        assert_eq!(found.first().and_then(total), Some("120.00"), "{body}");
    }
    let _ = read(multipart(&[(header, good.replace("Tm9y", "Tm9y*!\u{7}").as_bytes())])).expect("readable");
    // One line of 40 MB.
    let line = "QUJD".repeat(10 << 20);
    assert!(read(multipart(&[(header, line.as_bytes())])).is_ok());
}

#[test]
fn bad_input_39_files_that_are_something_else() {
    let page = b"<html><body><table><tr><td>Nordwind Ltd<tr><td>Invoice 2026-17<tr><td>Date<td>4 March 2026\
                 <tr><td>Total<td>120.00 EUR</table></body></html>";
    let found = documents(attached("invoice.pdf", page));
    assert!(
        found.iter().all(|it| it.media_type != "application/pdf" || it.state != State::Filed),
        "{found:?}"
    );
    let printed = super::made::of_text(INVOICE);
    let found = documents(attached("invoice.txt", &printed));
    assert_eq!(found.first().map(|it| it.media_type.as_str()), Some("application/pdf"), "by its bytes");
    assert_eq!(found.first().and_then(total), Some("120.00"));
    // Nothing to read: a reason, and no bytes made up.
    for (name, bytes, kind) in [
        ("invoice.pdf", b"".as_slice(), "application/pdf"),
        ("winmail.dat", b"\x78\x9f\x3e\x22\0\0", "application/ms-tnef"),
        ("smime.p7m", b"\x30\x80\x06\x09", "application/pkcs7-mime"),
        ("encrypted.asc", b"-----BEGIN PGP MESSAGE-----\n", "application/pgp-encrypted"),
        ("invite.ics", b"BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar"),
    ] {
        let header =
            format!("Content-Type: {kind}; name={name}\nContent-Disposition: attachment; filename={name}");
        let message = read(multipart(&[(&header, bytes)])).expect("readable");
        assert!(
            message.documents.iter().all(|it| it.state != State::Filed),
            "{name}: {:?}",
            message.documents
        );
        assert!(!message.documents.is_empty() || !message.reason.is_empty(), "{name}: it says why");
    }
}

#[test]
fn bad_input_40_one_invoice_in_many_shapes() {
    let text = ("Content-Type: text/plain; name=invoice.txt", INVOICE.as_bytes());
    let printed = super::made::of_text(INVOICE);
    let pdf = ("Content-Type: application/pdf; name=invoice.pdf", printed.as_slice());
    let picture =
        ("Content-Type: image/png; name=logo.png\nContent-ID: <logo>", b"\x89PNG\r\n\x1a\n".as_slice());
    let twice = documents(multipart(&[pdf, picture, pdf]));
    assert_eq!(twice.len(), 1, "{twice:?}");
    // Beside it in a mail that forwards the whole.
    let inner = multipart(&[pdf]);
    let forwarded = documents(multipart(&[("Content-Type: message/rfc822", &inner), pdf]));
    assert_eq!(forwarded.len(), 1, "{forwarded:?}");
    let shapes = documents(multipart(&[pdf, text]));
    assert!(shapes.iter().all(|it| total(it) == Some("120.00")), "{shapes:?}");
}

#[test]
fn bad_input_41_only_a_link_or_only_html() {
    let link =
        "Subject: Your invoice is ready\nContent-Type: text/plain\n\nDownload it: https://pay.example/i/17\n";
    assert!(documents(link).iter().all(|it| it.fields.total.value.is_none()), "no link is followed");
    let html = "From: Nordwind Ltd <a@nordwind.example>\nSubject: Invoice 2026-17\nContent-Type: text/html\n\n\
                <table><tr><td>Invoice number<td>2026-17<tr><td>Invoice date<td>4 March 2026\
                <tr><td>Total<td>120.00 EUR</table>";
    let found = documents(html);
    let found = found.first().expect("a document in the mail itself");
    assert_eq!((total(found), found.fields.total.origin), (Some("120.00"), Some(Origin::Html)));
}

/// Nothing of a mail is believed, so nothing of it is marked as proven either: bank details are no field.
#[test]
fn bad_input_42_a_spoofed_supplier() {
    let raw = format!(
        "From: Nordwind Ltd <billing@evil.example>\nSubject: Invoice 2026-17\n\
         Authentication-Results: mx.example; spf=fail; dkim=fail; dmarc=fail\n\
         Content-Type: text/plain; name=invoice.txt\n\n{INVOICE}IBAN DE89 3704 0044 0532 0130 00\n"
    );
    let found = documents(raw);
    let fields = serde_json::to_string(&found.first().expect("a document").fields).expect("JSON");
    assert!(!fields.contains("3704"), "{fields}");
}

/// Found by changing fixtures at random: a mark that turns the direction stood in a supplier's name.
#[test]
fn fields_hold_nothing_hidden() {
    let raw =
        attached("invoice.txt", INVOICE.replace("Nordwind Ltd", "Nord\u{202e}wind\u{200b} Ltd").as_bytes());
    let found = documents(raw);
    let fields = serde_json::to_string(&found.first().expect("a document").fields).expect("JSON");
    assert!(!fields.contains(['\u{202e}', '\u{200b}']), "{fields}");
}

/// Found by fuzzing.
#[test]
fn a_sender_is_one_line_of_bounded_length() {
    let (name, address) = ("N".repeat(280), format!("{}@mail.example", "a".repeat(200)));
    let raw = format!("From: {name} <{address}>\nSubject: x\n\nhello\n");
    let head = read(raw.into_bytes()).expect("readable").head;
    assert!(head.from.starts_with("NNN") && head.from.chars().count() <= 300, "{}", head.from);
}
