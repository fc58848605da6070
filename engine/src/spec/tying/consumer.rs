//! A stage as one who needs things: its axes, and the references to them.

use std::sync::Arc;

use serde_json::{Number, Value};

use super::axis::as_value;
use super::values::{ABSENT, Values};
use crate::spec::text::arithmetic::Expr;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::reference::{Reference, Root};
use crate::spec::text::substitute;
use crate::spec::text::template::{self, Filled, Template};

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
        if reference.path.len() != 1 && reference.root == Root::Round {
            return Err(Problem::new(
                span,
                format!("`${{{reference}}}`: a round has no parts"),
            ));
        }
        match reference.root {
            Root::Matrix => self.axes.iter().position(|a| **a == *head).ok_or_else(|| {
                let problem = Problem::new(span, format!("`{}` has no axis `{head}`", self.name))
                    .suggest(head, self.axes.iter().map(|a| &**a));
                if self.axes.iter().any(|a| head.starts_with(&format!("{a}-"))) {
                    problem.help("a name may hold `-`; write a minus sign with spaces around it")
                } else if self.axes.is_empty() {
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

    /// What a reference stands for in one row, in a text and in arithmetic.
    pub fn filled(
        &self,
        reference: &Reference,
        row: &[u32],
        values: &Values,
        span: Span,
    ) -> Result<Filled, Problem> {
        let id = self.id(reference, row, span)?;
        let number = |value: &Value| match value {
            Value::Number(n) => Some(n.clone()),
            _ => None,
        };
        if reference.path.len() == 1 {
            if values.value(id).is_null() {
                return Err(substitute::null_in_text(reference, span));
            }
            return Ok(Filled {
                text: values.text(id).to_owned(),
                number: number(values.value(id)),
            });
        }
        let node = self.part(reference, id, values, span)?;
        match (&node.data, substitute::scalar_text(&node.data)) {
            (Data::Null, _) => Err(substitute::null_in_text(reference, span)),
            (_, None) => Err(Problem::new(
                span,
                format!(
                    "`${{{reference}}}` is {}; only a single value can be part of a text",
                    node.describe()
                ),
            )
            .help(
                "let the reference be the whole value, or pick one element with `[0]` or `.name`",
            )),
            (_, Some(text)) => Ok(Filled {
                text,
                number: number(&as_value(node)),
            }),
        }
    }

    /// What a reference that is the whole value stands for in one row.
    pub fn value(
        &self,
        reference: &Reference,
        row: &[u32],
        values: &Values,
        span: Span,
    ) -> Result<Value, Problem> {
        let id = self.id(reference, row, span)?;
        match reference.path.len() {
            1 => Ok(values.value(id).clone()),
            _ => self.part(reference, id, values, span).map(as_value),
        }
    }

    /// A number that is computed from a row.
    pub fn computed(
        &self,
        expr: &Expr,
        row: &[u32],
        values: &Values,
        span: Span,
    ) -> Result<Number, Problem> {
        expr.value(span, &mut |reference| {
            let filled = self.filled(reference, row, values, span)?;
            let text = &filled.text;
            filled
                .number
                .ok_or_else(|| template::no_number(reference, text, span))
        })
    }

    fn id(&self, reference: &Reference, row: &[u32], span: Span) -> Result<u32, Problem> {
        let at = self.axis(reference, span)?;
        match row[at] {
            ABSENT => Err(self.lacks(at, span)),
            id => Ok(id),
        }
    }

    fn part<'v>(
        &self,
        reference: &Reference,
        id: u32,
        values: &'v Values,
        span: Span,
    ) -> Result<&'v Node, Problem> {
        let Some(node) = values.node(id) else {
            return Err(Problem::new(
                span,
                format!(
                    "`${{{reference}}}`: the value `{}` is not a map and has no parts",
                    values.text(id)
                ),
            )
            .help(format!("write `${{matrix.{}}}`", reference.head())));
        };
        substitute::follow(node, reference, span)
    }

    /// The text of a template for one row.
    pub fn text(
        &self,
        template: &Template,
        row: &[u32],
        values: &Values,
        span: Span,
    ) -> Result<String, Problem> {
        template.fill(span, |reference| self.filled(reference, row, values, span))
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
