//! Stages that wait for others without taking anything, stages that make nothing, and parts of what
//! others make.

use serde_json::Value;

use crate::support::lab::Lab;
use crate::support::{TestSpace, instances};

/// The file is refused, and these texts are said of it, in any order.
#[track_caller]
fn refused(yaml: &str, said: &[&str]) {
    let space = TestSpace::with_pipeline(yaml);
    let run = space.run(&["run", "-n"]).expect(2, &["run", "-n"]);
    for text in said {
        assert!(run.err.contains(text), "{text:?} is not said:\n{}", run.err);
    }
}

/// What is executed, in the order in which it is begun.
#[track_caller]
fn begun(space: &TestSpace, args: &[&str]) -> Vec<String> {
    let (code, events) = space.events(&[args, &["-j", "1"]].concat());
    assert_eq!(code, 0, "{events:#?}");
    let started = events.iter().filter(|e| e["event"] == "started");
    started
        .map(|e| e["instance"].as_str().unwrap().to_owned())
        .collect()
}

const ORDERED: &str = r#"
version: 1
stages:
  prep:
    matrix: {seed: [0, 1]}
    run: "echo one ${matrix.seed} > ${outputs.o}"
    outputs: {o: o.txt}
  check: {run: "test 1 = 1", after: prep}
  train:
    matrix: {seed: [0, 1]}
    after: ["prep[seed=${matrix.seed}]", check]
    run: "echo ${matrix.seed} > ${outputs.o}; ls > ${outputs.seen}"
    outputs: {o: o.txt, seen: seen.txt}
"#;

#[test]
fn case_30_a_stage_waits_for_others_and_takes_nothing_from_them() {
    let space = TestSpace::with_pipeline(ORDERED);
    // Whoever is named is made first, and belongs to the target.
    assert_eq!(
        begun(&space, &["train[seed=1]"]),
        ["prep[seed=0]", "prep[seed=1]", "check", "train[seed=1]"]
    );
    assert_eq!(
        space.read("artifacts/train/seed=1/seen.txt"),
        "o.txt\nseen.txt\n"
    );
    assert_eq!(space.executed(&[]), ["train[seed=0]"]);
    // Nothing of them is in the key.
    let key = space.json(&["why", "train[seed=0]"])[0]["key"].clone();
    assert!(!space.ok(&["show", "train[seed=0]"]).contains("prep"));
    space.edit("pipeline.yaml", "echo one", "echo two");
    let planned = space.events(&["-n"]).1;
    assert_eq!(
        instances(&planned, "planned"),
        ["prep[seed=0]", "prep[seed=1]"],
        "what only waits is known without them"
    );
    assert_eq!(space.executed(&[]), ["prep[seed=0]", "prep[seed=1]"]);
    assert_eq!(space.json(&["why", "train[seed=0]"])[0]["key"], key);
    space.edit(
        "pipeline.yaml",
        "    after: [\"prep[seed=${matrix.seed}]\", check]\n",
        "",
    );
    assert!(
        space.executed(&[]).is_empty(),
        "without it the key is the same"
    );
}

