//! `needs:` of one stage: what is written, tied to producers; then, per instance, the artifacts and
//! where they are placed.
//!
//! Decides the forms of a need (reference, file, list, groups, binding of a loop) and the paths
//! under which a command finds its inputs. The paths hold no stage name, so renaming a stage
//! changes no command.

use std::collections::HashMap;
use std::sync::Arc;

use super::consumer::Consumer;
use super::refs::{Link, Round};
use super::selector;
use super::sources::{self, FoundFile, Written, is_files};
use super::stages::Table;
use super::tie::{Tying, fallback};
use crate::plan::{Axes, Inside, InstanceIndex, NeedItem, Source};
use crate::spec::text::decode::{Entries, Raw, check_name};
use crate::spec::text::node::{Data, Key, Node};
use crate::spec::text::problem::{Problem, Span, first_of_each_sort};
use crate::spec::text::reference::{Reference, Root};
use crate::spec::text::substitute::scalar_text;
use crate::spec::text::template::Template;
use repro_protocol::relpath::RelPath;

/// One input of a stage.
pub struct NeedDef {
    /// Its name.
    pub name: Arc<str>,
    /// Where its name is written.
    pub key: Span,
    /// Written as a list or as groups.
    pub many: bool,
    /// Its parts.
    pub items: Vec<ItemDef>,
}

/// One part of an input.
pub struct ItemDef {
    /// List position or group name; empty for a single need.
    pub group: Arc<str>,
    /// Where it is written.
    pub span: Span,
    /// What it stands for.
    pub target: Target,
    /// The path at which a command wants to find it: the text after `at`.
    pub at: Option<Node>,
}

/// What a part of an input stands for.
pub enum Target {
    /// A problem was reported.
    Broken,
    /// Files that no stage makes.
    Files(Vec<FoundFile>),
    /// The same, named by axis values.
    FilesPerRow(Box<Written>),
    /// An output.
    Link(Link),
    /// An output chosen by axis values; every text it takes, tied.
    LinkPerRow(Arc<Template>, HashMap<String, Option<Link>>),
    /// A binding of the loop: in round 0, and after it.
    Binding(Option<Box<Target>>, Box<Target>),
    /// A binding that is a list.
    Grown(Grown),
}

/// A list that grows from round to round.
#[derive(Default)]
pub struct Grown {
    /// What it is in round 0.
    pub first: Vec<Target>,
    /// What every round adds: it is there from the next round on.
    pub carry: Vec<Target>,
}

impl Target {
    /// The output, where it is the same one in every row.
    pub fn link(&self) -> Option<&Link> {
        match self {
            Target::Link(link) => Some(link),
            _ => None,
        }
    }
}

