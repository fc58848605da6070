//! What `ssh` reaches: `ssh -s HOST sftp` is started, and SFTP is spoken on its pipes.
//!
//! So hosts, users, keys, agents, jump hosts and host keys are those of `~/.ssh/config`, and
//! nothing is asked: a remote that needs a password typed in is refused with what `ssh` said. One
//! connection serves all calls; when it breaks, the next call makes a new one.

use std::io::{self, SeekFrom};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use openssh_sftp_client::UnixTimeStamp;
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::TokioCompatFile;
use openssh_sftp_client::metadata::MetaDataBuilder;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::again::write_again;
use super::listing::ListingLimit;
use super::patience::{self, unique, with_patience};
use super::runtime::Runtime;
use super::sftp_connection::{
    Ahead, Answer, Connection, MESSAGE_BYTES, Trouble, UNFINISHED, make_parents, meta_of,
};
use super::ssh::connect;
use super::{Env, failure};
use crate::remote::location::SftpPlace;
use crate::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Location, Name, PutMode, PutOutcome, Reading,
};

/// See the module.
pub struct SftpBackend {
    runtime: Runtime,
    ssh: String,
    place: SftpPlace,
    described: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

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
            return Err(failure::error(
                BackendFault::Other,
                "read",
                name.as_str(),
                why,
            ));
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
                Err(e) if e.cause == BackendFault::NotFound => {}
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
            Err(e) if e.cause == BackendFault::Refused => write_again(self, name),
            other => other,
        }
    }
}

impl SftpBackend {
    /// Writing makes every directory but the base, so a missing one is the base.
    fn without_base(&self, e: BackendError) -> BackendError {
        if e.cause != BackendFault::NotFound {
            return e;
        }
        let why = format!(
            "the directory `{}` does not exist; make it first (`mkdir`), or correct the address",
            self.place.path
        );
        failure::error(BackendFault::Other, e.doing, e.what, why)
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
