//! JSON as other programs write metrics: one value or one per line, with Python's words for NaN and
//! infinity. A name that is in a map twice is an error, because readers differ in which value they
//! take.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Before a text that stands for a number JSON cannot hold.
pub(super) const MARK: &str = "\u{1}not finite:";

/// `NaN`, `Infinity` or `-Infinity` in a [`Value`].
pub(super) fn not_finite(word: &str) -> Value {
    Value::String(format!("{MARK}{word}"))
}

/// One value, or the maps of JSON lines as a list. Errors name the place.
pub(super) fn parse(text: &str) -> anyhow::Result<Value> {
    let readable = with_marks(text);
    let mut all = Vec::new();
    for value in serde_json::Deserializer::from_str(&readable).into_iter::<Strict>() {
        all.push(value.map_err(|e| said(&e))?.0);
    }
    Ok(match all.len() {
        1 => all.remove(0),
        _ => Value::Array(all),
    })
}

/// Before what is said by this module, and not by the parser.
const OWN: &str = "\u{1}";

fn said(error: &serde_json::Error) -> anyhow::Error {
    let line = error.line();
    if error.is_eof() {
        return anyhow::anyhow!(
            "line {line}: the JSON ends before it is complete; was its writer stopped, or the file not closed?"
        );
    }
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let place = format!("line {line}, column {}", error.column());
    match text.strip_prefix(OWN) {
        Some(own) => anyhow::anyhow!("{place}: {own}"),
        None => anyhow::anyhow!("{place}: it is not valid JSON: {text}"),
    }
}

/// A value in whose maps every name stands once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Strict, D::Error> {
        d.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, _>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{OWN}`{name}` appears twice")));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// Python's `json` writes NaN and infinities, which JSON has no words for.
fn with_marks(text: &str) -> String {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut inside) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find(|w| !inside && rest.starts_with(**w));
        if let Some(word) = word {
            out.push_str(&not_finite(word).to_string());
            rest = &rest[word.len()..];
            continue;
        }
        let len = match (inside, c) {
            (true, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        inside ^= c == '"';
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    out
}
