//! Crates: results with a description that other programs understand, for archives and supplements
//! of papers.
//!
//! A directory or a ZIP file with `ro-crate-metadata.json` (RO-Crate 1.1) after the profiles
//! Process Run Crate 0.5, Workflow Run Crate 0.5 and Workflow RO-Crate 1.0: the pipeline is the
//! workflow, one action says what it was run on and what came out, and one action for every result
//! how that was made. Signatures and statements lie under `provenance/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::rocrate_files::METADATA;
use super::rocrate_files::{encoded, format_of, sha256, zip};
use super::rocrate_graph::{Graph, reference, single};
use super::{Piece, ProjectPath, Selection};
use crate::artifacts;
use crate::digest::{Content, Shape};
use crate::filename::file_name;
use crate::plan::{Source, Work};
use crate::store::LinkMode;
use crate::trust::{self, Facts};
use repro_protocol::relpath::RelPath;

const PROFILES: [(&str, &str, &str); 3] = [
    (
        "https://w3id.org/ro/wfrun/process/0.5",
        "Process Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/ro/wfrun/workflow/0.5",
        "Workflow Run Crate",
        "0.5",
    ),
    (
        "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
        "Workflow RO-Crate",
        "1.0",
    ),
];
const LANGUAGE: &str = "urn:repro:pipeline:v1";
const COMPLETED: &str = "http://schema.org/CompletedActionStatus";

/// What only the user knows.
#[derive(Debug, Clone)]
pub struct About {
    /// A licence: its URL or its name.
    pub license: String,
    /// Who ran it.
    pub author: String,
}

/// Writes a crate, whole or not at all: a ZIP file when `to` ends in `.zip`, else a directory that
/// must not be there.
///
/// # Errors
/// Something is there, the store lacks something, or the disk.
pub fn write(selection: &Selection<'_>, about: &About, to: &Path) -> anyhow::Result<()> {
    let is_zip = to
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("zip"));
    anyhow::ensure!(
        is_zip || to.symlink_metadata().is_err(),
        "`{}` exists; name a directory that does not, or a file that ends in .zip",
        to.display()
    );
    let to = std::path::absolute(to)?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    let cannot = || format!("cannot write {}", to.display());
    let dir = tempfile::Builder::new()
        .prefix(".repro-crate-")
        .tempdir_in(parent)
        .with_context(cannot)?;
    let mut writer = Writer {
        selection,
        dir: dir.path(),
        graph: Graph::default(),
    };
    let metadata = writer.fill(about)?;
    let text = serde_json::to_string_pretty(&metadata)? + "\n";
    std::fs::write(dir.path().join(METADATA), text).with_context(cannot)?;
    if is_zip {
        let mut file = tempfile::Builder::new()
            .prefix(".repro-crate-")
            .tempfile_in(parent)
            .with_context(cannot)?;
        zip(dir.path(), file.as_file_mut()).with_context(cannot)?;
        set_mode(file.path(), 0o644)?;
        file.persist(&to)
            .map_err(|e| e.error)
            .with_context(cannot)?;
        return Ok(());
    }
    set_mode(dir.path(), 0o755)?;
    let made = dir.keep();
    std::fs::rename(&made, &to).with_context(|| {
        let _ = std::fs::remove_dir_all(&made);
        cannot()
    })
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// ISO 8601 to the second with an offset, which every reader takes.
fn iso(time: &Option<String>) -> Option<String> {
    let time: jiff::Timestamp = time.as_deref()?.parse().ok()?;
    let second = jiff::Timestamp::from_second(time.as_second()).ok()?;
    Some(
        second
            .display_with_offset(jiff::tz::Offset::UTC)
            .to_string(),
    )
}

struct Writer<'a, 'b> {
    selection: &'a Selection<'b>,
    dir: &'a Path,
    graph: Graph,
}

