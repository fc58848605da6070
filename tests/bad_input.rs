//! Bad input, bad disks and bad stages: one clear message, the documented exit code, and nothing lost.
//!
//! Where a test needs a mount it makes one in a mount namespace of its own (`unshare`), which goes with the process; where that is not
//! allowed it says so and returns.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::observed::{Ran, files_below};
use support::{Said, TestSpace};

/// A pipeline with these stages, one per line of `NAME: {...}`.
fn stages(lines: &str) -> String {
    let lines: String = lines
        .trim()
        .lines()
        .map(|l| format!("  {}\n", l.trim()))
        .collect();
    format!("version: 1\nstages:\n{lines}")
}

fn space(lines: &str) -> TestSpace {
    TestSpace::with_pipeline(&stages(lines))
}

/// `run` refuses the pipeline with exit code 2, says all of these, and leaves nothing behind.
#[track_caller]
fn refuses(space: &TestSpace, says: &[&str]) -> String {
    let before = files_below(&space.project);
    let said = space.run(&["run"]).expect(2, says);
    for part in says {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
    assert!(
        said.out.is_empty(),
        "messages go to standard error: {}",
        said.out
    );
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert_eq!(files_below(&space.project), before, "nothing was written");
    said.err
}

#[test]
fn no_pipeline_file() {
    let space = TestSpace::new();
    refuses(&space, &["no pipeline.yaml"]);
    let said = space.run(&["run", "other.yaml"]).expect(2, &[]);
    assert!(
        said.err
            .contains("cannot read the pipeline file `other.yaml`"),
        "{}",
        said.err
    );
}

#[test]
fn a_missing_input_file() {
    let space = space(
        "a: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: {file: no such.txt}}, outputs: {out: a.txt}}",
    );
    refuses(
        &space,
        &[
            "pipeline.yaml:3:",
            "there is no file `no such.txt` in the project",
            "^",
        ],
    );
    fs::create_dir(space.path("no such.txt")).expect("a directory");
    refuses(
        &space,
        &["`no such.txt` is a directory", "{dir: no such.txt}"],
    );
}

#[test]
fn an_unreadable_input() {
    let space = space(
        "a: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: {file: in.txt}}, outputs: {out: a.txt}}",
    );
    // A socket is no file: not readable for anybody, root included.
    let _socket = std::os::unix::net::UnixListener::bind(space.path("in.txt")).expect("a socket");
    let said = space.run(&["run"]);
    assert!([1, 2].contains(&said.code), "{said:?}");
    assert!(
        said.err.contains("in.txt") && !said.err.contains("panicked"),
        "{}",
        said.err
    );
}

#[test]
fn an_input_that_leads_out_of_the_project() {
    for path in ["../out.txt", "/etc/passwd"] {
        let space = space(&format!(
            "a: {{run: 'cat ${{needs.x}} > ${{outputs.out}}', needs: {{x: {{file: {path}}}}}, outputs: {{out: a.txt}}}}"
        ));
        refuses(&space, &["pipeline.yaml:3:", path]);
    }
}

#[test]
fn wrong_yaml() {
    refuses(
        &TestSpace::with_pipeline("version: 1\nstages: {a: [\n"),
        &["pipeline.yaml:"],
    );
    refuses(
        &TestSpace::with_pipeline("version: 1\nstages:\n\ta: x\n"),
        &["pipeline.yaml:3:"],
    );
    refuses(&TestSpace::with_pipeline(""), &["pipeline.yaml"]);
    refuses(&TestSpace::with_pipeline("[]"), &["pipeline.yaml:1:1"]);
    refuses(
        &TestSpace::with_pipeline("version: 2\nstages: {}\n"),
        &["pipeline.yaml:1:", "version"],
    );
    let twice = "a: {run: 'x > ${outputs.out}', outputs: {out: a}}\na: {run: 'y > ${outputs.out}', outputs: {out: a}}";
    refuses(&space(twice), &["pipeline.yaml:4:", "`a`", "twice"]);
    let not_text = TestSpace::new();
    not_text.write("pipeline.yaml", b"version: 1\nname: \xff\xfe\n");
    refuses(&not_text, &["pipeline.yaml", "UTF-8"]);
    let binary = TestSpace::new();
    binary.write("pipeline.yaml", [0u8; 4096]);
    refuses(&binary, &["pipeline.yaml"]);
}

#[test]
fn an_attack_is_refused_not_loaded() {
    let mut bomb = String::from("version: 1\nvars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let last = i - 1;
        bomb.push_str(&format!("  a{i}: &a{i} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n"));
    }
    refuses(&TestSpace::with_pipeline(&bomb), &["pipeline.yaml"]);
    refuses(
        &TestSpace::with_pipeline(&format!("version: 1\nvars: {}\n", "[".repeat(100_000))),
        &["pipeline.yaml:2:", "recursion limit"],
    );
    let big = TestSpace::new();
    big.write(
        "pipeline.yaml",
        format!("version: 1\nname: {}\n", "x".repeat(120 << 20)),
    );
    let said = big.run(&["run"]).expect(2, &[]);
    assert!(
        said.err.contains("pipeline.yaml") && said.err.len() < 10_000,
        "{}",
        &said.err[..said.err.len().min(2000)]
    );
}

#[test]
fn unknown_kinds_and_keys_with_what_was_meant() {
    refuses(
        &space("a: {uses: downlaod}"),
        &[
            "pipeline.yaml:3:",
            "there is no kind `downlaod`",
            "did you mean `download`",
        ],
    );
    refuses(
        &space("a: {rnu: 'true', outputs: {out: a}}"),
        &["pipeline.yaml:3:", "rnu", "did you mean `run`"],
    );
    refuses(
        &space("a: {run: 'true', outputs: {out: a}, needs: {x: b.out}}"),
        &["pipeline.yaml:3:", "`b`"],
    );
    refuses(
        &space("a: {run: 'true > ${outputs.uot}', outputs: {out: a}}"),
        &["pipeline.yaml:3:", "`uot`", "`out`"],
    );
    refuses(
        &space("a: {run: 'echo ${vars.x} > ${outputs.out}', outputs: {out: a}}"),
        &["pipeline.yaml:3:", "`x`"],
    );
    refuses(
        &space("a: {uses: ./tools/none}"),
        &["pipeline.yaml:3:", "./tools/none"],
    );
    refuses(&space("a: {}"), &["pipeline.yaml:3:", "`a`"]);
}

#[test]
fn all_mistakes_at_once() {
    let text = refuses(
        &space(
            "a: {rnu: 'true', outputs: {out: a}}\nb: {run: 'true', outputs: {out: b}, needs: {x: {file: none}}}\nc: {uses: nothing_like_it}",
        ),
        &["pipeline.yaml:3:", "pipeline.yaml:4:", "pipeline.yaml:5:"],
    );
    assert!(
        text.contains("3 problems") || text.matches("error").count() >= 3,
        "{text}"
    );
}

#[test]
fn a_cycle_is_named_with_its_path() {
    let cycle = "a: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: c.out}, outputs: {out: a}}
b: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: a.out}, outputs: {out: b}}
c: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: b.out}, outputs: {out: c}}";
    let text = refuses(&space(cycle), &["pipeline.yaml:"]);
    assert!(text.contains("a → c → b → a"), "{text}");
    refuses(
        &space("a: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: a.out}, outputs: {out: a}}"),
        &["a → a"],
    );
}

