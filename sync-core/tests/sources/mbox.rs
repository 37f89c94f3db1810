//! mbox files as programs write them: where messages begin and end, and what is read.

use std::fs;
use std::io::Write as _;
use std::sync::atomic::Ordering;

use sync_core::source::{Fetched, Source as _};

use super::{Folder, ids, ms};

pub const A: &str = "From - \nSubject: a\nDate: Mon, 05 Jan 2026 07:41:00 +0000\n\nbody a\n\n";
const B: &str = "From x@y.example Mon Jan  5 07:41:00 2026\nSubject: b\n\n>From me\nbody b\n\n";
const C: &str = "From 123@xxx\nSubject: c\n\nFrom Russia with love\nYear: 1963\n\n";

#[tokio::test]
async fn an_mbox_is_read_from_where_the_last_run_ended() {
    let folder = Folder::new();
    folder.write("in.mbox", &format!("\u{feff}{A}{B}"));
    let mut cursor = None;
    let first = folder.changes("in.mbox", &mut cursor).await;
    assert_eq!(first.len(), 2);
    assert_eq!(first[1].1, "Subject: b\n\nFrom me\nbody b\n");
    assert!(folder.changes("in.mbox", &mut cursor).await.is_empty());

    folder.write("in.mbox", &format!("\u{feff}{A}{B}{C}"));
    let second = folder.changes("in.mbox", &mut cursor).await;
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].1, "Subject: c\n\nFrom Russia with love\nYear: 1963\n");
}

/// A program removed the first mail, set flags on the second and a third came: same size or larger.
#[tokio::test]
async fn a_rewritten_mbox_is_read_again_under_the_same_identities() {
    let folder = Folder::new();
    folder.write("in.mbox", &format!("{A}{B}"));
    let mut cursor = None;
    let before = folder.changes("in.mbox", &mut cursor).await;
    let flagged = B.replace("Subject: b", "Status: RO\nX-Mozilla-Status: 0001\nSubject: b");
    folder.write("in.mbox", &format!("{flagged}{C}{}", C.replace("Russia", "Rome")));
    let after = folder.changes("in.mbox", &mut cursor).await;
    assert_eq!(after.len(), 3);
    assert_eq!(after[0].0.id, before[1].0.id);
    // And a truncated one.
    folder.write("in.mbox", A);
    let truncated = folder.changes("in.mbox", &mut cursor).await;
    assert_eq!(ids(&truncated), [before[0].0.id.as_str()]);
    // An item of a listing that is out of date is not taken for another message.
    let source = folder.source("in.mbox");
    assert_eq!(source.fetch(&after[1].0).await.unwrap(), Fetched::Gone);
}

#[tokio::test]
async fn the_last_message_of_an_mbox_waits_until_it_is_whole() {
    let folder = Folder::new();
    folder.write("in.mbox", &format!("{A}{}", &B[..B.len() - 8]));
    let settled = folder.now.load(Ordering::Relaxed);
    let modified = ms(fs::metadata(folder.path("in.mbox")).unwrap().modified().unwrap());
    folder.now.store(modified + 100, Ordering::Relaxed);
    let mut cursor = None;
    assert_eq!(folder.changes("in.mbox", &mut cursor).await.len(), 1);
    folder.write("in.mbox", &format!("{A}{B}"));
    folder.now.store(settled, Ordering::Relaxed);
    folder.write("in.mbox.lock", "");
    assert!(folder.changes("in.mbox", &mut cursor).await.is_empty());
    fs::remove_file(folder.path("in.mbox.lock")).unwrap();
    let rest = folder.changes("in.mbox", &mut cursor).await;
    assert_eq!(rest.len(), 1);
    assert!(rest[0].1.ends_with("body b\n"));
}

#[tokio::test]
async fn since_and_pages_bound_an_mbox() {
    let mut folder = Folder::new();
    let many: String = (0..450).map(|n| A.replace("body a", &format!("body {n}"))).collect();
    folder.write("in.mbox", &many);
    let source = folder.source("in.mbox");
    assert!(source.changes(None).await.unwrap().more);
    assert_eq!(folder.changes("in.mbox", &mut None).await.len(), 450);
    folder.since = Some(1_800_000_000_000);
    assert!(folder.changes("in.mbox", &mut None).await.is_empty());
}

fn subject(raw: &str) -> &str {
    raw.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("(none)")
}

fn body(raw: &str) -> &str {
    let crlf = raw.split_once("\r\n\r\n");
    crlf.or_else(|| raw.split_once("\n\n")).map_or("", |(_, body)| body)
}

/// Reads a file whole and compares subject and body of each message, in their order.
async fn check(name: &str, file: &str, expected: &[(&str, &str)]) {
    let folder = Folder::new();
    folder.write("in.mbox", file);
    let found = folder.changes("in.mbox", &mut None).await;
    let found: Vec<(&str, &str)> = found.iter().map(|(_, raw)| (subject(raw), body(raw))).collect();
    assert_eq!(found, expected, "{name}");
}

