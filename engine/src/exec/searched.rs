//! Programs and the directories they need: what `PATH` means for a command.
//!
//! A command gets the caller's `PATH`, without relative entries (they would mean its private
//! directory): which version of a tool that finds is part of its key through `tools:`. A program
//! also needs its installation (`bin/../lib`), wherever symlinks and shims lead; those directories
//! are found here, for the sandbox to allow.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The caller's `PATH`, absolute entries only; a plain default where there is none.
pub fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let entries = std::env::split_paths(&path).filter(|p| p.is_absolute());
    // The entries come from splitting, so none holds the separator.
    std::env::join_paths(entries).unwrap_or_default()
}

/// Where `program` is, symlinks not resolved; a program with a `/` stands for itself.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|p| runs(p));
    }
    std::env::split_paths(&path())
        .map(|dir| dir.join(program))
        .find(|p| runs(p))
}

fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The interpreter of a script, from its first line; a program that is none has none.
pub fn interpreter(program: &Path) -> Option<String> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(program)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let text = String::from_utf8_lossy(head.strip_prefix(b"#!")?).into_owned();
    let mut words = text.lines().next()?.split_whitespace();
    let first = words.next()?;
    let named = if first.ends_with("/env") {
        words.find(|w| !w.starts_with('-'))?
    } else {
        first
    };
    Some(named.to_owned())
}

/// The directories a program needs: those of its installation, for itself and for what its symlinks
/// lead to. `keep_out` are directories that are never allowed whole (the project, the home
/// directory).
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
    // Hidden directories of a project (`.venv`, or `.cargo` where the home directory is the
    // project) hold tools.
    let inside_project = keep_out
        .first()
        .and_then(|project| dir.strip_prefix(project).ok())
        .is_some_and(|inner| {
            let first = inner.components().next();
            !first.is_some_and(|c| c.as_os_str().as_encoded_bytes().starts_with(b"."))
        });
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
            } else if !is_environment && is_hidden_in_home(root, keep_out) {
                parts(root, &dir)
            } else {
                vec![root.to_owned()]
            }
        }
        // A directory of scripts within the project is no installation: those are declared as
        // inputs.
        _ if inside_project || holds(&dir) => Vec::new(),
        _ => vec![dir],
    }
}

/// An environment of packages that was found around a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Around {
    /// Its directory.
    pub dir: PathBuf,
    /// The field of a stage that declares it.
    pub word: &'static str,
}

/// The environment a path lies in, symlinks not resolved.
pub fn around(path: &Path) -> Option<Around> {
    path.ancestors().skip(1).take(6).find_map(|dir| {
        let word = if dir.join("pyvenv.cfg").is_file() {
            "python"
        } else if dir.join("conda-meta").is_dir() {
            "conda"
        } else {
            return None;
        };
        Some(Around {
            dir: dir.to_owned(),
            word,
        })
    })
}

/// Some entry of `PATH` lies in an environment of packages, so programs may be found in one. Looked
/// at once.
pub fn leads_around() -> bool {
    static LEADS: OnceLock<bool> = OnceLock::new();
    let lies_in_one = |dir: PathBuf| around(&dir.join("program")).is_some();
    *LEADS.get_or_init(|| std::env::split_paths(&path()).any(lies_in_one))
}

/// As [`find`], but a program that is still where it was found before is not searched for again.
pub fn find_again(program: &str) -> Option<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let found = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = found().get(program)
        && runs(known)
    {
        return Some(known.clone());
    }
    let path = find(program)?;
    found().insert(program.to_owned(), path.clone());
    Some(path)
}

/// `~/.cargo` and the like: beside the programs lie the settings and the credentials of a service.
fn is_hidden_in_home(root: &Path, keep_out: &[PathBuf]) -> bool {
    let is_hidden = root
        .file_name()
        .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    // The first one is the project.
    is_hidden && keep_out.iter().skip(1).any(|k| root.parent() == Some(k))
}

