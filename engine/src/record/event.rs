//! Events: everything a run says, in one type with three readers: the terminal, `--json`, and the
//! run's journal.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Content, Digest};
use crate::energy::{Energy, EnergySum};
use crate::placement::Placement;

/// One thing that happened in a run. Serialised as one line; fields may be added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line of every journal.
    RunStarted {
        /// Name of the run: time and process.
        run: String,
        /// Of this program.
        version: String,
        /// Study name.
        pipeline: String,
        /// The pipeline file, from the project's root; runs from before it was recorded have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// The files that the pipeline is written in, from the project's root, by digest. Their
        /// texts are remembered as those of inputs are.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        written_in: BTreeMap<String, Digest>,
        /// RFC 3339, UTC.
        at: String,
        /// Instances of the plan that this run wants.
        instances: u64,
        /// The command line.
        args: Vec<String>,
    },
    /// An action begins to execute.
    Started {
        /// Which.
        instance: String,
        /// Its action key, hex.
        key: String,
        /// Why no cached result served.
        reason: Reason,
        /// Where it computes, where recorded times decided that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed: Option<Placement>,
    },
    /// How far a running action is. Not journalled.
    Progress {
        /// Which.
        instance: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: Option<u64>,
        /// What is counted.
        unit: String,
        /// For the status line.
        text: String,
    },
    /// A line that a running command wrote, for the status line. Not journalled, and not written as
    /// JSON.
    Said {
        /// Which.
        instance: String,
        /// The line.
        line: String,
    },
    /// An action was executed and its result recorded.
    Finished {
        /// Which.
        instance: String,
        /// Its action key, hex.
        key: String,
        /// Its outputs.
        outputs: BTreeMap<String, Content>,
        /// Seconds from start to end.
        wall_s: f64,
        /// Processor seconds of it and its children.
        cpu_s: f64,
        /// Peak resident size of the largest process.
        max_rss_bytes: u64,
        /// What it used of it, and who says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        energy: Option<Energy>,
        /// What the worker measured.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        figures: BTreeMap<String, f64>,
        /// The recorded state it went on from, as the kind calls it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_from: Option<String>,
        /// How the command was confined: `enforced`, `degraded: …`, `off`, `unavailable: …`, `not
        /// needed`.
        sandbox: String,
        /// False where the store could not take it.
        recorded: bool,
    },
    /// A cached result served.
    Cached {
        /// Which.
        instance: String,
        /// Its action key, hex.
        key: String,
        /// Seconds the execution once took.
        saved_s: f64,
        /// Outputs had to be put back into `artifacts/`.
        restored: bool,
        /// The instance had another key, or none, the last time it had a result here.
        #[serde(default)]
        changed: bool,
        /// The remote whose result it is, where it was not known here before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote: Option<String>,
    },
    /// An action failed.
    Failed {
        /// Which.
        instance: String,
        /// Its key, where it was known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What happened, with the end of its log.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// An input changed while the action ran: its result is not kept.
    Unstable {
        /// Which.
        instance: String,
        /// The file.
        path: String,
        /// Content when the action started.
        before: String,
        /// Content when it ended.
        after: String,
    },
    /// Not executed because something it needs failed.
    Skipped {
        /// Which.
        instance: String,
        /// The instance that failed.
        because_of: String,
    },
    /// It would be executed (`--dry-run`).
    Planned {
        /// Which.
        instance: String,
        /// Why.
        reason: Reason,
    },
    /// Something worth knowing that is not an error.
    Warning {
        /// About which instance, if about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<String>,
        /// One sentence.
        text: String,
    },
    /// A claim that decides how many repetitions it needs was looked at, and is not decided.
    Asked {
        /// The claim.
        claim: String,
        /// Repetitions of the look.
        n: u64,
        /// Repetitions of the next one.
        next: u64,
        /// Further instances of the plan that this run wants now.
        instances: u64,
        /// The look had a result before this run.
        cached: bool,
    },
    /// How much went to and from the remote so far. Not journalled.
    Transfer {
        /// Bytes received.
        received: u64,
        /// Bytes sent.
        sent: u64,
        /// Artifacts that are being fetched.
        fetching: u64,
        /// Results that are being published.
        publishing: u64,
    },
    /// Last line.
    Summary(Summary),
}

/// Why an action had to be executed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No result is known for any earlier form of this instance.
    NeverRun,
    /// These fields of the key's pre-image differ from the last known form.
    Changed(Vec<Change>),
    /// The key has a result, but its bytes are gone or damaged.
    ResultLost(String),
    /// The key has a result that was made elsewhere, and the project does not believe who made it.
    Disbelieved(String),
    /// `--force`.
    Forced,
    /// What is part of its key is known only after a program of the project was asked, or is not on
    /// this machine (`--dry-run` only).
    Unasked(String),
    /// Something it needs will be executed first, so its key is not known yet (`--dry-run` and
    /// `status` only).
    Upstream(String),
}

/// One field of a pre-image, before and after; absent on one side means added or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The way to the field, e.g. `params.optimizer.sgd.lr`.
    pub field: String,
    /// Old value.
    pub old: Option<Value>,
    /// New value.
    pub new: Option<Value>,
    /// Of an input: the files that differ, where that is known. Not in journals: they say why,
    /// and this is what a later explanation can add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileChange>,
}

