//! References: `vars.epochs`, `needs.data[0]`, and what is wrong with others.

use std::fmt;

use super::problem::{Problem, Span};
use crate::similar;

/// Where a reference looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// `vars:`
    Vars,
    /// The environment of `repro`.
    Env,
    /// The matrix values of the instance.
    Matrix,
    /// The loop's round: `index`, or a binding.
    Round,
    /// Where inputs lie.
    Needs,
    /// Where outputs go.
    Outputs,
    /// The directory that outlives a failure; it has no parts.
    Scratch,
}

impl Root {
    /// What it holds is known only for an instance, not for the whole file.
    pub(super) fn is_of_instance(self) -> bool {
        match self {
            Root::Vars | Root::Env => false,
            Root::Matrix | Root::Round | Root::Needs | Root::Outputs | Root::Scratch => true,
        }
    }
}

const ROOTS: [(&str, Root); 7] = [
    ("vars", Root::Vars),
    ("env", Root::Env),
    ("matrix", Root::Matrix),
    ("round", Root::Round),
    ("needs", Root::Needs),
    ("outputs", Root::Outputs),
    ("scratch", Root::Scratch),
];

/// A step of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name`
    Key(String),
    /// `[0]`
    Index(usize),
}

/// `vars.model.layers[0]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Where it looks.
    pub root: Root,
    /// The way from there; the first step is a key.
    pub path: Vec<Step>,
}

impl Reference {
    /// The first key.
    pub fn head(&self) -> &str {
        match self.path.first() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            ROOTS
                .iter()
                .find(|(_, r)| *r == self.root)
                .map_or("", |(name, _)| name),
        )?;
        for step in &self.path {
            match step {
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(i) => write!(f, "[{i}]")?,
            }
        }
        Ok(())
    }
}

/// Why a template cannot be read: the piece at fault, what is wrong, what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTemplate {
    pub(super) needle: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// What no reference holds and arithmetic does.
pub(super) const NO_NAME: [char; 9] = [' ', '+', '*', '/', '%', '(', ')', ':', '-'];

/// Whether a word is what references begin with.
pub fn is_root(word: &str) -> bool {
    ROOTS.iter().any(|(name, _)| *name == word)
}

/// A reference that is written rightly.
pub fn plain(text: &str) -> Option<Reference> {
    reference(text).ok()
}

pub(super) fn reference(text: &str) -> Result<Reference, BadTemplate> {
    let bad = |message: String, help: String| BadTemplate {
        needle: format!("${{{text}}}"),
        message,
        help,
    };
    let trimmed = text.trim();
    let (first, mut rest) = trimmed.split_at(trimmed.find(['.', '[']).unwrap_or(trimmed.len()));
    let Some(&(_, root)) = ROOTS.iter().find(|(name, _)| *name == first) else {
        let near = similar::nearest(first, ROOTS.iter().map(|(name, _)| *name), 1);
        let near = near.map(|name| format!("did you mean `{name}{rest}`? "));
        return Err(bad(
            format!("`${{{text}}}` is not known here"),
            format!(
                "{}references begin with vars, env, matrix, round, needs, outputs or scratch; for the shell's own variable write `$${{{text}}}`",
                near.unwrap_or_default()
            ),
        ));
    };
    let mut path = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let key = &after[..end];
            if key.is_empty()
                || !key
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
            {
                return Err(bad(
                    format!("`${{{text}}}` is not a reference"),
                    "write `${vars.name}` or `${vars.name.field[0]}`".to_owned(),
                ));
            }
            path.push(Step::Key(key.to_owned()));
            rest = &after[end..];
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
        {
            let Ok(index) = index.trim().parse() else {
                return Err(bad(
                    format!("`{index}` is not a position in a list"),
                    "positions are whole numbers from 0".to_owned(),
                ));
            };
            path.push(Step::Index(index));
            rest = after;
        } else {
            return Err(bad(
                format!("`${{{text}}}` is not a reference"),
                "write `${vars.name}` or `${vars.name.field[0]}`".to_owned(),
            ));
        }
    }
    if root == Root::Scratch {
        return match path.is_empty() {
            true => Ok(Reference { root, path }),
            false => Err(bad(
                format!("`${{{text}}}`: the scratch directory has no parts"),
                "write `${scratch}/name`".to_owned(),
            )),
        };
    }
    if !matches!(path.first(), Some(Step::Key(_))) {
        return Err(bad(
            format!("`${{{text}}}` names nothing in `{first}`"),
            format!("write `${{{first}.name}}`"),
        ));
    }
    Ok(Reference { root, path })
}

impl BadTemplate {
    /// The problem, with the caret on the piece at fault.
    pub fn problem(self, span: Span, narrow: &dyn Fn(Span, &str) -> Span) -> Problem {
        Problem::new(narrow(span, &self.needle), self.message).help(self.help)
    }
}
