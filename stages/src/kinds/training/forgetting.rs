//! The kind `forgetting`: when a training learnt each example, and how often it forgot it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device;
use crate::facts::{Fact, Findings, Known, MetricsFact, check_all, refuse, together};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem, Place};
use crate::kinds::several;
use crate::table;
use crate::table::examples::{self, Example};
use crate::task::Task;
use crate::training::calibration::argmax;
use crate::training::evaluation::{View, logits};
use repro_protocol::table::Row;

/// See the module.
pub struct Forgetting;

/// What `with:` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What the column `split` says.
    #[serde(default = "train")]
    pub split: String,
}

fn train() -> String {
    "train".into()
}

/// What is measured of all examples.
const VALUES: [&str; 6] = [
    "unforgettable",
    "forgettable",
    "never_learnt",
    "forgetting_events",
    "first_learnt",
    "margin",
];

impl Kind for Forgetting {
    type Params = Params;
    const NAME: &'static str = "forgetting";
    const REVISION: u32 = 1;
    const PLACE: Place = Place::Device;
    const SUMMARY: &'static str = "Says when a training learnt each example, and how often it forgot it (Toneva et al. 2019).";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("models", "The models along a training, in order. A directory (`checkpoints`) stands for all its files.").many(),
        InputSpec::required("data", "The examples; several sets are put together.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("metrics", "metrics.parquet")?,
            OutputSpec::new("examples", "examples.parquet")?,
        ])
    }

    fn validate(p: &Params, _: &[String]) -> Vec<ParamProblem> {
        let empty = p.split.is_empty();
        let problem = empty.then(|| ParamProblem::new(&["split"], "must not be empty", ""));
        problem.into_iter().collect()
    }

    fn facts(p: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let (models, several) = known.collections("models", false, &mut found);
        if let Err(failure) = of_one_training(several.directories) {
            refuse(("models", 0), failure, &mut found);
        }
        let data = known.data("data", &mut found);
        together(&data, "data", &mut found);
        let identity = several::same(&models, "models", ONE_TRAINING, &mut found);
        if let Some(identity) = &identity
            && found.problems.is_empty()
        {
            check_all(&data, Some(identity), "data", &mut found);
            if let Some(failure) = several::gives_numbers(identity) {
                refuse(("models", 0), failure, &mut found);
            }
        }
        let values = VALUES.map(|name| (Some(p.split.as_str()), name));
        found.say("metrics", Fact::Metrics(MetricsFact::once(&values)));
        found
    }

    fn run(p: &Params, task: &mut Task) -> anyhow::Result<()> {
        let data = Dataset::put_together(task.inputs("data"), "data")?;
        let mut courses = vec![Course::default(); data.len()];
        let inputs = task.inputs("models");
        of_one_training(inputs.iter().filter(|input| input.path.is_dir()).count())?;
        let files = several::files(inputs)?;
        for (at, path) in files.iter().enumerate() {
            let network = several::classifier((at + 1, path), None, &data)?;
            let outputs = logits(&device::Pool::default(), &network, &data, View::AsIs)?;
            let rows = outputs.chunks_exact(outputs.len() / data.len());
            for ((course, row), label) in courses.iter_mut().zip(rows).zip(data.labels()) {
                course.see(row, *label as usize);
            }
        }
        let rows = summary(&courses).into_iter().map(|(name, value)| Row {
            split: Some(p.split.clone()),
            name: name.to_owned(),
            value,
            ..Row::default()
        });
        table::write(task.output("metrics")?, &rows.collect::<Vec<_>>())?;
        let of_each = courses.iter().zip(data.origin()).zip(data.labels());
        let of_each = of_each.map(|((course, image), label)| Example {
            image: i64::from(*image),
            label: data.info().classes[*label as usize].clone(),
            first_learnt: course.first_learnt,
            learnt: course.learnt,
            forgotten: course.forgotten,
            right: course.right,
            margin: course.margin,
            margin_mean: course.margins / files.len() as f64,
        });
        examples::write(task.output("examples")?, &of_each.collect::<Vec<_>>())
    }
}

/// Checkpoints of two trainings do not follow one another.
fn of_one_training(directories: usize) -> Result<(), Failure> {
    if directories < 2 {
        return Ok(());
    }
    let text = format!(
        "these are the checkpoints of {directories} trainings, and each forgets for itself"
    );
    Err(Failure::new(text).hint("make a stage for each, with the matrix of the trainings"))
}

const ONE_TRAINING: &str = "give the checkpoints of one training, in order";

/// What the models made of an example, one after another.
#[derive(Debug, Clone, Default)]
struct Course {
    models: i64,
    is_right: bool,
    first_learnt: Option<i64>,
    learnt: i64,
    forgotten: i64,
    right: i64,
    margin: f64,
    margins: f64,
}

