//! PDFs made by hand.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::fmt::Write as _;

/// Objects numbered from 1, with a table of their places; object 1 is the catalog.
pub fn of_objects(objects: &[Vec<u8>], trailer: &str) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut table = String::from("0000000000 65535 f \n");
    for (at, object) in objects.iter().enumerate() {
        let _ = writeln!(table, "{:010} 00000 n ", out.len());
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
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>"
            .to_vec(),
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
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("x", options).unwrap();
    zip.write_all(bytes).unwrap();
    let mut archive = zip::ZipArchive::new(zip.finish().unwrap()).unwrap();
    let mut raw = vec![0x78, 0x9c];
    archive.by_index_raw(0).unwrap().read_to_end(&mut raw).unwrap();
    let (mut a, mut b) = (1u32, 0u32);
    // As many as fit before either sum overflows.
    for bytes in bytes.chunks(4096) {
        for byte in bytes {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65_521, b % 65_521);
    }
    raw.extend_from_slice(&(b << 16 | a).to_be_bytes());
    raw
}
