//! Mistakes in files in TOML that people write: in which line, and what belongs there in words that
//! are not Rust's.

use repro_protocol::expected::expected;
use toml::de::Error;

/// What is wrong and in which line, without the line itself: it could hold what nobody should see.
pub fn without_lines(error: &Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    format!("line {line}: {}", in_words(error.message()))
}

/// What is wrong, with the line and a mark below the place.
pub fn with_line(error: &Error) -> String {
    let (message, whole) = (error.message(), error.to_string());
    match whole.trim_end().strip_suffix(message) {
        Some(place) => place.to_owned() + &in_words(message),
        None => whole,
    }
}

fn in_words(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        // Names of fields and choices are words already.
        Some((found, _)) if message.starts_with("invalid ") => {
            let (wanted, _) = expected(message);
            let wanted = match &*wanted {
                "a map of fields" | "a map" => "a table",
                other => other,
            };
            format!("{found}, and it should be {wanted}")
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read for its errors")]
    struct Entry {
        times: Option<u32>,
        inner: Option<BTreeMap<String, Box<Entry>>>,
    }

    fn told(text: &str) -> [String; 2] {
        let error = toml::from_str::<BTreeMap<String, Entry>>(text).unwrap_err();
        [without_lines(&error, text), with_line(&error)]
    }

    #[test]
    fn mistakes_have_their_place_and_no_word_of_rust() {
        for (text, without, with) in [
            (
                "[a]\ntimes = \"often\"\n",
                "line 2: invalid type: string \"often\", and it should be a whole number from 0 to 4294967295",
                "2 | times = \"often\"\n  |         ^^^^^^^\ninvalid type: string \"often\", and it should be",
            ),
            (
                "a = 1\n",
                "line 1: invalid type: integer `1`, and it should be a table",
                "1 | a = 1\n  |     ^\ninvalid type",
            ),
            (
                "[a]\ntime = 1\n",
                "line 2: unknown field `time`, expected `times` or `inner`",
                "2 | time = 1\n  | ^^^^\nunknown field",
            ),
            ("[a", "line 1: unclosed table, expected `]`", "1 | [a\n"),
        ] {
            let [bare, marked] = told(text);
            assert_eq!(bare, without);
            assert!(marked.contains(with), "{marked}");
        }
    }
}
