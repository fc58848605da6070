//! Runs one action: a private directory, a sandbox, a process, its events and log, and a verdict on
//! its outputs.
//!
//! [`execute`] is the whole of it. It decides how a process is confined, watched and ended, and
//! whether it kept its promise (every declared output exists and stays inside the private
//! directory). It knows no keys, no cache, no graph: inputs come as paths, outputs are handed back
//! as paths, and the caller says when a run is to stop.
//!
//! Nothing that an execution starts outlives it, nor the program: the [`reaper`] sees to that, and
//! should that be killed as well, the [`keeper`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Kind;
use crate::energy::Energy;
use crate::lineage::Kin;
use crate::plan::{self, Policy};
use crate::store::{Fact, Observation};
use repro_protocol::job::{Device, Event, Resume};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

mod asking;
mod cancel;
mod command;
mod copies;
mod denied;
pub mod external;
mod failure;
mod grant;
pub mod keeper;
mod log;
mod namespaces;
mod outputs;
mod placing;
mod private_dir;
mod process;
mod reaper;
mod reports;
mod room;
mod sandbox;
mod searched;
mod secrets;
mod setting;
mod shell;
mod spawner;
mod start;
pub mod starter;
mod surroundings;
mod tools;
mod walls;
mod worker;

#[cfg(test)]
mod tests;

pub use asking::{Asking, Memory, Stamp};
pub use cancel::{Cancel, CancelLevel};
pub use failure::{Cause, Failure};
pub use grant::{GRANTED_GPUS, Grant};
pub use private_dir::discard;
pub use shell::{Visit, WorkDir, visit, work_in};
pub use surroundings::Surroundings;
pub use tools::{Unasked, Version, is_tool_as_asked, tool_version};

/// What to do.
#[derive(Clone)]
pub enum Work {
    /// A kind with checked parameters, run by a worker process.
    Kind {
        /// The kind.
        kind: Arc<Kind>,
        /// [`repro_protocol::kind::Checked::params`].
        params: Arc<Value>,
    },
    /// A shell command.
    Command(Arc<plan::Command>),
}

/// Everything one execution needs. All paths are absolute.
#[derive(Clone)]
pub struct Request {
    /// The instance, for messages: `train[seed=1]`.
    pub id: Arc<str>,
    /// What to do.
    pub work: Work,
    /// The inputs, items of one need in their order.
    pub inputs: Vec<PlacedInput>,
    /// What it needs beside its inputs.
    pub surroundings: Surroundings,
    /// What it promises to make.
    pub outputs: Arc<[OutputSpec]>,
    /// Limits and sandbox.
    pub policy: Arc<Policy>,
    /// What of the machine is its own.
    pub grant: Grant,
    /// The private directory: made here; [`discard`]ed by the caller when the outputs are safe. A
    /// directory left there by a killed execution is removed first.
    pub dir: PathBuf,
    /// Outlives a killed execution of the same action (partial downloads); made when missing.
    pub scratch_dir: PathBuf,
    /// Where downloads look first: directories or URLs.
    pub mirrors: Vec<String>,
    /// What an earlier run found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// The network may not be used (workers are told; commands are not confined).
    pub offline: bool,
    /// Where a kind computes; absent: as its resources say.
    pub device: Option<Device>,
    /// What becomes of the private directory when the command has done well.
    pub afterwards: Afterwards,
    /// The state to resume from.
    pub resume: Option<Resume>,
    /// The project, whose undeclared files a command may not read.
    pub project_root: PathBuf,
    /// The program that runs built-in kinds: `EXECUTABLE worker JOB`.
    pub executable: PathBuf,
    /// Directories whose files inputs link to (a store's objects): a sandboxed process may read
    /// files there, but not list them. Inputs elsewhere are allowed one by one.
    pub store_roots: Arc<[PathBuf]>,
}

/// See [`Request::afterwards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Nobody looks into it.
    Discarded,
    /// Somebody will: what was mounted on inputs becomes links.
    Kept,
}

