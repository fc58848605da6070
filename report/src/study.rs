//! What a report tells of a study, as plain data: nothing in it needs a store or a plan.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figure::Figure;
use crate::made::Made;

/// A study as it stands.
#[derive(Debug, Clone, Default)]
pub struct Study {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// Where values come from that are not in the store, if they come from a file.
    pub given: Option<Given>,
    /// Its claims, in file order.
    pub claims: Vec<Claim>,
    /// The metrics that claims are about, in their order.
    pub asked: Vec<String>,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// Figures that the study asks for and that cannot be drawn.
    pub undrawn: Vec<Undrawn>,
    /// What else was not drawn, and other remarks.
    pub remarks: Vec<String>,
    /// Its stages, each after all it needs.
    pub stages: Vec<Stage>,
    /// Its runs, repetitions together.
    pub arms: Vec<Arm>,
    /// Pictures and pages that stages made.
    pub made: Vec<Made>,
    /// Commands that run the same study again.
    pub commands: Vec<String>,
}

/// A file of metrics that stands in for results that are not here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub file: String,
    /// How it fits the study, in sentences.
    pub remarks: Vec<String>,
    /// It has last values only.
    pub only_last: bool,
    /// How many instances it has values of.
    pub instances: usize,
}

impl Given {
    /// Why figures are missing.
    pub fn of_figures(&self) -> String {
        let file = &self.file;
        match self.only_last {
            true => format!("Curves, planes and pictures are not in {file}."),
            false => format!("Planes and pictures are not in {file}."),
        }
    }

    /// What is not known of stages.
    pub fn of_stages(&self) -> String {
        format!(
            "Durations, memory, energy, logs and who executed what are not in {}.",
            self.file
        )
    }
}

/// A figure that the study asks for and that cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undrawn {
    /// Its name.
    pub name: String,
    /// Why, and what there is instead.
    pub why: String,
}

impl std::fmt::Display for Undrawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the figure `{}` is not drawn: {}", self.name, self.why)
    }
}

/// A claim and what came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Who says so, with their figure.
    pub source: Option<String>,
    /// A remark of the study.
    pub note: Option<String>,
    /// `holds`, `refuted`, `inconclusive`; `None`: open.
    pub verdict: Option<&'static str>,
    /// What it expects, in words.
    pub expects: String,
    /// Lower and upper bound of what it expects; infinite where there is none.
    pub bounds: Option<[f64; 2]>,
    /// The estimate.
    pub estimate: Option<f64>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// Confidence of the interval.
    pub confidence: Option<f64>,
    /// The effect in standard deviations, as a phrase.
    pub effect: Option<String>,
    /// Repetitions.
    pub n: u64,
    /// Why the verdict is what it is.
    pub reason: Option<String>,
    /// What was observed, repetition by repetition.
    pub values: Vec<(String, f64)>,
    /// Both sides, of a comparison.
    pub sides: Option<Sides>,
    /// When it was committed, and how that relates to its first result.
    pub committed: Option<String>,
    /// What it was in the last report, and what changed since.
    pub flipped: Option<String>,
}

/// The sides of a comparison.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sides {
    /// Mean of the first.
    pub a: f64,
    /// Mean of the second.
    pub b: f64,
    /// What the first is.
    pub a_name: String,
    /// What the second is.
    pub b_name: String,
    /// What is measured.
    pub of: String,
}

/// A stage with all its instances.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub kind: String,
    /// What it is for.
    pub description: Option<String>,
    /// Positions of stages it needs, with the names under `needs:`.
    pub needs: BTreeMap<usize, Vec<String>>,
    /// Files of the project that it reads.
    pub files: Vec<String>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Why one of them ran, or would run.
    pub why: Vec<String>,
    /// The parameters of the first instance, or the command.
    pub params: String,
    /// The end of the log of the first instance.
    pub log: Option<String>,
}

/// An instance.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: &'static str,
    /// The beginning of its key.
    pub key: String,
    /// Seconds it took.
    pub seconds: Option<f64>,
    /// Its largest process.
    pub memory: Option<f64>,
    /// Joules.
    pub joules: Option<f64>,
    /// It had GPUs that are not counted in them.
    pub gpus_uncounted: bool,
    /// The GPU that it computed on; nothing where that was the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Where the result comes from, if not from here.
    pub origin: Option<String>,
}

impl Instance {
    /// Its state, in which a result that was made elsewhere is told from one made here.
    pub fn shade(&self) -> &'static str {
        match self.state == "cached" && self.origin.is_some() {
            true => "elsewhere",
            false => self.state,
        }
    }
}

/// Runs that differ only in what repeats the experiment.
#[derive(Debug, Clone, Default)]
pub struct Arm {
    /// Their stage.
    pub stage: String,
    /// Their other axes.
    pub axes: Vec<(String, String)>,
    /// Repetitions.
    pub n: usize,
    /// By metric.
    pub metrics: BTreeMap<String, Measured>,
}

impl Arm {
    /// Its value on an axis.
    pub fn axis(&self, name: &str) -> Option<&str> {
        let found = self.axes.iter().find(|(axis, _)| axis == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The last values of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// By repetition.
    pub values: Vec<(String, f64)>,
    /// Their mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub band: Option<[f64; 2]>,
}

/// With a capital letter, and a stop where no other mark ends it.
pub fn sentence(said: &str) -> String {
    let mut chars = said.chars();
    let first: String = chars
        .next()
        .map(|c| c.to_uppercase().collect())
        .unwrap_or_default();
    let stop = if said.ends_with('?') { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}
