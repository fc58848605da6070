//! The first weights of a network, by the rule and by what differs from it.

use super::super::architecture::Architecture;
use super::super::layer::{Layer, Parameter, Role};
use super::by_fan::InverseRoot;
use super::draws::Draws;
use super::first_weights::{FirstWeights, OutputBias, WITHOUT_FANS};
use super::pattern;
use super::rule::Init;
use super::weight::{Fills, Weight, weights};
use crate::data::{Answers, Dataset};
use crate::failure::Failure;
use crate::weights::{NamedTensor, NamedTensors};
use repro_numerics::exact::math::ln_f64;
use repro_numerics::exact::rng::Stream;

/// A rule that cannot start this network: the parameter of `train` that says it, and why.
pub type Misfit = (Vec<String>, Failure);

/// What fills a parameter.
enum Filling<'a> {
    Rule(Box<dyn Fills>, Weight<'a>),
    Draws(Draws),
}

/// What fills every parameter, in file order.
fn fillings<'a>(
    architecture: &'a Architecture,
    init: Init,
    differing: &FirstWeights,
) -> Result<Vec<Filling<'a>>, Misfit> {
    let path = |parts: &[&str]| parts.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let first_weights = |field: &str, pattern: &str| path(&["first_weights", field, pattern]);
    if let Some((pattern, why)) = pattern::idle(&differing.by_name, architecture) {
        return Err((first_weights("by_name", pattern), why));
    }
    if let Some((pattern, why)) = pattern::idle(&differing.scales, architecture) {
        return Err((first_weights("scales", pattern), why));
    }
    let weights = weights(architecture);
    let filling = |(parameter, weight): (&Parameter, Option<Weight<'a>>)| {
        let named = pattern::most_specific(&differing.by_name, parameter)
            .map_err(|two| as_specific("by_name", two, parameter))?;
        pattern::most_specific(&differing.scales, parameter)
            .map_err(|two| as_specific("scales", two, parameter))?;
        let (rule, at) = match named {
            Some((pattern, rule)) => (*rule, first_weights("by_name", pattern)),
            None => (init, path(&["init"])),
        };
        if let Some(weight) = weight {
            let fills = rule.rule();
            return match fills.misfit(&weight) {
                None => Ok(Filling::Rule(fills, weight)),
                Some(why) => {
                    let text = format!("this cannot fill `{}`: {why}", parameter.name);
                    let hint = "name the layers it is for under `first_weights: {by_name: ..}`";
                    Err((at, Failure::new(text).hint(hint)))
                }
            };
        }
        let rule = match (named, differing.biases, parameter.role) {
            (Some((_, rule)), ..) => Some(*rule),
            (None, Some(rule), Role::Bias { .. }) => Some(rule),
            (None, None, Role::Bias { .. }) if init == Init::Pytorch => Some(init),
            _ => None,
        };
        let draws = match (rule, parameter.role) {
            (Some(Init::Pytorch), Role::Bias { fan_in }) => Some(InverseRoot::draws(fan_in as f64)),
            (Some(rule), _) => rule.rule().anywhere(),
            (None, Role::Gain | Role::RunningVariance) => Some(Draws::Constant(1.0)),
            (None, _) => Some(Draws::Constant(0.0)),
        };
        draws.map(Filling::Draws).ok_or_else(|| {
            let text = format!("`{}` has no fans", parameter.name);
            (at, Failure::new(text).hint(WITHOUT_FANS))
        })
    };
    architecture
        .parameters
        .iter()
        .zip(weights)
        .map(filling)
        .collect()
}

fn as_specific(field: &str, [one, other]: [&str; 2], parameter: &Parameter) -> Misfit {
    let text = format!(
        "`{one}` and `{other}` both mean `{}`, and neither is more specific",
        parameter.name
    );
    let at = ["first_weights", field, one].map(str::to_owned).to_vec();
    (at, Failure::new(text).hint("say which by a longer name"))
}

/// Whether the rules can start this network.
///
/// # Errors
/// They cannot.
pub fn check(
    architecture: &Architecture,
    init: Init,
    differing: &FirstWeights,
) -> Result<(), Misfit> {
    fillings(architecture, init, differing).map(drop)
}

/// Rules that fill this network and are made for others: what each does here.
pub fn doubts(
    architecture: &Architecture,
    init: Init,
    differing: &FirstWeights,
) -> Vec<(Vec<String>, String)> {
    let named = differing.by_name.iter();
    let named = named.map(|(name, rule)| (vec!["first_weights", "by_name", name], *rule));
    let rules = [(vec!["init"], init)].into_iter().chain(named);
    let doubt = |(at, rule): (Vec<&str>, Init)| {
        let text = rule.rule().doubt(architecture)?;
        Some((at.into_iter().map(str::to_owned).collect(), text))
    };
    rules.filter_map(doubt).collect()
}

