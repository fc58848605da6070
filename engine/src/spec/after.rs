//! `after:` of a stage: whom it waits for without taking anything from them.
//!
//! Decides which instances a name stands for: all of a stage, all of a loop, or those that are picked; in a loop those of the same
//! round. Nothing of it is part of a key.

use std::collections::HashMap;
use std::sync::Arc;

use super::consumer::Consumer;
use super::decode::Raw;
use super::diagnostic::{Problem, Span};
use super::document::{Data, Node};
use super::expand::{Expander, Making};
use super::needs::Tying;
use super::refs::{self, Link, Round};
use super::stages::Named;
use super::template::Template;
use crate::plan::InstanceIndex;

/// One name under `after:`.
pub struct AfterDef {
    span: Span,
    whom: Whom,
}

/// What a name stands for; a loop is all its stages.
enum Whom {
    Links(Vec<Link>),
    /// Chosen by axis values; every text it takes, tied.
    PerRow(Arc<Template>, HashMap<String, Vec<Link>>),
}

impl AfterDef {
    /// All references in it.
    pub fn links(&self) -> Vec<&Link> {
        match &self.whom {
            Whom::Links(links) => links.iter().collect(),
            Whom::PerRow(_, tied) => tied.values().flatten().collect(),
        }
    }

    /// The same for every instance.
    fn is_constant(&self) -> bool {
        match &self.whom {
            Whom::Links(links) => links.iter().all(|link| link.reads().next().is_none()),
            Whom::PerRow(..) => false,
        }
    }
}

impl Tying<'_> {
    /// Ties all names under `after:` of a stage.
    pub fn after(
        &mut self,
        Raw(node): &Raw,
        consumer: &Consumer,
        problems: &mut Vec<Problem>,
    ) -> Vec<AfterDef> {
        let nodes = match &node.data {
            Data::Null | Data::Broken => &[],
            Data::Seq(items) => &items[..],
            _ => std::slice::from_ref(node),
        };

        nodes
            .iter()
            .filter_map(|node| {
                let whom = self.whom(node, consumer, problems);
                let whom = whom.map_err(|problem| problems.push(problem)).ok()?;
                Some(AfterDef {
                    span: node.span,
                    whom,
                })
            })
            .collect()
    }

    fn whom(
        &mut self,
        node: &Node,
        consumer: &Consumer,
        problems: &mut Vec<Problem>,
    ) -> Result<Whom, Problem> {
        match &node.data {
            Data::String(text) => Ok(Whom::Links(self.stages(text, node.span, consumer)?)),
            Data::Template(template) => {
                for reference in template.references() {
                    let at = (self.narrow)(node.span, &format!("${{{reference}}}"));
                    consumer.axis(reference, at)?;
                }
                let mut tied = HashMap::new();
                for row in consumer
                    .stage
                    .map_or(&[][..], |s| &self.table.stages[s].rows.rows)
                {
                    let text = consumer.text(template, row, self.values, node.span)?;
                    if tied.contains_key(&text) {
                        continue;
                    }
                    let links = self.stages(&text, node.span, consumer);
                    let links = links.unwrap_or_else(|problem| {
                        problems.push(problem.label(format!("this is `{text}`")));
                        Vec::new()
                    });
                    tied.insert(text, links);
                }
                Ok(Whom::PerRow(template.clone(), tied))
            }
            _ => Err(Problem::new(
                node.span,
                format!("expected the name of a stage, found {}", node.describe()),
            )
            .help("write `after: [STAGE, ...]`; `STAGE[axis=value]` picks instances")),
        }
    }

    /// The stages that a text names.
    fn stages(
        &mut self,
        text: &str,
        span: Span,
        consumer: &Consumer,
    ) -> Result<Vec<Link>, Problem> {
        let selector = refs::parse(text, span)?;
        let name = selector.first();
        let home = consumer.stage.and_then(|s| self.table.stages[s].home);
        let is_inner = home.is_some_and(|h| self.table.inner(h, name).is_some());
        let named = self.table.names.get(name).filter(|_| !is_inner);
        if named.is_none() && !is_inner && self.claims.iter().any(|claim| **claim == *name) {
            return Err(Problem::new(
                span,
                format!("`{name}` is a claim, and claims are decided after all stages"),
            )
            .help("name the stages whose results it is about"));
        }
        let texts = match named {
            Some(Named::Loop(at)) if selector.is_one_name() => {
                let inner = self.table.loops[*at].stages.iter();
                let of = |&s: &usize| text.replacen(name, &self.table.stages[s].name, 1);
                inner.map(of).collect()
            }
            _ => vec![text.to_owned()],
        };
        let mut links = Vec::new();
        for text in texts {
            let selector = refs::parse(&text, span)?;
            let tied = self.links.tie(
                &selector,
                span,
                consumer.stage,
                Round::Waiting,
                true,
                self.table,
                self.values,
            )?;
            let Some(link) = tied else { continue };
            if link.output.is_some() || link.path.is_some() {
                let stage = &self.table.stages[link.stage].name;
                return Err(Problem::new(
                    span,
                    format!("`after` waits for stages, and `{text}` names an output"),
                )
                .help(format!(
                    "write `{stage}`; what is taken from a stage stands under `needs`"
                )));
            }
            links.push(link);
        }
        Ok(links)
    }
}

impl Expander<'_, '_> {
    /// Whom an instance waits for, sorted. `Err`: a problem was reported.
    pub fn awaited(
        &mut self,
        making: &mut Making,
        row: &[u32],
        id: &str,
        consumer: &Consumer,
    ) -> Result<Arc<[InstanceIndex]>, ()> {
        if let Some(awaited) = &making.awaited {
            return Ok(awaited.clone());
        }
        let mut awaited = Vec::new();
        let mut ok = true;
        for def in &making.after {
            let links = match &def.whom {
                Whom::Links(links) => Ok(Some(links)),
                Whom::PerRow(template, tied) => consumer
                    .text(template, row, self.tying.values, def.span)
                    .map(|text| tied.get(&text)),
            };
            let found = links.and_then(|links| {
                links.into_iter().flatten().try_for_each(|link| {
                    awaited.extend(self.instances_of(link, row, id)?);
                    Ok(())
                })
            });
            if let Err(problem) = found {
                self.once("after", problem);
                ok = false;
            }
        }
        awaited.sort_unstable();
        awaited.dedup();
        let awaited: Arc<[InstanceIndex]> = awaited.into();
        if ok && making.after.iter().all(AfterDef::is_constant) {
            making.awaited = Some(awaited.clone());
        }
        ok.then_some(awaited).ok_or(())
    }

    fn instances_of(
        &self,
        link: &Link,
        row: &[u32],
        id: &str,
    ) -> Result<Vec<InstanceIndex>, Problem> {
        let (table, values) = (self.table, self.tying.values);
        let rows = self.tying.links.follow(link, row, values, table);
        if rows.is_empty() {
            let links = &self.tying.links;
            return Err(links.not_one(link, 0, id, row, table, values));
        }
        let span = self.order.spans[link.stage];
        rows.into_iter()
            .map(|row| {
                let number = span.number(row);
                match self.instances.get(number as usize) {
                    Some(_) => Ok(InstanceIndex(number)),
                    None => Err(Problem::new(
                        link.span,
                        format!(
                            "`{id}` waits for an instance of `{}` that is made after it",
                            table.stages[link.stage].name
                        ),
                    )
                    .help("inside a loop, wait for stages of the same or an earlier round")),
                }
            })
            .collect()
    }
}