/// Of such a directory what its programs need: where they and their libraries lie, and where their
/// links lead.
fn parts(root: &Path, programs: &Path) -> Vec<PathBuf> {
    const CUSTOMARY: [&str; 16] = [
        "bin",
        "sbin",
        "shims",
        "lib",
        "lib32",
        "lib64",
        "libexec",
        "include",
        "share",
        "versions",
        "version",
        "plugins",
        "installs",
        "toolchains",
        "completions",
        "opt",
    ];
    let mut found: BTreeSet<PathBuf> = CUSTOMARY.iter().map(|part| root.join(part)).collect();
    for entry in crate::dir::read(programs).into_iter().flatten().flatten() {
        let link = entry.path();
        let is_link = entry.file_type().is_ok_and(|t| t.is_symlink());
        if let Some(target) = link.canonicalize().ok().filter(|_| is_link)
            && let Ok(inner) = target.strip_prefix(root)
            && let (Some(first), true) = (inner.components().next(), inner.components().count() > 1)
        {
            found.insert(root.join(first));
        }
    }
    // The programs of Rust's installer are ways to toolchains that lie beside it.
    if root.file_name().is_some_and(|n| n == ".cargo") {
        let beside = root.with_file_name(".rustup");
        let rustup = std::env::var_os("RUSTUP_HOME").map_or(beside, PathBuf::from);
        found.extend(["toolchains", "settings.toml"].map(|part| rustup.join(part)));
    }
    found.into_iter().filter(|part| part.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_and_what_is_none() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let made = |path: &str| {
            std::fs::create_dir_all(base.join(path)).unwrap();
            base.join(path)
        };
        let keep_out = [made("home/project"), made("home")];
        for (dir, expected) in [
            ("conda/bin", vec!["conda"]),
            ("home/.pyenv/shims", vec!["home/.pyenv/shims"]),
            ("home/tool/bin", vec!["home/tool"]),
            (
                "home/.local/bin",
                vec!["home/.local/bin", "home/.local/lib"],
            ),
            ("home/bin", vec!["home/bin"]),
            ("home/scripts", vec!["home/scripts"]),
            ("home/project/bin", vec![]),
            ("home/project/tools", vec![]),
            ("home/project", vec![]),
            ("home", vec![]),
            ("home/project/.venv/bin", vec!["home/project/.venv"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(|e| base.join(e)).collect();
            assert_eq!(prefix(&made(dir), &keep_out), expected, "{dir}");
        }
        let env = made("home/project/env/bin");
        assert!(prefix(&env, &keep_out).is_empty());
        std::fs::write(base.join("home/project/env/pyvenv.cfg"), "").unwrap();
        assert_eq!(prefix(&env, &keep_out), [base.join("home/project/env")]);
        assert!(prefix(&base.join("missing"), &keep_out).is_empty());
    }

    #[test]
    fn case_61_credentials_beside_programs_stay_closed() {
        let base = tempfile::tempdir().unwrap();
        let home = base.path().canonicalize().unwrap();
        let keep_out = [home.join("project"), home.clone()];
        for dir in [
            ".cargo/bin",
            ".cargo/registry",
            ".rustup/toolchains",
            ".ghcup/bin",
            ".ghcup/ghc/9/bin",
        ] {
            std::fs::create_dir_all(home.join(dir)).unwrap();
        }
        std::fs::write(home.join(".cargo/credentials.toml"), "").unwrap();
        std::fs::write(home.join(".ghcup/ghc/9/bin/ghc"), "").unwrap();
        std::os::unix::fs::symlink("../ghc/9/bin/ghc", home.join(".ghcup/bin/ghc")).unwrap();
        let paths = |names: &[&str]| names.iter().map(|n| home.join(n)).collect::<Vec<_>>();
        let allowed = |dir: &str| prefix(&home.join(dir), &keep_out);
        let cargo = allowed(".cargo/bin");
        let (bin, rest): (Vec<_>, Vec<_>) =
            cargo.iter().partition(|p| **p == home.join(".cargo/bin"));
        assert_eq!(bin.len(), 1, "{cargo:?}");
        // A toolchain manager that is installed lies beside it, or where its own variable says.
        assert!(
            rest.iter()
                .all(|p| p.ends_with("toolchains") || p.ends_with("settings.toml")),
            "{cargo:?}"
        );
        assert_eq!(allowed(".ghcup/bin"), paths(&[".ghcup/bin", ".ghcup/ghc"]));
    }

    #[test]
    fn symlinks_lead_to_further_installations() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        for dir in ["base/bin", "venv/bin"] {
            std::fs::create_dir_all(base.join(dir)).unwrap();
        }
        let real = base.join("base/bin/tool-1.2");
        std::fs::write(&real, "").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("tool-1.2", base.join("base/bin/tool")).unwrap();
        symlink(base.join("base/bin/tool"), base.join("venv/bin/tool")).unwrap();
        let dirs = installation(base.join("venv/bin/tool").to_str().unwrap(), &[]);
        assert_eq!(dirs, BTreeSet::from([base.join("base"), base.join("venv")]));
    }
}
