//! Finds out which undeclared file a failed command wanted, and writes the line that declares it.
//!
//! Neither the kernel nor a shell tells which read failed, but programs do: almost all name the
//! file in their message. Words of the log and of the command text that name an existing,
//! undeclared path of the project are taken for it. A guess, made only after a failure, and shown
//! beside the log it was made from.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::environment;
use super::scene::{Scene, words, yaml};
use crate::exec::{Cause, Request};

/// Parts of messages that say a file could not be read.
const SIGNS: &[&str] = &[
    "no such file",
    "not found",
    "permission denied",
    "cannot open",
    "can't open",
    "could not open",
    "cannot find",
    "can't find",
    "cannot access",
    "cannot read",
    "cannot stat",
    "does not exist",
    "doesn't exist",
    "no module named",
    "enoent",
    "eacces",
];

/// What it wanted, if that can be told.
pub fn wanted(scene: &Scene) -> Option<Cause> {
    let is_sign = |line: &str| {
        let line = line.to_lowercase();
        SIGNS.iter().any(|s| line.contains(s))
    };
    let complaints: Vec<&String> = scene.tail.iter().filter(|l| is_sign(l)).collect();
    if let Some(cause) = complaints.iter().find_map(|line| not_run(scene, line)) {
        return Some(cause);
    }
    if !complaints.is_empty()
        && let Some(cause) = environment::wanted(scene, &complaints)
    {
        return Some(cause);
    }
    for line in &complaints {
        for word in words(line) {
            let module = line
                .contains("No module named")
                .then(|| word.replace('.', "/"));
            let tries = [
                Some(word.to_owned()),
                module.as_ref().map(|m| format!("{m}.py")),
                module.clone(),
            ];
            for text in tries.into_iter().flatten() {
                if let Some(path) = undeclared(scene, &text) {
                    return Some(cause(scene, path, true));
                }
            }
        }
    }
    // The script names a file that is not there, and something was missing (or nothing was said at
    // all).
    if !complaints.is_empty() || scene.tail.is_empty() {
        for word in words(scene.script) {
            if let Some(path) = undeclared(scene, word) {
                return Some(cause(scene, path, false));
            }
        }
    }
    // An earlier one may have been dealt with.
    if let Some(last) = complaints.last()
        && let Some(cause) = environment::missing(scene, last)
    {
        return Some(cause);
    }
    if scene.enforced {
        for line in complaints {
            let is_refused = line.to_lowercase().contains("permission denied");
            let is_elsewhere = |path: &Path| {
                path.is_absolute() && path.components().count() > 2 && !path.starts_with(scene.work)
            };
            let is_tmp = |path: &Path| ["/tmp", "/dev/shm"].iter().any(|c| path.starts_with(c));
            let is_it = |word: &&str| {
                let path = Path::new(word);
                is_elsewhere(path)
                    && path.exists()
                    && (is_tmp(path) || (is_refused && !is_system(path)))
            };
            let is_new = |word: &&str| {
                let path = Path::new(word);
                is_refused && is_elsewhere(path) && is_tmp(path) && !path.exists()
            };
            let found = words(line).into_iter().find(is_it);
            let is_written = |word: &&str| {
                is_refused && is_tmp(Path::new(word)) && writes(line, scene.script, word)
            };
            if let Some(word) = found
                && !is_written(&word)
            {
                let is_read = [
                    "cat: ", "head: ", "tail: ", "grep: ", "sed: ", "awk: ", "ls: ",
                ]
                .iter()
                .any(|program| line.starts_with(program));
                return Some(Cause::Denied {
                    path: word.to_owned(),
                    wrote_perhaps: is_refused && is_tmp(Path::new(word)) && !is_read,
                    ended: scene.ended.clone(),
                });
            }
            let new = || words(line).into_iter().find(is_new);
            if let Some(word) = found.or_else(new) {
                return Some(Cause::SharedTmp {
                    path: word.to_owned(),
                    ended: scene.ended.clone(),
                });
            }
        }
    }
    None
}

/// A shell's refusal to run an input: looked for on PATH alone, because its place in the project's
/// own directory has no `/` in it, or not executable.
fn not_run(scene: &Scene, line: &str) -> Option<Cause> {
    let lower = line.to_lowercase();
    let says = |text: &str| lower.contains(text);
    let is_of_a_shell = says("line ") || says("sh: ") || says("sh:1: ") || says("env: ");
    let words = words(line);
    let (input, called) = scene.request.inputs.iter().find_map(|input| {
        let path = input.placed_at.as_str();
        let called = words.iter().find(|w| w.trim_start_matches("./") == path)?;
        Some((input, called))
    })?;
    // In the stage's directory there may be only a place to mount it on.
    let file = std::fs::metadata(input.origin.path()).ok()?;
    if !is_of_a_shell || !file.is_file() {
        return None;
    }
    let (need, path) = (&input.need, &input.placed_at);
    let remedy = if says("not found") && !called.contains('/') {
        format!(
            "a shell looks for a name without `/` on PATH alone; write `./${{needs.{need}}}` in `run`"
        )
    } else if says("permission denied") && file.permissions().mode() & 0o111 == 0 {
        format!(
            "the file is not executable: `chmod +x {path}`, or name its interpreter: `bash ${{needs.{need}}}`"
        )
    } else {
        return None;
    };
    Some(Cause::NotRun {
        need: need.clone(),
        path: path.to_string(),
        ended: scene.ended.clone(),
        remedy,
    })
}

