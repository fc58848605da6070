//! Metrics from a file: what `repro metrics --parquet` wrote shows a study whose results are gone.

use std::fs;

use crate::support::TestSpace;

/// Curves of different lengths, a summary of them, and claims of all sorts.
const STUDY: &str = r#"
version: 1
name: gone
stages:
  run:
    matrix: {arm: [low, high], seed: [1, 2, 3]}
    env: {SEED: "${matrix.seed}", ARM: "${matrix.arm}"}
    run: |
      first=9; own=; [ $ARM = high ] || { first=1; own=$SEED; }
      echo "epoch,name,value" > ${outputs.metrics}
      for e in $(seq 1 $((SEED + 2))); do echo "$e,accuracy,0.$first$e$own" >> ${outputs.metrics}; done
    outputs: {metrics: metrics.csv}
  table: {uses: summarise, needs: {tables: {all: "run[*].metrics"}}, with: {of: accuracy}}
claims:
  last: {compare: {of: accuracy, a: "run[arm=high,*].metrics", b: "run[arm=low,*].metrics"}, expect: {difference: {above: 0.5}}}
  best: {measure: {of: accuracy, in: "run[arm=low,*].metrics", at: {best: max}}, expect: {mean: {above: 0.5}}}
  early: {measure: {of: accuracy, in: "run[arm=low,*].metrics", at: {epoch: 2}}, expect: {mean: {above: 0.5}}}
  table: {measure: {of: accuracy_mean, in: table.table, over: run}, expect: {mean: {above: 0.1}}}
"#;

/// The study has run, its values are in `results.parquet`, and nothing else of it is left but
/// `repro.lock`.
fn gone(options: &[&str]) -> TestSpace {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run"]);
    let write = ["metrics", "--parquet", "results.parquet"];
    space.ok(&[&write, options].concat());
    for dir in [
        space.path(".repro"),
        space.path("artifacts"),
        space.store.clone(),
    ] {
        fs::remove_dir_all(dir).unwrap();
    }
    assert!(space.ok(&["claims"]).contains("open, because"));
    space
}

const FROM: [&str; 2] = ["--from", "results.parquet"];

#[test]
fn verdicts_are_those_of_the_run_or_open() {
    let whole = TestSpace::with_pipeline(STUDY);
    whole.ok(&["run"]);
    let wanted = whole.json(&["claims"]);
    let space = gone(&[]);
    let found = space.json(&[&["claims"], &FROM[..]].concat());
    let (found, wanted) = (found.as_array().unwrap(), wanted.as_array().unwrap());
    for at in [0, 3] {
        assert_eq!(found[at], wanted[at]);
        assert!(found[at]["verdict"].is_string(), "{}", found[at]);
    }
    for (at, about) in [
        (1, "the best (largest) of all values"),
        (2, "the values after epoch 2"),
    ] {
        assert!(found[at]["verdict"].is_null(), "{}", found[at]);
        let why = found[at]["not_given"]["why"].as_str().unwrap();
        assert!(why.contains(about), "{why}");
    }
    let said = space.run(&["claims", "--from", "results.parquet"]);
    for told in [
        "read from results.parquet, which has the last value of each metric",
        "Its keys are those in repro.lock.",
        "2 verdicts are computed from it, byte for byte what repro.lock names.",
    ] {
        assert!(said.err.contains(told), "{}", said.err);
    }
}

/// The file can hold everything, and then nothing is open.
#[test]
fn a_file_of_all_values_decides_all_claims() {
    let space = gone(&["--all"]);
    let claims = space.json(&[&["claims"], &FROM[..]].concat());
    for claim in claims.as_array().unwrap() {
        assert!(claim["verdict"].is_string(), "{claim}");
    }
    let page = page(&space);
    assert!(page.contains("accuracy over time"), "no curves");
    assert!(page.contains("all values of each metric"));
}

#[test]
fn metrics_are_those_of_the_run() {
    let whole = TestSpace::with_pipeline(STUDY);
    whole.ok(&["run"]);
    let space = gone(&[]);
    for options in [
        &["--json"][..],
        &["--csv"],
        &["--csv", "--each"],
        &["--csv", "table"],
    ] {
        let wanted = whole.ok(&[&["metrics"], options].concat());
        assert_eq!(
            space.ok(&[&["metrics"], &FROM[..], options].concat()),
            wanted
        );
    }
}

fn page(space: &TestSpace) -> String {
    let path = space.ok(&[&["report"], &FROM[..]].concat());
    fs::read_to_string(path.trim()).unwrap()
}

