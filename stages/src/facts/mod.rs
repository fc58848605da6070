//! What is known of artifacts before any stage runs: sizes of images, numbers of classes, models, names of values.
//!
//! Each kind says what follows from its parameters and from what is known of its inputs ([`crate::kind::Kind::facts`]), and what cannot
//! work. What nobody knows (a file from elsewhere, the output of a command) stays unknown and is never complained of. The engine carries
//! facts from producer to consumer and does not look inside.

mod learning;
mod sets;
mod tables;

use std::collections::BTreeSet;

use repro_protocol::findings::{self, Item};
pub use repro_protocol::findings::{Finding, Findings, Place};
use serde::{Deserialize, Serialize};

use crate::nn::architecture::{Head, Identity, InputSize};
use crate::nn::model::Model;

pub(crate) use learning::unlike;
pub use learning::{average, evaluate, perturb, prune, train};
pub use sets::{corrupt, dataset, download, split};
pub use tables::{claim, summarise};

/// What is known of one artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Fact {
    /// Labelled images.
    Data(DataFact),
    /// A network with its weights.
    Model(ModelFact),
    /// A directory of models that one training kept.
    Checkpoints(CheckpointsFact),
    /// Which weights of a network are left.
    Mask(ModelFact),
    /// A table of values.
    Metrics(MetricsFact),
    /// A text for people.
    Text,
}

/// What is known of a data set; each part may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataFact {
    /// Its published name.
    pub set: Option<String>,
    /// The size of its images.
    pub image: Option<InputSize>,
    /// What is to be learnt of each.
    pub answers: Option<AnswersFact>,
    /// How many images it has.
    pub images: Option<u64>,
}

/// What is to be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersFact {
    /// Classes, as many as this where that is known.
    Classes(Option<usize>),
    /// So many numbers.
    Targets(usize),
}

impl DataFact {
    /// What a network for it gives, where that is known.
    fn outputs(&self) -> Option<Head> {
        match self.answers? {
            AnswersFact::Classes(n) => n.map(Head::Classes),
            AnswersFact::Targets(n) => Some(Head::Targets(n)),
        }
    }

    /// Numbers are learnt from it.
    fn has_targets(&self) -> bool {
        matches!(self.answers, Some(AnswersFact::Targets(_)))
    }
}

/// What is known of a model, or of the model a mask was made for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFact {
    /// Everything that decides its layers.
    pub identity: Option<Identity>,
}

/// What is known of models that a training kept on its way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointsFact {
    /// Each of them.
    pub model: ModelFact,
    /// There is more than one.
    pub several: bool,
    /// How one is picked: `epoch=2`.
    pub pick: String,
}

/// What is known of a table of values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsFact {
    /// All values it may have.
    pub values: Option<Vec<ValueFact>>,
    /// The last epoch it can have a value of.
    pub last_epoch: Option<u64>,
    /// It may end at an earlier one.
    pub may_end_earlier: bool,
}

/// A value of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueFact {
    /// Part of the data.
    pub split: Option<String>,
    /// Its name; one that ends with `[*]` stands for all with anything in the brackets.
    pub name: String,
    /// How often it is recorded.
    pub recorded: Recorded,
}

/// How often a value is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Once, of no epoch.
    Once,
    /// After every so many epochs, and at the end.
    Every(u64),
}

impl Fact {
    fn called(&self) -> &'static str {
        match self {
            Fact::Data(_) => "a data set",
            Fact::Model(_) => "a model",
            Fact::Checkpoints(_) => "a directory of models",
            Fact::Mask(_) => "a pruning mask",
            Fact::Metrics(_) => "a table of metrics",
            Fact::Text => "a text for people",
        }
    }
}

/// How many models an input stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Several {
    /// More than one, for sure.
    certain: bool,
    /// As many as it has items.
    counted: bool,
}

/// What is known of the inputs of a stage, as facts.
pub struct Known<'a>(pub &'a findings::Known<'a>);

