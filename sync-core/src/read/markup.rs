//! schema.org mark-up in a mail: JSON-LD and microdata, `Invoice` and `Order`.
//!
//! Only items at the top count: an order inside a parcel's item is a shipping notice, not a document.

use serde_json::{Map, Value};

use super::html::{Attribute, Token, Tokens};
use super::text::{amount, date};
use crate::document::{Field, Fields, Kind, Origin};

const SCRIPT_BYTES_MAX: usize = 1 << 20;
const ITEMS_MAX: usize = 50;

/// An invoice or order in mark-up.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    pub fields: Fields,
}

/// What the mark-up of a page says.
#[derive(Clone, Debug, Default)]
pub struct Markup {
    pub items: Vec<Item>,
    /// Types of other items: a parcel, a reservation.
    pub others: Vec<String>,
}

#[must_use]
pub fn read(html: &str) -> Markup {
    let mut values = json_ld(html);
    values.extend(microdata(html));
    let mut markup = Markup::default();
    for value in values.iter().take(ITEMS_MAX) {
        let Some(kind) = type_of(value) else { continue };
        match kind.as_str() {
            "Invoice" => markup.items.push(invoice(value)),
            "Order" => match order(value) {
                Some(item) => markup.items.push(item),
                None => markup.others.push(kind),
            },
            _ => markup.others.push(kind),
        }
    }
    markup
}

fn json_ld(html: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut is_ld = false;
    for token in Tokens::new(html) {
        match token {
            Token::Open { name, attributes, .. } => {
                let of_type = |a: &Attribute| {
                    a.name == "type" && a.value.trim().eq_ignore_ascii_case("application/ld+json")
                };
                is_ld = name == "script" && attributes.iter().any(of_type);
            }
            Token::Raw { content } if is_ld && content.len() < SCRIPT_BYTES_MAX => {
                if let Ok(value) = serde_json::from_str::<Value>(content.trim()) {
                    flatten(value, &mut out);
                }
            }
            _ => {}
        }
    }
    out
}

/// Arrays and `@graph` hold items side by side.
fn flatten(value: Value, out: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.into_iter().take(ITEMS_MAX).for_each(|v| flatten(v, out)),
        Value::Object(mut object) => {
            if let Some(graph) = object.remove("@graph") {
                flatten(graph, out);
            }
            out.push(Value::Object(object));
        }
        _ => {}
    }
}

struct Scope {
    /// How many elements were open when it began.
    depth: usize,
    property: Option<String>,
    object: Map<String, Value>,
}

/// Microdata as the JSON that it stands for.
fn microdata(html: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut pending: Option<(String, usize, String)> = None;
    for token in Tokens::new(html) {
        match token {
            Token::Open { name, attributes, empty } => {
                let get = |n: &str| attributes.iter().find(|a| a.name == n).map(|a| a.value.clone());
                let void = empty || matches!(name.as_str(), "meta" | "link" | "br" | "img" | "input" | "hr");
                let property = get("itemprop");
                if get("itemscope").is_some() && !void && scopes.len() < 20 {
                    let mut object = Map::new();
                    object.insert("@type".into(), Value::String(get("itemtype").unwrap_or_default()));
                    scopes.push(Scope { depth: open.len(), property, object });
                } else if let Some(property) = property {
                    let stated = get("content")
                        .or_else(|| get("datetime"))
                        .or_else(|| get("href"))
                        .or_else(|| get("value"));
                    match stated {
                        Some(value) => insert(&mut scopes, &property, Value::String(value)),
                        None if !void => pending = Some((property, open.len(), String::new())),
                        None => {}
                    }
                }
                if !void && open.len() < 5000 {
                    open.push(name);
                }
            }
            Token::Close { name } => {
                let Some(at) = open.iter().rposition(|n| *n == name) else { continue };
                open.truncate(at);
                if let Some((property, _, text)) = pending.take_if(|(_, depth, _)| *depth >= at) {
                    insert(&mut scopes, &property, Value::String(text.trim().to_owned()));
                }
                while let Some(scope) = scopes.pop_if(|s| s.depth >= at) {
                    finish(scope, &mut scopes, &mut out);
                }
            }
            Token::Text(text) => {
                if let Some((_, _, collected)) = &mut pending {
                    collected.push_str(&super::html::decode_entities(text));
                }
            }
            Token::Raw { .. } => {}
        }
    }
    while let Some(scope) = scopes.pop() {
        finish(scope, &mut scopes, &mut out);
    }
    out
}

fn insert(scopes: &mut [Scope], property: &str, value: Value) {
    if let Some(scope) = scopes.last_mut() {
        scope.object.entry(property.to_owned()).or_insert(value);
    }
}

fn finish(scope: Scope, scopes: &mut [Scope], out: &mut Vec<Value>) {
    let value = Value::Object(scope.object);
    match scope.property {
        Some(property) if !scopes.is_empty() => insert(scopes, &property, value),
        _ => out.push(value),
    }
}

/// The type without its vocabulary: `http://schema.org/Order` is `Order`.
fn type_of(value: &Value) -> Option<String> {
    let kind = value.get("@type")?;
    let kind = kind.as_str().or_else(|| kind.as_array().and_then(|a| a.first()).and_then(Value::as_str))?;
    kind.rsplit(['/', '#', ':']).next().map(str::to_owned)
}

