//! Currency codes and signs.
//!
//! Signs that several currencies share (`$`, `kr`, `¥`) are recognised as an amount's mark but name no
//! currency: who has further evidence may decide.

/// What stands beside an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    Code(&'static str),
    Dollar,
    Krone,
    Yen,
    /// `Rs`: India, Pakistan, Sri Lanka, Nepal.
    Rupee,
}

/// ISO 4217 codes of currencies in use. A code that is also a common word (`ALL`, `TOP`, `TRY`) counts only
/// in capitals, as written here.
const CODES: &[&str] = &[
    "EUR", "USD", "GBP", "CHF", "PLN", "CZK", "SEK", "NOK", "DKK", "HUF", "RON", "BGN", "HRK", "RSD", "ISK",
    "UAH", "TRY", "RUB", "MDL", "MKD", "ALL", "BAM", "GEL", "AMD", "AZN", "BYN", "KZT", "JPY", "CNY", "HKD",
    "TWD", "KRW", "SGD", "MYR", "THB", "IDR", "PHP", "VND", "INR", "PKR", "LKR", "BDT", "NPR", "AUD", "NZD",
    "CAD", "MXN", "BRL", "ARS", "CLP", "COP", "PEN", "UYU", "ZAR", "NGN", "KES", "EGP", "MAD", "TND", "DZD",
    "GHS", "AED", "SAR", "QAR", "KWD", "BHD", "OMR", "JOD", "ILS", "LBP", "IQD", "CRC", "DOP", "GTQ", "BOB",
];

/// Signs and national abbreviations. Longer first, so that `US$` wins over `$`.
const SIGNS: &[(&str, Mark)] = &[
    ("US$", Mark::Code("USD")),
    ("U$S", Mark::Code("USD")),
    ("AU$", Mark::Code("AUD")),
    ("A$", Mark::Code("AUD")),
    ("C$", Mark::Code("CAD")),
    ("CA$", Mark::Code("CAD")),
    ("NZ$", Mark::Code("NZD")),
    ("HK$", Mark::Code("HKD")),
    ("S$", Mark::Code("SGD")),
    ("NT$", Mark::Code("TWD")),
    ("MX$", Mark::Code("MXN")),
    ("R$", Mark::Code("BRL")),
    ("$", Mark::Dollar),
    ("€", Mark::Code("EUR")),
    ("£", Mark::Code("GBP")),
    ("₹", Mark::Code("INR")),
    ("₺", Mark::Code("TRY")),
    ("₽", Mark::Code("RUB")),
    ("₴", Mark::Code("UAH")),
    ("₪", Mark::Code("ILS")),
    ("₩", Mark::Code("KRW")),
    ("฿", Mark::Code("THB")),
    ("₫", Mark::Code("VND")),
    ("₱", Mark::Code("PHP")),
    ("₦", Mark::Code("NGN")),
    ("₸", Mark::Code("KZT")),
    ("₾", Mark::Code("GEL")),
    ("¥", Mark::Yen),
    ("zł", Mark::Code("PLN")),
    ("Zł", Mark::Code("PLN")),
    ("ZŁ", Mark::Code("PLN")),
    ("Kč", Mark::Code("CZK")),
    ("kč", Mark::Code("CZK")),
    ("KČ", Mark::Code("CZK")),
    ("Ft", Mark::Code("HUF")),
    ("FT", Mark::Code("HUF")),
    ("лв", Mark::Code("BGN")),
    ("руб", Mark::Code("RUB")),
    ("грн", Mark::Code("UAH")),
    ("дин", Mark::Code("RSD")),
    ("lei", Mark::Code("RON")),
    ("Lei", Mark::Code("RON")),
    ("LEI", Mark::Code("RON")),
    ("EURO", Mark::Code("EUR")),
    ("Euro", Mark::Code("EUR")),
    ("euro", Mark::Code("EUR")),
    ("euros", Mark::Code("EUR")),
    ("Euros", Mark::Code("EUR")),
    ("ευρώ", Mark::Code("EUR")),
    ("SFr", Mark::Code("CHF")),
    ("sFr", Mark::Code("CHF")),
    ("RM", Mark::Code("MYR")),
    ("Rs", Mark::Rupee),
    ("kr", Mark::Krone),
    ("Kr", Mark::Krone),
    ("KR", Mark::Krone),
];

