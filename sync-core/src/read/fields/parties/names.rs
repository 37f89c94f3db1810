//! What a company's name looks like.

use crate::read::text::{amount, date, fold};
use crate::read::words::parties::{ADDRESS_WORDS, LEGAL_FORMS, TRADE_WORDS, WEAK_FORMS};

/// The name that a line begins with: without label marks, address and registration behind it.
#[must_use]
pub fn clean(text: &str) -> Option<String> {
    let text = text.trim_start_matches(|c: char| {
        c.is_whitespace()
            || matches!(c, ':' | '-' | '–' | '•' | '*' | '|' | '.' | ',' | '#' | '"' | '“' | '„')
    });
    let mut end = text.len();
    for separator in [" – ", " — ", " - ", " | ", " · ", " • ", " ∙ ", "; ", "\t", " * ", " / "] {
        if let Some(at) = text.find(separator).filter(|at| *at > 0) {
            end = end.min(at);
        }
    }
    // `TF VALUE-MART SDN BHD (482123-U)`, but `BEMED (SP) SDN BHD` stays
    if let Some(at) = text.find('(').filter(|at| *at > 0) {
        let inside = text.get(at..).and_then(|t| t.split(')').next()).unwrap_or_default();
        let closes_late =
            text.get(at + inside.len()..).is_some_and(|t| t.trim_start_matches(')').trim().is_empty());
        if inside.chars().filter(char::is_ascii_digit).count() > 3 || closes_late {
            end = end.min(at);
        }
    }
    let mut name = text.get(..end)?.trim_end_matches(|c: char| {
        c.is_whitespace() || matches!(c, ',' | ':' | '|' | '-' | '–' | '"' | '”')
    });
    // an address after a comma: `Free SAS, 8 rue …`; but `Prairie Cloud Hosting, Inc.` stays
    let mut from = 0;
    while let Some(at) = name.get(from..).and_then(|rest| rest.find(", ")).map(|at| at + from) {
        let after = name.get(at + 2..).unwrap_or_default();
        if legal_at_start(after) {
            from = at + 2;
        } else if after.chars().any(|c| c.is_ascii_digit()) || legal_end(name.get(..at).unwrap_or_default()) {
            name = name.get(..at)?;
        } else {
            from = at + 2;
        }
    }
    let cut = end_of_form(name).unwrap_or(name.len());
    let name = name.get(..cut)?.trim().trim_end_matches([',', ':']);
    (!name.is_empty() && name.chars().count() <= 90).then(|| name.to_owned())
}

/// Text goes on after the legal form with a number or an address: cut there.
fn end_of_form(name: &str) -> Option<usize> {
    let words = fold::words(name);
    for (i, word) in words.iter().enumerate().skip(1) {
        let pair = words.get(i + 1).map(|n| format!("{} {}", word.key, n.key)).unwrap_or_default();
        let after_pair = words.get(i + 2).and_then(|w| name.get(w.start..w.end)).unwrap_or_default();
        if matches!(pair.as_str(), "sdn bhd" | "s b" | "pte ltd" | "pvt ltd")
            && after_pair.chars().any(|c| c.is_ascii_digit())
        {
            return words.get(i + 1).map(|w| w.end);
        }
        let strong = LEGAL_FORMS.contains(&word.key.as_str()) && !WEAK_FORMS.contains(&word.key.as_str());
        let next = words.get(i + 1)?;
        let raw = name.get(next.start..next.end).unwrap_or_default();
        let goes_on =
            LEGAL_FORMS.contains(&next.key.as_str()) || matches!(next.key.as_str(), "co" | "und" | "and");
        if strong
            && !goes_on
            && (raw.chars().any(|c| c.is_ascii_digit())
                || matches!(
                    next.key.as_str(),
                    "au" | "con" | "registered" | "mit" | "kapital" | "met" | "siege"
                ))
        {
            return Some(word.end);
        }
    }
    None
}

fn legal_at_start(text: &str) -> bool {
    fold::words(text).first().is_some_and(|w| LEGAL_FORMS.contains(&w.key.as_str()))
}

fn legal_end(name: &str) -> bool {
    form_weight(name) >= 40
}

