//! The kind `sharpness`: how curved the loss is around a model.
//!
//! Decides what is measured there; `training/landscape.rs` has the loss and its derivatives, and
//! `lanczos.rs` the spectrum.

mod lanczos;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, shown};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::architecture::Architecture;
use crate::nn::model::Model;
use crate::nn::network::Norms;
use crate::ops::Backend;
use crate::table;
use crate::task::Task;
use crate::training::evaluation::check_data;
use crate::training::landscape::{Batch, Landscape, Vector, moved, norm};
use repro_numerics::exact::rng::Stream;
use repro_protocol::job::Event;
use repro_protocol::table::Row;

/// See the module.
pub struct Sharpness;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Of all that is drawn: Lanczos' first vector, the probes and the directions.
    pub seed: u64,
    /// Images of the loss, the first ones, or all where there are fewer.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    pub images: usize,
    /// Steps of Lanczos' iteration, each a product with the Hessian.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub steps: usize,
    /// Vectors of Hutchinson's estimate of the trace, each a product with the Hessian; 0 for no
    /// trace.
    #[serde(default = "ten")]
    pub probes: usize,
    /// Half the way between the two gradients of a product, as a share of the norm of all
    /// parameters.
    #[serde(default = "thousandth")]
    pub epsilon: f64,
    /// How far away the loss is measured as well, in the space of all weights; none unless given.
    #[serde(default)]
    pub distances: Vec<f64>,
    /// Random directions in which it is measured there.
    #[serde(default = "ten")]
    #[schemars(range(min = 1))]
    pub directions: usize,
    /// What the column `split` says.
    #[serde(default = "train")]
    pub split: String,
}

fn thousand() -> usize {
    1000
}

fn twenty() -> usize {
    20
}

fn ten() -> usize {
    10
}

fn thousandth() -> f64 {
    0.001
}

fn train() -> String {
    "train".into()
}

/// Images at once. Part of the definition of the bits: gradients are means of batches.
const BATCH: usize = 250;

impl Kind for Sharpness {
    type Params = Params;
    const NAME: &'static str = "sharpness";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Measures how curved the loss is around a model: eigenvalues and trace of the Hessian.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model."),
        InputSpec::required("data", "The data; several are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut found = Vec::new();
        let mut check = |name: &str, is_good: bool, message: &str| {
            if !is_good {
                found.push(ParamProblem::new(&[name], message, ""));
            }
        };
        check("images", p.images >= 1, "must be at least 1");
        check("directions", p.directions >= 1, "must be at least 1");
        check("steps", (1..=1000).contains(&p.steps), "must be 1 to 1000");
        let is_above = |x: f64| x.is_finite() && x > 0.0;
        check("epsilon", is_above(p.epsilon), "must be finite and above 0");
        let far = p.distances.iter().all(|x| is_above(*x));
        check("distances", far, "must be finite and above 0");
        check("split", !p.split.is_empty(), "must not be empty");
        found
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        shown("data", known, &mut found);
        let split = Some(p.split.as_str());
        let mut names = vec![
            "loss",
            "gradient_norm",
            "top_eigenvalue",
            "least_eigenvalue",
            "change",
        ];
        if p.probes > 0 {
            names.extend(["trace", "trace_error"]);
        }
        if !p.distances.is_empty() {
            names.push("loss_rise[*]");
        }
        let values: Vec<_> = names.into_iter().map(|name| (split, name)).collect();
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "data")?;
        let architecture = Arc::new(model.architecture);
        let landscape = Landscape::new(
            &device::open()?,
            &architecture,
            &model.tensors,
            Norms::Running,
        )?;
        let images = p.images.min(data.len());
        let mut whole = Whole {
            at: landscape.values(),
            landscape,
            batches: Batch::in_order(&data, images, BATCH),
            images,
            epsilon: p.epsilon,
        };
        let rows = measure(p, &architecture, &mut whole, task)?;
        table::write(task.output("metrics")?, &rows)
    }
}

