//! The kind `perturb`: shrink and perturb, and layers that start afresh.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Fact, Findings, Known};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::network;
use crate::nn::architecture::{Architecture, Identity};
use crate::nn::init::{self, Init, whole_layers};
use crate::nn::layer::Role;
use crate::task::Task;
use repro_numerics::exact::rng::Stream;

/// See the module.
pub struct Perturb;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"shrink": 0.4, "perturb": 0.1, "seed": 1}]))]
pub struct Params {
    /// The factor of the old weights. May be left out together with `perturb` if there is `reset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink: Option<f64>,
    /// The factor of the noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perturb: Option<f64>,
    /// Layers that start afresh, by names in which `*` stands for any characters: by the rule of
    /// `noise: {init: ..}`, by default `pytorch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<String>,
    /// Seed of the noise and of fresh layers.
    pub seed: u64,
    /// The noise.
    #[serde(default)]
    pub noise: Noise,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// The noise that is added to the shrunken weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// A freshly initialised network, as in the authors' code: noise of each layer's own scale.
    Init(Init),
    /// N(0, std²) on every parameter, as in the paper's text.
    Normal(NormalNoise),
}

/// See [`Noise::Normal`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalNoise {
    /// Its standard deviation before the factor `perturb`.
    pub std: f64,
}

impl Default for Noise {
    fn default() -> Noise {
        Noise::Init(Init::default())
    }
}

impl Kind for Perturb {
    type Params = Params;
    const NAME: &'static str = "perturb";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Shrinks a model's weights and adds noise (shrink and perturb, Ash & Adams 2020), or starts chosen layers afresh.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[InputSpec::required("model", "The model.")];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("model", "model.safetensors")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut problems = network::problems(p.network.as_ref());
        let mut add = |path: &[&str], message: String| {
            problems.push(ParamProblem::new(path, message, ""));
        };
        let factors = [("shrink", p.shrink), ("perturb", p.perturb)];
        for (name, x) in factors {
            if let Some(x) = x.filter(|x| !x.is_finite()) {
                add(&[name], format!("must be finite, got {x}"));
            }
        }
        match factors {
            [(_, None), (_, None)] if p.reset.is_empty() => add(
                &[],
                "nothing is to be done: say `shrink` and `perturb`, or `reset`".to_owned(),
            ),
            [(missing, None), (given, Some(_))] | [(given, Some(_)), (missing, None)] => add(
                &[],
                format!("`{missing}` is missing: it goes with `{given}`"),
            ),
            _ => {}
        }
        if let (Noise::Normal(_), None, None, false) =
            (p.noise, p.shrink, p.perturb, p.reset.is_empty())
        {
            let text = "without `shrink` and `perturb` no noise is added: layers that start afresh do so by a rule";
            problems.push(ParamProblem::new(
                &["noise", "normal"],
                text,
                "leave `noise` out, or say the rule: `noise: {init: he_normal}`",
            ));
            return problems;
        }
        match p.noise {
            Noise::Init(init) => {
                if let Some(message) = init.problem() {
                    add(&["noise", "init"], message);
                }
            }
            Noise::Normal(n) if !(n.std.is_finite() && n.std >= 0.0) => {
                add(
                    &["noise", "normal", "std"],
                    format!("must be finite and not negative, got {}", n.std),
                );
            }
            Noise::Normal(_) => {}
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let model = known.first_model("model", params.network.is_some(), &mut found);
        let model = network::known(model, params.network.as_ref(), &mut found);
        if let Some(Ok(architecture)) = model.identity.clone().map(Architecture::new)
            && let Err(why) = whole_layers(&params.reset, &architecture)
        {
            found.param(&["reset"], why.message, why.hint.unwrap_or_default());
        }
        found.say("model", Fact::Model(model));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let mut model = network::read(&task.input("model")?.path, p.network.as_ref())?;
        // With either noise, statistics are those of a fresh network.
        let init = match p.noise {
            Noise::Init(init) => init,
            Noise::Normal(_) => Init::default(),
        };
        let fresh = init::fresh(&model.architecture, init, p.seed, "perturb")?;
        let reset = whole_layers(&p.reset, &model.architecture).map_err(|e| e.within("`reset`"))?;
        let factors = p.shrink.zip(p.perturb);
        for (position, parameter) in model.architecture.parameters.iter().enumerate() {
            let (Some(old), Some(new)) = (
                model.tensors.get_mut(&parameter.name),
                fresh.get(&parameter.name),
            ) else {
                continue;
            };
            if reset[position] {
                old.data.clone_from(&new.data);
                continue;
            }
            let Some((shrink, perturb)) = factors.map(|(s, p)| (s as f32, p as f32)) else {
                continue;
            };
            match (parameter.role, p.noise) {
                (Role::RunningMean | Role::RunningVariance, _) => old.data.clone_from(&new.data),
                (_, Noise::Init(_)) => {
                    for (w, n) in old.data.iter_mut().zip(&new.data) {
                        *w = shrink * *w + perturb * *n;
                    }
                }
                (_, Noise::Normal(NormalNoise { std })) => {
                    let mut stream = Stream::new(p.seed, "perturb-normal", 0, position as u64);
                    for w in &mut old.data {
                        *w = shrink * *w + perturb * (stream.normal() * std as f32);
                    }
                }
            }
        }
        model.write(task.output("model")?)
    }
}

const DOC: &str = r#"
Shrink and perturb (Ash & Adams, *On Warm-Starting Neural Network Training*, NeurIPS 2020): every
parameter becomes `shrink · old + perturb · noise`. It stands between pretraining and a warm start.

```yaml
perturb:
  uses: perturb
  matrix: {seed: [0, 1, 2]}
  needs: {model: pretrain.model}
  with: {shrink: 0.4, perturb: 0.1, seed: "${matrix.seed}"}
```

`noise: {init: pytorch}` (the default) adds a freshly initialised network, as the authors' published
code does: biases get noise by the rule for biases, and the gain of a batch norm becomes
`shrink · gain + perturb · 1`. `noise: {normal: {std: 0.01}}` is what the paper's text says: the same
N(0, std²) everywhere. With both, the running statistics of batch norm start afresh, as in the code.

**Layers that start afresh.** `reset` names layers by patterns in which `*` stands for any
characters: `fc3`, `layer4*`. They get the weights, biases, norms and statistics of the fresh
network, by the rule of `noise: {init: ..}`, or by `pytorch` where the others get `noise: {normal: ..}`. A pattern that ends in `.weight` or `.bias` means these
parameters alone, as in `first_weights` of `train`. All other layers are shrunk and perturbed, or
stay as they are (with the statistics of batch norm) if `shrink` and `perturb` are left out.
Berariu et al. (*A study on the plasticity of neural networks*, 2021) reset the last modules of a
ResNet-18: only that closed the gap of a warm start.

```yaml
top:
  uses: perturb
  needs: {model: pretrain.model}
  with: {reset: ["layer4*", "fc"], seed: 1}
```

`shrink: 0, perturb: 1` is a fresh network. `shrink: 1, perturb: 0` is a plain warm start, except for
the statistics of batch norm.

Weights of another program (a PyTorch state dict in safetensors) work too, if `network` says what
they are:

```yaml
perturb:
  uses: perturb
  needs: {model: {file: net.safetensors}}
  with:
    shrink: 0.4
    perturb: 0.1
    seed: 1
    network: {model: {mlp: {hidden: [100]}}, input: {height: 28, width: 28, channels: 1}, classes: 10}
```
"#;
