//! What `ssh` reaches: `ssh -s HOST sftp` is started, and SFTP is spoken on its pipes.
//!
//! So hosts, users, keys, agents, jump hosts and host keys are those of `~/.ssh/config`, and nothing is asked: a remote that
//! needs a password typed in is refused with what `ssh` said. One connection serves all calls; when it breaks, the next call
//! makes a new one.

use std::future::Future;
use std::io::{self, SeekFrom};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::{File, TokioCompatFile};
use openssh_sftp_client::metadata::{MetaData, MetaDataBuilder};
use openssh_sftp_client::{Error, Sftp, SftpOptions, UnixTimeStamp};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::listing::ListingLimit;
use super::patience::{self, unique, with_patience};
use super::runtime::Runtime;
use super::{Env, failure};
use crate::digest::Digest;
use crate::remote::location::SftpPlace;
use crate::remote::{
    Backend, BackendError, Body, Cause, Entry, Location, Name, PutMode, PutOutcome, Reading,
};

/// Where files are until they are whole. No name begins with a dot.
const UNFINISHED: &str = ".unfinished";
/// What is unfinished for so long has no writer any more.
const ABANDONED: Duration = Duration::from_secs(2 * 86_400);
/// A claim takes a few messages; one that lasts so long has no owner any more.
const CLAIM: Duration = Duration::from_secs(20);
/// Bytes asked for and sent at a time; servers take no more in one message.
const MESSAGE_BYTES: usize = 255 << 10;
/// Bytes of what ssh says that are kept.
const SAID: usize = 2000;
/// Names have fewer segments; links that lead in circles have more.
const DEEPEST: usize = 16;

