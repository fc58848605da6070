//! Which change flipped a verdict.

use std::fs;
use std::path::Path;

use crate::support::TestSpace;
use crate::support::git::git;
use crate::support::skipped::skipped;

const BEFORE: &str = r#"
version: 1
name: small
vars: {offset: 0, scale: 1, seeds: [1, 2, 3, 4]}
stages:
  a:
    matrix: {seed: "${vars.seeds}"}
    needs: {data: {file: data.txt}, program: {file: measure.sh}}
    env: {SEED: "${matrix.seed}", OFFSET: "${vars.offset}", SCALE: "${vars.scale}"}
    run: "sh ${needs.program} ${needs.data} > ${outputs.metrics}"
    outputs: {metrics: metrics.csv}
  b:
    matrix: {seed: "${vars.seeds}"}
    env: {SEED: "${matrix.seed}"}
    run: "printf 'name,value\naccuracy,%s\n' $((10 + SEED)) > ${outputs.metrics}"
    outputs: {metrics: metrics.csv}
claims:
  a-is-worse:
    compare: {of: accuracy, a: a, b: b}
    expect: {difference: {below: 0}}
"#;

const PROGRAM: &str = "printf 'name,value\\naccuracy,%s\\n' $(($(cat $1) + SEED * SCALE + OFFSET * SCALE + (SEED % 2)))\n";

/// A study in a directory of a repository, with a file of data that git does not know.
fn study() -> Option<TestSpace> {
    let space = TestSpace::new();
    if !git(&space.project, &["init", "-q"]) {
        skipped("git is not installed");
        return None;
    }
    space.write("study/pipeline.yaml", BEFORE);
    space.write("study/measure.sh", PROGRAM);
    space.write("study/data.txt", "5");
    space.write("notes.md", "one");
    space.write(".gitignore", "data.txt\n.repro\nartifacts\n");
    commit(&space, "first");
    Some(space)
}

fn commit(space: &TestSpace, message: &str) {
    assert!(git(&space.project, &["add", "-A"]));
    assert!(git(&space.project, &["commit", "-q", "-m", message]));
}

fn everything(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => all.push((path.display().to_string(), fs::read(&path).unwrap())),
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_change_that_flipped_a_verdict_is_found() {
    let Some(space) = study() else { return };
    // Two changes act only together; eight others do nothing, or belong to another claim.
    let after = BEFORE
        .replace("offset: 0, scale: 1", "offset: 4, scale: 3")
        .replace("name: small", "name: larger\ndescription: Another text.")
        .replace("claims:\n", "  c: {run: \"echo c > ${outputs.c}\", outputs: {c: c.txt}}\nclaims:\n  c-too:\n    measure: {of: accuracy, in: b}\n    expect: {mean: {above: 0}}\n")
        .replace("version: 1", "# Laid out otherwise.\nversion:   1");
    space.write("study/pipeline.yaml", &after);
    space.write("notes.md", "two");
    space.write("study/more.txt", "new");
    commit(&space, "second");
    let before = everything(&space.project);
    let study = space.project.join("study");
    let args = ["bisect", "a-is-worse", "HEAD~1", "HEAD"];
    let said = space.run_in(&study, &args).expect(0, &args);
    let expected = "\
these changes together flip a-is-worse from holds to refuted:
  study/pipeline.yaml: vars.offset: 0 → 4
  study/pipeline.yaml: vars.scale: 1 → 3
2 of 8 changes; ";
    assert!(said.out.starts_with(expected), "{}\n{}", said.out, said.err);
    let left = |all: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        let is_ours = |path: &str| path.contains("/.repro/") || path.contains("/.git/");
        all.into_iter().filter(|(path, _)| !is_ours(path)).collect()
    };
    assert_eq!(left(before), left(everything(&space.project)));
    assert!(!study.join(".repro/bisect").exists());

    // The same against the files as they are now, which nobody has committed.
    space.write("study/pipeline.yaml", BEFORE);
    space.write(
        "study/measure.sh",
        PROGRAM.replace("SEED % 2", "SEED % 2 + 20"),
    );
    let args = ["bisect", "a-is-worse", "HEAD~1"];
    let said = space.run_in(&study, &args).expect(0, &args);
    let expected = "\
this change flips a-is-worse from holds to refuted:
  study/measure.sh: changed
1 of 3 changes; ";
    assert!(said.out.starts_with(expected), "{}\n{}", said.out, said.err);
}

