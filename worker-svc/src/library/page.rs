//! Pages: opaque tokens that fit their own list only, and answers that fit into one message.

use docket::errors::{Reason, Violation, invalid};
use prost::Message;
use sha2::{Digest as _, Sha256};
use tonic::Status;

/// Of the entries of an answer, together: leaves room below the limit of a message.
const ANSWER_BYTES: usize = 3 << 20;
const TOKEN_MAX: usize = 1_024;

/// What a list is of: method, namespace and filter, in any stable form.
pub fn binding(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut binding = [0; 8];
    binding.copy_from_slice(&hash.finalize()[..8]);
    binding
}

/// Where a list goes on: after the entry of this key; in lists by time, of this time as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub time: i64,
    pub key: String,
}

pub fn token(binding: [u8; 8], place: &Place) -> String {
    let bytes = binding.into_iter().chain(place.time.to_be_bytes()).chain(place.key.bytes());
    sync_core::text::hex(&bytes.collect::<Vec<_>>())
}

/// Where a page begins. None for the first.
pub fn position(binding: [u8; 8], token: &str) -> Result<Option<Place>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = decode(token).and_then(|bytes| {
        let (bound_to, rest) = bytes.split_first_chunk::<8>()?;
        let (time, key) = rest.split_first_chunk::<8>()?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        (*bound_to == binding).then_some(Place { time: i64::from_be_bytes(*time), key })
    });
    place.map(Some).ok_or_else(|| {
        let remedy = "is not a token of this list; leave it empty to begin, and keep the filter";
        invalid(Reason::InvalidPageToken, Violation::new("page_token", remedy))
    })
}

fn decode(token: &str) -> Option<Vec<u8>> {
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if token.len() > TOKEN_MAX || !token.len().is_multiple_of(2) || !is_hex {
        return None;
    }
    (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).ok()).collect()
}

/// Cuts `found` to what one answer holds, at most `size` entries. The caller asked the archive for one more than
/// `size`. Returns the entries and, unless they are the last, the token to go on.
pub fn cut<R, M: Message>(
    found: Vec<R>,
    size: u32,
    binding: [u8; 8],
    place: impl Fn(&R) -> Place,
    convert: impl Fn(R) -> M,
) -> (Vec<M>, String) {
    let total = found.len();
    let mut entries: Vec<M> = Vec::with_capacity(total.min(size as usize));
    let (mut bytes, mut last) = (0, None);
    for record in found.into_iter().take(size as usize) {
        let here = place(&record);
        let entry = convert(record);
        bytes += entry.encoded_len();
        if bytes > ANSWER_BYTES && !entries.is_empty() {
            break;
        }
        entries.push(entry);
        last = Some(here);
    }
    let next = last.filter(|_| entries.len() < total).map(|place| token(binding, &place));
    (entries, next.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: usize) -> Place {
        Place { time: 7, key: n.to_string() }
    }

    #[test]
    fn a_token_fits_its_own_list_only() {
        let mine = binding(&[b"ListDocuments", b"default"]);
        let other = binding(&[b"ListDocuments", b"shop"]);
        let place = Place { time: -5, key: "mb-7".into() };
        let token = token(mine, &place);
        assert_eq!(position(mine, &token).unwrap(), Some(place));
        assert!(position(other, &token).is_err());
        for forged in ["zz", "00", "é0", "+0", "0011223344556677", &"0".repeat(5_000)] {
            assert!(position(mine, forged).is_err(), "{forged}");
        }
        assert_eq!(position(mine, "").unwrap(), None);
    }

    #[test]
    fn a_page_ends_at_its_size_or_at_the_limit_of_an_answer() {
        let binding = binding(&[]);
        let cut = |count: usize, size: u32, bytes: usize| {
            let (entries, token) =
                super::cut((0..count).collect(), size, binding, |n| place(*n), |_| "x".repeat(bytes));
            (entries.len(), position(binding, &token).unwrap().map(|place| place.key))
        };
        assert_eq!(cut(3, 3, 1), (3, None));
        assert_eq!(cut(4, 3, 1), (3, Some("2".into())));
        assert_eq!(cut(4, 3, 2 << 20), (1, Some("0".into())), "two do not fit");
        assert_eq!(cut(1, 3, 4 << 20), (1, None), "one always does");
        assert_eq!(cut(0, 3, 1), (0, None));
    }
}
