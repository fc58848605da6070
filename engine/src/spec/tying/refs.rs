//! References such as `train[seed=0,*].model`: how they are written, and which instances they stand
//! for.
//!
//! Decides joins, picks and gathers. Does not know what lies in an artifact, nor which outputs an
//! instance has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::selector::{Pick, Selector};
use super::stages::{Named, Table};
use super::values::{ABSENT, Values, compare_rows};
use crate::spec::text::problem::{Problem, Span};
use repro_protocol::relpath::RelPath;

/// Which round a consumer in a loop joins on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Its own.
    Same,
    /// The one before (`carry`).
    Previous,
    /// None (`first`).
    Outside,
    /// Its own, and on nothing else (`after`).
    Waiting,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Fixed(u32),
    Consumer(usize),
    PreviousRound(usize),
}

/// A reference tied to its producer and consumer: ready to be followed for every row.
#[derive(Debug)]
pub struct Link {
    /// The producer.
    pub stage: usize,
    /// The output; `None` when the producer's only one is meant.
    pub output: Option<Arc<str>>,
    /// All instances that match, not one.
    pub star: bool,
    /// What is picked from the output, a directory.
    pub member: Vec<(String, Value)>,
    /// A path in the output, a directory.
    pub path: Option<RelPath>,
    /// Where the reference is written.
    pub span: Span,
    /// The reference, where the project has a file of that name: it may be what is meant.
    pub file: Option<Arc<str>>,
    keys: Vec<(usize, From)>,
    /// Axes of the producer that nothing decides.
    free: Vec<usize>,
    index: usize,
}

impl Link {
    /// What to write if a file is meant.
    pub fn as_file(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(format!(
            "the file of the project is written `{{file: {file}}}`"
        ))
    }

    /// The axes of the producer of which the reference picks a value.
    pub fn picked(&self) -> impl Iterator<Item = usize> + '_ {
        let fixed = |(at, from): &(usize, From)| matches!(from, From::Fixed(_)).then_some(*at);
        self.keys.iter().filter_map(fixed)
    }

    /// The axes of the consumer that decide which instance is meant.
    pub fn reads(&self) -> impl Iterator<Item = usize> + '_ {
        self.keys.iter().filter_map(|(_, from)| match *from {
            From::Fixed(_) => None,
            From::Consumer(at) | From::PreviousRound(at) => Some(at),
        })
    }
}

type Index = HashMap<Box<[u32]>, Vec<u32>>;

/// Follows references; keeps an index per producer and set of axes.
#[derive(Default)]
pub struct Links {
    indexes: Vec<(usize, Vec<usize>, Index, bool)>,
    by_axes: HashMap<(usize, Vec<usize>), usize>,
    columns: HashMap<(usize, usize), Column>,
}

/// The values a stage has on an axis.
struct Column {
    /// What joins compare.
    joins: HashSet<u32>,
    /// The same by how it is written.
    names: HashMap<String, u32>,
}

impl Column {
    fn of(rows: &[Box<[u32]>], at: usize, values: &Values) -> Column {
        let ids: HashSet<u32> = rows
            .iter()
            .map(|row| row[at])
            .filter(|&v| v != ABSENT)
            .collect();
        let join = |&id: &u32| values.join(id);
        Column {
            joins: ids.iter().map(join).collect(),
            names: ids
                .iter()
                .map(|id| (values.text(*id).to_owned(), join(id)))
                .collect(),
        }
    }
}

