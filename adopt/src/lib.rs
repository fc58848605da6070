//! Pipelines of other tools, read and written as pipelines of `repro`.
//!
//! Each tool has a module of its own, which returns the text of a pipeline and everything that a
//! person has to know about it. Nothing is written or run here, and nothing is guessed: what cannot
//! be kept or known is said in [`Note`]s.

pub mod dvc;
mod shell;
mod yaml;

/// A pipeline of another tool in the words of `repro`.
#[derive(Debug)]
pub struct Adopted {
    /// The text of `pipeline.yaml`.
    pub pipeline: String,
    /// Stages in it.
    pub stages: usize,
    /// Their instances.
    pub instances: usize,
    /// Pairs of instances of which one takes something from the other.
    pub edges: usize,
    /// What could not be kept, and what has to be known.
    pub notes: Vec<Note>,
}

/// Something that could not be kept, or that has to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage that it is about; `None`: all of it.
    pub stage: Option<String>,
    /// What there is to know.
    pub text: String,
}
