//! The kind `ensemble`: what several networks say together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, Recorded, ValueFact};
use crate::facts::{check_all, refuse, together};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::{network, several};
use crate::nn::architecture::Identity;
use crate::table;
use crate::task::Task;
use crate::training::calibration::{Calibration, argmax};
use crate::training::evaluation::{View, logits};
use repro_numerics::exact::math::{exp_f64, ln_f64};
use repro_protocol::table::Row;

/// See the module.
pub struct Ensemble;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What the column `split` says.
    #[serde(default = "test")]
    pub split: String,
    /// How each network sees an image: test-time augmentation.
    #[serde(default)]
    pub views: Views,
    /// Also the reliability diagram; see `evaluate`.
    #[serde(default, skip_serializing_if = "is_no")]
    #[schemars(extend("default" = false))]
    pub calibration: bool,
    /// The network, for files that do not say it themselves: a PyTorch state dict in safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Identity>,
}

/// How each network sees an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Views {
    /// As it is.
    #[default]
    AsIs,
    /// As it is and with left and right exchanged; both count the same.
    Mirrored,
}

impl Views {
    fn all(self) -> &'static [View] {
        match self {
            Views::AsIs => &[View::AsIs],
            Views::Mirrored => &[View::AsIs, View::Mirrored],
        }
    }
}

fn is_no(value: &bool) -> bool {
    !value
}

fn test() -> String {
    "test".into()
}

/// What is measured; the reliability diagram where it is asked for.
const VALUES: [&str; 11] = [
    "loss",
    "accuracy",
    "accuracy[*]",
    "nll",
    "ece",
    "member_accuracy",
    "member_nll",
    "disagreement",
    "reliability_images[*]",
    "reliability_confidence[*]",
    "reliability_accuracy[*]",
];

impl Kind for Ensemble {
    type Params = Params;
    const NAME: &'static str = "ensemble";
    const REVISION: u32 = 2;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str =
        "Averages the predictions of several models, and says how far these disagree.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The models. They may differ in shape. A directory (`checkpoints`, `samples`) stands for all its files.").many(),
        InputSpec::required("data", "The data; several sets are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![OutputSpec::new("metrics", "metrics.parquet")?])
    }

    fn validate(params: &Params, _: &[String]) -> Vec<ParamProblem> {
        if params.split.is_empty() {
            return vec![ParamProblem::new(&["split"], "must not be empty", "")];
        }
        network::problems(params.network.as_ref())
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let is_named = params.network.is_some();
        let (models, _) = known.collections("models", is_named, &mut found);
        let data = known.data("data", &mut found);
        together(&data, "data", &mut found);
        for (item, model) in models.into_iter().enumerate() {
            let model = network::known(model, params.network.as_ref(), &mut found);
            if found.problems.is_empty() {
                check_all(&data, model.identity.as_ref(), "data", &mut found);
            }
            if found.problems.is_empty()
                && let Some(failure) = model.identity.as_ref().and_then(several::gives_numbers)
            {
                refuse(("models", item), failure, &mut found);
            }
        }
        let value = |name: &str| ValueFact {
            split: Some(params.split.clone()),
            name: name.to_owned(),
            recorded: Recorded::Once,
        };
        let is_said = |name: &&&str| params.calibration || !name.starts_with("reliability");
        let values = VALUES.iter().filter(is_said).map(|name| value(name));
        let values = Some(values.collect());
        let metrics = MetricsFact {
            values,
            ..MetricsFact::default()
        };
        found.say("metrics", Fact::Metrics(metrics));
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let mut said = Said::new(&data);
        if params.views == Views::Mirrored && data.info().shape.is_table() {
            let text = "`views: mirrored` is about images, and the data are a table";
            return Err(Failure::new(text).hint("take `views` out").into());
        }
        for (at, path) in several::files(task.inputs("models"))?.iter().enumerate() {
            let network = several::classifier((at + 1, path), params.network.as_ref(), &data)?;
            let pool = device::Pool::default();
            let views = params.views.all().iter();
            let views = views.map(|view| logits(&pool, &network, &data, *view));
            said.add(&views.collect::<anyhow::Result<Vec<_>>>()?);
        }
        let together = said.together();
        let mut values = said.rows(&together);
        if params.calibration {
            values.extend(together.sure.reliability());
        }
        let rows = values.into_iter().map(|(name, value)| Row {
            split: Some(params.split.clone()),
            name,
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &rows.collect::<Vec<_>>())
    }
}

/// How the mean of all members does.
struct Together {
    sure: Calibration,
    /// Of every class the images that are answered right, and all.
    by_class: Vec<(u64, u64)>,
}

