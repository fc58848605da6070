//! `claims:` to stages of the claim kind: references become gathers, the rest its parameters.
//!
//! Decides what of a claim the engine understands (`a`, `b`, `in`, `table`, and whether every axis
//! is spoken of: `paired_by`, `over`, `within`, `along`) and its family; how many repetitions it
//! reads is in [`super::number`]. What is compared and what is expected belongs to the kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::consumer::Consumer;
use super::needs::{ItemDef, NeedDef, Target};
use super::number::{self, Asking, Number, REPEATS, listed};
use super::refs::{Link, Round};
use super::tie::Tying;
use crate::spec::text::decode::{Field, check_name};
use crate::spec::text::model;
use crate::spec::text::node::{Data, Key, Node};
use crate::spec::text::problem::{Problem, Span};
use repro_protocol::table::APART;

/// A claim, its references tied.
pub struct ClaimDef {
    /// Its name.
    pub name: Arc<str>,
    /// `claim:NAME`.
    pub instance: Arc<str>,
    /// Where its name is written.
    pub key: Span,
    /// Who says so.
    pub source: Option<String>,
    /// The family it belongs to.
    pub family: Option<Arc<str>>,
    /// Its groups.
    pub needs: Vec<NeedDef>,
    /// The kind's parameters.
    pub with: Node,
    /// How many repetitions it reads.
    pub number: Number,
}

/// Ties one claim.
pub fn tie(
    key: &Key,
    field: &Field<model::Claim>,
    tying: &mut Tying,
    problems: &mut Vec<Problem>,
) -> Option<ClaimDef> {
    let name = check_name(key, "a claim")
        .map_err(|p| problems.push(p))
        .ok()?;
    let claim = field.value.as_ref()?;
    let (word, body, groups): (&str, &Node, &[(&str, &str)]) = match (
        &claim.compare,
        &claim.measure,
    ) {
        (Some(raw), None) => ("compare", &raw.0, &[("a", "a"), ("b", "b")]),
        (None, Some(raw)) => ("measure", &raw.0, &[("in", "a")]),
        (None, None) => {
            problems.push(Problem::new(key.span, format!("the claim `{name}` states nothing")).help("add `compare: {of: VALUE, a: STAGE, b: STAGE}` or `measure: {of: VALUE, in: STAGE}`, and `expect`").lacks(["compare", "measure"]));
            return None;
        }
        (Some(_), Some(raw)) => {
            problems.push(
                Problem::new(
                    raw.0.span,
                    format!("the claim `{name}` has both `compare` and `measure`"),
                )
                .help("make two claims of it"),
            );
            return None;
        }
    };
    let Data::Map(entries) = &body.data else {
        problems.push(Problem::new(
            body.span,
            format!("expected a map, found {}", body.describe()),
        ));
        return None;
    };
    let table: Arc<str> = match body.get("table").map(|n| (n, n.as_str())) {
        None => "metrics".into(),
        Some((_, Some(text))) => text.into(),
        Some((node, None)) => {
            problems.push(Problem::new(
                node.span,
                format!("expected the name of an output, found {}", node.describe()),
            ));
            return None;
        }
    };
    let instance: Arc<str> = format!("claim:{name}").into();
    let consumer = Consumer {
        stage: None,
        name: &instance,
        axes: &[],
        round_axis: None,
    };
    let mut needs = Vec::new();
    for (field, need) in groups {
        let Some((at, node)) = entries.iter().find(|(k, _)| &*k.name == *field) else {
            problems.push(
                Problem::new(key.span, format!("`{field}` is missing in `{word}`"))
                    .help(format!("add `{field}: STAGE`")),
            );
            // The kind would say the same again.
            needs.push(missing(need, key.span));
            continue;
        };
        let target = match node.as_str() {
            Some(text) => tying
                .link(text, node.span, &consumer, Round::Same, true)
                .map(|mut target| {
                    if let Target::Link(link) = &mut target {
                        link.output.get_or_insert_with(|| table.clone());
                    }
                    target
                }),
            None => Err(Problem::new(
                node.span,
                format!("expected a stage or a reference, found {}", node.describe()),
            )),
        };
        let target = target.unwrap_or_else(|problem| {
            problems.push(problem);
            Target::Broken
        });
        needs.push(NeedDef {
            name: (*need).into(),
            key: at.span,
            many: true,
            items: vec![ItemDef {
                at: None,
                group: "".into(),
                span: node.span,
                target,
            }],
        });
    }
    let linked = needs.iter().flat_map(|need| &need.items);
    let linked = linked.filter_map(|item| match &item.target {
        Target::Link(link) => Some((item.span, link)),
        _ => None,
    });
    let linked: Vec<(Span, &Link)> = linked.collect();
    let before = problems.len();
    check_axes(
        word,
        body,
        &linked,
        linked.len() == groups.len(),
        tying,
        problems,
    );
    // A misspelt axis is told once.
    if problems.len() == before {
        let found = linked
            .iter()
            .filter_map(|(span, link)| unaccounted(word, body, *span, link, tying));
        problems.extend(found);
    }
    let asking = Asking {
        key: key.span,
        claim,
        word,
        body,
        linked: (linked.len() == groups.len() && problems.len() == before).then_some(&linked[..]),
    };
    let number = number::read(&asking, tying, problems);
    let until = claim.until.as_ref().map(|field| field.span);
    // What is left of the claim once its references are taken out.
    let left: Vec<(Key, Node)> = entries
        .iter()
        .filter(|(k, _)| &*k.name != "table" && !groups.iter().any(|(f, _)| *f == &*k.name))
        .cloned()
        .collect();
    let mut params = vec![(
        Key {
            name: word.into(),
            span: body.span,
        },
        Node {
            span: body.span,
            data: Data::Map(left.into()),
        },
    )];
    match &claim.expect {
        Some(raw) => {
            let expect =
                until.map_or_else(|| Ok(raw.0.clone()), |until| number::anytime(until, &raw.0));
            match expect {
                Ok(expect) => params.push((
                    Key {
                        name: "expect".into(),
                        span: raw.0.span,
                    },
                    expect,
                )),
                Err(problem) => {
                    problems.push(problem);
                    return None;
                }
            }
        }
        None => {
            problems.push(
                Problem::new(
                    key.span,
                    format!("the claim `{name}` does not say what to expect"),
                )
                .help("add `expect: ...`")
                .lacks(["expect"]),
            );
            return None;
        }
    }
    for (name, raw) in [("family", &claim.family), ("report", &claim.report)] {
        let named = raw.as_ref().map(|raw| {
            let key = Key {
                name: name.into(),
                span: raw.0.span,
            };
            (key, raw.0.clone())
        });
        params.extend(named);
    }
    let source = claim.source.as_ref().and_then(|s| s.value.clone());
    let family = claim.family.as_ref().and_then(|raw| raw.0.as_str());
    Some(ClaimDef {
        family: family.map(Arc::from),
        name,
        instance,
        key: key.span,
        source,
        needs,
        number,
        with: Node {
            span: field.span,
            data: Data::Map(params.into()),
        },
    })
}

