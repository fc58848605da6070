//! Puts the inputs of a command where it expects them: ordinary files and directories under their
//! own names.
//!
//! Where the command has a room of its own (`room.rs`), large inputs are mounted read-only over
//! placeholders, which costs the same for any size; small files of the project are copied, so that
//! scripts may do with them what they like. Without a room everything is copied, with shared blocks
//! where the file system can. Where it cannot, and the sandbox keeps the command from writing
//! through them, what is large becomes symlinks instead, and the report of the sandbox says so.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Cause, InputOrigin, Request};

/// Less than this of the project is copied even where it could be mounted.
const SMALL: u64 = 1 << 20;
/// In a directory that is put together file by file, what is larger is mounted: that costs no more
/// than copying so much.
const SMALL_PART: u64 = 64 << 10;
/// More mounts than this are not made where copies of small files do as well: the kernel allows
/// 100,000 by default.
const MOUNTS_MAX: usize = 20_000;
/// More than this is linked where it can be neither mounted nor share blocks with a copy.
const COPIED_MAX: u64 = 64 << 20;

/// What whoever sees a placeholder finds in it: a daemon outside of the room (`docker run -v
/// $PWD:/data`) must not take it for an empty input.
const NOTE: &str = "This is not the input itself. Inputs of a stage are mounted here, and only processes of the stage see \
                    them; copy them for others.\n";
/// The file with the note in a directory.
const NOTE_NAME: &str = "THIS-IS-NOT-THE-INPUT";

/// How inputs come to their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// By mounts, in a room.
    Mounts,
    /// By copies, and links to what is large: the sandbox keeps the command from writing through
    /// them.
    Links,
    /// By copies.
    Copies,
}

/// What lies in the working directory before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Nothing.
    Empty,
    /// What an execution left: its own files stay as they are.
    AsLeft,
}

/// A file or directory that the room shows in the working directory.
pub struct Mount {
    /// What is shown.
    pub from: PathBuf,
    /// Where: a file or directory that holds nothing but a note, as seen from outside of the room.
    pub at: PathBuf,
    need: Arc<str>,
    placeholder: (u64, u64),
}

impl Mount {
    fn is_in_place(&self) -> bool {
        identity(&self.at).is_ok_and(|id| id == self.placeholder)
    }
}

/// How the inputs were placed.
#[derive(Default)]
pub struct Placed {
    /// What is still to be mounted.
    pub mounts: Vec<Mount>,
}

impl Placed {
    /// The placeholders lie where they were put: what a command renamed would become an output
    /// without its bytes.
    ///
    /// # Errors
    /// [`Cause::InputMoved`].
    pub fn check(&self) -> Result<(), Cause> {
        match self.mounts.iter().find(|m| !m.is_in_place()) {
            None => Ok(()),
            Some(moved) => Err(Cause::InputMoved {
                need: moved.need.clone(),
            }),
        }
    }

    /// The input that is shown at `path`, around it or in it.
    pub fn input_at(&self, path: &Path) -> Option<&str> {
        let touches = |m: &&Mount| m.at.starts_with(path) || path.starts_with(&m.at);
        self.mounts.iter().find(touches).map(|m| &*m.need)
    }

