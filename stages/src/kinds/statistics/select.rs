//! `select`: the best of several runs by a value that was measured on validation data.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::asked::check_at;
use super::values::check_asked;
use crate::facts::{Fact, Findings, Known, ModelFact};
use crate::failure::Failure;
use crate::kind::{InputSpec, Kind, OutputSpec, Outputs, ParamProblem};
use crate::kinds::test_set::TestSet;
use crate::series::{At, axes_text, compare_axes, read_series};
use crate::task::Task;
use repro_protocol::job::{Event, JobInput};

/// See the module.
pub struct Select;

/// The parameters of `select`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Which run is the best.
    pub by: By,
    /// Which of the values over the training is read.
    #[serde(default)]
    pub at: At,
    /// Values of a test set choose only if this says so: what is then reported of that test set is
    /// optimistic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_set: Option<TestSet>,
}

/// Which run is the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The one with the largest value of this name, such as `validation_accuracy`.
    Max(String),
    /// The one with the smallest, such as `validation_loss`.
    Min(String),
}

impl By {
    fn of(&self) -> &str {
        let (By::Max(of) | By::Min(of)) = self;
        of
    }

    fn field(&self) -> &'static str {
        match self {
            By::Max(_) => "max",
            By::Min(_) => "min",
        }
    }
}

/// The remedy where a test set would choose.
const HOLD_OUT: &str = "hold some training data out (`split`), give them to the trainings as the need \
     `validation`, and choose by `validation_accuracy`; or say `test_set: may_choose`";

impl Kind for Select {
    type Params = Params;
    const NAME: &'static str = "select";
    const REVISION: u32 = 1;
    const SUMMARY: &'static str =
        "Picks the best of several runs by a validation metric, and hands on its model.";
    const DOC: &'static str = DOC;
    const INPUTS: &'static [InputSpec] = &[
        InputSpec::required("tables", "The metrics tables, one for each run.").many(),
        InputSpec::optional("models", "The models of the same runs.").many(),
    ];

    fn outputs(_: &Params) -> Outputs {
        Ok(vec![
            OutputSpec::new("choice", "choice.json")?,
            OutputSpec::new("model", "model.safetensors")?,
        ])
    }

    fn outputs_with(params: &Params, needs: &[String]) -> Outputs {
        let mut all = Self::outputs(params)?;
        let has_models = needs.iter().any(|need| need == "models");
        all.retain(|output| has_models || *output.name != *"model");
        Ok(all)
    }

    fn validate(params: &Params, _: &[String]) -> Vec<ParamProblem> {
        let mut problems = Vec::from_iter(check_at(params.at, &["at"]));
        if params.test_set.is_none() && params.by.of().starts_with("test_") {
            problems.push(ParamProblem::new(
                &["by", params.by.field()],
                format!(
                    "`{}` is measured on the test set, which is not for choosing",
                    params.by.of()
                ),
                HOLD_OUT,
            ));
        }
        problems
    }

    fn facts(params: &Params, known: &Known) -> Findings {
        let mut found = Findings::default();
        let tables = known.tables("tables", &mut found);
        let path = ["by", params.by.field()];
        check_asked(
            &tables,
            params.by.of(),
            params.at,
            &path,
            &["at"],
            &mut found,
        );
        let models = known.models("models", true, &mut found);
        let mut identities = models
            .into_iter()
            .map(|model| model.and_then(|m| m.identity));
        let first = identities.next().flatten();
        let identity = first.filter(|first| identities.all(|next| next.as_ref() == Some(first)));
        if known.has("models") {
            found.say("model", Fact::Model(ModelFact { identity }));
        }
        found.say("choice", Fact::Text);
        found
    }

    fn run(params: &Params, task: &mut Task) -> anyhow::Result<()> {
        let of = params.by.of();
        let tables = task.inputs("tables").to_vec();
        let (mut runs, mut by_test_set) = (Vec::new(), false);
        for input in &tables {
            let series = read_series(std::slice::from_ref(input))?;
            let [run] = &series[..] else {
                let text = format!("{}: it holds {} runs", called(input), series.len());
                return Err(Failure::new(text)
                    .hint("give one table for each run: `needs: {tables: \"train[*].metrics\"}`")
                    .into());
            };
            let of_test_set = of.starts_with("test_") || run.is_of_split(of, "test");
            if params.test_set.is_none() && of_test_set {
                let text = format!(
                    "{}: `{of}` is measured on the test set, which is not for choosing",
                    run.table
                );
                return Err(Failure::new(text).hint(HOLD_OUT).into());
            }
            by_test_set |= of_test_set;
            runs.push((input, run.value(of, params.at)?));
        }
        runs.sort_by(|(a, _), (b, _)| {
            a.group
                .cmp(&b.group)
                .then_with(|| compare_axes(&a.axes, &b.axes))
        });
        let sign = if let By::Max(_) = params.by {
            -1.0
        } else {
            1.0
        };
        // Of equal values the first in the order of axes.
        let best = runs
            .iter()
            .min_by(|(_, a), (_, b)| (sign * a).total_cmp(&(sign * b)));
        let Some((chosen, value)) = best else {
            return Err(Failure::new("input `tables`: there is no run to choose from").into());
        };
        if by_test_set {
            let text = format!(
                "`{of}` is measured on the test set: what is reported of the choice on that set is optimistic"
            );
            task.send(&Event::Warning { text });
        }
        if !task.inputs("models").is_empty() {
            let model = the_same(chosen, task.inputs("models"))?.path.clone();
            let to = task.output("model")?;
            // Not its mode, which a file system may refuse to change.
            let copied = File::open(&model)
                .and_then(|mut from| std::io::copy(&mut from, &mut File::create(to)?));
            copied
                .with_context(|| format!("cannot copy {} to {}", model.display(), to.display()))?;
        }
        let among: Vec<Value> = runs.iter().map(|(run, value)| told(run, *value)).collect();
        let choice = json!({
            "by": params.by, "at": params.at, "chosen": told(chosen, *value), "among": among,
        });
        let text = serde_json::to_string_pretty(&choice)? + "\n";
        let path = task.output("choice")?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A run as the choice tells it.
fn told(run: &JobInput, value: f64) -> Value {
    let axes: BTreeMap<_, _> = run.axes.clone();
    match run.group.is_empty() {
        true => json!({"parameters": axes, "value": value}),
        false => json!({"group": run.group, "parameters": axes, "value": value}),
    }
}

/// The model of a run.
fn the_same<'a>(run: &JobInput, models: &'a [JobInput]) -> anyhow::Result<&'a JobInput> {
    let is_same = |model: &&JobInput| model.axes == run.axes && model.group == run.group;
    let mut same = models.iter().filter(is_same);
    match (same.next(), same.next()) {
        (Some(model), None) => Ok(model),
        (found, _) => {
            let text = format!(
                "{} model under `needs: {{models: ...}}` is of the run that is chosen ({})",
                if found.is_some() {
                    "more than one"
                } else {
                    "no"
                },
                called(run)
            );
            Err(Failure::new(text)
                .hint("gather both alike: `needs: {tables: \"train[*].metrics\", models: \"train[*].model\"}`")
                .into())
        }
    }
}

