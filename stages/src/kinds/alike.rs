//! Two models of one shape, as the needs `model` and `like` bring them.

use crate::facts::{Findings, Known};
use crate::failure::Failure;
use crate::kind;
use crate::nn::architecture::Identity;
use crate::nn::model::Model;
use crate::task::Task;

/// What both are, as far as one of them is known; if they differ, that is a problem with this
/// remedy.
pub fn known(hint: &str, known: &Known, found: &mut Findings) -> Option<Identity> {
    let mut of = |name: &str| {
        let model = known.first_model(name, false, found);
        model.and_then(|model| model.identity)
    };
    let (identity, like) = (of("model"), of("like"));
    if let (Some(model), Some(like)) = (&identity, &like)
        && let Some((at, here, there)) = kind::unlike(like, model)
    {
        let message = format!("its `{at}` is {here}; that of `model` is {there}");
        found.input(("like", 0), message, hint);
    }
    identity.or(like)
}

/// Reads `model` and `like`.
///
/// # Errors
/// One is no model; they differ.
pub fn read(hint: &str, task: &Task) -> anyhow::Result<[Model; 2]> {
    let both = [
        Model::read(&task.input("model")?.path)?,
        Model::read(&task.input("like")?.path)?,
    ];
    let [here, there] = both.each_ref().map(|model| &model.architecture.identity);
    if let Some((at, theirs, ours)) = kind::unlike(there, here) {
        let text = format!("input `like`: its `{at}` is {theirs}; that of `model` is {ours}");
        return Err(Failure::new(text).hint(hint).into());
    }
    Ok(both)
}
