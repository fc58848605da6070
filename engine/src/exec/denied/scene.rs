//! Where to look for what a stage did not declare, and the words in its last lines.

use std::path::Path;

use crate::exec::Request;

/// Where to look.
pub struct Scene<'a> {
    /// The execution.
    pub request: &'a Request,
    /// Its working directory.
    pub work: &'a Path,
    /// Its command text; empty for a worker.
    pub script: &'a str,
    /// The end of its log.
    pub tail: &'a [String],
    /// How it ended, for the message.
    pub ended: String,
    /// The sandbox was on.
    pub enforced: bool,
}

/// The parts of a text that may be paths: quoted strings whole, then everything between spaces and
/// punctuation.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for quote in ['\'', '"', '`'] {
        found.extend(text.split(quote).skip(1).step_by(2));
    }
    // `cat: my file.txt: No such file`: between colons there may be spaces.
    found.extend(text.split(": ").map(str::trim));
    let breaks = |c: char| c.is_whitespace() || "'\"`;|&<>()[]{}=,:‘’“”".contains(c);
    found.extend(text.split(breaks));
    found.retain(|w| !w.is_empty() && w.len() < 4096);
    found
}

/// A path as a YAML scalar inside a flow map: plain where that is safe, else quoted as in JSON,
/// which YAML reads.
pub fn yaml(text: &str) -> String {
    let plain = text
        .chars()
        .all(|c| c.is_alphanumeric() || "._-/".contains(c))
        && text
            .trim_start_matches(['.', '/'])
            .chars()
            .next()
            .is_some_and(char::is_alphabetic)
        && ![".inf", ".nan", "true", "false", "null"].contains(&&*text.to_lowercase());
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