/// See the module.
pub struct SftpBackend {
    runtime: Runtime,
    ssh: String,
    place: SftpPlace,
    described: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

struct Connection {
    sftp: Sftp,
    /// Ends when dropped.
    _ssh: Child,
    /// Whether the server's clock is ahead of ours, and by how much.
    ahead: Mutex<Option<Ahead>>,
}

#[derive(Clone, Copy)]
enum Ahead {
    By(Duration),
    Behind(Duration),
}

/// A failed call, and whether the connection is to blame.
enum Trouble {
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
    fn is_missing(&self) -> bool {
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

    fn told(self, doing: &'static str, what: &str) -> BackendError {
        match self {
            Trouble::Broken(why) => failure::error(Cause::Unreachable, doing, what, why),
            Trouble::Here(e) => failure::local(doing, what, &e),
            Trouble::Unsupported(name) => failure::error(
                Cause::Unsupported,
                doing,
                what,
                format!("the server lacks the extension `{name}`"),
            ),
            Trouble::Server(kind, why) => {
                let (cause, why) = match kind {
                    SftpErrorKind::NoSuchFile => {
                        (Cause::NotFound, "there is no such file".to_owned())
                    }
                    SftpErrorKind::PermDenied => (
                        Cause::Refused,
                        "permission denied; check who may write there".to_owned(),
                    ),
                    SftpErrorKind::OpUnsupported => (Cause::Unsupported, why),
                    _ => (
                        Cause::Other,
                        format!("{why} (a full disk and a quota look like this too)"),
                    ),
                };
                failure::error(cause, doing, what, why)
            }
        }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

impl SftpBackend {
    /// Nothing is started yet. `REPRO_SSH` may name another program than `ssh`, with arguments.
    ///
    /// # Errors
    /// No threads can be started.
    pub fn new(place: &SftpPlace, env: Env<'_>) -> Result<SftpBackend, BackendError> {
        Ok(SftpBackend {
            runtime: Runtime::new()?,
            ssh: env("REPRO_SSH").unwrap_or_else(|| "ssh".to_owned()),
            described: Location::Sftp(place.clone()).to_string(),
            place: place.clone(),
            connection: Mutex::new(None),
        })
    }

    fn base(&self) -> PathBuf {
        PathBuf::from(&self.place.path)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.base().join(name.as_str())
    }

    fn connection(&self) -> Result<Arc<Connection>, BackendError> {
        let mut held = self.connection.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let connection = Arc::new(self.runtime.wait(connect(
            &self.ssh,
            &self.place,
            &self.described,
        ))?);
        *held = Some(connection.clone());
        Ok(connection)
    }

    fn forget(&self, broken: &Arc<Connection>) {
        let mut held = self.connection.lock().unwrap_or_else(|e| e.into_inner());
        if held.as_ref().is_some_and(|c| Arc::ptr_eq(c, broken)) {
            *held = None;
        }
    }

    /// Makes a call, on a new connection where the old one turns out to be broken.
    fn call<'a, T>(
        &self,
        doing: &'static str,
        what: &str,
        patience: Duration,
        call: impl Fn(Arc<Connection>) -> Answer<'a, T>,
    ) -> Result<T, BackendError> {
        with_patience(|_| {
            let connection = self.connection()?;
            let answer = self.runtime.wait(async {
                tokio::time::timeout(patience, call(connection.clone()))
                    .await
                    .unwrap_or_else(|_| Err(Trouble::Broken("no answer in time".to_owned())))
            });
            answer.map_err(|trouble| {
                if matches!(trouble, Trouble::Broken(_)) {
                    self.forget(&connection);
                }
                trouble.told(doing, what)
            })
        })
    }

    fn small<'a, T>(
        &self,
        doing: &'static str,
        name: &Name,
        call: impl Fn(Arc<Connection>) -> Answer<'a, T>,
    ) -> Result<T, BackendError> {
        self.call(doing, name.as_str(), patience::silence(), call)
    }
}

async fn connect(
    ssh: &str,
    place: &SftpPlace,
    described: &str,
) -> Result<Connection, BackendError> {
    let fail = |cause: Cause, why: String| failure::error(cause, "reach", described, why);
    let mut words = ssh.split_whitespace();
    let program = words.next().unwrap_or("ssh");
    let mut command = Command::new(program);
    command.args(words).args([
        "-oBatchMode=yes",
        &format!("-oConnectTimeout={}", patience::connect().as_secs().max(1)),
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
    ]);
    if let Some(port) = place.port {
        command.arg(format!("-oPort={port}"));
    }
    if let Some(user) = &place.user {
        command.arg(format!("-oUser={user}"));
    }
    command.args(["-s", "--", &place.host, "sftp"]);
    // Ctrl-C is for the program to handle: its calls end, and ssh with them.
    command.process_group(0);
    let mut ssh = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            fail(
                Cause::Local,
                format!("cannot start `{program}`: {e}; install OpenSSH's client"),
            )
        })?;
    let (Some(stdin), Some(stdout), Some(mut stderr)) =
        (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take())
    else {
        return Err(fail(Cause::Local, "ssh has no pipes".to_owned()));
    };
    let said = Arc::new(Mutex::new(Vec::new()));
    let listening = tokio::spawn({
        let said = said.clone();
        async move {
            let mut buffer = [0; 500];
            while let Ok(bytes @ 1..) = stderr.read(&mut buffer).await {
                let mut said = said.lock().unwrap_or_else(|e| e.into_inner());
                let room = SAID.saturating_sub(said.len()).min(bytes);
                said.extend_from_slice(&buffer[..room]);
            }
        }
    });
    let started = tokio::time::timeout(
        patience::connect() * 2,
        Sftp::new(
            stdin,
            stdout,
            SftpOptions::new().flush_interval(Duration::ZERO),
        ),
    )
    .await;
    match started {
        Ok(Ok(sftp)) => Ok(Connection {
            sftp,
            _ssh: ssh,
            ahead: Mutex::new(None),
        }),
        Ok(Err(_)) => {
            // It has ended or will in a moment, and then everything it says is said.
            let _ = tokio::time::timeout(Duration::from_secs(2), listening).await;
            let said = said.lock().unwrap_or_else(|e| e.into_inner());
            let (cause, why) = refusal(&String::from_utf8_lossy(&said));
            Err(fail(cause, why))
        }
        Err(_) => Err(fail(Cause::Unreachable, "no answer in time".to_owned())),
    }
}

