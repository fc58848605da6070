//! A small workshop (`make`, `join`, `paint`) to test specifications with, and the tests themselves
//! by subject.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::catalog::{Catalog, Kind, Program, Table};
use crate::plan::{Instance, Plan, Source, Work};
use repro_protocol::kind::{Checked, Description, InputSpec, OutputSpec, ParamProblem, no_member};
use repro_protocol::relpath::RelPath;

mod errors;
mod expansion;
mod laws;

fn input(name: &str, required: bool, many: bool) -> InputSpec {
    InputSpec {
        name: name.to_owned().into(),
        required,
        many,
        doc: format!("what {name} is").into(),
        observes_only: false,
    }
}

fn outputs(list: &[(&str, &str)]) -> Vec<OutputSpec> {
    list.iter()
        .map(|(n, p)| OutputSpec {
            name: (*n).into(),
            path: RelPath::new(p).unwrap(),
        })
        .collect()
}

/// A kind that takes numbers `size` (default 1) and `speed`, a text `colour`, a map `tool` and
/// anything under `free`.
fn kind(
    name: &str,
    inputs: Vec<InputSpec>,
    made: &'static [(&'static str, &'static str)],
) -> Arc<Kind> {
    let description = Description {
        name: name.to_owned(),
        summary: format!("{name} things"),
        doc: String::new(),
        revision: 1,
        numerics: "none".to_owned(),
        inputs,
        member: Arc::new(|_, output, _| no_member(output)),
        counts: Vec::new(),
        schema: json!({"type": "object", "properties": {"size": {"type": "integer"}, "speed": {"type": "number"}, "colour": {"enum": ["red", "blue"]}, "tool": {"$ref": "#/$defs/Tool"}, "free": true}, "additionalProperties": false, "$defs": {"Tool": {"type": "object", "properties": {"teeth": {"type": "integer"}}, "additionalProperties": false}}}).into(),
        check: Arc::new(move |params, _| {
            let mut problems = Vec::new();
            let object = params.as_object().unwrap();
            let mut bad = |path: &[&str], message: &str, hint: Option<&str>| {
                problems.push(ParamProblem {
                    path: path.iter().map(|s| (*s).to_owned()).collect(),
                    message: message.to_owned(),
                    hint: hint.map(str::to_owned),
                });
            };
            for (key, value) in object {
                match key.as_str() {
                    "size" if value.as_i64().is_some_and(|n| n > 0) => {}
                    "size" => bad(
                        &["size"],
                        &format!("expected a whole number above 0, found {value}"),
                        Some("1 is a good size"),
                    ),
                    "speed" if value.is_number() => {}
                    "speed" => bad(&["speed"], "expected a number", None),
                    "colour" if value == "red" || value == "blue" => {}
                    "colour" => bad(&["colour"], "unknown colour", Some("did you mean `red`?")),
                    "tool" => {
                        if value.get("teeth").is_none_or(|t| !t.is_u64()) {
                            bad(&["tool", "teeth"], "expected a whole number", None);
                        }
                    }
                    "free" => {}
                    other => bad(&[other], &format!("unknown field `{other}`"), None),
                }
            }
            if !problems.is_empty() {
                return Err(problems);
            }
            let mut params = params.clone();
            params
                .as_object_mut()
                .unwrap()
                .entry("size")
                .or_insert(json!(1));
            Ok(Checked {
                params,
                outputs: outputs(made),
            })
        }),
        facts: None,
        states: None,
        on_gpu: None,
    };
    Arc::new(Kind {
        description,
        program: Program::BuiltIn,
    })
}

