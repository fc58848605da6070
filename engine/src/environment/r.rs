//! R: a library is a directory of packages, each with a `DESCRIPTION`; renv keeps one beside its
//! lock file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Captured, Packages, dir_of, home, names_in};
use crate::exec::Surroundings;
use crate::plan::{Environment, EnvironmentPlace};

/// Directories between `renv/library` and the packages: platform and version.
const DEPTH_MAX: usize = 4;

/// Looks at a library.
pub fn capture(environment: &Environment, root: &Path) -> anyhow::Result<Captured> {
    let libraries = match &environment.place {
        EnvironmentPlace::User => vec![user()?],
        _ => {
            let dir = dir_of(environment, root, "make it: `renv::restore()` in R")?;
            let mut found = Vec::new();
            libraries(&dir, 0, &mut found);
            found
        }
    };
    if libraries.is_empty() {
        bail!(
            "no R packages are installed there; `renv::restore()` in R installs what a lock file says"
        );
    }
    let mut packages = Packages::new();
    let mut read: BTreeSet<PathBuf> = libraries.iter().cloned().collect();
    for library in &libraries {
        for name in names_in(library) {
            let Ok(text) = std::fs::read_to_string(library.join(&name).join("DESCRIPTION")) else {
                continue;
            };
            let field = |key: &str| {
                text.lines().find_map(|line| {
                    Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned())
                })
            };
            let version = field("Version").unwrap_or_default();
            let text = match field("RemoteSha") {
                Some(sha) if sha != version => format!("{version} {sha}"),
                _ => version,
            };
            // renv's packages are links into its cache.
            read.extend(library.join(&name).canonicalize());
            packages.entry(name).or_insert(text);
        }
    }
    let joined = std::env::join_paths(&libraries).context("a library's path holds a `:`")?;
    let vars: [(&str, OsString); 2] = [("R_LIBS", joined.clone()), ("R_LIBS_USER", joined)];
    Ok(Captured {
        in_key: json!({"packages": packages}),
        surroundings: Surroundings {
            vars: vars.map(|(k, v)| (k.to_owned(), v)).into(),
            read: read.into_iter().collect(),
            ..Surroundings::default()
        },
    })
}

/// Directories at or below `dir` that hold packages.
fn libraries(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let names = names_in(dir);
    if names
        .iter()
        .any(|n| dir.join(n).join("DESCRIPTION").is_file())
    {
        found.push(dir.to_owned());
    } else if depth < DEPTH_MAX {
        for name in names {
            let inner = dir.join(name);
            if inner.is_dir() {
                libraries(&inner, depth + 1, found);
            }
        }
    }
}

/// The user's library: as R is told, or the only one there is.
fn user() -> anyhow::Result<PathBuf> {
    if let Some(told) = std::env::var_os("R_LIBS_USER").map(PathBuf::from)
        && told.is_dir()
    {
        return Ok(told);
    }
    let base = home()?.join("R");
    let mut found = Vec::new();
    libraries(&base, 0, &mut found);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!("there is no user library under {}", base.display()),
        several => {
            let several: Vec<String> = several
                .iter()
                .map(|p| format!("`r: {}`", p.display()))
                .collect();
            bail!(
                "there are several user libraries; write which: {}",
                several.join(" or ")
            )
        }
    }
}
