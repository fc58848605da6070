//! Programs of npm that tests use where `.ci/run` (or a person) has installed them: the packages of
//! `tests/npm/package.json` under `target/npm`.

use std::path::{Path, PathBuf};

/// A file of an installed package, or why there is none.
pub fn file(path: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/node_modules");
    let file = root.join(path);
    match file.exists() {
        true => Ok(file),
        false => Err(format!(
            "{path} is not installed (cp tests/npm/package.json target/npm; npm install --prefix target/npm)"
        )),
    }
}
