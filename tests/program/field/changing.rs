//! What was hashed is what was run: inputs, programs and tools that change meanwhile.

use super::processes::space;
use super::processes::until;
use crate::support::{TestSpace, wait};

/// A kind in a shell script that copies its input; `worker` holds what it does before.
pub(super) fn copying_kind(worker: &str) -> String {
    format!(
        r#"#!/bin/sh
set -eu
case "$1" in
describe) echo '{{"name": "copy", "revision": 1, "summary": "Copies.", "inputs": [{{"name": "in"}}], "outputs": [{{"name": "out", "path": "out.txt"}}]}}' ;;
check) cat > /dev/null; echo '{{"params": {{}}}}' ;;
worker)
    path=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' "$2")
    mkdir -p out
    {worker}
    echo '{{"version": 1}}' > outcome.json ;;
esac
"#
    )
}

/// Somebody switches branches while a stage waits for its turn.
#[test]
fn case_50_an_input_that_changed_before_it_was_placed_is_noticed() {
    for path in ["in.txt", "data/x"] {
        let space = TestSpace::new();
        space.write("in.txt", "A\n").write("data/x", "A\n");
        let (go, started) = (space.path("go"), space.path("started"));
        space.write(
            "pipeline.yaml",
            format!(
                "version: 1\nname: n\nstages:\n  wait: {{run: \"touch {}; {}; touch $PWD/o\", outputs: {{o: o}}, sandbox: off}}\n  \
                 use: {{needs: {{in: {{file: in.txt}}, d: {{dir: data}}}}, run: \"cat ${{needs.in}} ${{needs.d}}/x > ${{outputs.o}}\", outputs: {{o: o}}}}\n",
                started.display(),
                until(&go)
            ),
        );
        let child = space.start(&["run", "-j1"]);
        space.wait_for("started");
        space.write(path, "B\n");
        space.write("go", "");
        assert_eq!(wait(child).status.code(), Some(3), "{path}");
        space.write(path, "A\n");
        space.ok(&["run"]);
        assert_eq!(space.read("artifacts/use/o"), "A\nA\n");
    }
}

/// A kind reads its inputs where they lie, while it runs.
#[test]
fn case_50_an_input_that_was_something_else_for_a_while_is_noticed() {
    let space = space(
        "  copy: {uses: ./tools/copy, needs: {in: {file: in.txt}}}\n  all: {uses: ./tools/copy, needs: {in: {dir: data}}}\ndefaults: {sandbox: off}\n",
    );
    let (go, started) = (space.path("go"), space.path("started"));
    let (copied, done) = (space.path("copied"), space.path("done"));
    let program = copying_kind(&format!(
        "touch {}; {}; cp -r \"$path\" out/out.txt; touch {}; {}",
        started.display(),
        until(&go),
        copied.display(),
        until(&done)
    ));
    write_program(&space, "tools/copy", &program);
    space.write("in.txt", "A\n").write("data/x", "A\n");
    for (target, path) in [("copy", "in.txt"), ("all", "data/more")] {
        let child = space.start(&["run", target]);
        space.wait_for("started");
        let before = space.exists(path);
        space.write(path, "B\n");
        space.write("go", "");
        space.wait_for("copied");
        match before {
            true => space.write(path, "A\n"),
            false => space.remove(path),
        };
        space.write("done", "");
        assert_eq!(wait(child).status.code(), Some(3), "{path}");
        for gate in ["started", "go", "copied", "done"] {
            space.remove(gate);
        }
    }
    space.write("go", "").write("done", "");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/copy/out.txt"), "A\n");
    assert!(!space.exists("artifacts/all/out.txt/more"));
}

/// A command read its copy; a backup or `touch` over the original takes no result away.
#[test]
fn case_50_a_touched_original_of_a_copy_is_no_change() {
    let space = TestSpace::new();
    space.write("in.txt", "A\n");
    let (go, started) = (space.path("go"), space.path("started"));
    space.write(
        "pipeline.yaml",
        format!(
            "version: 1\nname: n\nstages:\n  use: {{needs: {{in: {{file: in.txt}}}}, run: \"touch {}; {}; cat ${{needs.in}} > ${{outputs.o}}\", outputs: {{o: o}}, sandbox: off}}\n",
            started.display(),
            until(&go)
        ),
    );
    let child = space.start(&["run"]);
    space.wait_for("started");
    space.write("in.txt", "B\n");
    space.write("in.txt", "A\n");
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(0));
    assert_eq!(space.read("artifacts/use/o"), "A\n");
}

pub(super) fn write_program(space: &TestSpace, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    space.write(path, text);
    std::fs::set_permissions(space.path(path), std::fs::Permissions::from_mode(0o755))
        .expect("a program");
}

/// The program is edited while its stage waits, or while it runs and set back.
#[test]
fn case_51_a_program_that_changes_is_noticed() {
    let space = TestSpace::new();
    let (go, started) = (space.path("go"), space.path("started"));
    space.write("in.txt", "A\n");
    let waiting = format!("touch {}; {}", started.display(), until(&go));
    space.write(
        "pipeline.yaml",
        format!(
            "version: 1\nname: n\nstages:\n  wait: {{run: \"{waiting}; touch $PWD/o\", outputs: {{o: o}}, sandbox: off}}\n  \
             copy: {{uses: ./tools/copy, needs: {{in: {{file: in.txt}}}}}}\ndefaults: {{sandbox: off}}\n",
        ),
    );
    let program = |worker: &str| {
        write_program(&space, "tools/next", &copying_kind(worker));
        std::fs::rename(space.path("tools/next"), space.path("tools/copy")).expect("a program");
    };
    std::fs::create_dir(space.path("tools")).expect("a directory");
    let old = format!("{waiting}; cat \"$path\" > out/out.txt");
    for (target, is_set_back) in [("wait", false), ("copy", true)] {
        program(&old);
        let child = match is_set_back {
            false => space.start(&["run", "-j1", "--force"]),
            true => space.start(&["run", target]),
        };
        space.wait_for("started");
        program("echo new > out/out.txt");
        if is_set_back {
            program(&old);
        }
        space.write("go", "");
        assert_eq!(wait(child).status.code(), Some(3), "{is_set_back}");
        space.remove("started").remove("go");
    }
    space.write("go", "");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/copy/out.txt"), "A\n");
}

#[test]
fn case_51_a_tool_that_changes_while_its_stage_runs_is_noticed() {
    let mut space = TestSpace::new();
    let bin = space.path("../bin");
    std::fs::create_dir(&bin).expect("a directory");
    let tool = |space: &TestSpace, version: &str| {
        let text = format!("#!/bin/sh\necho {version}\n");
        write_program(space, "../bin/my-tool", &text);
    };
    tool(&space, "1");
    space.set_env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let run = format!(
        "my-tool > ${{outputs.o}}; touch {}; {}",
        space.path("used").display(),
        until(&space.path("go"))
    );
    space.write(
        "pipeline.yaml",
        format!("version: 1\nname: n\nstages:\n  a: {{run: \"{run}\", tools: [my-tool], outputs: {{o: o}}, sandbox: off}}\n"),
    );
    let child = space.start(&["run"]);
    space.wait_for("used");
    tool(&space, "2");
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(3));
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o"), "2\n");
}
