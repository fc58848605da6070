//! What a use case tells while it works, beside what it returns.

use serde::Serialize;

/// One thing to be told at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Something is wrong with a remote; what it was about counts as if it were not there.
    Warning(String),
    /// Bytes go to or come from a remote.
    Moving {
        /// Moved so far.
        done: u64,
        /// About how many it will be.
        total: u64,
    },
    /// Nothing is moved any more.
    Moved,
    /// Artifacts that were known to be on a remote are here now.
    Brought {
        /// How many.
        artifacts: usize,
        /// What it took.
        remote: RemoteUse,
    },
}

/// Who listens. `&mut |_| {}` where nobody does.
pub type Tell<'a> = &'a mut dyn FnMut(Notice);

/// What a use case had to do with a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteUse {
    /// As the project calls it.
    pub name: String,
    /// Requests made.
    pub requests: u64,
    /// Bytes received, as they are stored there.
    pub bytes_received: u64,
    /// Bytes sent, as they are stored there.
    pub bytes_sent: u64,
    /// Things that were wrong with it.
    pub warnings: u64,
}