impl Known<'_> {
    fn items(&self, name: &str) -> &[Item<'_>] {
        self.0.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether an input is given.
    fn has(&self, name: &str) -> bool {
        self.0.inputs.contains_key(name)
    }

    fn facts(&self, name: &str) -> impl Iterator<Item = (usize, Option<Fact>)> {
        let fact = |item: &Item| {
            let fact = serde_json::from_value(item.fact.cloned()?).ok()?;
            match (fact, item.is_member) {
                (Fact::Checkpoints(kept), true) => Some(Fact::Model(kept.model)),
                (_, true) => None,
                (fact, false) => Some(fact),
            }
        };
        self.items(name).iter().map(fact).enumerate()
    }

    /// The axes that tell an input's artifacts apart.
    fn axes(&self, name: &str) -> BTreeSet<String> {
        let names = self.items(name).iter().flat_map(|item| &item.axes);
        names.map(|axis| (*axis).to_owned()).collect()
    }

    /// What is known of an input's artifacts where they are what is wanted; the others are complained of.
    fn wanted<T>(
        &self,
        name: &str,
        wanted: &str,
        pick: impl Fn(Fact) -> Result<T, Fact>,
        found: &mut Findings,
    ) -> Vec<Option<T>> {
        let mut list = Vec::new();
        for (item, fact) in self.facts(name) {
            list.push(match fact.map(&pick) {
                None => None,
                Some(Ok(fact)) => Some(fact),
                Some(Err(other)) => {
                    let hint = match (&other, self.items(name)[item].from) {
                        (Fact::Checkpoints(kept), Some((stage, output))) => {
                            format!("name one: `{stage}.{output}[{}]`", kept.pick)
                        }
                        _ => String::new(),
                    };
                    let message = format!(
                        "this is {}; the input `{name}` takes {wanted}",
                        other.called()
                    );
                    found.input((name, item), message, hint);
                    None
                }
            });
        }
        list
    }

    fn data(&self, name: &str, found: &mut Findings) -> Vec<Option<DataFact>> {
        let pick = |fact| match fact {
            Fact::Data(data) => Ok(data),
            other => Err(other),
        };
        self.wanted(name, "data sets", pick, found)
    }

    /// What is known of models; of files of other programs it is `named` which network they hold.
    fn models(&self, name: &str, named: bool, found: &mut Findings) -> Vec<Option<ModelFact>> {
        let pick = |fact| match fact {
            Fact::Model(model) => Ok(model),
            other => Err(other),
        };
        let mut models = self.wanted(name, "models", pick, found);
        self.look_into_files(name, named, &mut models, found);
        models
    }

    /// What is known of models and of directories of models, and whether there are several.
    fn collections(
        &self,
        name: &str,
        named: bool,
        found: &mut Findings,
    ) -> (Vec<Option<ModelFact>>, Several) {
        let mut several = Several::default();
        let pick = |fact| match fact {
            Fact::Model(model) => Ok((model, None)),
            Fact::Checkpoints(kept) => Ok((kept.model, Some(kept.several))),
            other => Err(other),
        };
        let known = self.wanted(name, "models", pick, found);
        several.certain = known.len() > 1;
        several.counted = true;
        let mut models = Vec::new();
        for item in known {
            let (model, directory) = item.map_or((None, None), |(m, d)| (Some(m), d));
            several.certain |= directory == Some(true);
            several.counted &= model.is_some() && directory.is_none();
            models.push(model);
        }
        self.look_into_files(name, named, &mut models, found);
        (models, several)
    }

    /// Files of the project say what they are before anything runs.
    fn look_into_files(
        &self,
        name: &str,
        named: bool,
        models: &mut [Option<ModelFact>],
        found: &mut Findings,
    ) {
        for (at, item) in self.items(name).iter().enumerate() {
            let Some(file) = &item.file else { continue };
            match Model::peek(file, named) {
                Ok(None) => {}
                Ok(identity) => models[at] = Some(ModelFact { identity }),
                Err(failure) => {
                    found.input(
                        (name, at),
                        failure.message,
                        failure.hint.unwrap_or_default(),
                    );
                }
            }
        }
    }

    /// What is known of the only item of an input, a data set.
    fn first_data(&self, name: &str, found: &mut Findings) -> Option<DataFact> {
        self.data(name, found).into_iter().next().flatten()
    }

    /// What is known of the only item of an input, a model.
    fn first_model(&self, name: &str, named: bool, found: &mut Findings) -> Option<ModelFact> {
        self.models(name, named, found).into_iter().next().flatten()
    }

    fn masks(&self, name: &str, found: &mut Findings) -> Vec<Option<ModelFact>> {
        let pick = |fact| match fact {
            Fact::Mask(mask) => Ok(mask),
            other => Err(other),
        };
        self.wanted(name, "pruning masks", pick, found)
    }

    fn tables(&self, name: &str, found: &mut Findings) -> Vec<Option<MetricsFact>> {
        let pick = |fact| match fact {
            Fact::Metrics(table) => Ok(table),
            other => Err(other),
        };
        self.wanted(name, "tables of metrics", pick, found)
    }
}

/// `28x28x1`
fn size(image: InputSize) -> String {
    format!("{}x{}x{}", image.height, image.width, image.channels)
}