const COUNTRIES: &[&str] = &[
    "deutschland",
    "germany",
    "osterreich",
    "austria",
    "schweiz",
    "switzerland",
    "suisse",
    "france",
    "italia",
    "italy",
    "espana",
    "spain",
    "portugal",
    "nederland",
    "netherlands",
    "the netherlands",
    "belgie",
    "belgique",
    "belgium",
    "luxembourg",
    "polska",
    "poland",
    "cesko",
    "ceska republika",
    "slovensko",
    "danmark",
    "denmark",
    "sverige",
    "sweden",
    "norge",
    "norway",
    "suomi",
    "finland",
    "eesti",
    "latvija",
    "lietuva",
    "magyarorszag",
    "hungary",
    "romania",
    "българия",
    "bulgaria",
    "ελλαδα",
    "greece",
    "hrvatska",
    "croatia",
    "slovenija",
    "slovenia",
    "united kingdom",
    "england",
    "ireland",
    "united states",
    "usa",
    "malaysia",
    "india",
    "hong kong",
    "canada",
    "australia",
];

/// A name and not an address, a sentence, an amount or a date.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let words = fold::words(text);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let money = amount::scan(text).iter().any(|a| a.is_money() || a.percent);
    let address = words.iter().any(|w| ADDRESS_WORDS.contains(&w.key.as_str()) && w.key.len() > 3)
        || words.first().is_some_and(|w| w.key.chars().all(|c| c.is_ascii_digit())) && form_weight(text) == 0;
    let street = digits > 0
        && words.iter().any(|w| {
            w.key.ends_with("strasse")
                || w.key.ends_with("str")
                || w.key.ends_with("straat")
                || w.key.ends_with("weg")
                || w.key.ends_with("gatan")
                || w.key.ends_with("veien")
                || w.key.ends_with("vej")
                || w.key.ends_with("katu")
        });
    let formed = has_legal_form(text);
    let country = words.len() <= 2 && COUNTRIES.contains(&fold::key(text).as_str());
    letters >= 2
        && !country
        && words.len() <= 10
        && digits * 2 <= letters + 2
        && !money
        && date::scan(text).is_empty()
        && (!address || formed && digits == 0)
        && !street
        && !text.starts_with('(')
        && !text.contains(['@', '?', '!', '=', '{'])
        && !text.contains("://")
        && !text.to_ascii_lowercase().starts_with("www.")
}

#[must_use]
pub fn is_legal_word(word: &str) -> bool {
    LEGAL_FORMS.contains(&word)
}

#[must_use]
pub fn is_trade_word(word: &str) -> bool {
    TRADE_WORDS.contains(&word)
}

/// How much the words of a name say that it is a company's.
#[must_use]
pub fn form_weight(name: &str) -> i32 {
    if has_legal_form(name) {
        return 40;
    }
    let trade = fold::words(name).iter().any(|w| TRADE_WORDS.contains(&w.key.as_str()));
    i32::from(trade) * 18
}

#[must_use]
pub fn has_legal_form(name: &str) -> bool {
    legal_start(name).is_some()
}

/// The index of the word where the legal form begins.
fn legal_start(name: &str) -> Option<usize> {
    let words = fold::words(name);
    let keys: Vec<&str> = words.iter().map(|w| w.key.as_str()).collect();
    let capital = |i: usize| {
        words
            .get(i)
            .and_then(|w| name.get(w.start..w.end))
            .is_some_and(|w| w.chars().next().is_some_and(char::is_uppercase))
    };
    (1..keys.len()).find(|&i| {
        (1..=4).any(|n| {
            let Some(part) = keys.get(i..i + n) else { return false };
            let joined = part.join(" ");
            let last = i + n == keys.len();
            if WEAK_FORMS.contains(&joined.as_str()) {
                return last && capital(i) && i >= 1 && !joined.chars().all(char::is_numeric)
                    || last && name.contains('/') && i >= 1;
            }
            LEGAL_FORMS.contains(&joined.as_str())
        })
    })
}

