//! One SFTP connection: how files are written, named and listed on a server, and what its errors
//! mean.
//!
//! Does not know how the connection is made.

use super::failure;
use super::listing::ListingLimit;
use super::patience::unique;
use crate::digest::Digest;
use crate::remote::{BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome};
use futures_util::StreamExt;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::{File, TokioCompatFile};
use openssh_sftp_client::metadata::MetaData;
use openssh_sftp_client::{Error, Sftp};
use std::future::Future;
use std::io::{self};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

/// Where files are until they are whole. No name begins with a dot.
pub(super) const UNFINISHED: &str = ".unfinished";

/// What is unfinished for so long has no writer any more.
pub(super) const ABANDONED: Duration = Duration::from_secs(2 * 86_400);

/// A claim takes a few messages; one that lasts so long has no owner any more.
pub(super) const CLAIM: Duration = Duration::from_secs(20);

/// Bytes asked for and sent at a time; servers take no more in one message.
pub(super) const MESSAGE_BYTES: usize = 255 << 10;

/// Names have fewer segments; links that lead in circles have more.
pub(super) const DEEPEST: usize = 16;

pub(super) struct Connection {
    pub(super) sftp: Sftp,
    /// Ends when dropped.
    _ssh: Child,
    /// Whether the server's clock is ahead of ours, and by how much.
    ahead: Mutex<Option<Ahead>>,
}

#[derive(Clone, Copy)]
pub(super) enum Ahead {
    By(Duration),
    Behind(Duration),
}

/// A failed call, and whether the connection is to blame.
pub(super) enum Trouble {
    Broken(String),
    Server(SftpErrorKind, String),
    Here(io::Error),
    Unsupported(String),
}

impl From<Error> for Trouble {
    fn from(e: Error) -> Trouble {
        match e {
            Error::SftpError(kind, message) => {
                Trouble::Server(kind, failure::clean(&message.to_string()))
            }
            Error::UnsupportedExtension(name) => Trouble::Unsupported((*name).to_owned()),
            other => Trouble::Broken(failure::clean(&other.to_string())),
        }
    }
}

impl From<io::Error> for Trouble {
    /// Errors of reading and writing a remote file arrive as these.
    fn from(e: io::Error) -> Trouble {
        match e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::SftpError(kind, message)) => {
                Trouble::Server(*kind, failure::clean(&message.to_string()))
            }
            _ => Trouble::Broken(failure::clean(&e.to_string())),
        }
    }
}

impl Trouble {
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Trouble::Server(SftpErrorKind::NoSuchFile, _))
    }

    /// What servers say of a file system without links: not permitted, or not supported.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Trouble::Server(SftpErrorKind::PermDenied | SftpErrorKind::OpUnsupported, _)
        )
    }

    /// Servers say so little as this when a name is taken.
    fn is_failure(&self) -> bool {
        matches!(self, Trouble::Server(SftpErrorKind::Failure, _))
    }

    pub(super) fn told(self, doing: &'static str, what: &str) -> BackendError {
        match self {
            Trouble::Broken(why) => failure::error(BackendFault::Unreachable, doing, what, why),
            Trouble::Here(e) => failure::local(doing, what, &e),
            Trouble::Unsupported(name) => failure::error(
                BackendFault::Unsupported,
                doing,
                what,
                format!("the server lacks the extension `{name}`"),
            ),
            Trouble::Server(kind, why) => {
                let (cause, why) = match kind {
                    SftpErrorKind::NoSuchFile => {
                        (BackendFault::NotFound, "there is no such file".to_owned())
                    }
                    SftpErrorKind::PermDenied => (
                        BackendFault::Refused,
                        "permission denied; check who may write there".to_owned(),
                    ),
                    SftpErrorKind::OpUnsupported => (BackendFault::Unsupported, why),
                    _ => (
                        BackendFault::Other,
                        format!("{why} (a full disk and a quota look like this too)"),
                    ),
                };
                failure::error(cause, doing, what, why)
            }
        }
    }
}

pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

pub(super) fn meta_of(meta: &MetaData) -> Option<(u64, SystemTime)> {
    let is_file = meta.file_type().is_none_or(|t| t.is_file());
    let modified = meta.modified()?.as_system_time();
    is_file.then_some((meta.len()?, modified))
}

