//! Page tokens: opaque, and bound to what they page through, so that one list's token is refused by another.

use docket::errors::{Reason, Violation, invalid};
use sha2::{Digest as _, Sha256};
use tonic::Status;

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

/// A token that goes on after `last`.
pub fn token(binding: [u8; 8], last: &str) -> String {
    binding.iter().chain(last.as_bytes()).map(|byte| format!("{byte:02x}")).collect()
}

/// Where a page begins. None for the first.
pub fn position(binding: [u8; 8], token: &str) -> Result<Option<Box<str>>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let position = decode(token).and_then(|bytes| {
        let (bound_to, last) = bytes.split_at_checked(8)?;
        if bound_to != binding { None } else { String::from_utf8(last.to_vec()).ok() }
    });
    match position {
        Some(last) => Ok(Some(last.into())),
        None => Err(invalid(
            Reason::InvalidPageToken,
            Violation::new(
                "page_token",
                "is not a token of this list; leave it empty to begin, and keep the filter",
            ),
        )),
    }
}

fn decode(token: &str) -> Option<Vec<u8>> {
    const TOKEN_MAX: usize = 1_024;
    if token.len() > TOKEN_MAX || !token.len().is_multiple_of(2) || !token.is_ascii() {
        return None;
    }
    (0..token.len()).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_own_list_only() {
        let (mine, other) = (binding(&[b"ListSchedules", b"default"]), binding(&[b"ListSchedules", b"shop"]));
        let token = token(mine, "mb-7");
        assert_eq!(position(mine, &token).unwrap().as_deref(), Some("mb-7"));
        assert!(position(other, &token).is_err());
        for forged in ["zz", "00", "é0", "0011223344556677", &"0".repeat(5_000)] {
            assert!(position(mine, forged).is_err(), "{forged}");
        }
        assert_eq!(position(mine, "").unwrap(), None);
    }
}
