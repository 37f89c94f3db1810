//! What the sync finds: documents and their fields.
//!
//! A field is never a bare value: it says where it was read, how sure the reader is and, when it is
//! empty, why. An empty field with a reason is worth more than a wrong one.

use serde::{Deserialize, Serialize};

/// Grows with each change of the rules that can change a result, so that documents can be read again.
pub const EXTRACTOR_VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Invoice,
    Receipt,
    CreditNote,
    OrderConfirmation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Fields were read.
    Filed,
    /// An accounting document that is only a picture: kept, fields empty.
    NeedsOcr,
    /// An accounting document by its surroundings, but its content could not be read (encrypted, damaged).
    Unreadable,
}

/// Where a value was read, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Xml,
    Markup,
    PdfText,
    Html,
    Text,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Normalised: dates ISO 8601, amounts exact decimals with a point, currencies ISO 4217.
    pub value: Option<String>,
    pub origin: Option<Origin>,
    /// 0.0 to 1.0.
    pub confidence: f32,
    /// For a person who checks: an XML path, a line of text, a markup property.
    pub place: String,
    /// Why the value is empty or doubtful.
    pub reason: String,
    /// What a second, less trusted place said, where it disagrees.
    pub other_value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    pub supplier: Field,
    /// The supplier's VAT or tax id, without spaces.
    pub vat_id: Field,
    pub buyer: Field,
    pub number: Field,
    pub issue_date: Field,
    pub due_date: Field,
    pub currency: Field,
    pub net: Field,
    pub tax: Field,
    /// With tax.
    pub total: Field,
    /// Still due after prepayments.
    pub payable: Field,
}

/// A document found in a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundDocument {
    pub kind: Kind,
    pub state: State,
    /// 0.0 to 1.0: that this is an accounting document of this kind.
    pub confidence: f32,
    pub fields: Fields,
    /// The MIME part: `2.1`; a member of an archive: `2.1/name.pdf`; the mail's own text: `body`.
    pub part: String,
    pub file_name: Option<String>,
    pub media_type: String,
    /// Short, stable, for people: `totals disagree`.
    pub flags: Vec<String>,
    /// The bytes to keep. For a document in the mail's own text: its HTML or plain text.
    #[serde(skip)]
    pub content: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageHead {
    /// Without angle brackets.
    pub message_id: Option<String>,
    /// Unix seconds.
    pub date: Option<i64>,
    pub from: String,
    pub subject: String,
}

/// All that a message yields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadMessage {
    pub head: MessageHead,
    pub documents: Vec<FoundDocument>,
    /// Why there is no document, or what of the message could not be read.
    pub reason: String,
}

/// Bounds that keep one message from using up a reader (protocols.md, defaults and bounds).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub message_bytes: usize,
    pub parts: usize,
    pub depth: usize,
    pub archive_bytes: usize,
    pub archive_ratio: usize,
    pub archive_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 50 << 20,
            parts: 500,
            depth: 20,
            archive_bytes: 100 << 20,
            archive_ratio: 100,
            archive_depth: 2,
        }
    }
}
