//! What is remembered of runs: events, the journal of each run, the lock file, results that are
//! elsewhere, or were published, what inputs held, how long works took, and whose turn it is to
//! write that down.

pub mod elsewhere;
pub mod event;
pub mod history;
pub mod inputs;
pub mod journal;
pub mod lockfile;
pub mod published;
pub mod times;
pub mod turn;