impl Links {
    /// Ties a reference to what it means for a consumer. `gather` makes every reference a gather
    /// (claims).
    #[expect(
        clippy::too_many_arguments,
        reason = "a reference, its consumer and what both are looked up in"
    )]
    pub fn tie(
        &mut self,
        selector: &Selector,
        span: Span,
        consumer: Option<usize>,
        round: Round,
        gather: bool,
        table: &Table,
        values: &Values,
    ) -> Result<Option<Link>, Problem> {
        let (stage, output, picks, member) = find(
            selector,
            span,
            consumer.filter(|_| round != Round::Outside),
            table,
        )?;
        let producer = &table.stages[stage];
        if producer.broken {
            return Ok(None);
        }
        if let (Some(path), [_, ..]) = (&selector.path, member) {
            let text = format!("`[...]` picks a file of the output already, and `/{path}` another");
            return Err(Problem::new(span, text).help("keep one of the two"));
        }
        let axes = &producer.rows.axes;
        let mut keys: Vec<(usize, From)> = Vec::new();
        for (axis, pick) in picks {
            let Some(at) = axes.iter().position(|a| **a == **axis) else {
                return Err(Problem::new(
                    span,
                    format!("`{}` has no axis `{axis}`", producer.name),
                )
                .suggest(axis, axes.iter().map(|a| &**a)));
            };
            let column = self
                .columns
                .entry((stage, at))
                .or_insert_with(|| Column::of(&producer.rows.rows, at, values));
            let known = |id: Option<u32>| id.filter(|id| column.joins.contains(id));
            let (wanted, shown) = match pick {
                Pick::Last => {
                    let last = producer.home.map_or(0, |l| table.loops[l].count - 1);
                    (known(values.find(&last.into())), "last")
                }
                // As it is written first: `01` and `1` may be two texts.
                Pick::Value(value, text) => (
                    column
                        .names
                        .get(text)
                        .copied()
                        .or_else(|| known(values.find(value))),
                    text.as_str(),
                ),
            };
            match wanted {
                Some(id) => keys.push((at, From::Fixed(id))),
                None => {
                    let mut given: Vec<String> = Vec::new();
                    for row in producer.rows.rows.iter().filter(|r| r[at] != ABSENT) {
                        let text = values.text(row[at]).to_owned();
                        if !given.contains(&text) && given.len() < 20 {
                            given.push(text);
                        }
                    }
                    return Err(Problem::new(
                        span,
                        format!("no instance of `{}` has {axis}={shown}", producer.name),
                    )
                    .help(format!("`{axis}` is {}", given.join(", "))));
                }
            }
        }
        let star = selector.star || gather;
        let waits = round == Round::Waiting;
        if (waits || !star)
            && let Some(c) = consumer
        {
            let consumer = &table.stages[c];
            for (at, axis) in axes.iter().enumerate() {
                if keys.iter().any(|(k, _)| *k == at) {
                    continue;
                }
                let Some(own) = consumer.rows.axes.iter().position(|a| a == axis) else {
                    continue;
                };
                let is_round = consumer.home == producer.home && Some(own) == consumer.round_axis;
                match round {
                    Round::Waiting if is_round => keys.push((at, From::Consumer(own))),
                    Round::Waiting => {}
                    _ if Some(own) != consumer.round_axis => keys.push((at, From::Consumer(own))),
                    Round::Same => keys.push((at, From::Consumer(own))),
                    Round::Previous => keys.push((at, From::PreviousRound(own))),
                    Round::Outside => {}
                }
            }
        }
        keys.sort_by_key(|(at, _)| *at);
        let free = (0..axes.len())
            .filter(|at| !keys.iter().any(|(k, _)| k == at))
            .collect();
        let key_axes: Vec<usize> = keys.iter().map(|(at, _)| *at).collect();
        let index = *self
            .by_axes
            .entry((stage, key_axes.clone()))
            .or_insert_with(|| {
                let (index, ragged) = build(&producer.rows.rows, &key_axes, values);
                self.indexes.push((stage, key_axes, index, ragged));
                self.indexes.len() - 1
            });
        Ok(Some(Link {
            stage,
            output: output.map(Arc::from),
            star,
            member: member
                .iter()
                .map(|(name, pick)| {
                    let value = match pick {
                        Pick::Value(value, _) => value.clone(),
                        Pick::Last => "last".into(),
                    };
                    (name.clone(), value)
                })
                .collect(),
            path: selector.path.clone(),
            span,
            file: None,
            keys,
            free,
            index,
        }))
    }

    /// The rows of the producer that a reference stands for, sorted by axis values.
    pub fn follow(&self, link: &Link, row: &[u32], values: &Values, table: &Table) -> Vec<u32> {
        let wanted: Vec<u32> = link
            .keys
            .iter()
            .map(|(_, from)| match *from {
                From::Fixed(id) => id,
                From::Consumer(at) => values.join(row[at]),
                From::PreviousRound(at) => {
                    let round = values.value(row[at]).as_u64().unwrap_or(0);
                    values
                        .find(&round.saturating_sub(1).into())
                        .unwrap_or(ABSENT)
                }
            })
            .collect();
        let (_, _, index, ragged) = &self.indexes[link.index];
        if !ragged && !wanted.contains(&ABSENT) {
            return index.get(wanted.as_slice()).cloned().unwrap_or_default();
        }
        // Where `include` gave some combinations more axes than others, an axis that one side lacks
        // does not restrict.
        let rows = &table.stages[link.stage].rows.rows;
        let fits = |row: &[u32]| {
            link.keys
                .iter()
                .zip(&wanted)
                .all(|((at, from), &w)| match from {
                    From::Fixed(_) => values.join(row[*at]) == w,
                    _ => w == ABSENT || row[*at] == ABSENT || values.join(row[*at]) == w,
                })
        };
        let mut found: Vec<u32> = (0..rows.len() as u32)
            .filter(|&i| fits(&rows[i as usize]))
            .collect();
        found.sort_by(|&a, &b| compare_rows(&rows[a as usize], &rows[b as usize], values));
        found
    }

    /// Why a reference that should stand for one instance stands for `count`.
    pub fn not_one(
        &self,
        link: &Link,
        count: usize,
        consumer: &str,
        row: &[u32],
        table: &Table,
        values: &Values,
    ) -> Problem {
        let producer = &table.stages[link.stage];
        let output = link
            .output
            .as_ref()
            .map_or(String::new(), |o| format!(".{o}"));
        if count == 0 {
            let texts: Vec<String> = link
                .keys
                .iter()
                .map(|(at, from)| {
                    let value = match *from {
                        From::Fixed(id) => values.text(id).to_owned(),
                        From::Consumer(c) => values.text(row[c]).to_owned(),
                        From::PreviousRound(c) => values
                            .value(row[c])
                            .as_u64()
                            .unwrap_or(0)
                            .saturating_sub(1)
                            .to_string(),
                    };
                    format!("{}={value}", producer.rows.axes[*at])
                })
                .collect();
            return Problem::new(
                link.span,
                format!(
                    "`{consumer}` joins on equal axis values, but no instance of `{}` has {}",
                    producer.name,
                    texts.join(",")
                ),
            )
            .help(format!(
                "give `{}` these values, or pick one instance with `[axis=value]`",
                producer.name
            ));
        }
        let axes: Vec<String> = link
            .free
            .iter()
            .map(|&at| format!("`{}`", producer.rows.axes[at]))
            .collect();
        let first = link
            .free
            .first()
            .map_or("axis", |&at| &*producer.rows.axes[at]);
        let example = link
            .free
            .first()
            .and_then(|&at| {
                producer
                    .rows
                    .rows
                    .iter()
                    .find(|r| r[at] != ABSENT)
                    .map(|r| values.text(r[at]).to_owned())
            })
            .unwrap_or_else(|| "value".to_owned());
        let example = if first == "round" {
            "last".to_owned()
        } else {
            example
        };
        let problem = Problem::new(
            link.span,
            format!(
                "this stands for {count} instances of `{}`: `{consumer}` does not say which {}",
                producer.name,
                axes.join(" and ")
            ),
        )
        .help(format!(
            "gather all with `{0}[*]{output}`, or pick one with `{0}[{first}={example}]{output}`",
            producer.name
        ));
        match link.as_file() {
            Some(file) => problem.help(file),
            None => problem,
        }
    }
}