/// The mean loss over all batches.
struct Whole<D: Backend> {
    landscape: Landscape<D>,
    /// Where the model is.
    at: Vector,
    batches: Vec<Batch>,
    images: usize,
    epsilon: f64,
}

impl<D: Backend> Whole<D> {
    fn share(&self, batch: &Batch) -> f64 {
        batch.rows as f64 / self.images as f64
    }

    /// The loss `by·direction` away from the model.
    fn loss(&mut self, direction: &Vector, by: f64) -> anyhow::Result<f64> {
        self.landscape.set(&moved(&self.at, direction, by))?;
        let mut sum = 0.0;
        for batch in &self.batches {
            sum += self.share(batch) * self.landscape.loss(batch)?;
        }
        self.landscape.set(&self.at)?;
        Ok(sum)
    }

    /// Loss and gradient at the model.
    fn gradient(&self) -> anyhow::Result<(f64, Vec<f64>)> {
        let (mut loss, mut sum) = (0.0, Vec::new());
        for batch in &self.batches {
            let (here, gradient) = self.landscape.gradient(batch)?;
            loss += self.share(batch) * here;
            let gradient = gradient.iter().flatten().map(|g| f64::from(*g));
            add(&mut sum, self.share(batch), gradient);
        }
        Ok((loss, sum))
    }

    /// The Hessian times a vector.
    fn hessian_times(&mut self, v: &[f64]) -> anyhow::Result<Vec<f64>> {
        let v = shaped(&self.at, v);
        let mut sum = Vec::new();
        for batch in &self.batches {
            let share = self.share(batch);
            let product = self.landscape.hessian_times(&v, batch, self.epsilon)?;
            add(&mut sum, share, product.into_iter().flatten());
        }
        Ok(sum)
    }
}

/// `sum + share·values`; an empty sum is 0.
fn add(sum: &mut Vec<f64>, share: f64, values: impl Iterator<Item = f64>) {
    if sum.is_empty() {
        sum.extend(values.map(|x| share * x));
        return;
    }
    for (sum, x) in sum.iter_mut().zip(values) {
        *sum += share * x;
    }
}

/// Numbers in one row as a vector in the space of all parameters.
fn shaped(like: &Vector, values: &[f64]) -> Vector {
    let mut rest = values.iter();
    let of_tensor = |tensor: &Vec<f32>| {
        let numbers = rest.by_ref().take(tensor.len());
        numbers.map(|x| *x as f32).collect()
    };
    like.iter().map(of_tensor).collect()
}

/// Numbers for all that is trained, 0 for the rest, in memory order.
fn drawn(architecture: &Architecture, mut draw: impl FnMut() -> f32) -> Vector {
    let of_tensor = |p: &crate::nn::layer::Parameter| {
        let len = p.shape.iter().product();
        match p.role.is_trained() {
            true => std::iter::repeat_with(&mut draw).take(len).collect(),
            false => vec![0.0; len],
        }
    };
    architecture.parameters.iter().map(of_tensor).collect()
}

fn flat(vector: &Vector) -> Vec<f64> {
    vector.iter().flatten().map(|x| f64::from(*x)).collect()
}

