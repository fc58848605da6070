//! `${...}` in texts: how it is written, and what can be put in its place.
//!
//! A text with references becomes a [`Template`]; what is more than a reference is
//! [`super::arithmetic`]. References to `vars` and `env` are resolved for the whole file, those to
//! `matrix`, `round`, `needs` and `outputs` for every instance. Does not know what any of them
//! hold.

use super::reference::NO_NAME;
use super::reference::{BadTemplate, Reference, reference};
use std::fmt;
use std::sync::Arc;

use serde_json::Number;

use super::arithmetic::{self, Expr};
use super::problem::{Problem, Span};

/// The longest text that expansion may make.
pub const MAX_TEXT: usize = 1 << 20;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// To be replaced.
    Ref(Reference),
    /// To be computed.
    Expr(Arc<Expr>),
}

/// What is put in the place of a reference.
pub struct Filled {
    /// In a text.
    pub text: String,
    /// In arithmetic; `None` where it is no number.
    pub number: Option<Number>,
}

/// A text with references.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its pieces, in order.
    pub parts: Vec<Part>,
}

impl Template {
    /// The reference, when the text is nothing else: it then stands for a value of any type.
    pub fn whole(&self) -> Option<&Reference> {
        match self.parts.as_slice() {
            [Part::Ref(reference)] => Some(reference),
            _ => None,
        }
    }

    /// The expression, when the text is nothing else: it then stands for a number.
    pub fn expression(&self) -> Option<&Expr> {
        match self.parts.as_slice() {
            [Part::Expr(expr)] => Some(expr),
            _ => None,
        }
    }

    /// It has references, and nothing of it can be replaced for the whole file.
    pub(super) fn is_of_instance(&self) -> bool {
        let is_of_instance = |part: &Part| match part {
            Part::Text(_) => true,
            Part::Ref(reference) => reference.root.is_of_instance(),
            Part::Expr(_) => false,
        };
        let is_text = |part: &Part| matches!(part, Part::Text(_));
        self.parts.iter().all(is_of_instance) && !self.parts.iter().all(is_text)
    }

    /// All references.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().flat_map(|part| match part {
            Part::Ref(reference) => std::slice::from_ref(reference),
            Part::Expr(expr) => expr.references(),
            Part::Text(_) => &[],
        })
    }

    /// The text with every reference replaced.
    pub fn fill(
        &self,
        span: Span,
        mut lookup: impl FnMut(&Reference) -> Result<Filled, Problem>,
    ) -> Result<String, Problem> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(t) => text.push_str(t),
                Part::Ref(reference) => text.push_str(&lookup(reference)?.text),
                Part::Expr(expr) => {
                    let number = expr.value(span, &mut |reference| {
                        let filled = lookup(reference)?;
                        filled
                            .number
                            .ok_or_else(|| no_number(reference, &filled.text, span))
                    })?;
                    text.push_str(&number.to_string());
                }
            }
        }
        Ok(text)
    }
}

/// Arithmetic with something that is no number.
pub fn no_number(reference: &Reference, found: &str, span: Span) -> Problem {
    let problem = Problem::new(
        span,
        format!("`${{{reference}}}` is `{found}`, which is not a number"),
    );
    match super::plain::read(found) {
        Ok(super::plain::Plain::Number(_)) => problem.help("remove its quotes"),
        _ => problem.help("arithmetic works only with numbers"),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Ref(reference) => write!(f, "${{{reference}}}")?,
                Part::Expr(expr) => write!(f, "${{{expr}}}")?,
            }
        }
        Ok(())
    }
}

/// Splits a text at its references; `$${` and `\${` stand for `${`. `None` when there is nothing to
/// replace.
pub fn parse(text: &str) -> Result<Option<Template>, BadTemplate> {
    // Most texts hold none, and one byte is looked for faster than two.
    let Some(mut at) = memchr::memchr(b'$', text.as_bytes())
        .and_then(|from| Some(from + text[from..].find("${")?))
    else {
        return Ok(None);
    };
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    loop {
        let before = &rest[..at];
        if before.ends_with(['$', '\\']) {
            literal.push_str(&before[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
        } else {
            literal.push_str(before);
            let inner = &rest[at + 2..];
            let Some(close) = inner.find('}') else {
                return Err(BadTemplate {
                    needle: "${".to_owned(),
                    message: "`${` without `}`".to_owned(),
                    help: "write `$${` for a literal `${`".to_owned(),
                });
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(placeholder(&inner[..close])?);
            rest = &inner[close + 1..];
        }
        match rest.find("${") {
            Some(next) => at = next,
            None => break,
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(Some(Template { parts }))
}

/// What stands between `${` and `}`: a reference, or arithmetic with some.
fn placeholder(text: &str) -> Result<Part, BadTemplate> {
    match reference(text) {
        Ok(reference) => Ok(Part::Ref(reference)),
        Err(_) if arithmetic::is_meant(text.trim()) && text.trim().contains(NO_NAME) => {
            match arithmetic::parse(text) {
                Ok(expr) => Ok(Part::Expr(Arc::new(expr))),
                Err(message) => Err(BadTemplate {
                    needle: format!("${{{text}}}"),
                    message: format!("`${{{text}}}`: {message}"),
                    help: "write arithmetic such as `${matrix.seed + 100}`".to_owned(),
                }),
            }
        }
        Err(bad) => Err(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_parts() {
        assert_eq!(parse("plain $x").unwrap(), None);
        assert_eq!(
            parse("$${HOME} \\${x}").unwrap().unwrap().parts,
            [Part::Text("${HOME} ${x}".into())]
        );
        let t = parse("a ${vars.x.y[2]} b").unwrap().unwrap();
        assert_eq!(t.to_string(), "a ${vars.x.y[2]} b");
        assert_eq!(t.parts.len(), 3);
        for bad in [
            "${HOME}",
            "${x:-1}",
            "${",
            "${vars}",
            "${vars.}",
            "${vars.x[a]}",
            "${vars.x y}",
            "${}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