impl Writer<'_, '_> {
    /// Puts all files in their places; the description.
    fn fill(&mut self, about: &About) -> anyhow::Result<Value> {
        let selection = self.selection;
        let pipeline = selection.pipeline()?;
        let agent = self
            .graph
            .add("#author", json!("Person"), json!({"name": about.author}));
        let mut project = BTreeMap::new();
        for (path, ProjectPath { content, .. }) in &selection.project {
            let id = self.file(path, content, path.as_str())?;
            project.insert(path.clone(), id);
        }
        let workflow = project
            .get(&pipeline)
            .and_then(|id| id["@id"].as_str())
            .context("BUG: the pipeline is not part of what is exported")?
            .to_owned();
        let targets: Vec<&Piece> = selection.pieces.iter().filter(|p| p.is_target).collect();
        let mut outputs = Vec::new();
        let mut by_parameter: BTreeMap<(String, Shape), Vec<Value>> = BTreeMap::new();
        for piece in &targets {
            let instance = selection.instance(piece);
            for output in instance.outputs.iter() {
                let Some(content) = piece.record.outputs.get(&*output.name) else {
                    continue;
                };
                let path = artifacts::path_of(instance, output)?;
                let name = format!("{}.{}", instance.id, output.name);
                let id = self.file(&path, content, &name)?;
                let parameter = (format!("{}.{}", instance.stage, output.name), content.shape);
                by_parameter.entry(parameter).or_default().push(id.clone());
                outputs.push(id);
            }
        }
        let used = self.inputs(&project);
        let mut given = BTreeMap::new();
        for (path, id) in used {
            let shape = selection.project[&path].content.shape;
            given.insert((path.to_string(), shape), vec![id]);
        }
        let inputs: Vec<Value> = given.values().flatten().cloned().collect();
        let formal_inputs = self.parameters("input", given);
        let formal_outputs = self.parameters("output", by_parameter);
        let language = self.graph.add(
            LANGUAGE,
            json!("ComputerLanguage"),
            json!({"name": "repro pipeline", "alternateName": "repro", "version": "1"}),
        );
        self.graph.set(
            &workflow,
            "@type",
            json!(["File", "SoftwareSourceCode", "ComputationalWorkflow"]),
        );
        let lock = &selection.session.project.lock_file();
        let version = crate::digest::Digest::of_file(lock).map(|(d, _)| d.short());
        for (field, value) in [
            ("name", json!(selection.session.plan.name)),
            (
                "conformsTo",
                reference("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
            ),
            ("programmingLanguage", language),
            ("input", formal_inputs),
            ("output", formal_outputs),
            (
                "version",
                json!(version.unwrap_or_else(|_| "unlocked".into())),
            ),
        ] {
            self.graph.set(&workflow, field, value);
        }
        let facts: Vec<Facts> = targets.iter().map(|p| Facts::of(&p.record)).collect();
        let started = facts.iter().filter_map(|f| f.started.clone()).min();
        let finished = facts.iter().filter_map(|f| f.finished.clone()).max();
        let run = self.graph.add(
            "#run",
            json!("CreateAction"),
            json!({
                "name": format!("Run of {}", selection.session.plan.name),
                "description": "All results of this crate, as executed or found in a cache by repro",
                "instrument": reference(&workflow),
                "agent": agent,
                "object": inputs,
                "result": outputs,
                "startTime": iso(&started),
                "endTime": iso(&finished),
                "actionStatus": COMPLETED,
            }),
        );
        self.graph.actions.push(run);
        for (number, piece) in targets.iter().enumerate() {
            self.piece(number, piece, &agent, &project)?;
        }
        self.readme(about)?;
        Ok(self.document(about, &workflow))
    }

    /// Puts an artifact or project file in its place.
    fn file(&mut self, path: &RelPath, content: &Content, name: &str) -> anyhow::Result<Value> {
        let place = path.under(self.dir);
        if place.symlink_metadata().is_err() {
            self.selection
                .session
                .store
                .place(content, &place, LinkMode::Copy)?;
        }
        let id = encoded(path.as_str());
        Ok(match content.shape {
            Shape::File | Shape::Program => {
                let fields = json!({
                    "name": name,
                    "contentSize": content.bytes_total.to_string(),
                    "sha256": sha256(&place)?,
                    "identifier": format!("blake3:{}", content.digest),
                    "encodingFormat": format_of(path.name()),
                });
                self.graph.part(&id, json!("File"), fields)
            }
            Shape::Tree => self.graph.part(
                &format!("{id}/"),
                json!("Dataset"),
                json!({"name": name, "identifier": format!("repro-tree-v1:{}", content.digest)}),
            ),
        })
    }

    /// Project files that the targets, or what they need, take in.
    fn inputs(&self, project: &BTreeMap<RelPath, Value>) -> BTreeMap<RelPath, Value> {
        let items = self.selection.pieces.iter().flat_map(|piece| {
            let instance = self.selection.instance(piece);
            instance.needs.iter().flat_map(|need| &need.items)
        });
        let paths: BTreeSet<RelPath> = items
            .filter_map(|item| match &item.source {
                Source::Files(files) => files.in_project().cloned(),
                Source::Output { .. } => None,
            })
            .collect();
        let known = |path: RelPath| {
            let id = project.get(&path)?.clone();
            Some((path, id))
        };
        paths.into_iter().filter_map(known).collect()
    }

    /// Formal parameters with the files that stand for them.
    fn parameters(&mut self, side: &str, examples: BTreeMap<(String, Shape), Vec<Value>>) -> Value {
        let mut formal = Vec::new();
        for ((name, shape), files) in examples {
            let id = format!("#{side}-{}", encoded(&name));
            for file in &files {
                if let Some(file) = file["@id"].as_str() {
                    let of = reference(&id);
                    self.graph.set(file, "exampleOfWork", of);
                }
            }
            let kind = match shape {
                Shape::File | Shape::Program => "File",
                Shape::Tree => "Dataset",
            };
            formal.push(self.graph.add(
                &id,
                json!("FormalParameter"),
                json!({"name": name, "additionalType": kind, "workExample": files,
                       "conformsTo": reference("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE")}),
            ));
        }
        Value::Array(formal)
    }

    /// How one result was made.
    fn piece(
        &mut self,
        number: usize,
        piece: &Piece,
        agent: &Value,
        project: &BTreeMap<RelPath, Value>,
    ) -> anyhow::Result<()> {
        let selection = self.selection;
        let instance = selection.instance(piece);
        let facts = Facts::of(&piece.record);
        let (instrument, params) = match &instance.work {
            Work::Kind { kind, params } => {
                let id = format!("urn:repro:kind:{}:{}", encoded(&kind.name), kind.revision);
                let fields = json!({
                    "name": kind.name,
                    "description": kind.summary,
                    "softwareVersion": kind.revision.to_string(),
                });
                let instrument = self.graph.add(&id, json!("SoftwareApplication"), fields);
                (instrument, params.as_object())
            }
            Work::Command(command) => {
                let digest = crate::digest::Digest::of(command.script.as_bytes());
                let fields = json!({
                    "name": format!("command of {}", instance.stage),
                    "description": command.script,
                    "softwareVersion": digest.short(),
                });
                let id = format!("urn:repro:command:{digest}");
                (
                    self.graph.add(&id, json!("SoftwareApplication"), fields),
                    None,
                )
            }
        };
        let mut objects = Vec::new();
        for need in &instance.needs {
            for item in &need.items {
                let object = match &item.source {
                    Source::Files(files) => {
                        files.in_project().and_then(|p| project.get(p)).cloned()
                    }
                    Source::Output {
                        instance: producer,
                        output,
                    } => self.produced(*producer, *output as usize),
                };
                objects.extend(object);
            }
        }
        for (name, value) in params.into_iter().flatten() {
            let id = format!("#param-{number}-{}", encoded(name));
            let value = match value {
                Value::String(_) | Value::Number(_) | Value::Bool(_) => value.clone(),
                other => other.to_string().into(),
            };
            let fields = json!({"name": name, "value": value});
            objects.push(self.graph.add(&id, json!("PropertyValue"), fields));
        }
        let mut results = Vec::new();
        for output in instance.outputs.iter() {
            if let Some(content) = piece.record.outputs.get(&*output.name) {
                let id = encoded(artifacts::path_of(instance, output)?.as_str());
                let slash = if content.shape == Shape::Tree {
                    "/"
                } else {
                    ""
                };
                results.push(reference(&format!("{id}{slash}")));
            }
        }
        let provenance = self.provenance(piece, &instance.id, &facts)?;
        let id = format!("#action-{number}");
        let action = self.graph.add(
            &id,
            json!("CreateAction"),
            json!({
                "name": &*instance.id,
                "description": format!("Execution of {} with the key {}", instance.id, piece.record.key),
                "identifier": piece.record.key.hex(),
                "instrument": instrument,
                "agent": agent,
                "object": objects,
                "result": results,
                "startTime": iso(&facts.started),
                "endTime": iso(&facts.finished),
                "actionStatus": COMPLETED,
                "subjectOf": provenance,
            }),
        );
        self.graph.actions.push(action);
        Ok(())
    }

    /// An output of another instance: a file of the crate, or at least its name.
    fn produced(&mut self, producer: crate::plan::InstanceIndex, output: usize) -> Option<Value> {
        let selection = self.selection;
        let piece = selection.pieces.iter().find(|p| p.index == producer)?;
        let instance = selection.instance(piece);
        let output = instance.outputs.get(output)?;
        let content = piece.record.outputs.get(&*output.name)?;
        if piece.is_target {
            let id = encoded(artifacts::path_of(instance, output).ok()?.as_str());
            let slash = if content.shape == Shape::Tree {
                "/"
            } else {
                ""
            };
            return Some(reference(&format!("{id}{slash}")));
        }
        let fields = json!({
            "name": format!("{}.{}", instance.id, output.name),
            "description": "Made on the way and not part of this crate",
        });
        Some(self.graph.add(
            &format!("urn:repro:{content}"),
            json!("CreativeWork"),
            fields,
        ))
    }

    /// The statement about a result, and the signatures under it, as files.
    fn provenance(&mut self, piece: &Piece, id: &str, facts: &Facts) -> anyhow::Result<Vec<Value>> {
        let dir = self.dir.join("provenance");
        std::fs::create_dir_all(&dir)?;
        let mut files = vec![(
            format!("{}.statement.json", file_name(id)),
            trust::statement_text(&piece.record, facts).into_bytes(),
            format!("In-toto statement with SLSA provenance of {id}"),
        )];
        for envelope in &piece.envelopes {
            if let Some(key) = trust::claimed_signer(envelope) {
                files.push((
                    format!("{}.{}.dsse.json", file_name(id), key.short()),
                    envelope.clone(),
                    format!("Signature of {id} (DSSE envelope)"),
                ));
            }
        }
        let mut ids = Vec::new();
        for (name, bytes, title) in files {
            let place = dir.join(&name);
            std::fs::write(&place, &bytes)?;
            let fields = json!({
                "name": title,
                "encodingFormat": "application/json",
                "contentSize": bytes.len().to_string(),
                "sha256": sha256(&place)?,
            });
            let id = format!("provenance/{}", encoded(&name));
            ids.push(self.graph.part(&id, json!("File"), fields));
        }
        Ok(ids)
    }

    /// A page for people, unless the project brought one along.
    fn readme(&mut self, about: &About) -> anyhow::Result<()> {
        const NAME: &str = "README.md";
        let place = self.dir.join(NAME);
        if place.symlink_metadata().is_ok() {
            return Ok(());
        }
        let name = &self.selection.session.plan.name;
        let pipeline = self.selection.pipeline()?;
        let text = format!(
            "# {name}\n\nResults lie under `artifacts/`, how they were made is in `{METADATA}` and `provenance/`. \
             `repro run {pipeline}` makes them again.\n\nBy {}. Licence: {}.\n",
            about.author, about.license
        );
        std::fs::write(&place, text)?;
        let fields = json!({
            "name": "About this crate",
            "about": reference("./"),
            "encodingFormat": "text/markdown",
            "sha256": sha256(&place)?,
        });
        self.graph.part(NAME, json!("File"), fields);
        Ok(())
    }

    fn document(&mut self, about: &About, workflow: &str) -> Value {
        let graph = &mut self.graph;
        let name = &self.selection.session.plan.name;
        let profiles: Vec<Value> = PROFILES
            .iter()
            .map(|(id, name, version)| {
                let fields = json!({"name": name, "version": version});
                graph.add(id, json!("CreativeWork"), fields)
            })
            .collect();
        let license = match about.license.starts_with("http") {
            true => graph.add(
                &about.license,
                json!("CreativeWork"),
                json!({"name": about.license}),
            ),
            false => json!(about.license),
        };
        let mut entities = vec![
            json!({
                "@id": METADATA,
                "@type": "CreativeWork",
                "about": reference("./"),
                "conformsTo": [
                    reference("https://w3id.org/ro/crate/1.1"),
                    reference("https://w3id.org/workflowhub/workflow-ro-crate/1.0"),
                ],
            }),
            json!({
                "@id": "./",
                "@type": "Dataset",
                "name": name,
                "description": format!("Results of the study {name}, with the pipeline that makes them and how they were made"),
                "datePublished": iso(&Some(jiff::Timestamp::now().to_string())),
                "license": license,
                "author": reference("#author"),
                "conformsTo": profiles,
                "mainEntity": reference(workflow),
                "hasPart": single(Value::Array(graph.parts.clone())),
                "mentions": single(Value::Array(graph.actions.clone())),
            }),
        ];
        entities.extend(
            graph
                .order
                .iter()
                .filter_map(|id| graph.entities.get(id).cloned()),
        );
        json!({
            "@context": [
                "https://w3id.org/ro/crate/1.1/context",
                "https://w3id.org/ro/terms/workflow-run/context",
            ],
            "@graph": entities,
        })
    }
}
