//! Looks at what a process left: every declared output exists and is a file or directory of its
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::placing::{Placed, stays_inside};
use super::secrets::Secrets;
use super::{Cause, Request, Work};
use repro_protocol::kind::OutputSpec;

/// Undeclared files named in a warning.
const EXTRAS_NAMED: usize = 5;

/// Where each output lies, checked.
///
/// # Errors
/// [`Cause::OutputMissing`] and [`Cause::BadOutput`].
pub fn check(
    specs: &[OutputSpec],
    work: &Path,
    placed: &Placed,
    secrets: &Secrets,
    path_of: impl Fn(&OutputSpec) -> PathBuf,
) -> Result<BTreeMap<Arc<str>, PathBuf>, Cause> {
    placed.check()?;
    let mut outputs = BTreeMap::new();
    for spec in specs {
        let path = check_one(spec, work, path_of(spec)).map_err(|cause| match cause {
            // What is wrong is told with names that the process chose.
            Cause::BadOutput { name, problem } => Cause::BadOutput {
                name,
                problem: secrets.masked(problem),
            },
            other => other,
        })?;
        if let Some(need) = placed.input_at(&path) {
            return Err(Cause::BadOutput {
                name: spec.name.clone(),
                problem: format!("{} leads to its input `{need}`; write a copy", spec.path),
            });
        }
        outputs.insert(spec.name.clone(), path);
    }
    Ok(outputs)
}

fn check_one(spec: &OutputSpec, work: &Path, path: PathBuf) -> Result<PathBuf, Cause> {
    let bad = |problem: String| Cause::BadOutput {
        name: spec.name.clone(),
        problem,
    };
    let Ok(seen) = fs::symlink_metadata(&path) else {
        return Err(Cause::OutputMissing {
            name: spec.name.clone(),
            path: spec.path.to_string(),
            wrote: Vec::new(),
        });
    };
    // Its directory may have been replaced by a symlink as well, so the whole way is resolved.
    let real = path.canonicalize().map_err(|e| {
        bad(format!(
            "{} is a symlink that leads nowhere ({e})",
            spec.path
        ))
    })?;
    if !real.starts_with(work) || real == work {
        return Err(bad(format!(
            "{} leads out of the stage's directory, to {}; write a copy",
            spec.path,
            real.display()
        )));
    }
    let kind = if seen.is_symlink() {
        fs::metadata(&real)
            .map_err(|e| bad(e.to_string()))?
            .file_type()
    } else {
        seen.file_type()
    };
    let closed = |e: std::io::Error| bad(format!("it cannot be opened to its owner: {e}"));
    if kind.is_dir() {
        // A tree that was made read-only, or taken whole from such a one, is an output like any
        // other; modes are not kept.
        open_up(&real).map_err(closed)?;
        check_tree(&real, &mut PathBuf::new()).map_err(bad)?;
    } else if kind.is_file() {
        let_read(&real).map_err(closed)?;
    } else {
        return Err(bad(format!(
            "{} is neither a file nor a directory",
            spec.path
        )));
    }
    Ok(real)
}

fn check_tree(root: &Path, inner: &mut PathBuf) -> Result<(), String> {
    let here = root.join(&*inner);
    let unreadable = |e: std::io::Error| format!("{}: {e}", here.display());
    for entry in crate::dir::read(&here).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        inner.push(entry.file_name());
        if entry.file_name().to_str().is_none() {
            return Err(format!(
                "in it, the name {inner:?} is not UTF-8; let the stage choose another"
            ));
        }
        if kind.is_dir() {
            check_tree(root, inner)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).map_err(unreadable)?;
            if !stays_inside(inner, &link) {
                return Err(format!(
                    "in it, {} is a symlink out of it, to {}; write a copy",
                    inner.display(),
                    link.display()
                ));
            }
        } else if kind.is_file() {
            let_read(&entry.path()).map_err(unreadable)?;
        } else {
            return Err(format!(
                "in it, {} is neither a file nor a directory",
                inner.display()
            ));
        }
        inner.pop();
    }
    Ok(())
}

