//! Stages that break their promises, whose workers die, that take too long or too much; and odd
//! names of files.

use super::*;

/// A good stage beside a bad one. The bad one fails as said, and what the good one made stays, is
/// shown, and is not made again.
#[track_caller]
fn fails_alone(bad: &str, says: &[&str]) -> (TestSpace, Ran) {
    fails_alone_in(TestSpace::new(), bad, says)
}

#[track_caller]
fn fails_alone_in(space: TestSpace, bad: &str, says: &[&str]) -> (TestSpace, Ran) {
    let good = "good: {run: 'echo good > ${outputs.out}', outputs: {out: good.txt}}";
    let behind = "behind: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: bad.out}, outputs: {out: behind.txt}}";
    space.write("pipeline.yaml", stages(&format!("{good}\n{bad}\n{behind}")));
    space.ran(&["good"]).executes(&["good"]);
    let ran = space.ran(&[]);
    ran.fails(1, "bad", says);
    assert_eq!(
        (
            ran.count("failed"),
            ran.count("skipped"),
            ran.count("cached")
        ),
        (1, 1, 1),
        "{ran:#?}"
    );
    assert_eq!(ran.event("skipped", "behind")["because_of"], "bad");
    assert_eq!(space.read("artifacts/good/good.txt"), "good\n");
    assert!(
        !space.exists("artifacts/bad") && !space.exists("artifacts/behind"),
        "nothing of a failed stage is shown"
    );
    // For people the same.
    let said = space.run(&["run"]).expect(1, &[]);
    for part in says {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(
        space.read("repro.lock").contains("good") && !space.read("repro.lock").contains("behind")
    );
    (space, ran)
}

#[test]
fn a_command_that_fails() {
    let (space, _) = fails_alone(
        "bad: {run: 'echo so it goes >&2; echo half > ${outputs.out}; exit 7', outputs: {out: bad.txt}}",
        &["exited with code 7", "so it goes"],
    );
    // Mended, only it and what is behind it run.
    space.edit("pipeline.yaml", "exit 7", "exit 0");
    space.ran(&[]).executes(&["bad", "behind"]);
}

#[test]
fn an_output_that_is_not_written() {
    fails_alone(
        "bad: {run: 'echo x > elsewhere.txt', outputs: {out: bad.txt}}",
        &["did not write its output `out` (bad.txt)"],
    );
}

#[test]
fn outputs_that_are_no_files() {
    fails_alone(
        "bad: {run: 'mkfifo ${outputs.out}', outputs: {out: bad.txt}}",
        &["`out`", "neither a file nor a directory"],
    );
    fails_alone(
        "bad: {run: 'ln -s nowhere ${outputs.out}', outputs: {out: bad.txt}}",
        &["`out`", "symlink that leads nowhere"],
    );
    fails_alone(
        "bad: {run: 'mkdir ${outputs.out}; mkfifo ${outputs.out}/x', outputs: {out: d}}",
        &["`out`", "neither a file nor a directory"],
    );
}

#[test]
fn an_output_that_is_a_link_out_of_the_tree() {
    let says = [
        "`out`",
        "leads out of the stage's directory",
        "write a copy",
    ];
    fails_alone(
        "bad: {run: 'ln -s /etc/passwd ${outputs.out}', outputs: {out: bad.txt}}",
        &says,
    );
    fails_alone(
        "bad: {run: 'ln -s ../../../.. ${outputs.out}', outputs: {out: bad.txt}}",
        &says,
    );
    fails_alone(
        "bad: {run: 'mkdir ${outputs.out}; ln -s /etc/passwd ${outputs.out}/x', outputs: {out: d}}",
        &["`out`", "symlink out of it", "/etc/passwd"],
    );
    fails_alone(
        "bad: {run: 'rmdir d; ln -s /tmp d; echo x > d/bad.txt || cp /etc/hostname d/bad.txt', sandbox: off, outputs: {out: d/bad-of-a-test.txt}}",
        &["`out`"],
    );
    let _ = fs::remove_file("/tmp/bad.txt");
}

#[test]
fn links_inside_an_output_tree_stay_links() {
    let space = space(
        "a: {run: 'mkdir -p ${outputs.out}/d; echo x > ${outputs.out}/d/file; ln -s d/file ${outputs.out}/link', outputs: {out: tree}}\nb: {run: 'cat ${needs.t}/link > ${outputs.out}', needs: {t: a.out}, outputs: {out: b.txt}}",
    );
    space.ran(&[]).executes(&["a", "b"]);
    assert_eq!(
        fs::read_link(space.path("artifacts/a/tree/link")).expect("a link"),
        Path::new("d/file")
    );
    assert_eq!(space.read("artifacts/b/b.txt"), "x\n");
}

#[test]
fn a_stage_that_takes_too_long() {
    let (space, _) = fails_alone(
        "bad: {run: 'echo x > ${outputs.out}; sleep 1000', timeout: 300ms, outputs: {out: bad.txt}}",
        &["longer than its timeout of 0.3 s", "timeout"],
    );
    space.expect_no_processes();
}

#[test]
fn retries_until_it_works_and_no_longer() {
    let space = TestSpace::new();
    let count = space.project.with_file_name("count");
    let run = format!(
        "echo x >> {0}; test $(wc -l < {0}) -ge 3; echo done > ${{outputs.out}}",
        count.display()
    );
    space.write(
        "pipeline.yaml",
        stages(&format!(
            "bad: {{run: '{run}', retries: 2, sandbox: off, outputs: {{out: bad.txt}}}}"
        )),
    );
    let ran = space.ran(&[]);
    ran.executes(&["bad"]);
    assert!(
        ran.talk().contains("try 2 of 3") && ran.talk().contains("try 3 of 3"),
        "{ran:#?}"
    );
    assert_eq!(
        fs::read_to_string(&count).expect("a count").lines().count(),
        3
    );

    let (space, _) = fails_alone(
        "bad: {run: 'exit 3', retries: 2, outputs: {out: bad.txt}}",
        &["exited with code 3"],
    );
    let ran = space.ran(&[]);
    assert!(
        ran.talk().contains("try 3 of 3") && !ran.talk().contains("try 4"),
        "{ran:#?}"
    );
}

#[test]
fn a_stage_that_runs_out_of_memory() {
    fails_alone(
        "bad: {run: 'head -c 600000000 /dev/zero | tail -n 1 > ${outputs.out}', shell: [bash, -euo, pipefail, -c], resources: {memory: 64MiB}, outputs: {out: bad.txt}}",
        &["ran out of memory", "64.0 MiB", "memory"],
    );
}

#[test]
fn a_shell_that_is_not_there() {
    fails_alone(
        "bad: {run: 'true', shell: [no-such-shell, -c], outputs: {out: bad.txt}}",
        &["no-such-shell"],
    );
}

#[test]
fn a_tool_that_is_not_there() {
    let space =
        space("a: {run: 'true > ${outputs.out}', tools: [no-such-tool], outputs: {out: a}}");
    let said = space.run(&["run"]).expect(2, &[]);
    assert!(
        said.err.contains("no-such-tool") && said.err.contains("pipeline.yaml:3:"),
        "{}",
        said.err
    );
}

#[test]
fn a_stage_that_is_killed() {
    fails_alone(
        "bad: {run: 'kill -9 $$', outputs: {out: bad.txt}}",
        &["killed by signal 9 (SIGKILL)"],
    );
    fails_alone(
        "bad: {run: 'kill -SEGV $$', outputs: {out: bad.txt}}",
        &["SIGSEGV"],
    );
}

/// A program that is a kind, whose worker does this.
fn tool(worker: &str) -> TestSpace {
    let space = TestSpace::new();
    let text = format!(
        r#"#!/bin/sh
case "$1" in
describe) echo '{{"name": "x", "revision": 1, "summary": "Test.", "inputs": [], "outputs": [{{"name": "out", "path": "x.txt"}}]}}' ;;
check) cat > /dev/null; echo '{{"params": {{}}}}' ;;
worker)
{worker}
;;
esac
"#
    );
    space.write_program("tools/x", &text);
    space
}

