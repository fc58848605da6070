//! The kind `prune`: removes weights and remembers which.
//!
//! `score.rs` ranks weights; here as many go as were asked for.

mod score;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::score::Scorer;
use crate::data::Dataset;
use crate::exact::math;
use crate::facts::{Fact, Findings, Known, check_all, check_mask, together};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::network;
use crate::nn::architecture::Identity;
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::mask;
use crate::weights::{Encoding, NamedTensor, NamedTensors, TensorFile};

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
    /// What becomes of the weights that stay, after `rewind`.
    #[serde(default, skip_serializing_if = "is_as_they_are")]
    pub values: Values,
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
    /// Each becomes the standard deviation of its layer (of all its weights, those that go included)
    /// with its own sign.
    SignedConstant,
}

fn is_as_they_are(values: &Values) -> bool {
    *values == Values::AsTheyAre
}

/// Which weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The smallest weights in absolute value.
    #[default]
    Magnitude,
    /// The largest weights in absolute value.
    SmallFinal,
    /// The smallest first weights (the need `first`) in absolute value.
    LargeInit,
    /// The largest first weights in absolute value.
    SmallInit,
    /// The smallest `min(α|w|, |w₀|)`, with the first weight `w₀` and `α = Σ|w₀| / Σ|w|` of the layer.
    LargeInitLargeFinal,
    /// The largest `max(α|w|, |w₀|)`.
    SmallInitSmallFinal,
    /// The smallest `|w| - |w₀|`.
    MagnitudeIncrease,
    /// The smallest `|w - w₀|`.
    Movement,
    /// The smallest `max(0, w·sign(w₀))`: who changed its sign goes first.
    LargeFinalSameSign,
    /// The smallest `max(0, -w·sign(w₀))`: who kept its sign goes first.
    LargeFinalOtherSign,
    /// Weights chosen at random.
    Random(RandomCriterion),
    /// The smallest |w · ∂L/∂w| on a batch of the need `data` (Lee et al. 2019).
    Snip(Batchwise),
    /// The smallest w · (H g) on a batch of the need `data`, with the gradient g and the second
    /// derivatives H of the loss (Wang et al. 2020).
    Grasp(Batchwise),
    /// The smallest |w| · ∂R/∂|w|, computed anew in each of many rounds; R is the sum of the outputs
    /// of the network with the magnitudes of its parameters on inputs of 1 (Tanaka et al. 2020).
    Synflow(SynflowCriterion),
}

/// See [`Criterion::Snip`] and [`Criterion::Grasp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batchwise {
    /// Seed of the choice of images.
    pub seed: u64,
    /// How many images, or all where there are fewer.
    #[serde(default = "images")]
    #[schemars(range(min = 1))]
    pub images: usize,
}

/// See [`Criterion::Synflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SynflowCriterion {
    /// Rounds; each removes the same share of what is left. The paper: 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10000))]
    pub rounds: u32,
}

fn images() -> usize {
    128
}

fn hundred() -> u32 {
    100
}

impl Criterion {
    fn is_on_data(self) -> bool {
        matches!(self, Criterion::Snip(_) | Criterion::Grasp(_))
    }

    /// It compares with the weights of before the training.
    fn is_of_first(self) -> bool {
        use Criterion::{
            LargeFinalOtherSign, LargeFinalSameSign, LargeInit, LargeInitLargeFinal,
            MagnitudeIncrease, Movement, SmallInit, SmallInitSmallFinal,
        };
        matches!(
            self,
            LargeInit
                | SmallInit
                | LargeInitLargeFinal
                | SmallInitSmallFinal
                | MagnitudeIncrease
                | Movement
                | LargeFinalSameSign
                | LargeFinalOtherSign
        )
    }
}

