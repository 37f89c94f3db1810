//! PDF: its text as a sheet, its attached files, and whether it is locked or only a picture.
//!
//! Text is collected glyph by glyph and sorted by place, never in drawing order. Invisible text is not told
//! apart from visible text; rotated text (watermarks, margins) is left out. There is no OCR.

mod attached;
mod glyphs;

use pdf_extract::Document;

pub use attached::Attached;

use super::sheet::Sheet;

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
