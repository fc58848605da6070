//! DVC: `dvc.yaml` with `params.yaml`, `dvc.lock` and `.dvc` files.
//!
//! [`file`] reads what is written, [`scope`] the values that references mean, [`expand`] makes the
//! stages that DVC makes, [`graph`] says who takes from whom, [`emit`] writes each stage, with
//! [`names`] and [`variables`]. This file puts them together and decides which stages become one
//! stage with a matrix.

mod axes;
mod emit;
mod expand;
mod file;
mod found;
mod graph;
mod names;
mod paths;
mod references;
mod scope;
#[cfg(test)]
mod tests;
mod variables;
mod words;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use repro_engine::spec::yaml::{
    Diagnostics, Node, Problem, Report, Source, Span, parse, read_text,
};

use emit::{Emitter, Shape, Used, Written};
use expand::{Instance, Making, items};
use file::{Each, Stage, Vars};
use found::Found;
use graph::{Graph, Taken};
use names::{free, output_names, sanitised};
use references::Unpacking;
use scope::Scope;
use variables::vars;

use crate::{Adopted, Note, yaml};

/// Reads the pipeline of DVC in a directory.
///
/// # Errors
/// What is wrong with its files: DVC would not run them either, or they say something that has no
/// meaning here.
pub fn read(dir: &Path) -> Result<Adopted, Diagnostics> {
    let mut report = Report::default();
    match adopt(dir, &mut report) {
        Some(adopted) if report.is_clean() => Ok(adopted),
        _ => {
            if report.is_clean() {
                report.push(Problem::new(
                    Span::start_of(0),
                    "dvc.yaml could not be read",
                ));
            }
            Err(report.finish())
        }
    }
}

fn adopt(dir: &Path, report: &mut Report) -> Option<Adopted> {
    let root = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let text = match read_text(&root.join("dvc.yaml")) {
        Ok(text) => text,
        Err(why) => {
            let source = report.source(Source::new("dvc.yaml", String::new(), String::new()));
            report.push(
                Problem::new(Span::start_of(source), format!("dvc.yaml: {why}"))
                    .help("run this in the directory that holds it"),
            );
            return None;
        }
    };
    let source = report.source(Source::new("dvc.yaml", text, String::new()));
    let (node, problems) = parse(source, &report.sources[source as usize].text);
    report.extend(problems);
    let node = node?;
    report.sources[source as usize].root = Some(node.clone());
    let mut problems = Vec::new();
    let file = file::read(&node, &mut problems);
    report.extend(problems);
    let mut scope = Scope::default();
    let unread = scope.default_file(&root, report);
    if !file.vars.is_empty() {
        scope.add(&file.vars, "", &root, report);
    }
    scope.shared = scope.origins.len();
    if !report.is_clean() {
        return None;
    }
    if file.stages.is_empty() {
        report.push(
            Problem::new(Span::start_of(source), "dvc.yaml has no stages")
                .help("there is nothing to run; `repro init` without --from-dvc writes an example"),
        );
        return None;
    }
    let made = make(&file.stages, &scope, &root, unpacking(&root), report)?;
    let graph = Graph::new(&made.instances, &made.called, report);
    own_outputs(&made, &graph, report);
    if !report.is_clean() {
        return None;
    }
    let edges = graph.edges(&made.instances).len();
    let outputs = (0..file.stages.len())
        .map(|def| {
            let first = made.instances.iter().find(|i| i.def == def);
            first.map_or_else(Vec::new, |i| output_names(&file.stages[def], i))
        })
        .collect();
    let emitter = Emitter {
        root: &root,
        defs: &file.stages,
        instances: &made.instances,
        called: &made.called,
        graph: &graph,
        scope: &scope,
        found: RefCell::new(Found::new(&root)),
        report: RefCell::new(Report::default()),
        params: RefCell::new(BTreeMap::new()),
        ranges: made.ranges,
        shapes: made.shapes,
        outputs,
        names: Vec::new(),
    };
    let mut writer = Writer {
        emitter,
        notes: Vec::new(),
        text: String::new(),
    };
    writer.names();
    writer.fold();
    writer.notes.extend(unread.map(|why| Note {
        stage: None,
        text: format!(
            "`params.yaml` is not read here, so all of it is an input where it is one: {why}"
        ),
    }));
    let stages = writer.stages();
    writer.whole(&file, &root);
    Some(Adopted {
        pipeline: writer.text,
        stages,
        instances: made.instances.len(),
        edges,
        notes: writer.notes,
    })
}

/// All stages that DVC makes.
struct Made {
    instances: Vec<Instance>,
    /// Their names in DVC.
    called: Vec<String>,
    /// By definition, its instances.
    ranges: Vec<std::ops::Range<usize>>,
    shapes: Vec<Shape>,
}

