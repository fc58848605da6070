//! Frozen keys: what an action was called when its result was recorded is what it is called today,
//! on every machine.
//!
//! A key that changes disowns every result ever recorded and shared. When one of these does:
//! - by mistake (another field order, another float format, a default that is no longer written):
//!   mend the code;
//! - on purpose (the key has to hear of something new): raise `repro_engine::key::FORMAT` with a
//!   line in its history, so that no old result can pass for a new one, and freeze the new texts
//!   and digests here. Nothing else is a reason.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use repro_engine::catalog::{Kind, Program};
use repro_engine::digest::{Content, Digest, Domain, Shape};
use repro_engine::key::{Context, FORMAT, action_key, state_key};
use repro_engine::lineage::{Kin, Lineage};
use repro_engine::plan::{
    Axes, AxisValue, Command, Instance, Need, NeedItem, Network, Place, Policy, Sandbox, Scratch,
    Setup, Source, Tool, Work,
};
use repro_protocol::kind::{Checked, Description, InputSpec, OutputSpec, StatePoint, no_member};
use repro_protocol::relpath::RelPath;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn axes(entries: &[(&str, Value)]) -> Axes {
    entries
        .iter()
        .map(|(name, value)| {
            let (value, text) = (value.clone(), value.to_string().into());
            (Arc::from(*name), Arc::new(AxisValue { value, text }))
        })
        .collect()
}

fn item(group: &str, axes: Axes, placed_at: &str) -> NeedItem {
    NeedItem {
        inside: None,
        group: group.into(),
        axes,
        source: Source::Files(Arc::new(repro_engine::files::Files::whole(path(
            "anywhere",
        )))),
        placed_at: path(placed_at),
    }
}

fn content(shape: Shape, bytes: &str) -> Content {
    Content {
        shape,
        digest: Digest::of(bytes.as_bytes()),
        bytes_total: bytes.len() as u64,
    }
}

/// Three inputs: one file, one tree, and a gather of two.
fn inputs() -> (Vec<Need>, Vec<Vec<Content>>) {
    let needs = vec![
        Need {
            name: "data".into(),
            items: vec![item("", axes(&[]), "data.csv")],
            many: false,
        },
        Need {
            name: "probe".into(),
            items: vec![item("", axes(&[]), "probe")],
            many: false,
        },
        Need {
            name: "runs".into(),
            items: vec![
                item(
                    "ünder score",
                    axes(&[("seed", json!(1)), ("lr", json!(0.1))]),
                    "runs/1.csv",
                ),
                item(
                    "",
                    axes(&[("seed", json!(2)), ("lr", json!(1.0))]),
                    "runs/2.csv",
                ),
            ],
            many: true,
        },
    ];
    let contents = vec![
        vec![content(Shape::File, "a,b\n")],
        vec![content(Shape::Tree, "a listing")],
        vec![content(Shape::File, "one"), content(Shape::File, "two")],
    ];
    (needs, contents)
}

/// The same work under a name, place and policy that must not count.
fn instance(
    id: &str,
    work: Work,
    outputs: &[(&str, &str)],
    needs: Vec<Need>,
    cpus: u32,
) -> Instance {
    let outputs: Vec<OutputSpec> = outputs
        .iter()
        .map(|(name, at)| OutputSpec {
            name: (*name).into(),
            path: path(at),
        })
        .collect();
    Instance {
        id: id.into(),
        stage: id.into(),
        axes: axes(&[("seed", json!(cpus))]),
        work,
        needs,
        after: Arc::from([]),
        outputs: outputs.into(),
        policy: Arc::new(Policy {
            cpus: Some(cpus),
            memory_bytes: Some(1 << 30),
            gpus: 0,
            mutexes: vec!["licence".into()],
            timeout_s: Some(60.0),
            grace_s: 30.0,
            retries: 2,
            sandbox: Sandbox::On,
            network: Network::On,
            scratch: Scratch::None,
            secrets: Vec::new(),
            executor: None,
        }),
        place: Arc::new(Place {
            file: format!("{id}.yaml").into(),
            line: cpus,
            column: 1,
        }),
    }
}

fn command() -> Work {
    Work::Command(Arc::new(Command {
        script: "tool --title \"Größe\\n\" < data.csv\n\tsort > out.csv".into(),
        setup: Arc::new(Setup {
            shell: ["bash", "-eu", "-c"].map(str::to_owned).into(),
            env: BTreeMap::from([
                ("LC_ALL".to_owned(), "C".to_owned()),
                ("A".to_owned(), String::new()),
            ]),
            tools: vec![
                Tool {
                    program: "tool".into(),
                    version_command: vec!["tool".into(), "-V".into()],
                },
                Tool {
                    program: "sort".into(),
                    version_command: vec!["sort".into(), "--version".into()],
                },
            ],
            ..Setup::default()
        }),
    }))
}

