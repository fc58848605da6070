//! The kind `prune`: removes weights and remembers which.
//!
//! `criterion.rs` has what can be asked for, `rates.rs` which share of each layer goes, `score.rs`
//! scores the weights, and `masks.rs` says which of them go.

mod criterion;
mod masks;
mod rates;
mod score;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::criterion::{Batchwise, Criterion, RandomCriterion, SynflowCriterion};
use self::masks::prune;
pub use self::rates::Rates;
use self::score::Scorer;
use crate::data::Dataset;
use crate::facts::{Fact, Findings, Known, MaskFact, check_mask, fit};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::network;
use crate::nn::architecture::{Architecture, Identity};
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::mask::{self, Masked};
use crate::weights::{Encoding, NamedTensors, TensorFile};
use repro_numerics::exact::rng::Stream;

/// See the module.
pub struct Prune;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Share of the surviving weights that is removed, in [0, 1].
    pub fraction: f64,
    /// Which weights go.
    #[serde(default)]
    pub by: Criterion,
    /// Whether each layer is ranked on its own.
    #[serde(default)]
    pub scope: Scope,
    /// Share removed from the classifier instead of `fraction` (layerwise only). Frankle & Carbin:
    /// half.
    #[serde(default)]
    pub output_layer_fraction: Option<f64>,
    /// Shares removed instead of `fraction`, by sort and name of layers (layerwise only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// What becomes of the weights that stay, after `rewind`.
    #[serde(default, skip_serializing_if = "is_as_they_are")]
    pub values: Values,
    /// What becomes of the weights that go: `zero`, or `frozen`: they keep their values, or those of
    /// `rewind`, and a training with `masked: frozen` leaves them there.
    #[serde(default, skip_serializing_if = "Masked::is_zero")]
    pub masked: Masked,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// What becomes of the weights that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// They keep their values, or those of `rewind`.
    #[default]
    AsTheyAre,
    /// Each becomes the standard deviation of its layer (of all its weights, those that go
    /// included) with its own sign.
    SignedConstant,
    /// They change places at random within their layer.
    Reshuffled(Reshuffling),
}

/// How values change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reshuffling {
    /// Of the new places.
    pub seed: u64,
    /// Which places a value can take.
    #[serde(default)]
    pub signs: Signs,
}

/// Which places a value can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signs {
    /// Any.
    #[default]
    Any,
    /// That of a value with the same sign, so that each place keeps its sign.
    Kept,
}

fn is_as_they_are(values: &Values) -> bool {
    *values == Values::AsTheyAre
}

/// Whether each layer is ranked on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each layer is ranked on its own.
    #[default]
    Layerwise,
    /// All layers are ranked together.
    Global,
}