impl Tying<'_> {
    /// Ties all needs of a stage; sorted by name.
    pub fn needs(
        &mut self,
        entries: &Entries<Raw>,
        consumer: &Consumer,
        problems: &mut Vec<Problem>,
    ) -> Vec<NeedDef> {
        let mut needs = Vec::new();
        for (key, field) in &entries.list {
            match check_name(key, "an input") {
                Ok(_) => {}
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            }
            if let Some(Raw(node)) = &field.value {
                needs.push(self.need(key, node, consumer, problems));
            }
        }
        needs.sort_by(|a, b| a.name.cmp(&b.name));
        needs
    }

    /// Checks what the bindings of all loops refer to, used or not.
    pub fn bindings(&mut self, problems: &mut Vec<Problem>) {
        let table = self.table;
        for this in &table.loops {
            let Some(&stage) = this.stages.first() else {
                continue;
            };
            for (list, round) in [
                (&this.first, Round::Outside),
                (&this.carry, Round::Previous),
            ] {
                let single = |node: &Node| match &node.data {
                    Data::Seq(items) => items.to_vec(),
                    _ => vec![node.clone()],
                };
                for node in list.iter().flat_map(|(_, node)| single(node)) {
                    if let Data::String(text) = &node.data {
                        let found = selector::parse(text, node.span).and_then(|s| {
                            self.links.tie(
                                &s,
                                node.span,
                                Some(stage),
                                round,
                                false,
                                table,
                                self.values,
                            )
                        });
                        problems.extend(found.err());
                    }
                }
            }
        }
    }

    fn need(
        &mut self,
        key: &Key,
        node: &Node,
        consumer: &Consumer,
        problems: &mut Vec<Problem>,
    ) -> NeedDef {
        let mut need = NeedDef {
            name: key.name.clone(),
            key: key.span,
            many: false,
            items: Vec::new(),
        };
        let mut add = |group: Arc<str>, node: &Node, problems: &mut Vec<Problem>| {
            let is_many = matches!(&node.data, Data::Map(entries) if entries.iter().any(|(k, _)| &*k.name == "files"));
            need.many |= is_many;
            let (node, at) = match moved(node) {
                Some((from, at)) => (from, Some(at)),
                None => (node, None),
            };
            problems.extend(at.and_then(|at| wrong_place(at, consumer, self.narrow)));
            let target = self.item(node, consumer, problems);
            need.items.push(ItemDef {
                group,
                span: node.span,
                target,
                at: at.cloned(),
            });
        };
        match &node.data {
            Data::Seq(items) => {
                for (i, item) in items.iter().enumerate() {
                    add(i.to_string().into(), item, problems);
                }
                need.many = true;
            }
            Data::Map(entries) if !is_files(entries) && moved(node).is_none() => {
                for (key, item) in entries.iter() {
                    if matches!(&*key.name, "file" | "dir") {
                        problems.push(Problem::new(key.span, format!("`{}` is reserved and cannot be the name of a group", key.name)).help("choose another name, or write the file as `{file: path}` inside a group"));
                    } else if let Err(problem) = check_name(key, "a group") {
                        problems.push(problem);
                    } else {
                        add(key.name.clone(), item, problems);
                    }
                }
                for item in &need.items {
                    if let Target::Grown(_) = item.target {
                        problems.push(
                            Problem::new(item.span, "this binding is a list, and a group is one input")
                                .help("make it a need of its own, or part of a list: `[stage.output, \"${round.NAME}\"]`"),
                        );
                    }
                }
                // The order in which groups are written is no order of artifacts.
                need.items.sort_by(|a, b| a.group.cmp(&b.group));
                need.many = true;
            }
            _ => add("".into(), node, problems),
        }
        if need.items.is_empty() {
            problems.push(
                Problem::new(key.span, format!("the need `{}` is empty", key.name))
                    .help("remove it, or name what it needs"),
            );
        }
        need
    }

    fn item(&mut self, node: &Node, consumer: &Consumer, problems: &mut Vec<Problem>) -> Target {
        let result = match &node.data {
            Data::String(text) => self.link(text, node.span, consumer, Round::Same, false),
            Data::Template(template) => match template.whole() {
                Some(reference) if reference.root == Root::Round && reference.head() != "index" => {
                    self.binding(reference, node.span, consumer, problems)
                }
                _ => self.template(template, node.span, consumer, Round::Same, false, problems),
            },
            Data::Map(entries) if is_files(entries) => {
                let written = sources::read(entries, consumer, self, problems);
                match written {
                    None => Ok(Target::Broken),
                    Some(written) if !written.is_constant() => {
                        Ok(Target::FilesPerRow(Box::new(written)))
                    }
                    Some(written) => written.find(&[], consumer, self).map(Target::Files),
                }
            }
            _ => Err(Problem::new(
                node.span,
                format!("expected an input, found {}", node.describe()),
            )
            .help("write `stage.output`, `{file: path}`, a list of these or a map of groups")),
        };
        result.unwrap_or_else(|problem| {
            problems.push(problem);
            Target::Broken
        })
    }

    /// Ties a reference; `gather` as in [`Links::tie`].
    pub fn link(
        &mut self,
        text: &str,
        span: Span,
        consumer: &Consumer,
        round: Round,
        gather: bool,
    ) -> Result<Target, Problem> {
        // A name such as `train.py` reads like an output, and may be a file.
        let is_path = text.contains('/') && !text.contains('[');
        let is_file = (is_path || (text.contains('.') && !text.contains('[')))
            && self.root.join(text).is_file();
        let is_dir = is_path && self.root.join(text).is_dir();
        let as_file = |problem: Problem| match (is_file, is_dir) {
            (true, _) => problem.help(format!(
                "the file of the project is written `{{file: {text}}}`"
            )),
            (_, true) => problem.help(format!(
                "the directory of the project is written `{{dir: {text}}}`"
            )),
            // What begins with a name that no stage has is hardly a path in an output.
            _ if is_path => problem.help(format!(
                "a file of the project is written `{{file: {text}}}`"
            )),
            _ => problem,
        };
        let selector = selector::parse(text, span)?;
        let tied = self.links.tie(
            &selector,
            span,
            consumer.stage,
            round,
            gather,
            self.table,
            self.values,
        );
        let Some(mut link) = tied.map_err(as_file)? else {
            return Ok(Target::Broken);
        };
        if is_file && link.path.is_none() {
            let producer = &self.table.stages[link.stage];
            let outputs = producer.model.as_ref().and_then(|m| m.outputs.as_ref());
            let known = |name: &Arc<str>| {
                outputs.is_none_or(|o| o.list.iter().any(|(key, _)| key.name == *name))
            };
            if consumer.stage == Some(link.stage) || !link.output.as_ref().is_some_and(known) {
                let output = link.output.as_deref().unwrap_or_default();
                return Err(as_file(Problem::new(
                    span,
                    format!(
                        "`{text}` is read as the output `{output}` of the stage `{}`",
                        producer.name
                    ),
                )));
            }
            link.file = Some(text.into());
        }
        Ok(Target::Link(link))
    }

    fn template(
        &mut self,
        template: &Arc<Template>,
        span: Span,
        consumer: &Consumer,
        round: Round,
        gather: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<Target, Problem> {
        for reference in template.references() {
            consumer.axis(reference, (self.narrow)(span, &format!("${{{reference}}}")))?;
        }
        let rows = consumer
            .stage
            .map_or(&[][..], |s| &self.table.stages[s].rows.rows);
        let mut tied = HashMap::new();
        let mut wrong = Vec::new();
        for row in rows {
            let text = consumer.text(template, row, self.values, span)?;
            if tied.contains_key(&text) {
                continue;
            }
            let link = match self.link(&text, span, consumer, round, gather) {
                Ok(Target::Link(link)) => Some(link),
                Ok(_) => None,
                Err(problem) => {
                    wrong.push(problem.label(format!("this is `{text}`")));
                    None
                }
            };
            tied.insert(text, link);
        }
        problems.extend(first_of_each_sort(wrong));
        Ok(Target::LinkPerRow(template.clone(), tied))
    }

    fn binding(
        &mut self,
        reference: &Reference,
        span: Span,
        consumer: &Consumer,
        problems: &mut Vec<Problem>,
    ) -> Result<Target, Problem> {
        let name = reference.head();
        let table = self.table;
        let Some(home) = consumer
            .stage
            .and_then(|s| table.stages[s].home)
            .map(|h| &table.loops[h])
        else {
            return Err(Problem::new(
                span,
                format!("`${{{reference}}}` is known only in the stages of a loop"),
            )
            .help("a loop has `rounds` and inner `stages`"));
        };
        let Some((_, carry)) = home.carry.iter().find(|(k, _)| &*k.name == name) else {
            if home.first.iter().any(|(k, _)| &*k.name == name) {
                return Ok(Target::Broken);
            }
            let names = home.carry.iter().map(|(k, _)| &*k.name).chain(["index"]);
            return Err(Problem::new(
                span,
                format!("the loop `{}` has no binding `{name}`", home.name),
            )
            .suggest(name, names)
            .help(format!(
                "add `carry: {{{name}: STAGE.OUTPUT}}` to its `rounds`"
            )));
        };
        let mut tie = |node: &Node, round: Round, problems: &mut Vec<Problem>| {
            let target = match &node.data {
                Data::String(text) => self.link(text, node.span, consumer, round, false),
                Data::Template(template) => {
                    self.template(template, node.span, consumer, round, false, problems)
                }
                _ => Err(Problem::new(
                    node.span,
                    format!("expected a reference, found {}", node.describe()),
                )
                .help("write `stage.output`")),
            };
            target.unwrap_or_else(|problem| {
                problems.push(problem);
                Target::Broken
            })
        };
        let first = home.first.iter().find(|(k, _)| &*k.name == name);
        let first = first.map(|(_, node)| node);
        let listed = |node: &Node| match &node.data {
            Data::Seq(items) => Some(items.clone()),
            _ => None,
        };
        match (first.and_then(listed), listed(carry)) {
            (_, Some(added)) => {
                let mut grown = Grown::default();
                let first = first.map_or_else(Vec::new, |node| {
                    listed(node).map_or_else(|| vec![node.clone()], |items| items.to_vec())
                });
                for node in &first {
                    grown.first.push(tie(node, Round::Outside, problems));
                }
                for node in added.iter() {
                    grown.carry.push(tie(node, Round::Previous, problems));
                }
                if added.is_empty() {
                    return Err(
                        Problem::new(carry.span, "a list to which no round adds anything")
                            .help("name what every round adds to it"),
                    );
                }
                return Ok(Target::Grown(grown));
            }
            (Some(_), None) => {
                return Err(Problem::new(
                    carry.span,
                    format!("`{name}` is a list in round 0, and one artifact after it"),
                )
                .help("write what every round adds as a list: `[STAGE.OUTPUT]`"));
            }
            (None, None) => {}
        }
        let first = first.map(|node| Box::new(tie(node, Round::Outside, problems)));
        let carry = Box::new(tie(carry, Round::Previous, problems));
        Ok(Target::Binding(first, carry))
    }
}

