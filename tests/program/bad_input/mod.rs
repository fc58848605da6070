//! Bad input, bad disks and bad stages: one clear message, the documented exit code, and nothing
//! lost.
//!
//! Where a test needs a mount it makes one in a mount namespace of its own (`unshare`), which goes
//! with the process; where that is not allowed it says so and returns.

mod disks;
mod stages;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::observed::{Ran, files_below};
use crate::support::{Said, TestSpace, space, stages};

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
fn an_input_outside_of_the_project_that_is_missing() {
    for path in ["../out.txt", "/nowhere/x", "~/x"] {
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
    // Two stages whose outputs would appear at one place: names that differ in what a file name
    // cannot hold.
    refuses(
        &space("a: {matrix: {k: [1, 1]}, run: 'echo > ${outputs.out}', outputs: {out: a}}"),
        &["`k=1` twice"],
    );
}

#[test]
fn two_instances_never_share_a_place() {
    let lines = "a: {matrix: {k: ['x/y', x_y, 'x:y', '..', '.', LONGa, LONGb]}, run: \"printf '%s' '${matrix.k}' > ${outputs.out}\", outputs: {out: a.txt}}
b: {run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'a[*].out'}, outputs: {out: b.txt}}";
    // Longer than a file's name may be.
    let long = "long".repeat(80);
    let space = space(&lines.replace("LONG", &long));
    let ran = space.ran(&[]);
    assert_eq!((ran.code, ran.count("executed")), (0, 8), "{ran:#?}");
    let shown = files_below(&space.path("artifacts/a"));
    assert_eq!(
        shown.len(),
        7,
        "each instance shows its own output: {shown:?}"
    );
    let (mut gathered, mut values): (Vec<u8>, Vec<u8>) = (
        space.read("artifacts/b/b.txt").into_bytes(),
        format!("x/yx_yx:y...{long}a{long}b").into_bytes(),
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