/// mboxrd quotes every line that begins `>*From `, mboxo only `From `, so that a `>From ` of an mboxo that was one in
/// the original cannot be told from a quoted line and loses its `>`.
#[tokio::test]
async fn from_lines_that_writers_quoted_are_read_as_they_were() {
    let mboxrd = "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: rd\n\n\
                  >From the start\n>>From a reply\n>>>From its reply\n> From a quote\n>Fromage\n\n\
                  From b@x.example Tue Jan  6 07:41:00 2026\nSubject: next\n\nb\n";
    let read = "From the start\n>From a reply\n>>From its reply\n> From a quote\n>Fromage\n";
    check("mboxrd", mboxrd, &[("rd", read), ("next", "b\n")]).await;
    let mboxo = "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: o\n\n\
                 >From the start\nall from here\n\n\
                 From b@x.example Tue Jan  6 07:41:00 2026\nSubject: next\n\nb\n";
    check("mboxo", mboxo, &[("o", "From the start\nall from here\n"), ("next", "b\n")]).await;
}

/// mboxcl writers go on quoting or do not; in both the number is wrong as soon as another program edits the file.
#[tokio::test]
async fn a_content_length_that_lies_moves_no_boundary() {
    for length in ["0", "3", "7", "40", "99999999999999999999", "-1", "seven"] {
        let file = format!(
            "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: one\nContent-Length: {length}\n\nfirst\n\n\
             From b@x.example Mon Jan  5 07:42:00 2026\nSubject: two\nContent-Length: {length}\n\nsecond\n\n"
        );
        check(length, &file, &[("one", "first\n"), ("two", "second\n")]).await;
    }
}

#[tokio::test]
async fn a_separator_needs_no_blank_line_before_it() {
    let file = "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: one\n\nfirst\n\
                From b@x.example Mon Jan  5 07:42:00 2026\nSubject: two\n\nsecond\n\n\n\
                From c@x.example Mon Jan  5 07:43:00 2026\nSubject: three\n\nthird";
    // Of several blank lines the last one belongs to the separator.
    check("tight", file, &[("one", "first\n"), ("two", "second\n\n"), ("three", "third")]).await;
    let empty = "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: no body\n\
                 From b@x.example Mon Jan  5 07:42:00 2026\nSubject: no body either\n\n\
                 From c@x.example Mon Jan  5 07:43:00 2026\nSubject: three\n\nthird\n";
    check("bodies", empty, &[("no body", ""), ("no body either", ""), ("three", "third\n")]).await;
}

#[tokio::test]
async fn crlf_files_split_as_their_lf_twins() {
    let file = "From a@x.example Mon Jan  5 07:41:00 2026\nSubject: one\n\nfirst\n>From quoted\n\n\
                From - \nSubject: two\n\nsecond\n\n";
    check("lf", file, &[("one", "first\nFrom quoted\n"), ("two", "second\n")]).await;
    let crlf = file.replace('\n', "\r\n");
    check("crlf", &crlf, &[("one", "first\r\nFrom quoted\r\n"), ("two", "second\r\n")]).await;
    let mixed = file.replacen('\n', "\r\n", 5);
    check("mixed", &mixed, &[("one", "first\r\nFrom quoted\r\n"), ("two", "second\n")]).await;
}

/// Writers that do not quote: prose that begins with From, and a separator that somebody pasted.
#[tokio::test]
async fn from_lines_inside_bodies_do_not_split() {
    let bodies = [
        "From Russia with love\nYear: 1963\n",
        "From: a@x.example\nTo: b@x.example\n\nforwarded\n",
        "From \nnothing: at all\n",
        "From Monday on, at 9:00, in 2026\nnew: hours\n",
        // A pasted separator with no header after it.
        "From a@x.example Mon Jan  5 07:41:00 2026\nthis is what they look like\n",
        "From a@x.example Mon Jan  5 07:41:00 2026\n\nand a blank line\n",
        "FROM A@X.EXAMPLE MON JAN  5 07:41:00 2026\nSubject: shouted\n",
        " From a@x.example Mon Jan  5 07:41:00 2026\nSubject: indented\n",
    ];
    for text in bodies {
        let file = format!("From - Mon Jan  5 07:41:00 2026\nSubject: one\n\n{text}\n{C}");
        check(text, &file, &[("one", text), ("c", "From Russia with love\nYear: 1963\n")]).await;
    }
}

