//! Batch norm's running statistics where weights of several models are mixed: made anew on training
//! data, kept on purpose, or a problem.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::Known;
use crate::kind::ParamProblem;
use crate::nn::architecture::{Architecture, Identity};

/// Running means and variances of batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunningStatistics {
    /// They are averaged like weights.
    Keep,
}

/// They cannot be kept and made anew.
pub fn contradiction(
    batch_norm: Option<RunningStatistics>,
    needs: &[String],
) -> Option<ParamProblem> {
    let is_both = batch_norm.is_some() && needs.iter().any(|need| need == "train");
    let message = "`keep` and the need `train` contradict each other";
    is_both.then(|| ParamProblem::new(&["batch_norm"], message, "leave one of them out"))
}

/// The models have batch norm, and nothing says what becomes of its statistics.
pub fn is_unsaid(
    identity: Option<&Identity>,
    batch_norm: Option<RunningStatistics>,
    known: &Known,
) -> bool {
    let architecture = identity.map(|identity| Architecture::new(identity.clone()));
    let has_norm = architecture.is_some_and(|a| a.is_ok_and(|a| a.has_batch_norm()));
    has_norm && batch_norm.is_none() && !known.has("train")
}