fn invoice(value: &Value) -> Item {
    let due = value.get("totalPaymentDue").or_else(|| value.get("minimumPaymentDue"));
    let total = money_in(due, "totalPaymentDue");
    let status = text_at(value, &["paymentStatus"]).map(|t| t.0).unwrap_or_default();
    let paid = status.ends_with("PaymentComplete");
    let fields = Fields {
        supplier: party(value, &["provider", "seller", "broker", "merchant"]),
        buyer: party(value, &["customer"]),
        number: field(text_at(value, &["confirmationNumber", "identifier", "invoiceNumber"])),
        issue_date: day(text_at(value, &["dateCreated", "datePublished", "invoiceDate"])),
        due_date: day(text_at(value, &["paymentDueDate", "paymentDue"])),
        currency: currency_in(due),
        total: total.clone(),
        payable: if paid { Field::default() } else { total },
        ..Fields::default()
    };
    Item { kind: if paid { Kind::Receipt } else { Kind::Invoice }, fields }
}

/// An order with a price, as long as it is not on its way or called off.
fn order(value: &Value) -> Option<Item> {
    let status = text_at(value, &["orderStatus"]).map(|t| t.0).unwrap_or_default();
    let state = status.rsplit('/').next().unwrap_or_default();
    if matches!(
        state,
        "OrderInTransit"
            | "OrderCancelled"
            | "OrderReturned"
            | "OrderPickupAvailable"
            | "OrderDelivered"
            | "OrderProblem"
    ) {
        return None;
    }
    let own = value.get("price").or_else(|| value.get("totalPrice")).or_else(|| value.get("total"));
    let holder = match own {
        Some(_) => Some(value),
        None => value
            .get("priceSpecification")
            .or_else(|| value.get("acceptedOffer"))
            .and_then(|o| if o.is_array() { None } else { Some(o) }),
    };
    let total = money_in(holder, "price");
    total.value.as_ref()?;
    let fields = Fields {
        supplier: party(value, &["merchant", "seller", "broker", "provider"]),
        buyer: party(value, &["customer"]),
        number: field(text_at(value, &["orderNumber", "confirmationNumber", "identifier"])),
        issue_date: day(text_at(value, &["orderDate"])),
        currency: currency_in(holder),
        total,
        ..Fields::default()
    };
    Some(Item { kind: Kind::OrderConfirmation, fields })
}

fn text_at(value: &Value, names: &[&str]) -> Option<(String, String)> {
    names.iter().find_map(|name| {
        let found = value.get(*name)?;
        let text = match found {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then(|| (text.chars().take(200).collect(), (*name).to_owned()))
    })
}

fn party(value: &Value, names: &[&str]) -> Field {
    names
        .iter()
        .find_map(|name| {
            let found = value.get(*name)?;
            let text = found
                .as_str()
                .map(str::to_owned)
                .or_else(|| text_at(found, &["name", "legalName"]).map(|t| t.0))?;
            Some(field(Some((text, format!("{name}/name")))))
        })
        .unwrap_or_else(|| field(None))
}

fn money_in(holder: Option<&Value>, place: &str) -> Field {
    let Some(holder) = holder else { return field(None) };
    let text = if holder.is_object() {
        text_at(holder, &["price", "value", "totalPrice", "total"]).map(|t| t.0)
    } else {
        text_of(holder)
    };
    // `Order.price` should be plain but often carries its sign or a thousands mark
    let value = text.as_deref().and_then(|text| {
        amount::machine(text).or_else(|| match amount::scan(text).as_slice() {
            [only] => only.value(amount::style_of(std::iter::once(only))),
            _ => None,
        })
    });
    field(value.map(|v| (amount::show(v), place.to_owned())))
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_number().map(ToString::to_string))
}

fn currency_in(holder: Option<&Value>) -> Field {
    let code = holder.and_then(|h| text_at(h, &["priceCurrency", "currency"]));
    field(code.filter(|(c, _)| c.len() == 3 && c.chars().all(|c| c.is_ascii_uppercase())))
}

fn day(text: Option<(String, String)>) -> Field {
    field(text.and_then(|(t, place)| date::machine(&t).map(|d| (d.to_string(), place))))
}

fn field(value: Option<(String, String)>) -> Field {
    match value {
        Some((value, place)) => Field {
            value: Some(value),
            origin: Some(Origin::Markup),
            confidence: 0.97,
            place,
            ..Field::default()
        },
        None => Field { reason: "not in the mark-up".into(), ..Field::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_in_microdata() {
        let html = r#"<div itemscope itemtype="http://schema.org/Order"><div itemprop="merchant" itemscope itemtype="http://schema.org/Organization"><meta itemprop="name" content="Gartenglück24"></div>
            <span itemprop="orderNumber">55-20911</span><span itemprop="price" content="39.85">39,85</span><span itemprop="priceCurrency" content="EUR">€</span></div>"#;
        let markup = read(html);
        let item = markup.items.first().expect("an order");
        assert_eq!(item.fields.supplier.value.as_deref(), Some("Gartenglück24"));
        assert_eq!(item.fields.number.value.as_deref(), Some("55-20911"));
        assert_eq!(item.fields.total.value.as_deref(), Some("39.85"));
        assert_eq!(item.fields.currency.value.as_deref(), Some("EUR"));
    }

    #[test]
    fn an_order_inside_a_parcel_is_none() {
        let html = r#"<script type="application/ld+json">{"@type":"ParcelDelivery","partOfOrder":{"@type":"Order","price":"1.00"}}</script>"#;
        let markup = read(html);
        assert!(markup.items.is_empty());
        assert_eq!(markup.others, ["ParcelDelivery"]);
    }

    #[test]
    fn broken_json_is_no_matter() {
        for content in ["{", "[[[[", "null", "{\"@type\":1}", &"[".repeat(100_000)] {
            assert!(read(&format!("<script type='application/ld+json'>{content}</script>")).items.is_empty());
        }
    }
}
