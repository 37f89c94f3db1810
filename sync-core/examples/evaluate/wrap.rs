//! A file as the attachment of a mail that gives nothing away.

use std::fmt::Write;

pub fn mail(name: &str, bytes: &[u8]) -> Vec<u8> {
    let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let media_type = match extension.as_str() {
        "pdf" => "application/pdf",
        "xml" => "application/xml",
        "txt" => "text/plain",
        "jpg" => "image/jpeg",
        _ => "application/octet-stream",
    };
    let mut out = format!(
        "From: a@b.test\r\nTo: c@d.test\r\nSubject: file\r\nMIME-Version: 1.0\r\nContent-Type: {media_type}\r\n\
         Content-Disposition: attachment; filename=\"file.{extension}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    for line in base64(bytes).as_bytes().chunks(76) {
        let _ = write!(out, "{}\r\n", String::from_utf8_lossy(line));
    }
    out.into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| (n << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = (n >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    out
}
