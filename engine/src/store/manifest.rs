//! Manifests: lists of digests as `b3sum` writes them, for directories that are too large to be
//! read again and again.

use std::collections::HashMap;
use std::path::Path;

use crate::digest::Digest;

use super::error::{StoreError, at};

/// Digests by path from the directory's root.
pub struct Manifest(HashMap<String, Digest>);

impl Manifest {
    /// Reads the list of the directory `root`. Paths may be written from inside it, with its name
    /// in front, or whole.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn read(path: &Path, root: &Path) -> Result<Manifest, StoreError> {
        let text = std::fs::read_to_string(path).map_err(at(path, "read the list of digests"))?;
        let mut digests = HashMap::new();
        let whole = format!("{}/", root.display());
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let named = format!("{name}/");
        for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty()) {
            // A name with a line break or a backslash is marked by a backslash in front.
            let (line, is_escaped) = match line.strip_prefix('\\') {
                Some(rest) => (rest, true),
                None => (line, false),
            };
            let entry = line
                .split_once("  ")
                .or_else(|| line.split_once(" *"))
                .and_then(|(hex, file)| Some((hex.parse::<Digest>().ok()?, file)));
            let Some((digest, file)) = entry else {
                let why = format!(
                    "line {} is not a digest and a path; write the list in the directory by `b3sum` (`find . -type f | xargs b3sum`)",
                    number + 1
                );
                return Err(StoreError::refused(path, why));
            };
            let file = match is_escaped {
                true => file.replace("\\n", "\n").replace("\\\\", "\\"),
                false => file.to_owned(),
            };
            let inner = file
                .strip_prefix("./")
                .or_else(|| file.strip_prefix(&whole))
                .unwrap_or(&file);
            digests.insert(inner.to_owned(), digest);
        }
        // With its name in front of every path.
        if !named.is_empty() && digests.keys().all(|file| file.starts_with(&named)) {
            let inner = digests
                .drain()
                .map(|(f, d)| (f[named.len()..].to_owned(), d));
            digests = inner.collect();
        }
        Ok(Manifest(digests))
    }

    /// The digest of a file.
    pub fn get(&self, inner: &str) -> Option<Digest> {
        self.0.get(inner).copied()
    }

    /// A file it names and `has` does not.
    pub fn lacking(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        let lacking = self.0.keys().filter(|inner| !has(inner));
        lacking.map(String::as_str).min()
    }
}