#[test]
fn case_30_who_waits_is_skipped_where_the_other_fails() {
    let space = TestSpace::with_pipeline(ORDERED);
    space.edit("pipeline.yaml", "test 1 = 1", "test 1 = 2");
    let (code, events) = space.events(&["--keep-going"]);
    assert_eq!(code, 1, "{events:#?}");
    assert_eq!(instances(&events, "failed"), ["check"]);
    let skipped = events.iter().filter(|e| e["event"] == "skipped");
    let skipped: Vec<&str> = skipped.map(|e| e["because_of"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["check", "check"], "{events:#?}");
    assert!(!space.exists("artifacts/train"));
}

#[test]
fn case_30_order_is_shown_where_people_look_for_it() {
    let space = TestSpace::with_pipeline(ORDERED);
    let why = space.ok(&["why", "train"]);
    assert!(
        why.contains("waits for check, prep[seed=0], and takes nothing from it"),
        "{why}"
    );
    let why = space.ok(&["why", "check"]);
    assert!(why.contains("waits for prep, and takes"), "{why}");
    let tree = space.ok(&["dag"]);
    assert!(
        tree.contains("train ×2 (command; after prep, check)"),
        "{tree}"
    );
    assert!(space.ok(&["dag", "--format", "mermaid"]).contains("-.->"));
    assert!(
        space
            .ok(&["dag", "--format", "dot"])
            .contains("style=dashed")
    );
    let dag: Value = serde_json::from_str(&space.ok(&["dag", "--format", "json"])).unwrap();
    let edges = dag["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 3, "{dag}");
    assert!(edges.iter().all(|e| e["after"] == true), "{dag}");
    let schema = space.ok(&["schema"]);
    assert!(schema.contains("\"after\""));
}

#[test]
fn case_30_order_in_loops_and_of_loops() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  imp:
    matrix: {seed: [0, 1]}
    rounds: {count: 2, carry: {w: train.w}}
    stages:
      log: {run: "echo ${matrix.seed}.${round.index}", after: train}
      train:
        needs: {w: "${round.w}"}
        run: "echo ${matrix.seed} ${round.index} > ${outputs.w}"
        outputs: {w: w.txt}
  last: {run: "true", after: [imp]}
  first: {run: "echo first > ${outputs.o}", outputs: {o: o}, after: "imp.train[round=last,seed=1]"}
"#,
    );
    let ran = begun(&space, &[]);
    let at = |name: &str| ran.iter().position(|r| r == name).expect(name);
    for seed in [0, 1] {
        for round in [0, 1] {
            let of = |stage: &str| at(&format!("imp.{stage}[seed={seed},round={round}]"));
            assert!(of("train") < of("log"), "{ran:?}");
            assert!(of("log") < at("last"), "{ran:?}");
        }
    }
    assert!(at("imp.train[seed=1,round=1]") < at("first"), "{ran:?}");
}

#[test]
fn case_30_what_cannot_be_waited_for_is_told() {
    let with = |after: &str| {
        format!(
            "version: 1\nstages:\n  prep: {{run: 'echo > ${{outputs.o}}', outputs: {{o: o.csv}}, after: [other]}}\n  other: {{run: 'true', matrix: {{x: [1, 2]}}, after: {after}}}\n  third: {{run: 'true'}}\nclaims:\n  good: {{measure: {{of: a, in: prep, table: o}}, expect: {{mean: {{above: 0}}}}}}\n"
        )
    };
    for (after, said) in [
        (
            "[prp]",
            &[
                "stages.other.after[0]",
                "there is no stage `prp`",
                "did you mean `prep`?",
            ][..],
        ),
        (
            "prep",
            &["stages wait for each other in a circle: prep → other → prep"],
        ),
        (
            "[third, other]",
            &["stages wait for each other in a circle: other → other"],
        ),
        (
            "prep.o",
            &[
                "`after` waits for stages, and `prep.o` names an output",
                "write `prep`",
            ],
        ),
        ("prep/o.csv", &["names an output"]),
        (
            "good",
            &["`good` is a claim, and claims are decided after all stages"],
        ),
        ("'third[x=1]'", &["`third` has no axis `x`"]),
        ("'third[x=${matrix.y}]'", &["`other` has no axis `y`"]),
        (
            "{file: x.csv}",
            &["expected the name of a stage, found a map"],
        ),
        ("3", &["expected the name of a stage"]),
    ] {
        refused(&with(after), said);
    }
    // A stage that is both needed and waited for is no mistake, and no name at all is none either.
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'echo > ${outputs.o}', outputs: {o: o}, after: []}\n  b: {run: 'cat ${needs.a}', needs: {a: a.o}, after: [a, a]}\n",
    );
    assert_eq!(space.executed(&[]), ["a", "b"]);
}

const CHECKS: &str = r#"
version: 1
stages:
  data: {run: "seq 3 > ${outputs.list}", outputs: {list: list.txt}}
  check:
    matrix: {least: [1, 2]}
    needs: {list: data.list}
    run: "echo looking; test $(wc -l < ${needs.list}) -ge ${matrix.least}"
  use: {needs: {list: data.list}, after: [check], run: "cp ${needs.list} ${outputs.o}", outputs: {o: o.txt}}
"#;

