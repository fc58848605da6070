//! The kind `prune`: removes weights and remembers which.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exact::rng::Stream;
use crate::facts::{Fact, Findings, Known, check_mask};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::network;
use crate::nn::architecture::{Architecture, Identity};
use crate::task::Task;
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
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// Which weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The smallest weights in absolute value.
    #[default]
    Magnitude,
    /// Weights chosen at random.
    Random(RandomCriterion),
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
    const SUMMARY: &'static str = "Removes weights by magnitude or at random, and writes the mask.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model whose weights are ranked."),
        InputSpec::optional("mask", "The mask so far; removed weights stay removed."),
        InputSpec::optional(
            "rewind",
            "A model whose values the surviving weights are reset to.",
        ),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("mask", "mask.safetensors")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        let mut add = |name: &str, message: &str, hint: &str| {
            problems.push(ParamProblem::new(&[name], message, hint));
        };
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
        if let Some(identity) = &model.identity {
            if let Some(Some(mask)) = masks.first() {
                check_mask(mask, identity, &mut found);
            }
            if let Some(Some(other)) = rewind.first()
                && let Some(other) = &other.identity
                && other != identity
            {
                found.input(
                    ("rewind", 0),
                    "this is a model of another shape than `model`",
                    "rewind to a checkpoint of the same training or to its first weights",
                );
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
        let masks = prune(p, &model.architecture, &model.tensors, &before)?;
        if let [one] = task.inputs("rewind") {
            let rewind = network::read(&one.path, p.network.as_ref())?;
            if rewind.architecture.identity != model.architecture.identity {
                let hint = "rewind to a checkpoint of the same training or to its first weights";
                return Err(Failure::new("input `rewind`: a model of another shape")
                    .hint(hint)
                    .into());
            }
            model.tensors = rewind.tensors;
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
        TensorFile {
            tensors: masks,
            metadata: BTreeMap::new(),
        }
        .write(task.output("mask")?, Encoding::Bits)
    }
}

/// The new masks, one per weight tensor, in file layout.
fn prune(
    p: &Params,
    architecture: &Architecture,
    tensors: &NamedTensors,
    before: &NamedTensors,
) -> Result<NamedTensors, Failure> {
    let output = architecture.output_weight();
    let mut masks = NamedTensors::new();
    let mut layers = Vec::new();
    for (position, parameter) in architecture
        .parameters
        .iter()
        .enumerate()
        .filter(|(_, p)| p.role.is_weight())
    {
        let weights = &tensors[&parameter.name];
        if let Some(i) = weights.data.iter().position(|x| x.is_nan()) {
            return Err(Failure::new(format!(
                "`{}` holds NaN at position {i}: nothing to rank",
                parameter.name
            )));
        }
        let mask = before
            .get(&parameter.name)
            .map_or_else(|| vec![1.0; weights.data.len()], |m| m.data.clone());
        let survivors = (0..weights.data.len()).filter(|&i| mask[i] != 0.0);
        let ranked: Vec<Candidate> = match p.by {
            Criterion::Magnitude => survivors
                .map(|i| (u64::from(weights.data[i].abs().to_bits()), masks.len(), i))
                .collect(),
            Criterion::Random(RandomCriterion { seed }) => {
                // a number per weight, not per survivor: a weight keeps its rank from round to
                // round
                let mut stream = Stream::new(seed, "prune", 0, position as u64);
                let numbers: Vec<u64> =
                    (0..weights.data.len()).map(|_| stream.next_u64()).collect();
                survivors.map(|i| (numbers[i], masks.len(), i)).collect()
            }
        };
        let fraction = if position == output {
            p.output_layer_fraction.unwrap_or(p.fraction)
        } else {
            p.fraction
        };
        layers.push((ranked, fraction));
        masks.insert(
            parameter.name.clone(),
            NamedTensor {
                shape: weights.shape.clone(),
                data: mask,
            },
        );
    }
    // candidates name tensors by the order in which they came
    let names: Vec<String> = architecture
        .parameters
        .iter()
        .filter(|p| p.role.is_weight())
        .map(|p| p.name.clone())
        .collect();
    let groups = match p.scope {
        Scope::Layerwise => layers,
        Scope::Global => vec![(
            layers.into_iter().flat_map(|(ranked, _)| ranked).collect(),
            p.fraction,
        )],
    };
    for (mut candidates, fraction) in groups {
        let remove = removed(candidates.len(), fraction);
        if remove == 0 {
            continue;
        }
        // all keys differ in (tensor, index), so the set of the smallest is unique
        candidates.select_nth_unstable(remove - 1);
        for &(_, tensor, index) in &candidates[..remove] {
            if let Some(mask) = masks.get_mut(&names[tensor]) {
                mask.data[index] = 0.0;
            }
        }
    }
    Ok(masks)
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
    use crate::nn::architecture::tests::architecture;
    use crate::nn::init::{Init, fresh};
    use proptest::prelude::*;

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
            network: None,
        };
        let masks = prune(&p, &a, &tensors, &NamedTensors::new()).unwrap();
        assert_eq!(
            masks.keys().collect::<Vec<_>>(),
            ["fc1.weight", "fc2.weight"]
        );
        assert_eq!(masks["fc1.weight"].data[..4], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(masks["fc2.weight"].data[..2], [0.0, 1.0]);
        let global = prune(
            &Params {
                scope: Scope::Global,
                output_layer_fraction: None,
                ..p.clone()
            },
            &a,
            &tensors,
            &NamedTensors::new(),
        )
        .unwrap();
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
                network: None,
            },
        )
    }

    proptest! {
        #[test]
        fn masks_are_nested_counts_exact_and_the_smallest_go(p in params(), q in params(), seed in 0u64..100) {
            let a = small();
            let tensors = fresh(&a, Init::Pytorch, seed, "init").unwrap();
            let first = prune(&p, &a, &tensors, &NamedTensors::new()).unwrap();
            let second = prune(&q, &a, &tensors, &first).unwrap();
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