impl Kind for Prune {
    type Params = Params;
    const NAME: &'static str = "prune";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Removes weights by magnitude, by scores of gradients or at random, and writes the mask.";
    const DOC: &'static str = include_str!("prune/guide.md");
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model whose weights are ranked."),
        InputSpec::optional("mask", "The mask so far; removed weights stay removed."),
        InputSpec::optional(
            "rewind",
            "A model whose values the surviving weights are reset to.",
        ),
        InputSpec::optional(
            "first",
            "The model before its training, which some criteria compare with.",
        ),
        InputSpec::optional("data", "The data that `snip` and `grasp` measure on.").many(),
    ];

    fn place(params: &Params) -> Place {
        match params.by {
            Criterion::Snip(_) | Criterion::Grasp(_) | Criterion::Synflow(_) => Place::Device,
            _ => Place::Host,
        }
    }

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("mask", "mask.safetensors")?,
        ])
    }

    fn validate(p: &Params, needs: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        let mut add = |name: &str, message: &str, hint: &str| {
            problems.push(ParamProblem::new(&[name], message, hint));
        };
        let has_data = needs.iter().any(|n| n == "data");
        match (p.by.is_on_data(), has_data) {
            (true, false) => add(
                "by",
                "`snip` and `grasp` are measured on data",
                "add `needs: {data: data.train}`",
            ),
            (false, true) => add(
                "by",
                "only `snip` and `grasp` look at data",
                "leave the need `data` out",
            ),
            _ => {}
        }
        let has_first = needs.iter().any(|n| n == "first");
        match (p.by.is_of_first(), has_first) {
            (true, false) => add(
                "by",
                "this criterion compares with the weights before the training",
                "give them as `needs: {first: ...}`",
            ),
            (false, true) => add(
                "by",
                "this criterion does not look at first weights",
                "leave the need `first` out; survivors are reset by `rewind`",
            ),
            _ => {}
        }
        match p.by {
            Criterion::Snip(Batchwise { images: 0, .. })
            | Criterion::Grasp(Batchwise { images: 0, .. }) => {
                add("by", "`images` must be at least 1", "");
            }
            Criterion::Synflow(SynflowCriterion { rounds }) if !(1..=10_000).contains(&rounds) => {
                add("by", "`rounds` must be 1 to 10000", "");
            }
            _ => {}
        }
        let last = p
            .output_layer_fraction
            .map(|x| (vec!["output_layer_fraction"], x));
        let rates = p.rates.iter().flat_map(Rates::shares);
        let fractions = [(vec!["fraction"], p.fraction)].into_iter().chain(last);
        for (path, x) in fractions.chain(rates) {
            if !(0.0..=1.0).contains(&x) {
                let message = format!("must be between 0 and 1, got {x}");
                problems.push(ParamProblem::new(&path, message, ""));
            }
        }
        let mut add = |name: &str| {
            problems.push(ParamProblem::new(
                &[name],
                "has no meaning with `scope: global`",
                "leave it out, or rank layer by layer",
            ));
        };
        if p.scope == Scope::Global {
            if p.output_layer_fraction.is_some() {
                add("output_layer_fraction");
            }
            if p.rates.is_some() {
                add("rates");
            }
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let is_named = params.network.is_some();
        let model = known.first_model("model", is_named, &mut found);
        let model = network::known(model, params.network.as_ref(), &mut found);
        let masks = known.masks("mask", &mut found);
        let rewind = known.models("rewind", is_named, &mut found);
        let first = known.models("first", is_named, &mut found);
        fit("data", model.identity.as_ref(), known, &mut found);
        if let Some(identity) = &model.identity {
            if let Ok(architecture) = Architecture::new(identity.clone())
                && let Err((path, why)) = rates::shares(params, &architecture)
            {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                found.param(&path, why.message, why.hint.unwrap_or_default());
            }
            if let Some(Some(mask)) = masks.first() {
                check_mask(mask, identity, &mut found);
            }
            for (name, models) in [("rewind", &rewind), ("first", &first)] {
                if let Some(Some(other)) = models.first()
                    && let Some(other) = &other.identity
                    && other != identity
                {
                    found.input(
                        (name, 0),
                        "this is a model of another shape than `model`",
                        SAME,
                    );
                }
            }
        }
        found.say("model", Fact::Model(model.clone()));
        found.say(
            "mask",
            Fact::Mask(MaskFact {
                masked: Some(params.masked),
                ..model.into()
            }),
        );
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let mut model = network::read(&task.input("model")?.path, p.network.as_ref())?;
        let before = match task.inputs("mask") {
            [] => NamedTensors::new(),
            [one] => mask::read(&one.path, &model.architecture)?,
            _ => anyhow::bail!(Failure::new("input `mask`: more than one artifact")),
        };
        let data = match task.inputs("data") {
            [] => None,
            sets => {
                let data = Dataset::put_together(sets, "data")?;
                check_data(&data, &model.architecture.identity, "data")?;
                Some(data)
            }
        };
        let like = |name: &str| -> anyhow::Result<Option<NamedTensors>> {
            let [one] = task.inputs(name) else {
                return Ok(None);
            };
            let other = network::read(&one.path, p.network.as_ref())?;
            if other.architecture.identity != model.architecture.identity {
                let text = format!("input `{name}`: a model of another shape");
                return Err(Failure::new(text).hint(SAME).into());
            }
            Ok(Some(other.tensors))
        };
        let (first, rewind) = (like("first")?, like("rewind")?);
        let scorer = Scorer {
            by: p.by,
            architecture: &model.architecture,
            tensors: &model.tensors,
            first: first.as_ref(),
            data: data.as_ref(),
        };
        let masks = prune(p, &scorer, &before)?;
        if let Some(rewind) = rewind {
            model.tensors = rewind;
        }
        for (position, parameter) in model.architecture.parameters.iter().enumerate() {
            let tensor = model.tensors.get_mut(&parameter.name);
            let (Some(tensor), Some(mask)) = (tensor, masks.get(&parameter.name)) else {
                continue;
            };
            match p.values {
                Values::AsTheyAre => {}
                Values::SignedConstant => signed_constants(&mut tensor.data),
                Values::Reshuffled(how) => {
                    reshuffle(&mut tensor.data, &mask.data, how, position as u64);
                }
            }
        }
        if p.masked.is_zero() {
            mask::apply(&mut model.tensors, &masks);
        }
        let kept: f64 = masks
            .values()
            .flat_map(|m| &m.data)
            .map(|&x| f64::from(x))
            .sum();
        let all = masks.values().map(|m| m.data.len()).sum::<usize>();
        task.figures.insert("weights_kept".into(), kept);
        task.figures
            .insert("share_kept".into(), kept / (all as f64).max(1.0));
        model.write(task.output("model")?)?;
        TensorFile::from(masks).write(task.output("mask")?, Encoding::Bits)
    }
}