/// What ssh said before it ended, and what to do about it.
fn refusal(said: &str) -> (Cause, String) {
    let line = said
        .lines()
        .map(str::trim)
        .rfind(|l| !l.is_empty() && !l.contains("Connection closed"))
        .or_else(|| said.lines().map(str::trim).rfind(|l| !l.is_empty()))
        .unwrap_or("ssh ended without a message");
    let line = failure::clean(line.strip_prefix("ssh: ").unwrap_or(line));
    if said.contains("Permission denied") {
        let remedy = "load a key into the ssh agent, or name one in ~/.ssh/config; `ssh HOST` must work without a password";
        return (Cause::Refused, format!("ssh: {line}; {remedy}"));
    }
    if said.contains("Host key verification failed") || said.contains("host key") {
        let remedy = "the host is not known here: `ssh HOST` once, and compare its key";
        return (Cause::Refused, format!("ssh: {line}; {remedy}"));
    }
    if said.contains("subsystem request failed") {
        return (
            Cause::Unsupported,
            format!("ssh: {line}; the server offers no sftp"),
        );
    }
    (Cause::Unreachable, format!("ssh: {line}"))
}

fn meta_of(meta: &MetaData) -> Option<(u64, SystemTime)> {
    let is_file = meta.file_type().is_none_or(|t| t.is_file());
    let modified = meta.modified()?.as_system_time();
    is_file.then_some((meta.len()?, modified))
}