    /// Replaces the placeholders by links to what was mounted on them, for people who look at the
    /// directory afterwards.
    pub fn leave_links(&self) {
        for mount in self.mounts.iter().filter(|m| m.is_in_place()) {
            if remove_placeholder(&mount.at).is_ok() {
                // The directory is only looked at; a link that cannot be made is missing there.
                let _ = symlink(&mount.from, &mount.at);
            }
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

fn is_placeholder(path: &Path) -> bool {
    let is_note = |path: &Path| {
        fs::metadata(path).is_ok_and(|m| m.len() == NOTE.len() as u64)
            && fs::read(path).is_ok_and(|bytes| bytes == NOTE.as_bytes())
    };
    is_note(path) || is_note(&path.join(NOTE_NAME))
}

fn remove_placeholder(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|_| {
        fs::remove_file(path.join(NOTE_NAME))?;
        fs::remove_dir(path)
    })
}

/// Places all inputs of `request` under `work` and makes the parents of its outputs.
///
/// # Errors
/// [`Cause::Input`] names the input that is missing or unreadable.
pub fn place(
    request: &Request,
    work: &Path,
    means: Means,
    ground: Ground,
) -> Result<Placed, Cause> {
    let mut inputs: Vec<_> = request.inputs.iter().collect();
    // Outer before inner, should one lie within another.
    inputs.sort_by(|a, b| a.placed_at.cmp(&b.placed_at));
    let outputs: BTreeSet<&str> = request.outputs.iter().map(|o| o.path.as_str()).collect();
    let mut places: BTreeSet<&str> = inputs.iter().map(|i| i.placed_at.as_str()).collect();
    places.extend(&outputs);
    let mut placed = Placed::default();
    for input in inputs {
        let to = input.placed_at.under(work);
        // Something else is to be made inside it: then it must be a directory of ours, not a way
        // into the store.
        let inside = format!("{}/", input.placed_at);
        let is_outer = places
            .range::<str, _>((Bound::Excluded(inside.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|p| p.starts_with(&inside));
        // It is to become part of an output, with all its bytes.
        let is_output = Path::new(input.placed_at.as_str())
            .ancestors()
            .any(|dir| dir.to_str().is_some_and(|dir| outputs.contains(dir)));
        let means = if is_output { Means::Copies } else { means };
        let mut placing = Placing {
            means,
            need: &input.need,
            mounts: &mut placed.mounts,
        };
        let result = match (ground, fs::symlink_metadata(&to)) {
            (Ground::AsLeft, Ok(left)) if left.is_symlink() => fs::remove_file(&to),
            // A visit that was killed took no placeholder away.
            (Ground::AsLeft, Ok(_)) if is_placeholder(&to) => remove_placeholder(&to),
            (Ground::AsLeft, Ok(_)) => continue,
            _ => parents(&to),
        };
        let result = result.and_then(|()| placing.input(&input.origin, &to, is_outer));
        result.map_err(|source| Cause::Input {
            need: input.need.clone(),
            path: input.origin.path().display().to_string(),
            source,
        })?;
    }
    for output in request.outputs.iter() {
        parents(&output.path.under(work)).map_err(|source| Cause::Io {
            what: format!("making the directory of output `{}`", output.name),
            source,
        })?;
    }
    Ok(placed)
}

fn parents(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => fs::create_dir_all(parent),
        _ => Ok(()),
    }
}

/// What is known of a file or directory before it is placed.
struct Extent {
    bytes: u64,
    /// A symlink in it leads out of it.
    leads_out: bool,
}

impl Extent {
    fn of(path: &Path) -> io::Result<Extent> {
        let meta = fs::metadata(path)?;
        let mut extent = Extent {
            bytes: 0,
            leads_out: false,
        };
        if meta.is_dir() {
            extent.walk(path, &mut PathBuf::new())?;
        } else if meta.is_file() {
            extent.bytes = meta.len();
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is neither a file nor a directory",
            ));
        }
        Ok(extent)
    }

    fn walk(&mut self, dir: &Path, inner: &mut PathBuf) -> io::Result<()> {
        for entry in crate::dir::read(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            inner.push(entry.file_name());
            if kind.is_dir() {
                self.walk(&entry.path(), inner)?;
            } else if kind.is_symlink() {
                if !stays_inside(inner, &fs::read_link(entry.path())?) {
                    self.leads_out = true;
                    self.bytes += fs::metadata(entry.path())?.len();
                }
            } else {
                self.bytes += entry.metadata()?.len();
            }
            inner.pop();
        }
        Ok(())
    }
}

/// Where one input goes.
struct Placing<'a> {
    means: Means,
    need: &'a Arc<str>,
    mounts: &'a mut Vec<Mount>,
}