#[test]
fn two_producers_of_one_path() {
    refuses(
        &space("a: {run: 'true', outputs: {one: same.txt, two: same.txt}}"),
        &["pipeline.yaml:3:", "`one`", "`two`", "one path"],
    );
    refuses(
        &space("a: {run: 'true', outputs: {one: d, two: d/inner.txt}}"),
        &["`one`", "`two`", "inside"],
    );
    // Two stages whose outputs would appear at one place: names that differ in what a file name cannot hold.
    refuses(
        &space("a: {matrix: {k: [1, 1]}, run: 'echo > ${outputs.out}', outputs: {out: a}}"),
        &["`k=1` twice"],
    );
}

#[test]
fn two_instances_never_share_a_place() {
    let lines = "a: {matrix: {k: ['x/y', x_y, 'x:y', '..', '.', 'a b']}, run: \"printf '%s' '${matrix.k}' > ${outputs.out}\", outputs: {out: a.txt}}
b: {run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'a[*].out'}, outputs: {out: b.txt}}";
    let space = space(lines);
    let ran = space.ran(&[]);
    assert_eq!((ran.code, ran.count("executed")), (0, 7), "{ran:#?}");
    let shown = files_below(&space.path("artifacts/a"));
    assert_eq!(
        shown.len(),
        6,
        "each instance shows its own output: {shown:?}"
    );
    let (mut gathered, mut values): (Vec<u8>, Vec<u8>) = (
        space.read("artifacts/b/b.txt").into_bytes(),
        b"x/yx_yx:y...a b".to_vec(),
    );
    gathered.sort_unstable();
    values.sort_unstable();
    assert_eq!(gathered, values, "and each is gathered");
    space.ran(&[]).executes(&[]);
}