/// Currencies that are counted in thousandths: `12.345` is then no thousands.
#[must_use]
pub fn has_three_decimals(code: &str) -> bool {
    matches!(code, "KWD" | "BHD" | "OMR" | "JOD" | "TND" | "IQD" | "LYD")
}

/// The code, if it is one that is in use.
#[must_use]
pub fn code(text: &str) -> Option<&'static str> {
    CODES.iter().find(|c| **c == text).copied()
}

/// A mark at the very end of the text; returns where it starts. Letters must not run into it.
#[must_use]
pub fn mark_before(text: &str) -> Option<(Mark, usize)> {
    let trimmed = text.trim_end_matches([' ', '\u{a0}', '\u{202f}', '.', ':']);
    if text.len() - trimmed.len() > 4 {
        return None;
    }
    let fits = |len: usize| {
        let start = trimmed.len().checked_sub(len)?;
        let before = trimmed.get(..start)?.chars().next_back();
        (!before.is_some_and(char::is_alphabetic)).then_some(start)
    };
    for (sign, mark) in SIGNS {
        if trimmed.ends_with(sign) {
            let is_word = sign.chars().next().is_some_and(char::is_alphabetic);
            let start = trimmed.len() - sign.len();
            if !is_word || fits(sign.len()).is_some() {
                return Some((*mark, start));
            }
        }
    }
    let tail = trimmed.get(trimmed.len().checked_sub(3)?..)?;
    let found = code(tail)?;
    fits(3).map(|start| (Mark::Code(found), start))
}

/// A mark at the very start of the text; returns where it ends.
#[must_use]
pub fn mark_after(text: &str) -> Option<(Mark, usize)> {
    let trimmed = text.trim_start_matches([' ', '\u{a0}', '\u{202f}']);
    let skipped = text.len() - trimmed.len();
    if skipped > 4 {
        return None;
    }
    let free =
        |len: usize| !trimmed.get(len..).and_then(|t| t.chars().next()).is_some_and(char::is_alphanumeric);
    let mut best: Option<(Mark, usize)> = None;
    for (sign, mark) in SIGNS {
        if trimmed.starts_with(sign) {
            let is_word = sign.chars().next_back().is_some_and(char::is_alphabetic);
            if (!is_word || free(sign.len())) && best.is_none_or(|(_, end)| end < skipped + sign.len()) {
                best = Some((*mark, skipped + sign.len()));
            }
        }
    }
    if best.is_none() {
        let found = trimmed.get(..3).and_then(code)?;
        best = free(3).then_some((Mark::Code(found), skipped + 3));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_before() {
        assert_eq!(mark_before("Total EUR ").map(|m| m.0), Some(Mark::Code("EUR")));
        assert_eq!(mark_before("US$").map(|m| m.0), Some(Mark::Code("USD")));
        assert_eq!(mark_before("$").map(|m| m.0), Some(Mark::Dollar));
        assert_eq!(mark_before("Rs. ").map(|m| m.0), Some(Mark::Rupee));
        assert_eq!(mark_before("FORM"), None);
        assert_eq!(mark_before("RECALL"), None);
    }

    #[test]
    fn marks_after() {
        assert_eq!(mark_after(" zł").map(|m| m.0), Some(Mark::Code("PLN")));
        assert_eq!(mark_after(" EUR.").map(|m| m.0), Some(Mark::Code("EUR")));
        assert_eq!(mark_after(" kr").map(|m| m.0), Some(Mark::Krone));
        assert_eq!(mark_after("Kč").map(|m| m.0), Some(Mark::Code("CZK")));
        assert_eq!(mark_after(" European"), None);
        assert_eq!(mark_after(" leise"), None);
    }
}