#[test]
fn a_worker_that_breaks_is_one_failed_stage() {
    for (worker, says) in [
        ("kill -9 $$", &["SIGKILL"][..]),
        (
            "echo broke somewhere >&2; exit 101",
            &["code 101", "no outcome.json", "broke somewhere"],
        ),
        ("exit 0", &["no outcome.json"]),
        ("echo '{' > outcome.json", &["outcome.json is garbled"]),
        (
            "echo '{\"version\": 9}' > outcome.json",
            &["version 9, not 1"],
        ),
        (
            "echo '{\"version\": 1}' > outcome.json",
            &["did not write its output `out`"],
        ),
        (
            "echo '{\"version\": 1, \"error\": {\"message\": \"the data are odd\", \"hint\": \"look at them\"}}' > outcome.json",
            &["the data are odd", "look at them"],
        ),
        ("sleep 1000", &["timeout of 0.5 s"]),
    ] {
        let timeout = if worker.starts_with("sleep") {
            ", timeout: 500ms"
        } else {
            ""
        };
        let (space, _) = fails_alone_in(
            tool(worker),
            &format!("bad: {{uses: ./tools/x{timeout}}}"),
            says,
        );
        space.expect_no_processes();
    }
}

#[test]
fn a_program_that_is_no_kind() {
    for (text, says) in [
        ("#!/bin/sh\nexit 1\n", "failed"),
        ("#!/bin/sh\necho nonsense\n", "format 1"),
        ("#!/no/such/interpreter\n", "cannot be run"),
        (
            "#!/bin/sh\necho '{\"name\": \"x\", \"revision\": 1, \"summary\": \"s\", \"inputs\": [], \"outputs\": [{\"name\": \"o\", \"path\": \"../../o\"}]}'\n",
            "tools/x",
        ),
    ] {
        let space = space("a: {uses: ./tools/x}");
        space.write_program("tools/x", text);
        refuses(&space, &["pipeline.yaml:3:", "tools/x", says]);
    }
    let space = space("a: {uses: ./tools/x}");
    space.write("tools/x", "#!/bin/sh\n");
    refuses(&space, &["pipeline.yaml:3:", "tools/x", "executable"]);
}

