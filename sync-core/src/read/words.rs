//! The tables of words: what labels, titles and months are called, language by language. Data only.
//!
//! Spellings may carry accents and capitals: both sides of a comparison are folded. Phrases are separated
//! by `|`. Where one phrase begins another, the longer one wins.

pub mod amounts;
pub mod dates;
pub mod months;
pub mod numbers;
pub mod parties;
pub mod surroundings;
pub mod titles;

/// What a phrase announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    // what the document is
    Invoice,
    Receipt,
    CreditNote,
    Order,
    /// A title of something that is no accounting document.
    Other,
    // numbers
    InvoiceNumber,
    ReceiptNumber,
    CreditNumber,
    OrderNumber,
    /// `No.`, `Document number`: the number of whatever this document is.
    PlainNumber,
    /// A customer, an account, a delivery.
    OtherNumber,
    // dates
    IssueDate,
    PlainDate,
    DueDate,
    OtherDate,
    // amounts
    Net,
    /// May or may not hold tax or shipping.
    Subtotal,
    Tax,
    Total,
    /// `Total`, `Sum`: the weaker word.
    PlainTotal,
    /// `Amount`, `Price`: weaker still.
    PlainAmount,
    Payable,
    Tendered,
    Change,
    Rounding,
    Prepaid,
    OtherAmount,
    // parties
    Seller,
    Buyer,
    OtherParty,
    VatId,
}

/// Language, role, phrases.
pub type Entry = (&'static str, Role, &'static str);