#[test]
fn case_30_a_stage_without_outputs_is_executed_once_for_its_success() {
    let space = TestSpace::with_pipeline(CHECKS);
    assert_eq!(
        begun(&space, &[]),
        ["data", "check[least=1]", "check[least=2]", "use"]
    );
    assert!(space.executed(&[]).is_empty());
    assert!(space.ok(&["status"]).contains("check  command  2 cached"));
    assert!(space.ok(&["why", "check[least=1]"]).contains("cached"));
    assert_eq!(space.ok(&["logs", "check[least=2]"]), "looking\n");
    space.ok(&["show", "check[least=1]"]);
    assert!(
        space
            .read("repro.lock")
            .contains("[instance.\"check[least=1]\"]")
    );
    for command in [
        &["replay", "check"][..],
        &["verify", "check"],
        &["fsck"],
        &["log"],
        &["metrics"],
        &["diff"],
        &["export", "--crate", "crate.zip"],
        &["export", "--bundle", "all.repro"],
        &["pin", "check[least=1]"],
        &["gc", "--yes"],
        &["clean", "--all", "--yes"],
    ] {
        space.ok(command);
    }
    assert!(space.executed(&[]).is_empty(), "gc keeps that it succeeded");
    // Other inputs, another look; the same again, none.
    space.edit("pipeline.yaml", "seq 3", "seq 4");
    assert_eq!(space.executed(&[]).len(), 4);
    space.edit("pipeline.yaml", "seq 4", "seq 1");
    let (code, events) = space.events(&["--keep-going"]);
    assert_eq!(
        (code, instances(&events, "failed")),
        (1, vec!["check[least=2]".to_owned()])
    );
    assert_eq!(instances(&events, "skipped"), ["use"]);
    space.edit("pipeline.yaml", "seq 1", "seq 3");
    assert!(space.executed(&[]).is_empty());
    assert_eq!(space.executed(&["--force", "check"]).len(), 2);
}

/// Whom a target waits for is of it, and so goes along.
#[test]
fn case_30_a_bundle_holds_the_successes_that_its_targets_wait_for() {
    let space = TestSpace::with_pipeline(CHECKS);
    space.ok(&["run", "-q"]);
    space.ok(&["export", "--bundle", "use.repro", "use"]);
    let other = TestSpace::with_pipeline(CHECKS);
    other.ok(&[
        "import",
        "--unsigned",
        space.path("use.repro").to_str().unwrap(),
    ]);
    assert!(other.executed(&["use"]).is_empty());
    assert_eq!(other.read("artifacts/use/o.txt"), "1\n2\n3\n");
}

/// That it succeeded is in the store, and nowhere else.
#[test]
fn case_30_a_success_that_is_recorded_nowhere_any_more_is_had_again() {
    let space = TestSpace::with_pipeline(CHECKS);
    space.ok(&["run", "-q"]);
    for path in space.store_files("actions") {
        std::fs::remove_file(path).unwrap();
    }
    let planned = space.events(&["-n"]).1;
    assert_eq!(
        instances(&planned, "planned"),
        ["check[least=1]", "check[least=2]"]
    );
    assert_eq!(space.executed(&[]), ["check[least=1]", "check[least=2]"]);
}

#[test]
fn case_30_a_stage_without_outputs_gives_nothing_to_take() {
    refused(
        "version: 1\nstages:\n  check: {run: 'true', outputs: {}}\n  use: {run: 'cat ${needs.c}', needs: {c: check}}\n  other: {run: 'echo > ${outputs.o}'}\n  third: {run: 'true', needs: {c: check.log}}\n",
        &[
            "`check` has no outputs, so nothing can be taken from it",
            "write `after: [check]` to wait for it",
            "`other` has no output `o`",
            "add `outputs: {o: FILE}`",
            "`check` has no output `log`",
        ],
    );
    // What was forgotten to be declared is told.
    let space =
        TestSpace::with_pipeline("version: 1\nstages:\n  s: {run: 'echo hello > hello.txt'}\n");
    let run = space.run(&["run"]);
    assert!(
        run.err
            .contains("it also wrote `hello.txt`: not declared under `outputs:`"),
        "{}",
        run.err
    );
}

