//! What is found of an installation, and the words for one that is not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::digest::Digest;
use crate::exec::Surroundings;
use crate::plan::{Environment, EnvironmentPlace};

/// An environment as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// What of it is part of a key.
    pub in_key: Value,
    /// What a process needs to use it.
    pub surroundings: Surroundings,
}

/// What was installed where, by name.
pub(super) type Packages = BTreeMap<String, String>;

/// The directory an environment is said to be in.
pub(super) fn dir_of(
    environment: &Environment,
    root: &Path,
    remedy: &str,
) -> anyhow::Result<PathBuf> {
    let dir = match &environment.place {
        EnvironmentPlace::Dir(dir) => dir.path(root),
        EnvironmentPlace::Named(_) | EnvironmentPlace::User => {
            bail!("BUG: a place that is no directory")
        }
    };
    match std::fs::metadata(&dir) {
        Ok(meta) if meta.is_dir() => Ok(dir),
        Ok(_) => bail!("{}", file_there(environment, &dir)),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => bail!(closed(&dir)),
        Err(_) => bail!("there is no directory {}; {remedy}", dir.display()),
    }
}

/// What to write where a file stands in the place of an environment's directory.
pub(super) fn file_there(environment: &Environment, file: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let (word, written) = (environment.manager.word(), &environment.written);
    let shown = file.display();
    if environment.lock.is_some() {
        return format!("{shown} is a file; `path` is the directory of the environment");
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_program = std::fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    if !is_program && !name.starts_with("python") && name != "R" && name != "Rscript" {
        return format!(
            "{shown} is a file; write `{word}: {{lock: {written}}}` if it says what is installed, or the directory of an environment"
        );
    }
    let above = |path: &str| {
        let inner = Path::new(path)
            .parent()
            .filter(|bin| bin.ends_with("bin"))?;
        Some(inner.parent()?.to_string_lossy().into_owned())
    };
    let is_venv = file
        .ancestors()
        .nth(2)
        .is_some_and(|dir| dir.join("pyvenv.cfg").is_file());
    match above(written).filter(|dir| is_venv && !dir.is_empty()) {
        Some(dir) => {
            format!("{shown} is a file: the interpreter of an environment; write `{word}: {dir}`")
        }
        None => format!(
            "{shown} is a file: an interpreter, and not an environment; declare it as a tool (`tools: [{name}]`), or make an environment and write its directory"
        ),
    }
}

/// Somebody may not look there.
pub(super) fn closed(path: &Path) -> String {
    format!(
        "{}: permission denied; look at its owner and mode, and at those of the directories above it (`ls -ld`)",
        path.display()
    )
}

/// The home directory.
pub(super) fn home() -> anyhow::Result<PathBuf> {
    std::env::home_dir()
        .filter(|h| h.is_absolute())
        .context("there is no home directory: HOME is not set")
}

/// Sorted names of what is in a directory; nothing where it cannot be read.
pub(super) fn names_in(dir: &Path) -> Vec<String> {
    let entries = crate::dir::read(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// As much of a digest as tells two packages of one version apart.
pub(super) fn mark(digest: &Digest) -> String {
    digest.hex()[..16].to_owned()
}
