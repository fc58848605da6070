//! What a training can be told and is hardly meant, as far as facts show it: data that never join,
//! choices by the data that it is measured on.

use super::params::Params;
use crate::facts::{DataFact, Finding, Findings, Known, Subject};
use crate::training::later::{Later, Portions};

/// The needs `validation` and `test` are the same images.
pub(super) const SAME_AS_TEST: &str =
    "these are the images of `test`: what is chosen by them cannot be measured on them any more";
/// Where images to choose by come from.
pub(super) const HOLD_OUT: &str = "hold some training data out: a part of a `split` of them, such as `needs: {train: halves.fit, validation: halves.held}`";

/// What a training chooses by says nothing of what it was not chosen by.
pub(super) fn refuse_test_set(
    validation: &[Option<DataFact>],
    known: &Known,
    found: &mut Findings,
) {
    if let Some(item) = known.common("validation", "test") {
        found.input(("validation", item), SAME_AS_TEST, HOLD_OUT);
        return;
    }
    let is_test = |set: &Option<DataFact>| set.as_ref().is_some_and(|set| set.is_test);
    if let Some(item) = validation.iter().position(is_test) {
        let set = validation[item].as_ref().and_then(|set| set.set.as_deref());
        found.input(
            ("validation", item),
            format!(
                "this is the test set of `{}`: what is chosen by it cannot be measured on it any more",
                set.unwrap_or("these data")
            ),
            HOLD_OUT,
        );
    }
}

/// What `later` says that comes to nothing, as far as lengths and numbers are known.
pub(super) fn warn_of_idle_later(
    params: &Params,
    (first, joining): (&DataFact, &DataFact),
    known: &Known,
    found: &mut Findings,
) {
    let Some(later) = params.later else { return };
    let mut warn = |place: Subject, message: String, hint: &str| {
        found.warnings.push(Finding::new(place, message, hint));
    };
    let field = |path: &[&str]| Subject::Param(path.iter().map(|p| (*p).to_owned()).collect());
    // Of unknown data only the epochs count.
    let all = joining.images.unwrap_or(u64::from(u32::MAX)) as usize;
    // All epochs are of one length until something joins.
    if let Some(epochs) = params.epochs(first.images)
        && !later.joins_within(epochs, all)
    {
        warn(
            field(&["later"]),
            format!(
                "no image of `later` ever joins: the training ends after {epochs} epoch{}",
                if epochs == 1 { "" } else { "s" }
            ),
            "let them join sooner, or train longer",
        );
    }
    if let (
        Later::Portions(Portions {
            images: Some(n), ..
        }),
        Some(all),
    ) = (later, joining.images)
        && n > all
    {
        warn(
            field(&["later", "portions", "images"]),
            format!("`later` has {all} images: a portion of {n} is all of them"),
            "give a smaller number",
        );
    }
    if let Some(item) = known.common("later", "train") {
        warn(
            Subject::Input("later".to_owned(), item),
            "these are images of `train` too: once they join, an epoch has each of them twice"
                .to_owned(),
            "give other images of the training set, such as another part of a `split`",
        );
    }
}
