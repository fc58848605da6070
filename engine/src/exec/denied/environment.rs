//! Finds out whether a failed command wanted an environment of packages it does not declare: its
//! program by path, or a package of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::scene::{Scene, words, yaml};
use crate::exec::searched::{self, Around};
use crate::exec::{Cause, Request, Work};

/// Names that environments of a project have.
const USUAL: [&str; 5] = [".venv", "venv", "env", ".env", ".conda"];

/// What it wanted, if it is an environment.
pub fn wanted(scene: &Scene, complaints: &[&String]) -> Option<Cause> {
    let declared: BTreeSet<&str> = match &scene.request.work {
        Work::Command(command) => {
            let words = command.setup.environments.iter().map(|e| e.manager.word());
            words.collect()
        }
        // Programs of the project declare none.
        Work::Kind { .. } => return None,
    };
    let all = complaints.iter().flat_map(|line| words(line));
    for word in all.chain(words(scene.script)).filter(|w| w.contains('/')) {
        let path = scene.request.project_root.join(word);
        if let Some(found) = searched::around(&path)
            && path.symlink_metadata().is_ok()
            && !declared.contains(found.word)
        {
            return Some(cause(scene, word, line(scene.request, &found)));
        }
    }
    complaints
        .iter()
        .find_map(|complaint| of_package(scene, complaint, &declared))
}

/// A package that is installed somewhere it does not look.
fn of_package(scene: &Scene, complaint: &str, declared: &BTreeSet<&str>) -> Option<Cause> {
    if let Some(package) = between(complaint, "no package called ")
        && !declared.contains("r")
    {
        let locked = scene.request.project_root.join("renv.lock").exists();
        let line = if locked {
            "r: {lock: renv.lock}"
        } else {
            "r: user"
        };
        return Some(cause(scene, &package, line.to_owned()));
    }
    let module = between(complaint, "No module named ")?;
    let module = module.split('.').next().unwrap_or(&module);
    if declared.contains("python") || declared.contains("conda") || module.is_empty() {
        return None;
    }
    let root = &scene.request.project_root;
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].map(std::env::var_os);
    let active = active.into_iter().flatten().map(PathBuf::from);
    for dir in USUAL.iter().map(|name| root.join(name)).chain(active) {
        if let Some(found) = searched::around(&dir.join("bin/python"))
            && has_module(&found.dir, module)
        {
            return Some(cause(scene, module, line(scene.request, &found)));
        }
    }
    let user = std::env::home_dir()?.join(".local");
    has_module(&user, module).then(|| cause(scene, module, "python: user".to_owned()))
}

/// A module that is installed nowhere where it is looked for.
pub fn missing(scene: &Scene, complaint: &str) -> Option<Cause> {
    let module = between(complaint, "No module named ")?;
    let module = module.split('.').next().unwrap_or(&module).to_owned();
    Some(Cause::ModuleMissing {
        python: python(scene),
        declared: declared(scene),
        module,
        ended: scene.ended.clone(),
    })
}

/// The Python that the command's text names, where it lies.
fn python(scene: &Scene) -> Option<PathBuf> {
    let is_python = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let rest = name.strip_prefix("python").or(name.strip_prefix("pypy"));
        rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    let word = words(scene.script).into_iter().find(is_python)?;
    let path = scene.request.surroundings.path();
    let mut dirs = std::env::split_paths(&path).map(|dir| dir.join(word));
    match word.contains('/') {
        true => Some(PathBuf::from(word)),
        false => dirs.find(|file| file.is_file()),
    }
}

/// The environment of Python that the stage declares, as the pipeline writes it.
fn declared(scene: &Scene) -> Option<String> {
    let Work::Command(command) = &scene.request.work else {
        return None;
    };
    let of_python = |word: &str| ["python", "conda"].contains(&word);
    let mut all = command.setup.environments.iter();
    let one = all.find(|e| of_python(e.manager.word()))?;
    Some(one.to_string())
}

fn cause(scene: &Scene, path: &str, line_to_add: String) -> Cause {
    Cause::Undeclared {
        path: path.to_owned(),
        wanted: true,
        line_to_add,
        ended: scene.ended.clone(),
    }
}

/// The line that declares an environment.
pub fn line(request: &Request, found: &Around) -> String {
    let shown = match found.dir.strip_prefix(&request.project_root) {
        // A bare word would be the name of an environment.
        Ok(inner) if found.word == "conda" => format!("./{}", inner.display()),
        Ok(inner) => inner.display().to_string(),
        Err(_) => found.dir.display().to_string(),
    };
    format!("{}: {}", found.word, yaml(&shown))
}

/// The quoted word after a phrase.
fn between(line: &str, phrase: &str) -> Option<String> {
    let rest = &line[line.find(phrase)? + phrase.len()..];
    let quotes = |c: char| "'\"`‘’“”".contains(c);
    let word: String = rest
        .trim_start_matches(quotes)
        .chars()
        .take_while(|c| !quotes(*c) && !c.is_whitespace())
        .collect();
    Some(word).filter(|w| !w.is_empty())
}

fn has_module(prefix: &Path, module: &str) -> bool {
    let entries = |dir: PathBuf| crate::dir::read(dir).into_iter().flatten().flatten();
    entries(prefix.join("lib")).any(|e| {
        let site = e.path().join("site-packages");
        site.join(module).is_dir() || site.join(format!("{module}.py")).is_file()
    })
}
