//! How many repetitions a claim reads: all there are, the first `n`, or as many as decide it
//! (`until`).
//!
//! Decides which axis is counted, which of its values each look reads, and that a claim which looks
//! several times does so with an interval made for that. Knows no instance.

use std::collections::HashSet;
use std::sync::Arc;

use super::matrix::Rows;
use super::refs::Link;
use super::tie::Tying;
use super::values::{ABSENT, Values};
use crate::spec::text::decode::Field;
use crate::spec::text::model;
use crate::spec::text::node::{Data, Key, Node};
use crate::spec::text::problem::{Problem, Span};

/// The axis that repeats and pairs where a claim names none.
pub const REPEATS: &str = "seed";
/// The interval that may be looked at often.
const ANYTIME: &str = "anytime";
/// Repetitions of the first look.
const FIRST: u32 = 5;
/// Repetitions that every further look adds.
const STEP: u32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub enum Number {
    /// All that its references stand for.
    #[default]
    All,
    /// All, and each reference says itself which repetitions these are: `warm[seed=0]`.
    Picked,
    /// The first ones.
    First(First),
    /// More with every look; another look is taken only if the one before has not decided.
    UntilDecided(Vec<First>),
    /// Not known, because something about it is wrong, which was told.
    Unknown,
}

/// The first values of the axis that repeats.
#[derive(Debug)]
pub struct First {
    /// How many.
    pub n: u32,
    /// The axis.
    pub axis: Arc<str>,
    /// Its values, as joins compare them.
    pub values: HashSet<u32>,
}

impl First {
    /// Leaves rows of these values.
    pub fn keep(&self, kept: &mut Vec<u32>, rows: &Rows, values: &Values) {
        if let Some(at) = rows.axes.iter().position(|axis| *axis == self.axis) {
            let value = |row: &u32| values.join(rows.rows[*row as usize][at]);
            kept.retain(|row| self.values.contains(&value(row)));
        }
    }
}

/// The claim whose number is read.
pub struct Asking<'a> {
    /// Where its name is written.
    pub key: Span,
    /// All of it.
    pub claim: &'a model::Claim,
    /// `compare` or `measure`.
    pub word: &'a str,
    /// What stands below that.
    pub body: &'a Node,
    /// Its references; `None` where one of them is broken.
    pub linked: Option<&'a [(Span, &'a Link)]>,
}

/// Reads `n`, `until`, `max_n`, `looks` and `n_of`.
pub fn read(asking: &Asking, tying: &Tying, problems: &mut Vec<Problem>) -> Number {
    let before = problems.len();
    let wanted = asking.wanted(problems);
    // What follows from something broken is not told.
    let (true, Some(linked)) = (problems.len() == before, asking.linked) else {
        return Number::Unknown;
    };
    let read = match wanted {
        Wanted::Unknown => return Number::Unknown,
        Wanted::All => return asking.unrestricted(linked, tying),
        Wanted::First(n) => asking.first(&[n], linked, tying).map(|mut all| {
            let first = all.pop();
            first.map_or(Number::All, Number::First)
        }),
        Wanted::UntilDecided(looks) => asking
            .first(&looks, linked, tying)
            .map(Number::UntilDecided),
    };
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        Number::Unknown
    })
}

/// What is expected of a claim that looks several times: its interval is one that allows it.
///
/// # Errors
/// It asks for another one, or for a test that is made once.
pub fn anytime(until: Span, expect: &Node) -> Result<Node, Problem> {
    let Data::Map(entries) = &expect.data else {
        return Ok(expect.clone());
    };
    let refuse = |span: Span, what: &str| {
        let text = format!(
            "{what} is made for a number of runs that was fixed beforehand; looked at again and again, it errs more often than it says"
        );
        Err(Problem::new(span, text).also(until, "this looks several times"))
    };
    if let Some((key, _)) = entries
        .iter()
        .find(|(k, _)| matches!(&*k.name, "trend" | "best"))
    {
        return refuse(key.span, &format!("the test of `{}`", key.name))
            .map_err(|p| p.help("fix the number with `n: ...` in place of `until` and `max_n`"));
    }
    match expect.get("interval") {
        Some(node) if node.as_str() == Some(ANYTIME) => return Ok(expect.clone()),
        Some(node) if !matches!(node.data, Data::Null) => {
            let name = match node.entries() {
                [(key, _), ..] => key.name.to_string(),
                [] => node.as_str().unwrap_or_default().to_owned(),
            };
            return refuse(node.span, &format!("the interval `{name}`")).map_err(|p| {
                p.help("use `interval: anytime`, or fix the number with `n: ...` in place of `until` and `max_n`")
            });
        }
        _ => {}
    }
    let key = Key {
        name: "interval".into(),
        span: until,
    };
    let node = Node {
        span: until,
        data: Data::String(ANYTIME.into()),
    };
    let others = entries.iter().filter(|(k, _)| &*k.name != "interval");
    Ok(Node {
        span: expect.span,
        data: Data::Map(others.cloned().chain([(key, node)]).collect()),
    })
}