fn kind(name: &str, program: Program) -> Arc<Kind> {
    let input = |name: &'static str, observes_only| InputSpec {
        name: name.into(),
        required: true,
        many: true,
        doc: "".into(),
        observes_only,
    };
    let description = Description {
        name: name.into(),
        summary: "does not count".into(),
        doc: "does not count".into(),
        revision: 3,
        numerics: "exact-f32-v1".into(),
        inputs: vec![
            input("data", false),
            input("probe", true),
            input("runs", false),
        ],
        counts: vec!["runs".into()],
        schema: json!({"does": "not count"}).into(),
        check: Arc::new(|_, _| {
            Ok(Checked {
                params: Value::Null,
                outputs: vec![],
            })
        }),
        member: Arc::new(|_, output, _| no_member(output)),
        facts: None,
        states: None,
        on_gpu: None,
    };
    Arc::new(Kind {
        description,
        program,
    })
}

fn params() -> Value {
    json!({
        "zeta": 1, "alpha": {"rate": 0.1, "whole": 1.0, "tiny": 1e-7, "huge": 1e300, "none": null, "zero": -0.0},
        "list": [true, "two\u{1}", -3], "large": u64::MAX, "ä": "\"quoted\"",
    })
}

const SALT: &str = "ours";

fn key_of(instance: &Instance, contents: &[Vec<Content>]) -> repro_engine::key::Key {
    key_with(instance, contents, &Vec::new())
}

fn key_with(
    instance: &Instance,
    contents: &[Vec<Content>],
    lineage: &Lineage,
) -> repro_engine::key::Key {
    let versions = BTreeMap::from([
        ("tool".to_owned(), "tool 1.2".to_owned()),
        ("sort".to_owned(), "sort 9.4".to_owned()),
    ]);
    action_key(
        Context {
            salt: SALT,
            tool_versions: &versions,
            environments: &Default::default(),
        },
        instance,
        contents,
        lineage,
    )
}

#[track_caller]
fn frozen(key: &repro_engine::key::Key, preimage: &str, digest: &str) {
    assert_eq!(
        key.preimage, preimage,
        "the text a key is made of changed: read the head of this file"
    );
    assert_eq!(
        key.digest.hex(),
        digest,
        "the key changed though its text did not: read the head of this file"
    );
}

#[test]
fn a_command() {
    let (needs, contents) = inputs();
    let outputs = [("log", "log.txt"), ("table", "out.csv")];
    let key = key_of(
        &instance("first", command(), &outputs, needs.clone(), 1),
        &contents,
    );
    frozen(&key, COMMAND, COMMAND_KEY);
    assert_eq!(
        key,
        key_of(
            &instance("second", command(), &outputs, needs, 8),
            &contents
        ),
        "name, place and policy do not count"
    );
}

