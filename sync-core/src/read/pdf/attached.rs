//! Files inside a PDF (Factur-X and its kin).

use std::collections::BTreeSet;

use pdf_extract::{Dictionary, Document, Object, ObjectId, decode_text_string};

const FILES_MAX: usize = 50;
const FILE_BYTES_MAX: usize = 20 << 20;
const DEPTH_MAX: usize = 6;

pub struct Attached {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// All file specifications that hold a file, wherever the document keeps them: the name tree, `/AF`,
/// annotations. Looking through the objects needs no walk of trees that may be cyclic or damaged.
#[must_use]
pub fn list(document: &Document) -> Vec<Attached> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    for object in document.objects.values() {
        visit(document, object, 0, &mut seen, &mut out);
        if out.len() >= FILES_MAX {
            break;
        }
    }
    out
}

fn visit(
    document: &Document,
    object: &Object,
    depth: usize,
    seen: &mut BTreeSet<ObjectId>,
    out: &mut Vec<Attached>,
) {
    if depth > DEPTH_MAX || out.len() >= FILES_MAX {
        return;
    }
    match object {
        Object::Dictionary(dictionary) => {
            if let Some(file) = file_of(document, dictionary, seen) {
                out.push(file);
            }
            for (_, value) in dictionary {
                visit(document, value, depth + 1, seen, out);
            }
        }
        Object::Array(items) => items.iter().for_each(|item| visit(document, item, depth + 1, seen, out)),
        _ => {}
    }
}

fn file_of(
    document: &Document,
    specification: &Dictionary,
    seen: &mut BTreeSet<ObjectId>,
) -> Option<Attached> {
    let files = document.dereference(specification.get(b"EF").ok()?).ok()?.1.as_dict().ok()?;
    let target = files.get(b"F").or_else(|_| files.get(b"UF")).ok()?;
    let (id, object) = document.dereference(target).ok()?;
    if let Some(id) = id
        && !seen.insert(id)
    {
        return None;
    }
    let stream = object.as_stream().ok()?;
    let bytes =
        if stream.filters().is_ok() { stream.decompressed_content().ok()? } else { stream.content.clone() };
    let name = ["UF", "F"].iter().find_map(|key| {
        let object = document.dereference(specification.get(key.as_bytes()).ok()?).ok()?.1;
        decode_text_string(object).ok()
    });
    (bytes.len() <= FILE_BYTES_MAX).then(|| Attached { name: name.unwrap_or_default(), bytes })
}
