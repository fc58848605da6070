//! Which scopes of a remote a requirement of the trust file is about.
//!
//! A scope is where writers publish who are not believed by everybody, such as pull requests. Who
//! does not name it never reads it.

use std::fmt;
use std::str::FromStr;

use crate::remote::layout::{Scope, Segment};

/// Scopes by name, or by how their names begin (`pr-*`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopePattern {
    begin: String,
    open: bool,
}

/// Why a text stands for no scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` matches no scope; write a name of `a-z`, `0-9`, `_`, `-`, or how names begin, e.g. `pr-*`"
)]
pub struct BadPattern(String);

impl ScopePattern {
    /// Whether it means this scope; the part of a remote that everybody reads is none.
    pub fn fits(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Shared => false,
            Scope::Of(name) if self.open => name.as_str().starts_with(&self.begin),
            Scope::Of(name) => name.as_str() == self.begin,
        }
    }

    /// Of two patterns that fit, the one with more is meant.
    pub fn closeness(&self) -> (bool, usize) {
        (!self.open, self.begin.len())
    }
}

impl FromStr for ScopePattern {
    type Err = BadPattern;
    fn from_str(text: &str) -> Result<ScopePattern, BadPattern> {
        let (begin, open) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        if begin.parse::<Segment>().is_ok() || (open && begin.is_empty()) {
            Ok(ScopePattern {
                begin: begin.to_owned(),
                open,
            })
        } else {
            Err(BadPattern(text.escape_debug().take(80).collect()))
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
    use proptest::prelude::*;

    #[test]
    fn patterns_fit_by_name_or_beginning() {
        let scope = Scope::Of("pr-12".parse().unwrap());
        let pattern = |text: &str| text.parse::<ScopePattern>().unwrap();
        let fits = |text: &str| pattern(text).fits(&scope);
        assert_eq!(
            ["pr-12", "pr-*", "*", "pr-1", "pr-123*"].map(fits),
            [true, true, true, false, false]
        );
        assert!(!pattern("*").fits(&Scope::Shared));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back(text in "[a-z0-9./_*A-Zü -]{0,20}") {
            if let Ok(pattern) = text.parse::<ScopePattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
