//! Statements: what a signature says, as an in-toto statement with SLSA provenance.
//!
//! The binding part (which action, described how, gave which outputs) is made from a record and
//! checked against one, and nothing else decides. The rest (when, where, on which inputs) is for
//! readers and other tools.
//!
//! | of SLSA | here |
//! |---|---|
//! | `subject` | the outputs by name, with their digests |
//! | `externalParameters` | the pre-image of the key, as `repro show` prints it |
//! | `internalParameters` | key, digest of the outputs together, host, threads |
//! | `resolvedDependencies` | the inputs, with their digests |
//! | `runDetails` | the program's version, the run, begin and end |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::canonical;
use crate::digest::{Digest, Domain, Shape};
use crate::store::Fact;
use crate::store::Record;

pub(super) const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// Names the meaning of the parameters; part of the signed bytes.
const BUILD_TYPE: &str = "urn:repro:action:v1";
const BUILDER: &str = "urn:repro:builder:v1";

/// What a signer knows of the execution it vouches for. Nothing of it decides whether a signature
/// counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The run.
    pub invocation: Option<String>,
    /// RFC 3339.
    pub started: Option<String>,
    /// RFC 3339.
    pub finished: Option<String>,
    /// The machine.
    pub host: Option<String>,
    /// Threads it could use.
    pub threads: Option<u64>,
    /// Version of the program that executed.
    pub version: Option<String>,
}

impl Facts {
    /// Of the execution that made a record. Only for records that were made here: what a remote
    /// says of itself is no fact.
    pub fn of(record: &Record) -> Facts {
        let text = |fact: Fact| record.observation.text(fact).map(str::to_owned);
        let started = text(Fact::At);
        let finished = || {
            let start: jiff::Timestamp = started.as_deref()?.parse().ok()?;
            let wall_s = record.wall_s()?;
            let wall = jiff::SignedDuration::try_from_secs_f64(wall_s).ok()?;
            Some(start.checked_add(wall).ok()?.to_string())
        };
        Facts {
            invocation: text(Fact::Run),
            finished: finished(),
            started,
            host: text(Fact::Host),
            threads: record
                .observation
                .get(Fact::Threads)
                .and_then(Value::as_u64),
            version: text(Fact::Version),
        }
    }
}

/// Marks a record that comes from elsewhere (`remote lab`, `bundle x.repro`), so that it is never
/// signed as one's own, and serves only projects that believe it. Whoever takes records in must do
/// so before they are committed, whatever they say of themselves.
pub fn mark_origin(record: &mut Record, origin: &str) {
    record.set_origin(origin);
}

/// Whether this store's user made the record: only such may be signed without a second execution.
pub fn is_own(record: &Record) -> bool {
    record.origin().is_none()
}

/// The digest of an artifact as in-toto writes it. A tree's is that of its canonical listing, so it
/// has a name of its own.
pub(super) fn digest_set(shape: Shape, digest: &str) -> Value {
    match shape {
        Shape::File => json!({"blake3": digest}),
        Shape::Tree => json!({"reproTreeV1": digest}),
        // The bytes of a program are those of a file, and that it is one is more.
        Shape::Program => json!({"blake3": digest, "reproProgramV1": digest}),
    }
}

/// `file:<hex>` as in pre-images.
fn digest_set_of(content: &str) -> Option<Value> {
    let (shape, digest) = content.split_once(':')?;
    Some(digest_set(Shape::from_word(shape)?, digest))
}

fn subjects(record: &Record) -> Vec<Value> {
    let outputs = record.outputs.iter();
    outputs
        .map(|(name, content)| json!({"name": name, "digest": digest_set(content.shape, &content.digest.hex())}))
        .collect()
}