fn claim_kind() -> Arc<Kind> {
    let mut kind = Arc::into_inner(kind(
        "decide",
        vec![input("a", true, true), input("b", false, true)],
        &[],
    ))
    .unwrap();
    kind.description.check = Arc::new(|params, needs| {
        let expect = params["expect"].as_object().into_iter().flatten();
        let mut problems: Vec<ParamProblem> = expect
            .filter(|(name, _)| name.as_str() == "men")
            .map(|(name, _)| ParamProblem {
                path: vec!["expect".to_owned(), name.clone()],
                message: format!("unknown field `{name}`"),
                hint: None,
            })
            .collect();
        if params.get("compare").is_some() && needs.len() < 2 {
            problems.push(ParamProblem::whole("a comparison needs two sides"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Checked {
            params: params.clone(),
            outputs: outputs(&[("verdict", "verdict.json")]),
        })
    });
    Arc::new(kind)
}

fn catalog() -> Catalog {
    Catalog {
        concepts: Vec::new(),
        caches: Vec::new(),
        reference: |_| None,
        kinds: vec![
            kind(
                "make",
                vec![input("part", false, false), input("mask", false, false)],
                &[("thing", "thing.bin"), ("metrics", "metrics.csv")],
            ),
            kind(
                "join",
                vec![input("parts", true, true)],
                &[("whole", "whole.bin")],
            ),
            kind(
                "gauge",
                vec![input("*", false, true)],
                &[("report", "report.txt")],
            ),
        ],
        claim_kind: claim_kind(),
        read_table: Arc::new(|_| Ok(Table::default())),
        write_table: |_, _| Ok(()),
        read_gathered: |_| Ok(Vec::new()),
        write_gathered: |_, _| Ok(()),
        judge: |_, _, _| Ok(Vec::new()),
        table_endings: &["parquet", "csv", "bin"],
        describe_difference: |_, _| None,
        measure_difference: |_, _| None,
        work: |_| std::process::ExitCode::SUCCESS,
    }
}

/// A project on disk: `pipeline.yaml` and more files.
struct Project {
    dir: tempfile::TempDir,
    profile: Vec<String>,
    set: Vec<String>,
}

fn project(pipeline: &str) -> Project {
    let project = Project {
        dir: tempfile::tempdir().unwrap(),
        profile: Vec::new(),
        set: Vec::new(),
    };
    project.file("pipeline.yaml", pipeline)
}

impl Project {
    fn file(self, path: &str, text: impl AsRef<[u8]>) -> Project {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn profile(mut self, name: &str) -> Project {
        self.profile.push(name.to_owned());
        self
    }

    fn set(mut self, text: &str) -> Project {
        self.set.push(text.to_owned());
        self
    }

    fn load_with(
        &self,
        external: &dyn Fn(&Path) -> anyhow::Result<Arc<Kind>>,
    ) -> Result<Plan, Diagnostics> {
        let env = |name: &str| (name == "PAINT").then(|| "blue".to_owned());
        let file: PathBuf = self.dir.path().join("pipeline.yaml");
        load(
            &Options {
                file: &file,
                root: self.dir.path(),
                profile: self.profile.clone(),
                set: self.set.clone(),
                env: &env,
            },
            &catalog(),
            external,
        )
    }

    fn load(&self) -> Result<Plan, Diagnostics> {
        self.load_with(&|path| {
            anyhow::bail!(
                "{} does not answer",
                path.file_name().unwrap().to_string_lossy()
            )
        })
    }

    fn plan(&self) -> Plan {
        self.load().unwrap_or_else(|e| panic!("{e}"))
    }

    fn errors(&self) -> String {
        match self.load() {
            Ok(plan) => panic!("expected errors, got {} instances", plan.instances.len()),
            Err(e) => e.to_string(),
        }
    }
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.instances.iter().map(|i| &*i.id).collect()
}

fn find<'a>(plan: &'a Plan, id: &str) -> &'a Instance {
    plan.instances
        .iter()
        .find(|i| &*i.id == id)
        .unwrap_or_else(|| panic!("no {id} in {:?}", ids(plan)))
}

/// `name: [group|axes|source|placed_at ...]`
fn needs(plan: &Plan, id: &str) -> Vec<String> {
    find(plan, id)
        .needs
        .iter()
        .map(|n| {
            let items: Vec<String> = n
                .items
                .iter()
                .map(|i| {
                    let source = match &i.source {
                        Source::Files(files) => files.at.to_string(),
                        Source::Output { instance, output } => format!(
                            "{}.{}",
                            plan.instance(*instance).id,
                            plan.instance(*instance).outputs[*output as usize].name
                        ),
                    };
                    let group = if i.group.is_empty() {
                        String::new()
                    } else {
                        format!("{}: ", i.group)
                    };
                    format!("{group}{source} @ {}", i.placed_at)
                })
                .collect();
            format!(
                "{}{} <- {}",
                n.name,
                if n.many { " (many)" } else { "" },
                items.join(" | ")
            )
        })
        .collect()
}

fn params(plan: &Plan, id: &str) -> Value {
    match &find(plan, id).work {
        Work::Kind { params, .. } => (**params).clone(),
        Work::Command(_) => panic!("{id} is a command"),
    }
}

fn script(plan: &Plan, id: &str) -> String {
    match &find(plan, id).work {
        Work::Kind { .. } => panic!("{id} is a kind"),
        Work::Command(command) => command.script.to_string(),
    }
}
