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
use super::expand::{Instance, Path};
use super::file::Stage;
use super::found::Found;
use super::graph::Graph;
use super::names::{free, name_of};
use super::paths::{Place, below};
use super::references::{Bit, Root, text};
use super::scope::{Scope, shown};
use crate::shell;

mod inputs;
mod params;

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
