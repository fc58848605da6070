//! What a scalar means: the core schema of YAML 1.2.
//!
//! `no` is a text, `010` is ten; numbers that JSON cannot hold are refused. How a number was
//! written is kept beside it: in a text, `010` stays `010`. Knows nothing of documents.

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::Number;

use super::node::{Data, Written};
use super::plain::{self, Plain};

/// The meaning of a scalar, or why it has none and what to do.
pub fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Data, (String, String)> {
    let plain = style == ScalarStyle::Plain;
    let Some(tag) = tag else {
        return if plain {
            plain_scalar(text)
        } else {
            Ok(Data::String(text.into()))
        };
    };
    if tag.handle == "!" && tag.suffix.is_empty() {
        return Ok(Data::String(text.into()));
    }
    let unsupported = || {
        (
            format!("the tag `{tag}` is not supported"),
            "remove the tag".to_owned(),
        )
    };
    if !tag.is_yaml_core_schema() {
        return Err(unsupported());
    }
    let data = if tag.suffix == "str" {
        Data::String(text.into())
    } else {
        plain_scalar(text)?
    };
    match (tag.suffix.as_str(), data) {
        ("str", data @ Data::String(_))
        | ("null", data @ Data::Null)
        | ("bool", data @ Data::Bool(_)) => Ok(data),
        ("int", Data::Number(n)) if !n.is_f64() => Ok(Data::Number(n)),
        ("float", Data::Number(n)) => Ok(n
            .as_f64()
            .and_then(Number::from_f64)
            .map_or(Data::Null, |n| Data::Number(Written::read(n, text)))),
        ("str" | "null" | "bool" | "int" | "float", _) => Err((
            format!("`{text}` is not a {}", tag.suffix),
            "remove the tag or change the value".to_owned(),
        )),
        _ => Err(unsupported()),
    }
}

/// A plain scalar, with how it was written.
pub fn plain_scalar(text: &str) -> Result<Data, (String, String)> {
    Ok(match plain::read(text)? {
        Plain::Null => Data::Null,
        Plain::Bool(b) => Data::Bool(Written::read(b, text)),
        Plain::Number(n) => Data::Number(Written::read(n, text)),
        Plain::Text => Data::String(text.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match plain_scalar(text) {
            Ok(Data::String(_)) => "text".to_owned(),
            Ok(Data::Null) => "null".to_owned(),
            Ok(Data::Bool(b)) => b.to_string(),
            Ok(Data::Number(n)) => n.to_string(),
            Ok(_) => "?".to_owned(),
            Err((message, _)) => message,
        }
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, meaning) in [
            ("no", "text"),
            ("on", "text"),
            ("off", "text"),
            ("yes", "text"),
            ("True", "true"),
            ("tRUE", "text"),
            ("~", "null"),
            ("", "null"),
            ("010", "10"),
            ("0o10", "8"),
            ("0x1F", "31"),
            ("-0", "0"),
            ("+12", "12"),
            ("1_000", "text"),
            ("1:30", "text"),
            ("1.2.3", "text"),
            ("1.", "1.0"),
            (".5", "0.5"),
            (".", "text"),
            ("1e3", "1000.0"),
            ("1e", "text"),
            ("-1.5E-3", "-0.0015"),
            ("2026-01-01", "text"),
            ("18446744073709551615", "18446744073709551615"),
            (
                "99999999999999999999",
                "the number `99999999999999999999` is too large",
            ),
            ("1e999", "the number `1e999` is too large"),
            (".nan", "`.nan` is not a number that can be used here"),
            ("-.inf", "`-.inf` is not a number that can be used here"),
            ("0x", "text"),
            ("-", "text"),
            ("+.", "text"),
        ] {
            assert_eq!(show(text), meaning, "{text:?}");
        }
    }
}
