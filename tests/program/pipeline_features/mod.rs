//! What a pipeline file can say, run for real: matrices, joins, gathers, loops, profiles, includes,
//! programs as kinds, resources, and what stops a run. The words themselves are tested where they
//! are read; here, that they do what they say.

mod energy;
mod gpu_energy;
mod looks;
mod scheduling;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::observed::Ran;
use crate::support::processes::signal;
use crate::support::{TestSpace, space, stages};

fn beside(space: &TestSpace, name: &str) -> PathBuf {
    space.project.with_file_name(name)
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} never appeared",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The instances a dry run of a fresh project would execute.
fn planned(lines: &str) -> Vec<String> {
    space(lines).ran(&["-n"]).all("planned")
}

const ECHO: &str = "outputs: {out: a.txt}";

#[test]
fn a_matrix_makes_one_instance_per_combination() {
    let k = |matrix: &str| {
        planned(&format!(
            "a: {{matrix: {matrix}, run: 'echo > ${{outputs.out}}', {ECHO}}}"
        ))
    };
    assert_eq!(
        k("{k: [1, 2], x: [a, b]}"),
        ["a[k=1,x=a]", "a[k=1,x=b]", "a[k=2,x=a]", "a[k=2,x=b]"]
    );
    assert_eq!(
        k("{k: {range: [0, 6, 2]}}"),
        ["a[k=0]", "a[k=2]", "a[k=4]"],
        "without the end"
    );
    assert_eq!(
        k("{k: {logspace: [0.001, 0.1, 3]}}"),
        ["a[k=0.001]", "a[k=0.01]", "a[k=0.1]"],
        "with the end"
    );
    assert_eq!(
        k("{zip: {k: [1, 2], x: [a, b]}}"),
        ["a[k=1,x=a]", "a[k=2,x=b]"]
    );
    assert_eq!(k("{zip: {k: [1, 2], x: [a, b]}, s: [0, 1]}").len(), 4);
    assert_eq!(
        k("{k: [1, 2], x: [a, b], exclude: [{k: 1, x: b}]}"),
        ["a[k=1,x=a]", "a[k=2,x=a]", "a[k=2,x=b]"]
    );
    assert_eq!(
        k("{k: [1, 2], include: [{k: 7}]}"),
        ["a[k=1]", "a[k=2]", "a[k=7]"]
    );
    assert_eq!(
        k("{k: [1, 2], include: [{k: 2, x: more}]}"),
        ["a[k=1]", "a[k=2,x=more]"]
    );
}

const GRID: &str = "make: {matrix: {k: [1, 2, 3], x: [a, b]}, run: 'echo ${matrix.k}${matrix.x} > ${outputs.out}', outputs: {out: m.txt}}
join: {matrix: {k: [1, 2], x: [b], own: [p, q]}, run: 'echo ${matrix.own} > ${outputs.out}; cat ${needs.m} >> ${outputs.out}', needs: {m: make.out}, outputs: {out: j.txt}}
pick: {run: 'cat ${needs.m} > ${outputs.out}', needs: {m: 'make[k=3,x=a].out'}, outputs: {out: p.txt}}
gather: {run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'make[*].out'}, outputs: {out: g.txt}}
some: {run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'make[k=2,*].out'}, outputs: {out: s.txt}}
per: {matrix: {k: [1, 3]}, run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'make[*].out'}, outputs: {out: r.txt}}
groups: {run: 'cat ${needs.g.two} ${needs.g.one} > ${outputs.out}', needs: {g: {one: 'make[k=1,x=a].out', two: 'make[k=2,x=*].out'}}, outputs: {out: o.txt}}";