fn make(
    stages: &[Stage],
    scope: &Scope,
    root: &Path,
    how: Unpacking,
    report: &mut Report,
) -> Option<Made> {
    let mut made = Made {
        instances: Vec::new(),
        called: Vec::new(),
        ranges: Vec::new(),
        shapes: Vec::new(),
    };
    let find = |steps: &[String]| scope.find(steps).cloned();
    for (def, stage) in stages.iter().enumerate() {
        let making = Making {
            stage,
            def,
            scope,
            root,
            how,
        };
        let mut problems = Vec::new();
        let items = items(stage, scope, &mut problems);
        report.extend(problems);
        let start = made.instances.len();
        let Some(items) = items else {
            made.instances.extend(making.instance(None, report));
            made.called.push(stage.name.name.to_string());
            made.shapes.push(Shape::Once);
            made.ranges.push(start..made.instances.len());
            continue;
        };
        for item in &items.all {
            // One mistake in a template is told once, not for every item.
            let Some(instance) = making.instance(Some((item, &items)), report) else {
                break;
            };
            made.called
                .push(format!("{}@{}", stage.name.name, item.key));
            made.instances.push(instance);
        }
        made.ranges.push(start..made.instances.len());
        made.shapes
            .push(axes::axes(stage, &items, &find).map_or(Shape::Apart, Shape::Folded));
    }
    report.is_clean().then_some(made)
}

/// What DVC refuses too: a stage that depends on what it makes.
fn own_outputs(made: &Made, graph: &Graph, report: &mut Report) {
    for (i, instance) in made.instances.iter().enumerate() {
        for dep in &instance.deps {
            let own = match graph.taken(&dep.place) {
                Taken::Nothing => false,
                Taken::Output { of, .. } => of.0 == i,
                Taken::Below(parts) => parts.iter().any(|p| p.0 == i),
            };
            if own {
                report.push(
                    Problem::new(
                        dep.span,
                        format!(
                            "`{}` depends on what it makes itself: `{}`",
                            made.called[i], dep.own
                        ),
                    )
                    .help("DVC refuses this too: remove it from `deps`"),
                );
            }
        }
    }
}

/// `[parsing]` of `.dvc/config`.
fn unpacking(root: &Path) -> Unpacking {
    let mut how = Unpacking::default();
    for name in ["config", "config.local"] {
        let Ok(text) = read_text(&root.join(".dvc").join(name)) else {
            continue;
        };
        let mut here = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                here = line == "[parsing]";
            } else if let (true, Some((key, value))) = (here, line.split_once('=')) {
                match (key.trim(), value.trim()) {
                    ("bool", value) => how.negates = value == "boolean_optional",
                    ("list", value) => how.repeats = value == "append",
                    _ => {}
                }
            }
        }
    }
    how
}

struct Writer<'a> {
    emitter: Emitter<'a>,
    notes: Vec<Note>,
    text: String,
}

