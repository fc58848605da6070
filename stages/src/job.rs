//! The stage crate's side of the job contract (format 1): what `job.json` and `outcome.json` hold.
//!
//! A mirror of the engine's types, kept apart on purpose: only files cross the border. `tests/fixtures/job.v1.json` and
//! `outcome.v1.json` at the workspace root are read by both test suites.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of both formats.
pub const FORMAT: u32 = 1;

/// What the engine asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// [`FORMAT`].
    pub version: u32,
    /// The kind to run.
    pub kind: String,
    /// The revision the engine expects.
    pub revision: u32,
    /// Checked parameters: what [`crate::kind::KindInfo::check`] returned.
    pub params: Value,
    /// Inputs by logical name; a single need is a list of one.
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// Where each output goes. Parent directories exist; the output itself does not.
    pub outputs: BTreeMap<String, PathBuf>,
    /// Threads to use.
    pub threads: u32,
    /// The furthest state to resume from.
    pub resume: Option<Resume>,
    /// A directory (it exists) for states offered with [`Event::State`].
    pub states_dir: PathBuf,
    /// Directories or URLs to look in before the official sources.
    pub mirrors: Vec<String>,
    /// What an earlier run found out about the outside world; must still hold.
    pub pins: BTreeMap<String, String>,
    /// The network may not be used.
    pub offline: bool,
    /// A directory (it exists) that outlives a killed job of the same action.
    pub scratch_dir: PathBuf,
}

/// One input artifact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobInput {
    /// Group name, position in a list, or empty.
    pub group: String,
    /// Matrix values of its producer, when gathered.
    pub axes: BTreeMap<String, Value>,
    /// A file, or a directory for a tree. Read-only.
    pub path: PathBuf,
    /// `file:<hex>` or `tree:<hex>`.
    pub digest: String,
    /// What it is, for messages: `train[seed=0].metrics (metrics.parquet)`, or the path of a file of the project.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Items of a group with the same number were made by one action or from one another. Told to kinds that count their
    /// inputs as observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<u32>,
    /// Producers, as numbers, that some items of the group share and others do not. Told as `chain` is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<u32>,
}

/// A state to resume from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// As in [`crate::kind::StatePoint::label`].
    pub label: String,
    /// The file once offered.
    pub path: PathBuf,
}

/// A line on standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// How far the work is.
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
        /// Inside [`Job::states_dir`].
        path: PathBuf,
    },
    /// Something the user should see that is not an error.
    Warning {
        /// One sentence.
        text: String,
    },
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// [`FORMAT`].
    pub version: u32,
    /// Absent when the work succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OutcomeError>,
    /// What was found out about the outside world.
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
    /// Figures for the run record only (images per second, bytes fetched).
    #[serde(default)]
    pub figures: BTreeMap<String, f64>,
}

/// Why the work failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeError {
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