#[test]
fn needs_join_on_shared_axes_pick_and_gather() {
    let lines = GRID.replace("'make[k=2,x=*].out'", "'make[k=2,*].out'");
    let space = space(&lines);
    let ran = space.ran(&[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(space.read("artifacts/join/k=1,x=b,own=p/j.txt"), "p\n1b\n");
    assert_eq!(space.read("artifacts/join/k=2,x=b,own=q/j.txt"), "q\n2b\n");
    assert_eq!(space.read("artifacts/pick/p.txt"), "3a\n");
    assert_eq!(
        space.read("artifacts/gather/g.txt"),
        "1a\n1b\n2a\n2b\n3a\n3b\n"
    );
    assert_eq!(space.read("artifacts/some/s.txt"), "2a\n2b\n");
    let per = space.read("artifacts/per/k=1/r.txt");
    assert!(
        per == "1a\n1b\n" || per == space.read("artifacts/gather/g.txt"),
        "{per}"
    );
    assert_eq!(space.read("artifacts/groups/o.txt"), "2a\n2b\n1a\n");
    // One value of an axis more: only what it touches runs.
    space.edit(
        "pipeline.yaml",
        "{k: [1, 2, 3], x: [a, b]}",
        "{k: [1, 2, 3, 4], x: [a, b]}",
    );
    let ran = space.ran(&[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let executed: BTreeSet<String> = ran.all("started").into_iter().collect();
    for instance in ["make[k=4,x=a]", "make[k=4,x=b]", "gather"] {
        assert!(executed.contains(instance), "{executed:?}");
    }
    assert!(
        !executed
            .iter()
            .any(|i| i.starts_with("join") || i == "pick" || i == "some" || i == "groups"),
        "{executed:?}"
    );
}

#[test]
fn the_order_of_a_matrix_is_no_input() {
    let space = space(
        "a: {matrix: {k: [1, 2, 10]}, run: 'echo ${matrix.k} > ${outputs.out}', outputs: {out: a.txt}}\nb: {run: 'cat ${needs.all} > ${outputs.out}', needs: {all: 'a[*].out'}, outputs: {out: b.txt}}",
    );
    space
        .ran(&[])
        .executes(&["a[k=1]", "a[k=2]", "a[k=10]", "b"]);
    let gathered = space.read("artifacts/b/b.txt");
    let lines: BTreeSet<&str> = gathered.lines().collect();
    assert_eq!(lines, BTreeSet::from(["1", "2", "10"]));
    space.edit("pipeline.yaml", "[1, 2, 10]", "[10, 1, 2]");
    space.ran(&[]).executes(&[]);
}

#[test]
fn instances_that_do_the_same_share_one_execution() {
    let space = TestSpace::new();
    let log = beside(&space, "log");
    let run = format!(
        "echo x >> {}; sleep 0.1; echo same > ${{outputs.out}}",
        log.display()
    );
    space.write(
        "pipeline.yaml",
        stages(&format!(
            "a: {{matrix: {{k: [1, 2, 3]}}, run: '{run}', sandbox: off, outputs: {{out: a.txt}}}}"
        )),
    );
    let ran = space.ran(&["-j", "3"]);
    assert_eq!(
        (ran.code, ran.count("executed"), ran.count("cached")),
        (0, 1, 2),
        "{ran:#?}"
    );
    assert_eq!(fs::read_to_string(&log).expect("the log"), "x\n");
    assert_eq!(
        space.artifacts().len(),
        3,
        "each shows it: {:?}",
        space.artifacts()
    );
}

const LOOP: &str = r#"
version: 1
stages:
  init: {run: 'echo init > ${outputs.m}', outputs: {m: m.txt}}
  loop:
    rounds: {count: 2, first: {m: init.m}, carry: {m: step.m, seen: note.n}}
    stages:
      step: {run: 'cat ${needs.m} ${needs.seen} > ${outputs.m}; echo ${round.index} >> ${outputs.m}', needs: {m: "${round.m}", seen: "${round.seen}"}, outputs: {m: m.txt}}
      note: {run: 'wc -l < ${needs.m} > ${outputs.n}', needs: {m: step.m}, outputs: {n: n.txt}}
  last: {run: 'cat ${needs.m} > ${outputs.o}', needs: {m: "loop.step[round=last].m"}, outputs: {o: o.txt}}
  first: {run: 'cat ${needs.m} > ${outputs.o}', needs: {m: "loop.step[round=0].m"}, outputs: {o: o.txt}}
  all: {run: 'cat ${needs.m} > ${outputs.o}', needs: {m: "loop.note[*].n"}, outputs: {o: o.txt}}
"#;

#[test]
fn raising_the_count_of_a_loop_runs_only_the_new_rounds() {
    let space = TestSpace::with_pipeline(LOOP);
    space.ran(&[]).executes(&[
        "init",
        "loop.step[round=0]",
        "loop.note[round=0]",
        "loop.step[round=1]",
        "loop.note[round=1]",
        "last",
        "first",
        "all",
    ]);
    assert_eq!(space.read("artifacts/first/o.txt"), "init\n0\n");
    assert_eq!(space.read("artifacts/last/o.txt"), "init\n0\n2\n1\n");
    assert_eq!(space.read("artifacts/all/o.txt"), "2\n4\n");
    space.edit("pipeline.yaml", "count: 2", "count: 4");
    space.ran(&[]).executes(&[
        "loop.step[round=2]",
        "loop.note[round=2]",
        "loop.step[round=3]",
        "loop.note[round=3]",
        "last",
        "all",
    ]);
    assert_eq!(
        space.read("artifacts/last/o.txt"),
        "init\n0\n2\n1\n4\n2\n6\n3\n"
    );
    assert_eq!(space.read("artifacts/all/o.txt"), "2\n4\n6\n8\n");
    space.edit("pipeline.yaml", "count: 4", "count: 2");
    space.ran(&[]).executes(&[]);
    assert_eq!(space.read("artifacts/last/o.txt"), "init\n0\n2\n1\n");
}

/// Round k has what was there at first and what each of the k rounds before it chose, in order.
#[test]
fn a_carried_list_grows_from_round_to_round() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  start: {run: 'echo start > ${outputs.d}', outputs: {d: d.txt}}
  online:
    rounds: {count: 3, first: {seen: start.d}, carry: {seen: [choose.d]}}
    stages:
      fit: {run: 'cat ${needs.data} > ${outputs.m}', needs: {data: "${round.seen}"}, outputs: {m: m.txt}}
      choose: {run: 'echo ${round.index} after $(tail -n 1 ${needs.m}) > ${outputs.d}', needs: {m: fit.m}, outputs: {d: d.txt}}
"#,
    );
    space.ran(&[]);
    let seen = |round: u32| space.read(&format!("artifacts/online.fit/round={round}/m.txt"));
    assert_eq!(seen(0), "start\n");
    assert_eq!(seen(1), "start\n0 after start\n");
    assert_eq!(seen(2), "start\n0 after start\n1 after 0 after start\n");
    space.edit("pipeline.yaml", "count: 3", "count: 12");
    let ran = space.ran(&[]).all("finished");
    assert_eq!(ran.len(), 2 * 9, "{ran:?}");
    assert_eq!(seen(11).lines().count(), 12);
    for (k, line) in seen(11).lines().skip(1).enumerate() {
        assert!(line.starts_with(&format!("{k} after")), "{line}");
    }
}

#[test]
fn variables_profiles_and_set() {
    let yaml = "version: 1
vars: {word: plain, k: [1, 2], deep: {er: x}}
profiles:
  loud: {vars: {word: LOUD}}
  three: {vars: {k: [1, 2, 3]}}
stages:
  a: {matrix: {k: '${vars.k}'}, run: 'echo ${vars.word} ${matrix.k} ${vars.deep.er} > ${outputs.out}', outputs: {out: a.txt}}
";
    let space = TestSpace::with_pipeline(yaml);
    space.ran(&[]).executes(&["a[k=1]", "a[k=2]"]);
    assert_eq!(space.read("artifacts/a/k=1/a.txt"), "plain 1 x\n");
    space.ran(&["--profile", "three"]).executes(&["a[k=3]"]);
    space
        .ran(&["--profile", "loud"])
        .executes(&["a[k=1]", "a[k=2]"]);
    assert_eq!(space.read("artifacts/a/k=1/a.txt"), "LOUD 1 x\n");
    space
        .ran(&["--profile", "loud", "--profile", "three"])
        .executes(&["a[k=3]"]);
    space
        .ran(&["--set", "word=set", "--set", "k=[2]"])
        .executes(&["a[k=2]"]);
    assert_eq!(space.read("artifacts/a/k=2/a.txt"), "set 2 x\n");
    space
        .ran(&["--set", "deep.er=y", "--profile", "loud", "--set", "k=[5]"])
        .executes(&["a[k=5]"]);
    assert_eq!(space.read("artifacts/a/k=5/a.txt"), "LOUD 5 y\n");
    // And back: all of it is still known.
    space.ran(&[]).executes(&[]);
    assert_eq!(space.read("artifacts/a/k=1/a.txt"), "plain 1 x\n");
}

#[test]
fn includes_add_stages_and_variables() {
    let space = TestSpace::new();
    space.write("pipeline.yaml", "version: 1\ninclude: [parts/more.yaml]\nvars: {here: 1}\nstages:\n  b: {run: 'cat ${needs.x} > ${outputs.out}; echo ${vars.there} >> ${outputs.out}', needs: {x: a.out}, outputs: {out: b.txt}}\n");
    space.write("parts/more.yaml", "version: 1\nvars: {there: 2}\nstages:\n  a: {run: 'echo ${vars.here} > ${outputs.out}', outputs: {out: a.txt}}\n");
    space.ran(&[]).executes(&["a", "b"]);
    assert_eq!(space.read("artifacts/b/b.txt"), "1\n2\n");
    space.edit("parts/more.yaml", "there: 2", "there: 3");
    space.ran(&[]).executes(&["b"]);
    space.remove("parts/more.yaml");
    let said = space.run(&["run"]).expect(2, &[]);
    assert!(
        said.err.contains("parts/more.yaml") && said.err.contains("pipeline.yaml:2:"),
        "{}",
        said.err
    );
}

#[test]
fn the_salt_disowns_everything() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.ran(&[]).executes(&["a"]);
    space.edit("pipeline.yaml", "version: 1\n", "version: 1\nsalt: other\n");
    space.ran(&[]).executes(&["a"]);
}

#[test]
fn a_directory_is_an_input_with_all_that_is_in_it() {
    let space = space(
        "a: {run: 'cat ${needs.d}/*/* > ${outputs.out}', needs: {d: {dir: data}}, outputs: {out: a.txt}}",
    );
    space.write("data/x/1", "one\n").write("data/y/2", "two\n");
    space.ran(&[]).executes(&["a"]);
    assert_eq!(space.read("artifacts/a/a.txt"), "one\ntwo\n");
    space.write("data/y/3", "three\n");
    space.ran(&[]).executes(&["a"]);
    space.remove("data/y/3");
    space.ran(&[]).executes(&[]);
    fs::rename(space.path("data/y"), space.path("data/z")).expect("a rename");
    space.ran(&[]).executes(&["a"]);
    fs::create_dir(space.path("data/empty")).expect("a directory");
    assert_eq!(space.ran(&[]).code, 0);
}

#[test]
fn the_version_of_a_declared_tool_is_an_input() {
    let mut space = space(
        "a: {run: 'mytool > ${outputs.out}', tools: [mytool, {program: sh, version: [echo, one]}], outputs: {out: a.txt}}",
    );
    let bin = beside(&space, "bin");
    let tool = |version: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::create_dir_all(&bin).expect("a directory");
        fs::write(
            bin.join("mytool"),
            format!(
                "#!/bin/sh\n[ \"${{1-}}\" = --version ] && echo mytool {version} || echo made\n"
            ),
        )
        .expect("a program");
        fs::set_permissions(bin.join("mytool"), fs::Permissions::from_mode(0o755))
            .expect("its mode");
    };
    tool("1");
    space.set_env(
        "PATH",
        format!(
            "{}:{}",
            bin.display(),
            std::env::var("PATH").unwrap_or_default()
        ),
    );
    space.ran(&[]).executes(&["a"]);
    space.ran(&[]).executes(&[]);
    tool("2");
    space.ran(&[]).executes(&["a"]);
    space.edit("pipeline.yaml", "[echo, one]", "[echo, two]");
    space.ran(&[]).executes(&["a"]);
}

