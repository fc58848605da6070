//! Scopes: where writers publish who are not believed by everybody, such as pull requests.
//!
//! A scope is a remote of its own inside a remote. Who does not name it never reads it.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name.
const LONGEST: usize = 64;

/// The name of a scope, `pr-12`: one segment of a remote's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// Why a text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no scope; 1 to 64 characters of `a-z`, `0-9`, `.`, `_`, `-`, the first one a letter or digit, e.g. `pr-12`"
)]
pub struct BadScope(String);

impl Scope {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_legal(text: &str) -> bool {
    let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let begins = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= LONGEST && text.as_bytes().first().is_some_and(begins) && text.bytes().all(legal)
}

fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

impl FromStr for Scope {
    type Err = BadScope;
    fn from_str(text: &str) -> Result<Scope, BadScope> {
        if is_legal(text) {
            Ok(Scope(text.to_owned()))
        } else {
            Err(BadScope(shown(text)))
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Scopes by name, or by how their names begin (`pr-*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopePattern {
    begin: String,
    open: bool,
}

impl ScopePattern {
    /// Whether it means this scope.
    pub fn fits(&self, scope: &Scope) -> bool {
        match self.open {
            true => scope.0.starts_with(&self.begin),
            false => scope.0 == self.begin,
        }
    }

    /// Of two patterns that fit, the one with more is meant.
    pub fn closeness(&self) -> (bool, usize) {
        (!self.open, self.begin.len())
    }
}

impl FromStr for ScopePattern {
    type Err = BadScope;
    fn from_str(text: &str) -> Result<ScopePattern, BadScope> {
        let (begin, open) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        if is_legal(begin) || (open && begin.is_empty()) {
            Ok(ScopePattern {
                begin: begin.to_owned(),
                open,
            })
        } else {
            Err(BadScope(shown(text)))
        }
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.begin, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Name;
    use proptest::prelude::*;

    #[test]
    fn patterns_fit_by_name_or_beginning() {
        let scope: Scope = "pr-12".parse().unwrap();
        let fits = |text: &str| text.parse::<ScopePattern>().unwrap().fits(&scope);
        assert_eq!(
            ["pr-12", "pr-*", "*", "pr-1", "pr-123*"].map(fits),
            [true, true, true, false, false]
        );
    }

    proptest! {
        /// A scope never leaves the place scopes are in.
        #[test]
        fn a_scope_is_one_segment_of_a_name(text in "[a-z0-9./_*A-Zü -]{0,70}") {
            if let Ok(scope) = text.parse::<Scope>() {
                let name: Name = "scopes".parse().unwrap();
                let joined = name.join(scope.as_str()).unwrap();
                prop_assert_eq!(joined.as_str().matches('/').count(), 1);
            }
            let _ = text.parse::<ScopePattern>();
        }
    }
}