impl Placing<'_> {
    fn input(&mut self, origin: &InputOrigin, to: &Path, is_outer: bool) -> io::Result<()> {
        let from = origin.path();
        match (self.means, origin) {
            (Means::Copies, _) => self.copy(from, to),
            // What the store holds, and what is large enough to lie elsewhere, needs no look at its
            // size.
            (Means::Mounts, InputOrigin::Object(_) | InputOrigin::Outside(_))
                if !is_outer && !self.is_crowded() =>
            {
                self.mount(from, to)
            }
            (Means::Mounts, _) => {
                let extent = Extent::of(from)?;
                let may_be_copied =
                    matches!(origin, InputOrigin::ProjectFile(_)) || self.is_crowded();
                let is_small = extent.bytes < SMALL && may_be_copied;
                if is_small || is_outer || extent.leads_out {
                    self.copy(from, to)
                } else {
                    self.mount(from, to)
                }
            }
            (Means::Links, InputOrigin::ProjectFile(_)) => {
                self.means = Means::Copies;
                self.copy(from, to)
            }
            (Means::Links, _) => {
                let extent = Extent::of(from)?;
                if extent.bytes <= COPIED_MAX || is_outer {
                    self.means = Means::Copies;
                }
                self.copy(from, to)
            }
        }
    }

    fn is_crowded(&self) -> bool {
        self.mounts.len() >= MOUNTS_MAX
    }

    fn mount(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // Followed here, so that the room needs no names on the way.
        let from = from.canonicalize()?;
        if from.is_dir() {
            match fs::create_dir(to) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            fs::write(to.join(NOTE_NAME), NOTE)?;
        } else {
            match fs::remove_file(to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            File::create_new(to)?.write_all(NOTE.as_bytes())?;
        }
        self.mounts.push(Mount {
            placeholder: identity(to)?,
            need: self.need.clone(),
            from,
            at: to.to_owned(),
        });
        Ok(())
    }

    /// Copies a file or a directory; a symlink at `from` itself is followed. Files that are large
    /// are mounted or linked where that is the way.
    fn copy(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let meta = fs::metadata(from)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.copy_tree(from, to, &mut PathBuf::new());
        }
        if !kind.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is neither a file nor a directory",
            ));
        }
        match self.means {
            Means::Mounts if meta.len() >= SMALL => self.mount(from, to),
            Means::Mounts if meta.len() >= SMALL_PART && !self.is_crowded() => self.mount(from, to),
            Means::Links => match clone_file(from, to)? {
                Cloned::Yes => Ok(()),
                Cloned::No(_) => {
                    fs::remove_file(to).and_then(|()| symlink(from.canonicalize()?, to))
                }
            },
            _ => match clone_file(from, to)? {
                Cloned::Yes => Ok(()),
                Cloned::No(mut files) => crate::store::copy_contents(&mut files.0, &mut files.1),
            },
        }
    }

    /// `inner` is the way from the tree's root to here.
    fn copy_tree(&mut self, from: &Path, to: &Path, inner: &mut PathBuf) -> io::Result<()> {
        match fs::create_dir(to) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        for entry in crate::dir::read(from)? {
            let entry = entry?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            inner.push(entry.file_name());
            if kind.is_symlink() {
                let link = fs::read_link(&source)?;
                // A link within the tree stays one; a link out of it is the way to show a file, or
                // a whole directory.
                if stays_inside(inner, &link) {
                    symlink(link, target)?;
                } else if self.means == Means::Mounts && source.is_dir() {
                    self.input(&InputOrigin::ProjectFile(source), &target, false)?;
                } else {
                    self.copy(&source, &target)?;
                }
            } else if kind.is_dir() {
                self.copy_tree(&source, &target, inner)?;
            } else {
                self.copy(&source, &target)?;
            }
            inner.pop();
        }
        Ok(())
    }
}

/// Whether a symlink at `at` (relative to a tree's root) to `link` points into the tree, judged by
/// its text.
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

enum Cloned {
    Yes,
    /// The open files; the new one is empty.
    No((File, File)),
}

/// Makes a file that shares its blocks with another, or at least an empty one.
fn clone_file(from: &Path, to: &Path) -> io::Result<Cloned> {
    // Between file systems where a clone has failed it is not tried again: one ioctl and one error
    // less per file.
    static WITHOUT: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());
    let source = File::open(from)?;
    let meta = source.metadata()?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(to)
    };
    let target = match create() {
        // A directory that was placed before brought the file along.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(to)?;
            create()?
        }
        other => other?,
    };
    let devices = (meta.dev(), target.metadata()?.dev());
    let without = || WITHOUT.lock().unwrap_or_else(PoisonError::into_inner);
    if !without().contains(&devices) {
        match reflink_copy::reflink_file(&source, &target) {
            Ok(()) => return Ok(Cloned::Yes),
            Err(_) => drop(without().insert(devices)),
        }
    }
    Ok(Cloned::No((source, target)))
}