#[test]
fn a_kind() {
    let (needs, contents) = inputs();
    let work = || Work::Kind {
        kind: kind("sum", Program::BuiltIn),
        params: Arc::new(params()),
    };
    let key = key_of(
        &instance(
            "first",
            work(),
            &[("model", "m"), ("table", "t")],
            needs.clone(),
            1,
        ),
        &contents,
    );
    frozen(&key, KIND, KIND_KEY);
    let elsewhere = key_of(
        &instance(
            "second",
            work(),
            &[("model", "x"), ("table", "y")],
            needs,
            8,
        ),
        &contents,
    );
    assert_eq!(key, elsewhere, "nor do the paths of a kind's outputs");
    let (needs, contents) = inputs();
    let same = instance("first", work(), &[("model", "m"), ("table", "t")], needs, 1);
    let alone: Lineage = contents
        .iter()
        .map(|items| vec![Kin::default(); items.len()])
        .collect();
    assert_eq!(
        key,
        key_with(&same, &contents, &alone),
        "inputs that have nothing in common are told apart by nothing"
    );
    let mut kin = alone;
    for item in kin.iter_mut().flatten() {
        *item = Kin {
            chain: Some(0),
            sources: vec![0, 3],
        };
    }
    let related = key_with(&same, &contents, &kin).preimage;
    assert!(
        related.contains(r#"},"chain":0,"content":"file:"#)
            && related.contains(r#""group":"ünder score","sources":[0,3]}"#),
        "{related}"
    );
}

#[test]
fn a_program_of_the_project() {
    let (needs, contents) = inputs();
    let program = |at: &str| Program::External {
        path: at.into(),
        digest: Digest::of(b"#!/bin/sh\n"),
    };
    let work = |name: &str, at: &str| Work::Kind {
        kind: kind(name, program(at)),
        params: Arc::new(json!({})),
    };
    let key = key_of(
        &instance(
            "first",
            work("./a", "/p/a"),
            &[("out", "o")],
            needs[..1].to_vec(),
            1,
        ),
        &contents[..1],
    );
    frozen(&key, PROGRAM, PROGRAM_KEY);
    let moved = key_of(
        &instance(
            "first",
            work("./b/a", "/q/b/a"),
            &[("out", "o")],
            needs[..1].to_vec(),
            1,
        ),
        &contents[..1],
    );
    assert_eq!(key, moved, "where a program lies does not count");
}

#[test]
fn a_state() {
    let (needs, contents) = inputs();
    let point = StatePoint {
        label: "epoch 4".into(),
        preimage: json!({"rate": 0.1, "at": "epoch 4"}),
    };
    let key = state_key(
        SALT,
        &kind("sum", Program::BuiltIn),
        &point,
        &needs,
        &contents,
    );
    frozen(&key, STATE, STATE_KEY);
    assert!(
        !key.preimage.contains("probe"),
        "an input that only observes does not count"
    );
}

/// Domains keep a file from passing for an action, and an action for a state.
#[test]
fn digests() {
    assert_eq!(
        Digest::of(b"abc").hex(),
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        "what `b3sum` says"
    );
    let domains = [Domain::Tree, Domain::Action, Domain::State, Domain::Result]
        .map(|d| Digest::derive(d, b"abc").hex());
    assert_eq!(domains, DOMAINS);
}

#[test]
fn the_format() {
    assert_eq!(FORMAT, 1, "a new format makes new keys: freeze them below");
}

const COMMAND: &str = r#"{"command":{"env":{"A":"","LC_ALL":"C"},"script":"tool --title \"Größe\\n\" < data.csv\n\tsort > out.csv","shell":["bash","-eu","-c"],"tools":{"sort":"sort 9.4","tool":"tool 1.2"}},"format":1,"inputs":{"data":[{"at":"data.csv","content":"file:bb8c3eaa219465f5d51a3073a55c338276ecdecd2de5b3aed9797234d2afb676"}],"probe":[{"at":"probe","content":"tree:c707d4dc5cbd8a96e1dc97d3c6314b75a781308f70d61ed4835aaa39b8df0286"}],"runs":[{"at":"runs/1.csv","axes":{"lr":0.1,"seed":1},"content":"file:d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492","group":"ünder score"},{"at":"runs/2.csv","axes":{"lr":1.0,"seed":2},"content":"file:dc770fff53f50835f8cc957e01c0d5731d3c2ed544c375493a28c09be5e09763"}]},"outputs":{"log":"log.txt","table":"out.csv"},"salt":"ours"}"#;
const COMMAND_KEY: &str = "e5f23f98695e5d9ceab45a288397432edfbb9cff1bda9a6a3aae48d26ce4b6cc";
const KIND: &str = r#"{"format":1,"inputs":{"data":"file:bb8c3eaa219465f5d51a3073a55c338276ecdecd2de5b3aed9797234d2afb676","probe":"tree:c707d4dc5cbd8a96e1dc97d3c6314b75a781308f70d61ed4835aaa39b8df0286","runs":[{"axes":{"lr":0.1,"seed":1},"content":"file:d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492","group":"ünder score"},{"axes":{"lr":1.0,"seed":2},"content":"file:dc770fff53f50835f8cc957e01c0d5731d3c2ed544c375493a28c09be5e09763"}]},"kind":{"name":"sum","numerics":"exact-f32-v1","revision":3},"outputs":["model","table"],"params":{"alpha":{"huge":1e+300,"none":null,"rate":0.1,"tiny":1e-7,"whole":1.0,"zero":0.0},"large":18446744073709551615,"list":[true,"two\u0001",-3],"zeta":1,"ä":"\"quoted\""},"salt":"ours"}"#;
const KIND_KEY: &str = "b84180c00af1cf96054d20403907a1b2b4af88336d9da9b243be6432e7ae6327";
const PROGRAM: &str = r#"{"format":1,"inputs":{"data":"file:bb8c3eaa219465f5d51a3073a55c338276ecdecd2de5b3aed9797234d2afb676"},"kind":{"numerics":"exact-f32-v1","program":"bc1f407a11c9377c8b9b13f956b279c8462775105eb958fc9ae3c40de87cc96e","revision":3},"outputs":["out"],"params":{},"salt":"ours"}"#;
const PROGRAM_KEY: &str = "05d360f03397a80a00441d67f508256bc09aaa481e8af7561539918868d92875";
const STATE: &str = r#"{"format":1,"inputs":{"data":"file:bb8c3eaa219465f5d51a3073a55c338276ecdecd2de5b3aed9797234d2afb676","runs":[{"axes":{"lr":0.1,"seed":1},"content":"file:d33fb48ab5adff269ae172b29a6913ff04f6f266207a7a8e976f2ecd571d4492","group":"ünder score"},{"axes":{"lr":1.0,"seed":2},"content":"file:dc770fff53f50835f8cc957e01c0d5731d3c2ed544c375493a28c09be5e09763"}]},"kind":{"name":"sum","numerics":"exact-f32-v1","revision":3},"salt":"ours","state":{"at":"epoch 4","rate":0.1}}"#;
const STATE_KEY: &str = "b3a9ca50e47fd28d578f740213f7a0906ff7baeb101cf5d652a98e9ffba6814e";
const DOMAINS: [&str; 4] = [
    "aabc26cb46e8dae0c9888e7732d604be7451757ea80323b93efd90cbf5c43dfa",
    "275998e25040e0b6cb58897666277a552705aaa804d5056cb0a903c786c9b716",
    "c833e351598279c639aeb448f57b8c9160247763ae2f199aa2a372ccb3e9ac2b",
    "4c282fed31e90604b4329b80fa887225038d67517137c21092916e829e3ddb8f",
];
