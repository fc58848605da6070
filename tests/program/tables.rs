//! Tables of results: what is a row, and that all forms of a table say the same.

use crate::support::TestSpace;
use crate::support::git::git;

/// Two rates, three repetitions, two orders within each; and the same summarised by a stage.
const STUDY: &str = r#"
version: 1
name: tables
stages:
  train:
    matrix: {lr: [0.01, 10], seed: [0, 1, 2], order: [1, 2]}
    run: "echo '{\"test_accuracy\": 0.${matrix.seed}${matrix.order}625, \"test_loss\": ${matrix.lr}}' > ${outputs.metrics}"
    outputs: {metrics: metrics.json}
  size:
    run: "echo '{\"bytes\": 1234567}' > ${outputs.metrics}"
    outputs: {metrics: metrics.json}
  summary:
    uses: summarise
    needs: {tables: "train[*].metrics"}
    with: {of: [test_accuracy, test_loss], over: seed, within: order}
claims:
  many:
    source: "Somebody 2020, table 1 | left"
    measure: {of: test_accuracy, in: "train[lr=10,*].metrics", within: order}
    expect: {mean: {above: 0.1}}
"#;

fn space() -> TestSpace {
    let space = TestSpace::with_pipeline(STUDY);
    space.ok(&["run", "-q"]);
    space
}

/// A commandline and what it wrote, for each.
fn transcript(space: &TestSpace, commands: &[&str]) -> String {
    let said = commands.iter().map(|line| {
        let args: Vec<&str> = line.split(' ').collect();
        format!("$ repro {line}\n{}", space.ok(&args))
    });
    said.collect::<Vec<_>>().join("\n")
}

#[test]
fn axes_are_columns_and_repetitions_are_means() {
    let mut space = space();
    let commands = [
        "metrics",
        "metrics summary",
        "metrics train --sort -test_loss --name loss",
        "metrics train[seed=0] --each",
        "metrics --md",
        "metrics --csv",
        "metrics train[seed=0,order=1] --all --sort metric",
        "status",
        "status --all train[lr=10]",
        "status --csv",
        "claims",
        "claims --md",
        "claims --csv",
    ];
    insta::assert_snapshot!("tables", transcript(&space, &commands));
    space.set_env("COLUMNS", "40");
    let commands = ["metrics", "metrics train --each", "claims"];
    let narrow = transcript(&space, &commands);
    insta::assert_snapshot!("tables_narrow", narrow);
    assert!(narrow.lines().all(|l| l.chars().count() <= 40), "{narrow}");
}

/// Rows of CSV as maps from column to text. No cell here has a comma.
fn rows_of_csv(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let head: Vec<String> = lines.next().unwrap().collect();
    lines
        .map(|line| head.iter().cloned().zip(line).collect())
        .collect()
}

#[test]
fn csv_and_json_say_the_same_numbers() {
    let space = space();
    let json = space.json(&["metrics", "train"]);
    let csv = rows_of_csv(&space.ok(&["metrics", "train", "--each", "--csv"]));
    assert_eq!(csv.len(), 12);
    let mut compared = 0;
    for row in json.as_array().unwrap() {
        let split = row["split"]
            .as_str()
            .map_or(String::new(), |split| format!("{split}_"));
        let column = format!("{split}{}", row["name"].as_str().unwrap());
        let fits = csv.iter().find(|line| {
            let [lr, seed, order] = ["lr", "seed", "order"].map(|axis| &line[axis]);
            row["instance"] == format!("train[lr={lr},seed={seed},order={order}]")
        });
        let number: f64 = fits.unwrap()[&column].parse().unwrap();
        assert_eq!(Some(number), row["value"].as_f64(), "{row}");
        compared += 1;
    }
    assert_eq!(compared, 24);
    let claim = &space.json(&["claims"])[0];
    let csv = &rows_of_csv(&space.ok(&["claims", "--csv"]))[0];
    for field in ["estimate", "low", "high"] {
        let number: f64 = csv[field].parse().unwrap();
        assert_eq!(Some(number), claim[field].as_f64(), "{field}");
    }
}

/// The kind `summarise` and the claim compute the same with code of their own kinds.
#[test]
fn means_are_those_of_summaries_and_claims() {
    let space = space();
    let own = rows_of_csv(&space.ok(&["metrics", "train", "--csv"]));
    let summary = rows_of_csv(&space.ok(&["metrics", "summary", "--csv"]));
    let claim = &space.json(&["claims"])[0];
    assert_eq!((own.len(), summary.len()), (2, 2));
    for (own, summary) in own.iter().zip(&summary) {
        assert_eq!(own["lr"], summary["lr"]);
        assert_eq!(own["n"], "3", "orders are no repetitions");
        for part in ["", "_low", "_high", "_n"] {
            let column = format!("test_accuracy{part}");
            let number = |row: &std::collections::BTreeMap<String, String>| -> f64 {
                row[&column].parse().unwrap()
            };
            let distance = (number(own) - number(summary)).abs();
            assert!(distance < 1e-12, "{column}: {own:?} {summary:?}");
        }
    }
    for (field, column) in [("estimate", ""), ("low", "_low"), ("high", "_high")] {
        let number: f64 = own[1][&format!("test_accuracy{column}")].parse().unwrap();
        assert!(
            (claim[field].as_f64().unwrap() - number).abs() < 1e-12,
            "{claim}"
        );
    }
}

