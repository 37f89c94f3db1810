//! Expected and read values side by side.

use std::collections::BTreeMap;

use serde_json::Value;
use sync_core::document::{Field, FoundDocument, Kind};

const FIELDS: [&str; 11] = [
    "supplier_name",
    "supplier_tax_id",
    "buyer_name",
    "invoice_number",
    "issue_date",
    "due_date",
    "currency",
    "net_amount",
    "tax_amount",
    "total_amount",
    "payable_amount",
];

#[derive(Default, Clone, Copy)]
struct Count {
    /// Filled where the document states a value.
    filled: usize,
    right: usize,
    stated: usize,
    /// Filled where the truth says that nothing is stated.
    invented: usize,
}

#[derive(Default)]
pub struct Tally {
    fields: BTreeMap<&'static str, Count>,
    kinds: (usize, usize),
    detected: [usize; 4],
}

impl Tally {
    pub fn detection(&mut self, is: bool, found: bool) {
        self.detected[usize::from(is) * 2 + usize::from(found)] += 1;
    }

    pub fn missed(&mut self, label: &Value) {
        for key in FIELDS {
            if expected(label, key).is_some() {
                self.fields.entry(key).or_default().stated += 1;
            }
        }
    }

    pub fn print(&self, folder: &str) {
        let [right_no, wrong, missed, hit] = self.detected;
        println!(
            "{folder}: documents found {hit} of {}, false alarms {wrong} of {}",
            hit + missed,
            right_no + wrong
        );
        if hit + wrong > 0 {
            println!(
                "  detection precision {:.3} recall {:.3}",
                ratio(hit, hit + wrong),
                ratio(hit, hit + missed)
            );
        }
        if self.kinds.1 > 0 {
            println!("  kind right {} of {}", self.kinds.0, self.kinds.1);
        }
        for key in FIELDS {
            if let Some(c) = self.fields.get(key).filter(|c| c.stated > 0) {
                println!(
                    "  {key:16} precision {:.3} ({} of {})  recall {:.3} ({} of {})  filled though not stated {}",
                    ratio(c.right, c.filled),
                    c.right,
                    c.filled,
                    ratio(c.right, c.stated),
                    c.right,
                    c.stated,
                    c.invented
                );
            }
        }
    }
}

fn ratio(a: usize, b: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a corpus are small")]
    if b == 0 { 1.0 } else { a as f64 / b as f64 }
}

/// Whether a found document is the expected one, by its file.
pub fn is_part(label: &Value, document: &FoundDocument) -> bool {
    let wanted = label.get("part_filename").and_then(Value::as_str);
    wanted.is_some()
        && (document.file_name.as_deref() == wanted
            || label
                .get("inside_archive")
                .and_then(Value::as_str)
                .is_some_and(|m| document.part.ends_with(m)))
}

fn expected(label: &Value, key: &str) -> Option<String> {
    let hidden = label
        .get("not_in_visible_text")
        .and_then(Value::as_array)
        .is_some_and(|a| a.iter().any(|v| v == key));
    let ocr = label.get("text_layer").and_then(Value::as_bool) == Some(false)
        || label.get("needs_ocr").and_then(Value::as_bool) == Some(true);
    if hidden || ocr {
        return None;
    }
    label.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// Counts every field; returns what is wrong or missing.
pub fn compare(label: &Value, document: &FoundDocument, tally: &mut Tally) -> Vec<String> {
    let mut mistakes = Vec::new();
    let kind = kind_name(document.kind);
    let also = |key: &str| label.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let kind_fits = label.get("kind").and_then(Value::as_str) == Some(kind)
        || also("kind_also_ok").iter().any(|v| v == kind);
    tally.kinds.1 += 1;
    tally.kinds.0 += usize::from(kind_fits);
    if !kind_fits {
        mistakes.push(format!("kind {kind}, expected {}", label.get("kind").unwrap_or(&Value::Null)));
    }
    for key in FIELDS {
        let field = field(document, key);
        let wanted = expected(label, key);
        let stated_elsewhere = label.get(key).is_some_and(|v| !v.is_null());
        let count = tally.fields.entry(key).or_default();
        match (&wanted, &field.value) {
            (Some(wanted), value) => {
                count.stated += 1;
                count.filled += usize::from(value.is_some());
                let alternatives: Vec<String> =
                    also(if key == "supplier_name" { "supplier_also_ok" } else { "number_also_ok" })
                        .iter()
                        .filter_map(|v| v.as_str().map(str::to_owned))
                        .chain([wanted.clone()])
                        .collect();
                let right = value.as_ref().is_some_and(|v| alternatives.iter().any(|w| same(key, w, v)));
                count.right += usize::from(right);
                if !right {
                    mistakes.push(format!(
                        "{key} = {:?} expected {wanted:?} [{:.2} {} | {}]",
                        value.as_deref().unwrap_or(""),
                        field.confidence,
                        field.place,
                        field.reason
                    ));
                }
            }
            (None, Some(value)) if !stated_elsewhere && label.get(key).is_some() => {
                count.invented += 1;
                if key != "payable_amount" {
                    mistakes.push(format!(
                        "{key} = {value:?} though not stated [{:.2} {}]",
                        field.confidence, field.place
                    ));
                }
            }
            _ => {}
        }
    }
    mistakes
}

fn same(key: &str, wanted: &str, value: &str) -> bool {
    match key {
        "supplier_name" | "buyer_name" => {
            let plain =
                |t: &str| t.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            plain(wanted) == plain(value)
        }
        "invoice_number" | "supplier_tax_id" => {
            let plain = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            plain(wanted).eq_ignore_ascii_case(&plain(value))
        }
        key if key.ends_with("_amount") => match (wanted.parse::<f64>(), value.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() < 0.005,
            _ => false,
        },
        _ => wanted == value,
    }
}

fn field<'a>(document: &'a FoundDocument, key: &str) -> &'a Field {
    let f = &document.fields;
    match key {
        "supplier_name" => &f.supplier,
        "supplier_tax_id" => &f.vat_id,
        "buyer_name" => &f.buyer,
        "invoice_number" => &f.number,
        "issue_date" => &f.issue_date,
        "due_date" => &f.due_date,
        "currency" => &f.currency,
        "net_amount" => &f.net,
        "tax_amount" => &f.tax,
        "total_amount" => &f.total,
        _ => &f.payable,
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoice => "invoice",
        Kind::Receipt => "receipt",
        Kind::CreditNote => "credit_note",
        Kind::OrderConfirmation => "order_confirmation",
    }
}
