//! One action is one observation: counts, intervals and the training that they stand on.

use serde_json::Value;

use crate::support::TestSpace;

/// A project with small drawn data, these stages and these claims.
fn space(stages: &str, claims: &str) -> TestSpace {
    let yaml = format!("version: 1\nstages:\n{DATA}{stages}claims:\n{claims}");
    TestSpace::with_pipeline(&yaml)
}

const DATA: &str =
    "  data: {uses: download, with: {dataset: shapes, shapes: {train: 120, test: 60}}}\n";

/// `with:` of a small training.
fn training(seed: &str) -> String {
    format!(
        "{{model: {{mlp: {{hidden: [4]}}}}, seed: {seed}, length: {{epochs: 1}}, optimizer: {{adam: {{lr: 0.003}}}}}}"
    )
}

fn verdict(space: &TestSpace, claim: &str) -> Value {
    let text = space.read(&format!("artifacts/claims/{claim}/verdict.json"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn case_1_five_seeds_that_reach_nothing_are_one_observation() {
    let train = |name: &str, seed: &str| {
        let with = training(seed);
        format!(
            "  {name}: {{uses: train, matrix: {{seed: [0, 1, 2, 3, 4]}}, needs: {{train: data.train, test: data.test}}, with: {with}}}\n"
        )
    };
    let space = space(
        &[
            train("same", "0"),
            train("own", "\"${matrix.seed}\""),
            "  scores: {uses: evaluate, matrix: {seed: [0, 1, 2, 3, 4]}, needs: {model: same.model, data: data.test}}\n".into(),
            "  table: {uses: summarise, needs: {tables: {same: \"same[*].metrics\", own: \"own[*].metrics\", scores: \"scores[*].metrics\"}}, with: {of: test_accuracy}}\n".into(),
        ]
        .concat(),
        "  measured: {measure: {of: test_accuracy, in: same}, expect: {mean: {above: 0.0}}}
  scored: {measure: {of: test_accuracy, in: scores}, expect: {mean: {above: 0.0}}}
  real: {measure: {of: test_loss, in: own}, expect: {mean: {above: 0.0}}}
  compared: {compare: {of: test_loss, a: same, b: own}, expect: {difference: {above: -9.0}}}
",
    );
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("5 runs make 1 independent run"),
        "{}",
        said.err
    );
    for (claim, n, verdict_is) in [
        ("measured", 1, "inconclusive"),
        ("scored", 1, "inconclusive"),
        ("real", 5, "holds"),
        ("compared", 1, "inconclusive"),
    ] {
        let v = verdict(&space, claim);
        assert_eq!(
            (&v["n"], &v["runs"], &v["verdict"]),
            (&n.into(), &5.into(), &verdict_is.into()),
            "{v}"
        );
    }
    let text = space.read("artifacts/table/summary.md");
    assert!(
        text.contains("(n = 1 of 5 runs)") && text.contains("(n = 5)"),
        "{text}"
    );
    // It is part of what was hashed: a later look agrees, and a second execution gives the same
    // bytes.
    let dry = space.run(&["run", "-n"]);
    assert!(
        dry.err.contains("0 to execute") || dry.out.contains("0 to execute"),
        "{dry:?}"
    );
    assert!(space.ok(&["show", "claim:measured"]).contains("chain"));
    space.ok(&["replay", "claim:measured", "table"]);
}

/// Five trunks, three branches of each: the graph knows them for five observations.
#[test]
fn case_40_branches_count_as_their_trunks() {
    let trunk = training("\"${matrix.seed}\"");
    let branch = training("\"${matrix.order}\"");
    let summary = |name: &str, axes: &str| {
        format!(
            "  {name}: {{uses: summarise, needs: {{tables: {{branch: \"branch[*].metrics\"}}}}, with: {{of: test_loss, {axes}}}}}\n"
        )
    };
    let space = space(
        &[
            format!("  trunk: {{uses: train, matrix: {{seed: [0, 1, 2, 3, 4]}}, needs: {{train: data.train, test: data.test}}, with: {trunk}}}\n"),
            format!("  branch: {{uses: train, matrix: {{seed: [0, 1, 2, 3, 4], order: [1, 2, 3]}}, needs: {{init: trunk.model, train: data.train, test: data.test}}, with: {branch}}}\n"),
            summary("told", "over: seed, within: order"),
            summary("found", "over: [seed, order]"),
        ]
        .concat(),
        "  nested: {measure: {of: test_loss, in: branch, within: order}, expect: {mean: {above: 0.0}}}
  pairs: {compare: {of: test_loss, a: branch, b: trunk, within: order}, expect: {difference: {below: 9.0}}}
  all: {measure: {of: test_loss, in: branch, over: [seed, order]}, expect: {mean: {above: 0.0}}}
",
    );
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for (claim, runs) in [("nested", 15), ("pairs", 5), ("all", 15)] {
        let v = verdict(&space, claim);
        assert_eq!((&v["n"], &v["runs"]), (&5.into(), &runs.into()), "{v}");
    }
    let nested = verdict(&space, "nested");
    assert_eq!(nested["low"], verdict(&space, "all")["low"]);
    let row = |stage: &str| {
        space
            .read(&format!("artifacts/{stage}/summary.md"))
            .lines()
            .nth(2)
            .unwrap()
            .to_owned()
    };
    assert_eq!(row("told"), row("found"));
    assert!(
        row("told").contains("(n = 5 of 15 runs)"),
        "{}",
        row("told")
    );
}

/// A sweep is no repetition: said before anything runs.
#[test]
fn case_40_an_axis_nobody_speaks_of_is_an_error() {
    let with = training("\"${matrix.seed}\"");
    let stage = |name: &str| {
        format!(
            "  {name}: {{uses: train, matrix: {{seed: [0, 1], lr: [0.1, 0.01]}}, needs: {{train: data.train, test: data.test}}, with: {with}}}\n"
        )
    };
    let stages = [stage("sweep"), stage("other")].concat();
    let says = |claim: &str| {
        let space = space(&stages, &format!("  c: {claim}\n"));
        let said = space.run(&["run", "-n"]);
        (said.code, said.err)
    };
    let (code, err) = says("{measure: {of: test_loss, in: sweep}, expect: {mean: {above: 0.0}}}");
    assert_eq!(code, 2, "{err}");
    for part in [
        "the runs of `sweep` differ in `lr`",
        "`over: lr`",
        "`within: lr`",
        "`sweep[lr=0.01,*]`",
        "pipeline.yaml:",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let (code, err) =
        says("{compare: {of: test_loss, a: sweep, b: other}, expect: {difference: {above: 0.0}}}");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("`paired_by: [seed, lr]`"), "{err}");
    for fine in [
        "{measure: {of: test_loss, in: \"sweep[lr=0.1,*]\"}, expect: {mean: {above: 0.0}}}",
        "{measure: {of: test_loss, in: sweep, within: lr}, expect: {mean: {above: 0.0}}}",
        "{compare: {of: test_loss, a: sweep, b: other, paired_by: [seed, lr]}, expect: {difference: {above: 0.0}}}",
        "{compare: {of: test_loss, a: sweep, b: \"other[lr=0.1,*]\", within: lr}, expect: {difference: {above: 0.0}}}",
    ] {
        let (code, err) = says(fine);
        assert_eq!(code, 0, "{fine}: {err}");
    }
}

/// An axis that nobody has is a slip, and would count observations wrongly.
#[test]
fn case_40_a_misspelt_axis_is_told_wherever_axes_are_named() {
    let with = training("\"${matrix.seed}\"");
    let says = |summary: &str, claim: &str| {
        let train = format!(
            "  t: {{uses: train, matrix: {{seed: [0, 1], lr: [0.1, 0.01]}}, needs: {{train: data.train, test: data.test}}, with: {with}}}\n"
        );
        let table = format!(
            "  s: {{uses: summarise, needs: {{tables: \"t[*].metrics\"}}, with: {{of: test_loss, {summary}}}}}\n"
        );
        let said = space(
            &[train, table].concat(),
            &format!("  c: {{{claim}, expect: {{mean: {{above: 0.0}}}}}}\n"),
        )
        .run(&["run", "-n"]);
        (said.code, said.err)
    };
    let good = "measure: {of: test_loss, in: t, over: seed, within: lr}";
    for (summary, claim, parts) in [
        (
            "over: sede",
            good,
            ["no table has an axis `sede`", "did you mean `seed`?"],
        ),
        (
            "within: [lr, foo]",
            good,
            ["no table has an axis `foo`", "their axes are lr, seed"],
        ),
        (
            "over: seed",
            "measure: {of: test_loss, in: t, over: [seed, sede], within: lr}",
            ["`t` has no axis `sede`", "did you mean `seed`?"],
        ),
        (
            "over: seed",
            "measure: {of: test_loss, in: t, within: [lr, foo]}",
            ["`t` has no axis `foo`", "there is `lr`, `seed`"],
        ),
        (
            "over: seed",
            "compare: {of: test_loss, a: t, b: t, within: lrr}",
            ["`t` has no axis `lrr`", "did you mean"],
        ),
    ] {
        let (code, err) = says(summary, claim);
        assert_eq!(code, 2, "{summary} {claim}: {err}");
        for part in parts {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
    // Columns of the tables themselves are axes too.
    let (code, err) = says("over: [seed, run], within: lr", good);
    assert_eq!(code, 0, "{err}");
}

/// Two results of one name: what the last run made with `--set`, and what the pipeline as written
/// says.
#[test]
fn case_18_metrics_say_when_artifacts_show_another_result() {
    let yaml = "version: 1
vars: {score: 1}
stages:
  a: {run: \"printf '{\\\"accuracy\\\": ${vars.score}}' > ${outputs.metrics}\", outputs: {metrics: metrics.json}}
";
    let space = TestSpace::with_pipeline(yaml);
    space.ok(&["run"]);
    let says = |args: &[&str]| space.run(&[&["metrics"], args].concat()).err;
    assert!(!says(&[]).contains("another result"), "{}", says(&[]));
    space.ok(&["run", "--set", "score=2"]);
    let said = says(&[]);
    for part in [
        "artifacts/a/metrics.json shows another result",
        "`repro metrics --set score=2` reads what it made",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!says(&["--set", "score=2"]).contains("another result"));
    // Also where the pipeline as written was never run.
    space.edit("pipeline.yaml", "score: 1", "score: 3");
    assert!(says(&[]).contains("shows another result"));
}

/// An arm that trains longer than its control shows nothing of pruning.
#[test]
fn case_45_pruned_networks_are_compared_with_controls_of_equal_length() {
    let study = include_str!("../../../pipeline.yaml");
    let stage = |name: &str| {
        let start = study.find(&format!("\n  {name}:")).unwrap();
        let text = &study[start + 1..];
        text[..text.find("\n\n").unwrap()].to_owned()
    };
    // Both go on from `scratch`, for as many epochs.
    assert!(stage("pruned").contains("model: scratch.model"));
    assert!(stage("branch").contains("init: scratch.model"));
    for arm in ["fine-tune", "branch"] {
        assert!(
            stage(arm).contains("length: {epochs: \"${vars.epochs_after}\"}"),
            "{arm}"
        );
    }
    assert!(study.contains(
        "compare: {of: test_accuracy, a: fine-tune, b: branch, paired_by: seed, within: order}"
    ));
    assert!(study.contains("over: seed, within: order"));
}

/// One image more than whole batches: with batch norm on units, the run says what becomes of it,
/// and the choice is there.
#[test]
fn case_42_a_last_batch_of_one_image() {
    let space = |with: &str| {
        let train = format!(
            "  train: {{uses: train, needs: {{train: data.train, test: data.test}}, with: {{seed: 1, length: {{epochs: 2}}, optimizer: {{sgd: {{lr: 0.1}}}}, {with}}}}}\n"
        );
        TestSpace::with_pipeline(&format!(
            "version: 1\nstages:\n  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 129, test: 60}}}}}}\n{train}"
        ))
    };
    let norm = "model: {mlp: {hidden: [8], batch_norm: {}}}";
    let said = space(&format!("{norm}, batch_size: 32")).run(&["run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err
            .contains("the last batch of an epoch has one image (129 images in batches of 32)"),
        "{}",
        said.err
    );
    let said = space(&format!("{norm}, batch_size: 32, drop_last: true")).run(&["run"]);
    assert!(
        said.code == 0 && !said.err.contains("one image"),
        "{}",
        said.err
    );
    let said = space(&format!("{norm}, batch_size: 1")).run(&["run", "-n"]);
    assert!(
        said.code == 2 && said.err.contains("nothing can be learnt"),
        "{}",
        said.err
    );
    let said = space("model: {mlp: {hidden: [8]}}, batch_size: 1").run(&["run", "-n"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = space(&format!("{norm}, batch_size: 200, drop_last: true")).run(&["run", "-n"]);
    assert!(
        said.code == 2 && said.err.contains("leaves no batch"),
        "{}",
        said.err
    );
}

/// Averages of networks with batch norm need data or a word; a directory of checkpoints is averaged
/// as it is.
#[test]
fn case_16_and_44_averages_of_checkpoints_with_batch_norm() {
    let train = "  train: {uses: train, needs: {train: data.train, test: data.test}, with: {model: {mlp: {hidden: [8], batch_norm: {}}}, seed: 1, length: {epochs: 3}, optimizer: {sgd: {lr: 0.1}}, checkpoints: {every: 1, every_steps: 2}}}\n";
    let space = space(train, "  {}\n");
    let average = |more: &str| {
        let stage = format!(
            "  average: {{uses: average, {more}}}\n  score: {{uses: evaluate, needs: {{model: average.model, data: data.test}}}}\n"
        );
        let yaml = format!("version: 1\nstages:\n{DATA}{train}{stage}");
        space.write("pipeline.yaml", yaml);
        space.run(&["run"])
    };
    let said = average("needs: {models: train.checkpoints}");
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(!space.exists("artifacts"));
    for part in [
        "the models have batch norm",
        "`needs: {train: data.train}`",
        "`with: {batch_norm: keep}`",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let said = average("needs: {models: train.checkpoints, train: data.train}");
    assert_eq!(said.code, 0, "{}", said.err);
    let said = average("needs: {models: train.checkpoints}, with: {batch_norm: keep}");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(space.exists("artifacts/train/checkpoints/epoch-000002.safetensors"));
    assert!(space.exists("artifacts/train/checkpoints/step-000002.safetensors"));
    let said =
        average("needs: {models: train.checkpoints, train: data.train}, with: {batch_norm: keep}");
    assert!(
        said.code == 2 && said.err.contains("contradict each other"),
        "{}",
        said.err
    );
}

/// A log-in page in the place of data is refused, and what is taken without a digest is announced.
#[test]
fn case_17_a_page_in_the_place_of_data() {
    let space = TestSpace::new();
    let served = |name: &str, bytes: &[u8]| {
        space.write(name, bytes);
        let url = format!("file://{}", space.path(name).display());
        space.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  data: {{uses: download, with: {{url: \"{url}\"}}}}\n"),
        );
        space.run(&["run"])
    };
    let page = b"<!DOCTYPE html><html><title>Sign in</title></html>";
    for name in ["train.csv", "images.tar.gz", "data.parquet"] {
        let said = served(name, page);
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(said.err.contains("is a web page"), "{}", said.err);
        assert!(!space.exists(&format!("artifacts/data/{name}")));
    }
    assert!(!space.exists("repro.lock") || !space.read("repro.lock").contains("blake3"));
    let said = served("good.csv", b"a,b\n1,2\n");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("`digest: {blake3: "), "{}", said.err);
    assert!(space.read("repro.lock").contains("blake3"));
}

/// Weights of another program, with nothing of ours in the file, where the network is given.
#[test]
fn case_23_a_state_dict_of_pytorch() {
    let space = TestSpace::new();
    // {"net.0.weight": [4, 256], "net.0.bias": [4], "net.2.weight": [10, 4], "net.2.bias": [10]},
    // as `safetensors.torch.save_file(nn.Sequential(...).state_dict(), path)` writes it: sorted by
    // name, without metadata.
    let shapes: [(&str, &[usize]); 4] = [
        ("net.0.bias", &[4]),
        ("net.0.weight", &[4, 256]),
        ("net.2.bias", &[10]),
        ("net.2.weight", &[10, 4]),
    ];
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes {
        let (start, count) = (data.len(), shape.iter().product::<usize>());
        data.extend((0..count).flat_map(|i| ((i % 7) as f32 / 7.0 - 0.4).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let file = [&(text.len() as u64).to_le_bytes()[..], &text, &data].concat();
    space.write("net.safetensors", file);
    let pipeline = |hidden: u32| {
        let model = format!("model: {{mlp: {{hidden: [{hidden}]}}}}");
        format!(
            "version: 1\nstages:\n{DATA}  score: {{uses: evaluate, needs: {{model: {{file: net.safetensors}}, data: data.test}}, with: {{{model}}}}}
  train: {{uses: train, needs: {{init: {{file: net.safetensors}}, train: data.train, test: data.test}}, with: {{{model}, seed: 1, length: {{epochs: 1}}, optimizer: {{sgd: {{lr: 0.1}}}}}}}}
"
        )
    };
    space.write("pipeline.yaml", pipeline(4));
    space.ok(&["run"]);
    let scores = space.json(&["metrics", "score"]);
    assert!(
        scores
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["name"] == "accuracy")
    );
    space.write("pipeline.yaml", pipeline(5));
    let said = space.run(&["run", "-k"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("fc1.weight [5, 256]") && said.err.contains("net.0.weight [4, 256]"),
        "{}",
        said.err
    );
}

/// One checkpoint is named by its epoch or step, wherever a model is taken.
#[test]
fn case_44_one_checkpoint_is_named_by_epoch_or_step() {
    let pipeline = |reference: &str| {
        format!(
            "version: 1
stages:
{DATA}  train:
    uses: train
    matrix: {{seed: [0, 1]}}
    needs: {{train: data.train, test: data.test}}
    with: {{model: {{mlp: {{hidden: [4]}}}}, seed: \"${{matrix.seed}}\", length: {{epochs: 4}}, batch_size: 60, optimizer: {{sgd: {{lr: 0.1}}}}, checkpoints: {{every: 2, every_steps: 3}}}}
  score: {{uses: evaluate, matrix: {{seed: [0, 1]}}, needs: {{model: \"{reference}\", data: data.test}}}}
  pruned: {{uses: prune, needs: {{model: \"train[seed=0].model\", rewind: \"train[seed=0].checkpoints[epoch=2]\"}}, with: {{fraction: 0.5}}}}
  soup: {{uses: average, needs: {{models: [\"train[seed=1].checkpoints[step=3]\", \"train[seed=1].checkpoints[step=6]\"]}}}}
"
        )
    };
    let space = TestSpace::with_pipeline(&pipeline("train.checkpoints[epoch=2]"));
    space.ok(&["run"]);
    let figure = |target: &str, epoch: Option<u64>| {
        let mut args = vec!["metrics", target];
        args.extend(epoch.map(|_| "--all"));
        let rows = space.json(&args);
        let fits = |row: &&Value| {
            row["name"] == "loss"
                && row["split"] == "test"
                && epoch.is_none_or(|e| row["epoch"] == e)
        };
        rows.as_array().unwrap().iter().find(fits).unwrap()["value"].clone()
    };
    for seed in [0, 1] {
        let then = figure(&format!("train[seed={seed}]"), Some(2));
        assert_eq!(figure(&format!("score[seed={seed}]"), None), then);
    }
    // Whoever needs one checkpoint depends on that alone.
    assert!(space.ok(&["show", "score[seed=0]"]).contains("file:"));
    let refused = |reference: &str, says: &str| {
        space.write("pipeline.yaml", pipeline(reference));
        let said = space.run(&["run", "-n"]);
        assert_eq!(said.code, 2, "{reference}: {}", said.err);
        assert!(said.err.contains(says), "{reference}: {}", said.err);
    };
    refused(
        "train.checkpoints[epoch=3]",
        "no checkpoint of epoch 3: one is kept every 2 up to 4",
    );
    refused("train.checkpoints[epoch=6]", "no checkpoint of epoch 6");
    refused("train.checkpoints[round=1]", "picked by `epoch` or `step`");
    refused("train.model[epoch=2]", "nothing can be picked from `model`");
}

/// What follows from the pipeline alone is said before anything runs.
#[test]
fn case_29_what_is_known_before_the_run_is_not_said_after_it() {
    let says = |more: &str, stages: &str, claims: &str| {
        let train = format!(
            "  t: {{uses: train, matrix: {{seed: [0, 1]}}, needs: {{train: data.train, test: data.test}}, with: {{seed: \"${{matrix.seed}}\", optimizer: {{sgd: {{lr: 0.1}}}}, {more}}}}}\n"
        );
        let said = space(&[&train, stages].concat(), &format!("  {claims}\n")).run(&["run", "-n"]);
        (said.code, said.err)
    };
    let plain =
        "model: {mlp: {hidden: [4]}}, length: {epochs: 4}, eval_every: 3, checkpoints: {every: 2}";
    let norm = "model: {mlp: {hidden: [4], batch_norm: {}}}, length: {epochs: 2}";
    let claim = |at: &str| {
        format!(
            "{{c: {{measure: {{of: test_loss, in: t, at: {at}}}, expect: {{mean: {{above: 0.0}}}}}}}}"
        )
    };
    let (last, every) = (claim("{mean_of_last: 3}"), claim("{epoch: 2}"));
    for (more, stages, claims, parts) in [
        // Measured at epochs 3 and 4.
        (
            plain,
            "",
            &*last,
            ["`test_loss` has 2 values: there are no last 3", "give 2 or less"],
        ),
        (plain, "", &*every, ["measured every 3 epochs, and not at 2", "`eval_every`"]),
        (
            &format!("{norm}, drop_last: true, batch_size: 128"),
            "",
            "{}",
            ["120 images for batches of 128", "lower `batch_size`"],
        ),
        (
            norm,
            "  one: {uses: split, needs: {data: data.train}, with: {parts: {a: 1}, by: none, seed: 1}}
  u: {uses: train, needs: {train: one.a}, with: {seed: 1, optimizer: {sgd: {lr: 0.1}}, model: {mlp: {hidden: [4], batch_norm: {}}}, length: {epochs: 1}}}
",
            "{}",
            ["every batch has one image", "train on 2 images or more"],
        ),
        (
            norm,
            "  mean: {uses: average, needs: {models: \"t[*].model\"}}\n",
            "{}",
            ["its accuracy would collapse", "`with: {batch_norm: keep}`"],
        ),
        (
            plain,
            "  e: {uses: evaluate, needs: {model: \"t[seed=1].checkpoints\", data: data.test}}\n",
            "{}",
            [
                "this is a directory of models; the input `model` takes models",
                "name one: `t[seed=1].checkpoints[epoch=2]`",
            ],
        ),
        // What is known of a directory is known of each file in it.
        (
            plain,
            "  p: {uses: prune, needs: {model: \"t[seed=1].checkpoints[epoch=2]\"}, with: {fraction: 0.5}}
  small: {uses: download, with: {dataset: cifar-10, test_limit: 10}}
  e: {uses: evaluate, needs: {model: p.model, data: small.test}}
",
            "{}",
            ["these images are 32x32x3", "the model is made for 16x16x1"],
        ),
    ] {
        let (code, err) = says(more, stages, claims);
        assert_eq!(code, 2, "{more} {stages} {claims}: {err}");
        for part in parts {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
    for at in ["{mean_of_last: 2}", "{epoch: 3}", "{epoch: 4}"] {
        let (code, err) = says(plain, "", &claim(at));
        assert_eq!(code, 0, "{at}: {err}");
    }
}

/// Files of the project can be looked into: what they lack is no news after the trainings.
#[test]
fn case_23_weights_that_cannot_be_used_are_told_before_the_run() {
    let file = |dtype: &str| {
        let header = format!(
            "{{\"fc1.weight\":{{\"dtype\":\"{dtype}\",\"shape\":[2],\"data_offsets\":[0,8]}}}}"
        );
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &[0; 8]].concat()
    };
    let says = |bytes: &[u8], with: &str| {
        let stage = format!(
            "  score: {{uses: evaluate, needs: {{model: {{file: net.safetensors}}, data: data.test}}, with: {{{with}}}}}\n"
        );
        let space = space(&stage, "  {}\n");
        space.write("net.safetensors", bytes);
        let said = space.run(&["run", "-n"]);
        (said.code, said.err)
    };
    let model = "model: {mlp: {hidden: [4]}}";
    for (bytes, with, parts) in [
        (
            file("F32"),
            "",
            ["holds no `repro.model` entry", "`with: {model: ...}`"],
        ),
        (
            file("I32"),
            model,
            ["tensor `fc1.weight` is I32", "v.float()"],
        ),
        (
            b"PK\x03\x04 and more".to_vec(),
            model,
            ["not a whole safetensors file", "`torch.save`"],
        ),
    ] {
        let (code, err) = says(&bytes, with);
        assert_eq!(code, 2, "{err}");
        for part in parts {
            assert!(err.contains(part), "{part}: {err}");
        }
    }
    let (code, err) = says(&file("F32"), model);
    assert_eq!(code, 0, "{err}");
}

/// Five values, and claims about their mean whose p-values by themselves are 0.015, 0.038 and 0.97.
fn members(claims: &[&str]) -> TestSpace {
    let script = "set -- 0.61 0.55 0.72 0.58 0.63; shift ${matrix.seed}; echo '{\"accuracy\": '$1'}' > ${outputs.metrics}";
    let claims: String = claims
        .iter()
        .map(|claim| {
            let (name, bound) = claim.split_once(' ').unwrap();
            format!(
                "  {name}: {{family: main, measure: {{of: accuracy, in: s}}, expect: {{mean: {bound}}}}}\n"
            )
        })
        .collect();
    TestSpace::with_pipeline(&format!(
        "version: 1\nstages:\n  s:\n    matrix: {{seed: [0, 1, 2, 3, 4]}}\n    run: |\n      {script}\n    outputs: {{metrics: m.json}}\nclaims:\n{claims}"
    ))
}

#[test]
fn a_family_is_corrected_for_its_number() {
    let two = ["first {above: 0.5}", "second {below: 0.53}"];
    let space = members(&two);
    // Refuted by itself, p = 0.0384, and still so as the larger of two.
    assert_eq!(space.run(&["run", "--strict"]).code, 4);
    let claims = space.json(&["claims"]);
    let seen = |claims: &Value, at: usize| {
        let p = claims[at]["corrected"]["corrected_p"].as_f64().unwrap();
        let verdict = claims[at]["verdict"].as_str().unwrap().to_owned();
        (verdict, (p * 1e4).round() / 1e4)
    };
    let of_two: Vec<_> = (0..2).map(|at| seen(&claims, at)).collect();
    let alone = verdict(&space, "first")["p"].as_f64().unwrap();
    assert_eq!(of_two[0], ("holds".to_owned(), (2e4 * alone).round() / 1e4));
    assert_eq!(of_two[1].0, "refuted");

    // A third changes no verdict file and no key, but what the others amount to.
    let file = space.read("artifacts/claims/second/verdict.json");
    let pipeline = space.read("pipeline.yaml");
    let third =
        "  third: {family: main, measure: {of: accuracy, in: s}, expect: {mean: {above: 0.617}}}\n";
    space.write("pipeline.yaml", pipeline + third);
    assert_eq!(space.executed(&["--strict"]), ["claim:third"]);
    assert_eq!(space.read("artifacts/claims/second/verdict.json"), file);
    let said = space.run(&["run", "--strict"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let claims = space.json(&["claims", "second"]);
    assert_eq!(claims.as_array().unwrap().len(), 1);
    assert_eq!(seen(&claims, 0).0, "inconclusive");
    assert_eq!(claims[0]["corrected"]["claims"], 3);
    assert!(
        file.contains("\"refuted\""),
        "the file is about its claim alone"
    );
    assert!(space.ok(&["claims"]).contains("main: corrected p = "));
}

/// What a README of a study is made of.
#[test]
fn claims_and_metrics_are_exported_for_a_study() {
    let space = members(&["first {above: 0.5}", "second {above: 0.55}"]);
    space.ok(&["run"]);
    let text = space.ok(&["claims", "--markdown", "first"]);
    let lines: Vec<&str> = text.lines().collect();
    let columns = |line: &str| line.matches(" | ").count();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(columns(lines[0]), columns(lines[2]), "{text}");
    assert!(lines[2].starts_with("| first | holds | +0."), "{text}");
    assert!(lines[2].contains(" 95 % | 5 | mean above 0.5"), "{text}");

    space.ok(&["metrics", "--parquet", "results.parquet"]);
    // Of the same file as an output that other tools read: a table like any other.
    let read = "version: 1\nstages:\n  read: {run: 'cp ${needs.table} ${outputs.metrics}', needs: {table: {file: results.parquet}}, outputs: {metrics: m.parquet}}\n";
    space.write("pipeline.yaml", read);
    space.ok(&["run"]);
    let rows = space.json(&["metrics", "--all"]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[1]["stage"], "s");
    assert_eq!(rows[1]["run"], "seed=1");
    assert_eq!(rows[1]["value"], 0.55);
    let said = space.run(&["metrics", "--parquet", "absent/results.parquet"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(
        said.err
            .contains("cannot write the table absent/results.parquet"),
        "{}",
        said.err
    );
}

/// A value is of the test set by where it was measured, however it is asked for.
#[test]
fn a_choice_by_the_test_set_is_told() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  s:\n    matrix: {seed: [0, 1]}\n    run: |\n      echo '[{\"split\": \"test\", \"accuracy\": 0.5}]' > ${outputs.metrics}\n    outputs: {metrics: m.json}\n  best: {uses: select, needs: {tables: \"s[*].metrics\"}, with: {by: {max: accuracy}, test_set: may_choose}}\n",
    );
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let told = "`accuracy` is measured on the test set: what is reported of the choice";
    assert!(said.err.contains(told), "{}", said.err);
}

/// What the engine understands of claims about an axis.
#[test]
fn an_axis_that_is_named_is_spoken_of() {
    let space = |along: &str| {
        TestSpace::with_pipeline(&format!(
            "version: 1\nstages:\n  s:\n    matrix: {{seed: [0, 1, 2], size: [1, 2, 3]}}\n    run: |\n      echo '{{\"accuracy\": 0.'${{matrix.size}}${{matrix.seed}}'}}' > ${{outputs.metrics}}\n    outputs: {{metrics: m.json}}\nclaims:\n  c: {{measure: {{of: accuracy, in: s{along}}}, expect: {{trend: increasing}}}}\n"
        ))
    };
    let right = space(", along: size");
    right.ok(&["run"]);
    let v = verdict(&right, "c");
    assert_eq!(
        (&v["verdict"], &v["n"]),
        (&"holds".into(), &9.into()),
        "{v}"
    );
    let said = space("").run(&["run", "-n"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("differ in `size`"), "{}", said.err);
    let said = space(", along: sise").run(&["run", "-n"]);
    assert!(said.err.contains("`s` has no axis `sise`"), "{}", said.err);
}
