//! The seam to storage: what every kind of remote can do, no more. What the bytes mean is unknown
//! here.
//!
//! Calls block. Whoever wants many at once makes them from many threads; implementations allow any
//! number.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use super::name::Name;

/// A place that holds bytes under names.
pub trait Backend: Send + Sync {
    /// Where it is, for people: without credentials.
    fn describe(&self) -> String;

    /// Reads an object from byte `from` on. A body that ends early is an error of its reader.
    ///
    /// # Errors
    /// [`BackendFault::NotFound`] and others.
    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError>;

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// [`BackendFault::NotFound`] and others.
    fn head(&self, name: &Name) -> Result<Entry, BackendError>;

    /// Writes a whole object: readers see all of it or nothing.
    ///
    /// # Errors
    /// Among others: the body could not be read.
    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError>;

    /// Every object below `prefix`, in no order, until `each` says to stop. Names that are none of
    /// ours are left out.
    ///
    /// # Errors
    /// [`BackendFault::Unsupported`] where the storage cannot list.
    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError>;

    /// Bytes of listings and messages received since the last call, where they are counted.
    fn take_listed_bytes(&self) -> u64 {
        0
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// Of the storage.
    fn delete(&self, name: &Name) -> Result<(), BackendError>;

    /// Makes an object as young as if it had just been written, so that a collector spares it.
    ///
    /// # Errors
    /// [`BackendFault::NotFound`] when it is gone.
    fn freshen(&self, name: &Name) -> Result<(), BackendError>;
}

/// An object that is being read.
pub struct Reading {
    /// Bytes of the whole object, as the storage says.
    pub bytes_total: u64,
    /// From the byte that was asked for.
    pub body: Box<dyn Read + Send>,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Its size.
    pub bytes_total: u64,
    /// When it was written or freshened, by the storage's clock.
    pub modified: SystemTime,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// Few bytes.
    Bytes(&'a [u8]),
    /// A file, read anew for every try.
    File(&'a Path),
    /// Few bytes, then those of a file: an object's header before bytes that are sent as they lie.
    Headed(&'a [u8], &'a Path),
}

impl Body<'_> {
    /// How many bytes will be written.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn bytes_total(&self) -> io::Result<u64> {
        Ok(match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(path) => std::fs::metadata(path)?.len(),
            Body::Headed(head, path) => head.len() as u64 + std::fs::metadata(path)?.len(),
        })
    }

    /// All of them, from the first; for every try anew.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(match self {
            Body::Bytes(bytes) => Box::new(*bytes),
            Body::File(path) => Box::new(File::open(path)?),
            Body::Headed(head, path) => Box::new(head.chain(File::open(path)?)),
        })
    }
}

/// What happens to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// It stays. Where the storage cannot promise that, it may be replaced: only names that say
    /// what their bytes are may rely on this.
    Create,
    /// It is replaced.
    Overwrite,
}

/// What became of a [`Backend::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The bytes were written.
    Written,
    /// Something was there, and stays.
    WasThere,
}

/// What went wrong, as far as callers act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendFault {
    /// There is no such object.
    NotFound,
    /// Credentials are missing, wrong, or do not suffice.
    Refused,
    /// No answer: the network, a timeout, a cut connection.
    Unreachable,
    /// Too many requests.
    Throttled,
    /// The storage cannot do this.
    Unsupported,
    /// A local file could not be read or written.
    Local,
    /// Anything else.
    Other,
}

impl BackendFault {
    /// Whether the same call may succeed in a moment.
    pub fn is_transient(self) -> bool {
        matches!(self, BackendFault::Unreachable | BackendFault::Throttled)
    }
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{what}`: {why}")]
pub struct BackendError {
    /// What to do about it.
    pub cause: BackendFault,
    /// `read`, `write`, `list`, ...
    pub doing: &'static str,
    /// The object or the place.
    pub what: String,
    /// In words; without credentials.
    pub why: String,
}
