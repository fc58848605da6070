//! Parameters that `summarise` and `claim` share.

use crate::kind::ParamProblem;
use crate::series::At;

/// The default confidence of intervals.
pub(super) fn confidence() -> f64 {
    0.95
}

/// A confidence in percent, without rounding noise: `95`, `99.5`.
pub(super) fn percent(confidence: f64) -> f64 {
    (confidence * 1e8).round() / 1e6
}

pub(super) fn check_confidence(confidence: f64, path: &[&str]) -> Option<ParamProblem> {
    let fine = confidence > 0.0 && confidence < 1.0;
    (!fine).then(|| {
        ParamProblem::new(
            path,
            format!("a confidence of {confidence} is not between 0 and 1"),
            "e.g. 0.95",
        )
    })
}

pub(super) fn check_at(at: At, path: &[&str]) -> Option<ParamProblem> {
    let path: Vec<&str> = path.iter().copied().chain(["mean_of_last"]).collect();
    (at == At::MeanOfLast(0)).then(|| ParamProblem::new(&path, "a mean of no values", "1 or more"))
}