/// What the members say of every image.
struct Said<'a> {
    data: &'a Dataset,
    classes: usize,
    /// Σ over members of the probabilities, `[images, classes]`.
    probabilities: Vec<f64>,
    /// Of each member the answer to every image.
    answers: Vec<Vec<u32>>,
    nlls: Vec<f64>,
}

impl<'a> Said<'a> {
    fn new(data: &'a Dataset) -> Said<'a> {
        let classes = data.class_count();
        Said {
            data,
            classes,
            probabilities: vec![0.0; data.len() * classes],
            answers: Vec::new(),
            nlls: Vec::new(),
        }
    }

    /// A member's logits, for each of its views.
    fn add(&mut self, views: &[Vec<f32>]) {
        let (mut answers, mut nll) = (Vec::new(), 0.0);
        let share = 1.0 / views.len() as f64;
        for (image, &label) in self.data.labels().iter().enumerate() {
            let at = image * self.classes;
            let mut own = vec![0.0; self.classes];
            for view in views {
                let row = &view[at..][..self.classes];
                for (own, p) in own.iter_mut().zip(softmax(row)) {
                    *own += share * p;
                }
            }
            answers.push(argmax(&own) as u32);
            nll -= surprise(own[label as usize]);
            let all = &mut self.probabilities[at..][..self.classes];
            all.iter_mut().zip(&own).for_each(|(all, own)| *all += own);
        }
        self.answers.push(answers);
        self.nlls.push(nll / self.data.len() as f64);
    }

    /// How the mean of all does.
    fn together(&self) -> Together {
        let members = self.answers.len() as f64;
        let labels = self.data.labels();
        let mut sure = Calibration::default();
        let mut by_class = vec![(0u64, 0u64); self.classes];
        for (row, &label) in self.probabilities.chunks_exact(self.classes).zip(labels) {
            let mean: Vec<f64> = row.iter().map(|p| p / members).collect();
            let answer = argmax(&mean);
            let class = &mut by_class[label as usize];
            class.0 += u64::from(answer == label as usize);
            class.1 += 1;
            let surprise = -surprise(mean[label as usize]);
            sure.add_mixed(mean[answer], answer == label as usize, surprise);
        }
        Together { sure, by_class }
    }

    /// All values but the reliability diagram.
    fn rows(&self, together: &Together) -> Vec<(String, f64)> {
        let (members, images) = (self.answers.len() as f64, self.data.len() as f64);
        let labels = self.data.labels();
        let Together { sure, by_class } = together;
        let right = |answers: &Vec<u32>| {
            let right = answers.iter().zip(labels).filter(|(a, l)| a == l);
            right.count() as f64 / images
        };
        let mut rows = vec![
            ("loss".to_owned(), sure.nll()),
            (
                "accuracy".to_owned(),
                by_class.iter().map(|c| c.0).sum::<u64>() as f64 / images,
            ),
        ];
        for (name, (right, all)) in self.data.info().classes.iter().zip(by_class) {
            if *all > 0 {
                rows.push((format!("accuracy[{name}]"), *right as f64 / *all as f64));
            }
        }
        rows.push(("nll".to_owned(), sure.nll()));
        rows.push(("ece".to_owned(), sure.ece()));
        let accuracies = self.answers.iter().map(right);
        rows.push((
            "member_accuracy".to_owned(),
            accuracies.sum::<f64>() / members,
        ));
        rows.push((
            "member_nll".to_owned(),
            self.nlls.iter().sum::<f64>() / members,
        ));
        if let Some(disagreement) = self.disagreement() {
            rows.push(("disagreement".to_owned(), disagreement));
        }
        rows
    }

    /// The mean over pairs of members of the share of images to which they answer differently.
    fn disagreement(&self) -> Option<f64> {
        let (mut differing, mut compared) = (0, 0);
        for (i, one) in self.answers.iter().enumerate() {
            for other in &self.answers[..i] {
                differing += one.iter().zip(other).filter(|(a, b)| a != b).count();
                compared += one.len();
            }
        }
        (compared > 0).then(|| differing as f64 / compared as f64)
    }
}

/// ln p; of the smallest p that is a number where p is 0.
fn surprise(p: f64) -> f64 {
    ln_f64(p.max(f64::MIN_POSITIVE))
}

/// The probabilities of a row of logits, in f64.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let lower = |x: &f32| exp_f64(f64::from(*x) - f64::from(largest));
    let parts: Vec<f64> = logits.iter().map(lower).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

const DOC: &str = r#"
The mean of what several networks say: of their probabilities, the softmax of each network's outputs
(deep ensembles: Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017). Networks may come from several
trainings, be checkpoints of one (fast geometric ensembling, Garipov et al. 2018: a cyclic rate and its
checkpoints; snapshot ensembles, Huang et al. 2017) or be drawn (`swag`).

```yaml
deep: {uses: ensemble, needs: {models: "train[*].model", data: data.test}}
fge: {uses: ensemble, needs: {models: cyclic.checkpoints, data: data.test}}
```

`metrics` has `accuracy` and `accuracy[CLASS]` of the mean (where probabilities tie, the lowest class
is the answer), `nll` (the mean of -ln p of the labels in nats; `loss` is the same number) and `ece` (as
in `evaluate`); `member_accuracy` and `member_nll`, the means over the networks alone; and
`disagreement`, the mean over pairs of networks of the share of images to which they answer differently
(Fort, Hu & Lakshminarayanan 2019, not divided by the error). All sums are in f64, over networks and
images in order; a p of 0 counts as 2.2e-308. `calibration: true` adds the reliability diagram, as in
`evaluate`.

`views: mirrored` is test-time augmentation: each network sees every image as it is and mirrored, and
its own probabilities are the mean of both.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ImageShape, Info};

    fn data(labels: &[u8]) -> Dataset {
        of_classes(&["a", "b", "c"], labels)
    }

    fn of_classes<L: Into<u32> + Copy>(classes: &[&str], labels: &[L]) -> Dataset {
        let info = Info {
            name: "points".into(),
            shape: ImageShape {
                height: 1,
                width: 1,
                channels: 1,
            },
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
            mean: vec![0.5],
            std: vec![0.5],
            columns: Vec::new(),
            targets: Vec::new(),
        };
        let n = labels.len();
        Dataset::new(info, vec![0; n], labels.to_vec(), (0..n as u32).collect()).unwrap()
    }

    /// By
    /// ```python
    /// import torch, torch.nn.functional as F
    /// a = torch.tensor([[2., 0, 0], [0, 1, 0], [3, 0, 0], [0, 0, .5]]).double()
    /// b = torch.tensor([[0., 1, 0], [0, 2, 0], [1, 2, 0], [0, 1, .5]]).double()
    /// y = torch.tensor([0, 1, 1, 2])
    /// p = (F.softmax(a, 1) + F.softmax(b, 1)) / 2
    /// print(F.nll_loss(p.log(), y).item(), (p.argmax(1) == y).double().mean().item())
    /// print((F.cross_entropy(a, y) + F.cross_entropy(b, y)).item() / 2)
    /// print((a.argmax(1) != b.argmax(1)).double().mean().item())
    /// ```
    #[test]
    fn what_two_say_together_is_pytorchs() {
        let data = data(&[0, 1, 1, 2]);
        let mut said = Said::new(&data);
        said.add(&[vec![2., 0., 0., 0., 1., 0., 3., 0., 0., 0., 0., 0.5]]);
        said.add(&[vec![0., 1., 0., 0., 2., 0., 1., 2., 0., 0., 1., 0.5]]);
        let rows = said.rows(&said.together());
        let of = |name: &str| rows.iter().find(|(n, _)| n == name).unwrap().1;
        assert!((of("nll") - NLL).abs() < 1e-12, "{}", of("nll"));
        assert!((of("member_nll") - MEMBERS).abs() < 1e-12);
        assert_eq!(of("accuracy"), ACCURACY);
        assert_eq!(of("accuracy[a]"), 1.0);
        assert_eq!(of("disagreement"), 0.75);
        assert_eq!(of("member_accuracy"), 0.625);
        let diagram = said.together().sure.reliability();
        let of = |what: &str| -> Vec<f64> {
            let named = diagram.iter().filter(|(name, _)| name.starts_with(what));
            named.map(|(_, value)| *value).collect()
        };
        assert_eq!(of("reliability_images").iter().sum::<f64>(), 4.0);
        assert!(
            of("reliability_accuracy").len() > 1,
            "not equally sure of all"
        );
        // two views of one network are one member, and alone it disagrees with nobody
        let mut alone = Said::new(&data);
        let views = [vec![0.5; 12], vec![0.5; 12]];
        alone.add(&views);
        let rows = alone.rows(&alone.together());
        assert!(rows.iter().all(|(name, _)| name != "disagreement"));
        assert!((rows[0].1 - 3f64.ln()).abs() < 1e-12);
    }

    /// An answer is a class, however many there are.
    #[test]
    fn the_three_hundredth_class_can_be_right() {
        let names: Vec<String> = (0..300).map(|i| i.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let data = of_classes(&names, &[299u32]);
        let mut logits = vec![0.0; 300];
        logits[299] = 9.0;
        let mut said = Said::new(&data);
        said.add(&[logits.clone()]);
        logits[43] = 10.0;
        said.add(&[logits]);
        let rows = said.rows(&said.together());
        let of = |name: &str| rows.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(of("member_accuracy"), 0.5);
        assert_eq!(of("disagreement"), 1.0);
    }

    const NLL: f64 = 0.7703333039030801;
    const MEMBERS: f64 = 1.0073942901540738;
    const ACCURACY: f64 = 0.5;
}
