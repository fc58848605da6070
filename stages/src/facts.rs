//! What is known of artifacts before any stage runs: sizes of images, numbers of classes, models,
//! names of metrics.
//!
//! Each kind says what follows from its parameters and from what is known of its inputs, and what
//! cannot work ([`crate::kind::Kind::facts`]). What cannot be known (a file from elsewhere, the
//! output of a command) stays unknown and is never reported as a problem. The engine carries facts
//! from producer to consumer and does not look inside. Knows no kind.

mod fact;
mod fitting;
mod known;

pub use fact::{
    AnswersFact, CheckpointsFact, DataFact, Fact, MaskFact, MetricsFact, ModelFact, OptimizersFact,
    Recorded, ValueFact,
};
pub(crate) use fitting::{check_all, check_all_or, check_mask, fit, refuse, shown, size, together};
pub use known::Known;
pub(crate) use known::Several;
pub use repro_protocol::findings::{Finding, Findings, Subject};
