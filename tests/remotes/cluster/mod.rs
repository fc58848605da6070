//! Runs on a batch system: with a real Slurm of two nodes on loopback, and with programs that stand
//! in for one.

mod described;
mod killed;
mod scripted;
mod slurm;

use serde_json::Value;

use crate::support::TestSpace;

/// What tests say of an executor: impatient.
pub const QUICK: &str =
    "poll = {first = \"300ms\", longest = \"1s\", reports = \"200ms\", late = \"2s\"}\n";

/// A study with chains that are packed, a stage that gathers, and one that decides nothing.
pub const STUDY: &str = r#"
version: 1
name: chains
vars: {n: 12, wait: 0}
stages:
  base:
    needs: {words: {file: words.txt}}
    run: "cat ${needs.words} > ${outputs.o}"
    outputs: {o: base.txt}
  first:
    matrix: {i: {range: [0, "${vars.n}"]}}
    needs: {base: base.o, script: {file: tool.sh}}
    run: "echo first ${matrix.i}; sleep ${vars.wait}; sh ${needs.script} ${matrix.i} < ${needs.base} > ${outputs.o}"
    outputs: {o: first.txt}
  second:
    matrix: {i: {range: [0, "${vars.n}"]}}
    needs: {from: first.o}
    run: "cat ${needs.from} > ${outputs.o}; echo second >> ${outputs.o}"
    outputs: {o: second.txt}
  table:
    needs: {all: "second[*].o"}
    run: "cat ${needs.all} > ${outputs.table}"
    outputs: {table: table.txt}
"#;

/// A project with [`STUDY`], and a directory as its remote.
pub fn project(executor: &str) -> (TestSpace, tempfile::TempDir) {
    let space = TestSpace::with_pipeline(STUDY);
    space.write("words.txt", "some words\n");
    space.write("tool.sh", "echo \"$1\"; cat\n");
    let remote = tempfile::Builder::new()
        .prefix("remote-")
        .tempdir()
        .expect("a directory");
    space.ok(&[
        "remote",
        "add",
        "dir",
        remote.path().to_str().expect("a path"),
    ]);
    space.write("repro.executors.toml", executor);
    (space, remote)
}

/// The same project, run on this machine; its lock file and what it shows.
pub fn local(space: &TestSpace, args: &[&str]) -> (String, String) {
    let here = TestSpace::with_pipeline(&space.read("pipeline.yaml"));
    for file in ["words.txt", "tool.sh"] {
        here.write(file, space.read(file));
    }
    let mut all = vec!["run"];
    all.extend(args);
    here.ok(&all);
    (
        here.read("repro.lock"),
        here.read("artifacts/table/table.txt"),
    )
}

/// Lets each action of `first` write down when it begins and when it ends.
pub fn record_executions(space: &TestSpace, count: &std::path::Path) {
    let count = count.display();
    let script = format!("echo begin $1 >> {count}; cat; sleep 0.5; echo end $1 >> {count}\n");
    space.write("tool.sh", script);
    space.edit(
        "pipeline.yaml",
        "    matrix: {i: {range: [0, \"${vars.n}\"]}}\n    needs: {base",
        "    sandbox: off\n    matrix: {i: {range: [0, \"${vars.n}\"]}}\n    needs: {base",
    );
}

/// Texts of the warnings of a run.
pub fn warnings(events: &[Value]) -> Vec<&str> {
    let told = events.iter().filter(|e| e["event"] == "warning");
    told.map(|e| e["text"].as_str().expect("a text")).collect()
}

/// Files below a directory, but those that a kill left half written.
pub fn files(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let whole = entries.filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
    whole
        .map(|e| {
            if e.path().is_dir() {
                files(&e.path())
            } else {
                1
            }
        })
        .sum()
}