fn called(input: &JobInput) -> String {
    match (input.from.as_str(), axes_text(&input.axes)) {
        ("", axes) if axes.is_empty() => input.path.display().to_string(),
        ("", axes) => axes,
        (from, _) => from.to_owned(),
    }
}

const DOC: &str = r#"
Picks one of several runs by a value of their metrics, and hands on its model: a hyper-parameter is
searched with a matrix and a `select`.

```yaml
halves: {uses: split, needs: {data: data.train}, with: {parts: {fit: 0.9, held: 0.1}, seed: 7}}
search:
  uses: train
  matrix: {scale: [0.25, 0.5, 1.0, 2.0]}
  needs: {train: halves.fit, validation: halves.held}
  with:
    model: {mlp: {hidden: [100]}}
    first_weights: {scale: "${matrix.scale}"}
    seed: 1
    length: {epochs: 10}
    optimizer: {sgd: {lr: 0.1}}
chosen:
  uses: select
  needs: {tables: "search[*].metrics", models: "search[*].model"}
  with: {by: {max: validation_accuracy}}
final: {uses: evaluate, needs: {model: chosen.model, data: data.test}}
```

Of equal values the first run in the order of its matrix values is chosen. The output `choice` is
JSON: the parameters of the chosen run (its matrix values), its value, and those of all others.
`model` is there if `models` are given; they are matched to the tables by matrix values and groups.

