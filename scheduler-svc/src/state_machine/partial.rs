//! Results of attempts add up: numbers are added, everything else is replaced by what came last.

use bytes::Bytes;
use prost::Message as _;
use prost_types::{Struct, value::Kind};

/// Both are encoded `google.protobuf.Struct`s. What does not decode counts as empty: the edge has checked it.
pub fn add(earlier: &Bytes, later: &Bytes) -> Bytes {
    if earlier.is_empty() {
        return later.clone();
    }
    if later.is_empty() {
        return earlier.clone();
    }
    let decode = |bytes: &Bytes| Struct::decode(bytes.clone()).unwrap_or_default();
    let (mut sum, later) = (decode(earlier), decode(later));
    for (name, value) in later.fields {
        let number = |kind: &Option<Kind>| {
            if let Some(Kind::NumberValue(number)) = kind { Some(*number) } else { None }
        };
        let entry = sum.fields.entry(name).or_default();
        match (number(&entry.kind), number(&value.kind)) {
            (Some(one), Some(other)) => {
                entry.kind = Some(Kind::NumberValue((one + other).clamp(f64::MIN, f64::MAX)))
            }
            _ => *entry = value,
        }
    }
    sum.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use prost_types::Value;

    use super::*;

    fn encoded(fields: &[(&str, Kind)]) -> Bytes {
        let fields =
            fields.iter().map(|(name, kind)| ((*name).into(), Value { kind: Some(kind.clone()) })).collect();
        Struct { fields }.encode_to_vec().into()
    }

    #[test]
    fn numbers_add_up_and_the_rest_is_replaced() {
        let one = encoded(&[("new", Kind::NumberValue(2.0)), ("note", Kind::StringValue("a".into()))]);
        let two = encoded(&[
            ("new", Kind::NumberValue(3.0)),
            ("note", Kind::StringValue("b".into())),
            ("read", Kind::NumberValue(1.0)),
        ]);
        let sum = encoded(&[
            ("new", Kind::NumberValue(5.0)),
            ("note", Kind::StringValue("b".into())),
            ("read", Kind::NumberValue(1.0)),
        ]);
        assert_eq!(add(&one, &two), sum);
        assert_eq!(add(&Bytes::new(), &two), two);
        assert_eq!(add(&one, &Bytes::new()), one);
    }
}
