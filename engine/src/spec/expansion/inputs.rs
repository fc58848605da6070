//! The inputs of one instance: references followed to producers, each with the path it is placed
//! at.
//!
//! The other half of [`Expander`]: everything about needs that depends on the row.

use std::borrow::Cow;

use foldhash::HashMap;
use std::sync::Arc;

use super::making::{Expander, Making};
use crate::plan::{self, Inside, Instance, Need, NeedItem, Source};
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::substitute::scalar_text;
use crate::spec::tying::consumer::Consumer;
use crate::spec::tying::needs::{Grown, Target, artifact, placed};
use crate::spec::tying::number::First;
use crate::spec::tying::refs::Link;
use crate::spec::tying::sources::FoundFile;
use crate::spec::tying::values::ABSENT;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// Paths of gathered artifacts by part of a need, producer and output.
pub type Gathered = HashMap<(usize, usize, u32, u32), RelPath>;
/// Paths of single artifacts by part of a need and output.
pub type Single = HashMap<(usize, usize, Arc<str>), RelPath>;

/// One part of a need, and who asks for it.
struct Asked<'x> {
    /// The need, and the part of it.
    at: (usize, usize),
    /// The name of the need.
    need: &'x Arc<str>,
    group: &'x Arc<str>,
    span: Span,
    row: &'x [u32],
    id: &'x str,
    consumer: &'x Consumer<'x>,
    only: Option<&'x First>,
}

impl Expander<'_, '_> {
    /// No two inputs lie at one path unless they are the same.
    pub fn places_differ(&mut self, making: &Making, needs: &[Need]) -> bool {
        let all = || {
            needs
                .iter()
                .flat_map(|n| n.items.iter().map(move |i| (n, i)))
        };
        let paths = all().any(|(_, i)| matches!(i.source, Source::Files(_)));
        let moved = making.needs.iter().flat_map(|n| &n.items);
        let free = paths || moved.into_iter().any(|i| i.at.is_some());
        if !free && needs.iter().all(|n| n.items.len() < 2) {
            return true;
        }
        let mut seen: HashMap<&str, (&Need, &NeedItem)> = HashMap::default();
        for (need, item) in all() {
            if let Some((other, first)) = seen.insert(item.placed_at.as_str(), (need, item)) {
                let same = match (&first.source, &item.source) {
                    (Source::Files(a), Source::Files(b)) => a.at == b.at,
                    (
                        Source::Output {
                            instance: a,
                            output: x,
                        },
                        Source::Output {
                            instance: b,
                            output: y,
                        },
                    ) => a == b && x == y && first.inside == item.inside,
                    _ => false,
                };
                if !same {
                    let key = making
                        .needs
                        .iter()
                        .find(|n| n.name == need.name)
                        .map_or(making.key, |n| n.key);
                    let problem = Problem::new(
                        key,
                        format!(
                            "two inputs would both be placed at `{}` (one is of the need `{}`)",
                            item.placed_at, other.name
                        ),
                    )
                    .help("rename one of the needs, groups or axis values");
                    self.once("places", problem);
                    return false;
                }
            }
        }
        true
    }

    /// One need of an instance; `None` when it is absent in this round.
    pub fn need(
        &mut self,
        making: &mut Making,
        at: usize,
        row: &[u32],
        id: &str,
        consumer: &Consumer,
    ) -> Result<Option<Need>, ()> {
        let def = &making.needs[at];
        let mut items: Vec<NeedItem> = Vec::with_capacity(def.items.len());
        let mut many = def.many;
        let mut ok = !def.items.is_empty();
        // Where a list grows, what follows moves on: all entries are numbered as they come.
        let grows = def
            .items
            .iter()
            .any(|i| matches!(i.target, Target::Grown(_)));
        let mut number = 0;
        let round = consumer.round_axis.map_or(0, |axis| {
            self.tying.values.value(row[axis]).as_u64().unwrap_or(0)
        });
        for (part, item) in def.items.iter().enumerate() {
            let entries: Vec<(&Target, Cow<[u32]>)> = match &item.target {
                Target::Binding(first, carry) => match (round, first) {
                    (0, None) => continue,
                    (0, Some(first)) => vec![(&**first, row.into())],
                    _ => vec![(&**carry, row.into())],
                },
                Target::Grown(grown) => self.grown(grown, row, round, consumer),
                target => vec![(target, row.into())],
            };
            for (target, row) in entries {
                let group = match grows {
                    true => number.to_string().into(),
                    false => item.group.clone(),
                };
                let asked = Asked {
                    at: (at, if grows { number } else { part }),
                    need: &def.name,
                    group: &group,
                    span: item.span,
                    row: &row,
                    id,
                    consumer,
                    only: making.only.as_ref(),
                };
                number += 1;
                let caches = (&mut making.gathered, &mut making.single);
                let before = items.len();
                let taken = self.take(target, &asked, &mut items, caches);
                let taken = taken.and_then(|is_many| match &item.at {
                    Some(at) => self
                        .put(at, &mut items[before..], row.as_ref(), consumer)
                        .map(|()| is_many)
                        .map_err(Some),
                    None => Ok(is_many),
                });
                match taken {
                    Ok(is_many) => many |= is_many || grows,
                    Err(problem) => {
                        ok = false;
                        if let Some(problem) = problem {
                            self.once("need", problem);
                        }
                    }
                }
            }
        }
        match (ok, items.is_empty()) {
            (false, _) => Err(()),
            (true, true) => Ok(None),
            (true, false) => Ok(Some(Need {
                name: def.name.clone(),
                items,
                many,
            })),
        }
    }

