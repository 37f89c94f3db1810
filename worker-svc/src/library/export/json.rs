//! One document as one line of JSON. Names are those of the contract; what was not read is absent.

use docket::library::v1 as pb;
use serde_json::{Map, Value, json};

use super::{short, time};

pub fn line(document: &pb::Document, out: &mut String) {
    out.push_str(&Value::Object(object(document)).to_string());
    out.push('\n');
}

fn object(document: &pb::Document) -> Map<String, Value> {
    let message = document.message.clone().unwrap_or_default();
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("namespace", json!(document.namespace));
    put("document_id", json!(document.document_id));
    put("owner", json!(document.owner));
    put("mailbox_id", json!(document.mailbox_id));
    put("run_id", json!(document.run_id));
    put("kind", json!(short(document.kind().as_str_name(), "DOCUMENT_KIND_")));
    put("state", json!(short(document.state().as_str_name(), "DOCUMENT_STATE_")));
    put("confidence", number(document.confidence));
    for (name, value) in fields(document) {
        if let Some(value) = value {
            put(name, field(value));
        }
    }
    put(
        "message",
        json!({
            "source_id": message.source_id,
            "message_id": message.message_id,
            "received_time": time(message.received_time.as_ref()),
            "from": message.from,
            "subject": message.subject,
            "part": message.part,
            "file_name": message.file_name,
        }),
    );
    put("media_type", json!(document.media_type));
    put("size", json!(document.size));
    put("sha256", json!(document.sha256));
    put("likely_duplicate_ids", json!(document.likely_duplicate_ids));
    put("flags", json!(document.flags));
    put("extractor_version", json!(document.extractor_version));
    put("create_time", json!(time(document.create_time.as_ref())));
    object
}

pub fn fields(document: &pb::Document) -> [(&'static str, Option<&pb::Field>); 11] {
    [
        ("supplier", document.supplier.as_ref()),
        ("vat_id", document.vat_id.as_ref()),
        ("buyer", document.buyer.as_ref()),
        ("number", document.number.as_ref()),
        ("issue_date", document.issue_date.as_ref()),
        ("due_date", document.due_date.as_ref()),
        ("currency", document.currency.as_ref()),
        ("net", document.net.as_ref()),
        ("tax", document.tax.as_ref()),
        ("total", document.total.as_ref()),
        ("payable", document.payable.as_ref()),
    ]
}

/// Amounts stay text: they are exact, and JSON's numbers are not.
fn field(field: &pb::Field) -> Value {
    let mut object = Map::new();
    if let Some(value) = &field.value {
        object.insert("value".into(), json!(value));
        object.insert("from".into(), json!(short(field.from().as_str_name(), "FIELD_ORIGIN_")));
        object.insert("confidence".into(), number(field.confidence));
    }
    for (name, text) in
        [("place", &field.place), ("reason", &field.reason), ("other_value", &field.other_value)]
    {
        if !text.is_empty() {
            object.insert(name.into(), json!(text));
        }
    }
    Value::Object(object)
}

/// 0.9, not 0.8999999761581421.
fn number(confidence: f32) -> Value {
    json!((f64::from(confidence) * 1000.0).round() / 1000.0)
}
