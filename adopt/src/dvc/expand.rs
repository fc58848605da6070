//! The stages that DVC makes of `dvc.yaml`: one for each item of `foreach` and each combination of
//! `matrix`, every reference followed (`dvc/parsing/__init__.py`).

use std::collections::HashMap;

use repro_engine::spec::yaml::{Data, Key, Node, Problem, Report, Span, Written};

use super::file::{Each, Out, Stage, Text};
use super::paths::{self, Place};
use super::references::{Bit, Item, Looking, Unpacking, bits, text, unknown};
use super::scope::{self, Scope, shown};
use super::words::Word;

/// A path of one stage.
#[derive(Clone, Debug)]
pub struct Path {
    /// Where it leads.
    pub place: Place,
    /// As it is written from the project, with references; `None`: it cannot be.
    pub bits: Option<Vec<Bit>>,
    /// As the command knows it, from its `wdir`.
    pub own: String,
    pub span: Span,
}

/// A stage as DVC runs it.
pub struct Instance {
    /// Position of its definition.
    pub def: usize,
    /// What follows `@`; empty for a stage that stands for itself.
    pub key: String,
    /// Values of its axes: name and value.
    pub axes: Vec<(String, Node)>,
    /// The commands, in order.
    pub cmd: Vec<Vec<Bit>>,
    /// Some of its lines are one command.
    pub joined: bool,
    /// Maps that were written into its commands as options.
    pub unpacked: Vec<String>,
    pub wdir: Path,
    pub deps: Vec<Path>,
    pub outs: Vec<Path>,
    /// Files of parameters and the keys that count; all of them for none.
    pub params: Vec<(Path, Vec<String>)>,
}

/// What the items of a stage are called and which values they have.
pub struct Items {
    /// Its name in DVC, the item, and the key where it may be referred to.
    pub all: Vec<Item>,
    /// The node of `foreach`, or of each axis, with its references followed.
    pub axes: Vec<(String, Node)>,
}

/// The most stages that one may stand for.
const MAX_ITEMS: usize = 10_000;

/// The items of a stage; `None` for one that stands for itself.
pub fn items(stage: &Stage, scope: &Scope, problems: &mut Vec<Problem>) -> Option<Items> {
    match &stage.each {
        Each::Once => None,
        Each::Foreach(data) => {
            let node = resolve(data, scope, problems);
            let mut all: Vec<Item> = Vec::new();
            match &node.data {
                Data::Map(entries) => {
                    for (key, value) in entries.iter() {
                        all.push(Item {
                            key: key.name.to_string(),
                            value: value.clone(),
                            has_key: true,
                            picks: Vec::new(),
                        });
                    }
                }
                Data::Seq(list) => {
                    let composite = list.iter().any(|n| shown(n).is_none());
                    for (i, value) in list.iter().enumerate() {
                        let key = match (composite, shown(value)) {
                            (false, Some(text)) => text,
                            _ => i.to_string(),
                        };
                        // A value that is listed twice is one stage.
                        if all.iter().all(|item| item.key != key) {
                            all.push(Item {
                                key,
                                value: value.clone(),
                                has_key: false,
                                picks: Vec::new(),
                            });
                        }
                    }
                }
                Data::Broken => {}
                _ => problems.push(Problem::new(
                    data.span,
                    format!("`foreach` takes a list or a map, found {}", node.describe()),
                )),
            }
            Some(Items {
                all,
                axes: vec![("item".to_owned(), node)],
            })
        }
        Each::Matrix(axes) => {
            let mut resolved = Vec::new();
            let mut count = 1usize;
            for (key, node) in axes {
                let values = resolve(node, scope, problems);
                match &values.data {
                    Data::Seq(list) => count = count.saturating_mul(list.len()),
                    Data::Broken => count = 0,
                    _ => {
                        problems.push(Problem::new(
                            node.span,
                            format!("an axis takes a list, found {}", values.describe()),
                        ));
                        count = 0;
                    }
                }
                resolved.push((key.name.to_string(), values));
            }
            if count > MAX_ITEMS {
                problems.push(Problem::new(
                    stage.name.span,
                    format!(
                        "the matrix of `{}` has more than {MAX_ITEMS} combinations",
                        stage.name.name
                    ),
                ));
                count = 0;
            }
            let mut all: Vec<Item> = Vec::new();
            let mut known: HashMap<String, usize> = HashMap::new();
            for number in 0..count {
                let mut rest = number;
                let mut picks = vec![0; resolved.len()];
                for (at, (_, values)) in resolved.iter().enumerate().rev() {
                    if let Data::Seq(list) = &values.data {
                        picks[at] = rest % list.len();
                        rest /= list.len();
                    }
                }
                let mut names = Vec::new();
                let mut entries = Vec::new();
                for ((name, values), &pick) in resolved.iter().zip(&picks) {
                    let Data::Seq(list) = &values.data else {
                        continue;
                    };
                    let value = list[pick].clone();
                    names.push(shown(&value).unwrap_or_else(|| format!("{name}{pick}")));
                    let key = Key {
                        name: name.as_str().into(),
                        span: value.span,
                    };
                    entries.push((key, value));
                }
                let key = names.join("-");
                let item = Item {
                    key,
                    value: Node {
                        span: stage.name.span,
                        data: Data::Map(entries.into()),
                    },
                    has_key: true,
                    picks,
                };
                // As in a dictionary of Python: the last value under a name, at the first's place.
                match known.get(&item.key) {
                    Some(&at) => all[at] = item,
                    None => {
                        known.insert(item.key.clone(), all.len());
                        all.push(item);
                    }
                }
            }
            Some(Items {
                all,
                axes: resolved,
            })
        }
    }
}