/// A kind in a shell script: joins the text of its input and its parameter.
const TOOL: &str = r#"#!/bin/sh
set -eu
case "$1" in
describe)
    echo '{"name": "glue", "revision": 1, "summary": "Glues.", "inputs": [{"name": "text", "required": true}],'
    echo ' "outputs": [{"name": "out", "path": "glued.txt"}], "schema": {"type": "object", "properties": {"word": {"type": "string"}}}}' ;;
check)
    question=$(cat)
    case "$question" in
    *'"word":"'*) word=${question##*'"word":"'}; echo "{\"params\": {\"word\": \"${word%%\"*}\"}}" ;;
    *'"word"'*) echo '{"problems": [{"path": ["word"], "message": "expected a word", "hint": "write a text"}]}' ;;
    *) echo '{"params": {"word": "default"}}' ;;
    esac ;;
worker)
    path=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' "$2")
    word=$(sed -n 's/.*"word":"\([^"]*\)".*/\1/p' "$2")
    echo '{"event": "progress", "done": 1, "total": 2, "unit": "words", "text": "half"}'
    echo "gluing $word"
    mkdir -p out
    { cat "$path"; echo "$word"; } > out/glued.txt
    echo '{"version": 1, "figures": {"words": 2}}' > outcome.json ;;
