//! An order: one execution, said completely.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::{Kind, Program};
use crate::digest::{Content, Digest};
use crate::files::{Files, Location};
use crate::key::{self, Key};
use crate::lineage::{self, Kin, Lineage};
use crate::plan::{Axes, Command, Instance, Policy, Source, Work};
use crate::session::Session;
use repro_protocol::job::Device;
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// One execution of a run, by number. What is told of another one is about the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderId(pub u64);

/// See the module. Written as JSON and read again it means the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Which.
    pub id: OrderId,
    /// The run it is for.
    pub run: String,
    /// What its outputs are for.
    pub purpose: Purpose,
    /// The instance, for messages: `train[seed=1]`.
    pub instance: Arc<str>,
    /// The key of the action, with its pre-image.
    pub key: Key,
    /// What to do.
    pub job: Job,
    /// The inputs, items of one need in their order.
    pub inputs: Vec<Input>,
    /// What is to be made.
    pub outputs: Arc<[OutputSpec]>,
    /// Where it can be resumed from, furthest first: label and state key.
    pub states: Vec<(String, Key)>,
    /// What an earlier run found out about the outside world.
    pub pins: BTreeMap<String, String>,
    /// Limits, seconds of grace, sandbox; with the cores it was given.
    pub policy: Arc<Policy>,
    /// The cores it declares; libraries are told so.
    pub threads: Option<u32>,
    /// Where downloads look first: directories or URLs.
    pub mirrors: Vec<String>,
    /// The network may not be used.
    pub offline: bool,
    /// Where a kind computes; absent: as its resources say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

/// What the outputs of an order are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To be recorded. A result that somebody records meanwhile serves as well.
    Record,
    /// To be recorded, whatever is recorded already.
    RecordAnew,
    /// To be compared with a result. Nothing is recorded, and it is executed once, from the
    /// beginning.
    Compare,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// A kind, with checked parameters.
    Kind {
        /// Which.
        kind: KindName,
        /// [`repro_protocol::kind::Checked::params`].
        params: Arc<Value>,
    },
    /// A shell command.
    Command(Arc<Command>),
}

/// A kind, as an executor knows it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KindName {
    /// What it calls itself.
    pub name: String,
    /// Programs of the study may call themselves alike: the file, and the digest in the key.
    pub program: Option<(Location, Digest)>,
}

/// One input artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The logical name under `needs:`.
    pub need: Arc<str>,
    /// Written as a list, group map or gather.
    pub many: bool,
    /// Group, list position, or empty.
    pub group: Arc<str>,
    /// Matrix values of the producer, when gathered.
    pub axes: Axes,
    /// Where a command finds it, relative to its working directory.
    pub placed_at: RelPath,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is.
    pub content: Content,
    /// What it is called, for messages.
    pub called: Arc<str>,
    /// What it has in common with others of its group.
    pub kin: Kin,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// The store has it.
    Stored,
    /// No stage makes it: it lies in the project, or where the study says.
    Files(Arc<Files>),
}

/// What is decided about one execution; none of it is in the key.
pub struct Terms {
    /// See [`Order::id`].
    pub id: OrderId,
    /// See [`Order::run`].
    pub run: String,
    /// See [`Order::purpose`].
    pub purpose: Purpose,
    /// See [`Order::pins`].
    pub pins: BTreeMap<String, String>,
    /// See [`Order::policy`].
    pub policy: Arc<Policy>,
    /// See [`Order::threads`].
    pub threads: Option<u32>,
    /// See [`Order::offline`].
    pub offline: bool,
    /// See [`Order::device`].
    pub device: Option<Device>,
}

impl Order {
    /// The order to execute an instance whose inputs have these contents, and this in common.
    pub fn of(
        session: &Session,
        instance: &Instance,
        key: Key,
        contents: &[Vec<Content>],
        lineage: &Lineage,
        terms: Terms,
    ) -> Order {
        let plan = &session.plan;
        Order {
            id: terms.id,
            run: terms.run,
            instance: instance.id.clone(),
            key,
            job: match &instance.work {
                Work::Kind { kind, params } => Job::Kind {
                    kind: KindName::of(kind, &session.project.root),
                    params: params.clone(),
                },
                Work::Command(command) => Job::Command(command.clone()),
            },
            inputs: inputs(session, instance, contents, lineage),
            outputs: instance.outputs.clone(),
            states: match terms.purpose {
                Purpose::Record | Purpose::RecordAnew => state_keys(&plan.salt, instance, contents),
                Purpose::Compare => Vec::new(),
            },
            purpose: terms.purpose,
            pins: terms.pins,
            policy: terms.policy,
            threads: terms.threads,
            mirrors: plan.mirrors.clone(),
            offline: terms.offline,
            device: terms.device,
        }
    }
}

impl KindName {
    /// What a kind is called in a project with this root.
    pub fn of(kind: &Kind, root: &Path) -> KindName {
        let program = match &kind.program {
            Program::External { path, digest } => Some((Location::of(path, root), *digest)),
            Program::BuiltIn | Program::Unasked { .. } => None,
        };
        KindName {
            name: kind.name.clone(),
            program,
        }
    }
}

fn inputs(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    lineage: &Lineage,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (position, (need, contents)) in instance.needs.iter().zip(contents).enumerate() {
        for (at, (item, content)) in need.items.iter().zip(contents).enumerate() {
            inputs.push(Input {
                need: need.name.clone(),
                many: need.many,
                group: item.group.clone(),
                axes: item.axes.clone(),
                placed_at: item.placed_at.clone(),
                origin: match &item.source {
                    Source::Files(files) => Origin::Files(files.clone()),
                    Source::Output { .. } => Origin::Stored,
                },
                content: *content,
                called: session.plan.name_of(&item.source).into(),
                kin: lineage::kin(lineage, position, at)
                    .cloned()
                    .unwrap_or_default(),
            });
        }
    }
    inputs
}

/// Keys of the states an instance can be resumed from, furthest first.
pub fn state_keys(
    salt: &str,
    instance: &Instance,
    contents: &[Vec<Content>],
) -> Vec<(String, Key)> {
    let Work::Kind { kind, params } = &instance.work else {
        return Vec::new();
    };
    let points = kind.states.as_ref().map(|states| states(params));
    let points = points.into_iter().flatten().map(|point| {
        let key = key::state_key(salt, kind, &point, &instance.needs, contents);
        (point.label, key)
    });
    points.collect()
}

/// A result may be known whose inputs were never here: who pulls a clone gets what is final.
pub fn check_inputs(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
) -> anyhow::Result<()> {
    for (need, contents) in instance.needs.iter().zip(contents) {
        for (item, content) in need.items.iter().zip(contents) {
            if let Source::Output { instance: from, .. } = item.source
                && !session.store.has(content)?
            {
                let from = &session.plan.instance(from).id;
                anyhow::bail!(
                    "`{}` needs the output of `{from}`, which is not in the store; `repro run --pull '{from}'` gets it or makes it again",
                    instance.id
                );
            }
        }
    }
    Ok(())
}
