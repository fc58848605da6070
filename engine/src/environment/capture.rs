//! Looking at one declared environment: what of it is part of a key, and what a process needs to
//! use it.

use super::installed::Captured;
use super::{conda, lock, python, r};
use crate::digest::Digest;
use crate::plan::{Environment, Manager};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::Path;

/// Looks at an environment; `root` is the project.
///
/// # Errors
/// It is missing, broken, or not what its lock file says; each with what to do.
pub fn capture(environment: &Environment, root: &Path) -> anyhow::Result<Captured> {
    let mut captured = match environment.manager {
        Manager::Python => python::capture(environment, root),
        Manager::Conda => conda::capture(environment, root),
        Manager::R => r::capture(environment, root),
    }
    .with_context(|| environment.to_string())?;
    if let Some(lock) = &environment.lock {
        captured.in_key = locked(environment, &lock.path(root), captured.in_key)?;
    }
    Ok(captured)
}

/// With a lock file the key holds the file in place of the packages: what is installed may be a
/// part of what it pins.
pub(super) fn locked(
    environment: &Environment,
    path: &Path,
    found: Value,
) -> anyhow::Result<Value> {
    let (digest, _) = Digest::of_file(path)
        .with_context(|| format!("{environment}: {} cannot be read", path.display()))?;
    if let Some(packages) = found["packages"].as_object() {
        let pinned = lock::pinned(path)?;
        for (name, installed) in packages {
            let installed = installed.as_str().unwrap_or_default();
            let version = installed.split(' ').next().unwrap_or_default();
            if let Some(versions) = pinned.get(name)
                && !versions.iter().any(|v| is_of(version, v))
            {
                bail!(
                    "{environment}: `{name}` {version} is installed where {} says {}; bring the environment up to date ({})",
                    path.display(),
                    versions.join(" or "),
                    lock::how_to_sync(path)
                );
            }
        }
    }
    let mut in_key = json!({"lock": format!("file:{digest}")});
    if let Some(version) = found.get("version") {
        in_key["version"] = version.clone();
    }
    Ok(in_key)
}

/// Builds for one kind of device are marked (`2.3.0+cpu`), and lock files mostly say the version
/// alone.
pub(super) fn is_of(installed: &str, pinned: &str) -> bool {
    let rest = installed.strip_prefix(pinned);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}
