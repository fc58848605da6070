//! Puts the inputs of a command where it expects them.
//!
//! Files of the project are copied: the command cannot change them and sees one version of each. Artifacts of the store
//! become symlinks when the sandbox keeps the command from writing through them, and copies otherwise. Copies share
//! their blocks with the original where the file system can.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Cause, InputOrigin, Request};

/// Places all inputs of `request` under `work` and makes the parents of its outputs.
///
/// # Errors
/// [`Cause::Input`] names the input that is missing or unreadable.
pub fn place(request: &Request, work: &Path, links_are_safe: bool) -> Result<(), Cause> {
    let mut inputs: Vec<_> = request.inputs.iter().collect();
    // Outer before inner, should one lie within another.
    inputs.sort_by(|a, b| a.placed_at.cmp(&b.placed_at));
    let mut places: BTreeSet<&str> = inputs.iter().map(|i| i.placed_at.as_str()).collect();
    places.extend(request.outputs.iter().map(|o| o.path.as_str()));
    for input in inputs {
        let to = input.placed_at.under(work);
        let from = input.origin.path();
        // Something else is to be made inside it: then it must be a directory of ours, not a way into the store.
        let inside = format!("{}/", input.placed_at);
        let is_outer = places
            .range::<str, _>((Bound::Excluded(inside.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|p| p.starts_with(&inside));
        let is_project = matches!(input.origin, InputOrigin::ProjectFile(_));
        let result = parents(&to).and_then(|()| {
            if !is_project && links_are_safe && !is_outer {
                fs::metadata(from).and_then(|_| symlink(from, &to))
            } else {
                copy(from, &to)
            }
        });
        result.map_err(|source| Cause::Input {
            need: input.need.clone(),
            path: from.display().to_string(),
            source,
        })?;
    }
    for output in request.outputs.iter() {
        parents(&output.path.under(work)).map_err(|source| Cause::Io {
            what: format!("making the directory of output `{}`", output.name),
            source,
        })?;
    }
    Ok(())
}

fn parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => fs::create_dir_all(parent),
        _ => Ok(()),
    }
}

/// Copies a file or a directory; a symlink at `from` itself is followed.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::metadata(from)?.file_type();
    if kind.is_dir() {
        copy_tree(from, to, &mut PathBuf::new())
    } else if kind.is_file() {
        copy_file(from, to)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither a file nor a directory",
        ))
    }
}

/// `inner` is the way from the tree's root to here.
fn copy_tree(from: &Path, to: &Path, inner: &mut PathBuf) -> io::Result<()> {
    match fs::create_dir(to) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        inner.push(entry.file_name());
        if kind.is_symlink() {
            let link = fs::read_link(&source)?;
            // A link within the tree stays one; a link out of it is the store's way to show a file.
            if stays_inside(inner, &link) {
                symlink(link, target)?
            } else {
                copy(&source, &target)?
            }
        } else if kind.is_dir() {
            copy_tree(&source, &target, inner)?;
        } else {
            copy(&source, &target)?;
        }
        inner.pop();
    }
    Ok(())
}

/// Whether a symlink at `at` (relative to a tree's root) to `link` points into the tree, judged by its text.
pub fn stays_inside(at: &Path, link: &Path) -> bool {
    let mut depth = at.components().count().saturating_sub(1);
    for part in link.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    // Once a clone has failed here it is not tried again: one ioctl and one error less per file.
    static NO_CLONES: AtomicBool = AtomicBool::new(false);
    let mut source = File::open(from)?;
    let executable = source.metadata()?.permissions().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(to)
    };
    let mut target = match create() {
        // A directory that was placed before brought the file along.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(to)?;
            create()?
        }
        other => other?,
    };
    if !NO_CLONES.load(Ordering::Relaxed) {
        match reflink_copy::reflink_file(&source, &target) {
            Ok(()) => return Ok(()),
            Err(_) => NO_CLONES.store(true, Ordering::Relaxed),
        }
    }
    io::copy(&mut source, &mut target).map(drop)
}
