//! What a use case tells while it works, beside what it returns.

use crate::exchange::RemoteUse;

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
