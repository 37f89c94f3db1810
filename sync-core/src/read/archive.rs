//! Members of zip archives, within bounds that no bomb gets past.
//!
//! Sizes are counted while unpacking: what the archive says about itself is only a first hint. Links are
//! skipped; names lose their folders; nothing is written anywhere.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::clean;
use crate::document::Limits;

pub struct Member {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// What is left of the bounds for one message: all its archives share them.
pub struct Budget {
    bytes: usize,
    members: usize,
    ratio: usize,
}

impl Budget {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { bytes: limits.archive_bytes, members: limits.parts, ratio: limits.archive_ratio.max(1) }
    }
}

#[must_use]
pub fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The members, and why the rest is missing.
#[must_use]
pub fn members(bytes: &[u8], budget: &mut Budget) -> (Vec<Member>, String) {
    let mut out = Vec::new();
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => return (out, format!("the archive cannot be read: {error}")),
    };
    if archive.len() > budget.members {
        return (out, format!("the archive has {} members", archive.len()));
    }
    let mut trouble = String::new();
    for index in 0..archive.len() {
        match member(&mut archive, index, budget) {
            Ok(member) => out.extend(member),
            Err(error) => {
                trouble = error;
                if budget.bytes == 0 {
                    break;
                }
            }
        }
    }
    (out, trouble)
}

fn member(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    budget: &mut Budget,
) -> Result<Option<Member>, String> {
    let mut file = archive.by_index(index).map_err(|e| format!("a member cannot be read: {e}"))?;
    budget.members = budget.members.saturating_sub(1);
    let is_link = file.unix_mode().is_some_and(|mode| mode & 0o170_000 == 0o120_000);
    if file.is_dir() || is_link {
        return Ok(None);
    }
    if file.encrypted() {
        return Err("a member is encrypted".into());
    }
    let packed = usize::try_from(file.compressed_size()).unwrap_or(usize::MAX);
    let name = clean::file_name(&String::from_utf8_lossy(file.name_raw()));
    // small files may be packed tighter than any ratio without harm
    let allowed = packed.saturating_mul(budget.ratio).max(64 << 10).min(budget.bytes);
    let mut bytes = Vec::new();
    let limit = u64::try_from(allowed).unwrap_or(u64::MAX).saturating_add(1);
    (&mut file).take(limit).read_to_end(&mut bytes).map_err(|e| format!("{name} is damaged: {e}"))?;
    if bytes.len() > allowed {
        budget.bytes = budget.bytes.saturating_sub(allowed);
        return Err(format!("{name} unpacks to more than the bounds allow"));
    }
    budget.bytes -= bytes.len();
    Ok(Some(Member { name, bytes }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        for (name, bytes) in files {
            zip.start_file(*name, options).expect("start");
            zip.write_all(bytes).expect("write");
        }
        zip.finish().expect("finish").into_inner()
    }

    #[test]
    fn names_lose_their_folders() {
        let zip = pack(&[("../../etc/passwd", b"x"), ("a/b.xml", b"<x/>")]);
        let (members, trouble) = members(&zip, &mut Budget::new(&Limits::default()));
        let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["passwd", "b.xml"]);
        assert!(trouble.is_empty());
    }

    #[test]
    fn a_bomb_stops_at_its_bounds() {
        let zeros = vec![0u8; 5 << 20];
        let zip = pack(&[("bomb", &zeros), ("small.txt", b"hello")]);
        let (members, trouble) = members(&zip, &mut Budget::new(&Limits::default()));
        assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["small.txt"]);
        assert!(trouble.contains("bomb"));
    }

    #[test]
    fn links_and_junk_are_skipped() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).expect("link");
        let bytes = zip.finish().expect("finish").into_inner();
        assert!(members(&bytes, &mut Budget::new(&Limits::default())).0.is_empty());
        for cut in 0..bytes.len() {
            let _ = members(bytes.get(..cut).unwrap_or_default(), &mut Budget::new(&Limits::default()));
        }
    }
}
