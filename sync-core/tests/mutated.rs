//! The fixtures, changed at random, through what `fuzz/` feeds: a look at the same rules on the stable toolchain, without
//! its guidance. `DOCKET_MUTATIONS` says how many changes of each fixture; `DOCKET_SEED` which.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sync_core::read::fuzzing;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
/// Larger ones would take most of the time.
const BYTES_MAX: usize = 64 << 10;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Calls `target` with changes of each fixture; names what it was called with when it panics.
fn each(folder: &str, ending: &str, target: impl Fn(&[u8])) {
    let seed = number("DOCKET_SEED", 1);
    let mut files: Vec<_> = fs::read_dir(Path::new(FIXTURES).join(folder)).unwrap().flatten().collect();
    files.sort_by_key(fs::DirEntry::path);
    for file in
        files.iter().map(fs::DirEntry::path).filter(|path| path.extension().is_some_and(|it| it == ending))
    {
        let original = fs::read(&file).unwrap();
        if original.len() > BYTES_MAX {
            continue;
        }
        for round in 0..number("DOCKET_MUTATIONS", 3) {
            let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(round));
            let bytes = changed(&original, &mut random);
            let call = std::panic::AssertUnwindSafe(|| target(&bytes));
            assert!(std::panic::catch_unwind(call).is_ok(), "{}, seed {seed}, round {round}", file.display());
        }
    }
}

/// A few of: a byte set, a piece copied elsewhere, a piece removed, a number made extreme.
fn changed(original: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..random.random_range(1..8) {
        if bytes.len() < 16 {
            break;
        }
        let at = random.random_range(0..bytes.len() - 8);
        let piece = at..(at + random.random_range(1..64)).min(bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 => {
                let copy = bytes[piece].to_vec();
                let to = random.random_range(0..bytes.len());
                bytes.splice(to..to, copy);
            }
            2 => drop(bytes.drain(piece)),
            _ => {
                let extreme = [
                    "0",
                    "-1",
                    "4294967296",
                    "9223372036854775807",
                    "\u{202e}",
                    "\u{661}",
                    "99999999999999999999999999999.99",
                ];
                let text = extreme[random.random_range(0..extreme.len())];
                bytes.splice(at..at + 1, text.bytes());
            }
        }
    }
    bytes
}

#[test]
fn mails() {
    each("mails", "eml", fuzzing::mail);
}

#[test]
fn pdfs() {
    each("files", "pdf", fuzzing::pdf);
}

#[test]
fn invoices_in_xml() {
    each("files", "xml", fuzzing::xml);
}

#[test]
fn html() {
    each("mails", "eml", |bytes| fuzzing::html(&String::from_utf8_lossy(bytes)));
}

#[test]
fn dates_and_amounts() {
    each("mails", "eml", |bytes| fuzzing::dates_and_amounts(&String::from_utf8_lossy(bytes)));
}
