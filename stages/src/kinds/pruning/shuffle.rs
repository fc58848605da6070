//! The kind `shuffle`: a mask with as many weights in each layer, in other places.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Findings, Known, check_mask};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::network;
use crate::nn::architecture::{Architecture, Identity};
use crate::task::Task;
use crate::training::mask;
use crate::weights::{Encoding, NamedTensors, TensorFile};
use repro_numerics::exact::rng::Stream;

/// See the module.
pub struct Shuffle;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the new places.
    pub seed: u64,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

impl Kind for Shuffle {
    type Params = Params;
    const NAME: &'static str = "shuffle";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Moves the weights that a mask keeps to random places of their layers: a control for lottery tickets.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required(
            "model",
            "The model whose weights stay, in the new places: unpruned, as at first.",
        ),
        InputSpec::required("mask", "The mask whose counts are kept."),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("mask", "mask.safetensors")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        network::problems(p.network.as_ref())
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let model = known.first_model("model", params.network.is_some(), &mut found);
        let model = network::known(model, params.network.as_ref(), &mut found);
        let masks = known.masks("mask", &mut found);
        if let (Some(identity), Some(Some(mask))) = (&model.identity, masks.first()) {
            check_mask(mask, identity, &mut found);
        }
        found.say("model", Fact::Model(model.clone()));
        found.say("mask", Fact::Mask(model.into()));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let mut model = network::read(&task.input("model")?.path, p.network.as_ref())?;
        let mut masks = mask::read(&task.input("mask")?.path, &model.architecture)?;
        shuffle(&mut masks, &model.architecture, p.seed);
        mask::apply(&mut model.tensors, &masks);
        model.write(task.output("model")?)?;
        TensorFile::from(masks).write(task.output("mask")?, Encoding::Bits)
    }
}

/// Gives the elements of every mask a random order; each layer draws from a stream of its own.
fn shuffle(masks: &mut NamedTensors, architecture: &Architecture, seed: u64) {
    for (position, parameter) in architecture.parameters.iter().enumerate() {
        let Some(mask) = masks.get_mut(&parameter.name) else {
            continue;
        };
        let mut stream = Stream::new(seed, "shuffle", 0, position as u64);
        let order = stream.permutation(mask.data.len() as u32);
        mask.data = order.iter().map(|from| mask.data[*from as usize]).collect();
    }
}

const DOC: &str = r#"
Keeps as many weights of each layer as `mask` does, and chooses anew which (by the seed; every
choice is equally likely). If a network trained from the new places is as good, the mask has found
out how many weights each layer needs, and not which (Frankle et al., *Pruning Neural Networks at
Initialization: Why Are We Missing the Mark?*, ICLR 2021, section 5; Su et al., *Sanity-Checking
Pruning Methods*, NeurIPS 2020).

```yaml
ticket: {uses: prune, needs: {model: dense.model, rewind: first.model}, with: {fraction: 0.8}}
control: {uses: shuffle, needs: {model: first.model, mask: ticket.mask}, with: {seed: 1}}
trained:
  uses: train
  needs: {init: control.model, mask: control.mask, train: data.train, test: data.test}
  with: {length: {epochs: 10}, seed: 1, optimizer: {sgd: {lr: 0.1}}}
```

`model` must be unpruned where the mask is to go: a weight that is already 0 stays 0 in its new
place, and is trained from there. Of a weight that the mask does not name everything stays. The
other control, new values in the old places, is `train` with the need `mask` and first weights of
another seed.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::architecture::tests::architecture;
    use crate::weights::NamedTensor;
    use proptest::prelude::*;

    fn layers() -> Architecture {
        let hidden = serde_json::json!({"mlp": {"hidden": [5]}});
        architecture(hidden, (2, 3, 1), 4)
    }

    fn masks(kept: [usize; 2]) -> NamedTensors {
        let masks = [("fc1.weight", [5, 6]), ("fc2.weight", [4, 5])].into_iter();
        let masks = masks.zip(kept).map(|((name, shape), kept)| {
            let ones = (0..shape[0] * shape[1]).map(|i| f32::from(u8::from(i < kept)));
            let data = ones.collect();
            let shape = shape.to_vec();
            (name.to_owned(), NamedTensor { shape, data })
        });
        masks.collect()
    }

    proptest! {
        /// As many of each layer stay, and only 0 and 1 are there; the seed decides which.
        #[test]
        fn counts_stay(first in 0usize..=30, second in 0usize..=20, seed: u64) {
            let before = masks([first, second]);
            let of = |seed| {
                let mut after = before.clone();
                shuffle(&mut after, &layers(), seed);
                after
            };
            let after = of(seed);
            for (name, mask) in &after {
                prop_assert_eq!(&mask.shape, &before[name].shape);
                let sorted = |masks: &NamedTensors| {
                    let mut data = masks[name].data.clone();
                    data.sort_by(f32::total_cmp);
                    data
                };
                prop_assert_eq!(sorted(&after), sorted(&before));
            }
            prop_assert_eq!(&after, &of(seed));
        }
    }

    /// Each place is kept as often as any other: 10 of 20, over 2,000 seeds. The deviation of a
    /// count is √(2000·¼) ≈ 22; 120 is more than five of them.
    #[test]
    fn every_place_is_as_likely() {
        let mut kept = [0i32; 20];
        for seed in 0..2000 {
            let mut after = masks([0, 10]);
            shuffle(&mut after, &layers(), seed);
            for (kept, mask) in kept.iter_mut().zip(&after["fc2.weight"].data) {
                *kept += *mask as i32;
            }
        }
        assert!(kept.iter().all(|n| (n - 1000).abs() < 120), "{kept:?}");
    }

    /// Layers of one size do not move alike.
    #[test]
    fn layers_move_apart() {
        let square = serde_json::json!({"mlp": {"hidden": [6, 6]}});
        let architecture = architecture(square, (2, 3, 1), 6);
        let one = NamedTensor {
            shape: vec![6, 6],
            data: (0..36).map(|i| f32::from(u8::from(i % 3 == 0))).collect(),
        };
        let names = ["fc1.weight", "fc2.weight", "fc3.weight"];
        let mut masks: NamedTensors = names.map(|n| (n.to_owned(), one.clone())).into();
        shuffle(&mut masks, &architecture, 7);
        let [a, b, c] = names.map(|name| &masks[name].data);
        assert!(a != b && b != c && a != c && *a != one.data);
    }
}
