//! A directory of this machine or of a network file system, for one user or a whole group.
//!
//! What is written appears by a rename (or a link, where what is there must stay) after its bytes
//! are on the disk. New directories and files take the permissions of the directory they are in, so
//! that a shared one stays shared. Only regular files are read: a pipe that somebody puts there
//! cannot make a reader wait.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant, SystemTime};

use super::failure;
use super::patience::unique;
use crate::digest::Digest;
use crate::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading,
};
use crate::store::{Renamed, rename_if_free, touch};

/// Where files are until they are whole. No name begins with a dot.
const UNFINISHED: &str = ".unfinished";
/// What is unfinished for so long has no writer any more.
const ABANDONED: Duration = Duration::from_secs(2 * 86_400);
/// A claim takes two system calls; one that lasts so long has no owner any more.
const CLAIM: Duration = Duration::from_secs(5);
/// Names have fewer segments; links that lead in circles have more.
const DEEPEST: usize = 16;

/// See the module.
pub struct DirectoryBackend {
    base: PathBuf,
    swept: Once,
}

impl DirectoryBackend {
    /// The directory must be there when it is first used; it is never made, since it may be a mount
    /// point that is not mounted now.
    pub fn new(base: &Path) -> DirectoryBackend {
        DirectoryBackend {
            base: base.to_owned(),
            swept: Once::new(),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.base.join(name.as_str())
    }

    /// Gives a system error its meaning: without the base, nothing below it is merely missing.
    fn fail(&self, doing: &'static str, what: &str, e: &io::Error) -> BackendError {
        use io::ErrorKind as K;
        if matches!(e.kind(), K::NotFound | K::NotADirectory) && !self.base.is_dir() {
            let why = format!(
                "`{}` does not exist: is the file system mounted? (`mkdir` makes a new remote)",
                self.base.display()
            );
            return failure::error(BackendFault::Unreachable, doing, what, why);
        }
        let (cause, remedy) = match e.kind() {
            K::NotFound | K::NotADirectory => (BackendFault::NotFound, String::new()),
            K::PermissionDenied | K::ReadOnlyFilesystem => (
                BackendFault::Refused,
                format!("; check who may write in `{}`", self.base.display()),
            ),
            K::StorageFull | K::QuotaExceeded => (
                BackendFault::Other,
                format!("; free space in `{}`", self.base.display()),
            ),
            K::TimedOut | K::StaleNetworkFileHandle => (BackendFault::Unreachable, String::new()),
            _ => (BackendFault::Other, String::new()),
        };
        failure::error(cause, doing, what, format!("{e}{remedy}"))
    }

    fn open(&self, name: &Name) -> io::Result<(File, fs::Metadata)> {
        // Opening a pipe would wait for its other end.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.path(name))?;
        let meta = file.metadata()?;
        if meta.is_file() {
            Ok((file, meta))
        } else {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it is not a regular file",
            ))
        }
    }

    /// Makes the directory of `path`, with the permissions of the one it is in.
    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        if parent.is_dir() {
            return Ok(());
        }
        if parent == self.base || !parent.starts_with(&self.base) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.make_parent(parent)?;
        match fs::create_dir(parent) {
            Ok(()) => {
                if let Some(mode) = parent.parent().and_then(mode_of) {
                    // Somebody else's set-group bit cannot always be taken over; then the group is
                    // the file system's business.
                    let _ = fs::set_permissions(parent, fs::Permissions::from_mode(mode));
                }
                sync_directory(parent.parent().unwrap_or(&self.base))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// A whole file without a name of its own, its bytes on the disk.
    fn write_unfinished(&self, body: &Body<'_>) -> Result<tempfile::TempPath, Unwritten> {
        let dir = self.base.join(UNFINISHED);
        let path = dir.join(unique());
        self.make_parent(&path).map_err(Unwritten::There)?;
        self.swept.call_once(|| sweep(&dir));
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Unwritten::There)?;
        let unfinished = tempfile::TempPath::try_from_path(&path).map_err(Unwritten::There)?;
        let mut source = body.open().map_err(Unwritten::Here)?;
        copy(&mut *source, &mut file)?;
        if let Some(mode) = mode_of(&dir) {
            let _ = file.set_permissions(fs::Permissions::from_mode(mode & 0o666));
        }
        file.sync_all().map_err(Unwritten::There)?;
        Ok(unfinished)
    }

    fn publish(&self, from: &Path, to: &Path, mode: PutMode) -> io::Result<PutOutcome> {
        self.make_parent(to)?;
        match mode {
            PutMode::Overwrite => fs::rename(from, to)?,
            PutMode::Create => {
                let renamed = match rename_if_free(from, to)? {
                    Renamed::Impossible => self.rename_claimed(from, to)?,
                    done => done,
                };
                if renamed != Renamed::Done {
                    return Ok(PutOutcome::WasThere);
                }
            }
        }
        sync_directory(to.parent().unwrap_or(&self.base))?;
        Ok(PutOutcome::Written)
    }

    /// Where a name cannot be given only if it is free: whoever makes a certain file, which only
    /// one can, may look and rename.
    fn rename_claimed(&self, from: &Path, to: &Path) -> io::Result<Renamed> {
        let word = Digest::of(to.as_os_str().as_encoded_bytes()).hex();
        let claim = self.base.join(UNFINISHED).join(format!("claim-{word}"));
        let begun = Instant::now();
        loop {
            match File::options().write(true).create_new(true).open(&claim) {
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // Its maker may have died in between.
                    if begun.elapsed() > CLAIM {
                        let _ = fs::remove_file(&claim);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(e) => return Err(e),
            }
        }
        let renamed = match fs::symlink_metadata(to) {
            Ok(_) => Ok(Renamed::Taken),
            Err(_) => fs::rename(from, to).map(|()| Renamed::Done),
        };
        let _ = fs::remove_file(&claim);
        renamed
    }

    fn walk(
        &self,
        dir: &Path,
        name: &str,
        depth: usize,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Some(segment) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let Ok(found) = format!("{name}/{segment}").parse::<Name>() else {
                continue;
            };
            // What vanishes while it is listed is not there.
            let Ok(meta) = fs::metadata(entry.path()) else {
                continue;
            };
            let flow = if meta.is_dir() && depth < DEEPEST {
                match self.walk(&entry.path(), found.as_str(), depth + 1, each) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => ControlFlow::Continue(()),
                    other => other?,
                }
            } else if meta.is_file() {
                each(Entry {
                    name: found,
                    bytes_total: meta.len(),
                    modified: meta.modified()?,
                })
            } else {
                ControlFlow::Continue(())
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Why a body could not be written.
enum Unwritten {
    /// It could not be read.
    Here(io::Error),
    /// The directory did not take it.
    There(io::Error),
}

fn copy(from: &mut dyn Read, to: &mut File) -> Result<(), Unwritten> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => to.write_all(&buffer[..bytes]).map_err(Unwritten::There)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Unwritten::Here(e)),
        }
    }
}

