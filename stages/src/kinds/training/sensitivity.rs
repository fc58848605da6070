//! The kind `sensitivity`: how much a small change of an image moves the outputs, row by row.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device::{self, Device};
use crate::facts::{Fact, Findings, Known, MetricsFact, shown};
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::nn::model::Model;
use crate::nn::network::{Network, Norms};
use crate::table;
use crate::task::Task;
use crate::training::batches::InOrder;
use crate::training::evaluation::check_data;
use crate::training::gradients::{self, Objective};
use repro_protocol::table::Row;

/// See the module.
pub struct Sensitivity;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Images shown, the first ones, or all where there are fewer. Each costs a pass forward and
    /// backward for every output.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub images: usize,
}

fn hundred() -> usize {
    100
}

/// A norm below this, which f32 does not tell from 0, counts as this.
const LEAST: f64 = 1e-45;

impl Kind for Sensitivity {
    type Params = Params;
    const NAME: &'static str = "sensitivity";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Measures how much a small change of an image, row by row, moves the outputs of a network.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("model", "The model."),
        InputSpec::required("data", "The data; several are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let zero = (p.images == 0).then_some("must be at least 1");
        let problem = zero.map(|text| ParamProblem::new(&["images"], text, ""));
        problem.into_iter().collect()
    }

    fn facts(_: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        shown("data", known, &mut found);
        let values = ["sensitivity", "sensitivity[*]", "growth"].map(|name| (None, name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let model = Model::read(&task.input("model")?.path)?;
        check_data(&data, &model.architecture.identity, "data")?;
        let height = model.architecture.identity.input.height;
        let architecture = Arc::new(model.architecture);
        let network = Network::load(&device::open()?, architecture, &model.tensors)?;
        let images = p.images.min(data.len());
        // ln of the norm of each row's derivative, and of the whole image's, summed over images.
        let (mut of_rows, mut of_image) = (vec![0.0; height], 0.0);
        for squares in jacobians(&network, &data, images, height)? {
            let ln_norm = |squares: f64| libm::log(squares.sqrt().max(LEAST));
            for (sum, squares) in of_rows.iter_mut().zip(&squares) {
                *sum += ln_norm(*squares);
            }
            of_image += ln_norm(squares.iter().sum());
        }
        let mean = |sum: f64| sum / images as f64;
        let row = |name: String, value: f64| Row {
            name,
            value,
            ..Row::default()
        };
        let mut rows = vec![row("sensitivity".into(), libm::exp(mean(of_image)))];
        for (i, sum) in of_rows.iter().enumerate() {
            let name = format!("sensitivity[{}]", i + 1);
            rows.push(row(name, libm::exp(mean(*sum))));
        }
        if let [first, .., last] = of_rows[..] {
            let growth = (mean(first) - mean(last)) / (height - 1) as f64;
            rows.push(row("growth".into(), growth));
        }
        table::write(task.output("metrics")?, &rows)
    }
}

/// Images at once.
const BATCH: usize = 64;

/// For each of the first images and each of its rows, the squared derivatives of all outputs by all
/// values of the row, summed in f64 in order.
fn jacobians(
    network: &Network<Device>,
    data: &Dataset,
    images: usize,
    height: usize,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let (pool, in_order) = (device::Pool::default(), InOrder::new(data));
    let outputs = network.architecture().identity.outputs.width();
    let mut squares = vec![vec![0.0; height]; images];
    for first in (0..images).step_by(BATCH) {
        let rows = BATCH.min(images - first);
        for output in 0..outputs {
            let mut one = vec![0.0; rows * outputs];
            one[output..]
                .iter_mut()
                .step_by(outputs)
                .for_each(|w| *w = 1.0);
            let fill = |to: &mut [f32]| in_order.write(first, to);
            let (of, mode) = (Objective::Outputs(&one), Norms::Running.into());
            let slopes = gradients::of_inputs(network, &pool, rows, fill, of, mode)?;
            let images = slopes.chunks_exact(data.features());
            for (image, squares) in images.zip(&mut squares[first..]) {
                let lines = image.chunks_exact(data.features() / height);
                for (line, squares) in lines.zip(squares) {
                    *squares += line
                        .iter()
                        .map(|g| f64::from(*g) * f64::from(*g))
                        .sum::<f64>();
                }
            }
        }
    }
    Ok(squares)
}

const DOC: &str = r#"
Takes the derivatives of all outputs (logits before softmax) by every value of an image, exactly, by one backward pass for each output,
and sums them up by the rows of the image: `s[t] = ‖∂outputs/∂x[t]‖` (Frobenius norm) for row `t`, counted from 1 at the top. Values
are normalised as in training; batch norm uses its running statistics, and there is no dropout.

```yaml
first: {uses: train, matrix: {scale: [0.5, 1, 2, 4]}, needs: {train: data.train}, with: {model: {rnn: {units: 64}}, init: {orthogonal: {}},
        first_weights: {scales: {"*recurrent": "${matrix.scale}"}}, seed: 1, length: {epochs: 0}, optimizer: {sgd: {lr: 0.1}}}}
reach: {uses: sensitivity, matrix: {scale: [0.5, 1, 2, 4]}, needs: {model: first.model, data: data.train}}
```

`metrics.parquet` holds `sensitivity[t]`, `sensitivity` of the whole image (both are geometric means over images, because norms differ by
orders of magnitude between them), and `growth = (ln s[1] − ln s[T]) / (T − 1)`. For the network `rnn` rows are steps in time, and `growth`
is the Lyapunov exponent over the length of an image: how much faster a change of the first row grows, per step, than one of the last.
Below 0 the network forgets; above 0 a change grows without end, which is chaos (Sompolinsky, Crisanti & Sommers 1988: without inputs, a
large network of tanh units is chaotic where the standard deviation of its weights times √units is above 1; Goodfellow, Bengio & Courville
2016, section 8.4: "in recurrent networks, large weights can also result in chaos"). A norm below 1e-45, which f32 does not tell from 0,
counts as that.
"#;