/// A tree with its references followed.
fn resolve(node: &Node, scope: &Scope, problems: &mut Vec<Problem>) -> Node {
    let data = match &node.data {
        Data::String(_) => {
            let Some(text) = super::file::text(node, problems) else {
                return broken(node.span);
            };
            match text.words.whole() {
                Some(steps) => match scope.find(steps) {
                    Some(found) => return found.clone(),
                    None => {
                        problems.push(unknown(steps, scope, node.span));
                        Data::Broken
                    }
                },
                None => {
                    let bits = bits(
                        &text,
                        &Looking::shared(scope),
                        false,
                        Unpacking::default(),
                        problems,
                    );
                    Data::String(bits.map(|b| self::text(&b)).unwrap_or_default().into())
                }
            }
        }
        Data::Seq(items) => Data::Seq(items.iter().map(|n| resolve(n, scope, problems)).collect()),
        Data::Map(entries) => Data::Map(
            entries
                .iter()
                .map(|(k, n)| (k.clone(), resolve(n, scope, problems)))
                .collect(),
        ),
        other => other.clone(),
    };
    Node {
        span: node.span,
        data,
    }
}

fn broken(span: Span) -> Node {
    Node {
        span,
        data: Data::Broken,
    }
}

/// What a stage is made with.
pub struct Making<'a> {
    pub stage: &'a Stage,
    pub def: usize,
    pub scope: &'a Scope,
    pub root: &'a std::path::Path,
    pub how: Unpacking,
}