/// How many repetitions are asked for.
enum Wanted {
    All,
    /// What is written cannot be read.
    Unknown,
    First(u32),
    UntilDecided(Vec<u32>),
}

impl Asking<'_> {
    fn wanted(&self, problems: &mut Vec<Problem>) -> Wanted {
        let claim = self.claim;
        let looks = claim.looks.as_ref().and_then(|l| l.value.as_ref());
        let (first, step) = (
            looks.and_then(|l| l.first.as_ref()),
            looks.and_then(|l| l.step.as_ref()),
        );
        for (name, field) in [
            ("n", &claim.n),
            ("max_n", &claim.max_n),
            ("first", &first.cloned()),
            ("step", &step.cloned()),
        ] {
            if let Some(field) = field
                && field.value == Some(0)
            {
                let text = format!("`{name}` is 0");
                problems.push(Problem::new(field.span, text).help("give 1 or more"));
            }
        }
        let number = |field: &Option<Field<u32>>| field.as_ref().and_then(|f| f.value);
        let Some(until) = &claim.until else {
            let alone = [
                ("max_n", claim.max_n.as_ref().map(|f| f.span)),
                ("looks", claim.looks.as_ref().map(|f| f.span)),
            ];
            for (name, span) in alone {
                problems.extend(span.map(|span| {
                    Problem::new(
                        span,
                        format!("`{name}` belongs to `until`, which is missing"),
                    )
                    .help("add `until: decided`; a fixed number of repetitions is `n`")
                }));
            }
            if let (Some(axis), None) = (&claim.n_of, &claim.n) {
                let text = "`n_of` says what `n` and `max_n` count, and neither is given";
                problems.push(Problem::new(axis.span, text).help("leave it out"));
            }
            return match &claim.n {
                None => Wanted::All,
                Some(_) => number(&claim.n).map_or(Wanted::Unknown, Wanted::First),
            };
        };
        if let Some(n) = &claim.n {
            problems.push(
                Problem::new(
                    n.span,
                    "`n` fixes the number of repetitions, and `until` lets the claim decide it",
                )
                .also(until.span, "`until` is given here")
                .help("keep one of the two"),
            );
        }
        let Some(max) = &claim.max_n else {
            problems.push(
                Problem::new(
                    until.span,
                    "a claim that is never decided would ask for ever more runs",
                )
                .help("say how many repetitions it may ask for, such as `max_n: 40`"),
            );
            return Wanted::Unknown;
        };
        let Some(max_n) = max.value else {
            return Wanted::Unknown;
        };
        let given = first.and_then(|f| Some((f.span, f.value?)));
        if let Some((span, n)) = given
            && n > max_n
        {
            problems.push(
                Problem::new(
                    span,
                    format!("the first look is after {n} repetitions, and `max_n` is {max_n}"),
                )
                .also(max.span, "`max_n` is given here")
                .help("raise `max_n`, or look earlier"),
            );
        }
        let step = step.and_then(|f| f.value).unwrap_or(STEP).max(1);
        let first = given.map_or(FIRST.min(max_n), |(_, n)| n);
        let grid = (0..).map(|k: u32| first.saturating_add(step.saturating_mul(k)));
        let looks = grid.take_while(|n| *n < max_n).chain([max_n]);
        Wanted::UntilDecided(looks.collect())
    }

    /// The axes that repeat the experiment; none where the kind has to say that they are missing.
    fn repeated(&self) -> Vec<(String, Span)> {
        let named = |field: &str| {
            let nodes = self.body.get(field).map_or(&[][..], listed);
            let named = nodes
                .iter()
                .filter_map(|n| Some((n.as_str()?.to_owned(), n.span)));
            named.collect::<Vec<_>>()
        };
        let over = named("over");
        if !over.is_empty() {
            return over;
        }
        let seed = || vec![(REPEATS.to_owned(), self.key)];
        match (self.word, named("paired_by")) {
            ("measure", _) => seed(),
            (_, paired) if paired.is_empty() => seed(),
            (_, paired) if paired.len() == 1 => paired,
            (_, paired) => paired.into_iter().filter(|(a, _)| a == REPEATS).collect(),
        }
    }

    fn unrestricted(&self, linked: &[(Span, &Link)], tying: &Tying) -> Number {
        let repeated = self.repeated();
        let is_picked = |link: &Link| {
            let axes = &tying.table.stages[link.stage].rows.axes;
            let picked = link.picked();
            let mut picked = picked.map(|at| &axes[at]);
            picked.any(|axis| repeated.iter().any(|(name, _)| **name == **axis))
        };
        match linked.iter().all(|(_, link)| is_picked(link)) {
            true => Number::Picked,
            false => Number::All,
        }
    }

    /// The axis that is counted.
    fn axis(&self) -> Result<(String, Span), Problem> {
        let repeated = self.repeated();
        let named = self.claim.n_of.as_ref();
        match (
            named.and_then(|f| Some((f.value.clone()?, f.span))),
            &repeated[..],
        ) {
            (Some((axis, span)), all) => match all.iter().any(|(name, _)| *name == axis) {
                true => Ok((axis, span)),
                false => Err(Problem::new(
                    span,
                    format!("`{axis}` is none of the axes that repeat the experiment"),
                )
                .suggest(&axis, all.iter().map(|(name, _)| &**name))),
            },
            (None, [one]) => Ok(one.clone()),
            (None, []) => Err(Problem::new(
                self.key,
                "the claim does not say which axis repeats the experiment",
            )
            .help("say `over: AXIS`")),
            (None, all) => {
                let names = all.iter().map(|(name, _)| format!("`{name}`"));
                let text = format!(
                    "{} repeat the experiment: which of them is to have more values?",
                    names.collect::<Vec<_>>().join(" and ")
                );
                Err(Problem::new(all[0].1, text).help(format!("say `n_of: {}`", all[0].0)))
            }
        }
    }

    /// The first values of the axis, for each of these numbers.
    fn first(
        &self,
        numbers: &[u32],
        linked: &[(Span, &Link)],
        tying: &Tying,
    ) -> Result<Vec<First>, Problem> {
        let (axis, span) = self.axis()?;
        let mut common: Option<Vec<u32>> = None;
        for (at, link) in linked {
            let stage = &tying.table.stages[link.stage];
            let Some(position) = stage.rows.axes.iter().position(|a| **a == *axis) else {
                let problem = Problem::new(
                    *at,
                    format!(
                        "`{}` has no axis `{axis}` that could have more values",
                        stage.name
                    ),
                );
                return Err(match stage.rows.axes.is_empty() {
                    true => problem.help(format!(
                        "give it one: `matrix: {{{axis}: {{range: [0, {}]}}}}`",
                        numbers.last().unwrap_or(&FIRST)
                    )),
                    false => problem.help(format!(
                        "say which axis repeats the experiment: `over: {}`",
                        stage.rows.axes[0]
                    )),
                });
            };
            // In the order in which the axis has them, not in that of their values.
            let mut rows = tying.links.follow(link, &[], tying.values, tying.table);
            rows.sort_unstable();
            let mut values: Vec<u32> = Vec::new();
            let mut seen = HashSet::new();
            for row in rows {
                let value = stage.rows.rows[row as usize][position];
                if value != ABSENT && seen.insert(tying.values.join(value)) {
                    values.push(tying.values.join(value));
                }
            }
            common = Some(match common {
                None => values,
                Some(first) => first.into_iter().filter(|v| seen.contains(v)).collect(),
            });
        }
        let values = common.unwrap_or_default();
        let (name, asked) = match (&self.claim.max_n, &self.claim.n) {
            (Some(field), _) => ("max_n", field),
            (_, Some(field)) => ("n", field),
            (None, None) => return Ok(Vec::new()),
        };
        let n = numbers.last().copied().unwrap_or_default();
        if n as usize > values.len() {
            let stages: Vec<&str> = linked
                .iter()
                .map(|(_, link)| &*tying.table.stages[link.stage].name)
                .collect();
            let sides = match &stages[..] {
                [a, b] if a != b => format!("`{a}` and `{b}` have"),
                _ => format!("`{}` has", stages.first().unwrap_or(&"")),
            };
            let has = values.len();
            let noun = if has == 1 { "value" } else { "values" };
            return Err(Problem::new(
                asked.span,
                format!("`{name}` is {n}, and {sides} {has} {noun} of `{axis}`"),
            )
            .also(span, "counted here")
            .help(format!(
                "list {n} of them (`{axis}: {{range: [0, {n}]}}`): what the claim does not ask for is not run"
            )));
        }
        let first = |n: &u32| First {
            n: *n,
            axis: axis.as_str().into(),
            values: values.iter().copied().take(*n as usize).collect(),
        };
        Ok(numbers.iter().map(first).collect())
    }
}

/// One or several.
pub fn listed(node: &Node) -> &[Node] {
    match &node.data {
        Data::Seq(items) => items,
        _ => std::slice::from_ref(node),
    }
}
