//! From a location and its settings to the backend that reaches it.

use super::settings::{Env, Settings};
use super::{DirectoryBackend, SftpBackend, WebDavBackend, patience, providers};
use crate::remote::{Backend, BackendError, Location};

/// How long a remote may be silent.
pub fn silence() -> std::time::Duration {
    patience::silence()
}

/// A word nobody else makes, legal in a name.
pub fn unique_word() -> String {
    patience::unique()
}

/// Gets ready to use a place. Nothing is sent yet, so a place that is not there is found at the
/// first use.
///
/// # Errors
/// Credentials that are plainly missing or unreadable, settings that make no sense.
pub fn open(
    location: &Location,
    settings: &Settings,
    env: Env<'_>,
) -> Result<Box<dyn Backend>, BackendError> {
    Ok(match location {
        Location::Directory(path) => Box::new(DirectoryBackend::new(path)),
        Location::S3(bucket) => Box::new(providers::s3(bucket, settings, env)?),
        Location::Gcs(bucket) => Box::new(providers::gcs(bucket, settings)?),
        Location::Azure(bucket) => Box::new(providers::azure(bucket, settings, env)?),
        Location::Http(url) => Box::new(WebDavBackend::new(url, env)?),
        Location::Sftp(place) => Box::new(SftpBackend::new(place, env)?),
    })
}
