//! What serde says that it expected, in words for whoever wrote the value: it names Rust's types.

/// What serde expected, in plain words, and whether that is a whole number.
pub fn expected(said: &str) -> (String, bool) {
    let rust = said
        .rsplit_once(", expected ")
        .map_or("another value", |(_, e)| e);
    // The position in the text is left out: there is a path.
    let rust = rust.split(" at line ").next().unwrap_or(rust);
    let known = match rust {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "string" | "str" | "a borrowed string" => "a text",
        "a boolean" | "bool" => "true or false",
        "a sequence" => "a list",
        "a map" | "map with a single key" | "string or map" => "a map",
        "unit" | "null" => "nothing",
        other if other.starts_with("struct ") || other.ends_with(" variant") => "a map of fields",
        other => {
            let count = [
                "an array of length ",
                "a tuple of size ",
                "fewer elements in array",
            ]
            .iter()
            .find_map(|start| other.strip_prefix(start));
            return match count {
                Some(count) if !count.is_empty() => (format!("a list of {count}"), false),
                Some(_) => ("a shorter list".to_owned(), false),
                None => (other.to_owned(), false),
            };
        }
    };
    (known.to_owned(), known.contains("whole"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_said_in_words() {
        for (said, words, is_whole) in [
            (
                "invalid type: string \"x\", expected u32",
                "a whole number from 0 to 4294967295",
                true,
            ),
            (
                "invalid value: integer `-1`, expected usize at line 1 column 4",
                "a whole number, 0 or more",
                true,
            ),
            (
                "invalid type: string \"x\", expected struct Settings",
                "a map of fields",
                false,
            ),
            (
                "invalid length 3, expected a tuple of size 2",
                "a list of 2",
                false,
            ),
            ("it is no colour", "another value", false),
        ] {
            assert_eq!(expected(said), (words.to_owned(), is_whole), "{said}");
        }
    }
}
