//! Observations: who made a result, when, in what time. No part of the result.
//!
//! An observation is kept as it was read, whatever it holds: other versions say more, and strangers
//! may say anything.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Observation(Value);

/// What observations say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The run.
    Run,
    /// When it began, RFC 3339.
    At,
    /// The machine.
    Host,
    /// The version of the program.
    Version,
    /// The instance that was executed.
    Instance,
    /// Threads it could use.
    Threads,
    /// How it was confined.
    Sandbox,
    /// Seconds from start to end.
    WallS,
    /// Seconds of user and system time.
    CpuS,
    /// The largest resident set of any one process.
    MaxRssBytes,
    /// Joules, and who says so.
    Energy,
    /// What a kind told of its work.
    Figures,
    /// The state that it went on from, if it did: what came before it is another execution's.
    ResumedFrom,
    /// The device that it computed on, where that was not the CPU.
    Device,
    /// Where recorded times decided between the CPU and a GPU: how.
    Placed,
    /// From where it came, if it was not made here.
    Origin,
    /// Who vouched for it there.
    Signers,
}

impl Fact {
    /// The field.
    pub fn name(self) -> &'static str {
        match self {
            Fact::Run => "run",
            Fact::At => "at",
            Fact::Host => "host",
            Fact::Version => "version",
            Fact::Instance => "instance",
            Fact::Threads => "threads",
            Fact::Sandbox => "sandbox",
            Fact::WallS => "wall_s",
            Fact::CpuS => "cpu_s",
            Fact::MaxRssBytes => "max_rss_bytes",
            Fact::Energy => "energy",
            Fact::Figures => "figures",
            Fact::ResumedFrom => "resumed_from",
            Fact::Device => "device",
            Fact::Placed => "placed",
            Fact::Origin => "origin",
            Fact::Signers => "signers",
        }
    }
}

impl Observation {
    /// A fact as it was written.
    pub fn get(&self, fact: Fact) -> Option<&Value> {
        self.0.get(fact.name())
    }

    /// A fact that is a text.
    pub fn text(&self, fact: Fact) -> Option<&str> {
        self.get(fact)?.as_str()
    }

    /// A fact that is a number.
    pub fn number(&self, fact: Fact) -> Option<f64> {
        self.get(fact)?.as_f64()
    }

    /// Says a fact, in the place of what was said of it before.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl Into<Value>) -> Observation {
        if !self.0.is_object() {
            self.0 = Value::Object(Map::new());
        }
        self.0[fact.name()] = value.into();
        self
    }

    /// All that is said, in the words of the file.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.as_object().into_iter().flatten()
    }
}

impl From<Value> for Observation {
    fn from(value: Value) -> Observation {
        Observation(value)
    }
}