/// Fields of an included file are changes of their own; a table of values that a stage reads is not
/// rewritten, though it is YAML too.
#[test]
fn included_files_are_read_by_value() {
    let Some(space) = study() else { return };
    let rest = BEFORE.replace("vars: {offset: 0, scale: 1, seeds: [1, 2, 3, 4]}\n", "");
    space.write(
        "study/pipeline.yaml",
        rest.replace("name: small", "name: small\ninclude: [more/vars.yaml]"),
    );
    space.write(
        "study/more/vars.yaml",
        "version: 1\nvars:\n  offset: 0\n  scale: 1\n  seeds: [1, 2, 3, 4]\n",
    );
    space.write("study/data.yaml", "# data\nvars: 1\n");
    commit(&space, "included");
    space.write(
        "study/more/vars.yaml",
        "version: 1\nvars:\n  offset: 40\n  scale: 1\n  seeds: [4, 3, 2, 1]\n",
    );
    space.write("study/data.yaml", "vars: 2\n");
    let args = ["bisect", "a-is-worse", "HEAD", "--json"];
    let said = space.run_in(&space.path("study"), &args).expect(0, &args);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        answer["changes"],
        serde_json::json!(["study/more/vars.yaml: vars.offset: 0 → 40"])
    );
    assert_eq!(answer["all"], 3);
}

#[test]
fn what_cannot_be_answered_is_told() {
    let Some(space) = study() else { return };
    space.write("study/more.txt", "new");
    commit(&space, "second");
    let study = space.project.join("study");
    let fails = |args: &[&str], why: &str| {
        let said = space.run_in(&study, args).expect(2, args).err;
        assert!(said.contains(why), "{said}");
    };
    let same = "`a-is-worse` is holds at HEAD~1 and at HEAD: there is no flip to explain";
    fails(&["bisect", "a-is-worse", "HEAD~1", "HEAD"], same);
    fails(
        &["bisect", "a-is-worse", "HEAD~7"],
        "`HEAD~7` is no commit of this repository",
    );
    fails(
        &["bisect", "a-is-worse", "--", "-x"],
        "`-x` is no commit of this repository",
    );
    fails(
        &["bisect", "other", "HEAD~1", "HEAD"],
        "`other` has no verdict at HEAD~1: there is no claim of this name",
    );
    let alone = TestSpace::with_pipeline(BEFORE);
    let said = alone
        .run(&["bisect", "a-is-worse", "HEAD"])
        .expect(2, &["bisect"])
        .err;
    assert!(said.contains("is in no git repository"), "{said}");
}

/// Runs say how their pipelines were written; nobody has committed anything.
#[test]
fn the_change_between_two_runs_is_found() {
    let space = TestSpace::new();
    space.write("pipeline.yaml", BEFORE);
    space.write("measure.sh", PROGRAM);
    space.write("data.txt", "5");
    space.write("notes.md", "one");
    space.ok(&["run"]);
    space.write(
        "pipeline.yaml",
        BEFORE
            .replace("scale: 1", "scale: 3")
            .replace("name: small", "name: larger"),
    );
    space.ok(&["run", "--set", "offset=4"]);
    // What both read is another by now, and so is the pipeline.
    space.write("measure.sh", "false");
    space.write("pipeline.yaml", BEFORE.replace("offset: 0", "offset: 9"));
    let args = ["bisect", "a-is-worse", "last-1", "last"];
    let said = space.run(&args).expect(0, &args);
    let expected = "\
these changes together flip a-is-worse from holds to refuted:
  --set offset: (nothing) → 4
  pipeline.yaml: vars.scale: 1 → 3
2 of 3 changes; ";
    assert!(said.out.starts_with(expected), "{}\n{}", said.out, said.err);
    assert!(!space.exists(".repro/bisect"));

    // Against the files as they are now: a script that changed is a change.
    space.write("pipeline.yaml", BEFORE);
    space.write("measure.sh", PROGRAM.replace("SEED % 2", "SEED % 2 + 20"));
    let args = ["bisect", "a-is-worse", "last-1"];
    let said = space.run(&args).expect(0, &args);
    let expected = "\
this change flips a-is-worse from holds to refuted:
  measure.sh: changed
1 of 1 change; ";
    assert!(said.out.starts_with(expected), "{}\n{}", said.out, said.err);
}

/// A run on bytes that nobody keeps cannot be put together; a run that says too little neither.
#[test]
fn runs_that_cannot_be_put_together_are_told() {
    let space = TestSpace::new();
    space.write("pipeline.yaml", BEFORE);
    space.write("measure.sh", PROGRAM);
    space.write("data.txt", "5");
    space.ok(&["run"]);
    space.ok(&["run", "--set", "offset=40"]);
    fs::remove_dir_all(space.path(".repro/inputs")).unwrap();
    let refused = |why: &str, args: &[&str]| {
        let said = space.run(args);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(why), "{}", said.err);
        assert!(!space.exists(".repro/bisect"));
    };
    // All of it is as it was.
    space.ok(&["bisect", "a-is-worse", "last-1", "last"]);
    space.write("data.txt", "6");
    let args = ["bisect", "a-is-worse", "last-1", "last"];
    refused(
        "`data.txt` held other bytes than now, and they are not kept",
        &args,
    );
    let runs = fs::read_dir(space.path(".repro/runs")).unwrap();
    for run in runs.map(|run| run.unwrap().path()) {
        let text = fs::read_to_string(&run).unwrap_or_default();
        fs::write(&run, text.replace("\"written_in\"", "\"before\"")).unwrap();
    }
    refused("does not say how its pipeline was written", &args);
    refused(
        "there is no run `last-7`",
        &["bisect", "a-is-worse", "last-7"],
    );
}
