//! Reading an object from a remote: a connection that is cut is taken up again where it was cut.

use std::io::{self, Read};
use std::sync::Arc;

use super::backend::{BackendError, BackendFault};
use super::decoding::{BadBytes, Decoder, Limit};
use super::layout::Place;
use super::link::Link;
use super::name::Name;

/// Connections for one object.
const CONNECTIONS_MAX: u32 = 20;
/// Connections in a row that bring nothing.
const IN_VAIN_MAX: u32 = 3;

/// Why an object could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not there.
    #[error("`{0}` is not there")]
    Absent(Name),
    /// It is there and is not what it has to be.
    #[error("`{name}` is damaged: {why}")]
    Bad {
        /// Its name.
        name: Name,
        /// What is wrong.
        why: String,
    },
    /// The remote did not answer, or not to the end; or was given up.
    #[error("{0}")]
    Failed(String),
    /// What came could not be kept here.
    #[error("{0}")]
    Local(String),
}

impl Unread {
    pub(crate) fn of(error: &BackendError, name: &Name) -> Unread {
        match error.cause {
            BackendFault::NotFound => Unread::Absent(name.clone()),
            _ => Unread::Failed(error.to_string()),
        }
    }

    pub(crate) fn of_io(error: &io::Error, name: &Name) -> Unread {
        match BadBytes::of(error) {
            Some(bad) => Unread::Bad {
                name: name.clone(),
                why: bad.to_string(),
            },
            None => Unread::Failed(format!("cannot read `{name}`: {error}")),
        }
    }

    /// Tells of what is wrong with the remote. What is not there is not wrong, and a remote that
    /// was given up was told of.
    pub(crate) fn tell(self, link: &Link) -> Unread {
        match &self {
            Unread::Bad { name, .. } => {
                link.note_bad(name);
                link.warning(&format!("{self}; it is not used"));
            }
            Unread::Failed(_) => link.doubt(&self.to_string()),
            _ => {}
        }
        self
    }
}

/// Opens what lies at a place in the first scope that has it; its name too.
///
/// # Errors
/// It cannot be had, or begins as none of ours, or is of another size.
pub(super) fn open(
    link: &Arc<Link>,
    place: &Place,
    limit: Limit,
) -> Result<(Name, Decoder<Resuming>), Unread> {
    let mut absent = None;
    for scope in link.scopes() {
        let name = scope.name(place);
        match open_named(link, &name, limit) {
            Ok(decoder) => return Ok((name, decoder)),
            Err(unread @ Unread::Absent(_)) => absent = absent.or(Some(unread)),
            Err(unread) => return Err(unread),
        }
    }
    Err(absent.unwrap_or_else(|| Unread::Absent(link.scope().name(place))))
}

pub(super) fn open_named(
    link: &Arc<Link>,
    name: &Name,
    limit: Limit,
) -> Result<Decoder<Resuming>, Unread> {
    let reading = link.get(name, 0).map_err(|e| Unread::of(&e, name))?;
    let resuming = Resuming {
        link: link.clone(),
        name: name.clone(),
        bytes_total: reading.bytes_total,
        at: 0,
        body: reading.body,
        connections: 1,
        in_vain: 0,
    };
    Decoder::new(resuming, limit).map_err(|e| Unread::of_io(&e, name))
}

/// All of a small object, while its memory is accounted for.
pub(crate) fn read_all<T>(
    link: &Arc<Link>,
    name: &Name,
    bytes_max: u64,
    then: impl FnOnce(Vec<u8>) -> Result<T, String>,
) -> Result<T, Unread> {
    let mut decoder = open_named(link, name, Limit::AtMost(bytes_max))?;
    // The bytes, and what they are parsed into.
    let _held = link.memory(decoder.plain_bytes() * 3);
    let mut bytes = Vec::new();
    decoder
        .read_to_end(&mut bytes)
        .map_err(|e| Unread::of_io(&e, name))?;
    then(bytes).map_err(|why| Unread::Bad {
        name: name.clone(),
        why,
    })
}

/// See the module.
pub(super) struct Resuming {
    link: Arc<Link>,
    name: Name,
    bytes_total: u64,
    at: u64,
    body: Box<dyn Read + Send>,
    connections: u32,
    in_vain: u32,
}

impl Resuming {
    fn reconnect(&mut self, why: &str) -> io::Result<()> {
        if self.connections >= CONNECTIONS_MAX || self.in_vain >= IN_VAIN_MAX {
            return Err(io::Error::other(format!(
                "the connection was cut {} times: {why}",
                self.connections
            )));
        }
        self.connections += 1;
        self.in_vain += 1;
        let reading = self
            .link
            .get(&self.name, self.at)
            .map_err(|e| io::Error::other(e.to_string()))?;
        if reading.bytes_total != self.bytes_total {
            return Err(io::Error::other("it changed while it was read"));
        }
        self.body = reading.body;
        Ok(())
    }
}

impl Read for Resuming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let cut = match self.body.read(out) {
                Ok(0) if out.is_empty() || self.at >= self.bytes_total => return Ok(0),
                Ok(0) => "it ended too early".to_owned(),
                Ok(n) => {
                    self.at += n as u64;
                    self.in_vain = 0;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e.to_string(),
            };
            self.reconnect(&cut)?;
        }
    }
}
