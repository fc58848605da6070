//! Lock files: the versions they pin, where their form is known. What is not known pins nothing,
//! and only its bytes count.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use super::python::normal;

/// Versions by package; a lock file may hold several of one, for different platforms.
pub fn pinned(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let mut pinned: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".txt") {
        for line in text.lines() {
            let line = line.split(['#', ';', ' ']).next().unwrap_or_default();
            if let Some((name, version)) = line.split_once("==") {
                let name = name.split('[').next().unwrap_or_default();
                pinned
                    .entry(normal(name))
                    .or_default()
                    .push(version.trim().to_owned());
            }
        }
        return Ok(pinned);
    }
    // uv.lock, poetry.lock and pdm.lock have `package`, pylock.toml has `packages`.
    let Ok(table) = text.parse::<toml::Table>() else {
        return Ok(pinned);
    };
    for list in ["package", "packages"] {
        for package in table
            .get(list)
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            let field = |name: &str| package.get(name).and_then(toml::Value::as_str);
            if let (Some(name), Some(version)) = (field("name"), field("version")) {
                pinned
                    .entry(normal(name))
                    .or_default()
                    .push(version.to_owned());
            }
        }
    }
    Ok(pinned)
}

/// The command that makes an environment follow its lock file.
pub fn how_to_sync(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        "uv.lock" => "uv sync".into(),
        "poetry.lock" => "poetry sync".into(),
        "pdm.lock" => "pdm sync".into(),
        name => format!("pip install -r {name}"),
    }
}
