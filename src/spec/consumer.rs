//! A stage as one who needs things: its axes, and the references to them.

use std::sync::Arc;

use super::diagnostic::{Problem, Span};
use super::matrix::{ABSENT, Values};
use super::refs::scalar;
use super::template::{Reference, Root, Template};

/// Who needs something.
#[derive(Clone, Copy)]
pub struct Consumer<'a> {
    /// Its place in the table; `None` for a claim.
    pub stage: Option<usize>,
    /// Its name.
    pub name: &'a str,
    /// Its axes.
    pub axes: &'a [Arc<str>],
    /// Which of them is the round.
    pub round_axis: Option<usize>,
}

impl Consumer<'_> {
    /// Position of the axis a reference reads, or what is wrong with it.
    pub fn axis(&self, reference: &Reference, span: Span) -> Result<usize, Problem> {
        let head = reference.head();
        if reference.path.len() != 1 {
            return Err(Problem::new(
                span,
                format!("`${{{reference}}}`: an axis has a single value"),
            ));
        }
        match reference.root {
            Root::Matrix => self.axes.iter().position(|a| **a == *head).ok_or_else(|| {
                let problem = Problem::new(span, format!("`{}` has no axis `{head}`", self.name))
                    .suggest(head, self.axes.iter().map(|a| &**a));
                if self.axes.is_empty() {
                    problem.help(format!("add `matrix: {{{head}: [...]}}` to the stage"))
                } else {
                    problem
                }
            }),
            Root::Round if head == "index" => self.round_axis.ok_or_else(|| {
                Problem::new(
                    span,
                    "`${round.index}` is known only in the stages of a loop",
                )
            }),
            Root::Round => Err(Problem::new(
                span,
                format!("`${{{reference}}}` stands for an artifact and must be a need of its own"),
            )
            .help(format!("write `needs: {{NAME: \"${{{reference}}}\"}}`"))),
            _ => Err(Problem::new(
                span,
                format!("`${{{reference}}}` is known only in `run` and `env`"),
            )),
        }
    }

    /// The text of a template for one row.
    pub fn text(
        &self,
        template: &Template,
        row: &[u32],
        values: &Values,
        span: Span,
    ) -> Result<String, Problem> {
        template.fill(|reference| {
            let at = self.axis(reference, span)?;
            if row[at] == ABSENT {
                Err(self.lacks(at, span))
            } else {
                Ok(scalar(values.value(row[at])))
            }
        })
    }

    /// A combination has no value on an axis that is read.
    pub fn lacks(&self, at: usize, span: Span) -> Problem {
        Problem::new(
            span,
            format!(
                "some combinations of `{}` have no value on the axis `{}`",
                self.name, self.axes[at]
            ),
        )
        .help("give it in every entry of `include`")
    }
}