#[tokio::test]
async fn separators_of_many_programs_and_what_stands_before_the_first() {
    let separators = [
        "From - ",
        "From - Mon Jan 05 07:41:00 2026",
        "From 1844347792267117879@xxx Fri Sep 26 17:18:41 +0000 2025",
        "From MAILER-DAEMON Mon Jan  5 07:41:00 2026",
        "From \"John Q. Public\"@x.example Mon Jan  5 07:41:00 2026",
        "From a@x.example  Mon Jan  5 07:41:00 CET 2026",
        "From a@x.example Mon Jan  5 07:41:00 2026 remote from uucp",
        "From ???@??? Mon Jan 05 07:41:00 2026",
    ];
    let subjects: Vec<String> = (0..separators.len()).map(|n| format!("mail {n}")).collect();
    let message =
        |(separator, subject): (&&str, &String)| format!("{separator}\nSubject: {subject}\n\ntext\n\n");
    let file: String = separators.iter().zip(&subjects).map(message).collect();
    let expected: Vec<(&str, &str)> = subjects.iter().map(|subject| (subject.as_str(), "text\n")).collect();
    check("all", &file, &expected).await;
    check("byte order mark", &format!("\u{feff}{file}"), &expected).await;
    check("a note first", &format!("exported by a program\n\n{file}"), &expected).await;
    check("no separator at all", "Subject: a mail, not a mailbox\n\ntext\n", &[]).await;
    check("empty", "", &[]).await;
}

fn numbered(range: std::ops::Range<usize>) -> String {
    let one = |n| format!("From a@x.example Mon Jan  5 07:41:00 2026\nSubject: mail {n}\n\ntext {n}\n\n");
    range.map(one).collect()
}

/// A mail arrives between two pages of one listing, and another between listing and fetching.
#[tokio::test]
async fn mail_that_is_appended_while_the_file_is_read_is_named_once() {
    let folder = Folder::new();
    folder.write("in.mbox", &numbered(0..450));
    let append = |text: &str| {
        let mut file = fs::File::options().append(true).open(folder.path("in.mbox")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let source = folder.source("in.mbox");
    let (mut cursor, mut found) = (None, Vec::new());
    for arriving in 450.. {
        let page = source.changes(cursor.as_deref()).await.unwrap();
        if page.items.is_empty() {
            break;
        }
        if arriving < 453 {
            append(&numbered(arriving..arriving + 1));
        }
        for item in &page.items {
            let Fetched::Message(raw) = source.fetch(item).await.unwrap() else { panic!("{item:?}") };
            found.push(subject(&String::from_utf8_lossy(&raw)).to_owned());
        }
        cursor = Some(page.next);
    }
    let expected: Vec<String> = (0..453).map(|n| format!("mail {n}")).collect();
    assert_eq!(found, expected);
}

/// A writer died in the last message. What is there is read once the file has settled; when the rest comes after all,
/// the whole message is another one, and those before it keep their identities.
#[tokio::test]
async fn a_truncated_last_message_is_read_as_far_as_it_goes() {
    let (complete, cut) = (numbered(0..2), numbered(2..3));
    for (end, torn) in [
        (" mail 2", ("(none)", "")),
        ("2\n\ntext", ("mail ", "")),
        ("\n\ntext", ("mail 2", "")),
        ("xt 2", ("mail 2", "te")),
        ("2\n\n", ("mail 2", "text ")),
    ] {
        let folder = Folder::new();
        let at = cut.rfind(end).unwrap();
        folder.write("in.mbox", &format!("{complete}{}", &cut[..at]));
        let mut cursor = None;
        let first = folder.changes("in.mbox", &mut cursor).await;
        let read: Vec<(&str, &str)> = first.iter().map(|(_, raw)| (subject(raw), body(raw))).collect();
        assert_eq!(read, [("mail 0", "text 0\n"), ("mail 1", "text 1\n"), torn], "cut before {end:?}");
        folder.write("in.mbox", &format!("{complete}{cut}"));
        let second = folder.changes("in.mbox", &mut cursor).await;
        assert_eq!(ids(&second)[..2], ids(&first)[..2], "cut before {end:?}");
        assert_ne!(ids(&second)[2], ids(&first)[2], "cut before {end:?}");
        assert_eq!((second.len(), subject(&second[2].1), body(&second[2].1)), (3, "mail 2", "text 2\n"));
    }
}

/// A separator that is not whole yet cannot be told from a last line; nothing before or after it is lost.
#[tokio::test]
async fn a_truncated_separator_hides_no_message() {
    let (complete, cut) = (numbered(0..2), numbered(2..3));
    for (end, last) in [
        ("From ", "text 1\n"),
        ("@x", "text 1\n\nFrom a"),
        ("\nSubject", "text 1\n\nFrom a@x.example Mon Jan  5 07:41:00 2026"),
    ] {
        let folder = Folder::new();
        folder.write("in.mbox", &format!("{complete}{}", &cut[..cut.find(end).unwrap()]));
        let mut cursor = None;
        let first = folder.changes("in.mbox", &mut cursor).await;
        let read: Vec<(&str, &str)> = first.iter().map(|(_, raw)| (subject(raw), body(raw))).collect();
        assert_eq!(read, [("mail 0", "text 0\n"), ("mail 1", last)], "cut before {end:?}");
        folder.write("in.mbox", &format!("{complete}{cut}"));
        let second = folder.changes("in.mbox", &mut cursor).await;
        let (item, raw) = second.last().unwrap();
        assert_eq!((subject(raw), body(raw)), ("mail 2", "text 2\n"), "cut before {end:?}");
        assert!(!ids(&first).contains(&item.id.as_str()));
    }
}
