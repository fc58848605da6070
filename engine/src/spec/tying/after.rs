//! `after:` of a stage: whom it waits for without taking anything from them.
//!
//! Decides which instances a name stands for: all of a stage, all of a loop, or those that are
//! picked; in a loop those of the same round. Nothing of it is part of a key.

use std::collections::HashMap;
use std::sync::Arc;

use super::consumer::Consumer;
use super::refs::{Link, Round};
use super::selector;
use super::stages::Named;
use super::tie::Tying;
use crate::spec::text::decode::Raw;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span, first_of_each_sort};
use crate::spec::text::template::Template;

/// One name under `after:`.
pub struct AfterDef {
    /// Where it is written.
    pub span: Span,
    /// What it stands for.
    pub whom: Whom,
}

/// What a name stands for; a loop is all its stages.
pub enum Whom {
    /// The same for every instance.
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
    pub fn is_constant(&self) -> bool {
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
                let mut wrong = Vec::new();
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
                        wrong.push(problem.label(format!("this is `{text}`")));
                        Vec::new()
                    });
                    tied.insert(text, links);
                }
                problems.extend(first_of_each_sort(wrong));
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
        let selector = selector::parse(text, span)?;
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
            let selector = selector::parse(&text, span)?;
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
                    "write `{stage}`; what is taken from a stage belongs under `needs`"
                )));
            }
            links.push(link);
        }
        Ok(links)
    }
}