/// What a line says, without what its form adds.
fn words(text: &str) -> Vec<Vec<String>> {
    let plain = text.replace("\\|", "!").replace('|', " ").replace('!', "|");
    let lines = plain
        .lines()
        .filter(|line| !line.contains("---") && !line.trim().is_empty());
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    lines.map(words).collect()
}

#[test]
fn markdown_and_terminal_show_the_same_rows() {
    let space = space();
    for args in [
        &["metrics"][..],
        &["metrics", "--each"],
        &["metrics", "--sort", "-test_accuracy"],
        &["status"],
        &["status", "--all", "--sort", "state"],
        &["log"],
    ] {
        let text = space.ok(args);
        let text = text.split("summaries: ").next().unwrap();
        let terminal = words(text);
        let markdown = words(&space.ok(&[args, &["--md"]].concat()));
        assert_eq!(terminal, markdown, "{args:?}");
        let csv = space.ok(&[args, &["--csv"]].concat());
        let tables = text.split("\n\n").count();
        assert_eq!(csv.lines().count() - 1, terminal.len() - tables, "{csv}");
    }
}

#[test]
fn rows_are_sorted_by_any_column() {
    let space = space();
    let firsts = |by: &str| -> Vec<String> {
        let rows = rows_of_csv(&space.ok(&["metrics", "train", "--each", "--csv", "--sort", by]));
        rows.iter()
            .map(|row| format!("{}/{}", row["lr"], row["seed"]))
            .collect()
    };
    // Numbers by size, and equal ones as they were.
    assert_eq!(firsts("lr")[..3], ["0.01/0", "0.01/0", "0.01/1"]);
    assert_eq!(firsts("-lr")[..3], ["10/0", "10/0", "10/1"]);
    assert_eq!(firsts("-test_accuracy")[..2], ["0.01/2", "10/2"]);
    for (by, says) in [
        ("test_acuracy", "did you mean `test_accuracy`?"),
        (
            "nothing-like-it",
            "there are stage, lr, seed, order, test_accuracy, test_loss",
        ),
    ] {
        let said = space.run(&["metrics", "train", "--each", "--sort", by]);
        assert_eq!(said.code, 2);
        assert!(said.err.contains(says), "{}", said.err);
    }
    // There is a column `n`, but of so few letters three are no slips.
    let said = space.run(&["metrics", "train", "--sort", "nope"]).err;
    assert!(
        said.contains("there are stage, lr, n, test_accuracy"),
        "{said}"
    );
    // A form is one form.
    space
        .run(&["metrics", "--md", "--csv"])
        .expect(2, &["metrics"]);
    space
        .run(&["metrics", "--csv", "--json"])
        .expect(2, &["metrics"]);
}

/// However a pipeline lists them: 0.1, 1, 2, 10, and words as they stand there.
#[test]
fn numbers_of_an_axis_stand_by_size() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  t:\n    matrix: {net: [wide, deep], lr: [1, 0.1, 10, 2]}\n    run: \"echo '{\\\"a\\\": ${matrix.lr}, \\\"${matrix.net}\\\": 1}' > ${outputs.metrics}\"\n    outputs: {metrics: m.json}\n",
    );
    space.ok(&["run", "-q"]);
    for options in [&["--each"][..], &[]] {
        let args = [&["metrics", "--csv", "--name", "a"], options].concat();
        let rows = rows_of_csv(&space.ok(&args));
        let order = rows.iter().map(|r| format!("{} {}", r["net"], r["lr"]));
        assert_eq!(
            order.collect::<Vec<_>>(),
            [
                "wide 0.1", "wide 1", "wide 2", "wide 10", "deep 0.1", "deep 1", "deep 2",
                "deep 10"
            ]
        );
    }
}

/// Two trainings side by side: what was set otherwise, what came out, and how far apart the weights
/// are.
#[test]
fn two_instances_stand_side_by_side() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
name: pair
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 60, test: 20}}}
  train:
    uses: train
    matrix: {lr: [0.01, 0.1], seed: [0, 1]}
    needs: {train: data.train, test: data.test}
    with: {model: {mlp: {hidden: [4]}}, seed: "${matrix.seed}", length: {epochs: 1}, optimizer: {sgd: {lr: "${matrix.lr}"}}}
