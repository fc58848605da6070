//! What crosses the seam means the same after it was written as JSON and read again.

use std::path::Path;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::digest::{Content, Digest, Shape};
use crate::exec::{Note, Usage};
use crate::files::{Files, Ignore, Location};
use crate::key::Key;
use crate::lineage::Kin;
use crate::plan::{
    AxisValue, Cache, Command, Environment, EnvironmentPlace, Manager, Network, PathList, Policy,
    Sandbox, Scratch, Setup, Tool,
};
use crate::store::Record;
use repro_protocol::job::{self, Device};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

fn name() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

fn relative() -> impl Strategy<Value = RelPath> {
    "[a-zé ]{1,8}(/[a-z]{1,4}){0,2}".prop_map(|path| RelPath::new(&path).unwrap())
}

fn outside() -> impl Strategy<Value = Arc<Path>> {
    "(/[a-z ]{1,5}){1,3}".prop_map(|path| Path::new(&path).into())
}

fn location() -> impl Strategy<Value = Location> {
    prop_oneof![
        relative().prop_map(Location::Project),
        outside().prop_map(Location::Outside),
    ]
}

fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NORMAL, SUBNORMAL, ZERO};
    NORMAL | SUBNORMAL | ZERO
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((any::<String>(), inner), 0..3)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn content() -> impl Strategy<Value = Content> {
    let shape = prop_oneof![Just(Shape::File), Just(Shape::Program), Just(Shape::Tree)];
    (shape, any::<[u8; 8]>(), any::<u64>()).prop_map(|(shape, bytes, bytes_total)| Content {
        shape,
        digest: Digest::of(&bytes),
        bytes_total,
    })
}

