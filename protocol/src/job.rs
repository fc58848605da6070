//! The contract between the engine and a worker: `job.json` in, event lines and `outcome.json` out.
//!
//! Format 1. Any program may speak it: it is started as `PROGRAM worker JOB_JSON`, with the job's
//! directory as its working directory, reads the inputs, writes each output at its path, writes
//! `outcome.json` beside `job.json`, and exits 0. Lines on its standard output that are JSON
//! objects with a key `event` are [`Event`]s; every other line, and all of standard error, is its
//! log. All relative paths are relative to the job's directory.
//!
//! `tests/fixtures/job.v1.json` and `outcome.v1.json` at the workspace root freeze the format.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of both formats.
pub const FORMAT: u32 = 1;

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// [`FORMAT`].
    pub version: u32,
    /// The kind to run.
    pub kind: String,
    /// The revision the engine expects.
    pub revision: u32,
    /// [`crate::kind::Checked::params`].
    pub params: Value,
    /// Inputs by logical name. A single need is a list of one.
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// Where each output goes. Parent directories exist; the output itself does not.
    pub outputs: BTreeMap<String, PathBuf>,
    /// Threads it may use.
    pub threads: u32,
    /// The furthest state to resume from, if one is known.
    pub resume: Option<Resume>,
    /// A directory (it exists) for states it offers with [`Event::State`].
    pub states_dir: PathBuf,
    /// Where to look before the official sources, in order: directories or URLs.
    pub mirrors: Vec<String>,
    /// What an earlier run found out about the outside world (e.g. the digest of an unpinned
    /// download): must still hold.
    pub pins: BTreeMap<String, String>,
    /// The network may not be used.
    pub offline: bool,
    /// A directory (it exists) that outlives a killed job of the same action: for partial
    /// downloads.
    pub scratch_dir: PathBuf,
    /// Where it computes, if it can on more than one device; absent: on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// What it has of the GPU it computes on, and so of that GPU's memory: above 0, below 1; absent:
    /// all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_share: Option<f64>,
}

/// Where a kind computes. Outputs are the same on every device, so this is in no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// A GPU; without one that gives the CPU's bits the job fails.
    Gpu,
    /// A GPU if there is one, else the CPU.
    Auto,
}

/// One input artifact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobInput {
    /// Group name, list position, or empty.
    pub group: String,
    /// Matrix values of its producer, when gathered.
    pub axes: BTreeMap<String, Value>,
    /// A file, or a directory for a tree. Read-only.
    pub path: PathBuf,
    /// `file:<hex>` or `tree:<hex>`.
    pub digest: String,
    /// What it is, for messages: `train[seed=0].metrics (metrics.parquet)`, or the path of a file
    /// of the project.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Items of a group with the same number were made by one action or from one another. Told to
    /// kinds that count their inputs as observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<u32>,
    /// Producers, as numbers, that some items of the group share and others do not. Told as `chain`
    /// is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<u32>,
}

/// A state to resume from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// As in [`crate::kind::StatePoint::label`].
    pub label: String,
    /// The file the worker once offered.
    pub path: PathBuf,
}

/// What a worker says while it works, one JSON object per line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// How far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, where known.
        total: Option<u64>,
        /// What is counted: `bytes`, `steps` ...
        unit: String,
        /// A short text for the status line.
        text: String,
    },
    /// A resumable state lies at `path`, complete.
    State {
        /// As in [`crate::kind::StatePoint::label`].
        label: String,
        /// Inside `states_dir`.
        path: PathBuf,
    },
    /// Something the user should see that is not an error.
    Warning {
        /// One sentence.
        text: String,
    },
}

/// What a worker answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// [`FORMAT`].
    pub version: u32,
    /// Absent when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OutcomeError>,
    /// What it found out about the outside world; kept in `repro.lock`, given back as
    /// [`Job::pins`].
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
    /// Figures for the run record only (speed, bytes fetched): never hashed.
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
    /// The device that it computed on, for the run record only; absent: the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Why a worker failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeError {
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
