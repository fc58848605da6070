//! What can be known of an artifact: sizes of images, numbers of classes, models, names of values.

use serde::{Deserialize, Serialize};

use crate::nn::architecture::{Head, Identity, InputSize};
use crate::training::mask::Masked;

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
    /// A directory of what an optimizer remembered along a training.
    Optimizers(OptimizersFact),
    /// Which weights of a network are left.
    Mask(MaskFact),
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
    /// What is to be learnt of each image.
    pub answers: Option<AnswersFact>,
    /// How many images it has.
    pub images: Option<u64>,
    /// It is the published test set, or all that is kept of it.
    #[serde(default)]
    pub is_test: bool,
}

/// What is to be learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersFact {
    /// Classes, and how many where that is known.
    Classes(Option<usize>),
    /// This many numbers.
    Targets(usize),
}

impl DataFact {
    /// The outputs of a network for it, if known.
    pub(crate) fn outputs(&self) -> Option<Head> {
        match self.answers? {
            AnswersFact::Classes(n) => n.map(Head::Classes),
            AnswersFact::Targets(n) => Some(Head::Targets(n)),
        }
    }

    /// Whether it has numbers to be learnt.
    pub(crate) fn has_targets(&self) -> bool {
        matches!(self.answers, Some(AnswersFact::Targets(_)))
    }
}

/// What is known of a pruning mask.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MaskFact {
    /// The model that it was made for.
    pub identity: Option<Identity>,
    /// What its weights are in the model that was made with it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masked>,
}

impl From<ModelFact> for MaskFact {
    fn from(model: ModelFact) -> MaskFact {
        MaskFact {
            identity: model.identity,
            masked: None,
        }
    }
}

/// What is known of a model.
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

/// What is known of an optimizer's memory along a training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimizersFact {
    /// Steps of each of its epochs.
    pub steps_per_epoch: Option<u64>,
}

/// What is known of a table of values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsFact {
    /// All values it may have.
    pub values: Option<Vec<ValueFact>>,
    /// The last epoch it can have values of.
    pub last_epoch: Option<u64>,
    /// It may end at an earlier one.
    pub may_end_earlier: bool,
}

impl MetricsFact {
    /// Values of no epoch, each by the part of the data it is of, and its name.
    pub(crate) fn once(values: &[(Option<&str>, &str)]) -> MetricsFact {
        let value = |(split, name): &(Option<&str>, &str)| ValueFact {
            split: split.map(str::to_owned),
            name: (*name).to_owned(),
            recorded: Recorded::Once,
        };
        MetricsFact {
            values: Some(values.iter().map(value).collect()),
            ..MetricsFact::default()
        }
    }
}

/// A value of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueFact {
    /// Part of the data.
    pub split: Option<String>,
    /// Its name; `[*]` at the end stands for anything in the brackets.
    pub name: String,
    /// How often it is recorded.
    pub recorded: Recorded,
}

/// How often a value is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Once, without an epoch.
    Once,
    /// Every this many epochs, and at the end.
    Every(u64),
    /// In epochs that are not known before, and at the end.
    Sometimes,
}

impl Fact {
    pub(super) fn called(&self) -> &'static str {
        match self {
            Fact::Data(_) => "a data set",
            Fact::Model(_) => "a model",
            Fact::Checkpoints(_) => "a directory of models",
            Fact::Optimizers(_) => "a directory of optimizers' memories",
            Fact::Mask(_) => "a pruning mask",
            Fact::Metrics(_) => "a table of metrics",
            Fact::Text => "a text for people",
        }
    }
}