#[test]
fn values_that_would_share_a_name_are_refused() {
    let with = |values: &str| {
        space(&format!(
            "a: {{matrix: {{k: [{values}]}}, run: 'echo ${{matrix.k}} > ${{outputs.out}}', outputs: {{out: a.txt}}}}"
        ))
    };
    refuses(&with("1, '1'"), &["pipeline.yaml:3:", "k=1", "twice"]);
    refuses(
        &with("'a,b'"),
        &["pipeline.yaml:3:", "`a,b` cannot be an axis value"],
    );
    refuses(
        &with("\"new\\nline\""),
        &["pipeline.yaml:3:", "cannot be an axis value"],
    );
    refuses(
        &with("''"),
        &["pipeline.yaml:3:", "cannot be an axis value"],
    );
}

#[test]
fn unknown_targets_flags_and_profiles() {
    let space = space("train: {run: 'echo > ${outputs.out}', outputs: {out: a}}");
    for (args, says) in [
        (&["run", "trian"][..], "did you mean `train`"),
        (&["run", "--profile", "none"], "none"),
        (&["run", "--set", "nothing"], "nothing"),
        (&["run", "--no-such-flag"], "--no-such-flag"),
        (&["run", "-j", "0"], "0"),
        (&["walk"], "walk"),
    ] {
        let said = space.run(args).expect(2, args);
        assert!(
            said.err.contains(says) && !said.err.contains("panicked"),
            "{args:?}: {}",
            said.err
        );
    }
}

/// A good stage beside a bad one. The bad one fails as said, and what the good one made stays, is shown, and is not made again.
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
        &["ran out of memory", "67108864", "memory"],
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
fn damaged_objects_are_found_and_made_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("truncated", |p| {
            fs::File::options()
                .write(true)
                .open(p)
                .and_then(|f| f.set_len(3))
                .expect("damage")
        }),
        ("emptied", |p| fs::write(p, "").expect("damage")),
        ("altered", |p| fs::write(p, "xxxxxxxxxx\n").expect("damage")),
        ("removed", |p| fs::remove_file(p).expect("damage")),
        ("a directory", |p| {
            fs::remove_file(p).expect("damage");
            fs::create_dir(p).expect("damage");
        }),
    ];
    for (what, damage) in damages {
        let space = space(
            "a: {run: 'echo 0123456789 > ${outputs.out}', outputs: {out: a.txt}}\nb: {run: 'cat ${needs.x} ${needs.x} > ${outputs.out}', needs: {x: a.out}, outputs: {out: b.txt}}",
        );
        space.ran(&[]).executes(&["a", "b"]);
        let object = space
            .store_files("objects")
            .into_iter()
            .find(|p| fs::read(p).is_ok_and(|b| b == b"0123456789\n"))
            .expect("the object");
        let _ = fs::set_permissions(&object, fs::Permissions::from_mode(0o644));
        damage(&object);
        space.remove("artifacts");
        let ran = space.ran(&[]);
        ran.executes(&["a"]);
        let reason = ran.event("started", "a")["reason"].to_string();
        assert!(reason.contains("result_lost"), "{what}: {reason}");
        assert_eq!(space.read("artifacts/a/a.txt"), "0123456789\n", "{what}");
        assert_eq!(
            space.read("artifacts/b/b.txt"),
            "0123456789\n0123456789\n",
            "{what}"
        );
        space.ran(&[]).executes(&[]);
    }
}

