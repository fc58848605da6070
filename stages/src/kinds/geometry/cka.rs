//! The kind `cka`: how alike two networks' layers are, by what they make of the same images.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, fit, refuse};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::architecture::Architecture;
use crate::nn::model::Model;
use crate::nn::network::Norms;
use crate::table;
use crate::task::Task;
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape};
use repro_numerics::kernels::{Path, dense};
use repro_protocol::table::Row;

/// See the module.
pub struct Cka;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of the choice of images.
    pub seed: u64,
    /// Images shown, or all where there are fewer. Work and memory grow with their square.
    #[serde(default = "images")]
    #[schemars(range(min = 2, max = 10000))]
    pub images: usize,
    /// Which layers are compared with which.
    #[serde(default)]
    pub pairs: Pairs,
}

/// Which layers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Those of one name.
    #[default]
    SameName,
    /// Each of `model` with each of `like`.
    All,
}

fn images() -> usize {
    512
}

/// Images at once; the network is as in an evaluation, so it makes no difference.
const BATCH: usize = 128;

impl Kind for Cka {
    type Params = Params;
    const NAME: &'static str = "cka";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Compares two networks layer by layer, by centred kernel alignment (Kornblith et al. 2019).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "A model."),
        InputSpec::required("like", "Another one; it may have another shape."),
        InputSpec::required("data", "The data; several are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        match p.images {
            2..=10_000 => Vec::new(),
            n => {
                let message = format!("must be 2 to 10000, got {n}");
                vec![ParamProblem::new(&["images"], message, "")]
            }
        }
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let mut names: Vec<Option<Vec<String>>> = Vec::new();
        for need in ["model", "like"] {
            let model = known.first_model(need, false, &mut found);
            let identity = model.and_then(|model| model.identity);
            fit("data", identity.as_ref(), known, &mut found);
            let architecture = identity.and_then(|identity| Architecture::new(identity).ok());
            names.push(architecture.map(|architecture| {
                let weights = architecture.parameters.iter();
                let weights = weights.filter(|p| p.role.is_weight());
                weights.map(|p| p.layer().to_owned()).collect()
            }));
        }
        if let (Pairs::SameName, [Some(here), Some(there)]) = (p.pairs, &names[..])
            && !here.iter().any(|name| there.contains(name))
        {
            refuse(("like", 0), nothing_shared(here, there), &mut found);
        }
        let metrics = MetricsFact::once(&[(None, "cka"), (None, "cka[*]")]);
        found.say("metrics", Fact::Metrics(metrics));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let of = |need: &str| layers(&task.input(need)?.path, &data, p);
        let (model, like) = (of("model")?, of("like")?);
        let mut rows = Vec::new();
        for here in &model {
            for there in &like {
                let name = match p.pairs {
                    Pairs::SameName if here.name == there.name => here.name.clone(),
                    Pairs::SameName => continue,
                    Pairs::All => format!("{},{}", here.name, there.name),
                };
                rows.push((format!("cka[{name}]"), alignment(here, there)));
            }
        }
        if rows.is_empty() {
            let names = |layers: &[Layer]| Vec::from_iter(layers.iter().map(|l| l.name.clone()));
            return Err(nothing_shared(&names(&model), &names(&like)).into());
        }
        if p.pairs == Pairs::SameName {
            let mean = rows.iter().map(|(_, value)| value).sum::<f64>() / rows.len() as f64;
            rows.insert(0, ("cka".to_owned(), mean));
        }
        let rows = rows.into_iter().map(|(name, value)| Row {
            name,
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &rows.collect::<Vec<_>>())
    }
}

/// Two networks none of whose layers have one name.
fn nothing_shared(here: &[String], there: &[String]) -> Failure {
    let text = format!(
        "no layer has the same name in both models: one has {}, the other {}",
        here.join(", "),
        there.join(", ")
    );
    Failure::new(text).hint("compare each with each: `with: {pairs: all}`")
}

/// A layer, by how alike it finds each two images.
struct Layer {
    name: String,
    /// `X·Xᵀ` of its outputs without their means, `[images, images]`.
    gram: Vec<f32>,
    /// `‖X·Xᵀ‖²`.
    squares: f64,
}

/// The layers of a model that have weights, in their order.
fn layers(path: &std::path::Path, data: &Dataset, p: &Params) -> anyhow::Result<Vec<Layer>> {
    let model = Model::read(path)?;
    check_data(data, &model.architecture.identity, "data")?;
    let architecture = Arc::new(model.architecture);
    let device = device::open()?;
    let landscape = Landscape::new(&device, &architecture, &model.tensors, Norms::Running)?;
    let mut batches = Batches::new(data, p.seed, BATCH.min(data.len()), Augment::default());
    let images = p.images.min(data.len());
    // By weight, then by image: a recurrent weight has outputs at every time.
    let mut outputs = vec![vec![Vec::new(); images]; architecture.parameters.len()];
    for step in 0..images.div_ceil(BATCH) {
        let batch = Batch::of(&mut batches, 0, step as u64);
        let mut see = |weight: usize, values: &[f32]| {
            let rows = values.chunks_exact(values.len() / batch.rows);
            for (all, row) in outputs[weight][step * BATCH..].iter_mut().zip(rows) {
                all.extend_from_slice(row);
            }
        };
        landscape.watch(&batch, &mut see)?;
    }
    let parameters = architecture.parameters.iter().zip(outputs);
    let weights = parameters.filter(|(parameter, _)| parameter.role.is_weight());
    let layers = weights.map(|(parameter, outputs)| {
        let gram = gram(&mut outputs.concat(), outputs[0].len());
        let squares = product(&gram, &gram);
        Layer {
            name: parameter.layer().to_owned(),
            gram,
            squares,
        }
    });
    Ok(layers.collect())
}

