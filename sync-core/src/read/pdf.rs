//! PDF: its text as a sheet, its attached files, and whether it is locked or only a picture.
//!
//! Text is collected glyph by glyph and sorted by place, never in drawing order. Invisible text is not told
//! apart from visible text; rotated text (watermarks, margins) is left out. There is no OCR.

mod attached;
mod glyphs;

use std::iter::successors;

use pdf_extract::Document;

pub use attached::Attached;

use super::sheet::Sheet;

/// A balanced tree of a million pages has less than ten.
const PARENTS_MAX: usize = 64;

pub struct Pdf {
    pub sheet: Sheet,
    pub attached: Vec<Attached>,
    /// Why the text may be incomplete; empty if it was read to the end.
    pub trouble: String,
}

/// Why a PDF gives nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Encrypted,
    Damaged(String),
}

/// # Errors
/// The file is locked or cannot be parsed.
pub fn read(bytes: &[u8]) -> Result<Pdf, Failure> {
    let mut document = guarded(|| Document::load_mem(bytes).map_err(|e| e.to_string()))
        .and_then(|r| r)
        .map_err(|e| if looks_encrypted(bytes) { Failure::Encrypted } else { Failure::Damaged(e) })?;
    // an empty password opens files that only restrict printing
    if document.is_encrypted() && guarded(|| document.decrypt("").is_ok()) != Ok(true) {
        return Err(Failure::Encrypted);
    }
    if guarded(|| is_endless(&document)) != Ok(false) {
        return Err(Failure::Damaged("its pages are nested in a circle".into()));
    }
    let attached = guarded(|| attached::list(&document)).unwrap_or_default();
    let mut collector = glyphs::Collector::default();
    let outcome = guarded(std::panic::AssertUnwindSafe(|| {
        pdf_extract::output_doc(&document, &mut collector).map_err(|e| e.to_string())
    }));
    let trouble = match outcome {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) | Err(error) => error,
    };
    Ok(Pdf { sheet: collector.into_sheet(), attached, trouble })
}

/// Whether a page has more parents than any real one. The parser asks each for what the page does not say, in a recursion
/// that a circle never ends.
fn is_endless(document: &Document) -> bool {
    let parent = |id| document.get_dictionary(id).ok()?.get(b"Parent").ok()?.as_reference().ok();
    document.page_iter().any(|page| successors(Some(page), |id| parent(*id)).nth(PARENTS_MAX).is_some())
}

/// Whether the bytes are a PDF: the mark may stand after some junk.
#[must_use]
pub fn is_pdf(bytes: &[u8]) -> bool {
    let head = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    head.windows(5).any(|w| w == b"%PDF-")
}

fn looks_encrypted(bytes: &[u8]) -> bool {
    let tail = bytes.get(bytes.len().saturating_sub(2048)..).unwrap_or_default();
    tail.windows(8).any(|w| w == b"/Encrypt")
}

/// The parsers below panic on some damaged files: that must cost this file only.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| "the parser gave up".to_owned())
}
