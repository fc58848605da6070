//! What a command stage may say: its shell, its secrets, its environment, files from outside the project.

use crate::support::TestSpace;

/// Ends with this code, and standard error holds these texts.
#[track_caller]
fn refused(space: &TestSpace, args: &[&str], code: i32, texts: &[&str]) -> String {
    let said = space.run(args).expect(code, args);
    for text in texts {
        assert!(said.err.contains(text), "no {text:?} in:\n{}", said.err);
    }
    said.err
}

#[test]
fn case_7_a_failure_inside_a_pipe_fails_the_stage() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"(echo half; exit 3) | tee ${outputs.log}\", outputs: {log: log.txt}}\n",
    );
    refused(&space, &["run"], 1, &["exited with code 3"]);
    assert!(!space.exists("artifacts/a/log.txt"));
    // For those who want it.
    space.edit("pipeline.yaml", "outputs:", "shell: sh, outputs:");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/log.txt"), "half\n");
    let preimage = space.json(&["show", "a"]).to_string();
    assert!(preimage.contains(r#"["sh","-eu","-c"]"#), "{preimage}");
}

#[test]
fn case_7_shells_by_name_and_as_lists() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  default: {run: "printf '%s' \"$-\" > ${outputs.o}; shopt -o pipefail", outputs: {o: o}}
  bash: {run: "shopt -o pipefail > ${outputs.o}", shell: bash, outputs: {o: o}}
  plain: {run: "false | true; echo $nothing > ${outputs.o}", shell: [bash, -c], outputs: {o: o}}
  python: {run: "open('${outputs.o}', 'w').write('x')", shell: [python3, -c], outputs: {o: o}}
"#,
    );
    space.ok(&["run"]);
    let flags = space.read("artifacts/default/o");
    assert!(flags.contains('e') && flags.contains('u'), "{flags}");
    assert!(space.read("artifacts/bash/o").contains("on"));
    assert_eq!(space.read("artifacts/python/o"), "x");
    space.edit("pipeline.yaml", "shell: bash", "shell: bash -e -c");
    refused(&space, &["run"], 2, &["write `shell: [bash, -e, -c]`"]);
}

#[test]
fn case_7_without_bash_the_message_says_what_to_write() {
    let mut space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"echo x > ${outputs.o}\", outputs: {o: o}}\n",
    );
    let bin = space.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).unwrap();
    space.set_env("PATH", bin);
    refused(
        &space,
        &["run"],
        1,
        &["`bash` cannot be started", "install it", "`shell: sh`"],
    );
}

#[test]
fn case_7_a_reader_that_stops_early_is_explained() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"yes | head -n 1 > ${outputs.o}\", outputs: {o: o}}\n",
    );
    refused(
        &space,
        &["run"],
        1,
        &["SIGPIPE", "(PROGRAM || true) | head"],
    );
}
