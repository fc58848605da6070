//! The parameter `network:` of kinds that take weights of other programs and have no data to say
//! what they are for.

use std::path::Path;

use crate::facts::{Findings, ModelFact};
use crate::failure::Failure;
use crate::kind::{self, ParamProblem};
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::model::Model;
use crate::nn::spec::ModelSpec;

/// What is wrong with it.
pub fn problems(network: Option<&Identity>) -> Vec<ParamProblem> {
    let Some(network) = network else {
        return Vec::new();
    };
    let mut found = model_problems(&network.model);
    let input = network.input;
    let sizes = [
        ("height", input.height),
        ("width", input.width),
        ("channels", input.channels),
    ];
    for (name, size) in sizes {
        if size == 0 {
            let message = "must be at least 1";
            found.push(ParamProblem::new(&["input", name], message, ""));
        }
    }
    if network.outputs.width() == 0 {
        found.push(ParamProblem::whole("a network has at least one output"));
    }
    if found.is_empty()
        && let Err(failure) = Architecture::new(network.clone())
    {
        let message = failure.message;
        let message = message.strip_prefix("model: ").unwrap_or(&message);
        let hint = failure.hint.unwrap_or_default();
        found.push(ParamProblem::new(&["model"], message, hint));
    }
    let within = found.into_iter().map(|problem| problem.within("network"));
    within.collect()
}

/// What is wrong with the field `model`.
pub fn model_problems(model: &ModelSpec) -> Vec<ParamProblem> {
    let problem = |(path, message)| ParamProblem {
        path,
        ..ParamProblem::whole(message)
    };
    let problems = model.problems().into_iter().map(problem);
    problems.map(|problem| problem.within("model")).collect()
}

/// The facts about a model: its own, else `network`. If the two differ, that is a problem, reported
/// once.
pub fn known(
    model: Option<ModelFact>,
    network: Option<&Identity>,
    found: &mut Findings,
) -> ModelFact {
    let itself = model.and_then(|model| model.identity);
    if let (Some(itself), Some(network)) = (&itself, network)
        && let Some((at, there, here)) = kind::unlike(itself, network)
        && found.problems.is_empty()
    {
        found.param(
            &["network"],
            format!("the model under `needs:` is another one: its `{at}` is {there}, not {here}"),
            NAMED,
        );
    }
    let identity = itself.or_else(|| network.cloned());
    ModelFact { identity }
}

/// Reads a model; `network` is what a file of another program holds.
///
/// # Errors
/// As [`Model::read_as`]; the file says that it is another network.
pub fn read(path: &Path, network: Option<&Identity>) -> anyhow::Result<Model> {
    let model = Model::read_as(path, network)?;
    if network.is_some_and(|network| *network != model.architecture.identity) {
        return Err(Failure::new(format!(
            "`network` is not the one that `{}` itself names",
            path.display()
        ))
        .hint(NAMED)
        .into());
    }
    Ok(model)
}

/// The remedy where a model says itself what it is.
const NAMED: &str = "leave `network` out of `with:`; it is for weights of other programs";