/// See [`Criterion::Random`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomCriterion {
    /// Seed of the choice.
    pub seed: u64,
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
    const SUMMARY: &'static str =
        "Removes weights by magnitude, by scores of gradients or at random, and writes the mask.";
    const DOC: &'static str = DOC;
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
        let fractions = [
            ("fraction", Some(p.fraction)),
            ("output_layer_fraction", p.output_layer_fraction),
        ];
        for (name, x) in fractions.into_iter().filter_map(|(n, x)| x.map(|x| (n, x))) {
            if !(0.0..=1.0).contains(&x) {
                add(name, &format!("must be between 0 and 1, got {x}"), "");
            }
        }
        if p.output_layer_fraction.is_some() && p.scope == Scope::Global {
            add(
                "output_layer_fraction",
                "has no meaning with `scope: global`",
                "leave it out, or rank layer by layer",
            );
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
        let data = known.data("data", &mut found);
        together(&data, "data", &mut found);
        check_all(&data, model.identity.as_ref(), "data", &mut found);
        if let Some(identity) = &model.identity {
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
        found.say("mask", Fact::Mask(model));
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
        if p.values == Values::SignedConstant {
            for name in masks.keys() {
                if let Some(tensor) = model.tensors.get_mut(name) {
                    signed_constants(&mut tensor.data);
                }
            }
        }
        mask::apply(&mut model.tensors, &masks);
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

/// The new masks, one per weight tensor, in file layout.
fn prune(p: &Params, scorer: &Scorer, before: &NamedTensors) -> anyhow::Result<NamedTensors> {
    let architecture = scorer.architecture;
    let output = architecture.output_weight();
    let mut masks = NamedTensors::new();
    let mut layers = Vec::new();
    let parameters = architecture.parameters.iter().enumerate();
    for (position, parameter) in parameters.filter(|(_, p)| p.role.is_weight()) {
        let name = &parameter.name;
        let weights = &scorer.tensors[name];
        if let Some(i) = weights.data.iter().position(|x| x.is_nan()) {
            let text = format!("`{name}` holds NaN at position {i}: nothing to rank");
            return Err(Failure::new(text).into());
        }
        let mask = before
            .get(name)
            .map_or_else(|| vec![1.0; weights.data.len()], |m| m.data.clone());
        let fraction = match position == output {
            true => p.output_layer_fraction.unwrap_or(p.fraction),
            false => p.fraction,
        };
        layers.push((name, fraction));
        let shape = weights.shape.clone();
        masks.insert(name.clone(), NamedTensor { shape, data: mask });
    }
    // Of each group that is ranked together: its tensors, and the share that goes.
    let groups: Vec<(Vec<usize>, f64)> = match p.scope {
        Scope::Layerwise => layers
            .iter()
            .enumerate()
            .map(|(tensor, (_, fraction))| (vec![tensor], *fraction))
            .collect(),
        Scope::Global => vec![((0..layers.len()).collect(), p.fraction)],
    };
    let alive = |masks: &NamedTensors, tensors: &[usize]| -> usize {
        let of = |tensor: &usize| masks[layers[*tensor].0].data.iter();
        tensors.iter().flat_map(of).filter(|m| **m != 0.0).count()
    };
    let at_first: Vec<usize> = groups.iter().map(|(of, _)| alive(&masks, of)).collect();
    let rounds = scorer.rounds();
    for round in 1..=rounds {
        let ranks = scorer.ranks(&masks)?;
        for ((tensors, fraction), at_first) in groups.iter().zip(&at_first) {
            let gone = at_first - alive(&masks, tensors);
            let wanted = removed(*at_first, so_far(*fraction, round, rounds));
            let remove = wanted.saturating_sub(gone);
            if remove == 0 {
                continue;
            }
            let mut candidates: Vec<Candidate> = Vec::with_capacity(at_first - gone);
            for &tensor in tensors {
                let mask = &masks[layers[tensor].0].data;
                let left = (0..mask.len()).filter(|&i| mask[i] != 0.0);
                candidates.extend(left.map(|i| (ranks[tensor][i], tensor, i)));
            }
            // All candidates differ in (tensor, index), so the set of the smallest is unique.
            candidates.select_nth_unstable(remove - 1);
            for &(_, tensor, index) in &candidates[..remove] {
                if let Some(mask) = masks.get_mut(layers[tensor].0) {
                    mask.data[index] = 0.0;
                }
            }
        }
    }
    Ok(masks)
}

/// The share that is gone after a round, if every round removes the same share of what is left.
fn so_far(fraction: f64, round: u32, rounds: u32) -> f64 {
    match round == rounds {
        true => fraction,
        false => 1.0 - math::pow_f64(1.0 - fraction, f64::from(round) / f64::from(rounds)),
    }
}

/// Rank, tensor, index: the smallest go first; ties go by tensor, then index.
type Candidate = (u64, usize, usize);

/// How many of `survivors` go: the nearest whole number; halves are rounded up.
fn removed(survivors: usize, fraction: f64) -> usize {
    ((survivors as f64 * fraction).round() as usize).min(survivors)
}

const DOC: &str = r#"
Sets weights to 0 and writes which ones are left (`mask`: one tensor of 0 and 1 per weight tensor).
Biases and batch norm are never pruned.

```yaml
prune:
  uses: prune
  needs: {model: train.model}
  with: {fraction: 0.2, scope: layerwise, output_layer_fraction: 0.1}
tune:
  uses: train
  needs: {init: prune.model, mask: prune.mask, train: data.train, test: data.test}
  with: {...}
```

`fraction` is the share of the weights *still there* that goes: with 0.2, two rounds leave
0.8 · 0.8 = 64 %. Exactly round(fraction · survivors) weights go, from each layer (`layerwise`) or
from all layers together (`global`). Weights of equal magnitude go in the order of layers and
positions. `by: {random: {seed: 7}}` removes random weights instead: the control of the lottery
ticket papers.

**Criteria of supermasks** (Zhou, Lan, Liu & Yosinski, *Deconstructing Lottery Tickets*, NeurIPS 2019,
section 3) compare a weight `w` with the one it began as, `w₀`, which the need `first` brings:
`large_init`, `small_init`, `large_init_large_final`, `small_init_small_final`, `magnitude_increase`,
`movement`, and of section 5 `large_final_same_sign` and `large_final_other_sign`. The names say what
**stays**; `large_final` is `magnitude`, and `small_final` its opposite. (The paper aligns `w` and `w₀`
where it compares them; here by the sums of magnitudes of a layer.) Of their mask actions, what stays is
rewound with `rewind`, started anew with `rewind` to another start, or made `values: signed_constant`,
the standard deviation of the layer with the sign of the weight; what goes becomes 0.

```yaml
supermask:
  uses: prune
  needs: {model: train.model, first: first.model, rewind: first.model}
  with: {fraction: 0.5, by: large_final_same_sign, values: signed_constant}
```

**Scores of gradients** say before any training which weights count; they are usually ranked with
`scope: global`.

- `snip: {seed, images}` removes the smallest `|w · ∂L/∂w|` on a batch (Lee, Ajanthan & Torr, *SNIP*,
  ICLR 2019, equation 5; dividing by the sum, as there, changes no rank).
- `grasp: {seed, images}` removes the smallest `w · (H g)`, with the gradient `g` and the second
  derivatives `H` of the loss on a batch: what goes should leave the gradient long (Wang, Zhang &
  Grosse, *Picking Winning Tickets Before Training by Preserving Gradient Flow*, ICLR 2020, equation
  8, whose score is the negative and whose largest go). `H g` is a central difference of two
  gradients; there is no temperature, which the authors' code sets to 200.
- `synflow: {rounds: 100}` needs no data: it removes the smallest `|w| · ∂R/∂|w|`, where `R` is the
  sum of the outputs of the network with the magnitudes of its parameters, in evaluation mode, on
  inputs of 1 (Tanaka, Kunin, Yamins & Ganguli, *Pruning neural networks without any data by
  iteratively conserving synaptic flow*, NeurIPS 2020, algorithm 1). After round k of n the share
  `(1 - fraction)^(k/n)` is left, and scores are computed anew.

```yaml
snip:
  uses: prune
  needs: {model: first.model, data: data.train}
  with: {fraction: 0.95, scope: global, by: {snip: {seed: 1, images: 128}}}
```

Batch norm takes the statistics of the batch for `snip` and `grasp`.

Give the `mask` of the last round to go on; a removed weight never comes back. Give `rewind` (the
first weights, or a checkpoint) to reset the survivors to the values there.
`train → prune with rewind → train` is iterative magnitude pruning (Frankle & Carbin, *The Lottery
Ticket Hypothesis*, ICLR 2019, with `output_layer_fraction` at half of `fraction`). Rewinding to a
later point is Frankle et al. 2020.

Weights of another program (a PyTorch state dict in safetensors) work too, if `network` says what
they are:

```yaml
prune:
  uses: prune
  needs: {model: {file: net.safetensors}}
  with:
    fraction: 0.2
    network: {model: {mlp: {hidden: [100]}}, input: {height: 28, width: 28, channels: 1}, classes: 10}
```
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::architecture::Architecture;
    use crate::nn::architecture::tests::architecture;
    use crate::nn::init::{Init, fresh};
    use proptest::prelude::*;

    fn masks_of(
        p: &Params,
        architecture: &Architecture,
        tensors: &NamedTensors,
        before: &NamedTensors,
    ) -> NamedTensors {
        let scorer = Scorer {
            by: p.by,
            architecture,
            tensors,
            first: None,
            data: None,
        };
        prune(p, &scorer, before).unwrap()
    }

    fn small() -> Architecture {
        architecture(
            serde_json::json!({"mlp": {"hidden": [5], "batch_norm": {}}}),
            (2, 3, 1),
            4,
        )
    }

    fn count(masks: &NamedTensors, name: &str) -> usize {
        masks[name].data.iter().filter(|x| **x == 1.0).count()
    }

    #[test]
    fn only_weights_are_masked_and_ties_go_in_order() {
        let a = small();
        let tensors = fresh(&a, Init::Constant(0.5), 0, "init").unwrap();
        let p = Params {
            fraction: 0.1,
            by: Criterion::Magnitude,
            scope: Scope::Layerwise,
            output_layer_fraction: Some(0.05),
            values: Values::AsTheyAre,
            network: None,
        };
        let masks = masks_of(&p, &a, &tensors, &NamedTensors::new());
        assert_eq!(
            masks.keys().collect::<Vec<_>>(),
            ["fc1.weight", "fc2.weight"]
        );
        assert_eq!(masks["fc1.weight"].data[..4], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(masks["fc2.weight"].data[..2], [0.0, 1.0]);
        let global = masks_of(
            &Params {
                scope: Scope::Global,
                output_layer_fraction: None,
                ..p.clone()
            },
            &a,
            &tensors,
            &NamedTensors::new(),
        );
        assert_eq!(
            (count(&global, "fc1.weight"), count(&global, "fc2.weight")),
            (25, 20)
        );
    }

    /// LeNet-300-100 with 20 % a round and 10 % of the classifier: the remaining shares on the
    /// paper's axes.
    #[test]
    fn the_ladder_of_the_lottery_ticket_paper() {
        let mut left = [235_200usize, 30_000, 1_000];
        for round in 1..=20 {
            for (layer, n) in left.iter_mut().enumerate() {
                *n -= removed(*n, if layer == 2 { 0.1 } else { 0.2 });
            }
            let percent = 100.0 * left.iter().sum::<usize>() as f64 / 266_200.0;
            let known = [
                (3, 51.28),
                (7, 21.07),
                (9, 13.52),
                (12, 6.95),
                (15, 3.58),
                (18, 1.85),
                (20, 1.19),
            ];
            if let Some((_, want)) = known.iter().find(|(r, _)| *r == round) {
                assert!((percent - want).abs() < 0.01, "round {round}: {percent}");
            }
        }
    }

    /// Every criterion on one layer of four weights, by hand; 1 stays.
    #[test]
    fn criteria_of_supermasks_by_hand() {
        let a = architecture(serde_json::json!({"mlp": {"hidden": []}}), (1, 2, 1), 2);
        let tensors = |data: [f32; 4]| {
            let mut tensors = fresh(&a, Init::Constant(0.0), 0, "init").unwrap();
            tensors.get_mut("fc1.weight").unwrap().data = data.to_vec();
            tensors
        };
        // |w|: 4 1 2 3, |w0|: 1 4 3 2, the signs of the second and third differ; α is 1
        let (last, first) = (
            tensors([4.0, -1.0, 2.0, 3.0]),
            tensors([1.0, 4.0, -3.0, 2.0]),
        );
        for (by, keeps) in [
            (Criterion::Magnitude, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::SmallFinal, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::LargeInit, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::SmallInit, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::LargeInitLargeFinal, [0.0, 0.0, 1.0, 1.0]),
            (Criterion::SmallInitSmallFinal, [0.0, 0.0, 1.0, 1.0]),
            (Criterion::MagnitudeIncrease, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::Movement, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::LargeFinalSameSign, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::LargeFinalOtherSign, [0.0, 1.0, 1.0, 0.0]),
        ] {
            let scorer = Scorer {
                by,
                architecture: &a,
                tensors: &last,
                first: Some(&first),
                data: None,
            };
            let p = Params {
                fraction: 0.5,
                by,
                scope: Scope::Layerwise,
                output_layer_fraction: None,
                values: Values::AsTheyAre,
                network: None,
            };
            let masks = prune(&p, &scorer, &NamedTensors::new()).unwrap();
            assert_eq!(masks["fc1.weight"].data, keeps, "{by:?}");
        }
        let mut values = [3.0, -1.0, 0.0, 2.0];
        signed_constants(&mut values);
        let size = 2.5f64.sqrt() as f32;
        assert_eq!(values, [size, -size, 0.0, size]);
    }

    fn params() -> impl Strategy<Value = Params> {
        (0.0..=1.0f64, any::<bool>(), any::<bool>(), 0u64..100).prop_map(
            |(fraction, random, global, seed)| Params {
                fraction,
                by: if random {
                    Criterion::Random(RandomCriterion { seed })
                } else {
                    Criterion::Magnitude
                },
                scope: if global {
                    Scope::Global
                } else {
                    Scope::Layerwise
                },
                output_layer_fraction: None,
                values: Values::AsTheyAre,
                network: None,
            },
        )
    }

    /// Without a hidden layer and at one round, the flow through a weight is its magnitude.
    #[test]
    fn synflow_of_one_layer_is_magnitude_and_counts_stay_exact() {
        let a = architecture(serde_json::json!({"mlp": {"hidden": []}}), (2, 3, 1), 4);
        let tensors = fresh(&a, Init::Pytorch, 5, "init").unwrap();
        let by = |by: Criterion, fraction: f64| {
            let p = Params {
                fraction,
                by,
                scope: Scope::Global,
                output_layer_fraction: None,
                values: Values::AsTheyAre,
                network: None,
            };
            masks_of(&p, &a, &tensors, &NamedTensors::new())
        };
        for rounds in [1, 7, 100] {
            let flow = Criterion::Synflow(SynflowCriterion { rounds });
            for fraction in [0.0, 0.1, 0.5, 0.9, 1.0] {
                let masks = by(flow, fraction);
                assert_eq!(masks, by(Criterion::Magnitude, fraction));
                assert_eq!(count(&masks, "fc1.weight"), 24 - removed(24, fraction));
            }
        }
    }

    proptest! {
        #[test]
        fn masks_are_nested_counts_exact_and_the_smallest_go(p in params(), q in params(), seed in 0u64..100) {
            let a = small();
            let tensors = fresh(&a, Init::Pytorch, seed, "init").unwrap();
            let first = masks_of(&p, &a, &tensors, &NamedTensors::new());
            let second = masks_of(&q, &a, &tensors, &first);
            for (name, mask) in &second {
                for (new, old) in mask.data.iter().zip(&first[name].data) {
                    prop_assert!(new <= old);
                }
            }
            if p.scope == Scope::Layerwise {
                prop_assert_eq!(count(&first, "fc1.weight"), 30 - removed(30, p.fraction));
                prop_assert_eq!(count(&first, "fc2.weight"), 20 - removed(20, p.fraction));
            } else {
                prop_assert_eq!(count(&first, "fc1.weight") + count(&first, "fc2.weight"), 50 - removed(50, p.fraction));
            }
            if p.by == Criterion::Magnitude && p.scope == Scope::Layerwise {
                for (name, mask) in &first {
                    let side = |kept: f32| mask.data.iter().zip(&tensors[name].data).filter(move |(m, _)| **m == kept).map(|(_, w)| w.abs());
                    let (gone, kept) = (side(0.0).fold(0.0, f32::max), side(1.0).fold(f32::INFINITY, f32::min));
                    prop_assert!(gone <= kept);
                }
            }
        }
    }
}