fn key() -> impl Strategy<Value = Key> {
    any::<String>().prop_map(|preimage| Key {
        digest: Digest::of(preimage.as_bytes()),
        preimage,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let numbers = (
        option::of(1u32..99),
        option::of(any::<u64>()),
        0u32..5000,
        0u32..9,
    );
    let times = (option::of(number()), number());
    (numbers, times, vec(name(), 0..3), any::<bool>()).prop_map(|(n, times, names, flag)| Policy {
        cpus: n.0,
        memory_bytes: n.1,
        gpus: n.2,
        mutexes: names.clone(),
        timeout_s: times.0,
        grace_s: times.1,
        retries: n.3,
        sandbox: if flag { Sandbox::On } else { Sandbox::Off },
        scratch: if flag { Scratch::None } else { Scratch::Kept },
        network: if flag { Network::On } else { Network::Off },
        executor: names.first().cloned(),
        secrets: names,
    })
}

fn files() -> impl Strategy<Value = Files> {
    (
        location(),
        vec("[*]?[.][a-z]{1,4}", 0..3),
        option::of(location()),
    )
        .prop_map(|(at, patterns, manifest)| Files {
            at,
            ignore: Arc::new(match patterns.is_empty() {
                true => Ignore::nothing(),
                false => Ignore::usual_and(&patterns).unwrap(),
            }),
            manifest: manifest.map(Box::new),
        })
}

fn environment() -> impl Strategy<Value = Environment> {
    let place = prop_oneof![
        location().prop_map(EnvironmentPlace::Dir),
        any::<String>().prop_map(EnvironmentPlace::Named),
        Just(EnvironmentPlace::User),
    ];
    let manager = prop_oneof![
        Just(Manager::Conda),
        Just(Manager::Python),
        Just(Manager::R)
    ];
    (manager, place, option::of(location()), any::<String>()).prop_map(
        |(manager, place, lock, written)| Environment {
            manager,
            place,
            lock,
            written,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let tool = (any::<String>(), vec(any::<String>(), 0..3));
    let cache = (outside(), option::of(any::<String>()));
    let list = (name(), option::of(any::<String>()), relative());
    (
        any::<String>(),
        vec(any::<String>(), 0..3),
        btree_map(any::<String>(), any::<String>(), 0..3),
        option::of(tool),
        option::of(environment()),
        option::of(cache),
        option::of(list),
        btree_map(relative(), any::<String>(), 0..2),
    )
        .prop_map(
            |(script, shell, env, tool, environment, cache, list, config)| {
                let setup = Setup {
                    shell: shell.into(),
                    env,
                    tools: Vec::from_iter(tool.map(|(program, version_command)| Tool {
                        program,
                        version_command,
                    })),
                    environments: Vec::from_iter(environment),
                    caches: Vec::from_iter(cache.map(|(dir, variable)| Cache {
                        dir: dir.to_path_buf(),
                        variable,
                    })),
                    lists: Vec::from_iter(list.map(|(need, group, at)| PathList {
                        need,
                        group,
                        at,
                    })),
                    config,
                };
                Command {
                    script: script.into(),
                    setup: Arc::new(setup),
                }
            },
        )
}

fn job() -> impl Strategy<Value = Job> {
    let program = option::of((location(), any::<[u8; 4]>()));
    prop_oneof![
        command().prop_map(|command| Job::Command(Arc::new(command))),
        (any::<String>(), program, value()).prop_map(|(name, program, params)| Job::Kind {
            kind: KindName {
                name,
                program: program.map(|(at, bytes)| (at, Digest::of(&bytes))),
            },
            params: Arc::new(params),
        }),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let origin = prop_oneof![
        Just(Origin::Stored),
        files().prop_map(|files| Origin::Files(Arc::new(files))),
    ];
    let axis = (name(), value(), name());
    let kin = (option::of(any::<u32>()), vec(any::<u32>(), 0..3));
    let names = (name(), name(), name(), any::<bool>());
    (names, vec(axis, 0..3), relative(), origin, content(), kin).prop_map(
        |((need, group, called, many), axes, placed_at, origin, content, (chain, sources))| Input {
            need,
            many,
            group,
            axes: axes
                .into_iter()
                .map(|(name, value, text)| {
                    (
                        name,
                        Arc::new(AxisValue {
                            value,
                            text: (*text).into(),
                        }),
                    )
                })
                .collect(),
            placed_at,
            origin,
            content,
            called,
            kin: Kin { chain, sources },
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let purpose = prop_oneof![
        Just(Purpose::Record),
        Just(Purpose::RecordAnew),
        Just(Purpose::Compare),
    ];
    let names = (any::<u64>(), any::<String>(), name());
    let output = (name(), relative()).prop_map(|(name, path)| OutputSpec { name, path });
    let states = vec((any::<String>(), key()), 0..2);
    let pins = btree_map(any::<String>(), any::<String>(), 0..3);
    let around = (
        vec(any::<String>(), 0..2),
        any::<bool>(),
        option::of(any::<u32>()),
    );
    let work = (key(), job(), vec(input(), 0..3), vec(output, 0..3));
    (names, purpose, work, states, pins, policy(), around).prop_map(
        |(names, purpose, work, states, pins, policy, around)| Order {
            id: OrderId(names.0),
            run: names.1,
            purpose,
            instance: names.2,
            key: work.0,
            job: work.1,
            inputs: work.2,
            outputs: work.3.into(),
            states,
            pins,
            policy: Arc::new(policy),
            threads: around.2,
            mirrors: around.0,
            offline: around.1,
            device: [None, Some(Device::Gpu)][usize::from(around.1)],
        },
    )
}

fn made() -> impl Strategy<Value = Made> {
    let outputs = btree_map(any::<String>(), content(), 0..3);
    let figures = btree_map(any::<String>(), number(), 0..3);
    let pins = btree_map(any::<String>(), any::<String>(), 0..3);
    let words = (option::of(any::<String>()), any::<String>());
    let used = (number(), number(), any::<u64>());
    (key(), outputs, figures, pins, value(), words, used).prop_map(
        |(key, outputs, figures, pins, fact, words, used)| Made {
            outputs: outputs.values().copied().collect(),
            record: Record {
                key: key.digest,
                preimage: key.preimage,
                outputs,
                observation: json!({ "fact": fact }).into(),
            },
            usage: Usage {
                wall_s: used.0,
                cpu_s: used.1,
                max_rss_bytes: used.2,
                energy: None,
            },
            figures,
            pins,
            resumed_from: words.0,
            sandbox: words.1,
        },
    )
}

fn heard() -> impl Strategy<Value = Heard> {
    let words = || (any::<String>(), any::<String>(), any::<String>());
    let progress = (any::<u64>(), option::of(any::<u64>()), words());
    let outcome = prop_oneof![
        made().prop_map(|made| Outcome::Made(Box::new(made))),
        Just(Outcome::Found),
        words().prop_map(|(what, before, after)| Outcome::Unstable(Moved {
            what,
            before,
            after
        })),
        words().prop_map(|(message, hint, _)| Outcome::Failed(Failed {
            lacked_memory: message.len() % 2 == 1,
            message,
            hint: Some(hint)
        })),
        Just(Outcome::Cancelled),
        any::<String>().prop_map(|why| Outcome::Lost { why }),
        any::<String>().prop_map(|message| Outcome::StoreBroken { message }),
    ];
    let recording = prop_oneof![
        any::<bool>().prop_map(|has_others| Recording::Recorded { has_others }),
        any::<String>().prop_map(|message| Recording::Refused { message }),
        any::<String>().prop_map(|message| Recording::StoreBroken { message }),
    ];
    prop_oneof![
        any::<String>().prop_map(|line| Heard::Note(Note::Line(line))),
        progress.prop_map(|(done, total, (unit, text, _))| {
            Heard::Note(Note::Event(job::Event::Progress {
                done,
                total,
                unit,
                text,
            }))
        }),
        outcome.prop_map(|outcome| Heard::Outcome(Box::new(outcome))),
        recording.prop_map(Heard::Recorded),
    ]
}

proptest! {
    #[test]
    fn an_order_survives_json(order in order()) {
        let text = serde_json::to_string(&order).unwrap();
        let read: Order = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &order);
        // Patterns are compiled again where it is read.
        for (read, order) in read.inputs.iter().zip(&order.inputs) {
            if let (Origin::Files(read), Origin::Files(order)) = (&read.origin, &order.origin) {
                for path in ["x.pyc", "a.b", "b"] {
                    prop_assert_eq!(read.ignore.ignores(path, false), order.ignore.ignores(path, false));
                }
            }
        }
    }

    #[test]
    fn an_answer_survives_json(heard in heard()) {
        let text = serde_json::to_string(&heard).unwrap();
        let read: Heard = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read, heard);
    }
}