#[test]
fn names_with_spaces_unicode_and_newlines() {
    let space = TestSpace::new();
    let names = [
        "with space.txt",
        "ünïcode 名前.txt",
        "new\nline.txt",
        "quote'\".txt",
        "-dash.txt",
        "$HOME.txt",
        "a&b;c|d.txt",
        "trailing ",
    ];
    let mut text = String::from("version: 1\nstages:\n");
    for (i, name) in names.iter().enumerate() {
        space.write(name, format!("{i}\n"));
        let quoted = serde_json::to_string(name).expect("a string");
        text.push_str(&format!("  s{i}:\n    run: 'cat ${{needs.x}} > ${{outputs.out}}'\n    needs: {{x: {{file: {quoted}}}}}\n    outputs: {{out: {}}}\n", serde_json::to_string(&format!("out/{name}")).expect("a string")));
        text.push_str(&format!("  t{i}: {{run: 'cat ${{needs.x}} > ${{outputs.out}}', needs: {{x: s{i}.out}}, outputs: {{out: t.txt}}}}\n"));
    }
    // A directory full of them, in and out.
    let quoted = names.iter().map(|n| format!("directory ü/{n}"));
    for name in quoted {
        space.write(&name, &name);
    }
    text.push_str("  tree: {run: 'cp -r ${needs.d} ${outputs.out}', needs: {d: {dir: directory ü}}, outputs: {out: a tree}}\n");
    space.write("pipeline.yaml", &text);
    let ran = space.ran(&[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for (i, name) in names.iter().enumerate() {
        assert_eq!(
            space.read(&format!("artifacts/s{i}/out/{name}")),
            format!("{i}\n")
        );
        assert_eq!(
            space.read(&format!("artifacts/t{i}/t.txt")),
            format!("{i}\n")
        );
    }
    assert_eq!(
        files_below(&space.path("artifacts/tree/a tree")),
        files_below(&space.path("directory ü"))
    );
    space.ran(&[]).executes(&[]);
    space.remove("artifacts");
    space.ran(&[]).executes(&[]);
    assert_eq!(
        files_below(&space.path("artifacts/tree/a tree")),
        files_below(&space.path("directory ü"))
    );
    // The name of a file in a tree is part of its digest.
    fs::rename(
        space.path("directory ü/new\nline.txt"),
        space.path("directory ü/new\nline2.txt"),
    )
    .expect("a rename");
    space.ran(&[]).executes(&["tree"]);
}

#[test]
fn a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let space = space(
        "a: {run: 'ls ${needs.d} | wc -l > ${outputs.out}', needs: {d: {dir: d}}, outputs: {out: a.txt}}",
    );
    fs::create_dir(space.path("d")).expect("a directory");
    fs::write(
        space
            .path("d")
            .join(std::ffi::OsStr::from_bytes(b"\xff\xfe")),
        "x",
    )
    .expect("a file");
    let ran = space.ran(&[]);
    ran.fails(1, "a", &["UTF-8"]);
}

#[test]
fn a_pipe_that_closes_is_no_accident() {
    let space = space(
        "a: {matrix: {k: {range: [0, 200]}}, run: 'echo ${matrix.k} > ${outputs.out}', outputs: {out: a.txt}}",
    );
    let script = format!("'{}' run --json | head -n 1", env!("CARGO_BIN_EXE_repro"));
    let mut command = Command::new("bash");
    command
        .args(["-o", "pipefail", "-c", &script])
        .current_dir(&space.project)
        .env("REPRO_STORE", &space.store);
    let said = space.run_command(command);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    space.ran(&[]).executes(&[]);
}

/// What a stage writes beside its outputs is thrown away, with a word; it does not reach the
/// project.
#[test]
fn undeclared_outputs_are_told_of() {
    let space =
        space("a: {run: 'echo x > ${outputs.out}; echo y > extra.txt', outputs: {out: a.txt}}");
    let ran = space.ran(&[]);
    ran.executes(&["a"]);
    assert!(ran.talk().contains("`extra.txt`"), "{ran:#?}");
    let known: Vec<PathBuf> = files_below(&space.project)
        .into_keys()
        .map(PathBuf::from)
        .filter(|p| p.ends_with("extra.txt"))
        .collect();
    assert!(known.is_empty(), "{known:?}");
}
