//! PDFs made by hand, good and bad: 44 to 48.

use std::fmt::Write as _;

use sync_core::document::State;

use super::{INVOICE, attached, documents, read, total};

/// Objects numbered from 1, with a table of their places; object 1 is the catalog.
pub fn of_objects(objects: &[Vec<u8>], trailer: &str) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut table = String::from("0000000000 65535 f \n");
    for (at, object) in objects.iter().enumerate() {
        let _ = write!(table, "{:010} 00000 n \n", out.len());
        out.extend_from_slice(format!("{} 0 obj\n", at + 1).as_bytes());
        out.extend_from_slice(object);
        out.extend_from_slice(b"\nendobj\n");
    }
    let (start, size) = (out.len(), objects.len() + 1);
    let end = format!(
        "xref\n0 {size}\n{table}trailer\n<</Size {size}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n"
    );
    out.extend_from_slice(end.as_bytes());
    out
}

pub fn stream(dictionary: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!("<<{dictionary}/Length {}>>\nstream\n", bytes.len());
    [head.as_bytes(), bytes, b"\nendstream"].concat()
}

/// One page of text in Helvetica; `catalog` and `more` objects, numbered from 6, as they are wanted.
pub fn with(text: &str, catalog: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let lines: String = text.lines().map(|line| format!("({line}) Tj T*\n")).collect();
    let content = format!("BT /F1 12 Tf 16 TL 50 800 Td\n{lines}ET");
    let mut objects = vec![
        format!("<</Type/Catalog/Pages 2 0 R{catalog}>>").into_bytes(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_vec(),
        stream("", content.as_bytes()),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_vec(),
    ];
    objects.extend_from_slice(more);
    of_objects(&objects, "")
}

pub fn of_text(text: &str) -> Vec<u8> {
    with(text, "", &[])
}

/// What zlib makes of it.
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Read as _, Write as _};
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("x", options).unwrap();
    zip.write_all(bytes).unwrap();
    let mut archive = zip::ZipArchive::new(zip.finish().unwrap()).unwrap();
    let mut raw = vec![0x78, 0x9c];
    archive.by_index_raw(0).unwrap().read_to_end(&mut raw).unwrap();
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    raw.extend_from_slice(&(b << 16 | a).to_be_bytes());
    raw
}

/// It is an answer, whatever it is, and nothing was read out of nothing.
fn unread(bytes: &[u8]) {
    let message = read(attached("invoice.pdf", bytes)).expect("readable");
    assert!(message.documents.iter().all(|it| it.state != State::Filed), "{:?}", message.documents);
    assert!(!message.documents.is_empty() || !message.reason.is_empty(), "it says why");
}

#[test]
fn what_is_made_by_hand_is_a_pdf() {
    let found = documents(attached("invoice.pdf", &of_text(INVOICE)));
    assert_eq!(found.first().and_then(total), Some("120.00"), "{found:?}");
}

#[test]
fn bad_input_44_deep_arrays() {
    for (open, close) in [("[", "]"), ("<</A", ">>"), ("(", ")")] {
        let deep = [open.repeat(10_380), close.repeat(10_380)].concat();
        let _ = read(attached("invoice.pdf", &with(INVOICE, "/X 6 0 R", &[deep.into_bytes()])));
    }
}

