//! Why a collection on a remote stops, and how much of a listing it reads.

use super::backend::BackendError;
use super::link::Link;
use super::reading::Unread;

/// Plain bytes of the largest listing.
pub(super) const LISTING_BYTES_MAX: u64 = 256 << 20;

/// Why nothing (more) was removed.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The remote.
    #[error(transparent)]
    Remote(#[from] BackendError),
    /// It did not answer to the end.
    #[error("{0}")]
    Unread(String),
    /// What a clone needs is unknown.
    #[error(
        "{0}; what its clone needs is unknown, so nothing is removed (remove the lease to continue without it)"
    )]
    Lease(String),
    /// A clone began to need results meanwhile.
    #[error("a clone began to use this remote meanwhile; nothing was removed, collect again")]
    Changed,
}

pub(super) fn unread(e: Unread) -> Stopped {
    Stopped::Unread(e.to_string())
}

pub(super) fn given_up(link: &Link) -> Stopped {
    Stopped::Unread(link.given_up().unwrap_or("it does not answer").to_owned())
}
