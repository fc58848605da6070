//! One thing that is wrong, and where.

use std::sync::Arc;

use crate::similar;

/// A range of characters of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Position in [`Diagnostics::sources`](super::diagnostic::Diagnostics::sources).
    pub source: u32,
    /// First character.
    pub start: u32,
    /// One after the last character.
    pub end: u32,
}

impl Span {
    /// The start of a source.
    pub fn start_of(source: u32) -> Span {
        Span {
            source,
            start: 0,
            end: 0,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// A few words at the caret.
    pub label: Option<Box<str>>,
    /// Other places that matter, with a few words each.
    pub also: Vec<(Span, String)>,
    /// What would be right.
    pub help: Vec<String>,
    /// The instances it was found in, where the place alone does not say.
    pub found_in: Option<Box<FoundIn>>,
    /// The known names it is about.
    pub names: Option<Box<Names>>,
}

/// Known names that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// One of these would have to be there: the problem follows from another one where that
    /// misspells such a name.
    Lacks(Vec<String>),
    /// This one is misspelt.
    Meant(String),
}

/// Which instances of a stage a problem was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundIn {
    /// The first.
    pub first: Arc<str>,
    /// How many.
    pub count: u32,
    /// How many the stage has.
    pub of: u32,
}

impl Problem {
    /// A problem without help.
    pub fn new(span: Span, message: impl Into<String>) -> Problem {
        Problem {
            span,
            message: message.into(),
            label: None,
            also: Vec::new(),
            help: Vec::new(),
            found_in: None,
            names: None,
        }
    }

    /// What is wrong without its numbers: they are what differs between instances.
    pub fn sort(&self) -> String {
        let is_number = |c: &char| matches!(c, '0'..='9' | '-' | '.');
        self.message.chars().filter(|c| !is_number(c)).collect()
    }

    /// Says in which instances it was found.
    pub fn found_in(mut self, first: &Arc<str>, count: u32, of: usize) -> Problem {
        self.found_in = (of > 1).then(|| {
            Box::new(FoundIn {
                first: first.clone(),
                count,
                of: u32::try_from(of).unwrap_or(u32::MAX),
            })
        });
        self
    }

    /// Adds a few words at the caret.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = Some(label.into().into_boxed_str());
        self
    }

    /// Adds another place.
    pub fn also(mut self, span: Span, label: impl Into<String>) -> Problem {
        self.also.push((span, label.into()));
        self
    }

    /// Adds what would be right.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help.push(help.into());
        self
    }

    /// Says of which names one would have to be there.
    pub fn lacks<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Problem {
        let names = names.into_iter().map(str::to_owned).collect();
        self.names = Some(Box::new(Names::Lacks(names)));
        self
    }

    /// Adds `did you mean ...?`.
    pub fn means(mut self, known: &str) -> Problem {
        self.names = Some(Box::new(Names::Meant(known.to_owned())));
        self.help(format!("did you mean `{known}`?"))
    }

    /// Adds `did you mean ...?` when a candidate is close, else the candidates when there are few.
    pub fn suggest<'a>(
        mut self,
        given: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Problem {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        if let Some(best) = similar::likest(given, &candidates) {
            return self.means(best);
        }
        if !candidates.is_empty() && candidates.len() <= 20 {
            let list: Vec<String> = candidates.iter().map(|c| format!("`{c}`")).collect();
            self.help.push(format!("there is {}", list.join(", ")));
        }
        self
    }
}

/// Of what is wrong at one place for many values, the first of each sort, and how many more there
/// are.
pub fn first_of_each_sort(found: Vec<Problem>) -> impl Iterator<Item = Problem> {
    let mut kept: Vec<(String, Problem, usize)> = Vec::new();
    for problem in found {
        let sort = problem.sort();
        match kept.iter_mut().find(|(known, ..)| *known == sort) {
            Some((_, _, more)) => *more += 1,
            None => kept.push((sort, problem, 0)),
        }
    }
    kept.into_iter().map(|(_, problem, more)| match more {
        0 => problem,
        _ => {
            let label = problem.label.clone();
            let label = label.map_or_else(String::new, |label| format!("{label}, "));
            problem.label(format!("{label}and {more} more"))
        }
    })
}
