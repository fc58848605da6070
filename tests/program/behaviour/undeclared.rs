//! What a stage reads without declaring it.

use super::*;
use crate::support::skipped::skipped;

#[test]
fn an_undeclared_variable_is_not_seen() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'env > ${outputs.out}', outputs: {out: env.txt}}\n",
    );
    let mut command = space.command(&["run", "--json"]);
    command.env("SECRET_NOISE", "1");
    space.ran_command(command).executes(&["a"]);
    let seen = space.read("artifacts/a/env.txt");
    assert!(
        !seen.contains("SECRET_NOISE") && !seen.contains("REPRO_STORE"),
        "{seen}"
    );
}

/// Whether this kernel confines: what a confined stage reports of itself.
fn is_confined() -> bool {
    let space = done_for_probe();
    let ran = space.ran(&[]);
    let sandbox = ran.event("finished", "a")["sandbox"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    if sandbox != "enforced" {
        skipped(format_args!(
            "in part: commands are not confined here: {sandbox}"
        ));
    }
    sandbox == "enforced"
}

fn done_for_probe() -> TestSpace {
    TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}\n",
    )
}

#[test]
fn a_script_that_is_read_but_not_declared_is_named_with_its_line() {
    let space = two_stages();
    space.write("script.sh", "tr a-z A-Z\n");
    // By a relative name it is not even there: no kernel is needed to find out.
    space.edit("pipeline.yaml", "tr a-z A-Z <", "sh script.sh <");
    space.ran(&[]).fails(
        1,
        "b",
        &[
            "script.sh",
            "does not declare",
            "needs: {script: {file: script.sh}}",
        ],
    );
    // The line, as printed.
    space.edit(
        "pipeline.yaml",
        "needs: {text: a.out}",
        "needs: {text: a.out, script: {file: script.sh}}",
    );
    space.ran(&[]).executes(&["b"]);
    shows(&space, "hello\n", "HELLO\n");
    space.write("script.sh", "tr a-z _\n");
    space.ran(&[]).executes(&["b"]);
    shows(&space, "hello\n", "_____\n");
}

#[test]
fn a_script_read_by_its_absolute_path_is_refused() {
    if !is_confined() {
        return;
    }
    let space = two_stages();
    space.write("script.sh", "tr a-z A-Z\n");
    let script = space.path("script.sh");
    space.edit(
        "pipeline.yaml",
        "tr a-z A-Z <",
        &format!("sh {} <", script.display()),
    );
    space
        .ran(&[])
        .fails(1, "b", &["script.sh", "needs: {script: {file: script.sh}}"]);
    // And what lies outside of the project.
    let outside = beside(&space, "outside.txt");
    fs::write(&outside, "secret\n").expect("a file");
    space.edit(
        "pipeline.yaml",
        &format!("sh {} <", script.display()),
        &format!("cat {} <", outside.display()),
    );
    space
        .ran(&[])
        .fails(1, "b", &["outside.txt", "sandbox: off"]);
}

#[test]
fn a_stage_without_a_sandbox_reads_what_it_likes_and_that_is_recorded() {
    let space = two_stages();
    space.write("script.sh", "tr a-z A-Z\n");
    let script = space.path("script.sh");
    space.edit(
        "pipeline.yaml",
        "run: \"tr a-z A-Z <",
        &format!("sandbox: off\n    run: \"sh {} <", script.display()),
    );
    let ran = space.ran(&[]);
    ran.executes(&["a", "b"]);
    assert_eq!(ran.event("finished", "b")["sandbox"], "off");
    assert_ne!(ran.event("finished", "a")["sandbox"], "off");
    let records = space
        .store_files("actions")
        .into_iter()
        .map(|p| fs::read_to_string(p).expect("a record"));
    let off = records
        .filter(|text| {
            text.contains("\"sandbox\":\"off\"") || text.contains("\"sandbox\": \"off\"")
        })
        .count();
    assert_eq!(off, 1, "the record of b says so, for whoever gets it");
}