/// Makes the directories above `path`; `base` itself must be there.
pub(super) fn make_parents<'a>(
    connection: &'a Connection,
    base: &'a Path,
    path: &'a Path,
) -> Answer<'a, ()> {
    Box::pin(async move {
        let Some(parent) = path.parent().filter(|p| *p != base && p.starts_with(base)) else {
            return Ok(());
        };
        let mut fs = connection.sftp.fs();
        match fs.create_dir(parent).await.map_err(Trouble::from) {
            Ok(()) => Ok(()),
            Err(e) if e.is_missing() => {
                make_parents(connection, base, parent).await?;
                match fs.create_dir(parent).await.map_err(Trouble::from) {
                    // Another client was faster.
                    Err(e) if e.is_failure() => Ok(()),
                    other => other,
                }
            }
            Err(e) if e.is_failure() => Ok(()),
            Err(e) => Err(e),
        }
    })
}

impl Connection {
    /// Over the pipes of this process, which ends with it.
    pub(super) fn new(sftp: Sftp, ssh: Child) -> Connection {
        Connection {
            sftp,
            _ssh: ssh,
            ahead: Mutex::new(None),
        }
    }

    async fn open_new(&self, base: &Path, path: &Path) -> Result<File, Trouble> {
        let mut options = self.sftp.options();
        options.write(true).create_new(true);
        match options.open(path).await.map_err(Trouble::from) {
            Err(e) if e.is_missing() => {
                make_parents(self, base, path).await?;
                self.sweep(base).await;
                Ok(options.open(path).await?)
            }
            other => other,
        }
    }

    /// Removes what writers left that died.
    async fn sweep(&self, base: &Path) {
        let mut fs = self.sftp.fs();
        let dir = base.join(UNFINISHED);
        let Ok(opened) = fs.open_dir(&dir).await else {
            return;
        };
        let mut entries = Box::pin(opened.read_dir());
        while let Some(Ok(entry)) = entries.next().await {
            let is_abandoned = meta_of(&entry.metadata())
                .and_then(|(_, modified)| modified.elapsed().ok())
                .is_some_and(|age| age > ABANDONED);
            if is_abandoned {
                let _ = fs.remove_file(dir.join(entry.filename())).await;
            }
        }
    }

