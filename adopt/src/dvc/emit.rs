//! Stages of DVC as stages of `repro`.
//!
//! Every instance is written down for itself, with references to variables and axes. Where all
//! instances of a stage come to the same text, this is the stage with its `matrix`; otherwise each
//! is written out. So nothing is folded that would mean something else.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use repro_engine::spec::yaml::{Data, Node, Report};

use super::axes::{Axes, differs, way};
use super::expand::{Bit, Instance, Path, Root, text};
use super::file::Stage;
use super::found::{Found, What};
use super::graph::{Graph, Made, Taken};
use super::names::{free, name_of};
use super::paths::{Place, below};
use super::scope::{Scope, follow, load, shown};
use super::variables::is_readable;
use crate::{shell, yaml};

/// How a stage of DVC is written.
pub enum Shape {
    /// It stands for itself.
    Once,
    /// As one stage with a matrix.
    Folded(Axes),
    /// As a stage for each of its instances.
    Apart,
}

/// A stage as it is written.
#[derive(PartialEq, Eq, Debug)]
pub struct Written {
    pub run: String,
    pub lenient: bool,
    pub needs: Vec<(String, String)>,
    pub outputs: Vec<(String, String)>,
    pub config: Vec<(String, String)>,
}

/// What the text of stages refers to, and what was noticed while it was written.
#[derive(Default)]
pub struct Used {
    /// Names of variables.
    pub heads: BTreeSet<String>,
    /// Files of parameters beside those that `vars` names.
    pub files: BTreeSet<String>,
    /// Values that are written otherwise here: the reference, here, and in DVC.
    pub forms: BTreeSet<(String, String, String)>,
    /// What there is to say.
    pub notes: BTreeSet<String>,
}

/// Everything that stages are written from.
pub struct Emitter<'a> {
    pub root: &'a FilePath,
    pub defs: &'a [Stage],
    pub instances: &'a [Instance],
    /// Names in DVC.
    pub called: &'a [String],
    pub graph: &'a Graph,
    pub scope: &'a Scope,
    pub found: RefCell<Found<'a>>,
    pub report: RefCell<Report>,
    pub params: RefCell<BTreeMap<String, Option<Node>>>,
    /// By definition, its instances.
    pub ranges: Vec<std::ops::Range<usize>>,
    /// By definition.
    pub shapes: Vec<Shape>,
    /// By definition, the names of outputs.
    pub outputs: Vec<Vec<String>>,
    /// By instance, the name of the stage that it belongs to here.
    pub names: Vec<String>,
}

