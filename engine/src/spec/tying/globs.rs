//! Patterns for files: `data/*.csv`, `**/*.json`.
//!
//! As a shell reads them: `*` and `?` stop at `/`, `**` is any number of directories, and names
//! with a dot in front are matched only by a pattern that writes the dot. What is ignored in
//! directories is ignored here too.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::files::Ignore;
use repro_protocol::relpath::RelPath;

/// Directories of the project that hold what `repro` writes.
const OWN: [&str; 2] = ["artifacts", ".repro"];

/// A pattern.
pub struct Glob {
    base: String,
    matcher: GlobMatcher,
    /// How deep below the base it looks; `None`: at any depth.
    depth: Option<usize>,
    hidden: bool,
}

impl Glob {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn new(text: &str) -> Result<Glob, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_plain = |part: &&&str| !part.contains(['*', '?', '[', '{']);
        let plain = parts.iter().take_while(is_plain).count();
        // The last part is what is looked for, even where it is plain.
        let plain = plain.min(parts.len() - 1);
        let base = match plain {
            0 => ".".to_owned(),
            1 if parts[0].is_empty() => "/".to_owned(),
            n => parts[..n].join("/"),
        };
        let rest = &parts[plain..];
        let pattern = rest.join("/");
        let glob = GlobBuilder::new(&pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|e| format!("this is not a pattern: {}", e.kind()))?;
        Ok(Glob {
            base,
            matcher: glob.compile_matcher(),
            depth: (!pattern.contains("**")).then_some(rest.len()),
            hidden: rest.iter().any(|p| p.starts_with('.')),
        })
    }

    /// The directory in which all matches lie.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The files below `base` that match, sorted.
    ///
    /// # Errors
    /// A directory that cannot be read, in one sentence.
    pub fn files(&self, base: &Path, root: &Path, ignore: &Ignore) -> Result<Vec<RelPath>, String> {
        let mut found = Vec::new();
        self.list(base, "", 1, root, ignore, &mut found)?;
        found.sort();
        Ok(found)
    }

    fn list(
        &self,
        dir: &Path,
        prefix: &str,
        depth: usize,
        root: &Path,
        ignore: &Ignore,
        found: &mut Vec<RelPath>,
    ) -> Result<(), String> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && prefix.is_empty() => {
                return Ok(());
            }
            Err(e) => return Err(format!("{}: {e}", dir.display())),
        };
        for entry in entries.flatten() {
            // A name that is not UTF-8 matches nothing.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_own = dir == root && OWN.contains(&name.as_str());
            if is_own || (name.starts_with('.') && !self.hidden) {
                continue;
            }
            let inner = format!("{prefix}{name}");
            let (path, kind) = (entry.path(), entry.file_type());
            let is_link = kind.as_ref().is_ok_and(|k| k.is_symlink());
            let is_dir = path.is_dir();
            if ignore.ignores(&inner, is_dir) {
                continue;
            }
            if is_dir {
                // At any depth, links to directories may lead in circles.
                let goes_on = self.depth.map_or(!is_link, |max| depth < max);
                if goes_on {
                    self.list(&path, &format!("{inner}/"), depth + 1, root, ignore, found)?;
                }
            } else if self.matcher.is_match(&inner) && path.is_file() {
                found.extend(RelPath::new(&inner));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_30_globs_are_those_of_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in [
            "a.csv",
            "b.csv",
            ".c.csv",
            "a.txt",
            "d/e.csv",
            "d/f/g.csv",
            "artifacts/h.csv",
            "d/__pycache__/i.csv",
        ] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let ignore = Ignore::usual_and(&[]).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let glob = Glob::new(pattern).unwrap();
            let base = root.join(glob.base().trim_start_matches('.').trim_start_matches('/'));
            let files = glob.files(&base, root, &ignore).unwrap();
            files
                .iter()
                .map(|f| format!("{}:{f}", glob.base()))
                .collect()
        };
        assert_eq!(found("*.csv"), [".:a.csv", ".:b.csv"]);
        assert_eq!(found("d/*.csv"), ["d:e.csv"]);
        assert_eq!(found("d/**/*.csv"), ["d:e.csv", "d:f/g.csv"]);
        assert_eq!(
            found("**/*.csv"),
            [".:a.csv", ".:b.csv", ".:d/e.csv", ".:d/f/g.csv"]
        );
        assert_eq!(found("*/*.csv"), [".:d/e.csv"]);
        assert_eq!(found("{a,b}.csv"), [".:a.csv", ".:b.csv"]);
        assert_eq!(found(".*.csv"), [".:.c.csv"]);
        assert_eq!(found("d/e.csv"), ["d:e.csv"]);
        assert_eq!(found("no/*.csv"), [] as [&str; 0]);
        assert!(Glob::new("a[").is_err());
    }
}
