//! Programs and the directories they need: what `PATH` means for a command.
//!
//! A command gets the caller's `PATH`, without relative entries (they would mean its private directory): which version of a
//! tool that finds is part of its key through `tools:`. A program also needs its installation (`bin/../lib`), wherever
//! symlinks and shims lead; those directories are found here, for the sandbox to allow.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The caller's `PATH`, absolute entries only; a plain default where there is none.
pub fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let entries = std::env::split_paths(&path).filter(|p| p.is_absolute());
    // The entries come from splitting, so none holds the separator.
    std::env::join_paths(entries).unwrap_or_default()
}

/// Where `program` is, symlinks not resolved; a program with a `/` stands for itself.
pub fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |p: &Path| {
        p.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|p| runs(p));
    }
    std::env::split_paths(&path())
        .map(|dir| dir.join(program))
        .find(|p| runs(p))
}

/// The directories a program needs: those of its installation, for itself and for what its symlinks lead to.
/// `keep_out` are directories that are never allowed whole (the project, the home directory).
pub fn installation(program: &str, keep_out: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    let mut next = find(program);
    // A chain of symlinks, each of which may stand in an environment of its own (a venv).
    for _ in 0..40 {
        let Some(here) = next else { break };
        if let Some(dir) = here.parent() {
            dirs.extend(prefix(dir, keep_out));
        }
        next = std::fs::read_link(&here)
            .ok()
            .map(|link| here.parent().unwrap_or(Path::new("/")).join(link));
    }
    if let Some(real) = find(program).and_then(|p| p.canonicalize().ok())
        && let Some(dir) = real.parent()
    {
        dirs.extend(prefix(dir, keep_out));
    }
    dirs
}

/// What a directory of programs needs: itself, and the installation around a `bin` or `shims`.
pub fn prefix(dir: &Path, keep_out: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(dir) = dir.canonicalize() else {
        return Vec::new();
    };
    let holds = |d: &Path| keep_out.iter().any(|k| k.starts_with(d));
    let inside_project = keep_out
        .first()
        .is_some_and(|project| dir.starts_with(project));
    let is_bin = dir
        .file_name()
        .is_some_and(|n| n == "bin" || n == "shims" || n == "sbin");
    match dir.parent() {
        Some(root) if is_bin && !holds(root) => {
            let is_environment =
                root.join("pyvenv.cfg").exists() || root.join("conda-meta").exists();
            if inside_project && !is_environment {
                Vec::new()
            } else if root.file_name().is_some_and(|n| n == ".local") {
                // `share` there is the user's data.
                vec![root.join("bin"), root.join("lib")]
            } else {
                vec![root.to_owned()]
            }
        }
        // A directory of scripts within the project is no installation: those are declared as inputs.
        _ if inside_project || holds(&dir) => Vec::new(),
        _ => vec![dir],
    }
}