/// The inputs a pre-image names, and the program of the project that ran.
fn dependencies(preimage: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    let mut add = |name: String, content: &str| {
        if let Some(digest) = digest_set_of(content) {
            found.push(json!({"name": name, "digest": digest}));
        }
    };
    let inputs = preimage.get("inputs").and_then(Value::as_object);
    for (name, value) in inputs.into_iter().flatten() {
        match value {
            Value::String(content) => add(format!("inputs.{name}"), content),
            Value::Array(items) => {
                for (position, item) in items.iter().enumerate() {
                    if let Some(content) = item.get("content").and_then(Value::as_str) {
                        add(format!("inputs.{name}[{position}]"), content);
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(program) = preimage.pointer("/kind/program").and_then(Value::as_str) {
        add("program".into(), &format!("file:{program}"));
    }
    found
}

/// The statement about a record, as canonical JSON.
pub fn write(record: &Record, facts: &Facts) -> String {
    let preimage: Value = serde_json::from_str(&record.preimage).unwrap_or(Value::Null);
    let mut internal = Map::new();
    internal.insert("actionKey".into(), json!(record.key));
    internal.insert("result".into(), json!(record.result()));
    let mut metadata = Map::new();
    let optional = |map: &mut Map<String, Value>, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.into(), value);
        }
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    optional(&mut internal, "host", text(&facts.host));
    optional(&mut internal, "threads", facts.threads.map(Value::from));
    optional(&mut metadata, "invocationId", text(&facts.invocation));
    optional(&mut metadata, "startedOn", text(&facts.started));
    optional(&mut metadata, "finishedOn", text(&facts.finished));
    let version = facts.version.as_deref().unwrap_or("unknown");
    canonical::text(&json!({
        "_type": TYPE,
        "subject": subjects(record),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "resolvedDependencies": dependencies(&preimage),
                "externalParameters": preimage,
                "internalParameters": internal,
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"repro": version}},
                "metadata": metadata,
            },
        },
    }))
}

/// Why a statement does not vouch for a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is not a statement of ours.
    #[error("it is not a statement about a result: {0}")]
    Form(String),
    /// It is about another action: it was moved here from there.
    #[error("it is about another action, {}", .0.short())]
    OtherAction(Digest),
    /// It is about other outputs of the same action.
    #[error("it is about another result of this action, {}", .0.short())]
    OtherResult(Digest),
}

#[derive(Deserialize)]
struct StatementFile {
    #[serde(rename = "_type")]
    type_: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<SubjectFile>,
    predicate: PredicateFile,
}

#[derive(Deserialize)]
struct SubjectFile {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PredicateFile {
    build_definition: BuildFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildFile {
    build_type: String,
    external_parameters: Value,
    internal_parameters: InternalFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InternalFile {
    action_key: Digest,
    result: Digest,
}

/// Whether a record's description is what its key is the digest of: else its outputs are those of
/// something unknown.
pub fn is_described(record: &Record) -> bool {
    Digest::derive(Domain::Action, record.preimage.as_bytes()) == record.key
}

/// Checks that a signed statement is about exactly this record: the same action, described by the
/// same text, with the same outputs under the same names.
///
/// # Errors
/// See [`Mismatch`].
pub fn check(payload: &[u8], record: &Record) -> Result<(), Mismatch> {
    let form = |why: &str| Mismatch::Form(why.to_owned());
    let file: StatementFile = serde_json::from_slice(payload)
        .map_err(|e| form(&e.to_string().escape_debug().take(120).collect::<String>()))?;
    let build = file.predicate.build_definition;
    if file.type_ != TYPE || file.predicate_type != PREDICATE_TYPE {
        return Err(form("it has another type"));
    }
    if build.build_type != BUILD_TYPE {
        return Err(form("it has another build type"));
    }
    let internal = build.internal_parameters;
    if internal.action_key != record.key {
        return Err(Mismatch::OtherAction(internal.action_key));
    }
    if internal.result != record.result() {
        return Err(Mismatch::OtherResult(internal.result));
    }
    // Who reads only the standard fields must not be told something else than who reads ours.
    if canonical::text(&build.external_parameters) != record.preimage {
        return Err(form("its parameters are not those of its key"));
    }
    let subjects: Vec<Value> = file
        .subject
        .into_iter()
        .map(|s| json!({"name": s.name, "digest": s.digest}))
        .collect();
    if subjects != self::subjects(record) {
        return Err(form("its subjects are not the outputs of its result"));
    }
    Ok(())
}
