//! What a command stage may say: its shell, its secrets, its environment, files from outside the
//! project.

use crate::support::TestSpace;

/// Ends with this code, and standard error holds these texts.
#[track_caller]
pub(super) fn refused(space: &TestSpace, args: &[&str], code: i32, texts: &[&str]) -> String {
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

/// A script of the project's own directory is placed under its name, which a shell looks for on
/// PATH alone.
#[test]
fn case_28_a_script_that_is_called_by_its_bare_name_or_may_not_run_is_explained() {
    use std::os::unix::fs::PermissionsExt;
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  x: {needs: {s: {file: s.sh}}, run: '${needs.s} > ${outputs.o}', outputs: {o: o}}\n",
    );
    space.write("s.sh", "#!/bin/sh\necho ran\n");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(space.path("s.sh"), mode(0o755)).unwrap();
    for shell in ["", "shell: sh, "] {
        space.edit("pipeline.yaml", "run:", &format!("{shell}run:"));
        refused(
            &space,
            &["run"],
            1,
            &[
                "its input `s`",
                "exited with code 127",
                "write `./${needs.s}`",
            ],
        );
    }
    space.edit("pipeline.yaml", "'${needs.s}", "'./${needs.s}");
    std::fs::set_permissions(space.path("s.sh"), mode(0o644)).unwrap();
    refused(
        &space,
        &["run"],
        1,
        &["its input `s`", "exited with code 126", "chmod +x s.sh"],
    );
    std::fs::set_permissions(space.path("s.sh"), mode(0o755)).unwrap();
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/x/o"), "ran\n");
    // A program that is really missing is not blamed on an input.
    space.edit(
        "pipeline.yaml",
        "./${needs.s}",
        "no-such-program ${needs.s}",
    );
    let err = refused(&space, &["run"], 1, &["code 127"]);
    assert!(!err.contains("its input"), "{err}");
}

/// A path inside the output, and no byte that is none.
#[test]
fn case_28_a_name_that_is_not_utf_8_is_told_by_its_place_in_the_output() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'mkdir -p ${outputs.o}/sub; touch ${outputs.o}/sub/$(printf \"caf\\351\")', outputs: {o: o}}\n",
    );
    let err = refused(
        &space,
        &["run"],
        1,
        &["its output `o` cannot be kept", r#""sub/caf\xE9""#, "UTF-8"],
    );
    let said = err.split("its directory is kept").next().unwrap();
    assert!(
        !said.contains(&space.store.display().to_string()) && !said.contains('\u{fffd}'),
        "{err}"
    );
}