fn measure<D: Backend>(
    p: &Params,
    architecture: &Architecture,
    whole: &mut Whole<D>,
    task: &mut Task,
) -> anyhow::Result<Vec<Row>> {
    let (total, mut done) = ((p.steps + p.probes) as u64, 0);
    let mut tell = |of: &str| {
        done += 1;
        task.send(&Event::Progress {
            done,
            total: Some(total),
            unit: "products".into(),
            text: of.to_owned(),
        });
    };
    let (loss, gradient) = whole.gradient()?;
    let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let mut found = vec![("loss".to_owned(), loss), ("gradient_norm".into(), size)];

    let mut stream = Stream::new(p.seed, "lanczos", 0, 0);
    let start = flat(&drawn(architecture, || stream.normal()));
    let ends = lanczos::ends(&start, p.steps, |v| {
        tell("eigenvalues");
        whole.hessian_times(v)
    })?;
    found.extend([
        ("top_eigenvalue".to_owned(), ends.top),
        ("least_eigenvalue".into(), ends.least),
        ("change".into(), ends.change.min(f64::MAX)),
    ]);

    let mut traces = Vec::new();
    for probe in 0..p.probes {
        let mut stream = Stream::new(p.seed, "hutchinson", probe as u64, 0);
        let sign = || [1.0, -1.0][(stream.next_u32() & 1) as usize];
        let signs = flat(&drawn(architecture, sign));
        let product = whole.hessian_times(&signs)?;
        traces.push(signs.iter().zip(&product).map(|(a, b)| a * b).sum::<f64>());
        tell("trace");
    }
    if !traces.is_empty() {
        let n = traces.len() as f64;
        let mean = traces.iter().sum::<f64>() / n;
        let squares = traces.iter().map(|t| (t - mean) * (t - mean));
        let variance = squares.sum::<f64>() / (n - 1.0).max(1.0);
        found.push(("trace".into(), mean));
        found.push(("trace_error".into(), (variance / n).sqrt()));
    }

    let mut rises = vec![0.0; p.distances.len()];
    for number in 0..p.directions * usize::from(!rises.is_empty()) {
        let mut stream = Stream::new(p.seed, "perturbation", number as u64, 0);
        let direction = drawn(architecture, || stream.normal());
        let size = norm(&direction);
        for (rise, distance) in rises.iter_mut().zip(&p.distances) {
            *rise += whole.loss(&direction, distance / size)? - loss;
        }
    }
    for (rise, distance) in rises.iter().zip(&p.distances) {
        let name = format!("loss_rise[{distance}]");
        found.push((name, rise / p.directions as f64));
    }
    let row = |(name, value)| Row {
        split: Some(p.split.clone()),
        name,
        value,
        ..Row::default()
    };
    Ok(found.into_iter().map(row).collect())
}

const DOC: &str = r#"
Measures the loss around a model: its mean over the first `images` images, unchanged and in order,
with batch norm's running statistics and without dropout (cross-entropy in nats, or squared error).

```yaml
sharp: {uses: sharpness, matrix: {seed: [0, 1, 2]}, needs: {model: train.model, data: data.train}, with: {seed: "${matrix.seed}", distances: [1, 2]}}
```

`metrics.parquet` holds, of the Hessian H of that loss by everything that is trained:

| name | what it is |
| --- | --- |
| `top_eigenvalue`, `least_eigenvalue` | the ends of the spectrum, after `steps` steps of Lanczos' iteration with full orthogonalisation, from a random vector (Lanczos 1950; Ghorbani, Krishnan & Xiao 2019) |
| `change` | how far the last step moved the largest eigenvalue, in parts of it: take more steps if it is not small |
| `trace`, `trace_error` | the mean of vᵀHv over `probes` random vectors of ±1, and its standard error (Hutchinson 1990; Yao et al., *PyHessian*, 2020) |
| `loss`, `gradient_norm` | at the model |
| `loss_rise[r]` | for each `r` of `distances`: the mean of L(w + r·d) − L(w) over `directions` random directions d of length 1, normal in all that is trained |

The ends of the spectrum come from inside: what Lanczos gives is never beyond the true ones, up to
rounding. All distances and curvatures are in the space of the weights as they are. Networks with
batch norm or relu can be scaled without changing what they compute (Dinh et al. 2017), so compare
models of one training recipe.

**Products with the Hessian** are central differences of two gradients, (∇L(θ + δv) − ∇L(θ − δv)) /
2δ with δ = `epsilon`·‖θ‖₂/‖v‖₂, whose error is of order δ². Tests hold them, the eigenvalues and the
trace against PyTorch's double backward in f64. Where activations have a kink (relu) the difference
sees the kinks within δ, and double backward does not. The iteration keeps `steps` vectors as long as
all weights, in f64.
"#;