#[test]
fn case_30_successes_are_shared() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", CHECKS);
    let (code, events) = lab.ci.events(&["--push"]);
    assert_eq!(code, 0, "{events:#?}");
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    assert!(lab.laptop.executed(&[]).is_empty());
    assert!(
        lab.laptop
            .ok(&["status"])
            .contains("check  command  2 cached")
    );
    lab.laptop.ok(&["verify", "check"]);
    // Without a pull before.
    let other = TestSpace::new();
    lab.clone_to(&other);
    let planned = other.events(&["-n", "--pull"]).1;
    assert!(instances(&planned, "planned").is_empty(), "{planned:#?}");
    assert!(other.executed(&["--pull"]).is_empty());
}

const PARTS: &str = r#"
version: 1
stages:
  prep:
    matrix: {seed: [0, 1]}
    run: |
      mkdir -p ${outputs.out}/model/deep ${outputs.out}/bin
      echo best ${matrix.seed} > "${outputs.out}/model/best one.bin"
      echo rest > ${outputs.out}/model/deep/rest.bin
      echo noise > ${outputs.out}/noise.txt
      ln -s "best one.bin" ${outputs.out}/model/latest.bin
      printf '#!/bin/sh\necho ran' > ${outputs.out}/bin/tool; chmod +x ${outputs.out}/bin/tool
    outputs: {out: out}
  one: {needs: {w: "prep[seed=0].out/model/best one.bin"}, run: "cat ${needs.w} > ${outputs.o}; ls -d in/*/* > ${outputs.l}", outputs: {o: o.txt, l: l.txt}}
  short: {matrix: {seed: [0, 1]}, needs: {w: prep/model/latest.bin}, run: "cat ${needs.w} > ${outputs.o}", outputs: {o: o.txt}}
  dir: {matrix: {seed: [0, 1], part: [model, model/deep]}, needs: {d: "prep.out/${matrix.part}"}, run: "(cd ${needs.d}; find . -type f | sort) > ${outputs.o}", outputs: {o: o.txt}}
  run: {needs: {t: "prep[seed=1].out/bin/tool"}, run: "./${needs.t} > ${outputs.o}", outputs: {o: o.txt}}
  all: {matrix: {f: [noise.txt, model/latest.bin]}, needs: {w: "prep[*].out/${matrix.f}", l: ["prep[seed=0].out/noise.txt", "prep[seed=1].out/model/deep/rest.bin"]}, run: "cat ${needs.w} ${needs.l} > ${outputs.o}", outputs: {o: o.txt}}
"#;

#[test]
fn case_30_a_file_or_directory_in_an_output_is_an_input_of_its_own() {
    let space = TestSpace::with_pipeline(PARTS);
    space.ok(&["run", "-q"]);
    assert_eq!(space.read("artifacts/one/o.txt"), "best 0\n");
    assert_eq!(space.read("artifacts/one/l.txt"), "in/w/best one.bin\n");
    assert_eq!(space.read("artifacts/short/seed=1/o.txt"), "best 1\n");
    assert_eq!(
        space.read("artifacts/dir/seed=0,part=model/o.txt"),
        "./best one.bin\n./deep/rest.bin\n"
    );
    assert_eq!(space.read("artifacts/run/o.txt"), "ran\n");
    assert_eq!(
        space.read("artifacts/all/f=noise.txt/o.txt"),
        "noise\nnoise\nnoise\nrest\n"
    );
    let all = space.ok(&["status", "--all", "all"]);
    assert!(all.contains("cached") && !all.contains("missing"), "{all}");
    // Other files of the directory change nothing for who takes one of them.
    space.edit("pipeline.yaml", "echo noise", "echo other noise");
    assert_eq!(
        space.executed(&[]),
        [
            "all[f=model/latest.bin]",
            "all[f=noise.txt]",
            "prep[seed=0]",
            "prep[seed=1]"
        ]
    );
    space.edit("pipeline.yaml", "echo rest", "echo other rest");
    let ran = space.executed(&[]);
    // Both seeds have one `deep`: that is one action.
    let deep = ran.iter().filter(|r| r.ends_with("part=model/deep]"));
    assert_eq!(deep.count(), 1, "{ran:?}");
    assert!(
        !ran.iter()
            .any(|r| r.starts_with("one") || r.starts_with("short")),
        "{ran:?}"
    );
    space.ok(&["replay", "dir", "one", "run"]);
    space.ok(&["gc"]);
    space.ok(&["replay", "dir"]);
    assert!(space.executed(&["--force", "dir"]).len() == 4);
    space.ok(&["fsck"]);
}

