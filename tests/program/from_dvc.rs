//! `repro init --from-dvc`: a pipeline of DVC comes over, runs, and what could not be kept is said.
//! Which instances and edges there are is checked in `adopt/src/dvc/tests.rs`.

use crate::support::TestSpace;

/// A project with most of what DVC has: parameters by key, items, a matrix over maps, a file in
/// another stage's directory, a directory that other stages fill, `wdir`, and data outside.
fn project() -> TestSpace {
    let space = TestSpace::new();
    for (path, text) in [
        (
            "params.yaml",
            "seed: 7\nprep: {rows: 3}\ntrain: {lr: 1e-3, epochs: 3}\nunused: 1\nmodels: {small: {width: 4}, large: {width: 16}}\nregions: [north, south]\n",
        ),
        ("dvc.yaml", include_str!("../fixtures/dvc.yaml")),
        (
            "src/prep.py",
            "import json, os\ntext = open('params.yaml').read()\nassert 'unused' not in text and 'lr' not in text, text\nos.makedirs('data/prepared')\nopen('data/prepared/rows.txt', 'w').write(open('data/raw/x.csv').read() * text.count('rows: 3'))\n",
        ),
        (
            "src/fit.sh",
            "echo \"$@\" > \"$1\"; cat params.yaml >> \"$1\"\n",
        ),
        ("data/raw/x.csv", "north 1\nsouth 2\n"),
        ("scores/about.txt", "all scores\n"),
        ("../shared/scale.txt", "10\n"),
    ] {
        space.write(path, text);
    }
    space
}

#[test]
fn a_pipeline_of_dvc_runs_and_a_parameter_runs_who_reads_it() {
    let space = project();
    let said = space.ok(&["init", "--from-dvc"]);
    insta::assert_snapshot!("from_dvc_said", said);
    insta::assert_snapshot!("from_dvc_pipeline", space.read("pipeline.yaml"));
    assert_eq!(space.read(".gitignore"), "/.repro/\n/artifacts/\n");
    space.ok(&["run"]);
    assert_eq!(
        space.read("artifacts/fit/item=large/models/large.txt"),
        "models/large.txt --width 16 --lr 1e-3\ntrain:\n  epochs: 3\n"
    );
    assert_eq!(
        space.read("artifacts/report/sub/report.txt"),
        "all scores\nnorth 1 models/large.txt 2\nnorth 1 models/small.txt 2\nsouth 2 models/large.txt 2\nsouth 2 models/small.txt 2\n10\nv1 2\n"
    );
    assert_eq!(space.executed(&[]), Vec::<String>::new());
    space.edit("params.yaml", "unused: 1", "unused: 2");
    assert_eq!(space.executed(&[]), Vec::<String>::new());
    space.edit("params.yaml", "epochs: 3", "epochs: 4");
    let executed = space.executed(&[]);
    assert!(
        executed
            .iter()
            .all(|i| i.starts_with("fit[") || i.starts_with("score[")),
        "{executed:?}"
    );
    assert_eq!(executed.iter().filter(|i| i.starts_with("fit[")).count(), 2);
    // As with `dvc exp run -S`, the program sees the value.
    space.ok(&["run", "--set", "train.epochs=9"]);
    assert!(
        space
            .read("artifacts/fit/item=small/models/small.txt")
            .contains("epochs: 9")
    );
}

#[test]
fn a_file_that_is_there_is_left_as_it_is_and_a_mistake_writes_nothing() {
    let space = project();
    space.write("pipeline.yaml", "version: 1\n");
    let said = space.run(&["init", "--from-dvc"]).expect(2, &["init"]);
    assert!(
        said.err.contains("exists; it is left as it is"),
        "{}",
        said.err
    );
    assert_eq!(space.read("pipeline.yaml"), "version: 1\n");
    space.remove("pipeline.yaml");
    space.edit("dvc.yaml", "${train.lr}", "${train.rl}");
    let said = space.run(&["init", "--from-dvc"]).expect(2, &["init"]);
    assert!(
        said.err.contains("`${train.rl}` has no value") && said.err.contains("dvc.yaml:"),
        "{}",
        said.err
    );
    assert!(!space.exists("pipeline.yaml") && !space.exists(".gitignore"));
    space.remove("dvc.yaml");
    let said = space.run(&["init", "--from-dvc"]).expect(2, &["init"]);
    assert!(
        said.err.contains("dvc.yaml: there is no such file"),
        "{}",
        said.err
    );
}

#[test]
fn an_undeclared_file_fails_with_the_line_to_add() {
    let space = TestSpace::new();
    space.write(
        "dvc.yaml",
        "stages:\n  a:\n    cmd: cat src/helper.txt > a.txt\n    outs: [a.txt]\n",
    );
    space.write("src/helper.txt", "help\n");
    space.ok(&["init", "--from-dvc"]);
    let said = space.run(&["run"]).expect(1, &["run"]);
    assert!(
        said.err.contains("{file: src/helper.txt}") || said.err.contains("src/helper.txt"),
        "{}",
        said.err
    );
}
