//! What is remembered of runs: events, the journal of each run, the lock file, results that are
//! elsewhere, or were published.

pub mod elsewhere;
pub mod event;
pub mod history;
pub mod journal;
pub mod lockfile;
pub mod published;