    /// Puts what was taken to the place that `at` names: one artifact, at one path.
    fn put(
        &self,
        at: &Node,
        taken: &mut [NeedItem],
        row: &[u32],
        consumer: &Consumer,
    ) -> Result<(), Problem> {
        let text = match &at.data {
            Data::Template(template) => consumer.text(template, row, self.tying.values, at.span)?,
            data => scalar_text(data).unwrap_or_default(),
        };
        let place = RelPath::new(&text).map_err(|e| {
            Problem::new(at.span, format!("`at`: {e}"))
                .help("an input is placed inside the command's private directory")
        })?;
        let several = taken.len();
        match taken {
            [one] => {
                one.placed_at = place;
                Ok(())
            }
            _ => Err(Problem::new(
                at.span,
                format!("`at` is the place of one artifact, and here are {several}"),
            )
            .help("list them, each with a place of its own, or leave `at` out")),
        }
    }

    /// A list in a round: what it was in round 0, and what every round before this one added.
    fn grown<'g>(
        &self,
        grown: &'g Grown,
        row: &'g [u32],
        round: u64,
        consumer: &Consumer,
    ) -> Vec<(&'g Target, Cow<'g, [u32]>)> {
        let mut entries: Vec<(&Target, Cow<[u32]>)> = Vec::new();
        entries.extend(grown.first.iter().map(|target| (target, row.into())));
        for later in 1..=round {
            // What a round adds is seen as the round after it sees it.
            let mut then = row.to_vec();
            if let Some(axis) = consumer.round_axis {
                then[axis] = self.tying.values.find(&later.into()).unwrap_or(ABSENT);
            }
            let added = grown.carry.iter();
            entries.extend(added.map(|target| (target, Cow::from(then.clone()))));
        }
        entries
    }

    /// Adds what one target stands for; whether that may be several.
    fn take(
        &mut self,
        target: &Target,
        asked: &Asked,
        items: &mut Vec<NeedItem>,
        caches: (&mut Gathered, &mut Single),
    ) -> Result<bool, Option<Problem>> {
        let Asked { row, consumer, .. } = *asked;
        let link = match target {
            Target::Broken | Target::Binding(..) | Target::Grown(_) => return Err(None),
            Target::Files(found) => {
                let files = found.iter().map(|f| self.file(f, asked.need, asked.group));
                items.extend(files);
                return Ok(false);
            }
            Target::FilesPerRow(written) => {
                let found = written.find(row, consumer, &mut self.tying).map_err(Some)?;
                let files = found.iter().map(|f| self.file(f, asked.need, asked.group));
                items.extend(files);
                return Ok(written.is_many());
            }
            Target::Link(link) => link,
            Target::LinkPerRow(template, tied) => {
                let text = consumer.text(template, row, self.tying.values, asked.span);
                let text = text.map_err(Some)?;
                tied.get(&text).and_then(Option::as_ref).ok_or(None)?
            }
        };
        self.follow(link, asked, items, caches)?;
        Ok(link.star)
    }

    fn file(&self, found: &FoundFile, need: &str, group: &Arc<str>) -> NeedItem {
        NeedItem {
            inside: None,
            group: group.clone(),
            axes: self.none.clone(),
            source: Source::Files(found.files.clone()),
            placed_at: found.placed_at(need, group),
        }
    }

    fn follow(
        &mut self,
        link: &Link,
        asked: &Asked,
        items: &mut Vec<NeedItem>,
        (gathered, single): (&mut Gathered, &mut Single),
    ) -> Result<(), Option<Problem>> {
        let Asked {
            at,
            need,
            group,
            row,
            id,
            only,
            ..
        } = *asked;
        let table = self.table;
        let mut rows = self.tying.links.follow(link, row, self.tying.values, table);
        if let Some(only) = only {
            only.keep(&mut rows, &table.stages[link.stage].rows, self.tying.values);
        }
        if rows.is_empty() || (!link.star && rows.len() > 1) {
            return Err(Some(self.tying.links.not_one(
                link,
                rows.len(),
                id,
                row,
                table,
                self.tying.values,
            )));
        }
        let producer = &table.stages[link.stage];
        let span = self.order.spans[link.stage];
        for row in rows {
            let instance = span.number(row);
            self.assume_output(instance, link);
            let Some(made) = self.instances.get(instance as usize) else {
                return Err(Some(
                    Problem::new(link.span, format!("`{id}` needs an instance of `{}` that is made after it", producer.name))
                        .help("inside a loop, refer to the same or an earlier round; what follows the loop belongs outside"),
                ));
            };
            if self.broken[instance as usize] {
                return Err(None);
            }
            let output = match &link.output {
                Some(name) => made
                    .outputs
                    .iter()
                    .position(|o| o.name == *name)
                    .ok_or_else(|| {
                        let problem = Problem::new(
                            link.span,
                            format!("`{}` has no output `{name}`", made.id),
                        );
                        match link.as_file() {
                            Some(help) => problem.help(help),
                            None => problem.suggest(name, made.outputs.iter().map(|o| &*o.name)),
                        }
                    }),
                None if made.outputs.len() == 1 || made.work.unasked().is_some() => Ok(0),
                None if made.outputs.is_empty() => Err(Problem::new(
                    link.span,
                    format!(
                        "`{}` has no outputs, so nothing can be taken from it",
                        made.id
                    ),
                )
                .help(format!("write `after: [{}]` to wait for it", producer.name))),
                None => Err(Problem::new(
                    link.span,
                    format!(
                        "`{}` has {} outputs: say which",
                        made.id,
                        made.outputs.len()
                    ),
                )
                .suggest("", made.outputs.iter().map(|o| &*o.name))
                .help(format!("write `{}.OUTPUT`", producer.name))),
            };
            let output = output.map_err(Some)?;
            let file = &made.outputs[output];
            let path = match &link.member[..] {
                [] => link.path.clone(),
                picks => Some(member(made, &file.name, picks, link).map_err(Some)?),
            };
            let inside = path.map(|path| {
                Arc::new(Inside {
                    path,
                    by_kind: link.path.is_none(),
                    place: (self.place)(link.span),
                })
            });
            let name = inside.as_ref().map_or(&file.path, |i| &i.path).name();
            let (axes, placed_at) = if link.star {
                let axes = self.axes[instance as usize].clone();
                let path = gathered
                    .entry((at.0, at.1, instance, output as u32))
                    .or_insert_with(|| placed(need, group, &axes, name));
                // Which file of a directory it is can differ from row to row.
                let path = match path.name() == name {
                    true => path.clone(),
                    false => placed(need, group, &axes, name),
                };
                (axes, path)
            } else {
                // The whole path is the key: two outputs may share a last part.
                let path = single
                    .entry((at.0, at.1, file.name.clone()))
                    .or_insert_with(|| placed(need, group, &self.none, name));
                let path = if path.name() == name {
                    path.clone()
                } else {
                    placed(need, group, &self.none, name)
                };
                (self.none.clone(), path)
            };
            items.push(artifact(
                group,
                axes,
                instance,
                output as u32,
                placed_at,
                inside,
            ));
        }
        Ok(())
    }
}