/// Words of the name before its legal form.
#[must_use]
pub fn words_before_form(name: &str) -> usize {
    legal_start(name).unwrap_or_else(|| fold::words(name).len())
}

/// A registration number in the same line: `TF VALUE-MART SDN BHD (482123-U)`.
#[must_use]
pub fn has_registration(text: &str) -> bool {
    text.rsplit_once('(').is_some_and(|(_, tail)| {
        let inner = tail.trim_end().trim_end_matches(')');
        inner.len() < 24 && inner.chars().filter(char::is_ascii_digit).count() >= 5
    })
}

/// The names in web and mail addresses of a text, without their public endings.
#[must_use]
pub fn domains(text: &str) -> Vec<String> {
    const FREE: &[&str] = &[
        "gmail", "hotmail", "yahoo", "outlook", "gmx", "web", "mail", "icloud", "email", "example", "live",
        "aol", "t-online", "orange", "wanadoo",
    ];
    const ENDINGS: &[&str] = &[
        "com", "net", "org", "de", "fr", "nl", "es", "it", "pt", "eu", "co", "uk", "io", "pl", "cz", "sk",
        "at", "ch", "be", "dk", "se", "no", "fi", "hu", "ro", "bg", "gr", "hr", "si", "ie", "us", "my", "in",
        "info", "biz", "shop", "app", "lt", "lv", "ee", "lu", "example", "is", "ca", "au", "nz", "sg", "tr",
        "cloud",
    ];
    let mut out = Vec::new();
    for word in
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '(' | ')' | '|' | '"'))
    {
        let is_mail = word.contains('@');
        let host = word.rsplit('@').next().unwrap_or(word);
        let host = host
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default();
        let labels: Vec<String> =
            host.trim_end_matches('.').split('.').map(str::to_ascii_lowercase).collect();
        let ends_well = labels.last().is_some_and(|l| ENDINGS.contains(&l.as_str()));
        if labels.len() < 2 || !ends_well || !is_mail && !word.starts_with("www.") && !word.contains("://") {
            continue;
        }
        let name = labels.iter().rev().find(|l| !ENDINGS.contains(&l.as_str()));
        if let Some(name) = name.filter(|n| n.len() > 2 && !FREE.contains(&n.as_str()) && *n != "www") {
            out.push(name.chars().filter(|c| c.is_alphanumeric()).collect());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_follows() {
        for (text, name) in [
            ("Nordlicht Bürotechnik GmbH – Hafenstr. 19, 24103 Kiel", "Nordlicht Bürotechnik GmbH"),
            ("QualityHosting AG - Uferweg 40-42 - D-63571 Gelnhausen", "QualityHosting AG"),
            ("Prairie Cloud Hosting, Inc.", "Prairie Cloud Hosting, Inc."),
            (": Polski Koncern Naftowy ORLEN S.A.", "Polski Koncern Naftowy ORLEN S.A."),
            ("TF VALUE-MART SDN BHD (482123-U)", "TF VALUE-MART SDN BHD"),
            ("Free SAS au capital de 3.441.812 Euros", "Free SAS"),
        ] {
            assert_eq!(clean(text).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn names_and_others() {
        for text in ["The Kettle & Crumb", "Coolblue B.V.", "OYO", "Zakład Stolarski Modrzew Sp. z o.o."] {
            assert!(is_name(text), "{text}");
        }
        for text in
            ["24103 Kiel", "Hafenstr. 19", "3 chemin du Lac", "12.50 EUR", "19.01.2026", "a@b.example"]
        {
            assert!(!is_name(text), "{text}");
        }
        assert!(has_legal_form("Officina Valsesia S.r.l."));
        assert!(has_legal_form("Zakład Stolarski Modrzew Sp. z o.o."));
        assert!(has_legal_form("Novo Byg A/S"));
        assert!(!has_legal_form("GmbH"));
        assert!(!has_legal_form("same as"));
    }

    #[test]
    fn names_in_addresses() {
        assert_eq!(
            domains("see www.coolblue.nl or info@qualityhosting.de, e.g. 3.50"),
            ["coolblue", "qualityhosting"]
        );
        assert!(domains("jo@gmail.com").is_empty());
    }
}
