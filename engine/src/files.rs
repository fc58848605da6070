//! Files that no stage makes: where they are, and what of a directory counts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use repro_protocol::relpath::RelPath;

/// What comes and goes in directories without anybody meaning it: written by interpreters, editors,
/// file managers, version control.
pub const IGNORED: &[&str] = &[
    "__pycache__/",
    "*.pyc",
    "*.pyo",
    ".ipynb_checkpoints/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".hypothesis/",
    ".tox/",
    ".nox/",
    ".eggs/",
    ".coverage",
    ".Rhistory",
    ".RData",
    ".Rproj.user/",
    ".DS_Store",
    "._*",
    ".directory",
    "Thumbs.db",
    "desktop.ini",
    ".git",
    ".hg/",
    ".svn/",
    ".idea/",
    ".vscode/",
    ".*.sw[a-px]",
    ".*.kate-swp",
    ".goutputstream-*",
    "*~",
    ".#*",
    "\\#*\\#",
    ".~lock.*#",
    "~$*",
    ".nfs*",
    ".fuse_hidden*",
];

/// Which entries of a directory do not count, by patterns as in `.gitignore`; later ones win.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ignore {
    patterns: Vec<String>,
    #[serde(skip)]
    matcher: OnceLock<Option<Gitignore>>,
}

impl Ignore {
    /// Nothing is ignored.
    pub fn nothing() -> Ignore {
        Ignore::default()
    }

    /// [`IGNORED`], and these patterns after them.
    ///
    /// # Errors
    /// The first pattern that is none, and why.
    pub fn usual_and(patterns: &[String]) -> Result<Ignore, (usize, String)> {
        for (at, pattern) in patterns.iter().enumerate() {
            let mut builder = GitignoreBuilder::new("");
            if let Err(e) = builder.add_line(None, pattern) {
                return Err((at, e.to_string()));
            }
        }
        let all = IGNORED.iter().map(|p| (*p).to_owned());
        Ok(Ignore {
            patterns: all.chain(patterns.iter().cloned()).collect(),
            matcher: OnceLock::new(),
        })
    }

    /// Whether the entry at this path, from the directory's root, is ignored; its parents were
    /// asked after before.
    pub fn ignores(&self, inner: &str, is_dir: bool) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let matcher = self.matcher.get_or_init(|| {
            let mut builder = GitignoreBuilder::new("");
            for pattern in &self.patterns {
                // They were tried when this was made.
                let _ = builder.add_line(None, pattern);
            }
            builder.build().ok()
        });
        matcher
            .as_ref()
            .is_some_and(|m| m.matched(inner, is_dir).is_ignore())
    }
}

impl PartialEq for Ignore {
    fn eq(&self, other: &Ignore) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Ignore {}

/// Where files are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Location {
    /// In the project.
    Project(RelPath),
    /// Outside of it: an absolute path.
    Outside(Arc<Path>),
}

impl Location {
    /// Of a path on this machine; `root` is the project.
    pub fn of(path: &Path, root: &Path) -> Location {
        let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
        match inside.and_then(|path| RelPath::new(path).ok()) {
            Some(path) => Location::Project(path),
            None => Location::Outside(path.into()),
        }
    }

    /// The path on this machine; `root` is the project.
    pub fn path(&self, root: &Path) -> PathBuf {
        match self {
            Location::Project(path) => path.under(root),
            Location::Outside(path) => path.to_path_buf(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Project(path) => path.fmt(f),
            Location::Outside(path) => path.display().fmt(f),
        }
    }
}

/// A file or directory that no stage makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Where it is.
    pub at: Location,
    /// What of a directory does not count.
    pub ignore: Arc<Ignore>,
    /// A list of the digests of its files, as `b3sum` writes it.
    pub manifest: Option<Box<Location>>,
}

impl Files {
    /// A file or directory of the project, whole.
    pub fn whole(path: RelPath) -> Files {
        Files {
            at: Location::Project(path),
            ignore: Arc::new(Ignore::nothing()),
            manifest: None,
        }
    }

    /// The path in the project, if it is in there.
    pub fn in_project(&self) -> Option<&RelPath> {
        match &self.at {
            Location::Project(path) => Some(path),
            Location::Outside(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_10_what_is_ignored() {
        let ignored = |patterns: &[&str], path: &str, is_dir| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            Ignore::usual_and(&patterns).unwrap().ignores(path, is_dir)
        };
        for (path, is_dir) in [
            ("__pycache__", true),
            ("a/b/__pycache__", true),
            ("a/x.pyc", false),
            (".DS_Store", false),
            ("a/.git", true),
            (".git", false),
            (".main.py.swp", false),
            ("main.py~", false),
            ("#main.py#", false),
            (".#main.py", false),
        ] {
            assert!(ignored(&[], path, is_dir), "{path}");
        }
        for path in ["main.py", "data.swp", "git", ".gitignore", "#x", "a~b"] {
            assert!(!ignored(&[], path, false), "{path}");
        }
        assert!(ignored(&["*.tmp", "/build"], "a/x.tmp", false));
        assert!(ignored(&["/build"], "build", true) && !ignored(&["/build"], "a/build", true));
        assert!(
            !ignored(&["!*.pyc"], "x.pyc", false),
            "a later pattern wins"
        );
        assert!(!ignored(&["!*"], ".DS_Store", false));
        assert!(!Ignore::nothing().ignores(".DS_Store", false));
        assert!(Ignore::usual_and(&["ok".into(), "[z-a]".into()]).is_err_and(|(at, _)| at == 1));
    }
}