impl Making<'_> {
    /// The stage of an item; `None` when a problem was reported.
    pub fn instance(&self, item: Option<(&Item, &Items)>, report: &mut Report) -> Option<Instance> {
        let stage = self.stage;
        let mut problems = Vec::new();
        let mut scope = self.scope.clone();
        scope.shared = scope.origins.len();
        let looking = Looking {
            scope: &scope,
            item: item.map(|(item, _)| item),
        };
        let wdir = match &stage.wdir {
            Some(text) => self.path("", &[], text, &looking, &mut problems),
            None => Some(Path {
                place: Place::Inside(String::new()),
                bits: Some(Vec::new()),
                own: String::new(),
                span: stage.name.span,
            }),
        };
        report.extend(problems.drain(..));
        let wdir = wdir?;
        let Some(dir) = wdir.place.inside() else {
            report.push(
                Problem::new(
                    wdir.span,
                    format!("`{}` works in `{}`, which is outside of this directory", stage.name.name, wdir.own),
                )
                .help("a command runs in a directory of its own and sees the project only: move dvc.yaml up to the directory that holds both, with its paths"),
            );
            return None;
        };
        if !stage.vars.is_empty() {
            scope.add(&stage.vars, &dir, self.root, report);
        }
        let looking = Looking {
            scope: &scope,
            item: item.map(|(item, _)| item),
        };
        let base = wdir
            .bits
            .clone()
            .unwrap_or_else(|| vec![Bit::Text(dir.clone())]);
        let problems = &mut problems;
        let path = |text: &Text, problems: &mut Vec<Problem>| {
            self.path(&dir, &base, text, &looking, problems)
        };
        let deps = stage
            .deps
            .iter()
            .filter_map(|t| path(t, problems))
            .collect::<Vec<_>>();
        let outs = stage
            .outs
            .iter()
            .map(|out: &Out| path(&out.path, problems))
            .collect::<Option<Vec<_>>>();
        let mut params: Vec<(Path, Vec<String>)> = Vec::new();
        for entry in &stage.params {
            let default = Text {
                words: super::words::Words {
                    written: scope::DEFAULT.to_owned(),
                    parts: vec![Word::Text(scope::DEFAULT.to_owned())],
                },
                span: entry.keys.first().map_or(stage.name.span, |k| k.span),
            };
            let Some(file) = path(entry.file.as_ref().unwrap_or(&default), problems) else {
                continue;
            };
            let keys: Vec<String> = entry
                .keys
                .iter()
                .filter_map(|key| bits(key, &looking, false, self.how, problems))
                .map(|bits| text(&bits))
                .collect();
            match params
                .iter_mut()
                .find(|(known, _)| known.place == file.place)
            {
                // A file that is named as a whole counts as a whole.
                Some((_, known)) if known.is_empty() || keys.is_empty() => known.clear(),
                Some((_, known)) => {
                    let new: Vec<String> =
                        keys.into_iter().filter(|k| !known.contains(k)).collect();
                    known.extend(new);
                }
                None => params.push((file, keys)),
            }
        }
        let mut cmd = Vec::new();
        let mut joined = false;
        let mut unpacked = Vec::new();
        for line in &stage.cmd {
            for part in &line.words.parts {
                if let Word::Ref(steps) = part
                    && let Some((_, _, node)) = looking.find(steps)
                    && matches!(node.data, Data::Map(_))
                {
                    unpacked.push(format!("${{{}}}", steps.join(".")));
                }
            }
            let bits = bits(line, &looking, true, self.how, problems);
            let (lines, is_one) = lines(bits.unwrap_or_default());
            joined |= is_one;
            cmd.extend(lines);
        }
        let failed = !problems.is_empty();
        report.extend(problems.drain(..));
        let outs = outs?;
        if failed {
            return None;
        }
        let axes = item.map_or_else(Vec::new, |(item, items)| match stage.each {
            Each::Once | Each::Foreach(_) => vec![("item".to_owned(), item.value.clone())],
            Each::Matrix(_) => items
                .axes
                .iter()
                .map(|(name, _)| name.clone())
                .zip(item.value.entries().iter().map(|(_, n)| n.clone()))
                .collect(),
        });
        Some(Instance {
            def: self.def,
            key: item.map_or_else(String::new, |(item, _)| item.key.clone()),
            axes,
            cmd,
            joined,
            unpacked,
            wdir,
            deps,
            outs,
            params,
        })
    }

    fn path(
        &self,
        dir: &str,
        base: &[Bit],
        written: &Text,
        looking: &Looking,
        problems: &mut Vec<Problem>,
    ) -> Option<Path> {
        let bits = bits(written, looking, false, self.how, problems)?;
        let own = text(&bits);
        if own.contains('\0') || own.is_empty() {
            problems.push(Problem::new(written.span, "a path cannot be empty"));
            return None;
        }
        let within = self.root.to_str().and_then(|root| paths::below(&own, root));
        let (place, bits) = match within.filter(|_| own.starts_with('/')) {
            Some(inner) => (paths::join("", inner), None),
            None => {
                let place = paths::join(dir, &own);
                let spelt = normal(base, &bits).filter(|b| Place::Inside(text(b)) == place);
                (place, spelt)
            }
        };
        Some(Path {
            place,
            bits,
            own,
            span: written.span,
        })
    }
}