impl Course {
    /// The logits of the next model.
    fn see(&mut self, logits: &[f32], label: usize) {
        let others = logits
            .iter()
            .enumerate()
            .filter(|(class, _)| *class != label);
        let largest = others.fold(f32::NEG_INFINITY, |max, (_, x)| max.max(*x));
        let margin = f64::from(logits[label]) - f64::from(largest);
        let is_right = argmax(logits) == label;
        self.models += 1;
        match (self.is_right, is_right) {
            (false, true) => {
                self.learnt += 1;
                self.first_learnt.get_or_insert(self.models);
            }
            (true, false) => self.forgotten += 1,
            _ => {}
        }
        self.is_right = is_right;
        self.right += i64::from(is_right);
        self.margin = margin;
        self.margins += margin;
    }
}

fn summary(courses: &[Course]) -> Vec<(&'static str, f64)> {
    let all = courses.len() as f64;
    let share = |is: fn(&&Course) -> bool| courses.iter().filter(is).count() as f64 / all;
    let firsts: Vec<i64> = courses.iter().filter_map(|c| c.first_learnt).collect();
    let mut rows = vec![
        ("unforgettable", share(|c| c.learnt > 0 && c.forgotten == 0)),
        ("forgettable", share(|c| c.forgotten > 0)),
        ("never_learnt", share(|c| c.learnt == 0)),
        (
            "forgetting_events",
            courses.iter().map(|c| c.forgotten).sum::<i64>() as f64 / all,
        ),
        (
            "margin",
            courses.iter().map(|c| c.margin).sum::<f64>() / all,
        ),
    ];
    if !firsts.is_empty() {
        let mean = firsts.iter().sum::<i64>() as f64 / firsts.len() as f64;
        rows.push(("first_learnt", mean));
    }
    rows
}

const DOC: &str = r#"
Shows the same examples to the models along a training, and follows each: when it was first
classified right, and how often it was forgotten again, that is, wrong after having been right
(Toneva, Sordoni, des Combes, Trischler, Bengio & Gordon, *An Empirical Study of Example Forgetting
during Deep Neural Network Learning*, ICLR 2019).

```yaml
train: {uses: train, needs: {train: data.train}, with: {model: lenet-5, seed: 1, length: {epochs: 30}, optimizer: {adam: {}}, checkpoints: {every: 1}}}
known: {uses: forgetting, needs: {models: train.checkpoints, data: data.train}}
```

The article looks at each example when its own batch is trained on; here all of them are looked at
by the same model, once for each checkpoint, without augmentation and dropout. So with a checkpoint
after every epoch there are as many looks, and the count is of forgetting between epochs.

`metrics.parquet` has shares of all examples: `unforgettable` (learnt, and never forgotten),
`forgettable` (forgotten at least once) and `never_learnt`; `forgetting_events`, the mean number of
them; `first_learnt`, the mean number of the model that was right first (from 1, over examples that
were learnt); and `margin`, the mean of the last model's margins.

`examples.parquet` has a row for each example: `image` (its number in the data set as published),
`label`, `first_learnt` (null: never), `learnt` and `forgotten` (how often), `right` (by how many
models), and `margin`, the logit of its class less the largest other one, of the last model, with
its mean over all models, `margin_mean`.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn course(margins: &[f32]) -> Course {
        let mut course = Course::default();
        for margin in margins {
            course.see(&[0.0, *margin, -9.0], 1);
        }
        course
    }

    #[test]
    fn by_hand() {
        let seen = course(&[-1.0, 2.0, -0.5, 1.0, 3.0, -2.0]);
        assert_eq!(seen.first_learnt, Some(2));
        assert_eq!((seen.learnt, seen.forgotten, seen.right), (2, 2, 3));
        assert_eq!((seen.margin, seen.margins), (-2.0, 2.5));
        // As everywhere, the first of equal logits is the answer.
        assert_eq!(course(&[0.0]).first_learnt, None);
        let mut first = Course::default();
        first.see(&[1.0, 1.0], 0);
        assert_eq!(first.right, 1);
        let all = [seen, course(&[1.0, 1.0]), course(&[-1.0, -3.0])];
        let all = std::collections::BTreeMap::from_iter(summary(&all));
        for name in ["unforgettable", "forgettable", "never_learnt"] {
            assert_eq!(all[name], 1.0 / 3.0, "{name}");
        }
        assert_eq!(all["forgetting_events"], 2.0 / 3.0);
        assert_eq!(all["first_learnt"], 1.5);
        assert_eq!(all["margin"], -4.0 / 3.0);
        assert!(
            summary(&[course(&[-1.0])])
                .iter()
                .all(|r| r.0 != "first_learnt")
        );
    }

    proptest! {
        /// What was learnt was forgotten, or is known at the end.
        #[test]
        fn events_alternate(margins in proptest::collection::vec(-2.0f32..2.0, 1..20)) {
            let seen = course(&margins);
            prop_assert_eq!(seen.learnt - seen.forgotten, i64::from(seen.is_right));
            prop_assert_eq!(seen.first_learnt.is_some(), seen.right > 0);
            prop_assert!(seen.right >= seen.learnt && seen.models == margins.len() as i64);
        }
    }
}
