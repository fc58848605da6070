//! How long a training lasts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patience::Patience;

/// The length of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the training data; 0 gives the first weights as they are.
    Epochs(#[schemars(range(min = 0))] u64),
    /// Optimizer steps; the last epoch may be cut short.
    Steps(#[schemars(range(min = 1))] u64),
}

/// How often a training is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvalEvery {
    /// After so many epochs: written as a number.
    Epochs(u64),
    /// After so many steps: written as `{steps: 100}`.
    Steps(u64),
}

impl Default for EvalEvery {
    fn default() -> EvalEvery {
        EvalEvery::Epochs(1)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EverySteps {
    steps: u64,
}

impl Serialize for EvalEvery {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match *self {
            EvalEvery::Epochs(n) => s.serialize_u64(n),
            EvalEvery::Steps(steps) => EverySteps { steps }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for EvalEvery {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<EvalEvery, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = EvalEvery;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number of epochs, or `{steps: 100}`")
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<EvalEvery, E> {
                Ok(EvalEvery::Epochs(n))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<EvalEvery, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                EverySteps::deserialize(map).map(|every| EvalEvery::Steps(every.steps))
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for EvalEvery {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EvalEvery".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of epochs, or `{steps: 100}`.",
            "anyOf": [
                {"type": "integer", "format": "uint64", "minimum": 1},
                {"type": "object", "required": ["steps"], "additionalProperties": false,
                    "properties": {"steps": {"type": "integer", "format": "uint64", "minimum": 1}}}
            ]
        })
    }
}

/// A reason to stop before the length is reached, looked at after every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopAt {
    /// The epoch's running train accuracy (training mode, as in Ash & Adams' code) is at least
    /// this, in (0, 1].
    TrainAccuracy(f64),
    /// A value on the need `validation` has not got better for some epochs.
    Patience(Patience),
}

impl Length {
    /// Steps in all, with so many in an epoch.
    pub fn steps_total(self, steps_per_epoch: u64) -> u64 {
        match self {
            Length::Epochs(n) => n.saturating_mul(steps_per_epoch),
            Length::Steps(n) => n,
        }
    }
}
