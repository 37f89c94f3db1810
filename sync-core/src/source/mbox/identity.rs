//! A message's identity in an mbox file: a hash that leaves out what mail programs rewrite in place.

use sha2::{Digest, Sha256};

use crate::text;

const REWRITTEN: [&[u8]; 7] =
    [b"status", b"x-status", b"x-keywords", b"x-uid", b"x-imap", b"x-imapbase", b"content-length"];

/// Takes a message line by line; long lines may come in pieces.
#[derive(Default)]
pub struct Hasher {
    hash: Sha256,
    in_body: bool,
    skipping: bool,
    in_line: bool,
}

impl Hasher {
    /// `piece` ends with a newline unless more of the line follows (or the message ends).
    pub fn piece(&mut self, piece: &[u8]) {
        let starts_line = !self.in_line;
        self.in_line = !piece.ends_with(b"\n");
        if starts_line && !self.in_body {
            self.header_line(piece);
        }
        if !self.skipping {
            self.hash.update(piece);
        }
    }

    fn header_line(&mut self, line: &[u8]) {
        if matches!(line, b"\n" | b"\r\n") {
            self.in_body = true;
            self.skipping = false;
        } else if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
            self.skipping = REWRITTEN.contains(&name.as_slice()) || name.starts_with(b"x-mozilla-");
        }
    }

    pub fn finish(self) -> String {
        text::hex(&self.hash.finalize()[..16])
    }
}

pub fn of(message: &[u8]) -> String {
    let mut hasher = Hasher::default();
    message.split_inclusive(|byte| *byte == b'\n').for_each(|line| hasher.piece(line));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_do_not_change_a_message() {
        let plain = of(b"From: a@b\nSubject: x\n\nStatus: body\n");
        assert_eq!(plain, of(b"Status: RO\nFrom: a@b\nX-Keywords: a\n b\nSubject: x\n\nStatus: body\n"));
        assert_ne!(plain, of(b"From: a@b\nSubject: x\n\nStatus: other\n"));
    }
}