/// Lets the owner list, enter and change every directory at and below `dir`.
fn open_up(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const NEEDED: u32 = 0o700;
    let mode = fs::symlink_metadata(dir)?.permissions().mode();
    if mode & NEEDED != NEEDED {
        fs::set_permissions(dir, fs::Permissions::from_mode((mode & 0o7777) | NEEDED))?;
    }
    for entry in crate::dir::read(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// The owner may read it.
fn let_read(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    if mode & 0o400 == 0 {
        fs::set_permissions(path, fs::Permissions::from_mode((mode & 0o7777) | 0o400))?;
    }
    Ok(())
}

/// A certain secret in an output fails; one that may be there by chance is a sentence.
///
/// # Errors
/// [`Cause::Spilled`]; an output that cannot be read.
pub fn keep_secrets_out(
    outputs: &BTreeMap<Arc<str>, PathBuf>,
    secrets: &Secrets,
    work: &Path,
) -> Result<Option<String>, Cause> {
    let mut warning = None;
    for (output, path) in outputs {
        let spilled = secrets.spilled(path).map_err(|source| Cause::Io {
            what: format!("looking for secrets in the output `{output}`"),
            source,
        })?;
        let Some(spilled) = spilled else { continue };
        let file = spilled.path.strip_prefix(work).unwrap_or(&spilled.path);
        if spilled.is_certain {
            return Err(Cause::Spilled {
                output: output.clone(),
                path: secrets.masked(file.display().to_string()),
                secret: spilled.name,
            });
        }
        warning = Some(format!(
            "its output `{output}` holds the value of the secret `{}` ({}), or the same few bytes by chance",
            spilled.name,
            file.display()
        ));
    }
    Ok(warning)
}

/// A sentence about files in the working directory that are neither input nor output; they are
/// thrown away.
pub fn extras(request: &Request, work: &Path) -> Option<String> {
    let found = undeclared(request, work);
    let named: Vec<String> = found
        .iter()
        .take(EXTRAS_NAMED)
        .map(|path| format!("`{path}`"))
        .collect();
    let more = match found.len() > EXTRAS_NAMED {
        true => " and more",
        false => "",
    };
    (!found.is_empty()).then(|| {
        format!(
            "it also wrote {}{more}: not declared under `outputs:`, thrown away",
            named.join(", ")
        )
    })
}

/// The first files and directories in the working directory that are neither input nor output.
pub fn undeclared(request: &Request, work: &Path) -> Vec<String> {
    let inputs = request.inputs.iter().map(|i| i.placed_at.as_str());
    let shown = request.surroundings.inside(&request.project_root);
    let command = match &request.work {
        Work::Command(command) => Some(command),
        Work::Kind { .. } => None,
    };
    let lists = command.into_iter().flat_map(|c| &c.setup.lists);
    let config = command.into_iter().flat_map(|c| c.setup.config.keys());
    let declared = inputs
        .chain(request.outputs.iter().map(|o| o.path.as_str()))
        .chain(shown.filter_map(|(_, inner)| inner.to_str()))
        .chain(lists.map(|l| l.at.as_str()))
        .chain(config.map(|path| path.as_str()))
        .collect();
    let mut found = Vec::new();
    walk(&declared, work, "", &mut found);
    found
}

/// `inner` is the way to here with a `/` at its end, or empty.
fn walk(declared: &BTreeSet<&str>, work: &Path, inner: &str, found: &mut Vec<String>) {
    for entry in crate::dir::read(work.join(inner))
        .into_iter()
        .flatten()
        .flatten()
    {
        // Python leaves its cache beside every module.
        if found.len() > EXTRAS_NAMED
            || entry.file_name() == "__pycache__"
            || (inner.is_empty() && entry.file_name() == crate::plan::SCRATCH)
        {
            continue;
        }
        let path = format!("{inner}{}", entry.file_name().to_string_lossy());
        if declared.contains(path.as_str()) {
            continue;
        }
        let inside = format!("{path}/");
        let next = declared
            .range::<str, _>((Bound::Excluded(inside.as_str()), Bound::Unbounded))
            .next();
        if next.is_some_and(|d| d.starts_with(&inside)) {
            walk(declared, work, &inside, found);
        } else {
            found.push(path);
        }
    }
}
