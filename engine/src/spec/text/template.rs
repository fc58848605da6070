//! `${...}` in texts: how it is written, and what can be put in its place.
//!
//! A text with references becomes a [`Template`]; what is more than a reference is [`super::arithmetic`]. References to `vars` and `env` are resolved for the whole file, those to
//! `matrix`, `round`, `needs` and `outputs` for every instance. Does not know what any of them hold.

use crate::similar;
use std::fmt;
use std::sync::Arc;

use serde_json::Number;

use super::arithmetic::{self, Bound, Expr};
use super::diagnostic::{Problem, Span};
use super::document::{Data, Node, Written};

/// The longest text that expansion may make.
pub const MAX_TEXT: usize = 1 << 20;

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
    fn is_of_instance(self) -> bool {
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
    fn is_of_instance(&self) -> bool {
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
    match super::scalar::plain_scalar(found) {
        Ok(Data::Number(_)) => problem.help("remove its quotes"),
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

/// Why a template cannot be read: the piece at fault, what is wrong, what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTemplate {
    needle: String,
    message: String,
    help: String,
}

/// Splits a text at its references; `$${` and `\${` stand for `${`. `None` when there is nothing to replace.
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

/// What no reference holds and arithmetic does.
const NO_NAME: [char; 9] = [' ', '+', '*', '/', '%', '(', ')', ':', '-'];

/// Whether a word is what references begin with.
pub fn is_root(word: &str) -> bool {
    ROOTS.iter().any(|(name, _)| *name == word)
}

/// A reference that is written rightly.
pub fn plain(text: &str) -> Option<Reference> {
    reference(text).ok()
}

fn reference(text: &str) -> Result<Reference, BadTemplate> {
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

/// Follows the steps of a reference after its first key.
pub fn follow<'a>(
    mut node: &'a Node,
    reference: &Reference,
    span: Span,
) -> Result<&'a Node, Problem> {
    for step in reference.path.iter().skip(1) {
        let next = match (step, &node.data) {
            (Step::Key(key), Data::Map(entries)) => {
                let found = node.get(key);
                if found.is_none() {
                    return Err(Problem::new(
                        span,
                        format!("`${{{reference}}}`: there is no `{key}`"),
                    )
                    .suggest(key, entries.iter().map(|(k, _)| &*k.name)));
                }
                found
            }
            (Step::Index(i), Data::Seq(items)) => items.get(*i),
            _ => None,
        };
        node = match next {
            Some(next) => next,
            None => {
                let what = match step {
                    Step::Key(key) => format!("no `{key}`"),
                    Step::Index(i) => format!("no position {i}"),
                };
                return Err(Problem::new(
                    span,
                    format!("`${{{reference}}}`: {} has {what}", node.describe()),
                ));
            }
        };
    }
    Ok(node)
}

/// The text of a scalar inside a longer text, as it was written; `None` for lists and maps.
pub fn scalar_text(data: &Data) -> Option<String> {
    match data {
        Data::Null => Some("null".to_owned()),
        Data::Bool(b) => Some(b.text()),
        Data::Number(n) => Some(n.text()),
        Data::String(s) => Some(s.to_string()),
        _ => None,
    }
}

/// `~` has no text: neither `null` nor nothing is surely what is meant.
pub fn null_in_text(reference: &Reference, at: Span) -> Problem {
    Problem::new(
        at,
        format!("`${{{reference}}}` is null, which cannot be part of a text"),
    )
    .help("give it a value; the word itself is written `\"null\"`, an empty text `\"\"`")
}

/// What a reference stands for; `None` when that is known only later.
pub type Lookup<'a> = dyn FnMut(&Reference, Span) -> Option<Result<Node, Problem>> + 'a;

/// Replaces the references for which `lookup` has an answer, everywhere in a tree; `None` when nothing changes.
/// The nodes of a replaced value keep their own spans but for its root, which takes that of the place of use.
pub fn substitute(
    node: &Node,
    narrow: &dyn Fn(Span, &str) -> Span,
    lookup: &mut Lookup<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let data = match &node.data {
        Data::String(text) => match parse(text) {
            Ok(None) => return None,
            Ok(Some(template)) if template.is_of_instance() && text.len() <= MAX_TEXT => {
                Data::Template(Arc::new(template))
            }
            Ok(Some(template)) => {
                substitute_template(&template, node.span, narrow, lookup, problems)
            }
            Err(bad) => {
                problems.push(bad.problem(node.span, narrow));
                Data::Broken
            }
        },
        Data::Template(template) => {
            substitute_template(template, node.span, narrow, lookup, problems)
        }
        Data::Seq(items) => {
            let mut changed: Option<Vec<Node>> = None;
            for (i, item) in items.iter().enumerate() {
                if let Some(new) = substitute(item, narrow, lookup, problems) {
                    changed.get_or_insert_with(|| items.to_vec())[i] = new;
                }
            }
            Data::Seq(changed?.into())
        }
        Data::Map(entries) => {
            let mut changed: Option<Vec<_>> = None;
            for (i, (_, value)) in entries.iter().enumerate() {
                if let Some(new) = substitute(value, narrow, lookup, problems) {
                    changed.get_or_insert_with(|| entries.to_vec())[i].1 = new;
                }
            }
            Data::Map(changed?.into())
        }
        Data::Null | Data::Broken | Data::Bool(_) | Data::Number(_) => return None,
    };
    Some(Node {
        span: node.span,
        data,
    })
}

fn substitute_template(
    template: &Template,
    span: Span,
    narrow: &dyn Fn(Span, &str) -> Span,
    lookup: &mut Lookup<'_>,
    problems: &mut Vec<Problem>,
) -> Data {
    let whole = template.parts.len() == 1;
    let mut parts: Vec<Part> = Vec::new();
    let mut bytes = 0;
    for part in &template.parts {
        let new = match part {
            Part::Text(text) => vec![Part::Text(text.clone())],
            Part::Expr(expr) => {
                let at = narrow(span, &format!("${{{expr}}}"));
                match computed(expr, at, narrow, lookup) {
                    Err(problem) => {
                        problems.extend(problem);
                        return Data::Broken;
                    }
                    Ok(Computed::Number(n)) if whole => return Data::Number(Written::plain(n)),
                    Ok(Computed::Number(n)) => vec![Part::Text(n.to_string())],
                    Ok(Computed::Later(expr)) => vec![Part::Expr(Arc::new(expr))],
                }
            }
            Part::Ref(reference) if reference.root.is_of_instance() => vec![part.clone()],
            Part::Ref(reference) => {
                let at = narrow(span, &format!("${{{reference}}}"));
                match lookup(reference, at) {
                    None => vec![part.clone()],
                    Some(Err(problem)) => {
                        problems.push(problem);
                        return Data::Broken;
                    }
                    Some(Ok(node)) if whole || matches!(node.data, Data::Broken) => {
                        return node.data;
                    }
                    Some(Ok(node)) => match (&node.data, scalar_text(&node.data)) {
                        (Data::Template(inner), _) => inner.parts.clone(),
                        (Data::Null, _) => {
                            problems.push(null_in_text(reference, at));
                            return Data::Broken;
                        }
                        (_, Some(text)) => vec![Part::Text(text)],
                        _ => {
                            problems.push(
                                Problem::new(at, format!("`${{{reference}}}` is {}; only a single value can be part of a text", node.describe()))
                                    .help("let the reference be the whole value, or pick one element with `[0]` or `.name`"),
                            );
                            return Data::Broken;
                        }
                    },
                }
            }
        };
        for part in new {
            match (parts.last_mut(), part) {
                (Some(Part::Text(last)), Part::Text(text)) => {
                    bytes += text.len();
                    last.push_str(&text);
                }
                (_, part) => {
                    if let Part::Text(text) = &part {
                        bytes += text.len();
                    }
                    parts.push(part);
                }
            }
        }
        if bytes > MAX_TEXT {
            problems.push(Problem::new(
                span,
                format!("the text grows beyond {MAX_TEXT} bytes when its references are replaced"),
            ));
            return Data::Broken;
        }
    }
    match parts.as_slice() {
        [] => Data::String("".into()),
        [Part::Text(text)] => Data::String(text.as_str().into()),
        _ => Data::Template(Arc::new(Template { parts })),
    }
}

enum Computed {
    Number(Number),
    Later(Expr),
}

/// An expression with what is known by now put in; no problem where one was reported already.
fn computed(
    expr: &Expr,
    at: Span,
    narrow: &dyn Fn(Span, &str) -> Span,
    lookup: &mut Lookup<'_>,
) -> Result<Computed, Option<Problem>> {
    let mut broken = false;
    let bound = expr.bind(&mut |reference| {
        let place = narrow(at, &reference.to_string());
        let node = match lookup(reference, place) {
            None => return Ok(Bound::Later(reference.clone())),
            Some(found) => found?,
        };
        if let Data::Number(n) = &node.data {
            return Ok(Bound::Number(n.value.clone()));
        }
        // A variable that stands for something of the instance.
        if let Data::Template(inner) = &node.data {
            match inner.parts.as_slice() {
                [Part::Ref(inner)] => return Ok(Bound::Later(inner.clone())),
                [Part::Expr(inner)] => return Ok(Bound::Expr(inner.clone())),
                _ => {}
            }
        }
        broken |= matches!(node.data, Data::Broken);
        let found = scalar_text(&node.data).unwrap_or_else(|| node.describe());
        Err(no_number(reference, &found, place))
    });
    let bound = match bound {
        Ok(bound) => bound,
        Err(_) if broken => return Err(None),
        Err(problem) => return Err(Some(problem)),
    };
    if !bound.references().is_empty() {
        return Ok(Computed::Later(bound));
    }
    bound
        .value(at, &mut |reference| {
            Err(no_number(reference, "nothing", at))
        })
        .map(Computed::Number)
        .map_err(Some)
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