impl Emitter<'_> {
    /// The instances of a definition.
    pub fn members(&self, def: usize) -> Vec<usize> {
        self.ranges[def].clone().collect()
    }

    /// The text of some instances as one stage; `None`: they differ, or one cannot be written.
    pub fn write(&self, members: &[usize], used: &mut Used) -> Option<Written> {
        let mut first: Option<Written> = None;
        for &member in members {
            let written = self.one(member, members, used)?;
            match &first {
                None => first = Some(written),
                Some(first) if *first == written => {}
                Some(_) => return None,
            }
        }
        first
    }

    fn axes(&self, member: usize) -> Option<&Axes> {
        match &self.shapes[self.instances[member].def] {
            Shape::Folded(axes) => Some(axes),
            _ => None,
        }
    }

    /// Bits as a text with references.
    fn spell(&self, bits: &[Bit], member: usize, used: &mut Used) -> String {
        let mut out = String::new();
        for bit in bits {
            match bit {
                Bit::Text(text) => {
                    // A `$` before the text may be the end of what stands there.
                    out.push_str(&text.replace("${", "$${"));
                }
                Bit::Value {
                    root,
                    steps,
                    node,
                    quoted,
                } => {
                    let plain = shown(node).unwrap_or_default();
                    let reference = self.reference(*root, steps, node, member, used);
                    let can = !out.ends_with(['$', '\\']);
                    match (reference, quoted) {
                        (Some(reference), false) if can => {
                            out.push_str(&format!("${{{reference}}}"));
                        }
                        (Some(reference), true) if can && !plain.contains('\'') => {
                            out.push_str(&format!("'${{{reference}}}'"));
                        }
                        (_, true) => out.push_str(&shell::word(&plain).replace("${", "$${")),
                        _ => out.push_str(&plain.replace("${", "$${")),
                    }
                }
            }
        }
        out
    }

    fn reference(
        &self,
        root: Root,
        steps: &[String],
        node: &Node,
        member: usize,
        used: &mut Used,
    ) -> Option<String> {
        if matches!(node.data, Data::Null) {
            return None;
        }
        let reference = match root {
            Root::Own => return None,
            Root::Shared => self.variable(steps, used)?,
            Root::Item | Root::Key => {
                let axes = self.axes(member)?;
                let reference = axes.reference(root, steps, &self.instances[member].axes)?;
                if !axes.list.iter().any(|a| a.by_reference) {
                    return Some(reference);
                }
                reference
            }
        };
        if let Some((here, there)) = differs(node) {
            used.forms.insert((steps.join("."), here, there));
        }
        Some(reference)
    }

    /// `vars.a.b[0]`.
    fn variable(&self, steps: &[String], used: &mut Used) -> Option<String> {
        let (head, rest) = steps.split_first()?;
        let (_, node) = self.scope.map.iter().find(|(k, _)| *k.name == **head)?;
        let way = way(node, rest)?;
        if !super::axes::is_name(head) {
            return None;
        }
        used.heads.insert(head.clone());
        Some(format!("vars.{head}{way}"))
    }

    /// A path with references, as it is written from the project.
    fn path(&self, path: &Path, member: usize, used: &mut Used) -> Option<String> {
        let Place::Inside(place) = &path.place else {
            return None;
        };
        Some(match &path.bits {
            Some(bits) => self.spell(bits, member, used),
            None => place.replace("${", "$${"),
        })
    }

    fn one(&self, member: usize, members: &[usize], used: &mut Used) -> Option<Written> {
        let instance = &self.instances[member];
        let mut needs = Needs::default();
        let mut in_place: BTreeSet<String> = BTreeSet::new();
        let mut moved: Vec<(String, String)> = Vec::new();
        for (at, dep) in instance.deps.iter().enumerate() {
            let name = name_of(dep);
            match self.need(dep, member, members, used, &|i| i.deps.get(at))? {
                None => {}
                Some(text) => {
                    let name = needs.add(&name, text);
                    match &dep.place {
                        Place::Inside(path) => in_place.extend([path.clone()]),
                        _ => moved.push((dep.own.clone(), format!("${{needs.{name}}}"))),
                    }
                }
            }
        }
        let mut config = Vec::new();
        for (at, (file, keys)) in instance.params.iter().enumerate() {
            // It is there already, alone or with the directory that it is in.
            let covers = |path: &str| in_place.iter().any(|dir| below(path, dir).is_some());
            if file.place.inside().is_some_and(|path| covers(&path)) {
                continue;
            }
            let chosen = self.chosen(file, keys, members, at, used);
            match chosen {
                Ok((path, tree)) => config.push((path, tree)),
                Err(why) => {
                    if let Some(why) = why {
                        used.notes.insert(why);
                    }
                    let text = self.need(file, member, members, used, &|i| {
                        i.params.get(at).map(|(path, _)| path)
                    })?;
                    if let Some(text) = text {
                        needs.add(&name_of(file), text);
                    }
                }
            }
        }
        let mut outputs = Vec::new();
        for (at, out) in instance.outs.iter().enumerate() {
            let name = self.outputs[instance.def][at].clone();
            match &out.place {
                Place::Inside(path) if path.is_empty() => {
                    used.notes.insert(
                        "it writes the whole directory of the project, which cannot be an output"
                            .to_owned(),
                    );
                }
                Place::Inside(_) => outputs.push((name, self.path(out, member, used)?)),
                Place::Outside(path) => {
                    let inner = path.rsplit('/').next().unwrap_or("out").to_owned();
                    used.notes.insert(format!(
                        "it writes `{path}`, outside of this directory; here the output is `{inner}` in the command's own directory, under artifacts/ afterwards"
                    ));
                    moved.push((out.own.clone(), format!("${{outputs.{name}}}")));
                    outputs.push((name, inner));
                }
                Place::Remote(address) => {
                    used.notes.insert(format!("its output `{address}` is no file of this machine: it is not kept; let the command write a file"));
                }
            }
        }
        let (run, lenient) = self.run(member, &needs, &outputs, &config, moved, used);
        Some(Written {
            run,
            lenient,
            needs: needs.list,
            outputs,
            config,
        })
    }

    fn run(
        &self,
        member: usize,
        needs: &Needs,
        outputs: &[(String, String)],
        config: &[(String, String)],
        moved: Vec<(String, String)>,
        used: &mut Used,
    ) -> (String, bool) {
        let instance = &self.instances[member];
        let mut lines: Vec<String> = instance
            .cmd
            .iter()
            .map(|line| self.spell(line, member, used))
            .collect();
        let wdir = self.path(&instance.wdir, member, used).unwrap_or_default();
        for (own, by) in moved {
            // What `${needs.x}` stands for is relative to the directory that the command starts in.
            let by = match wdir.is_empty() || by.contains("${outputs") && own.starts_with('/') {
                true => by,
                false => format!("\"$OLDPWD\"/{by}"),
            };
            let mut found = false;
            for line in &mut lines {
                if let Some(new) = shell::replace_word(line, &own, &by) {
                    *line = new;
                    found = true;
                }
            }
            used.notes.insert(match found {
                true => format!("`{own}` lies outside of the project; in the command it is `{by}` now"),
                false => format!("`{own}` lies outside of the project, and the command does not name it: its program has to take the path from the command (`{by}`)"),
            });
        }
        let dir = (!wdir.is_empty()).then(|| {
            let prefix = format!("{wdir}/");
            let mut inside = outputs
                .iter()
                .map(|(_, p)| p)
                .chain(config.iter().map(|(p, _)| p));
            let placed = inside.any(|p| p.starts_with(&prefix))
                || needs.list.iter().any(|(_, n)| {
                    n.contains(&format!(": {prefix}")) || n.contains(&format!(": \"{prefix}"))
                });
            let word = if wdir.contains("${") {
                wdir.clone()
            } else {
                shell::word(&wdir)
            };
            match placed {
                true => format!("cd {word}"),
                false => format!("mkdir -p {word} && cd {word}"),
            }
        });
        let script = shell::script(&lines, dir.as_deref());
        if instance.joined {
            used.notes.insert("its command has lines that are no commands by themselves; DVC 3 gives each line to a shell of its own, and here they are one script".to_owned());
        }
        for map in &instance.unpacked {
            used.notes.insert(format!("`{map}` is spelled out in its command, with the options that it has now: a new one, or one that is true or false, has to be changed in the command too"));
        }
        let commands: Vec<String> = instance.cmd.iter().map(|line| text(line)).collect();
        let variables = shell::variables(&commands.join("\n"));
        if !variables.is_empty() {
            used.notes.insert(format!(
                "its command reads variables of the environment, which it does not have here: add `env: [{}]`",
                variables.join(", ")
            ));
        }
        if lines.iter().any(|line| makes_directory(line)) {
            used.notes.insert("its command has `mkdir` without `-p`: here the directories of inputs and outputs exist before it starts".to_owned());
        }
        (script.text, script.lenient || instance.joined)
    }

    /// An input as it is written; `Some(None)`: there is none to write.
    fn need(
        &self,
        dep: &Path,
        member: usize,
        members: &[usize],
        used: &mut Used,
        which: &dyn for<'i> Fn(&'i Instance) -> Option<&'i Path>,
    ) -> Option<Option<String>> {
        match self.graph.taken(&dep.place) {
            Taken::Output { of, inside } => {
                let made = |&m: &usize| match self.graph.taken(&which(&self.instances[m])?.place) {
                    Taken::Output { of, .. } => Some(of),
                    Taken::Nothing | Taken::Below(_) => None,
                };
                let made: Vec<Made> = members.iter().map(made).collect::<Option<_>>()?;
                let mut from = self.output(members, &made, of)?;
                let at = self.path(dep, member, used)?;
                if !inside.is_empty() {
                    from.push('/');
                    from.push_str(&self.inside(dep, &inside, member, used));
                }
                Some(Some(format!(
                    "{{from: {}, at: {}}}",
                    yaml::text(&from),
                    yaml::text(&at)
                )))
            }
            Taken::Below(parts) => {
                let Place::Inside(dir) = &dep.place else {
                    return Some(None);
                };
                let mut items = Vec::new();
                let mut paths = Vec::new();
                for &of in &parts {
                    let out = &self.instances[of.0].outs[of.1];
                    let Place::Inside(at) = &out.place else {
                        continue;
                    };
                    let from = self.output(&[member], &[of], of)?;
                    items.push(format!(
                        "{{from: {}, at: {}}}",
                        yaml::text(&from),
                        yaml::text(&at.replace("${", "$${"))
                    ));
                    paths.push(at.as_str());
                }
                if self.found.borrow().others(dir, &paths) {
                    if dir.is_empty() {
                        used.notes.insert("it depends on the whole directory of the project: list what it reads under `needs`".to_owned());
                    } else {
                        let inner: Vec<String> = paths
                            .iter()
                            .filter_map(|p| below(p, dir))
                            .map(|p| yaml::quoted(&format!("/{p}")))
                            .collect();
                        items.push(format!(
                            "{{dir: {}, ignore: [{}]}}",
                            yaml::text(dir),
                            inner.join(", ")
                        ));
                    }
                }
                match items.as_slice() {
                    [one] => Some(Some(one.clone())),
                    // A line for each.
                    _ => Some(Some(
                        items
                            .iter()
                            .map(|item| format!("\n        - {item}"))
                            .collect(),
                    )),
                }
            }
            Taken::Nothing => Some(self.file(dep, member, used)),
        }
    }

    /// A file that no stage makes.
    fn file(&self, dep: &Path, member: usize, used: &mut Used) -> Option<String> {
        let called = &self.called[member];
        match &dep.place {
            Place::Remote(address) => {
                used.notes.insert(format!("it depends on `{address}`, which is no file of this machine: the command still reads it, but nothing here notices when it changes"));
                None
            }
            Place::Inside(path) if path.is_empty() => {
                used.notes.insert("it depends on the whole directory of the project, which cannot be an input: list what it reads under `needs`".to_owned());
                None
            }
            Place::Inside(path) => {
                let known = self.found.borrow_mut().look(path, called, &dep.own);
                let text = self.path(dep, member, used)?;
                let form = match known.what {
                    Some(What::Dir) => "dir",
                    Some(What::File) => "file",
                    None => {
                        used.notes.insert(format!("`{path}` is not here, and nothing says whether it is a file or a directory: it is written as `file`; write `dir` if it is one"));
                        "file"
                    }
                };
                if !known.here && known.tracked {
                    used.notes.insert(format!(
                        "`{path}` is tracked by a .dvc file and not here: `dvc pull` brings it"
                    ));
                } else if !known.here && known.what.is_some() {
                    used.notes
                        .insert(format!("`{path}` is not here: it has to be before a run"));
                }
                Some(format!("{{{form}: {}}}", yaml::text(&text)))
            }
            Place::Outside(path) => {
                let known = self.found.borrow_mut().look(path, called, &dep.own);
                let form = match known.what {
                    Some(What::Dir) => "dir",
                    Some(What::File) => "file",
                    None => {
                        used.notes.insert(format!("`{path}` is not here, and nothing says whether it is a file or a directory: it is written as `file`"));
                        "file"
                    }
                };
                Some(format!(
                    "{{{form}: {}}}",
                    yaml::text(&path.replace("${", "$${"))
                ))
            }
        }
    }

    /// What of a path lies below the output, with references where they say the same.
    fn inside(&self, dep: &Path, inside: &str, member: usize, used: &mut Used) -> String {
        let steps = inside.split('/').count();
        let tail = dep.bits.as_ref().map(|bits| {
            let all: Vec<&[Bit]> = bits
                .split(|b| matches!(b, Bit::Text(t) if t == "/"))
                .collect();
            let from = all.len().saturating_sub(steps);
            all[from..].join(&Bit::Text("/".to_owned()))
        });
        match tail {
            Some(bits) if text(&bits) == inside => self.spell(&bits, member, used),
            _ => inside.replace("${", "$${"),
        }
    }

    /// The reference to an output, from all members at once.
    fn output(&self, members: &[usize], made: &[Made], of: Made) -> Option<String> {
        let producer = &self.instances[of.0];
        let name = &self.names[of.0];
        let output = self.outputs[producer.def].get(of.1)?;
        let Shape::Folded(theirs) = &self.shapes[producer.def] else {
            // Each instance may take from one stage of its own only where it is written out.
            return made
                .iter()
                .all(|&m| self.names[m.0] == *name && m.1 == of.1)
                .then(|| format!("{name}.{output}"));
        };
        if made
            .iter()
            .any(|m| self.instances[m.0].def != producer.def || m.1 != of.1)
        {
            return None;
        }
        let first = self.ranges[producer.def].start;
        let ours = members.first().and_then(|&m| self.axes(m));
        let home = members
            .first()
            .map_or(0, |&m| self.ranges[self.instances[m].def].start);
        let mut picks = Vec::new();
        for axis in &theirs.list {
            let labels: Vec<&String> = made.iter().map(|m| &axis.labels[m.0 - first]).collect();
            let values: Vec<&Node> = made.iter().map(|m| &axis.values[m.0 - first]).collect();
            let same_axis = ours.and_then(|o| o.list.iter().find(|a| a.name == axis.name));
            let joined = same_axis.is_some_and(|ours| {
                members
                    .iter()
                    .zip(&values)
                    .all(|(&m, v)| super::expand::same(&ours.values[m - home], v))
            });
            if joined {
                continue;
            }
            if labels.windows(2).all(|w| w[0] == w[1]) {
                picks.push(format!("{}={}", axis.name, labels.first()?));
                continue;
            }
            let follows = ours?.list.iter().find(|ours| {
                members
                    .iter()
                    .zip(&labels)
                    .all(|(&m, label)| ours.labels[m - home] == **label)
            })?;
            picks.push(format!("{}=${{matrix.{}}}", axis.name, follows.name));
        }
        let picks = match picks.is_empty() {
            true => String::new(),
            false => format!("[{}]", picks.join(",")),
        };
        Some(format!("{name}{picks}.{output}"))
    }

    /// A file with the keys that count, as an entry of `config`; or why the whole file is taken.
    fn chosen(
        &self,
        file: &Path,
        keys: &[String],
        members: &[usize],
        at: usize,
        used: &mut Used,
    ) -> Result<(String, String), Option<String>> {
        let Place::Inside(path) = &file.place else {
            return Err(None);
        };
        if keys.is_empty() || self.graph.taken(&file.place) != Taken::Nothing {
            return Err(None);
        }
        let whole = |why: &str| {
            Some(format!(
                "all of `{path}` is an input, so every change of it runs the stage: {why}"
            ))
        };
        let same = members.iter().all(|&m| {
            self.instances[m]
                .params
                .get(at)
                .is_some_and(|(f, k)| f.place == file.place && k == keys)
        });
        if !same {
            return Err(whole("its keys differ from item to item"));
        }
        let loaded = self
            .params
            .borrow_mut()
            .entry(path.clone())
            .or_insert_with(|| load(self.root, path, file.span, &mut self.report.borrow_mut()))
            .clone();
        let Some(tree) = loaded else {
            return Err(match path.ends_with(".py") {
                true => whole("it is a Python file"),
                false => None,
            });
        };
        if !is_readable(path) {
            return Err(whole("variables are read from YAML and JSON"));
        }
        // A name that another file gives a value would not mean this file's.
        let known = self
            .scope
            .origins
            .iter()
            .find(|o| o.file.as_deref() == Some(path));
        let extra: Vec<String> = used.files.iter().filter(|f| *f != path).cloned().collect();
        let is_free = |head: &str| {
            let others = self
                .scope
                .origins
                .iter()
                .filter(|o| o.file.as_deref() != Some(path));
            let mut extra = extra.iter();
            !others.flat_map(|o| &o.map).any(|(k, _)| *k.name == *head)
                && !extra
                    .by_ref()
                    .filter_map(|f| self.params.borrow().get(f).cloned().flatten())
                    .any(|t| t.get(head).is_some())
        };
        let mut names = Tree::default();
        for key in keys {
            let steps: Vec<String> = key.split('.').map(str::to_owned).collect();
            let Some(node) = follow(&tree, &steps) else {
                if key.contains(['*', '?', '[']) {
                    return Err(whole(&format!("`{key}` is a pattern")));
                }
                used.notes.insert(format!(
                    "`{path}` has no `{key}`, which it lists under params: left out"
                ));
                continue;
            };
            let in_maps = (1..=steps.len()).all(|n| {
                matches!(
                    follow(&tree, &steps[..n - 1]).map(|n| &n.data),
                    Some(Data::Map(_))
                )
            });
            let is_word = |s: &String| {
                super::axes::is_name(s) && !s.starts_with(|c: char| c.is_ascii_digit())
            };
            if !in_maps || !steps.iter().all(is_word) {
                return Err(whole(&format!(
                    "`{key}` has a name that a reference cannot have"
                )));
            }
            if let Some(odd) = self.odd(node, path) {
                return Err(whole(&format!(
                    "`{key}` holds `{odd}`, which programs read in different ways"
                )));
            }
            let covered =
                known.is_some_and(|o| o.keys.as_ref().is_none_or(|keys| keys.contains(&steps[0])));
            let agrees = self
                .scope
                .find(&steps)
                .is_some_and(|n| super::expand::same(n, node));
            if !(covered && agrees) {
                let all_free = tree.entries().iter().all(|(k, _)| is_free(&k.name));
                if known.is_some() || !all_free {
                    return Err(whole(&format!(
                        "another file of variables has names of it, so `${{vars.{key}}}` would not be its value"
                    )));
                }
                used.files.insert(path.clone());
            }
            names.add(&steps);
            used.heads.insert(steps[0].clone());
        }
        if names.0.is_empty() {
            return Err(None);
        }
        Ok((path.clone(), names.text("vars")))
    }

    /// A value that readers of YAML 1.1 and 1.2 do not take for the same.
    fn odd(&self, node: &Node, path: &str) -> Option<String> {
        if path.ends_with(".json") {
            return None;
        }
        match &node.data {
            Data::Seq(items) => items.iter().find_map(|n| self.odd(n, path)),
            Data::Map(entries) => entries.iter().find_map(|(k, n)| {
                match super::axes::is_name(&k.name)
                    && !k.name.starts_with(|c: char| c.is_ascii_digit())
                {
                    true => self.odd(n, path),
                    false => Some(k.name.to_string()),
                }
            }),
            Data::String(s) => {
                let report = self.report.borrow();
                let source = report.sources.get(node.span.source as usize)?;
                let slice = source.slice(node.span);
                let quoted = slice.trim_start().starts_with(['"', '\'', '|', '>']);
                let word =
                    ["y", "n", "yes", "no", "on", "off"].contains(&s.to_ascii_lowercase().as_str());
                let number = s.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
                    && s.chars()
                        .all(|c| c.is_ascii_digit() || "_:-+.eExX TZabcdefABCDEFo".contains(c))
                    && s.contains(|c: char| c.is_ascii_digit());
                (!quoted && (word || number)).then(|| s.to_string())
            }
            Data::Number(n) => {
                let form = n.text();
                let digits = form.trim_start_matches(['-', '+']);
                let octal = digits.len() > 1
                    && digits.starts_with('0')
                    && !digits.contains(['.', 'e', 'E', 'x']);
                octal.then_some(form)
            }
            _ => None,
        }
    }
}