impl Target {
    /// All references in it that must be made before the consumer, with the places they are
    /// written. Those of `carry` lie in an earlier round and are left out unless they lead out of
    /// the loop.
    pub fn links<'a>(&'a self, into: &mut Vec<&'a Link>, home: Option<usize>, table: &Table) {
        match self {
            Target::Broken | Target::Files(_) | Target::FilesPerRow(_) => {}
            Target::Link(link) => into.push(link),
            Target::LinkPerRow(_, tied) => into.extend(tied.values().flatten()),
            Target::Binding(first, carry) => {
                if let Some(first) = first {
                    first.links(into, home, table);
                }
                carry.carried_links(into, home, table);
            }
            Target::Grown(grown) => {
                grown.first.iter().for_each(|t| t.links(into, home, table));
                let added = grown.carry.iter();
                added.for_each(|t| t.carried_links(into, home, table));
            }
        }
    }
}

impl Target {
    fn carried_links<'a>(&'a self, into: &mut Vec<&'a Link>, home: Option<usize>, table: &Table) {
        let mut carried = Vec::new();
        self.links(&mut carried, home, table);
        carried.retain(|link| table.stages[link.stage].home != home);
        into.extend(carried);
    }
}

/// The input and the place of `{from: INPUT, at: PATH}`.
fn moved(node: &Node) -> Option<(&Node, &Node)> {
    match node.entries() {
        [(a, from), (b, at)] if &*a.name == "from" && &*b.name == "at" => Some((from, at)),
        [(a, at), (b, from)] if &*a.name == "at" && &*b.name == "from" => Some((from, at)),
        _ => None,
    }
}