#[test]
fn the_report_says_what_it_does_not_know() {
    let space = gone(&[]);
    let page = page(&space);
    for told in [
        "1 claim holds",
        "2 claims open",
        "7 have values in results.parquet",
        "Curves, planes and pictures are not in results.parquet.",
        "Durations, memory, energy, logs and who executed what are not in results.parquet.",
        "accuracy, last value",
    ] {
        assert!(page.contains(told), "the page does not say {told}");
    }
    // Runs of 3, 4 and 5 epochs end at three places, which are no curve.
    assert!(
        !page.contains("over time"),
        "last values are drawn as a curve"
    );
    space.ok(&[&["report", "--md"], &FROM[..]].concat());
    let text = space.read("report/README.md");
    assert!(text.contains("read from results.parquet"), "{text}");
    assert!(text.contains("| run | high | 3 | 0.94 ±"), "{text}");
    assert!(
        space
            .ok(&["plot", "--from", "results.parquet"])
            .contains("last-accuracy.svg")
    );
}

/// The pipeline, repro.lock and the file are told apart where they do not fit.
#[test]
fn what_does_not_fit_is_told() {
    let space = gone(&[]);
    let told = |space: &TestSpace| space.run(&["metrics", "--from", "results.parquet"]).err;
    space.edit("pipeline.yaml", "seed: [1, 2, 3]", "seed: [1, 2, 4]");
    let said = told(&space);
    let strange =
        "rows of 2 instances (`run[arm=high,seed=3]` and 1 more) that the pipeline does not have";
    assert!(said.contains(strange), "{said}");
    assert!(
        said.contains("no values of 2 instances (`run[arm=high,seed=4]`"),
        "{said}"
    );
    // The table over them is of other inputs now, and its key is not known.
    space.edit("pipeline.yaml", "seed: [1, 2, 4]", "seed: [1, 2, 3]");
    space.edit("pipeline.yaml", "first=9", "first=8");
    let said = told(&space);
    assert!(said.contains("The keys of 7 instances"), "{said}");
    space.edit("pipeline.yaml", "first=8", "first=9");

    // Values of other results: a key of the file is not the one in repro.lock.
    let lock = space.read("repro.lock");
    let block = lock
        .split("\n\n")
        .find(|b| b.contains("run[arm=high,seed=1]"))
        .unwrap();
    let key = block.split('"').nth(3).unwrap();
    space.write("repro.lock", lock.replace(key, &"ab".repeat(32)));
    let said = told(&space);
    let others = "other keys than repro.lock for 1 instance (`run[arm=high,seed=1]`); these rows";
    assert!(said.contains(others), "{said}");
    let claims = space.ok(&["claims", "--from", "results.parquet", "last"]);
    let lacks = "it has no values of `run[arm=high,seed=1]`";
    assert!(claims.contains(lacks), "{claims}");
    fs::remove_file(space.path("repro.lock")).unwrap();
    assert!(
        told(&space).contains("There is no repro.lock"),
        "{}",
        told(&space)
    );
}

/// A verdict that repro.lock names and that does not follow from the values is none.
#[test]
fn values_that_contradict_a_recorded_verdict_decide_nothing() {
    let space = gone(&[]);
    let lock = space.read("repro.lock");
    let block = lock
        .split("\n\n")
        .find(|b| b.contains("claim:last"))
        .unwrap();
    let verdict = block.split("file:").nth(1).unwrap();
    space.write("repro.lock", lock.replace(&verdict[..64], &"cd".repeat(32)));
    let said = space.ok(&["claims", "--from", "results.parquet"]);
    let why = "last: open, because results.parquet does not decide it: what follows from it is not \
               the verdict in repro.lock";
    assert!(said.contains(why), "{said}");
}

#[test]
fn other_files_are_one_error() {
    let space = gone(&[]);
    let refused = |file: &str, why: &str| {
        for command in ["metrics", "claims", "report", "plot"] {
            let args = [command, "--from", file];
            let said = space.run(&args).expect(2, &args).err;
            assert!(said.contains(why), "{said}");
            assert!(
                said.contains("reads what `repro metrics --parquet` wrote"),
                "{said}"
            );
            assert!(said.contains(file), "{said}");
        }
    };
    refused("nowhere.parquet", "cannot be opened");
    refused("pipeline.yaml", "no Parquet file");
    let bytes = fs::read(space.path("results.parquet")).unwrap();
    space.write("half.parquet", &bytes[..bytes.len() / 2]);
    refused("half.parquet", "not a readable");
    let other = "version: 1\nstages:\n  other: {run: 'echo 1', outputs: {metrics: m.json}}\n";
    space.write("pipeline.yaml", other);
    let strange = "it is of another pipeline: this one does not have 7 instances in it";
    refused("results.parquet", strange);
    // Without repro.lock nothing tells a stage of the same name from the one that is meant.
    fs::remove_file(space.path("repro.lock")).unwrap();
    space.write(
        "pipeline.yaml",
        other
            .replace("other:", "table:")
            .replace("m.json", "t.parquet"),
    );
    refused("results.parquet", "does not have 7 instances in it");
    space.write(
        "pipeline.yaml",
        other
            .replace("other:", "table:")
            .replace("metrics: m.json", "table: t.parquet"),
    );
    refused("results.parquet", "does not have 6 instances in it");
}
