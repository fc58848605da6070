//! What a node is told: a ticket in the environment of its job, and the bundle that it names on the
//! remote. Formats with versions, since a job may wait for days.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use repro_engine::digest::{Content, Digest};
use repro_engine::remote::Name;
use repro_engine::remote::config::Remote;
use repro_engine::run::Given;
use serde::{Deserialize, Serialize};

/// The variable of a job's environment that holds its [`Ticket`].
pub const VARIABLE: &str = "REPRO_JOB";
/// The variable that holds a directory on the node's own disk.
pub const SCRATCH: &str = "REPRO_JOB_SCRATCH";

/// What this program writes and reads.
pub const FORMAT: u32 = 1;

/// Where a job finds its work. It travels in the job's script, where only its owner reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// [`FORMAT`].
    pub version: u32,
    /// The remote through which everything travels.
    pub remote: Remote,
    /// The part of it that belongs to this campaign.
    pub scope: String,
    /// Which submission.
    pub wave: String,
    /// What the bundle has to be.
    pub bundle: Digest,
    /// Seconds until the batch system ends the job.
    pub time_s: u64,
    /// Seconds between reports.
    pub report_s: f64,
}

/// How the pipeline was asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Profiles.
    pub profiles: Vec<String>,
    /// Settings.
    pub sets: Vec<String>,
    /// Nobody waits for the results: a job takes them.
    pub detach: Option<Detach>,
}

/// How a job calls what was called.
#[derive(Debug, Clone)]
pub struct Detach {
    /// The command line, without the program.
    pub args: Vec<String>,
    /// Where it was called.
    pub dir: PathBuf,
}

/// A submission: the project as it was, and what each element executes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`FORMAT`].
    pub version: u32,
    /// The run it is for.
    pub run: String,
    /// The directory of the project, with what the plan reads.
    pub project: Content,
    /// The pipeline file in it.
    pub pipeline: String,
    /// Environments of the project, which stay where they are.
    pub links: BTreeMap<String, PathBuf>,
    /// Profiles and settings, as of the command line.
    pub profiles: Vec<String>,
    /// See `profiles`.
    pub sets: Vec<String>,
    /// The network may not be used by stages.
    pub offline: bool,
    /// Results that are known, of what these actions are made from.
    pub given: HashMap<Arc<str>, Given>,
    /// By number.
    pub elements: Vec<Vec<Item>>,
}

/// One action of an element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The instance.
    pub id: Arc<str>,
    /// Its action, where that is known before its inputs are made: key and pre-image.
    pub action: Option<Action>,
    /// How long it takes, by what is recorded.
    pub seconds: f64,
    /// The memory it may use, where its stage declares one.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// An action, said completely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its key.
    pub key: Digest,
    /// What that is the digest of.
    pub preimage: String,
}

/// Names on the remote, beside those of results.
pub mod names {
    use super::Name;

    fn name(text: String) -> Name {
        // Scopes and waves are made here of letters and digits.
        text.parse()
            .unwrap_or_else(|_| unreachable!("BUG: `{text}` is no name"))
    }

    /// Below which everything of a campaign lies that is no result.
    pub fn campaign(scope: &str) -> Name {
        name(format!("jobs/{scope}"))
    }

    /// Written before anything is submitted, to see that it can be.
    pub fn begun(scope: &str) -> Name {
        name(format!("jobs/{scope}/begun"))
    }

    /// What a wave is to do.
    pub fn bundle(scope: &str, wave: &str) -> Name {
        name(format!("jobs/{scope}/bundles/{wave}"))
    }

    /// Below which all reports lie.
    pub fn parts(scope: &str) -> Name {
        name(format!("jobs/{scope}/parts"))
    }

    /// A report: of which element, which of its beginnings, and the how-manieth.
    pub fn part(scope: &str, wave: &str, index: u32, attempt: &str, number: u32) -> Name {
        name(format!(
            "jobs/{scope}/parts/{wave}/{index}/{attempt}/{number}"
        ))
    }

    /// Below which lie the names of states that can be had.
    pub fn states(scope: &str) -> Name {
        name(format!("jobs/{scope}/states"))
    }

    /// A state that can be had.
    pub fn state(scope: &str, digest: &super::Digest) -> Name {
        name(format!("jobs/{scope}/states/{digest}"))
    }

    /// Below which all results of a campaign lie.
    pub fn results(scope: &str) -> Name {
        name(format!("scopes/{scope}"))
    }

    /// Below which lie the names of actions that have a result.
    pub fn heads(scope: &str) -> Name {
        name(format!("scopes/{scope}/v1/heads"))
    }
}
