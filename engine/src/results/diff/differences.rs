//! What a comparison finds, as data.

use crate::record::event::{Change, Verdict};
use serde::{Serialize, Serializer};

/// What is different.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// The earlier side.
    pub a: String,
    /// The later side.
    pub b: String,
    /// Instances that differ, by name.
    pub instances: Vec<InstanceDiff>,
    /// Claims whose verdict or estimate differs.
    pub claims: Vec<ClaimDiff>,
    /// Tables of metrics that are on a remote only and are left out.
    #[serde(skip)]
    pub left_out: Option<LeftOut>,
    /// Runs of other pipelines than the one that is asked about, in sentences.
    #[serde(skip)]
    pub others: Vec<String>,
}

/// Tables that could not be compared.
#[derive(Debug)]
pub struct LeftOut {
    /// How many.
    pub tables: usize,
    /// Why the first was not got.
    pub why: String,
}

/// An instance that differs.
#[derive(Debug, Serialize)]
pub struct InstanceDiff {
    /// Its name.
    pub instance: String,
    /// In what way.
    pub change: Difference,
    /// The fields of its key that differ.
    pub fields: Vec<Change>,
    /// Names of the outputs that differ.
    pub outputs: Vec<String>,
    /// Last values of metrics that differ.
    pub metrics: Vec<MetricDiff>,
}

/// In what way an instance differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It is on the later side only.
    New,
    /// It is on the earlier side only.
    Gone,
    /// Another key gave the same bytes.
    OtherKey,
    /// The same key gave other bytes.
    OtherOutputs,
    /// Key and outputs.
    Changed,
}

impl Difference {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Difference::New => "new",
            Difference::Gone => "gone",
            Difference::OtherKey => "other key, same outputs",
            Difference::OtherOutputs => "same key, other outputs",
            Difference::Changed => "changed",
        }
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// A value that differs; absent on the side that does not have it.
#[derive(Debug, Serialize)]
pub struct MetricDiff {
    /// Cell, group and seed, then the metric.
    pub name: String,
    /// On the earlier side.
    pub a: Option<f64>,
    /// On the later side.
    pub b: Option<f64>,
}

/// A claim that is judged otherwise; absent on the side that has no verdict.
#[derive(Debug, Serialize)]
pub struct ClaimDiff {
    /// Of the claim.
    pub name: String,
    /// The earlier verdict.
    pub a: Option<Verdict>,
    /// The later verdict.
    pub b: Option<Verdict>,
    /// The earlier estimate.
    pub estimate_a: Option<f64>,
    /// The later estimate.
    pub estimate_b: Option<f64>,
}