/// A file that differs between two contents of an input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileChange {
    /// Where in the directory; absent where the input is the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
pub enum Fate {
    /// It has other bytes; with the lines that differ, where both texts are known.
    Changed {
        /// Groups of neighbouring lines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hunks: Vec<Hunk>,
    },
    /// It was not there before.
    New,
    /// It is no longer there.
    Gone,
    /// The same bytes were at another place before.
    Moved {
        /// Where.
        from: String,
    },
    /// The same bytes; it became, or ceased to be, executable, a link or a directory.
    OtherKind,
}

/// Neighbouring lines that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk {
    /// The number of the first line, from 1: in the old text, or where lines came in.
    pub line: usize,
    /// Lines of the old text.
    pub old: Vec<String>,
    /// Lines of the new text.
    pub new: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Actions executed.
    pub executed: u64,
    /// Instances served from the cache.
    pub cached: u64,
    /// Of those cached: results whose bytes are on a remote only, or were when the run began.
    #[serde(default)]
    pub elsewhere: u64,
    /// Actions that failed.
    pub failed: u64,
    /// Actions that were under way when the run was interrupted, and were ended.
    #[serde(default)]
    pub stopped: u64,
    /// Instances not reached.
    pub skipped: u64,
    /// Actions whose inputs changed under them.
    pub unstable: u64,
    /// Seconds of this run.
    pub wall_s: f64,
    /// Seconds of execution that cached results saved.
    pub saved_s: f64,
    /// The run was interrupted.
    #[serde(default)]
    pub interrupted: bool,
    /// Instances that no claim has asked for, and that claims which stay undecided may still ask
    /// for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_asked_for: u64,
    /// Nothing was executed: `executed` counts what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// What was executed used so much energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergySum>,
    /// Verdicts.
    pub claims: Vec<ClaimResult>,
    /// What the remote had to do with it, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteSummary>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What was looked up on a remote, and moved to and from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteSummary {
    /// What people call it.
    pub name: String,
    /// Instances served by results of the remote.
    pub hits: u64,
    /// Results published there that it did not have.
    pub published: u64,
    /// Requests made.
    pub requests: u64,
    /// Bytes received, as they are stored there.
    pub bytes_received: u64,
    /// Bytes sent, as they are stored there.
    pub bytes_sent: u64,
    /// Things that were wrong with it: each counted as if it were not there.
    pub warnings: u64,
}

/// The verdict on a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimResult {
    /// Of the claim.
    pub name: String,
    /// Holds, refuted or inconclusive.
    pub verdict: Verdict,
    /// Pairs or values.
    pub n: u64,
    /// Estimated difference or mean.
    pub estimate: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Confidence of the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What the claim expects, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The effect in standard deviations, where the claim asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_size: Option<EffectSize>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How the verdict was corrected for the number of claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<Corrected>,
    /// Of a claim that decides how many repetitions it needs: how often it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<Looks>,
}

impl ClaimResult {
    /// What it expects, when it was looked at, and how it was corrected, in words.
    pub fn expectation(&self) -> String {
        let mut text = self.expect.clone().unwrap_or_default();
        if let Some(looks) = &self.looks {
            text.push_str(&format!("; {looks}"));
        }
        if let Some(corrected) = &self.corrected {
            let p = corrected
                .corrected_p
                .map_or_else(|| "–".to_owned(), |p| format!("{p:.4}"));
            let (family, claims) = (&corrected.family, corrected.claims);
            text.push_str(&format!("; {family}: corrected p = {p} (of {claims})"));
        }
        text
    }
}

/// An effect in standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EffectSize {
    /// The mean observation, in standard deviations of the observations.
    pub d: f64,
    /// Hedges' g of the two sides, as if they were not paired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedges_g: Option<f64>,
}

/// `effect size d = 1.45, g = 0.31`.
impl fmt::Display for EffectSize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "effect size d = {:.2}", self.d)?;
        match self.hedges_g {
            Some(g) => write!(f, ", g = {g:.2}"),
            None => Ok(()),
        }
    }
}

/// The looks at a claim. Its interval holds at all of them together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Repetitions of each, the last of which has the verdict.
    pub taken: Vec<u64>,
    /// The most that it may ask for.
    pub max_n: u64,
    /// Repetitions of the look that is due and has no result yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// When a claim was looked at.
impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let taken: Vec<String> = self.taken.iter().map(u64::to_string).collect();
        write!(
            f,
            "looked at n = {} of at most {}",
            taken.join(", "),
            self.max_n
        )?;
        match self.next {
            Some(next) => write!(f, ", {next} is due"),
            None => Ok(()),
        }
    }
}

/// The correction of a verdict for the claims of its family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// Of the family.
    pub family: String,
    /// Its claims, undecided ones too.
    pub claims: u64,
    /// The p-value of the claim by itself; none where it has no interval.
    pub p: Option<f64>,
    /// The p-value that decides.
    pub corrected_p: Option<f64>,
}

/// What the data say about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval agrees with it.
    Holds,
    /// The whole interval contradicts it.
    Refuted,
    /// The interval allows both.
    Inconclusive,
}

impl Verdict {
    /// As people and files say it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Refuted => "refuted",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}