/// Names of variables as a tree, to be written with references in its leaves.
#[derive(Default)]
struct Tree(BTreeMap<String, Option<Tree>>);

impl Tree {
    fn add(&mut self, steps: &[String]) {
        match steps {
            [] => {}
            [last] => {
                self.0.insert(last.clone(), None);
            }
            [first, rest @ ..] => {
                if let Some(inner) = self
                    .0
                    .entry(first.clone())
                    .or_insert_with(|| Some(Tree::default()))
                {
                    inner.add(rest);
                }
            }
        }
    }

    fn text(&self, way: &str) -> String {
        let entries: Vec<String> = self
            .0
            .iter()
            .map(|(name, inner)| {
                let way = format!("{way}.{name}");
                let value = match inner {
                    None => yaml::quoted(&format!("${{{way}}}")),
                    Some(inner) => inner.text(&way),
                };
                format!("{}: {value}", yaml::text(name))
            })
            .collect();
        format!("{{{}}}", entries.join(", "))
    }
}

/// Inputs by name, in the order of `deps`.
#[derive(Default)]
struct Needs {
    list: Vec<(String, String)>,
}

impl Needs {
    fn add(&mut self, wanted: &str, text: String) -> String {
        if let Some((known, _)) = self.list.iter().find(|(_, t)| *t == text) {
            return known.clone();
        }
        let taken = |name: &str| self.list.iter().any(|(n, _)| n == name);
        let name = free(wanted, &taken);
        self.list.push((name.clone(), text));
        name
    }
}

/// Whether a command makes a directory that must not exist yet.
fn makes_directory(line: &str) -> bool {
    let plain = shell::unquoted(line);
    let words: Vec<&str> = plain.split_whitespace().collect();
    words
        .windows(2)
        .any(|w| w[0] == "mkdir" && !(w[1].starts_with('-') && w[1].contains('p')))
}