/// One input artifact and where a command finds it.
#[derive(Clone, Debug)]
pub struct PlacedInput {
    /// The logical name under `needs:`.
    pub need: Arc<str>,
    /// Written as a list, group map or gather.
    pub many: bool,
    /// Group, list position, or empty.
    pub group: Arc<str>,
    /// Matrix values of the producer, when gathered.
    pub axes: plan::Axes,
    /// Where a command finds it, relative to its working directory.
    pub placed_at: RelPath,
    /// Where it is now.
    pub origin: InputOrigin,
    /// What it is, for messages: `train[seed=0].metrics (metrics.parquet)`, or a path of the
    /// project.
    pub called: Arc<str>,
    /// `file:<hex>` or `tree:<hex>`.
    pub digest: String,
    /// What it has in common with others of its group.
    pub kin: Kin,
}

/// Where an input is before it is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputOrigin {
    /// A file or directory of the project.
    ProjectFile(PathBuf),
    /// A file or directory from outside of the project, shown where it lies.
    Outside(PathBuf),
    /// A directory put together from links to what counts of another one.
    Assembled {
        /// The directory it shows.
        of: PathBuf,
        /// Where it was put together.
        view: PathBuf,
    },
    /// A file of the store.
    Object(PathBuf),
    /// A directory that shows a tree of the store, by files of its own or by links into the store.
    TreeView(PathBuf),
}

impl InputOrigin {
    /// The path.
    pub fn path(&self) -> &std::path::Path {
        match self {
            InputOrigin::ProjectFile(path)
            | InputOrigin::Outside(path)
            | InputOrigin::Assembled { view: path, .. }
            | InputOrigin::Object(path)
            | InputOrigin::TreeView(path) => path,
        }
    }
}

/// What is heard while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// The worker speaks, or the engine warns.
    Event(Event),
    /// A line of the log, for a live view. When a process writes faster than a person reads, lines
    /// are left out here; the log file has them.
    Line(String),
}

/// It kept its promise.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Output name → where it lies inside the private directory; each exists.
    pub outputs: BTreeMap<Arc<str>, PathBuf>,
    /// Files and directories of the project of which it had copies that hold what their digests
    /// say.
    pub copied: BTreeSet<PathBuf>,
    /// What it found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// Figures for the run record.
    pub figures: BTreeMap<String, f64>,
    /// The device that it computed on, where that was not the CPU.
    pub device: Option<String>,
    /// The log file, inside the private directory.
    pub log: PathBuf,
    /// What it used.
    pub usage: Usage,
    /// Whether it was confined.
    pub sandbox: SandboxReport,
}

/// What a process and the children it waited for used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end.
    pub wall_s: f64,
    /// User and system time.
    pub cpu_s: f64,
    /// The largest resident set of any one process.
    pub max_rss_bytes: u64,
    /// What it used of it, where that is looked at.
    pub energy: Option<Energy>,
}

impl Usage {
    /// Adds it to what is said of an execution.
    pub fn noted(&self, observation: Observation) -> Observation {
        let observation = observation
            .with(Fact::WallS, self.wall_s)
            .with(Fact::CpuS, self.cpu_s)
            .with(Fact::MaxRssBytes, self.max_rss_bytes);
        match self.energy {
            Some(energy) => observation.with(Fact::Energy, serde_json::json!(energy)),
            None => observation,
        }
    }
}

/// Whether an execution was confined to what it declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxReport {
    /// Undeclared reads failed.
    Enforced,
    /// Undeclared reads failed; what else could not be kept apart, and why.
    Degraded(String),
    /// `sandbox: off`.
    Off,
    /// This machine cannot check; why.
    Unavailable(String),
    /// A built-in kind: it reads what its job names.
    NotNeeded,
}

impl SandboxReport {
    /// Undeclared reads failed.
    pub fn is_enforced(&self) -> bool {
        matches!(self, SandboxReport::Enforced | SandboxReport::Degraded(_))
    }
}

/// Runs one action to its end, on the calling thread, which sleeps while the process runs.
///
/// `notes` is called on this thread. When `cancel` is at [`CancelLevel::Graceful`] before the
/// process has started, nothing is started.
///
/// # Errors
/// A [`Failure`] that says what happened, with the end of the log.
pub fn execute(
    request: &Request,
    cancel: &Cancel,
    notes: &mut dyn FnMut(Note),
) -> Result<Finished, Box<Failure>> {
    if cancel.level() != CancelLevel::None {
        return Err(Failure::early(request, Cause::Cancelled));
    }
    match &request.work {
        Work::Command(command) => command::execute(request, command, cancel, notes),
        Work::Kind { kind, params } => worker::execute(request, kind, params, cancel, notes),
    }
}
