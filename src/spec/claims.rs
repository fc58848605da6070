//! `claims:` to stages of the claim kind: references become gathers, the rest its parameters.
//!
//! Decides what of a claim the engine understands (`a`, `b`, `in`, `table`, `paired_by`); what is compared and what is expected
//! belongs to the kind.

use std::sync::Arc;

use super::consumer::Consumer;
use super::decode::{Field, check_name};
use super::diagnostic::{Problem, Span};
use super::document::{Data, Key, Node};
use super::model;
use super::needs::{ItemDef, NeedDef, Target, Tying};
use super::refs::Round;

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
    /// Its groups.
    pub needs: Vec<NeedDef>,
    /// The kind's parameters.
    pub with: Node,
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
            problems.push(Problem::new(key.span, format!("the claim `{name}` states nothing")).help("add `compare: {of: VALUE, a: STAGE, b: STAGE}` or `measure: {of: VALUE, in: STAGE}`, and `expect`"));
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
        if let (Target::Link(link), Some(paired)) = (&target, body.get("paired_by")) {
            let axes = &tying.table.stages[link.stage].rows.axes;
            let names = match &paired.data {
                Data::Seq(items) => &**items,
                _ => std::slice::from_ref(paired),
            };
            for node in names {
                match node.as_str() {
                    Some(axis) if axes.iter().any(|a| **a == *axis) => {}
                    Some(axis) => problems.push(
                        Problem::new(
                            node.span,
                            format!(
                                "`{}` has no axis `{axis}` to pair by",
                                tying.table.stages[link.stage].name
                            ),
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
        needs.push(NeedDef {
            name: (*need).into(),
            key: at.span,
            many: true,
            items: vec![ItemDef {
                group: "".into(),
                span: node.span,
                target,
            }],
        });
    }
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
        Some(raw) => params.push((
            Key {
                name: "expect".into(),
                span: raw.0.span,
            },
            raw.0.clone(),
        )),
        None => problems.push(
            Problem::new(
                key.span,
                format!("the claim `{name}` does not say what to expect"),
            )
            .help("add `expect: ...`"),
        ),
    }
    let source = claim.source.as_ref().and_then(|s| s.value.clone());
    Some(ClaimDef {
        name,
        instance,
        key: key.span,
        source,
        needs,
        with: Node {
            span: field.span,
            data: Data::Map(params.into()),
        },
    })
}