"#,
    );
    let names = ["train[lr=0.01,seed=0]", "train[lr=0.1,seed=0]"];
    let said = space.run(&["diff", names[0], names[1]]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("has no result yet"), "{}", said.err);
    space.ok(&["run", "-q"]);
    let shown = space.ok(&["diff", names[0], names[1]]);
    for told in [
        "optimizer.sgd.lr: 0.01 → 0.1",
        "test_accuracy",
        "fc1.weight",
        "cosine",
    ] {
        assert!(shown.contains(told), "{told}\n{shown}");
    }
    let json = space.json(&["diff", names[0], names[1]]);
    let metric = |name: &str| {
        let all = json["metrics"].as_array().unwrap();
        all.iter().find(|m| m["name"] == name).unwrap().clone()
    };
    let loss = metric("test_loss");
    let rows = space.json(&["metrics", names[1]]);
    let is_loss = |r: &&serde_json::Value| r["name"] == "loss" && r["split"] == "test";
    let own = rows.as_array().unwrap().iter().find(is_loss).unwrap();
    assert_eq!(loss["b"], own["value"]);
    let model = json["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["output"] == "model");
    let parts = &model.unwrap()["parts"];
    assert_eq!(parts["part"], "tensor");
    // The same seed gives the same first weights, so the models point in nearly one direction.
    let all = parts["rows"].as_array().unwrap().last().unwrap();
    assert_eq!(all[0], "all");
    assert!(all[1][3].as_f64().unwrap() > 0.9, "{all}");
    // One with itself differs in nothing.
    let same = space.json(&["diff", names[0], names[0]]);
    assert_eq!(same["fields"], serde_json::json!([]));
    assert!(
        same["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|o| o["same"] == true)
    );
    // Sets of instances: means, and the differences of pairs with the same seed.
    let sets = ["train[lr=0.01,*]", "train[lr=0.1,*]"];
    let shown = space.ok(&["diff", sets[0], sets[1]]);
    assert!(
        shown.starts_with("train[lr=0.01,*] (2 instances) → train[lr=0.1,*] (2 instances)\n"),
        "{shown}"
    );
    let rows = rows_of_csv(&space.ok(&["diff", sets[0], sets[1], "--csv"]));
    let row = rows
        .iter()
        .find(|row| row["metric"] == "test_loss")
        .unwrap();
    let value = |instance: &str| {
        let rows = space.json(&["metrics", instance]);
        let row = rows
            .as_array()
            .unwrap()
            .iter()
            .find(is_loss)
            .unwrap()
            .clone();
        row["value"].as_f64().unwrap()
    };
    let by = [0, 1].map(|seed| {
        value(&format!("train[lr=0.1,seed={seed}]")) - value(&format!("train[lr=0.01,seed={seed}]"))
    });
    let told: f64 = row["difference"].parse().unwrap();
    assert!((told - (by[0] + by[1]) / 2.0).abs() < 1e-12, "{row:?}");
    // scipy: stats.t.ppf(0.975, 1) = 12.706204736432095
    let half = 12.706204736432095 * (by[0] - by[1]).abs() / 2.0;
    let high: f64 = row["difference_high"].parse().unwrap();
    assert!((high - told - half).abs() < 1e-9 * half, "{row:?}");
    assert_eq!(row["n"], "2");
    let json = space.json(&["diff", "train", "train[lr=0.1,*]"]);
    assert_eq!(
        json["metrics"][0]["difference"]["n"], 2,
        "seeds are repetitions, rates are not"
    );
}

/// Commits are compared by their lock files, with verdicts.
#[test]
fn two_commits_are_compared_by_their_lock_files() {
    let space = space();
    let git = |args: &[&str]| assert!(git(&space.path("."), args), "{args:?}");
    git(&["init", "-q"]);
    git(&["add", "pipeline.yaml", "repro.lock"]);
    git(&["commit", "-qm", "first"]);
    space.edit("pipeline.yaml", "${matrix.order}625", "${matrix.order}1");
    space.edit("pipeline.yaml", "above: 0.1", "above: -5");
    space.ok(&["run", "-q"]);
    let told = ["claim many: inconclusive → holds", "test_accuracy"];
    let shown = space.ok(&["diff", "HEAD"]);
    assert!(told.iter().all(|told| shown.contains(told)), "{shown}");
    git(&["commit", "-qam", "second"]);
    let shown = space.ok(&["diff", "HEAD~1", "HEAD"]);
    assert!(told.iter().all(|told| shown.contains(told)), "{shown}");
    let rows = rows_of_csv(&space.ok(&["diff", "HEAD~1", "HEAD", "--csv"]));
    let row = rows
        .iter()
        .find(|row| row["metric"] == "test_accuracy")
        .unwrap();
    let [a, b, by] = ["a", "b", "difference"].map(|c| row[c].parse::<f64>().unwrap());
    assert_eq!(b - a, by);
    let said = space.run(&["diff", "no-such-thing"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("no commit with a repro.lock"),
        "{}",
        said.err
    );
}