#[test]
fn damaged_records_are_misses() {
    for damage in ["", "{", "not json", "{\"key\": 1}"] {
        let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
        space.ran(&[]).executes(&["a"]);
        for record in space.store_files("actions") {
            let _ = fs::set_permissions(&record, fs::Permissions::from_mode(0o644));
            fs::write(&record, damage).expect("damage");
        }
        // What this project remembers would hide it.
        space.remove(".repro");
        let ran = space.ran(&[]);
        ran.executes(&["a"]);
        assert!(ran.talk().contains("corrupt"), "{damage:?}: {ran:#?}");
        space.remove(".repro");
        space.ran(&[]).executes(&[]);
    }
}

#[test]
fn damaged_memory_of_the_project_costs_nothing() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.ran(&[]).executes(&["a"]);
    for file in ["index", "stats"] {
        let path = space.path(".repro").join(file);
        if path.exists() {
            fs::write(&path, "garbage").expect("damage");
        }
    }
    space.ran(&[]).executes(&[]);
    assert_eq!(space.read("artifacts/a/a.txt"), "x\n");
}

#[test]
fn a_damaged_lock_file_is_an_error_that_says_what_to_do() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.ran(&[]).executes(&["a"]);
    space.write("repro.lock", "version = 1\n<<<<<<< ours\n");
    space.edit("pipeline.yaml", "echo x", "echo y");
    let said = space.run(&["run"]);
    assert_ne!(said.code, 0);
    assert!(
        said.err.contains("repro.lock:2") && said.err.contains("merge conflict"),
        "{}",
        said.err
    );
    assert_eq!(
        space.read("repro.lock"),
        "version = 1\n<<<<<<< ours\n",
        "not overwritten"
    );
    space.remove("repro.lock");
    space.ran(&[]).executes(&["a"]);
    assert!(space.exists("repro.lock"));
}

#[test]
fn a_directory_that_is_no_store() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    fs::create_dir_all(&space.store).expect("a directory");
    fs::write(space.store.join("thesis.tex"), "precious").expect("a file");
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(
        said.err.contains("REPRO_STORE") && said.err.contains("other things"),
        "{}",
        said.err
    );
    assert_eq!(
        fs::read_dir(&space.store).expect("it").count(),
        1,
        "nothing was put there"
    );
    fs::remove_file(space.store.join("thesis.tex")).expect("removed");
    fs::write(space.store.join("format"), "repro store 99\n").expect("a file");
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(said.err.contains("repro store 99"), "{}", said.err);
}

#[test]
fn a_store_that_cannot_be_made() {
    let mut space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.write("file", "x");
    let inside = space.path("file/store");
    space.set_env("REPRO_STORE", inside.clone().into_os_string());
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(
        said.err.contains(&inside.display().to_string()),
        "{}",
        said.err
    );
}