A value that was measured on a test set is refused, because what is reported of that set afterwards
would be too good. `test_set: may_choose` allows it, and the run says so.
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::task;

    fn problems(with: Value) -> Vec<String> {
        let params: Params = serde_json::from_value(with).unwrap();
        let problems = Select::validate(&params, &[]);
        problems.into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn a_test_set_chooses_only_where_that_is_said() {
        assert_eq!(
            problems(json!({"by": {"max": "validation_accuracy"}})),
            [""; 0]
        );
        assert_eq!(
            problems(json!({"by": {"max": "test_accuracy"}})),
            ["`test_accuracy` is measured on the test set, which is not for choosing"]
        );
        let said = json!({"by": {"max": "test_accuracy"}, "test_set": "may_choose"});
        assert_eq!(problems(said), [""; 0]);
    }

    #[test]
    fn a_model_is_there_if_models_are_given() {
        let params: Params = serde_json::from_value(json!({"by": {"min": "loss"}})).unwrap();
        let outputs = |needs: &[&str]| {
            let needs: Vec<String> = needs.iter().map(|n| (*n).to_owned()).collect();
            let outputs = Select::outputs_with(&params, &needs).unwrap();
            outputs
                .iter()
                .map(|o| o.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(outputs(&["tables"]), ["choice"]);
        assert_eq!(outputs(&["tables", "models"]), ["choice", "model"]);
    }

    /// Runs of seeds and scales with these values of two splits; the models hold their scale.
    struct Runs {
        dir: tempfile::TempDir,
        tables: Vec<JobInput>,
        models: Vec<JobInput>,
    }

    impl Runs {
        fn new(values: &[(i64, f64)]) -> Runs {
            let dir = tempfile::tempdir().unwrap();
            let (mut tables, mut models) = (Vec::new(), Vec::new());
            for (scale, value) in values {
                let path = |end: &str| dir.path().join(format!("{scale}.{end}"));
                let table = format!(
                    "epoch,split,name,value\n1,validation,accuracy,0.9\n2,validation,accuracy,{value}\n2,test,accuracy,{}\n",
                    1.0 - value
                );
                std::fs::write(path("csv"), table).unwrap();
                std::fs::write(path("model"), scale.to_string()).unwrap();
                let input = |path| JobInput {
                    axes: [("scale".to_owned(), json!(scale))].into(),
                    path,
                    ..JobInput::default()
                };
                tables.push(input(path("csv")));
                models.push(input(path("model")));
            }
            models.reverse();
            Runs {
                dir,
                tables,
                models,
            }
        }

        /// The choice and the model.
        fn select(&self, with: Value) -> Result<(Value, String), String> {
            let inputs = [
                ("tables", self.tables.clone()),
                ("models", self.models.clone()),
            ];
            let outputs = ["choice", "model"];
            let mut task = task(self.dir.path(), with.clone(), &outputs, inputs);
            let params: Params = serde_json::from_value(with).unwrap();
            Select::run(&params, &mut task).map_err(|e| format!("{e:#}"))?;
            let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
            let choice = serde_json::from_str(&read("choice")).unwrap();
            Ok((choice, read("model")))
        }
    }

    #[test]
    fn the_best_run_hands_on_its_model() {
        let runs = Runs::new(&[(10, 0.5), (2, 0.75), (4, 0.75), (1, 0.25)]);
        let (choice, model) = runs
            .select(json!({"by": {"max": "validation_accuracy"}}))
            .unwrap();
        assert_eq!(model, "2", "of equal ones the first");
        assert_eq!(
            choice["chosen"],
            json!({"parameters": {"scale": 2}, "value": 0.75})
        );
        let scales: Vec<_> = choice["among"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["parameters"]["scale"].clone())
            .collect();
        assert_eq!(scales, [1, 2, 4, 10], "in the order of the axes");
        let min = runs.select(json!({"by": {"min": "validation_accuracy"}}));
        assert_eq!(min.unwrap().1, "1");
        let best = json!({"by": {"max": "validation_accuracy"}, "at": {"epoch": 1}});
        assert_eq!(runs.select(best).unwrap().1, "1", "all are equal there");
        // Written without the split, a name may still mean the test set.
        let mut of_test = Runs::new(&[(1, 0.5), (2, 0.25)]);
        for table in &of_test.tables {
            let text = std::fs::read_to_string(&table.path).unwrap();
            let rows = text.lines().filter(|line| !line.contains("validation"));
            std::fs::write(&table.path, rows.collect::<Vec<_>>().join("\n")).unwrap();
        }
        let why = of_test
            .select(json!({"by": {"max": "accuracy"}}))
            .unwrap_err();
        assert!(why.contains("not for choosing"), "{why}");
        let said = json!({"by": {"max": "accuracy"}, "test_set": "may_choose"});
        assert_eq!(of_test.select(said.clone()).unwrap().1, "2");
        of_test.models.pop();
        of_test.models.push(of_test.models[0].clone());
        let why = of_test.select(said).unwrap_err();
        assert!(why.starts_with("more than one model"), "{why}");
    }
}
