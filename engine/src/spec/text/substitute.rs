//! Templates in a tree replaced by what they refer to.

use std::sync::Arc;

use serde_json::Number;

use super::arithmetic::{Bound, Expr};
use super::node::{Data, Node, Written};
use super::problem::{Problem, Span};
use super::reference::{Reference, Step};
use super::template::{MAX_TEXT, Part, Template, no_number, parse};

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

/// Replaces the references for which `lookup` has an answer, everywhere in a tree; `None` when
/// nothing changes. The nodes of a replaced value keep their own spans but for its root, which
/// takes that of the place of use.
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