/// Runs `steps` (argument lists of the program) one after the other in a mount namespace made by `mounts` (shell lines). `None`, with the
/// reason printed, where this machine does not allow that.
fn in_namespace(space: &TestSpace, mounts: &str, steps: &[(&str, &[&str])]) -> Option<Vec<Said>> {
    let out = space.project.with_file_name("said");
    fs::create_dir_all(&out).expect("a directory");
    let mut script = format!("set -e\n{mounts}\nset +e\n");
    for (i, (before, args)) in steps.iter().enumerate() {
        let args: String = args.iter().map(|a| format!(" '{a}'")).collect();
        script.push_str(&format!(
            "{before}\ncd '{}'; '{}'{args} > '{out}/{i}.out' 2> '{out}/{i}.err'; echo $? > '{out}/{i}.code'\n",
            space.project.display(),
            env!("CARGO_BIN_EXE_repro"),
            out = out.display()
        ));
    }
    let probe = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !probe.as_ref().is_ok_and(|o| o.status.success()) {
        println!("skipped: no mount namespaces here: {probe:?}");
        return None;
    }
    let mut command = space.command(&[]);
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh", "-c", &script]).env_clear();
    shell.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command = shell;
    let said = space.run_command(command);
    let read = |name: String| {
        fs::read_to_string(out.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}\n{said:?}"))
    };
    let step = |i| Said {
        code: read(format!("{i}.code")).trim().parse().expect("a code"),
        out: read(format!("{i}.out")),
        err: read(format!("{i}.err")),
    };
    Some((0..steps.len()).map(step).collect())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

const SMALL_AND_BIG: &str = "small: {run: 'echo small > ${outputs.out}', outputs: {out: small.txt}}
big: {run: 'head -c 8000000 /dev/urandom > ${outputs.out}', outputs: {out: big.bin}}
last: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: small.out}, outputs: {out: last.txt}}";

#[test]
fn a_full_disk_under_the_store() {
    let space = space(SMALL_AND_BIG);
    fs::create_dir(&space.store).expect("the store");
    let mounts = format!("mount -t tmpfs -o size=4m none {}", quoted(&space.store));
    let json = ["run", "--json"];
    let steps: [(&str, &[&str]); 4] = [
        ("", &["run", "--json", "small"]),
        ("", &["run", "--json", "big"]),
        ("", &["run", "--json", "last"]),
        ("", &json),
    ];
    let Some(said) = in_namespace(&space, &mounts, &steps) else {
        return;
    };
    let ran: Vec<Ran> = said.into_iter().map(Ran::of).collect();
    ran[0].executes(&["small"]);
    // The command itself fills the disk, in its private directory: its own failure, or the store's.
    assert!([1, 5].contains(&ran[1].code), "{:#?}", ran[1]);
    let text = ran[1].event("failed", "big").to_string().to_lowercase();
    assert!(
        text.contains("no space left") || text.contains("disk is full"),
        "{text}"
    );
    assert_eq!(ran[1].count("executed"), 0);
    // The failure took no space, and the rest goes on.
    ran[2].executes(&["last"]);
    assert_eq!(ran[3].count("cached"), 2, "{:#?}", ran[3]);
    assert!(!space.exists("artifacts/big"), "nothing partial");
    assert_eq!(space.read("artifacts/last/last.txt"), "small\n");
}

#[test]
fn a_disk_under_the_store_that_is_full_from_the_start() {
    let space = space(SMALL_AND_BIG);
    fs::create_dir(&space.store).expect("the store");
    let mounts = format!("mount -t tmpfs -o size=1m none {}", quoted(&space.store));
    let fill = format!(
        "cat /dev/zero > {}/fill 2> /dev/null; true",
        space.store.display()
    );
    let free = format!("rm {}/fill", space.store.display());
    let run: &[&str] = &["run", "--json", "small"];
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            (&fill, &["run", "small"]),
            (&free, run),
            (&fill, run),
            ("", &["run", "last"]),
            (&free, &["run", "--json", "last"]),
        ],
    ) else {
        return;
    };
    assert_eq!(said[0].code, 5, "{said:#?}");
    assert!(
        said[0].err.contains("disk is full") || said[0].err.contains("other things"),
        "{}",
        said[0].err
    );
    let again = |i: usize| {
        Ran::of(Said {
            code: said[i].code,
            out: said[i].out.clone(),
            err: said[i].err.clone(),
        })
    };
    again(1).executes(&["small"]);
    // What is cached needs no space in the store.
    again(2).executes(&[]);
    assert!([1, 5].contains(&said[3].code), "{:?}", said[3]);
    assert!(
        said[3].err.to_lowercase().contains("disk is full")
            || said[3].err.contains("No space left"),
        "{}",
        said[3].err
    );
    again(4).executes(&["last"]);
}