/// What is said of parameters that learnt weights take the place of, and of no others.
pub fn overruled(
    architecture: &Architecture,
    differing: &FirstWeights,
    is_taken: impl Fn(&Parameter) -> bool,
) -> Option<Misfit> {
    let all = &architecture.parameters;
    let is_idle = |means: &dyn Fn(&Parameter) -> bool| {
        let mut meant = all.iter().filter(|p| means(p)).peekable();
        meant.peek().is_some() && meant.all(&is_taken)
    };
    let output_bias = match architecture.layers.last() {
        Some(Layer::Dense { bias, .. }) => all.get(*bias),
        _ => None,
    };
    let fields = [
        ("biases", differing.biases.is_some()),
        ("output_bias", differing.output_bias.is_some()),
        ("scale", differing.scale.is_some()),
    ];
    let means = |field: &str, p: &Parameter| match field {
        "biases" => matches!(p.role, Role::Bias { .. }),
        "output_bias" => output_bias.is_some_and(|bias| bias.name == p.name),
        _ => p.role.is_weight(),
    };
    let whole = fields.iter().filter(|(_, is_said)| *is_said);
    let whole = whole.map(|(field, _)| (vec![*field], is_idle(&|p| means(field, p))));
    let named = differing.by_name.keys().map(|name| ("by_name", name));
    let named = named.chain(differing.scales.keys().map(|name| ("scales", name)));
    let named = named.map(|(field, name)| {
        let is_idle = is_idle(&|p| pattern::means(name, p));
        (vec![field, name.as_str()], is_idle)
    });
    let (at, _) = whole.chain(named).find(|(_, is_idle)| *is_idle)?;
    let fresh = all.iter().filter(|p| !is_taken(p) && p.role.is_trained());
    let fresh: Vec<&str> = fresh.map(|p| p.name.as_str()).collect();
    let hint = match fresh.is_empty() {
        true => "leave it out: nothing starts fresh".to_owned(),
        false => format!("leave it out: fresh are {}", fresh.join(", ")),
    };
    let text = "`init` brings all that this is about: nothing of it would be used";
    let at = ["first_weights"].into_iter().chain(at).map(str::to_owned);
    Some((at.collect(), Failure::new(text).hint(hint)))
}

/// A fresh network: every parameter and batch-norm statistic, in file order.
///
/// # Errors
/// The rule cannot fill a weight of this network.
pub fn fresh(
    architecture: &Architecture,
    init: Init,
    seed: u64,
    purpose: &'static str,
) -> Result<NamedTensors, Failure> {
    drawn(architecture, init, &FirstWeights::default(), seed, purpose)
}

/// The first weights of a training on these data.
///
/// # Errors
/// The rules cannot start this network; a class without examples has no logarithm.
pub fn first(
    architecture: &Architecture,
    init: Init,
    differing: &FirstWeights,
    seed: u64,
    data: &Dataset,
) -> Result<NamedTensors, Failure> {
    let mut tensors = drawn(architecture, init, differing, seed, "init")?;
    let Some(Layer::Dense { bias, .. }) = architecture.layers.last() else {
        return Ok(tensors);
    };
    let bias = &architecture.parameters[*bias];
    let is_named = pattern::most_specific(&differing.by_name, bias).is_ok_and(|n| n.is_some());
    if let (Some(OutputBias::Marginals), false) = (differing.output_bias, is_named)
        && let Some(tensor) = tensors.get_mut(&bias.name)
    {
        tensor.data = marginals(data)?;
    }
    Ok(tensors)
}

fn drawn(
    architecture: &Architecture,
    init: Init,
    differing: &FirstWeights,
    seed: u64,
    purpose: &'static str,
) -> Result<NamedTensors, Failure> {
    let fillings = fillings(architecture, init, differing)
        .map_err(|(at, why)| why.within(&format!("`{}`", at.join("."))))?;
    let mut tensors = NamedTensors::default();
    for (position, (parameter, filling)) in architecture.parameters.iter().zip(fillings).enumerate()
    {
        let mut stream = Stream::new(seed, purpose, 0, position as u64);
        let mut data = match filling {
            Filling::Rule(rule, weight) => rule.fill(&weight, &mut stream),
            Filling::Draws(draws) => draws.take(parameter.shape.iter().product(), &mut stream),
        };
        let whole = differing.scale.filter(|_| parameter.role.is_weight());
        let own = pattern::most_specific(&differing.scales, parameter);
        let own = own.ok().flatten().map(|(_, factor)| *factor);
        for factor in [whole, own].into_iter().flatten() {
            data.iter_mut().for_each(|x| *x *= factor as f32);
        }
        let shape = parameter.shape.clone();
        tensors.insert(parameter.name.clone(), NamedTensor { shape, data });
    }
    Ok(tensors)
}

/// Logarithms of the classes' shares, or means of the numbers; sums in f64, in order.
fn marginals(data: &Dataset) -> Result<Vec<f32>, Failure> {
    let all = data.len() as f64;
    let labels = match data.answers() {
        Answers::Labels(labels) => labels,
        Answers::Targets(targets) => {
            let width = data.info().targets.len();
            let of = |k: usize| targets[k..].iter().step_by(width).map(|t| f64::from(*t));
            return Ok((0..width)
                .map(|k| (of(k).sum::<f64>() / all) as f32)
                .collect());
        }
    };
    let mut counts = vec![0u64; data.class_count()];
    for &label in labels {
        counts[label as usize] += 1;
    }
    if let Some(class) = counts.iter().position(|&n| n == 0) {
        let name = data.info().classes.get(class).cloned().unwrap_or_default();
        let text = format!("`output_bias: marginals`: no example is of the class `{name}`");
        return Err(Failure::new(text).hint("its share is 0, which has no logarithm"));
    }
    Ok(counts
        .iter()
        .map(|&n| ln_f64(n as f64 / all) as f32)
        .collect())
}
