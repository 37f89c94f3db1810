//! Reading of values in text: words, amounts, dates, currencies.
//!
//! Everything here is a plain calculation over a piece of text. Nothing guesses: a form that can be read
//! in two ways is returned as such, and whoever holds the evidence decides (`fields`).

pub mod amount;
pub mod currency;
pub mod date;
pub mod fold;