    /// Whole and on the server's disk, under a name of its own.
    pub(super) async fn write(
        &self,
        base: &Path,
        to: &Path,
        body: &Body<'_>,
    ) -> Result<(), Trouble> {
        let file = self.open_new(base, to).await?;
        // Sends the next message before the last one is answered.
        let mut file = Box::pin(TokioCompatFile::new(file));
        // Waiting for the local disk in here holds up nobody: the future runs on its caller's
        // thread.
        let mut source = body.open().map_err(Trouble::Here)?;
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            match io::Read::read(&mut source, &mut buffer).map_err(Trouble::Here)? {
                0 => break,
                bytes => file.write_all(&buffer[..bytes]).await?,
            }
        }
        file.flush().await?;
        if self.sftp.support_fsync() {
            file.as_mut().as_mut_file().sync_all().await?;
        }
        Ok(file.as_mut().as_mut_file().clone().close().await?)
    }

    pub(super) async fn publish(
        &self,
        base: &Path,
        from: &Path,
        to: &Path,
        mode: PutMode,
    ) -> Result<PutOutcome, Trouble> {
        let mut fs = self.sftp.fs();
        if mode == PutMode::Create && self.sftp.support_hardlink() {
            match fs.hard_link(from, to).await.map_err(Trouble::from) {
                Ok(()) => {
                    fs.remove_file(from).await?;
                    return Ok(PutOutcome::Written);
                }
                // A name that is taken, or a file system without links: they say so in different
                // words.
                Err(e) if e.is_failure() || e.is_refusal() => {}
                Err(e) => return Err(e),
            }
        }
        let claim = match mode {
            PutMode::Create => Some(self.claim(base, to).await?),
            PutMode::Overwrite => None,
        };
        let published = self.publish_by_name(from, to, mode).await;
        if let Some(claim) = claim {
            let _ = fs.remove_file(claim).await;
        }
        published
    }

    /// Whoever makes a certain file, which only one can, may look whether a name is free and take
    /// it. The claim is to be removed.
    async fn claim(&self, base: &Path, to: &Path) -> Result<PathBuf, Trouble> {
        let word = Digest::of(to.as_os_str().as_encoded_bytes()).hex();
        let claim = base.join(UNFINISHED).join(format!("claim-{word}"));
        let begun = Instant::now();
        loop {
            let mut options = self.sftp.options();
            options.write(true).create_new(true);
            match options.open(&claim).await.map_err(Trouble::from) {
                Ok(file) => {
                    file.close().await?;
                    return Ok(claim);
                }
                Err(e) if e.is_failure() && begun.elapsed() < CLAIM * 2 => {
                    // Its maker may have died in between.
                    if begun.elapsed() > CLAIM {
                        let _ = self.sftp.fs().remove_file(&claim).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn publish_by_name(
        &self,
        from: &Path,
        to: &Path,
        mode: PutMode,
    ) -> Result<PutOutcome, Trouble> {
        let mut fs = self.sftp.fs();
        if mode == PutMode::Create && fs.symlink_metadata(to).await.is_ok() {
            fs.remove_file(from).await?;
            return Ok(PutOutcome::WasThere);
        }
        match fs.rename(from, to).await.map_err(Trouble::from) {
            // Servers without atomic replacement want the name free.
            Err(e) if e.is_failure() && !self.sftp.support_posix_rename() => {
                fs.remove_file(to).await?;
                fs.rename(from, to).await?;
            }
            other => other?,
        }
        Ok(PutOutcome::Written)
    }

    /// How the server's clock differs from ours: learnt once, from a file it stamps.
    pub(super) async fn ahead(&self, base: &Path) -> Result<Ahead, Trouble> {
        if let Some(ahead) = *self.ahead.lock().unwrap_or_else(|e| e.into_inner()) {
            return Ok(ahead);
        }
        let path = base.join(UNFINISHED).join(unique());
        self.write(base, &path, &Body::Bytes(b"")).await?;
        let mut fs = self.sftp.fs();
        let stamped = fs.metadata(&path).await;
        fs.remove_file(&path).await?;
        let theirs = meta_of(&stamped?).map_or_else(SystemTime::now, |(_, modified)| modified);
        // Stamps have whole seconds: a smaller difference is none.
        let ahead = match theirs.duration_since(SystemTime::now()) {
            Ok(ahead) => Ahead::By(ahead),
            Err(behind) if behind.duration() < Duration::from_secs(3) => Ahead::By(Duration::ZERO),
            Err(behind) => Ahead::Behind(behind.duration()),
        };
        *self.ahead.lock().unwrap_or_else(|e| e.into_inner()) = Some(ahead);
        Ok(ahead)
    }

    pub(super) fn list<'a>(
        &'a self,
        dir: PathBuf,
        name: String,
        depth: usize,
        found: &'a Mutex<(Vec<Entry>, ListingLimit)>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut fs = self.sftp.fs();
            let opened = match fs.open_dir(&dir).await.map_err(Trouble::from) {
                Err(e) if e.is_missing() => return Ok(()),
                other => other?,
            };
            let mut below = Vec::new();
            let mut entries = Box::pin(opened.read_dir());
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                let bytes = entry.filename().as_os_str().len();
                if !found
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .1
                    .take(bytes)
                {
                    return Err(Trouble::Server(
                        SftpErrorKind::Failure,
                        ListingLimit::WHY.to_owned(),
                    ));
                }
                let Some(segment) = entry.filename().to_str() else {
                    continue;
                };
                let Ok(entry_name) = format!("{name}/{segment}").parse::<Name>() else {
                    continue;
                };
                let mut meta = entry.metadata();
                if meta.file_type().is_none_or(|t| t.is_symlink()) {
                    match fs.metadata(dir.join(segment)).await {
                        Ok(behind) => meta = behind,
                        Err(_) => continue,
                    }
                }
                if meta.file_type().is_some_and(|t| t.is_dir()) {
                    below.push((dir.join(segment), entry_name));
                } else if let Some((bytes_total, modified)) = meta_of(&meta) {
                    found
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .0
                        .push(Entry {
                            name: entry_name,
                            bytes_total,
                            modified,
                        });
                }
            }
            drop(entries);
            if depth < DEEPEST {
                for (dir, name) in below {
                    self.list(dir, name.to_string(), depth + 1, found).await?;
                }
            }
            Ok(())
        })
    }
}
