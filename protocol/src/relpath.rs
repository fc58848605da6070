//! `RelPath`: a path inside the project (or inside a tree), the only kind of path in specs and
//! keys.
//!
//! Normal form: UTF-8, `/`-separated, no empty, `.` or `..` part, not absolute. Anything a file
//! name may hold (spaces, newlines, unicode) is allowed. Does not touch the disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// A normalised relative path that cannot leave the directory it is joined to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RelPath(Arc<str>);

/// Why a text is not a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Nothing is left after normalising.
    #[error("the path is empty")]
    Empty,
    /// It starts with `/`.
    #[error("`{0}` is absolute; paths are relative to the project")]
    Absolute(String),
    /// It has a `..` part.
    #[error("`{0}` leaves the project (`..`)")]
    Escapes(String),
    /// It holds a NUL byte.
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
}

impl RelPath {
    /// Parses and normalises: `./a//b/` is `a/b`.
    pub fn new(text: &str) -> Result<RelPath, BadPath> {
        if text.starts_with('/') {
            return Err(BadPath::Absolute(text.to_owned()));
        }
        if text.contains('\0') {
            return Err(BadPath::Nul(text.escape_debug().to_string()));
        }
        // Almost every path is in normal form already.
        if text.split('/').all(|p| !matches!(p, "" | "." | "..")) {
            return Ok(RelPath(text.into()));
        }
        let parts: Vec<&str> = text
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        if parts.contains(&"..") {
            return Err(BadPath::Escapes(text.to_owned()));
        }
        if parts.is_empty() {
            return Err(BadPath::Empty);
        }
        Ok(RelPath(parts.join("/").into()))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path under `base`.
    pub fn under(&self, base: &Path) -> PathBuf {
        base.join(&*self.0)
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// `self` is `other` or lies inside it.
    pub fn is_within(&self, other: &RelPath) -> bool {
        self.0
            .strip_prefix(&*other.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({:?})", &*self.0)
    }
}

impl FromStr for RelPath {
    type Err = BadPath;
    fn from_str(text: &str) -> Result<RelPath, BadPath> {
        RelPath::new(text)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<RelPath, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        let path = RelPath::new(&text).map_err(serde::de::Error::custom)?;
        if path.as_str() == text {
            Ok(path)
        } else {
            Err(serde::de::Error::custom(format!(
                "`{text}` is not in normal form"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_form() {
        assert_eq!(RelPath::new("./a//b/").unwrap().as_str(), "a/b");
        assert_eq!(RelPath::new("a b/ü\n").unwrap().as_str(), "a b/ü\n");
        assert!(matches!(RelPath::new("a/../b"), Err(BadPath::Escapes(_))));
        assert!(matches!(RelPath::new("/a"), Err(BadPath::Absolute(_))));
        assert!(matches!(RelPath::new("./"), Err(BadPath::Empty)));
        assert!(RelPath::new("a..b/...").is_ok());
    }

    proptest! {
        #[test]
        fn never_leaves_its_base(text in "[./a\\n ]{0,12}") {
            if let Ok(path) = RelPath::new(&text) {
                prop_assert!(Path::new(path.as_str()).components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert_eq!(RelPath::new(path.as_str()).unwrap(), path);
            }
        }
    }
}
