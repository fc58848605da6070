//! The kind `lsuv`: layers scaled until their outputs have variance 1.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Fact, Findings, Known, ModelFact, shown};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::model::Model;
use crate::nn::network::Norms;
use crate::task::Task;
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape};

/// See the module.
pub struct Lsuv;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of which images are shown.
    pub seed: u64,
    /// Images shown, or all where there are fewer.
    #[serde(default = "batch")]
    #[schemars(range(min = 2))]
    pub images: usize,
    /// A layer is left alone once its standard deviation is this near to 1. The authors' code: 0.1.
    #[serde(default = "tenth")]
    pub tolerance: f64,
    /// How often a layer is scaled at most. The authors' code: 10.
    #[serde(default = "ten")]
    #[schemars(range(min = 1))]
    pub attempts: u64,
}

fn batch() -> usize {
    256
}

fn tenth() -> f64 {
    0.1
}

fn ten() -> u64 {
    10
}

impl Kind for Lsuv {
    type Params = Params;
    const NAME: &'static str = "lsuv";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Scales the layers of a fresh network until their outputs have variance 1 (LSUV, Mishkin & Matas 2016).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The network, its weights orthogonal in the paper."),
        InputSpec::required("train", "Data to show; several are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("model", "model.safetensors")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let checks = [
            ("images", p.images >= 2, "must be at least 2"),
            ("attempts", p.attempts >= 1, "must be at least 1"),
            (
                "tolerance",
                p.tolerance.is_finite() && p.tolerance > 0.0,
                "must be finite and above 0",
            ),
        ];
        let wrong = checks.into_iter().filter(|(_, good, _)| !good);
        wrong
            .map(|(name, _, message)| ParamProblem::new(&[name], message, ""))
            .collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let identity = shown("train", known, &mut found);
        found.say("model", Fact::Model(ModelFact { identity }));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("train"), "train")?;
        let model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "train")?;
        let architecture = Arc::new(model.architecture);
        let (device, norms) = (device::open()?, Norms::Running);
        let mut landscape = Landscape::new(&device, &architecture, &model.tensors, norms)?;
        let mut values = landscape.values();
        let size = p.images.min(data.len());
        let batch = Batch::of(
            &mut Batches::new(&data, p.seed, size, Augment::default()),
            0,
            0,
        );
        let spreads = |landscape: &Landscape<Device>| {
            let mut found = Vec::new();
            let mut see = |weight: usize, values: &[f32]| found.push((weight, spread(values)));
            landscape.watch(&batch, &mut see)?;
            anyhow::Ok(found)
        };
        let mut seen = spreads(&landscape)?;
        for layer in 0..seen.len() {
            for _ in 0..p.attempts {
                let (weight, std) = seen[layer];
                if (std - 1.0).abs() <= p.tolerance {
                    break;
                }
                if !(std.is_finite() && std > 0.0) {
                    let name = &architecture.parameters[weight].name;
                    let text = format!(
                        "the layer of `{name}` gives the same for all images (standard deviation {std}): no factor makes that 1"
                    );
                    return Err(Failure::new(text)
                        .hint("start from weights that are not 0, e.g. `init: {orthogonal: {}}`")
                        .into());
                }
                for x in &mut values[weight] {
                    *x = (f64::from(*x) / std) as f32;
                }
                landscape.set(&values)?;
                seen = spreads(&landscape)?;
            }
        }
        landscape.network().model().write(task.output("model")?)
    }
}

/// Standard deviation, divided by n; sums in f64, in order.
fn spread(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let square = |x: &f32| (f64::from(*x) - mean) * (f64::from(*x) - mean);
    (values.iter().map(square).sum::<f64>() / n).sqrt()
}

const DOC: &str = r#"
Layer-sequential unit-variance initialisation (Mishkin & Matas, *All you need is a good init*, ICLR 2016). From the first layer to the last:
one batch is shown, and the layer's weight is divided by the standard deviation of its outputs (before the activation, over images, units and
positions), until that is within `tolerance` of 1 or `attempts` are spent. Layers are dense layers and convolutions; biases and norms stay.

```yaml
ortho: {uses: train, needs: {train: data.train}, with: {model: {mlp: {hidden: [100, 100]}}, init: {orthogonal: {}}, first_weights: {biases: {constant: 0}}, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
start: {uses: lsuv, needs: {model: ortho.model, train: data.train}, with: {seed: 1}}
train: {uses: train, needs: {init: start.model, train: data.train, test: data.test}, with: {seed: 1, length: {epochs: 10}, optimizer: {sgd: {lr: 0.1}}}}
```

The paper starts from orthonormal weights, as above; any others will do. As in the authors' code the network is in evaluation mode, where a batch
norm that has learnt nothing hands on what it gets. Left out of that code: the optional correction of biases.
"#;
