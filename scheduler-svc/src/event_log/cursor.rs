//! A place in the log, as clients hold it. Opaque to them.

use std::fmt;

/// One life of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub epoch: u64,
    pub nonce: u32,
}

/// After the event with this number. Numbers begin with 1 in each life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) life: Life,
    pub(super) seq: u64,
}

const EPOCH: usize = 16;
const NONCE: usize = 8;
const SEQ: usize = 16;

impl Cursor {
    /// The same life, another place in it.
    pub fn at(self, seq: u64) -> Self {
        Self { seq, ..self }
    }

    /// None unless the text is exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != EPOCH + NONCE + SEQ || !text.is_ascii() {
            return None;
        }
        let (epoch, rest) = text.split_at(EPOCH);
        let (nonce, seq) = rest.split_at(NONCE);
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let nonce = u32::try_from(number(nonce)?).ok()?;
        let cursor = Self { life: Life { epoch: number(epoch)?, nonce }, seq: number(seq)? };
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life: Life { epoch, nonce }, seq } = self;
        write!(f, "{epoch:016x}{nonce:08x}{seq:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_own_text_only() {
        for seq in [0, 1, u64::MAX] {
            let cursor = Cursor { life: Life { epoch: 7, nonce: u32::MAX }, seq };
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        let text = Cursor { life: Life { epoch: 0xa, nonce: 1 }, seq: 2 }.to_string();
        let plus = text.replacen('0', "+", 1);
        for forged in ["", "0", &text[1..], &format!("{text}0"), &text.to_uppercase(), &plus, &"é".repeat(20)]
        {
            assert_eq!(Cursor::parse(forged), None, "{forged}");
        }
    }
}
