//! What kinds say before anything runs: facts about outputs, and what cannot work.
//!
//! A *fact* is the kinds' own affair. The engine carries it from producer to consumer and does not
//! look inside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

/// What is known of the inputs of a stage, by name.
#[derive(Debug, Default)]
pub struct Known<'a> {
    /// One entry per artifact.
    pub inputs: BTreeMap<&'a str, Vec<Item<'a>>>,
}

/// An artifact of an input.
#[derive(Debug, Clone, Default)]
pub struct Item<'a> {
    /// What its producer said of it; `None` where nothing is known.
    pub fact: Option<&'a Value>,
    /// The axes of its producer, where it is one of several that were gathered.
    pub axes: Vec<&'a str>,
    /// The one file that it is of an output that is a directory; the fact is of the whole.
    pub member: Option<&'a str>,
    /// The producer and its output, for messages.
    pub from: Option<(&'a str, &'a str)>,
    /// Where it lies, if no stage makes it. It need not exist.
    pub file: Option<PathBuf>,
}

/// What follows from the parameters and from what is known of the inputs.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is known of the outputs, by name.
    pub outputs: BTreeMap<String, Value>,
    /// What cannot work.
    pub problems: Vec<Finding>,
    /// What can work and is hardly meant.
    pub warnings: Vec<Finding>,
}

/// One thing found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub place: Subject,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The way to a field of `with:`.
    Param(Vec<String>),
    /// An artifact of an input: the input's name, and the artifact's position.
    Input(String, usize),
}

impl Findings {
    /// States a fact about an output.
    pub fn say(&mut self, output: &str, fact: impl Serialize) {
        // What cannot be written down stays unknown.
        if let Ok(fact) = serde_json::to_value(fact) {
            self.outputs.insert(output.to_owned(), fact);
        }
    }

    /// A field of `with:` cannot work. An empty hint is none.
    pub fn param(&mut self, path: &[&str], message: impl Into<String>, hint: impl Into<String>) {
        let path = path.iter().map(|p| (*p).to_owned()).collect();
        self.problems
            .push(Finding::new(Subject::Param(path), message, hint));
    }

    /// An artifact of an input cannot work. An empty hint is none.
    pub fn input(
        &mut self,
        (name, item): (&str, usize),
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let place = Subject::Input(name.to_owned(), item);
        self.problems.push(Finding::new(place, message, hint));
    }
}

impl Finding {
    /// An empty hint is none.
    pub fn new(place: Subject, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding {
            place,
            message: message.into(),
            hint: Some(hint.into()).filter(|h| !h.is_empty()),
        }
    }
}
