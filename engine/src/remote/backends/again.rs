//! Making an object young where its times cannot be set: its bytes are written once more.

use std::io;

use super::failure;
use crate::remote::{Backend, BackendError, BackendFault, Body, Name, PutMode};

/// Through a file, since a body may be large.
pub(super) fn write_again(backend: &impl Backend, name: &Name) -> Result<(), BackendError> {
    let mut reading = backend.get(name, 0)?;
    let mut copy = tempfile::NamedTempFile::new()
        .map_err(|e| failure::local("make", "a temporary file", &e))?;
    io::copy(&mut reading.body, &mut copy).map_err(|e| {
        failure::error(
            BackendFault::Unreachable,
            "read",
            name.as_str(),
            e.to_string(),
        )
    })?;
    backend.put(name, Body::File(copy.path()), PutMode::Overwrite)?;
    Ok(())
}
