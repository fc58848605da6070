//! Kinds: the job a worker gets, what it says, how it breaks; and programs of the project.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::catalog::Program;
use crate::digest::Digest;
use repro_protocol::kind::{Description, no_member};

fn script(bench: &Bench, path: &str, text: &str) -> PathBuf {
    let path = bench.file(path, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A stage of a kind whose worker is a shell script, called as `SCRIPT worker job.json`.
fn kind_stage(text: &str, outputs: &[&str]) -> Bench {
    let mut bench = Bench::new("", outputs);
    bench.request.executable = script(&bench, "worker", &format!("#!/bin/sh\n{text}\n"));
    bench.request.work = Work::Kind {
        kind: Arc::new(kind(Program::BuiltIn)),
        params: Arc::new(json!({"n": 1})),
    };
    bench
}

fn describe_at(path: &Path) -> anyhow::Result<Arc<Kind>> {
    let root = path.parent().unwrap().parent().unwrap();
    external::Asker::new(root, Asking::Programs, Arc::new(Memory::none())).describe(path)
}

fn kind(program: Program) -> Kind {
    let description = Description {
        name: "thing".into(),
        summary: String::new(),
        doc: String::new(),
        revision: 3,
        numerics: "none".into(),
        inputs: Vec::new(),
        counts: Vec::new(),
        schema: json!({}).into(),
        check: Arc::new(|_, _| Err(Vec::new())),
        member: Arc::new(|_, output, _| no_member(output)),
        facts: None,
        states: None,
        on_gpu: None,
    };
    Kind {
        description,
        program,
    }
}

#[test]
fn a_worker_from_job_to_outcome() {
    let mut bench = kind_stage(
        r#"test "$1" = worker; mkdir -p out; cp job.json out/o.json
echo 'plain text'; echo to stderr >&2
echo '{"event":"progress","done":1,"total":null,"unit":"steps","text":"half"}'
echo '{"event":"unheard of"}'; echo '{"not": "an event"}'
echo s > ../states/s1; echo '{"event":"state","label":"epoch 1","path":"../states/s1"}'
echo '{"event":"state","label":"epoch 2","path":"/etc/passwd"}'
printf '{"version":1,"pins":{"sha":"x"},"figures":{"speed":2.5}}' > outcome.json"#,
        &["o.json"],
    );
    let input = bench.file("project/data.bin", "data");
    bench.need("data", "data.bin", InputOrigin::ProjectFile(input.clone()));
    let finished = bench.run().unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(finished.sandbox, SandboxReport::NotNeeded);
    assert_eq!(finished.pins["sha"], "x");
    assert_eq!(finished.figures["speed"], 2.5);
    let job: repro_protocol::job::Job =
        serde_json::from_slice(&std::fs::read(&finished.outputs["o.json"]).unwrap()).unwrap();
    assert_eq!(
        (job.version, job.kind.as_str(), job.revision, job.threads),
        (1, "thing", 3, 1)
    );
    assert_eq!(job.params, json!({"n": 1}));
    assert_eq!(job.inputs["data"][0].path, input);
    assert!(job.scratch_dir.is_dir() && job.states_dir.is_dir());
    let events: Vec<&Event> = bench
        .notes
        .iter()
        .filter_map(|n| {
            if let Note::Event(e) = n {
                Some(e)
            } else {
                None
            }
        })
        .collect();
    let [
        Event::Progress { .. },
        Event::State { label, path },
        Event::Warning { text },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (
            label.as_str(),
            std::fs::read_to_string(path).unwrap().as_str()
        ),
        ("epoch 1", "s\n")
    );
    assert!(text.contains("epoch 2"), "{text}");
    let log = std::fs::read_to_string(&finished.log).unwrap();
    for part in [
        "plain text\n",
        "to stderr\n",
        "unheard of",
        "{\"not\": \"an event\"}\n",
    ] {
        assert!(log.contains(part), "{log}");
    }
    assert!(!log.contains("half"), "{log}");
}

#[test]
fn how_workers_break() {
    let crash = |text: &str| kind_stage(text, &[]).fails().to_string();
    let text = crash("echo panicked at x >&2; exit 101");
    assert!(
        text.contains("it exited with code 101, and it wrote no outcome.json")
            && text.contains("panicked at x"),
        "{text}"
    );
    assert!(crash("kill -SEGV $$").contains("SIGSEGV"));
    assert!(crash("exit 0").contains("code 0, and it wrote no outcome.json"));
    assert!(crash("echo '{' > outcome.json").contains("garbled"));
    assert!(crash(r#"echo '{"version":9}' > outcome.json"#).contains("version 9"));
    assert!(crash(r#"echo '{"version":1}' > outcome.json; exit 1"#).contains("reports success"));
    let text = crash(
        r#"echo '{"version":1,"error":{"message":"NaN in step 3","hint":"lower it"}}' > outcome.json; exit 1"#,
    );
    assert!(text.contains("NaN in step 3\n  help: lower it"), "{text}");
    let failure = kind_stage(r#"echo '{"version":1}' > outcome.json"#, &["x"]).fails();
    assert!(
        matches!(failure.cause, Cause::OutputMissing { .. }),
        "{failure}"
    );
    let failure = kind_stage("sleep 100", &[])
        .policy(|p| p.timeout_s = Some(0.2))
        .fails();
    assert!(matches!(failure.cause, Cause::TimedOut { .. }), "{failure}");
}

#[test]
fn a_line_too_long_for_an_event_is_log() {
    let mut bench = kind_stage(
        r#"printf '{"event":"'; head -c 3000000 /dev/zero | tr '\0' x; echo '"}'; printf 'no newline'
printf '{"version":1}' > outcome.json"#,
        &[],
    );
    let finished = bench.run().unwrap_or_else(|f| panic!("{f}"));
    let log = std::fs::read_to_string(finished.log).unwrap();
    assert!(log.len() > 3_000_000 && log.ends_with("\"}\nno newline\n"));
    assert!(bench.notes.iter().all(|n| matches!(n, Note::Line(_))));
}

const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, sys
if sys.argv[1] == "describe":
    print(json.dumps({"name": "double", "revision": 2, "summary": "Doubles.", "inputs": [{"name": "text", "required": True}],
                      "outputs": [{"name": "out", "path": "out.txt"}]}))
elif sys.argv[1] == "check":
    asked = json.load(sys.stdin)
    if "times" in asked["params"] and asked["params"]["times"] < 1:
        print(json.dumps({"problems": [{"path": ["times"], "message": "must be positive", "hint": "try 2"}]}))
    else:
        print(json.dumps({"params": {"times": 2, **asked["params"]}}))
else:
    job = json.load(open(sys.argv[2]))
    text = open(job["inputs"]["text"][0]["path"]).read()
    if text == "helper":
        import helper
    open(job["outputs"]["out"], "w").write(text * job["params"]["times"])
    json.dump({"version": 1}, open("outcome.json", "w"))
"#;

#[test]
fn a_program_of_the_project_is_a_kind() {
    let mut bench = Bench::new("", &[]);
    let path = script(&bench, "project/tools/double", PROGRAM);
    let kind = describe_at(&path).unwrap();
    assert_eq!(
        (kind.name.as_str(), kind.revision, kind.inputs[0].required),
        ("double", 2, true)
    );
    assert!(
        matches!(&kind.program, Program::External { digest, .. } if *digest == Digest::of(PROGRAM.as_bytes()))
    );
    let check = |params| (kind.check)(&params, &["text".into()]);
    let problems = check(json!({"times": 0})).unwrap_err();
    assert_eq!(
        (problems[0].path[0].as_str(), problems[0].hint.as_deref()),
        ("times", Some("try 2"))
    );
    let checked = check(json!({})).unwrap();
    assert_eq!(checked.params, json!({"times": 2}));
    assert_eq!(checked.outputs[0].path.as_str(), "out.txt");

    bench.request.outputs = checked.outputs.into();
    bench.request.work = Work::Kind {
        kind: kind.clone(),
        params: Arc::new(checked.params),
    };
    let input = bench.file("project/in.txt", "ab");
    bench.need("text", "in.txt", InputOrigin::ProjectFile(input.clone()));
    assert_eq!(bench.output("out"), "abab");

    // It is confined: what it imports has to be seen by the key.
    if has_landlock() {
        discard(&bench.request.dir).unwrap();
        std::fs::write(input, "helper").unwrap();
        bench.file("project/tools/helper.py", "");
        let failure = bench.fails();
        assert!(failure.to_string().contains("helper"), "{failure}");
    }
}

#[test]
fn programs_that_break_the_protocol() {
    let bench = Bench::new("", &[]);
    let describe = |text: &str| {
        let path = script(&bench, "project/bad", text);
        format!("{:#}", describe_at(&path).err().expect("it should fail"))
    };
    assert!(describe("#!/bin/sh\necho oops >&2; exit 3").contains("oops"));
    assert!(describe("#!/bin/sh\necho '{}'").contains("missing field `name`"));
    assert!(describe("#!/bin/sh\necho 'hello'").contains("does not answer in format 1"));
    let plain = bench.file("project/plain", "not a program");
    assert!(format!("{:#}", describe_at(&plain).err().unwrap()).contains("executable"));
    assert!(
        describe_at(Path::new("/nonexistent/x"))
            .err()
            .unwrap()
            .to_string()
            .contains("cannot be found")
    );

    let path = script(
        &bench,
        "project/half",
        "#!/bin/sh\ntest $1 = check && exit 9\necho '{\"name\":\"h\",\"revision\":1,\"summary\":\"\",\"inputs\":[]}'",
    );
    let kind = describe_at(&path).unwrap();
    let problems = (kind.check)(&json!({}), &[]).unwrap_err();
    assert!(
        problems[0].message.contains("cannot check its parameters"),
        "{}",
        problems[0].message
    );
}
