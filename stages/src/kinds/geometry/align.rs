//! The kind `align`: the units of a model in the order in which its weights are most like
//! another's.
//!
//! `symmetries.rs` says which units can change places, `matching.rs` finds where they belong.

mod matching;
mod symmetries;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::symmetries::Symmetries;
use crate::facts::{Fact, Findings, Known, MetricsFact, ModelFact, refuse};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::alike;
use crate::nn::architecture::Architecture;
use crate::table;
use crate::task::Task;
use crate::weights::NamedTensors;
use repro_protocol::table::Row;

/// See the module.
pub struct Align;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the order in which layers are gone through.
    pub seed: u64,
    /// How often all layers are gone through at most.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub sweeps: usize,
}

fn hundred() -> usize {
    100
}

/// The remedy where the two are not of one shape.
const ONE_SHAPE: &str = "only models of one shape have the same units";

impl Kind for Align {
    type Params = Params;
    const NAME: &'static str = "align";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str = "Puts the units of a model in the order in which its weights are most like another's (git re-basin, Ainsworth et al. 2023).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model whose units change places."),
        InputSpec::required("like", "The model of the same shape that it is to be like."),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("model", "model.safetensors")?,
            OutputSpec::new("metrics", "metrics.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let zero = (p.sweeps == 0).then_some("must be at least 1");
        let problem = zero.map(|text| ParamProblem::new(&["sweeps"], text, ""));
        problem.into_iter().collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let identity = alike::known(ONE_SHAPE, known, &mut found);
        if let Some(Ok(architecture)) = identity.clone().map(Architecture::new)
            && let Err(why) = Symmetries::of(&architecture)
        {
            refuse(("model", 0), why, &mut found);
        }
        found.say("model", Fact::Model(ModelFact { identity }));
        let values = [
            "sweeps",
            "distance_before",
            "distance",
            "cosine_before",
            "cosine",
        ];
        let values = values.map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let [mut model, like] = alike::read(ONE_SHAPE, task)?;
        let architecture = &model.architecture;
        let symmetries = Symmetries::of(architecture)?;
        let before = apart(architecture, &model.tensors, &like.tensors);
        let both = [&model.tensors, &like.tensors];
        let found = matching::matched(architecture, &symmetries, both, p.seed, p.sweeps);
        for (parameter, axes) in architecture.parameters.iter().zip(&symmetries.axes) {
            if let Some(tensor) = model.tensors.get_mut(&parameter.name) {
                let (shape, data) = (&parameter.shape, &tensor.data);
                tensor.data = matching::ordered(shape, data, axes, &found.orders);
            }
        }
        let after = apart(&model.architecture, &model.tensors, &like.tensors);
        let values = [
            ("sweeps", found.sweeps as f64),
            ("distance_before", before.distance),
            ("distance", after.distance),
            ("cosine_before", before.cosine),
            ("cosine", after.cosine),
        ];
        let row = |(name, value): (&str, f64)| Row {
            name: name.to_owned(),
            value,
            ..Row::default()
        };
        table::write(task.output("metrics")?, &values.map(row))?;
        model.write(task.output("model")?)
    }
}

/// How far two networks are from each other, over all that is trained.
struct Apart {
    distance: f64,
    cosine: f64,
}

fn apart(architecture: &Architecture, a: &NamedTensors, b: &NamedTensors) -> Apart {
    let [mut squares, mut product, mut of_a, mut of_b] = [0.0; 4];
    let trained = architecture.parameters.iter();
    for parameter in trained.filter(|p| p.role.is_trained()) {
        let pairs = a[&parameter.name].data.iter().zip(&b[&parameter.name].data);
        for (a, b) in pairs.map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            squares += (a - b) * (a - b);
            product += a * b;
            of_a += a * a;
            of_b += b * b;
        }
    }
    Apart {
        distance: squares.sqrt(),
        cosine: product / (of_a * of_b).sqrt().max(f64::MIN_POSITIVE),
    }
}

const DOC: &str = r#"
The units of a hidden layer can change places, with the weights that lead to them and away from them,
and the network computes the same. Two networks trained apart may differ in little more than that
order. `align` moves the units of `model` to where its weights are most like those of `like`
(Ainsworth, Hayase & Srinivasa, *Git Re-Basin: Merging Models modulo Permutation Symmetries*, ICLR
2023, section 3.2, weight matching).

```yaml
moved: {uses: align, matrix: {seed: [0, 1, 2]}, needs: {model: right.model, like: left.model}, with: {seed: "${matrix.seed}"}}
path:
  uses: landscape
  matrix: {seed: [0, 1, 2]}
  needs: {models: [left.model, moved.model], data: data.test, train: data.train}
```

As in the authors' code: layers are gone through in a random order; for each, `A[i][j] = Σ ⟨w_like of
unit i, w_model of unit j⟩` over all tensors that have its units on an axis (weights, biases, gains and
shifts), with the other layers where they are now; the assignment with the largest sum takes the place
of the last one if the sum grows by more than 1e-12; the search ends when a whole sweep gains nothing,
or after `sweeps`. Products are summed in f64 in order, and rounded to 2⁻⁴⁰ of the largest before the
assignment (Kuhn 1955, Munkres 1957), so that it is the same on every machine.

Perceptrons, convolutional and residual networks, with batch norm (whose statistics move along) or
layer norm; both summands of a residual block have one order. A group norm with several groups and
recurrent networks are refused.

**REPAIR.** Between two networks, activations have less variance than at the ends (Jordan et al.,
*REPAIR: REnormalizing Permuted Activations for Interpolation Repair*, ICLR 2023). For networks with
batch norm the article's correction is to make its statistics anew at every point: give `landscape`
and `average` the need `train`. For networks without batch norm `landscape` has `repair: activations`.

`metrics.parquet` has `sweeps`, and the distance and the cosine of the two networks, over all that is
trained, before and after (`distance_before`, `distance`, `cosine_before`, `cosine`).
"#;
