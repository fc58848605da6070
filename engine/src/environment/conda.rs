//! Conda, mamba and pixi: prefixes with a `conda-meta` directory, one file per package.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::json;

use super::{Captured, Packages, dir_of, file_there, home, names_in, python};
use crate::exec::Surroundings;
use crate::plan::{Environment, EnvironmentPlace};

/// Where installers put themselves, below the home directory.
const ROOTS: [&str; 7] = [
    "miniforge3",
    "miniconda3",
    "mambaforge",
    "anaconda3",
    "micromamba",
    ".conda",
    "conda",
];

/// Looks at a prefix.
pub fn capture(environment: &Environment, root: &Path) -> anyhow::Result<Captured> {
    let dir = match &environment.place {
        EnvironmentPlace::Named(name) => {
            let file = root.join(name);
            if file.is_file() {
                bail!("{}", file_there(environment, &file));
            }
            find(name)?
        }
        _ => dir_of(
            environment,
            root,
            "make it: `conda env create --prefix DIR --file environment.yml`",
        )?,
    };
    let dir = dir.as_path();
    let meta = dir.join("conda-meta");
    if !meta.is_dir() {
        bail!(
            "{} is not a conda environment: it has no conda-meta; for a venv write `python:`",
            dir.display()
        );
    }
    let mut packages = Packages::new();
    for entry in names_in(&meta) {
        // `numpy-1.26.4-py311h64a7726_0.json`: the build's hash tells what it was built with.
        let Some(stem) = entry.strip_suffix(".json") else {
            continue;
        };
        let mut parts = stem.rsplitn(3, '-');
        if let (Some(build), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next())
        {
            packages.insert(name.to_owned(), format!("{version} {build}"));
        }
    }
    let from_pip = python::from_pip(dir, &packages)?;
    packages.extend(from_pip);
    let bin = dir.join("bin");
    let name = dir.file_name().unwrap_or(dir.as_os_str());
    Ok(Captured {
        in_key: json!({"packages": packages}),
        surroundings: Surroundings {
            path_first: vec![bin],
            vars: [
                ("CONDA_PREFIX".to_owned(), dir.as_os_str().to_owned()),
                ("CONDA_DEFAULT_ENV".to_owned(), name.to_owned()),
            ]
            .into(),
            programs: Vec::new(),
            read: vec![dir.to_owned()],
            write: Vec::new(),
        },
    })
}

/// The prefix of an environment that is called by its name.
fn find(name: &str) -> anyhow::Result<PathBuf> {
    let mut roots: Vec<PathBuf> = Vec::new();
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    roots.extend(var("MAMBA_ROOT_PREFIX"));
    // `…/bin/conda`, as an activated shell knows it.
    roots.extend(var("CONDA_EXE").and_then(|p| Some(p.parent()?.parent()?.to_owned())));
    // `…/envs/this`, or the root itself.
    if let Some(prefix) = var("CONDA_PREFIX") {
        roots.extend(prefix.parent().and_then(Path::parent).map(Path::to_owned));
        roots.push(prefix);
    }
    if let Ok(home) = home() {
        roots.extend(ROOTS.iter().map(|r| home.join(r)));
        let listed = std::fs::read_to_string(home.join(".conda/environments.txt"));
        let listed = listed.unwrap_or_default();
        if let Some(line) = listed
            .lines()
            .find(|l| Path::new(l).file_name().is_some_and(|n| n == name))
            && Path::new(line).is_dir()
        {
            return Ok(line.into());
        }
    }
    roots.push("/opt/conda".into());
    let mut known = Vec::new();
    for root in &roots {
        if name == "base" && root.join("conda-meta").is_dir() && root.join("envs").is_dir() {
            return Ok(root.clone());
        }
        let envs = root.join("envs");
        if envs.join(name).join("conda-meta").is_dir() {
            return Ok(envs.join(name));
        }
        known.extend(names_in(&envs));
    }
    known.sort();
    known.dedup();
    let there = if known.is_empty() {
        "none was found; write its directory: `conda: ./env` or `conda: ~/miniforge3/envs/NAME`"
            .to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    bail!("there is no environment of that name; {there}")
}