/// `X·Xᵀ` of rows of so many features, whose means over the rows are taken away in f64.
fn gram(x: &mut [f32], features: usize) -> Vec<f32> {
    let rows = x.len() / features;
    let mut means = vec![0.0; features];
    for row in x.chunks_exact(features) {
        for (mean, x) in means.iter_mut().zip(row) {
            *mean += f64::from(*x);
        }
    }
    for row in x.chunks_exact_mut(features) {
        for (mean, x) in means.iter().zip(row) {
            *x = (f64::from(*x) - mean / rows as f64) as f32;
        }
    }
    let transposed: Vec<f32> = (0..x.len())
        .map(|at| x[at % rows * features + at / rows])
        .collect();
    let mut gram = vec![0.0; rows * rows];
    let path = Path::current();
    dense::forward(path, features, rows, x, &transposed, None, &mut gram);
    gram
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Linear CKA; 0 where a layer says the same of all images.
fn alignment(a: &Layer, b: &Layer) -> f64 {
    match (a.squares * b.squares).sqrt() {
        0.0 => 0.0,
        norm => product(&a.gram, &b.gram) / norm,
    }
}

const DOC: &str = r#"
Shows the same images to two networks and says, layer by layer, how alike their outputs are: linear
centred kernel alignment (Kornblith, Norouzi, Lee & Hinton, *Similarity of Neural Network
Representations Revisited*, ICML 2019, equation 5). With `X` and `Y` the outputs of two layers
before the activation, a row for each image (of a convolution, all positions and channels), less the
mean of each column:

    CKA = ‖Yᵀ·X‖² / (‖Xᵀ·X‖ · ‖Yᵀ·Y‖)

It is 1 where one is the other rotated, mirrored and scaled as a whole, so the order of units does
not count; it is 0 where neither says anything of the other. Norms are Frobenius norms.

```yaml
alike: {uses: cka, needs: {model: left.model, like: right.model, data: data.test}, with: {seed: 1}}
map:   {uses: cka, needs: {model: left.model, like: right.model, data: data.test}, with: {seed: 1, pairs: all}}
```

`metrics.parquet` has `cka[LAYER]` for every layer that both have, by name, and their mean `cka`.
With `pairs: all` it has `cka[LAYER,OTHER]` for each layer of `model` and each of `like`, which may
be networks of different shapes. The value depends on how many images are shown: with few it is too
high (compare what was measured with the same `images` only). Images are chosen by the seed, dropout
is off, and batch norm has its running statistics. Products of outputs are computed in f32 as those
of a layer are, sums of these products in f64.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(mut x: Vec<f32>, features: usize) -> Layer {
        let gram = gram(&mut x, features);
        let squares = product(&gram, &gram);
        Layer {
            name: "x".into(),
            gram,
            squares,
        }
    }

    const X: [f32; 8] = [1.0, 2.0, -1.0, 0.5, 3.0, -2.0, 0.0, 1.0];

    /// By the equation in plain Python:
    ///
    /// ```python
    /// x = [[1, 2], [-1, .5], [3, -2], [0, 1]]; y = [[2, 0, 1], [1, 1, 1], [-1, 2, 0], [0, 0, 3]]
    /// def centred(m):
    ///     means = [sum(c) / len(m) for c in zip(*m)]
    ///     return [[v - u for v, u in zip(r, means)] for r in m]
    /// def squares(a, b):  # of the Frobenius norm of transposed a times b
    ///     return sum(sum(r[i] * s[j] for r, s in zip(a, b)) ** 2 for i in range(len(a[0])) for j in range(len(b[0])))
    /// x, y = centred(x), centred(y)
    /// print(squares(x, y) / (squares(x, x) * squares(y, y)) ** .5)
    /// ```
    #[test]
    fn as_the_equation_says() {
        let y = [2.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 3.0];
        let (x, y) = (layer(X.to_vec(), 2), layer(y.to_vec(), 3));
        let found = alignment(&x, &y);
        assert!((found - WANT).abs() < 1e-6, "{found}");
        assert_eq!(found, alignment(&y, &x));
    }

    const WANT: f64 = 0.7578820617786267;

    /// Turned by 3-4-5, mirrored, scaled and moved, it is the same; what is constant is like nothing.
    #[test]
    fn turning_scaling_and_moving_change_nothing() {
        let turned = X.chunks(2).flat_map(|row| {
            let (a, b) = (row[0], row[1]);
            [
                7.0 * (0.6 * a - 0.8 * b) + 3.0,
                -7.0 * (0.8 * a + 0.6 * b) - 1.0,
            ]
        });
        let (x, turned) = (layer(X.to_vec(), 2), layer(turned.collect(), 2));
        for (a, b) in [(&x, &x), (&x, &turned)] {
            assert!((alignment(a, b) - 1.0).abs() < 1e-6);
        }
        let constant = layer(vec![2.0; 8], 2);
        assert_eq!(alignment(&x, &constant), 0.0);
    }
}
