//! A run: resolve, execute what has no result, commit, show; then verdicts, lock file, index.
//!
//! [`scheduler`] decides what starts when and gives orders to an [executor](crate::executor), which
//! also makes results durable.

mod arrivals;
mod board;
mod elsewhere;
mod ending;
mod looks;
mod message;
mod placing;
mod ready;
mod resolving;
mod resources;
mod scheduler;
mod secrets;
mod sharing;
mod showing;
#[cfg(test)]
mod simulated;
mod starting;
mod state;

use std::collections::HashMap;
use std::sync::Arc;

pub use scheduler::BrokenDown;
pub use scheduler::{RunReport, interruption, run, run_on};
use serde::{Deserialize, Serialize};
pub use sharing::{Pull, Push, Sharing, keep_envelopes, publication, way_back};
pub(crate) use starting::GPUS_ARE_TAKEN;

use crate::digest::{Content, Digest};
use crate::exec::Cancel;
use repro_protocol::job::Device;

/// What the user asked for.
#[derive(Clone)]
pub struct RunOptions {
    /// Stages, instances or claims; empty is all.
    pub targets: Vec<String>,
    /// Cores to use in all; `None` is all there are.
    pub jobs: Option<u32>,
    /// What a failure stops.
    pub on_failure: OnFailure,
    /// Which results may serve.
    pub reuse: Reuse,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The network may not be used.
    pub offline: bool,
    /// Where kinds compute; absent: as their resources say.
    pub device: Option<Device>,
    /// The remote that is looked at or published to; none when `offline`.
    pub sharing: Option<Sharing>,
    /// Why bytes that are on a remote only are not got from there, where they are not.
    pub why_no_remote: String,
    /// The command line, for the journal.
    pub args: Vec<String>,
    /// Raised by signals.
    pub cancel: Arc<Cancel>,
    /// This program: what runs workers.
    pub executable: std::path::PathBuf,
    /// Results of these instances that whoever gave the run vouches for; their bytes are on the
    /// remote. They are not looked up, and nothing of what they were made from has to be here.
    pub given: HashMap<Arc<str>, Given>,
}

/// A result that is given to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The action key.
    pub key: Digest,
    /// In the order of the instance's outputs.
    pub outputs: Arc<[Content]>,
}

impl RunOptions {
    /// Everything in the plan, with what is recorded, without any remote.
    pub fn new(
        args: Vec<String>,
        cancel: Arc<Cancel>,
        executable: std::path::PathBuf,
    ) -> RunOptions {
        RunOptions {
            targets: Vec::new(),
            jobs: None,
            on_failure: OnFailure::Stop,
            reuse: Reuse::Recorded,
            dry_run: false,
            offline: true,
            device: None,
            sharing: None,
            why_no_remote: "this run is offline".into(),
            args,
            cancel,
            executable,
            given: HashMap::new(),
        }
    }
}

/// What a failure stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing new starts; what runs may finish.
    Stop,
    /// Everything that does not need the failed result goes on.
    KeepGoing,
}

/// Which results may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// All that are recorded.
    Recorded,
    /// The targets are executed whatever is recorded.
    ForceTargets,
}