/// What to give where another model of the same shape is wanted.
const SAME: &str = "give a checkpoint of the same training or its first weights";

/// Gives the values that stay a random order, all of them or those of each sign; each layer draws
/// from a stream of its own.
fn reshuffle(values: &mut [f32], mask: &[f32], how: Reshuffling, layer: u64) {
    let stay = (0..values.len()).filter(|&at| mask[at] != 0.0);
    let (of_one, of_other): (Vec<usize>, Vec<usize>) = match how.signs {
        Signs::Any => (stay.collect(), Vec::new()),
        Signs::Kept => stay.partition(|&at| values[at].is_sign_positive()),
    };
    let mut stream = Stream::new(how.seed, "reshuffle", 0, layer);
    for places in [of_one, of_other] {
        let order = stream.permutation(places.len() as u32);
        let moved = Vec::from_iter(order.iter().map(|from| values[places[*from as usize]]));
        for (at, value) in places.into_iter().zip(moved) {
            values[at] = value;
        }
    }
}

/// Every value becomes the standard deviation of all, in f64, with its own sign; 0 stays.
fn signed_constants(values: &mut [f32]) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|w| f64::from(*w)).sum::<f64>() / n;
    let squares = values.iter().map(|w| (f64::from(*w) - mean).powi(2));
    let size = (squares.sum::<f64>() / n).sqrt() as f32;
    for w in values {
        *w = match *w {
            x if x > 0.0 => size,
            x if x < 0.0 => -size,
            x => x,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signed_constants_have_the_deviation_and_their_own_signs() {
        let mut values = [3.0, -1.0, 0.0, 2.0];
        signed_constants(&mut values);
        let size = 2.5f64.sqrt() as f32;
        assert_eq!(values, [size, -size, 0.0, size]);
    }

    proptest! {
        /// The values that stay are the same ones, in other places; what goes is not touched; with
        /// `signs: kept` each place keeps its sign.
        #[test]
        fn reshuffling_moves_values_and_nothing_else(
            values in proptest::collection::vec(-5.0f32..5.0, 1..40),
            seed: u64,
            are_kept: bool,
        ) {
            let mask: Vec<f32> = (0..values.len()).map(|i| f32::from(u8::from(i % 3 != 0))).collect();
            let signs = if are_kept { Signs::Kept } else { Signs::Any };
            let mut moved = values.clone();
            reshuffle(&mut moved, &mask, Reshuffling { seed, signs }, 2);
            let sorted = |values: &[f32], stays: bool| {
                let values = values.iter().zip(&mask).filter(|(_, m)| (**m != 0.0) == stays);
                let mut values = Vec::from_iter(values.map(|(v, _)| *v));
                values.sort_by(f32::total_cmp);
                values
            };
            prop_assert_eq!(sorted(&values, true), sorted(&moved, true));
            for (at, mask) in mask.iter().enumerate().filter(|(_, m)| **m == 0.0) {
                prop_assert_eq!(values[at], moved[at], "{} {}", at, mask);
            }
            if are_kept {
                let signs = |values: &[f32]| Vec::from_iter(values.iter().map(|v| v.is_sign_positive()));
                prop_assert_eq!(signs(&values), signs(&moved));
            }
        }
    }
}
