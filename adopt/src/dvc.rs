//! DVC: `dvc.yaml` with `params.yaml`, `dvc.lock` and `.dvc` files.
//!
//! [`file`] reads what is written, [`scope`] the values that references mean, [`expand`] makes the
//! stages that DVC makes, [`graph`] says who takes from whom, [`emit`] writes each stage, with
//! [`names`] and [`variables`], and [`writer`] the whole file. This file puts them together.

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
mod writer;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use repro_engine::spec::yaml::{Diagnostics, Problem, Report, Source, Span, parse, read_text};

use emit::{Emitter, Shape};
use expand::{Instance, Making, items};
use file::Stage;
use found::Found;
use graph::{Graph, Taken};
use names::output_names;
use references::Unpacking;
use scope::Scope;
use writer::Writer;

use crate::{Adopted, Note};

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