/// Makes the directories above `path`; `base` itself must be there.
fn make_parents<'a>(connection: &'a Connection, base: &'a Path, path: &'a Path) -> Answer<'a, ()> {
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
    async fn write(&self, base: &Path, to: &Path, body: &Body<'_>) -> Result<(), Trouble> {
        let file = self.open_new(base, to).await?;
        // Sends the next message before the last one is answered.
        let mut file = Box::pin(TokioCompatFile::new(file));
        // Waiting for the local disk in here holds up nobody: the future runs on its caller's thread.
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

    async fn publish(
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
                // A name that is taken, or a file system without links: they say so in different words.
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

    /// Whoever makes a certain file, which only one can, may look whether a name is free and take it. The claim is to be removed.
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
    async fn ahead(&self, base: &Path) -> Result<Ahead, Trouble> {
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

    fn list<'a>(
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

impl Backend for SftpBackend {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        let path = self.path(name);
        let (file, bytes_total) = self.small("read", name, |c| {
            let path = path.clone();
            Box::pin(async move {
                // Before opening: opening a pipe waits for its other end.
                let (bytes_total, _) = meta_of(&c.sftp.fs().metadata(&path).await?)
                    .ok_or(Trouble::Server(SftpErrorKind::NoSuchFile, String::new()))?;
                let file = c.sftp.open(&path).await?;
                let capacity = NonZeroUsize::new(MESSAGE_BYTES).unwrap_or(NonZeroUsize::MIN);
                let mut file = Box::pin(TokioCompatFile::with_capacity(file, capacity));
                file.seek(SeekFrom::Start(from)).await?;
                Ok((file, bytes_total))
            })
        })?;
        if from > bytes_total {
            let why = format!("it has {bytes_total} bytes, byte {from} was asked for");
            return Err(failure::error(Cause::Other, "read", name.as_str(), why));
        }
        let connection = self.connection()?;
        Ok(Reading {
            bytes_total,
            body: Box::new(FileReader {
                runtime: self.runtime.clone(),
                file,
                bytes_left: bytes_total - from,
                _connection: connection,
            }),
        })
    }

    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        let path = self.path(name);
        let (bytes_total, modified) = self.small("look at", name, |c| {
            let path = path.clone();
            Box::pin(async move {
                meta_of(&c.sftp.fs().metadata(&path).await?)
                    .ok_or(Trouble::Server(SftpErrorKind::NoSuchFile, String::new()))
            })
        })?;
        Ok(Entry {
            name: name.clone(),
            bytes_total,
            modified,
        })
    }

    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let bytes_total = body
            .bytes_total()
            .map_err(|e| failure::local("read what was to be sent to", name.as_str(), &e))?;
        if mode == PutMode::Create {
            match self.head(name) {
                Ok(_) => return Ok(PutOutcome::WasThere),
                Err(e) if e.cause == Cause::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        let (base, to, body) = (self.base(), self.path(name), &body);
        // As slow as 100 kB/s is still work.
        let patience = patience::silence() + Duration::from_secs(bytes_total / 100_000);
        self.call("write", name.as_str(), patience, move |c| {
            let (base, to) = (base.clone(), to.clone());
            Box::pin(async move {
                let from = base.join(UNFINISHED).join(unique());
                let done = async {
                    c.write(&base, &from, body).await?;
                    match c.publish(&base, &from, &to, mode).await {
                        Err(e) if e.is_missing() => {
                            make_parents(&c, &base, &to).await?;
                            c.publish(&base, &from, &to, mode).await
                        }
                        other => other,
                    }
                }
                .await;
                if done.is_err() {
                    let _ = c.sftp.fs().remove_file(&from).await;
                }
                done
            })
        })
        .map_err(|e| self.without_base(e))
    }

    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let found = Mutex::new((Vec::new(), ListingLimit::default()));
        // Hundreds of directories, one after another.
        let patience = patience::silence() * 10;
        self.call("list", prefix.as_str(), patience, |c| {
            *found.lock().unwrap_or_else(|e| e.into_inner()) =
                (Vec::new(), ListingLimit::default());
            let found = &found;
            Box::pin(async move {
                c.list(self.path(prefix), prefix.to_string(), 0, found)
                    .await
            })
        })?;
        for entry in found.into_inner().unwrap_or_else(|e| e.into_inner()).0 {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        let path = self.path(name);
        self.small("remove", name, |c| {
            let path = path.clone();
            Box::pin(async move {
                match c.sftp.fs().remove_file(&path).await.map_err(Trouble::from) {
                    Err(e) if e.is_missing() => Ok(()),
                    other => other,
                }
            })
        })
    }

    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        let (base, path) = (self.base(), self.path(name));
        let touched = self.small("freshen", name, |c| {
            let (base, path) = (base.clone(), path.clone());
            Box::pin(async move {
                let now = match c.ahead(&base).await? {
                    Ahead::By(ahead) => SystemTime::now() + ahead,
                    Ahead::Behind(behind) => SystemTime::now() - behind,
                };
                let now =
                    UnixTimeStamp::new(now).map_err(|e| Trouble::Unsupported(e.to_string()))?;
                let times = MetaDataBuilder::new().time(now, now).create();
                Ok(c.sftp.fs().set_metadata(&path, times).await?)
            })
        });
        match touched {
            // Another member's file: only its owner may set times.
            Err(e) if e.cause == Cause::Refused => {
                let mut reading = self.get(name, 0)?;
                let mut copy = tempfile::NamedTempFile::new()
                    .map_err(|e| failure::local("make", "a temporary file", &e))?;
                io::copy(&mut reading.body, &mut copy).map_err(|e| {
                    failure::error(Cause::Unreachable, "read", name.as_str(), e.to_string())
                })?;
                self.put(name, Body::File(copy.path()), PutMode::Overwrite)
                    .map(|_| ())
            }
            other => other,
        }
    }
}

impl SftpBackend {
    /// Writing makes every directory but the base, so a missing one is the base.
    fn without_base(&self, e: BackendError) -> BackendError {
        if e.cause != Cause::NotFound {
            return e;
        }
        let why = format!(
            "the directory `{}` does not exist; make it first (`mkdir`), or correct the address",
            self.place.path
        );
        failure::error(Cause::Other, e.doing, e.what, why)
    }
}

/// A remote file from some byte on, read in order.
struct FileReader {
    runtime: Runtime,
    file: Pin<Box<TokioCompatFile>>,
    bytes_left: u64,
    /// Closing the file needs it.
    _connection: Arc<Connection>,
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.bytes_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.runtime.wait(async {
            tokio::time::timeout(patience::silence(), self.file.read(&mut buffer[..most])).await
        });
        let bytes = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ended {} bytes too early", self.bytes_left),
            ));
        }
        self.bytes_left -= bytes as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_becomes_advice() {
        let said: Vec<String> = [
            "me@host: Permission denied (publickey).\r\nConnection closed\r\n",
            "Host key verification failed.\r\n",
            "ssh: connect to host x port 22: Connection refused\r\n",
            "ssh: Could not resolve hostname x: Name or service not known\r\n",
            "subsystem request failed on channel 0\nConnection closed\n",
            "",
        ]
        .iter()
        .map(|text| format!("{:?}", refusal(text)))
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
