//! The one text form of a JSON value that is hashed: sorted keys, no spaces, shortest floats.
//!
//! What is hashed is what is stored and shown: a key's pre-image is readable text. Two values have
//! the same text exactly when they are the same value: integers and floats stay apart (`1` and
//! `1.0`), `-0.0` is `0.0`, and there is no NaN in JSON.

use serde_json::{Number, Value};

/// Appends the canonical text of `value`.
pub fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => write_number(n, out),
        Value::String(s) => write_str(s, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            // Sorted here, whatever order the map type keeps.
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, item)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_str(name, out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

/// The canonical text of `value`.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write_number(n: &Number, out: &mut String) {
    match (n.as_u64(), n.as_i64(), n.as_f64()) {
        (Some(u), _, _) => out.push_str(&u.to_string()),
        (_, Some(i), _) => out.push_str(&i.to_string()),
        (_, _, Some(0.0)) => out.push_str("0.0"),
        _ => out.push_str(&n.to_string()),
    }
}

/// Appends a JSON string. Escapes only what JSON demands, so that text stays readable.
pub fn write_str(s: &str, out: &mut String) {
    out.push('"');
    // Most texts need no escape; looking at all bytes without stopping is what a compiler can
    // vectorise.
    if s.bytes().fold(true, |plain, b| {
        plain & (b >= b' ') & (b != b'"') & (b != b'\\')
    }) {
        out.push_str(s);
        out.push('"');
        return;
    }
    let mut plain_from = 0;
    for (i, byte) in s.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&s[plain_from..i]);
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
        plain_from = i + 1;
    }
    out.push_str(&s[plain_from..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn one_text_per_value() {
        assert_eq!(
            text(&json!({"b": 1, "a": [1.0, -0.0, 1e-5, 1e300, "x\"\n\u{1}ü", null, true]})),
            r#"{"a":[1.0,0.0,0.00001,1e+300,"x\"\n\u0001ü",null,true],"b":1}"#
        );
        assert_ne!(text(&json!(1)), text(&json!(1.0)));
        assert_eq!(text(&json!(u64::MAX)), "18446744073709551615");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite())
                .prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The text is JSON for the same value, so equal texts mean equal values.
        #[test]
        fn reads_back(v in value()) {
            let back: Value = serde_json::from_str(&text(&v)).unwrap();
            prop_assert_eq!(text(&back), text(&v));
        }
    }
}
