//! 44 to 48.

use sync_core::document::State;

use super::made::{deflated, of_text, stream, with};
use super::{INVOICE, attached, documents, read, total};

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
    let _ =
        read(attached("invoice.pdf", good.replace("/Kids[3 0 R]", "/Kids[3 0 R 2 0 R 3 0 R]").as_bytes()));
    unread(good.replace("/Contents 4 0 R", "/Contents 3 0 R").as_bytes());
    // A page that is its own parent, and leaves to it what it does not say. Found by fuzzing.
    let circle = good.replace("/Parent 2 0 R", "/Parent 3 0 R").replace("/MediaBox", "/MediaBix");
    unread(circle.replace("/Resources", "/Resourxes").as_bytes());
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
    assert_eq!(
        documents(attached("invoice.pdf", &bomb)).first().and_then(total),
        Some("120.00"),
        "nobody asks for it"
    );
    let picture =
        "/Type/XObject/Subtype/Image/Width 100000/Height 100000/ColorSpace/DeviceRGB/BitsPerComponent 8";
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
    let (inner, names) = (
        of_text("Nordwind Ltd\nInvoice 99\nTotal 999.00 EUR"),
        "/Names<</EmbeddedFiles<</Names[(a.pdf) 6 0 R]>>>>",
    );
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
