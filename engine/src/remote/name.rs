//! Names of objects on a remote: relative, of few characters, the same on every kind of storage.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name.
const LONGEST: usize = 512;

/// A name such as `v1/objects/ab/cdef`: segments of `a-z`, `0-9`, `.`, `_`, `-` separated by `/`,
/// none of them empty or beginning with a dot. So it is a legal key on every storage, means the
/// same on file systems that ignore case, and cannot leave its base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of an object")]
pub struct BadName(String);

impl BadName {
    pub(super) fn of(text: &str) -> BadName {
        BadName(text.chars().take(80).collect())
    }
}

impl Name {
    /// Of parts that are legal already.
    pub(super) fn of_legal(text: String) -> Name {
        debug_assert!(text.parse::<Name>().is_ok(), "BUG: `{text}` is no name");
        Name(text)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name one segment deeper.
    ///
    /// # Errors
    /// `segment` is none.
    pub fn join(&self, segment: &str) -> Result<Name, BadName> {
        format!("{}/{segment}", self.0).parse()
    }
}

impl FromStr for Name {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Name, BadName> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.bytes().all(legal);
        if text.len() <= LONGEST && text.split('/').all(segment) {
            Ok(Name(text.to_owned()))
        } else {
            Err(BadName::of(text))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
