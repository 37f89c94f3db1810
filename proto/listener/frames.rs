//! What comes in on an HTTP/2 connection, by the heads of its frames (RFC 9113, section 4.1): how much of it is no call.

use super::budget::Cost;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const END_STREAM: u8 = 1;

/// Follows one connection from its preface on.
#[derive(Debug)]
pub struct Frames {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    /// Of the head that has begun.
    have: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE_BYTES, head: [0; HEAD_BYTES], have: 0 }
    }
}

impl Frames {
    /// What the heads among these bytes cost.
    pub fn read(&mut self, mut bytes: &[u8]) -> Cost {
        let mut sum: Cost = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD_BYTES - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD_BYTES {
                let [high, mid, low, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, high, mid, low]);
                sum = sum.saturating_add(cost(kind, flags, length));
                self.skip = length as usize;
                self.have = 0;
            }
        }
        sum
    }
}

/// Honest clients send few of these; calls, their messages and the windows for answers cost nothing here.
fn cost(kind: u8, flags: u8, length: u32) -> Cost {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;
    match kind {
        // No honest header list is that long. Much of it is decoded before it is refused.
        CONTINUATION => 100 + length / 100,
        RST_STREAM | SETTINGS => 10,
        PING => 2,
        DATA if length == 0 && flags & END_STREAM == 0 => 1,
        DATA | HEADERS | WINDOW_UPDATE => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn traffic() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, payload) in [
            (4, 0, &[][..]),
            (1, 4, &[7; 40]),
            (0, 0, &[0; 5]),
            (0, END_STREAM, &[]),
            (0, 0, &[]),
            (8, 0, &[0; 4]),
            (3, 0, &[0; 4]),
            (6, 0, &[3; 8]),
            (9, 0, &[6; 300]),
        ] {
            bytes.extend(frame(kind, flags, payload));
        }
        bytes
    }

    #[test]
    fn calls_are_free_and_floods_are_not() {
        assert_eq!(Frames::default().read(&traffic()), 10 + 1 + 10 + 2 + 103);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut() {
        let (traffic, whole) = (traffic(), Frames::default().read(&traffic()));
        for size in 1..traffic.len() {
            let mut frames = Frames::default();
            let cut: Cost = traffic.chunks(size).map(|part| frames.read(part)).sum();
            assert_eq!(cut, whole, "parts of {size}");
        }
    }
}