/// What is wrong with the text of a place, whatever the row.
fn wrong_place(
    at: &Node,
    consumer: &Consumer,
    narrow: &dyn Fn(Span, &str) -> Span,
) -> Option<Problem> {
    if let Data::Template(template) = &at.data {
        return template.references().find_map(|reference| {
            let span = narrow(at.span, &format!("${{{reference}}}"));
            consumer.axis(reference, span).err()
        });
    }
    match scalar_text(&at.data) {
        Some(_) => None,
        None => Some(Problem::new(
            at.span,
            format!("expected a path, found {}", at.describe()),
        )),
    }
}

/// `in/<need>/<group>/<axes>/<file>`, empty parts left out.
pub fn placed(need: &str, group: &str, axes: &Axes, file: &str) -> RelPath {
    let axes = crate::filename::file_name(&crate::plan::axes_text(axes));
    let mut text = String::from("in");
    for part in [need, group, &axes, file] {
        // A value such as `..` must not become a step of the path.
        let part = if matches!(part, "." | "..") {
            "_"
        } else {
            part
        };
        if !part.is_empty() {
            text.push('/');
            text.push_str(part);
        }
    }
    RelPath::new(&text).unwrap_or_else(|_| fallback(need))
}

/// An artifact of an instance as an input.
pub fn artifact(
    group: &Arc<str>,
    axes: Axes,
    instance: u32,
    output: u32,
    placed_at: RelPath,
    inside: Option<Arc<Inside>>,
) -> NeedItem {
    NeedItem {
        group: group.clone(),
        axes,
        source: Source::Output {
            instance: InstanceIndex(instance),
            output,
        },
        placed_at,
        inside,
    }
}