fn build(rows: &[Box<[u32]>], axes: &[usize], values: &Values) -> (Index, bool) {
    let mut sorted: Vec<u32> = (0..rows.len() as u32).collect();
    sorted.sort_by(|&a, &b| compare_rows(&rows[a as usize], &rows[b as usize], values));
    let mut index = Index::with_capacity(rows.len().min(1024));
    let mut ragged = false;
    for i in sorted {
        let key: Box<[u32]> = axes
            .iter()
            .map(|&at| values.join(rows[i as usize][at]))
            .collect();
        ragged |= key.contains(&ABSENT);
        index.entry(key).or_default().push(i);
    }
    (index, ragged)
}

/// The stage a reference names, and the output: inner stages of the consumer's loop come first.
/// The stage and the output of a reference, what is picked of the axes, and what from the output.
#[expect(clippy::type_complexity, reason = "taken apart where it is made")]
fn find<'a>(
    selector: &'a Selector,
    span: Span,
    consumer: Option<usize>,
    table: &Table,
) -> Result<
    (
        usize,
        Option<&'a str>,
        &'a [(String, Pick)],
        &'a [(String, Pick)],
    ),
    Problem,
> {
    let home = consumer.and_then(|c| table.stages[c].home);
    let mut rest = selector.stage.as_slice();
    let first = &rest[0];
    let stage = match (
        home.and_then(|h| table.inner(h, first)),
        table.names.get(first.as_str()),
    ) {
        (Some(inner), _) => inner,
        (None, Some(Named::Stage(stage))) => *stage,
        (None, Some(Named::Loop(at))) => {
            rest = &rest[1..];
            let inner = table.loops[*at].stages.iter().map(|&s| table.local(s));
            match rest.first() {
                Some(local) => table.inner(*at, local).ok_or_else(|| {
                    Problem::new(span, format!("the loop `{first}` has no stage `{local}`"))
                        .suggest(local, inner)
                })?,
                None => {
                    return Err(Problem::new(
                        span,
                        format!("`{first}` is a loop: say which of its stages is meant"),
                    )
                    .help(format!("write `{first}.STAGE.OUTPUT`"))
                    .suggest("", inner));
                }
            }
        }
        (None, None) => {
            let mut names: Vec<&str> = table.names.keys().map(|n| &**n).collect();
            names.extend(
                home.iter()
                    .flat_map(|&h| table.loops[h].stages.iter().map(|&s| table.local(s))),
            );
            names.sort_unstable();
            return Err(
                Problem::new(span, format!("there is no stage `{first}`")).suggest(first, names)
            );
        }
    };
    match (&rest[1..], selector.output.as_deref(), selector.bracket) {
        ([], output, _) => Ok((stage, output, &selector.picks, &selector.member)),
        // `stage.output[...]`: what stands behind an output picks from it.
        ([output], None, _) if !selector.star && selector.member.is_empty() => {
            Ok((stage, Some(output), &[], &selector.picks))
        }
        _ => Err(Problem::new(
            span,
            format!(
                "`{}` names more than a stage and its output",
                selector.stage.join(".")
            ),
        )
        .help("an output is written after the brackets: `stage[seed=0].output`")),
    }
}
