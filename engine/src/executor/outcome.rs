//! What an executor tells of an order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Content;
use crate::exec::{Note, Usage};
use crate::store::{Record, StoreError};

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Heard {
    /// While it is executed.
    Note(Note),
    /// Of its end.
    Outcome(Box<Outcome>),
    /// Of its result, where that was to be recorded.
    Recorded(Recording),
}

/// What became of a result that was to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recording {
    /// It is recorded.
    Recorded {
        /// Other results are known for the same key: the action is not deterministic.
        has_others: bool,
    },
    /// It cannot be, and other results can.
    Refused {
        /// Why.
        message: String,
    },
    /// The store could not take it.
    StoreBroken {
        /// What happened.
        message: String,
    },
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its outputs are there, to be recorded or compared.
    Made(Box<Made>),
    /// Another process recorded the result meanwhile.
    Found,
    /// What it depends on changed: the result is worth nothing.
    Unstable(Moved),
    /// It failed.
    Failed(Failed),
    /// The user stopped it.
    Cancelled,
    /// Where it was executed is gone, with whatever it had done: it is to be executed again.
    Lost {
        /// What happened.
        why: String,
    },
    /// The store could not take the result, or is broken otherwise.
    StoreBroken {
        /// What happened, and what to do.
        message: String,
    },
}

/// The store or the disk could not be used, as an executor told it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreBroken(pub String);

/// A failure, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What happened, with the end of the log.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// It had too little memory: with more of it, it might do well.
    #[serde(default)]
    pub lacked_memory: bool,
}

/// What an execution made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What will be recorded.
    pub record: Record,
    /// In the order of the instance's outputs.
    pub outputs: Vec<Content>,
    /// Time and memory.
    pub usage: Usage,
    /// What the worker measured.
    pub figures: BTreeMap<String, f64>,
    /// What it found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// The state it went on from.
    pub resumed_from: Option<String>,
    /// How it was confined, in words.
    pub sandbox: String,
}

/// A dependency that is not what the key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Which, as a person knows it.
    pub what: String,
    /// As in the key.
    pub before: String,
    /// Now.
    pub after: String,
}

impl Recording {
    /// A store's refusal, or its fault.
    pub(super) fn failed(error: &StoreError) -> Recording {
        let message = error.to_string();
        match error {
            StoreError::Changed { .. } | StoreError::Refused { .. } => {
                Recording::Refused { message }
            }
            _ => Recording::StoreBroken { message },
        }
    }
}

impl Outcome {
    /// The executor panicked.
    pub fn broken_down(what: &str) -> Outcome {
        Outcome::Failed(Failed {
            message: format!("BUG: its execution broke down in repro itself: {what}"),
            hint: Some("run again; if it happens again, please report it".into()),
            lacked_memory: false,
        })
    }

    /// It could not begin.
    pub fn not_begun(error: &anyhow::Error) -> Outcome {
        let message = format!("it could not be started: {error:#}");
        match error.chain().any(|cause| cause.is::<StoreError>()) {
            true => Outcome::StoreBroken { message },
            false => Outcome::failed(message),
        }
    }

    /// A failure that nothing is known to help against.
    pub fn failed(message: String) -> Outcome {
        Outcome::Failed(Failed {
            message,
            hint: None,
            lacked_memory: false,
        })
    }
}