/// The path from the project, `.` and `..` followed where they stand in texts.
fn normal(base: &[Bit], path: &[Bit]) -> Option<Vec<Bit>> {
    let mut steps: Vec<Vec<Bit>> = vec![Vec::new()];
    let slash = [Bit::Text("/".to_owned())];
    for bit in base.iter().chain(&slash).chain(path) {
        match bit {
            Bit::Text(text) => {
                for (i, piece) in text.split('/').enumerate() {
                    if i > 0 {
                        steps.push(Vec::new());
                    }
                    if !piece.is_empty() {
                        steps.last_mut()?.push(Bit::Text(piece.to_owned()));
                    }
                }
            }
            value => steps.last_mut()?.push(value.clone()),
        }
    }
    let mut kept: Vec<Vec<Bit>> = Vec::new();
    for step in steps {
        match step.as_slice() {
            [] => {}
            [Bit::Text(one)] if one == "." => {}
            [Bit::Text(one)] if one == ".." => {
                kept.pop()?;
            }
            _ => kept.push(step),
        }
    }
    Some(kept.join(&Bit::Text("/".to_owned())))
}

/// The commands in a text: DVC gives every line to a shell of its own. Lines that are no commands
/// by themselves are one, as they were meant.
fn lines(bits: Vec<Bit>) -> (Vec<Vec<Bit>>, bool) {
    let mut lines: Vec<Vec<Bit>> = vec![Vec::new()];
    for bit in bits {
        match bit {
            Bit::Text(text) => {
                for (i, piece) in text.split('\n').enumerate() {
                    if i > 0 {
                        lines.push(Vec::new());
                    }
                    if let (false, Some(last)) = (piece.is_empty(), lines.last_mut()) {
                        last.push(Bit::Text(piece.to_owned()));
                    }
                }
            }
            value => {
                if let Some(last) = lines.last_mut() {
                    last.push(value);
                }
            }
        }
    }
    lines.retain(|line| !text(line).trim().is_empty());
    let unfinished = lines.len() > 1
        && lines.iter().any(|line| {
            let line = crate::shell::unquoted(&text(line));
            let first = line.split_whitespace().next().unwrap_or("");
            let keywords = [
                "for", "while", "until", "if", "case", "do", "done", "then", "else", "elif", "fi",
                "esac", "{", "}",
            ];
            text_ends_open(&line)
                || (keywords.contains(&first) && !line.contains("done") && !line.contains("fi"))
        });
    if !unfinished {
        return (lines, false);
    }
    let mut whole = Vec::new();
    for (i, line) in lines.into_iter().enumerate() {
        if i > 0 {
            whole.push(Bit::Text("\n".to_owned()));
        }
        whole.extend(line);
    }
    (vec![whole], true)
}

fn text_ends_open(line: &str) -> bool {
    let end = line.trim_end_matches(' ');
    end.ends_with(['\\', '|']) || end.ends_with("&&") || line.contains('\0') || line.contains("<<")
}

/// Whether two values are the same, however they were written.
pub fn same(a: &Node, b: &Node) -> bool {
    match (&a.data, &b.data) {
        (Data::Seq(x), Data::Seq(y)) => {
            x.len() == y.len() && x.iter().zip(y.iter()).all(|(a, b)| same(a, b))
        }
        (Data::Map(x), Data::Map(y)) => {
            x.len() == y.len()
                && x.iter()
                    .zip(y.iter())
                    .all(|((k, a), (l, b))| k.name == l.name && same(a, b))
        }
        (Data::Number(Written { value: x, .. }), Data::Number(Written { value: y, .. })) => x == y,
        (Data::Bool(x), Data::Bool(y)) => x.value == y.value,
        (Data::String(x), Data::String(y)) => x == y,
        (Data::Null, Data::Null) => true,
        _ => false,
    }
}