esac
"#;

#[test]
fn a_program_of_the_project_is_a_kind() {
    let space = space(
        "a: {run: 'echo a > ${outputs.out}', outputs: {out: a.txt}}\nb: {uses: ./tools/glue, needs: {text: a.out}, with: {word: b}}\nc: {uses: ./tools/glue, needs: {text: b.out}}",
    );
    space.write_program("tools/glue", TOOL);
    let ran = space.ran(&[]);
    ran.executes(&["a", "b", "c"]);
    assert_eq!(ran.event("finished", "b")["figures"]["words"], 2.0);
    assert_eq!(ran.event("progress", "b")["text"], "half");
    assert_eq!(space.read("artifacts/c/glued.txt"), "a\nb\ndefault\n");
    space.ran(&[]).executes(&[]);
    // Defaults are filled in before hashing: writing one out changes nothing.
    space.edit(
        "pipeline.yaml",
        "needs: {text: b.out}}",
        "needs: {text: b.out}, with: {word: default}}",
    );
    space.ran(&[]).executes(&[]);
    space.edit("pipeline.yaml", "{word: default}", "{word: other}");
    space.ran(&[]).executes(&["c"]);
    // The program is an input.
    space.edit("tools/glue", "echo \"$word\"; }", "echo \"<$word>\"; }");
    space.ran(&[]).executes(&["b", "c"]);
    assert_eq!(space.read("artifacts/c/glued.txt"), "a\n<b>\n<other>\n");
    // Its own check is asked before anything runs.
    space.edit("pipeline.yaml", "{word: other}", "{word: 7}");
    let said = space.run(&["run"]).expect(2, &[]);
    assert!(
        said.err.contains("expected a word")
            && said.err.contains("write a text")
            && said.err.contains("pipeline.yaml:5:"),
        "{}",
        said.err
    );
    space
        .edit("pipeline.yaml", "{word: 7}", "{word: other}")
        .edit(
            "pipeline.yaml",
            "needs: {text: b.out}",
            "needs: {txet: b.out}",
        );
    let said = space.run(&["run"]).expect(2, &[]);
    assert!(
        said.err.contains("txet") && said.err.contains("`text`"),
        "{}",
        said.err
    );
}