impl Writer<'_> {
    /// Gives every stage its name.
    fn names(&mut self) {
        let emitter = &mut self.emitter;
        let mut taken: Vec<String> = vec!["claims".to_owned()];
        let mut names = Vec::new();
        let mut of_def: Vec<String> = Vec::new();
        for stage in emitter.defs {
            let wanted = match sanitised(&stage.name.name).as_str() {
                "" => "stage".to_owned(),
                name => name.to_owned(),
            };
            let name = free(&wanted, &|n| taken.iter().any(|t| t == n));
            if name != *stage.name.name {
                self.notes.push(Note {
                    stage: Some(stage.name.name.to_string()),
                    text: format!("it is called `{name}` here"),
                });
            }
            taken.push(name.clone());
            of_def.push(name);
        }
        for instance in emitter.instances {
            let base = &of_def[instance.def];
            names.push(match &emitter.shapes[instance.def] {
                Shape::Once | Shape::Folded(_) => base.clone(),
                Shape::Apart => {
                    let wanted = format!("{base}-{}", sanitised(&instance.key));
                    let name = free(wanted.trim_end_matches('-'), &|n| {
                        taken.iter().any(|t| t == n)
                    });
                    taken.push(name.clone());
                    name
                }
            });
        }
        emitter.names = names;
    }

    /// Decides which stages stay one stage with a matrix: all that come to one text. That depends on
    /// how their producers are written, so this goes on until nothing changes.
    fn fold(&mut self) {
        loop {
            let mut changed = false;
            for def in 0..self.emitter.defs.len() {
                if !matches!(self.emitter.shapes[def], Shape::Folded(_)) {
                    continue;
                }
                let members = self.emitter.members(def);
                if self.emitter.write(&members, &mut Used::default()).is_none() {
                    self.emitter.shapes[def] = Shape::Apart;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
            self.notes.clear();
            self.names();
        }
    }

    /// Writes all stages; how many there are.
    fn stages(&mut self) -> usize {
        let mut count = 0;
        let mut used = Used::default();
        let mut texts = String::new();
        for def in 0..self.emitter.defs.len() {
            let members = self.emitter.members(def);
            let groups: Vec<Vec<usize>> = match &self.emitter.shapes[def] {
                Shape::Once | Shape::Folded(_) => vec![members.clone()],
                Shape::Apart => members.iter().map(|&m| vec![m]).collect(),
            };
            let stage = &self.emitter.defs[def];
            let mut notes = about(stage);
            if let Shape::Apart = self.emitter.shapes[def] {
                notes.push(match members.is_empty() {
                    true => "it has no items, so nothing is written for it".to_owned(),
                    false => format!(
                        "its {} instances are written out: no `matrix` says the same",
                        members.len()
                    ),
                });
            }
            if let Shape::Folded(axes) = &self.emitter.shapes[def] {
                used.heads.extend(axes.heads.iter().cloned());
            }
            if copies(stage, &self.emitter.shapes[def]) {
                notes.push("the values of its items are copied: they no longer follow the variables they come from".to_owned());
            }
            let axes = match &self.emitter.shapes[def] {
                Shape::Folded(axes) => Some(axes.text.as_str()),
                Shape::Once | Shape::Apart => None,
            };
            let mut told = 0;
            for group in groups.iter().filter(|g| !g.is_empty()) {
                used.notes.clear();
                let written = self.emitter.write(group, &mut used);
                for note in std::mem::take(&mut used.notes) {
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                // What was written once is written again: nothing changed in between.
                let Some(written) = written else { continue };
                count += 1;
                let name = &self.emitter.names[group[0]];
                // Each is told above the first stage that it is about.
                texts.push_str(&stage_text(name, stage, axes, &written, &notes[told..]));
                told = notes.len();
            }
            let called = stage.name.name.to_string();
            self.notes.extend(notes.into_iter().map(|text| Note {
                stage: Some(called.clone()),
                text,
            }));
        }
        for (way, here, there) in &used.forms {
            self.notes.push(Note {
                stage: None,
                text: format!("`${{{way}}}` puts `{here}` into texts here, as its file has it; DVC puts `{there}`: write it so in the file if a program minds"),
            });
        }
        let files: Vec<(String, Node)> = used
            .files
            .iter()
            .filter_map(|f| {
                Some((
                    f.clone(),
                    self.emitter.params.borrow().get(f).cloned().flatten()?,
                ))
            })
            .collect();
        let parts = vars(self.emitter.scope, &files, &used.heads, &mut self.notes);
        self.text.push_str(&match parts.as_slice() {
            [] => String::new(),
            [one] => format!("vars: {one}\n\n"),
            several => format!(
                "vars:\n{}\n",
                several
                    .iter()
                    .map(|p| format!("  - {p}\n"))
                    .collect::<String>()
            ),
        });
        self.text.push_str("stages:\n");
        self.text.push_str(texts.trim_start_matches('\n'));
        count
    }

    /// What is said once, and the top of the file.
    fn whole(&mut self, file: &file::File, root: &Path) {
        let name = root
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or("pipeline");
        let top = format!(
            "# Written by `repro init --from-dvc` from dvc.yaml. A line that begins with `# DVC:` needs a look.\nversion: 1\nname: {}\n\n",
            yaml::text(name)
        );
        self.text.insert_str(0, &top);
        let mut note = |text: String| self.notes.push(Note { stage: None, text });
        let outs = || self.emitter.defs.iter().flat_map(|d| &d.outs);
        if outs().any(|o| o.uncached) {
            note("`cache: false`: results are kept in the store and shown under artifacts/; git no longer gets these files at their places".to_owned());
        }
        if outs().any(|o| o.pushed) {
            note("`push` and `remote` of outputs: `repro push` sends every result to the remote it is given".to_owned());
        }
        if !file.shown.is_empty() || outs().any(|o| o.drawn) {
            note("how DVC draws plots is not kept: `repro metrics` and `repro report` find tables among the outputs by themselves".to_owned());
        }
        for lost in &file.lost {
            note(format!("`{lost}:` has no counterpart here and is left out"));
        }
        note("a command sees only what its stage declares: a file that dvc.yaml does not list makes the stage fail, and the message has the line to add".to_owned());
        note("outputs appear under artifacts/STAGE/ and not at their places in the project; dvc.yaml and its files are left as they are".to_owned());
    }
}

/// Whether values of variables are written out in a matrix.
fn copies(stage: &Stage, shape: &Shape) -> bool {
    let Shape::Folded(axes) = shape else {
        return false;
    };
    let refers = |node: &Node| {
        let mut left = vec![node];
        while let Some(node) = left.pop() {
            if node
                .as_str()
                .is_some_and(|s| s.contains("${") && !s.contains("\\${"))
            {
                return true;
            }
            left.extend(node.entries().iter().map(|(_, n)| n));
            if let repro_engine::spec::yaml::Data::Seq(items) = &node.data {
                left.extend(items.iter());
            }
        }
        false
    };
    match &stage.each {
        Each::Once => false,
        Each::Foreach(node) => refers(node) && axes.heads.is_empty(),
        Each::Matrix(written) => written
            .iter()
            .zip(&axes.list)
            .any(|((_, node), axis)| refers(node) && !axis.by_reference),
    }
}

/// What of a stage cannot be kept, whatever its items.
fn about(stage: &Stage) -> Vec<String> {
    let mut notes = Vec::new();
    if stage.frozen {
        notes.push("it is frozen in DVC, which leaves its files as they are; here it runs once, and again when its command or inputs change".to_owned());
    }
    if stage.always_changed {
        notes.push("`always_changed`: here it runs when its command or inputs change; `repro run --force STAGE` runs it again".to_owned());
    }
    let outs = |has: &dyn Fn(&file::Out) -> bool| {
        let found: Vec<String> = stage
            .outs
            .iter()
            .filter(|o| has(o))
            .map(|o| format!("`{}`", o.path.words.written))
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    if let Some(paths) = outs(&|o| o.persist) {
        notes.push(format!("`persist` of {paths}: here a command starts without the files of its last run, so that its result does not depend on them"));
    }
    if let Some(paths) = outs(&|o| o.checkpoint) {
        notes.push(format!(
            "`checkpoint` of {paths} is not kept: DVC 3 does not know it either"
        ));
    }
    if stage.meta {
        notes.push("`meta` is not kept".to_owned());
    }
    if stage.vars.iter().any(|v| matches!(v, Vars::File { .. })) {
        notes
            .push("the values of the files in its own `vars` are copied into its texts".to_owned());
    }
    notes
}

/// A stage as it stands in the file.
fn stage_text(
    name: &str,
    stage: &Stage,
    axes: Option<&str>,
    written: &Written,
    notes: &[String],
) -> String {
    let mut text = String::from("\n");
    for note in notes {
        let mut line = String::from("  # DVC:");
        for word in note.split_whitespace() {
            if line.chars().count() + word.chars().count() > 98 {
                text.push_str(&line);
                text.push('\n');
                line = "  #".to_owned();
            }
            line.push(' ');
            line.push_str(word);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!("  {name}:\n"));
    if let Some(desc) = &stage.desc {
        text.push_str(&format!(
            "    description: {}\n",
            yaml::text(&desc.replace("${", "$${"))
        ));
    }
    if let Some(axes) = axes {
        text.push_str(&format!("    matrix: {axes}\n"));
    }
    let mut map = |key: &str, entries: &[(String, String)]| {
        if entries.is_empty() {
            return;
        }
        let part = |(k, v): &(String, String)| match v.starts_with('\n') {
            true => format!("{}:{v}", yaml::text(k)),
            false => format!("{}: {v}", yaml::text(k)),
        };
        let parts: Vec<String> = entries.iter().map(part).collect();
        let line = format!("    {key}: {{{}}}\n", parts.join(", "));
        if line.chars().count() <= 100 && parts.len() == 1 && !line.trim_end().contains('\n') {
            text.push_str(&line);
            return;
        }
        text.push_str(&format!("    {key}:\n"));
        for part in parts {
            text.push_str(&format!("      {part}\n"));
        }
    };
    map("needs", &written.needs);
    map("config", &written.config);
    if written.lenient {
        text.push_str("    shell: [bash, -uc]\n");
    }
    text.push_str(&format!("    run: {}\n", yaml::command(&written.run, 6)));
    let outputs: Vec<(String, String)> = written
        .outputs
        .iter()
        .map(|(n, p)| (n.clone(), yaml::text(p)))
        .collect();
    if !outputs.is_empty() {
        let parts: Vec<String> = outputs.iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let line = format!("    outputs: {{{}}}\n", parts.join(", "));
        match line.chars().count() <= 100 {
            true => text.push_str(&line),
            false => {
                text.push_str("    outputs:\n");
                for part in parts {
                    text.push_str(&format!("      {part}\n"));
                }
            }
        }
    }
    text
}