fn mode_of(dir: &Path) -> Option<u32> {
    fs::metadata(dir)
        .ok()
        .map(|m| m.permissions().mode() & 0o2777)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network file systems know no such thing.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::EINVAL | libc::EBADF | libc::ENOTSUP)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_abandoned = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age > ABANDONED));
        if is_abandoned {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Backend for DirectoryBackend {
    fn describe(&self) -> String {
        self.base.display().to_string()
    }

    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        let fail = |e: io::Error| self.fail("read", name.as_str(), &e);
        let (mut file, meta) = self.open(name).map_err(fail)?;
        let bytes_total = meta.len();
        if from > bytes_total {
            let why = format!("it has {bytes_total} bytes, byte {from} was asked for");
            return Err(failure::error(
                BackendFault::Other,
                "read",
                name.as_str(),
                why,
            ));
        }
        file.seek(SeekFrom::Start(from)).map_err(fail)?;
        // No more than was announced, should it grow meanwhile.
        Ok(Reading {
            bytes_total,
            body: Box::new(Exactly {
                file,
                bytes_left: bytes_total - from,
            }),
        })
    }

    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        let meta = fs::metadata(self.path(name))
            .and_then(|meta| {
                if meta.is_file() {
                    Ok(meta)
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            })
            .map_err(|e| self.fail("look at", name.as_str(), &e))?;
        Ok(Entry {
            name: name.clone(),
            bytes_total: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let path = self.path(name);
        // Spares the writing; the link that follows decides.
        if mode == PutMode::Create && path.symlink_metadata().is_ok() {
            return Ok(PutOutcome::WasThere);
        }
        let unfinished = self.write_unfinished(&body).map_err(|e| match e {
            Unwritten::Here(e) => failure::local("read what was to be sent to", name.as_str(), &e),
            Unwritten::There(e) => self.fail("write", name.as_str(), &e),
        })?;
        self.publish(&unfinished, &path, mode)
            .map_err(|e| self.fail("write", name.as_str(), &e))
    }

    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        match self.walk(&self.path(prefix), prefix.as_str(), 0, each) {
            Ok(_) => Ok(()),
            Err(e) => match self.fail("list", prefix.as_str(), &e) {
                e if e.cause == BackendFault::NotFound => Ok(()),
                e => Err(e),
            },
        }
    }

    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        match fs::remove_file(self.path(name)) {
            Ok(()) => Ok(()),
            Err(e) => match self.fail("remove", name.as_str(), &e) {
                e if e.cause == BackendFault::NotFound => Ok(()),
                e => Err(e),
            },
        }
    }

    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        let path = self.path(name);
        match touch(&path) {
            // Another member's file that may be read but not written.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => self
                .put(name, Body::File(&path), PutMode::Overwrite)
                .map(|_| ()),
            other => other.map_err(|e| self.fail("freshen", name.as_str(), &e)),
        }
    }
}

/// A file of announced length: ending early is an error.
struct Exactly {
    file: File,
    bytes_left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.bytes_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let bytes = self.file.read(&mut buffer[..most])?;
        if bytes == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ended {} bytes too early", self.bytes_left),
            ));
        }
        self.bytes_left -= bytes as u64;
        Ok(bytes)
    }
}
