//! The kind `rescale`: weights that get the norms of another model's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Findings, Known, ModelFact};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::alike;
use crate::nn::architecture::Architecture;
use crate::nn::init::whole_layers;
use crate::task::Task;

/// See the module.
pub struct Rescale;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Layers whose weights are scaled, by names in which `*` stands for any characters; by default
    /// all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// The remedy where the two are not of one shape.
const ONE_SHAPE: &str = "only norms of a model of the same shape can be taken";

impl Kind for Rescale {
    type Params = Params;
    const NAME: &'static str = "rescale";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Gives each weight tensor of a model the norm that it has in another (Maennel et al. 2020).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model whose weights are scaled."),
        InputSpec::required("like", "The model of the same shape whose norms they get."),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("model", "model.safetensors")?])
    }

    fn validate(_: &Params, _: &[String]) -> Vec<ParamProblem> {
        Vec::new()
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let identity = alike::known(ONE_SHAPE, known, &mut found);
        if let Some(Ok(architecture)) = identity.clone().map(Architecture::new)
            && let Err(why) = whole_layers(&params.layers, &architecture)
        {
            found.param(&["layers"], why.message, why.hint.unwrap_or_default());
        }
        found.say("model", Fact::Model(ModelFact { identity }));
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let [mut model, like] = alike::read(ONE_SHAPE, task)?;
        let named =
            whole_layers(&params.layers, &model.architecture).map_err(|e| e.within("`layers`"))?;
        for (parameter, is_named) in model.architecture.parameters.iter().zip(named) {
            if !(is_named || params.layers.is_empty()) {
                continue;
            }
            let (Some(tensor), Some(like)) = (
                model.tensors.get_mut(&parameter.name),
                like.tensors.get(&parameter.name),
            ) else {
                continue;
            };
            if !parameter.role.is_weight() {
                continue;
            }
            let (ours, wanted) = (norm(&tensor.data), norm(&like.data));
            if ours == wanted {
                continue;
            }
            if ours == 0.0 {
                let name = &parameter.name;
                let text =
                    format!("`{name}` is all 0, and no factor gives it the norm {wanted:.4}");
                return Err(Failure::new(text)
                    .hint("take a model whose weights are not 0")
                    .into());
            }
            let factor = wanted / ours;
            for x in &mut tensor.data {
                *x = (f64::from(*x) * factor) as f32;
            }
        }
        model.write(task.output("model")?)
    }
}

/// The root of the sum of squares; the sum is in f64, in the order of the file.
fn norm(values: &[f32]) -> f64 {
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    values.iter().map(square).sum::<f64>().sqrt()
}

const DOC: &str = r#"
Each weight tensor (of a dense layer or a convolution) is multiplied by one number, so that its norm,
the root of the sum of its squares, is that of the same tensor in `like`: `w · ‖like‖ / ‖w‖`, computed
in f64. The directions learnt stay, the scales are taken from elsewhere. Biases, norms and the
statistics of batch norm stay as they are.

Maennel et al. (*What do neural networks learn when trained with random labels?*, NeurIPS 2020) do
this after pretraining on random labels: with the norms of the first weights, a faster training
afterwards cannot come from the scale of the weights alone.

```yaml
first:    {uses: train, needs: {train: data.train}, with: {model: {mlp: {hidden: [100]}}, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
shuffled: {uses: corrupt, needs: {data: halves.a}, with: {seed: 1, labels: {random: {fraction: 1.0}}}}
pretrain: {uses: train, needs: {init: first.model, train: shuffled.data}, with: {seed: 1, length: {epochs: 30}, optimizer: {sgd: {lr: 0.1}}}}
start:    {uses: rescale, needs: {model: pretrain.model, like: first.model}}
```

A tensor that is all 0 is an error, unless it is all 0 in `like` too.
"#;