#[test]
fn bad_input_45_loops_and_impossible_sizes() {
    let good = String::from_utf8(of_text(INVOICE)).unwrap();
    let start = good.rfind("xref\n0").unwrap();
    let _ = read(attached("invoice.pdf", good.replace("/Root", &format!("/Prev {start}/Root")).as_bytes()));
    let _ = read(attached("invoice.pdf", good.replace("/Size 6", "/Size 2147483648").as_bytes()));
    let _ = read(attached("invoice.pdf", good.replace("xref\n0 6", "xref\n0 4294967295").as_bytes()));
    unread(good.replace("/Kids[3 0 R]", "/Kids[2 0 R]").as_bytes());
    let _ = read(attached("invoice.pdf", good.replace("/Kids[3 0 R]", "/Kids[3 0 R 2 0 R 3 0 R]").as_bytes()));
    unread(good.replace("/Contents 4 0 R", "/Contents 3 0 R").as_bytes());
    // A length that is its own stream; a stream of objects that lies in itself.
    let own = b"<</Length 6 0 R>>\nstream\nx\nendstream".to_vec();
    let _ = read(attached("invoice.pdf", &with(INVOICE, "/X 6 0 R", &[own])));
    let objects = stream("/Type/ObjStm/N 1/First 4/Extends 6 0 R", b"6 0 <</A 6 0 R>>");
    let _ = read(attached("invoice.pdf", &with(INVOICE, "/X 6 0 R", &[objects])));
    // A font and a form that draw themselves.
    let form = stream("/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 4 0 R>>>>", b"/F Do");
    let drawn = good.replace("/Font<<", "/XObject<</F 6 0 R>>/Font<<").replace("BT ", "/F Do BT ");
    let _ = read(attached("invoice.pdf", drawn.as_bytes()));
    let _ = read(attached("invoice.pdf", &with(INVOICE, "/X 6 0 R", &[form])));
}

#[test]
fn bad_input_46_layers_and_pictures() {
    let mut layers = vec![b' '; 16 << 20];
    for _ in 0..5 {
        layers = deflated(&layers);
    }
    let filters = "/Filter[/FlateDecode/FlateDecode/FlateDecode/FlateDecode/FlateDecode]";
    let bomb = with(INVOICE, "/X 6 0 R", &[stream(filters, &layers)]);
    assert!(bomb.len() < 64 << 10);
    assert_eq!(documents(attached("invoice.pdf", &bomb)).first().and_then(total), Some("120.00"), "nobody asks for it");
    let picture = "/Type/XObject/Subtype/Image/Width 100000/Height 100000/ColorSpace/DeviceRGB/BitsPerComponent 8";
    let pages = with(INVOICE, "/X 6 0 R", &[stream(picture, b"x")]);
    assert_eq!(documents(attached("invoice.pdf", &pages)).first().and_then(total), Some("120.00"));
    // The page itself is the bomb: its child's memory or the decoder's own bound ends it; here it is small.
    let page = String::from_utf8_lossy(&of_text(INVOICE)).replace("/Contents 4 0 R", "/Contents 6 0 R");
    let _ = read(attached("invoice.pdf", page.as_bytes()));
}

/// Actions are not taken, and what is embedded is not opened twice.
#[test]
fn bad_input_47_actions_and_embedded_files() {
    let script = "/OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>/AA<</O<</S/Launch/F(/bin/sh)>>>>";
    let found = documents(attached("invoice.pdf", &with(INVOICE, script, &[])));
    assert_eq!(found.first().and_then(total), Some("120.00"));
    let (inner, names) = (of_text("Nordwind Ltd\nInvoice 99\nTotal 999.00 EUR"), "/Names<</EmbeddedFiles<</Names[(a.pdf) 6 0 R]>>>>");
    let file = b"<</Type/Filespec/F(a.pdf)/EF<</F 7 0 R>>>>".to_vec();
    let outer = with(INVOICE, names, &[file.clone(), stream("/Type/EmbeddedFile", &inner)]);
    let outermost = with(INVOICE, names, &[file, stream("/Type/EmbeddedFile", &outer)]);
    let found = documents(attached("invoice.pdf", &outermost));
    assert_eq!(found.iter().map(total).collect::<Vec<_>>(), [Some("120.00")]);
}

/// A copy of the text is what the file says, not what it shows: told in docs/documents.md, and no reason to fail.
#[test]
fn bad_input_48_glyphs_that_copy_as_others() {
    let map = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange \
                1 beginbfrange <30> <39> <0041> endbfrange 1 beginbfchar <41> <D800> endbfchar endcmap end end";
    let page = String::from_utf8(with(INVOICE, "", &[stream("", map)])).unwrap();
    let page = page.replace("/Encoding/WinAnsiEncoding", "/ToUnicode 6 0 R");
    let found = documents(attached("invoice.pdf", page.as_bytes()));
    assert!(found.iter().all(|it| total(it).is_none_or(|total| total.parse::<f64>().is_ok())), "{found:?}");
}