impl Expander<'_, '_> {
    /// What a program makes that was not asked yet is not known: what others need of it will be
    /// there.
    fn assume_output(&mut self, instance: u32, link: &Link) {
        let Some(made) = self.instances.get_mut(instance as usize) else {
            return;
        };
        let name = link.output.as_deref().unwrap_or("output");
        if made.work.unasked().is_none() || made.outputs.iter().any(|o| *o.name == *name) {
            return;
        }
        if let Ok(path) = RelPath::new(name) {
            let name = name.into();
            // Behind those that other stages have the position of.
            let more = made.outputs.iter().cloned();
            made.outputs = more.chain([OutputSpec { name, path }]).collect();
        }
    }
}

/// The file that `output[name=value]` means, as the kind lays its directories out.
fn member(
    made: &Instance,
    output: &str,
    picks: &[(String, serde_json::Value)],
    link: &Link,
) -> Result<RelPath, Problem> {
    let plan::Work::Kind { kind, params } = &made.work else {
        return Err(Problem::new(
            link.span,
            format!(
                "`{}` is a command: nothing can be picked from its output `{output}`",
                made.id
            ),
        )
        .help("axes are written after the stage: `stage[axis=value].output`"));
    };
    let name = (kind.member)(params, output, picks)
        .map_err(|why| Problem::new(link.span, format!("`{}.{output}`: {why}", made.id)))?;
    RelPath::new(&name).map_err(|e| Problem::new(link.span, format!("`{}.{output}`: {e}", made.id)))
}