fn is_system(path: &Path) -> bool {
    [
        "/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/sys", "/dev", "/run",
    ]
    .iter()
    .any(|s| path.starts_with(s))
}

/// Whether a message about a path that was refused is about writing it, by who complains or by the
/// command's text.
fn writes(line: &str, script: &str, path: &str) -> bool {
    let writers = ["tee: ", "touch: ", "mkdir: ", "rm: "];
    let lower = line.to_lowercase();
    let into = |(at, _): (usize, &str)| {
        script[..at]
            .trim_end_matches([' ', '"', '\'', '|'])
            .ends_with('>')
    };
    writers.iter().any(|w| line.starts_with(w))
        || ["cannot create", "cannot remove", "cannot touch"]
            .iter()
            .any(|sign| lower.contains(sign))
        || script.match_indices(path).any(into)
}

/// The project path `text` names, if it exists there, is not declared and not in the private
/// directory.
fn undeclared(scene: &Scene, text: &str) -> Option<PathBuf> {
    let root = &scene.request.project_root;
    let given = Path::new(text);
    let inner = if given.is_absolute() {
        given
            .strip_prefix(scene.work)
            .or_else(|_| given.strip_prefix(root))
            .ok()?
    } else {
        given
    };
    // A script beside which a helper lies was placed at its own path: the helper is looked for
    // there as well.
    let scripts = scene
        .request
        .inputs
        .iter()
        .filter_map(|i| Path::new(i.placed_at.as_str()).parent());
    let bases: BTreeSet<&Path> = std::iter::once(Path::new("")).chain(scripts).collect();
    bases.into_iter().find_map(|base| {
        let path = normal(&base.join(inner))?;
        let exists = root.join(&path).exists() && !scene.work.starts_with(root.join(&path));
        let there = std::fs::symlink_metadata(scene.work.join(&path)).is_ok();
        let declared = scene
            .request
            .outputs
            .iter()
            .any(|o| Path::new(o.path.as_str()) == path);
        (exists && !there && !declared && path.to_str().is_some()).then_some(path)
    })
}

/// Without `.` and `..`; `None` when that is nothing, or leaves the project.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(p) => out.push(p),
            Component::CurDir => {}
            Component::ParentDir if out.pop() => {}
            _ => return None,
        }
    }
    (!out.as_os_str().is_empty()).then_some(out)
}

fn cause(scene: &Scene, path: PathBuf, wanted: bool) -> Cause {
    let line_to_add = line_to_add(scene.request, &path);
    Cause::Undeclared {
        path: path.display().to_string(),
        wanted,
        line_to_add,
        ended: scene.ended.clone(),
    }
}

/// `needs: {helper: {file: helper.py}}`, with a name no other need has.
fn line_to_add(request: &Request, path: &Path) -> String {
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy())
        .unwrap_or_default();
    let mut name: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "file_");
    }
    let taken: BTreeSet<&str> = request.inputs.iter().map(|i| &*i.need).collect();
    let base = name.clone();
    for n in 2.. {
        if !taken.contains(name.as_str()) {
            break;
        }
        name = format!("{base}_{n}");
    }
    let shape = if request.project_root.join(path).is_dir() {
        "dir"
    } else {
        "file"
    };
    format!(
        "needs: {{{name}: {{{shape}: {}}}}}",
        yaml(&path.to_string_lossy())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_usual_messages() {
        for (line, path) in [
            ("cat: my file.txt: No such file or directory", "my file.txt"),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: 'a/b.csv'",
                "a/b.csv",
            ),
            (
                "python3: can't open file '/p/w/x.py': [Errno 2] No such file or directory",
                "/p/w/x.py",
            ),
            ("sh: 1: ./tool.sh: Permission denied", "./tool.sh"),
            ("ls: cannot access ‘data’: No such file", "data"),
            (
                "ModuleNotFoundError: No module named 'lib.helper'",
                "lib.helper",
            ),
        ] {
            assert!(words(line).contains(&path), "{line}: {:?}", words(line));
        }
    }

    #[test]
    fn scalars() {
        assert_eq!(yaml("a/b-1.py"), "a/b-1.py");
        assert_eq!(yaml(".venv"), ".venv");
        assert_eq!(yaml(".5"), r#"".5""#);
        assert_eq!(yaml("a b\n"), r#""a b\n""#);
        assert_eq!(yaml("1e3"), r#""1e3""#);
        assert_eq!(normal(Path::new("./a/../b")), Some("b".into()));
        assert_eq!(normal(Path::new("../b")), None);
    }
}