/// A side that the claim does not name.
fn missing(name: &str, span: Span) -> NeedDef {
    NeedDef {
        name: name.into(),
        key: span,
        many: true,
        items: vec![ItemDef {
            at: None,
            group: "".into(),
            span,
            target: Target::Broken,
        }],
    }
}

/// Every axis that is named must be one: of each side, where it pairs; of any of them or a column
/// of the tables themselves, where it repeats or is averaged over (looked at where `all` references
/// could be tied).
fn check_axes(
    word: &str,
    body: &Node,
    linked: &[(Span, &Link)],
    all: bool,
    tying: &Tying,
    problems: &mut Vec<Problem>,
) {
    let stages: Vec<_> = linked
        .iter()
        .map(|(_, link)| &tying.table.stages[link.stage])
        .collect();
    for node in body.get("paired_by").map_or(&[][..], listed) {
        for stage in &stages {
            let axes = &stage.rows.axes;
            match node.as_str() {
                Some(axis) if axes.iter().any(|a| **a == *axis) => {}
                Some(axis) => problems.push(
                    Problem::new(
                        node.span,
                        format!("`{}` has no axis `{axis}` to pair by", stage.name),
                    )
                    .suggest(axis, axes.iter().map(|a| &**a)),
                ),
                None => problems.push(Problem::new(
                    node.span,
                    format!("expected the name of an axis, found {}", node.describe()),
                )),
            }
        }
    }
    // What repeats in a comparison is one of `paired_by`: the kind says so.
    let over = body.get("over").filter(|_| word == "measure");
    let along = body.get("along");
    let averaged = [over, along, body.get("within")].into_iter().flatten();
    let names: BTreeSet<String> = stages.iter().map(|s| format!("`{}`", s.name)).collect();
    let axes: BTreeSet<&str> = stages
        .iter()
        .flat_map(|s| &s.rows.axes)
        .map(|a| &**a)
        .collect();
    for node in averaged.flat_map(listed).filter(|_| all) {
        // What is no name is refused by the kind.
        let Some(axis) = node.as_str() else { continue };
        if !axes.contains(axis) && !APART.contains(&axis) {
            let message = match names.len() {
                1 => format!("{} has no axis `{axis}`", Vec::from_iter(&names)[0]),
                _ => format!(
                    "neither {} has an axis `{axis}`",
                    Vec::from_iter(names.clone()).join(" nor ")
                ),
            };
            problems.push(Problem::new(node.span, message).suggest(axis, axes.clone()));
        }
    }
}

/// An axis along which the gathered runs differ, and of which the claim does not say what that
/// means: repetitions count, a sweep does not.
fn unaccounted(word: &str, body: &Node, span: Span, link: &Link, tying: &Tying) -> Option<Problem> {
    let stage = &tying.table.stages[link.stage];
    let counting = if word == "measure" {
        "over"
    } else {
        "paired_by"
    };
    let mut named: Vec<&str> = Vec::new();
    match body.get(counting) {
        Some(node) => named.extend(listed(node).iter().filter_map(Node::as_str)),
        None => named.push(REPEATS),
    }
    for field in ["within", "along"] {
        let axes = body.get(field).map_or(&[][..], listed);
        named.extend(axes.iter().filter_map(Node::as_str));
    }
    let rows = tying.links.follow(link, &[], tying.values, tying.table);
    for (at, axis) in stage.rows.axes.iter().enumerate() {
        let mut found: Vec<u32> = Vec::new();
        for &row in &rows {
            let value = tying.values.join(stage.rows.rows[row as usize][at]);
            if !found.contains(&value) {
                found.push(value);
            }
            if found.len() > 1 {
                break;
            }
        }
        if found.len() > 1 && !named.contains(&&**axis) {
            let example = tying.values.text(found[0]);
            let text = format!(
                "the runs of `{}` differ in `{axis}`, and the claim does not say what that means",
                stage.name
            );
            let counts = match word {
                "measure" => format!("`over: {axis}` if it repeats the experiment"),
                _ => format!(
                    "`paired_by: [{}, {axis}]` if pairs agree on it",
                    named.join(", ")
                ),
            };
            return Some(Problem::new(span, text).help(format!(
                "say {counts}, `within: {axis}` to average over it first, or pick a value: `{}[{axis}={example},*]`",
                stage.name
            )));
        }
    }
    None
}