#[test]
fn case_30_a_part_that_is_not_there_is_told_with_place_and_stage() {
    let space = TestSpace::with_pipeline(PARTS);
    space.edit(
        "pipeline.yaml",
        "best one.bin\"}, run",
        "best on.bin\"}, run",
    );
    let run = space.run(&["run", "one"]).expect(1, &["run", "one"]);
    let said = "pipeline.yaml:14:20: the directory `prep[seed=0].out` has no `model/best on.bin`; did you mean `model/best one.bin`?";
    assert!(run.err.contains(said), "{}", run.err);
    assert_eq!(run.err.matches("has no `model").count(), 1, "{}", run.err);
    let status = space.ok(&["why", "one"]);
    assert!(status.contains(said), "{status}");
    space.edit(
        "pipeline.yaml",
        "prep[seed=0].out/model/best on.bin",
        "run.o/x",
    );
    let run = space.run(&["run", "one"]).expect(1, &["run", "one"]);
    assert!(
        run.err
            .contains("`run.o` is one file, so there is no `x` in it"),
        "{}",
        run.err
    );
}

#[test]
fn case_30_paths_in_outputs_are_checked_while_they_are_read() {
    let with = |need: &str| {
        format!(
            "version: 1\nstages:\n  prep: {{run: 'mkdir ${{outputs.out}}', outputs: {{out: out}}, matrix: {{x: [1, 2]}}}}\n  use: {{run: 'cat ${{needs.w}}', needs: {{w: \"{need}\"}}}}\n"
        )
    };
    for (need, said) in [
        (
            "prep[x=1].out/../x",
            &["the path leads out of the output (`..`)"][..],
        ),
        ("prep[x=1].out//x", &["cannot begin with `/`"]),
        ("prep[x=1].out/", &["there is no path after the `/`"]),
        ("prep[x=1].out/.", &["there is no path after the `/`"]),
        (
            "prep[x=1].out/*.csv",
            &["a pattern cannot be used in an output"],
        ),
        (
            "prep[x=1].out[a=1]/y",
            &["`[...]` picks a file of the output already"],
        ),
        (
            "prep[x=1].ouch/y",
            &["`prep[x=1]` has no output `ouch`", "there is `out`"],
        ),
        ("prep.out/y", &["this stands for 2 instances of `prep`"]),
        (
            "/data/x.csv",
            &["`/data/x.csv` is not a reference to a stage"],
        ),
        (
            "../x.csv",
            &["`../x.csv` is not a reference to a stage", "{file: path}"],
        ),
        (
            "data/x.csv",
            &[
                "there is no stage `data`",
                "a file of the project is written `{file: data/x.csv}`",
            ],
        ),
    ] {
        refused(&with(need), said);
    }
    let space = TestSpace::with_pipeline(&with("data/sub"));
    space.write("data/sub/x.csv", "1\n");
    let run = space.run(&["run"]).expect(2, &["run"]);
    assert!(
        run.err
            .contains("the directory of the project is written `{dir: data/sub}`"),
        "{}",
        run.err
    );
}

/// What lies in a directory decides a key: it is fetched where it has to be known.
#[test]
fn case_30_a_part_of_what_is_on_the_remote_is_had_from_there() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", PARTS);
    let (code, events) = lab.ci.events(&["--push"]);
    assert_eq!(code, 0, "{events:#?}");
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    assert!(instances(&lab.laptop.events(&["-n"]).1, "planned").is_empty());
    assert!(lab.laptop.executed(&[]).is_empty());
    // Nothing was pulled before, and somebody asks first.
    let other = TestSpace::new();
    lab.clone_to(&other);
    let why = other.ok(&["why", "one"]);
    assert!(why.contains("will be executed"), "{why}");
    assert!(other.executed(&["--pull"]).is_empty());
    assert_eq!(other.read("artifacts/one/o.txt"), "best 0\n");
}