#[test]
fn a_full_disk_under_the_project() {
    let space = space(SMALL_AND_BIG);
    let mounts = format!(
        "cp {p}/pipeline.yaml {p}/../keep.yaml; mount -t tmpfs -o size=2m none {p}; cp {p}/../keep.yaml {p}/pipeline.yaml",
        p = space.project.display()
    );
    let look = format!(
        "ls -R {}/artifacts > {}/../listing",
        space.project.display(),
        space.project.display()
    );
    let free = "true".to_owned();
    let all: &[&str] = &["run", "--json"];
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            ("", &["run", "--json", "small"]),
            (&free, all),
            (&look, all),
        ],
    ) else {
        return;
    };
    let ran: Vec<Ran> = said.into_iter().map(Ran::of).collect();
    ran[0].executes(&["small"]);
    // The result is made and kept; it cannot be shown, and a script that would read it must not go on.
    assert_eq!(ran[1].all("finished"), ["big", "last"], "{:#?}", ran[1]);
    assert_eq!(ran[1].code, 5, "{:#?}", ran[1]);
    assert!(
        ran[1].talk().contains("disk is full") && ran[1].talk().contains("big.bin"),
        "{:#?}",
        ran[1]
    );
    let listing = fs::read_to_string(space.project.with_file_name("listing")).expect("the listing");
    assert!(!listing.contains("big.bin"), "nothing partial: {listing}");
    assert_eq!(
        (
            ran[2].code,
            ran[2].count("executed"),
            ran[2].count("cached")
        ),
        (5, 0, 3),
        "still told, nothing done twice: {:#?}",
        ran[2]
    );
}

#[test]
fn a_read_only_store_serves_what_it_has() {
    let space = space(SMALL_AND_BIG);
    space.ran(&["small"]).executes(&["small"]);
    let store = quoted(&space.store);
    let mounts = format!("mount --bind {store} {store}; mount -o remount,bind,ro {store}");
    let remove = format!("rm -r {}", quoted(&space.path("artifacts")));
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            (&remove, &["run", "--json", "small"]),
            ("", &["run", "last"]),
        ],
    ) else {
        return;
    };
    let mut said = said.into_iter();
    let ran = Ran::of(said.next().expect("the first"));
    ran.executes(&[]);
    assert_eq!(space.read("artifacts/small/small.txt"), "small\n");
    let refused = said.next().expect("the second");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.err.contains("read-only") && refused.err.contains("REPRO_STORE"),
        "{}",
        refused.err
    );
    // Nothing was lost.
    space.ran(&[]).executes(&["big", "last"]);
}

#[test]
fn a_read_only_project_says_so() {
    let space = space(SMALL_AND_BIG);
    let project = quoted(&space.project);
    let mounts = format!("mount --bind {project} {project}; mount -o remount,bind,ro {project}");
    let Some(said) = in_namespace(&space, &mounts, &[("", &["run", "small"])]) else {
        return;
    };
    assert_ne!(said[0].code, 0, "its outputs cannot be shown: {said:?}");
    assert!(
        said[0].err.contains("read-only") || said[0].err.contains("Read-only"),
        "{}",
        said[0].err
    );
    assert!(!said[0].err.contains("panicked"), "{}", said[0].err);
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

/// What a stage writes beside its outputs is thrown away, with a word; it does not reach the project.
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
