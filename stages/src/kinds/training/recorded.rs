//! Which metrics a training or an evaluation will record.

use crate::facts::{AnswersFact, DataFact, Recorded, ValueFact};
use crate::nn::architecture::{Head, Identity};

/// What a network learns, known from itself or from its data.
pub(super) fn learnt(identity: Option<&Identity>, data: &DataFact) -> Option<AnswersFact> {
    let of_identity = identity.map(|identity| match identity.outputs {
        Head::Classes(n) => AnswersFact::Classes(Some(n)),
        Head::Targets(n) => AnswersFact::Targets(n),
    });
    of_identity.or(data.answers)
}

/// The metrics of a part of the data; all possible ones if it is unknown what is learnt.
pub(super) fn told(
    (split, recorded): (&str, Recorded),
    answers: Option<AnswersFact>,
    of_classes: &[&str],
    of_targets: &[&str],
) -> Vec<ValueFact> {
    let names = match answers {
        Some(AnswersFact::Classes(_)) => of_classes.to_vec(),
        Some(AnswersFact::Targets(_)) => of_targets.to_vec(),
        None => [of_classes, of_targets].concat(),
    };
    let value = |name: &str| ValueFact {
        split: Some(split.to_owned()),
        name: name.to_owned(),
        recorded,
    };
    names.into_iter().map(value).collect()
}
