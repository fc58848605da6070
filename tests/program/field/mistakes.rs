//! What is said of mistakes in a pipeline file, before anything runs.

use super::language::refused;
use super::language::refused_in;
use crate::support::TestSpace;

/// A study of drawn images with these further stages and claims; nothing of it is ever executed.
fn study(more: &str) -> String {
    format!(
        r#"
version: 1
stages:
  data: {{uses: download, with: {{dataset: shapes}}}}
  colour: {{uses: download, with: {{dataset: cifar-10}}}}
  halves: {{uses: split, needs: {{data: data.train}}, with: {{parts: {{a: 0.5, b: 0.5}}, seed: 7}}}}
  train:
    uses: train
    matrix: {{seed: [0, 1]}}
    needs: {{train: halves.a, test: data.test}}
    with: {{model: {{mlp: {{hidden: [10]}}}}, seed: "${{matrix.seed}}", length: {{epochs: 3}}, optimizer: {{adam: {{}}}}}}
{more}"#
    )
}

#[test]
fn case_29_the_study_that_these_cases_vary_is_right() {
    let space = TestSpace::with_pipeline(&study(
        r#"
  wide: {uses: train, needs: {train: [halves.a, halves.b], test: data.test}, with: {model: {conv: {layers: [{conv: {channels: 4}}, {pool: {max: 2}}]}}, seed: 0, length: {epochs: 3}, optimizer: {adam: {}}, checkpoints: {every: 3}}}
  pruned: {uses: prune, needs: {model: "train[seed=0].model"}, with: {fraction: 0.5}}
  again: {uses: train, needs: {init: pruned.model, mask: pruned.mask, train: halves.b}, with: {seed: 0, length: {epochs: 1}, optimizer: {adam: {}}}}
  mean: {uses: average, needs: {models: "train[*].model"}}
  score: {uses: evaluate, needs: {model: mean.model, data: data.test}}
  table: {uses: summarise, needs: {tables: {a: "train[*].metrics", b: score.metrics}}, with: {of: test_accuracy}}
  ours: {run: "cat ${needs.m} > ${outputs.m}", needs: {m: score.metrics}, outputs: {m: m.parquet}}
  own: {uses: train, needs: {train: ours.m, init: ours.m}, with: {seed: 0, length: {epochs: 1}, optimizer: {adam: {}}}}
claims:
  one: {compare: {of: test_accuracy, a: train, b: "train[seed=0,*]", at: {epoch: 3}}, expect: {difference: {above: 0}}}
  disk: {measure: {of: "test_accuracy[disk]", in: score}, expect: {mean: {above: 0}}}
"#,
    ));
    let said = space.run(&["run", "-n"]).expect(0, &["run", "-n"]);
    assert!(
        said.err.contains("1 result is on both sides of this claim"),
        "{}",
        said.err
    );
}

#[test]
fn case_29_what_cannot_work_is_known_before_anything_runs() {
    let train = |more: &str| format!("  next: {{uses: train, {more}}}\n");
    let with = "seed: 0, length: {epochs: 3}, optimizer: {adam: {}}";
    let conv = |layers: &str| {
        train(&format!(
            "needs: {{train: halves.a}}, with: {{model: {{conv: {{layers: [{layers}]}}}}, {with}}}"
        ))
    };
    let init =
        |needs: &str, model: &str| train(&format!("needs: {{{needs}}}, with: {{{model}{with}}}"));
    let pool = "{pool: {max: 2}}";
    for (more, said) in [
        // Names of values.
        ("claims: {c: {measure: {of: test_acc, in: train}, expect: {mean: {above: 0}}}}".to_owned(), vec!["claims.c.measure.of: these tables have no value `test_acc`", "did you mean `test_accuracy`?"]),
        ("claims: {c: {measure: {of: accuracy, in: train}, expect: {mean: {above: 0}}}}".to_owned(), vec!["`accuracy` may mean test_accuracy or train_accuracy"]),
        ("claims: {c: {measure: {of: test_loss, in: train, at: {epoch: 4}}, expect: {mean: {above: 0}}}}".to_owned(), vec!["claims.c.measure.at.epoch: there is no epoch 4: the training ends after 3"]),
        ("  s: {uses: summarise, needs: {tables: \"train[*].metrics\"}, with: {of: [test_los]}}".to_owned(), vec!["stages.s.with.of: these tables have no value `test_los`", "did you mean `test_loss`?"]),
        // A claim that compares results with themselves.
        ("claims: {c: {compare: {of: test_loss, a: train, b: train}, expect: {difference: {above: 0}}}}".to_owned(), vec!["claims.c.compare.b: both sides of this claim are the same results"]),
        // Artifacts of the wrong sort.
        (init("train: \"train[seed=0].model\"", "model: {mlp: {hidden: [3]}}, "), vec!["stages.next.needs.train: this is a model; the input `train` takes data sets"]),
        (init("init: halves.b, train: halves.a", ""), vec!["stages.next.needs.init: this is a data set; the input `init` takes models"]),
        (init("mask: \"train[seed=0].model\", train: halves.a", "model: {mlp: {hidden: [3]}}, "), vec!["this is a model; the input `mask` takes pruning masks"]),
        ("  s: {uses: summarise, needs: {tables: \"train[*].model\"}, with: {of: x}}".to_owned(), vec!["this is a model; the input `tables` takes tables of metrics"]),
        ("  s: {uses: average, needs: {models: [\"train[seed=0].model\", \"train[seed=0].metrics\"]}}".to_owned(), vec!["stages.s.needs.models[1]: this is a table of metrics; the input `models` takes models"]),
        ("claims: {c: {measure: {of: x, in: data, table: train}, expect: {mean: {above: 0}}}}".to_owned(), vec!["this is a data set; the input `a` takes tables of metrics"]),
        // Sizes of images, numbers of classes, networks that do not fit.
        (init("train: halves.a, test: colour.test", "model: {mlp: {hidden: [3]}}, "), vec!["stages.next.needs.test: these images are 32x32x3 (height, width, channels), the model is made for 16x16x1"]),
        (init("init: \"train[seed=0].model\", train: colour.train", ""), vec!["stages.next.needs.train: these images are 32x32x3"]),
        (init("train: [halves.a, colour.train]", "model: {mlp: {hidden: [3]}}, "), vec!["stages.next.needs.train[1]: `cifar-10` cannot be put together with `shapes`"]),
        ("  s: {uses: evaluate, needs: {model: \"train[seed=0].model\", data: colour.test}}".to_owned(), vec!["stages.s.needs.data: these images are 32x32x3"]),
        (conv(&[pool; 5].join(", ")), vec!["stages.next.with.model.conv.layers[4]: layer 5 (its input is 1x1x1)"]),
        (conv("{conv: {channels: 2, kernel: 40, padding: {pixels: 0}}}"), vec!["stages.next.with.model.conv.layers[0]"]),
        (init("init: \"train[seed=0].model\", train: halves.a", "model: {mlp: {hidden: [11]}}, "), vec!["stages.next.with.model: the model under `needs: {init: ...}` is another one"]),
        // Masks, averages, counts, checkpoints.
        (format!("  wide: {{uses: train, needs: {{train: halves.a}}, with: {{model: {{mlp: {{hidden: [20]}}}}, {with}}}}}\n  p: {{uses: prune, needs: {{model: wide.model}}, with: {{fraction: 0.5}}}}\n  next: {{uses: train, needs: {{init: \"train[seed=0].model\", mask: p.mask, train: halves.a}}, with: {{{with}}}}}\n  m: {{uses: average, needs: {{models: [wide.model, \"train[seed=0].model\"]}}}}\n  r: {{uses: prune, needs: {{model: wide.model, rewind: \"train[seed=0].model\"}}, with: {{fraction: 0.5}}}}"), vec!["stages.next.needs.mask: this mask is of another model: its weight `fc1.weight` [20, 256]", "stages.m.needs.models[1]: its `model.mlp.hidden` is [10]; of the first model it is [20]", "stages.r.needs.rewind: this is a model of another shape"]),
        ("  s: {uses: split, needs: {data: data.train}, with: {parts: {a: 5000, b: 5000}, seed: 1}}".to_owned(), vec!["stages.s.with.parts: the parts ask for 10000 images, but the data set has 6000"]),
        ("  s: {uses: average, needs: {models: \"train[*].model\"}, with: {weights: {given: [0.5, 0.25, 0.25]}}}".to_owned(), vec!["stages.s.with.weights.given: 3 numbers for 2 models"]),
        (init("train: halves.a", "model: {mlp: {hidden: [3]}}, checkpoints: {every: 4}, "), vec!["stages.next.with.checkpoints.every: the training ends after 3 epochs"]),
        (train("needs: {train: halves.a}, with: {model: {mlp: {hidden: [3]}}, checkpoints: {every: 3}, batch_size: 100, seed: 0, length: {steps: 61}, optimizer: {adam: {}}}"), vec![]),
    ] {
        let yaml = study(&more);
        if said.is_empty() {
            TestSpace::with_pipeline(&yaml).ok(&["run", "-n"]);
        } else {
            refused(&yaml, &said);
        }
    }
}

#[test]
fn case_29_a_limit_beyond_the_data_is_said() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  data: {uses: download, with: {dataset: mnist, train_limit: 70000}}\n",
    );
    let (_, events) = space.events(&["-n"]);
    let warning = events
        .iter()
        .find(|e| e["event"] == "warning")
        .expect("a warning");
    assert_eq!(
        warning["text"],
        "pipeline.yaml:3:62: stages.data.with.train_limit: `mnist` has 60000 training images: a `train_limit` of 70000 keeps all of them; leave it out, or give a smaller number"
    );
}

#[test]
fn case_28_one_mistake_of_fifty_instances_is_said_once() {
    let seeds: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let yaml = |wrong: &str| {
        format!(
            "version: 1\nstages:\n  data: {{uses: download, with: {{dataset: shapes}}}}\n  train:\n    uses: train\n    matrix: {{seed: [{}]}}\n    needs: {{train: data.train}}\n    with: {{model: {{mlp: {{hidden: [10]}}}}, seed: \"${{matrix.seed}}\", length: {{epochs: 3}}, {wrong}}}\n",
            seeds.join(", ")
        )
    };
    for wrong in [
        "optimizer: {adam: {lr: -1}}",
        "optimizer: {adam: {}}, batch_size: \"${-1 - matrix.seed}\"",
        "optimizer: {adam: {}}, checkpoints: {every: 9}",
    ] {
        let said = refused(
            &yaml(wrong),
            &["in all 50 instances, such as `train[seed=0]`"],
        );
        assert_eq!(said.matches("error:").count(), 1, "{said}");
    }
    let some = refused(
        &yaml("optimizer: {adam: {}}, batch_size: \"${matrix.seed - 10}\""),
        &["in `train[seed=0]` and 9 more of 50 instances"],
    );
    assert!(some.matches("error:").count() <= 2, "{some}");
}

/// Who trains on a part without images is told where it comes from, before anything runs.
#[test]
fn a_part_without_images_is_refused() {
    let yaml = |parts: &str| {
        format!(
            "version: 1
stages:
  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 100, test: 10}}}}}}
  parts: {{uses: split, needs: {{data: data.train}}, with: {{seed: 1, {parts}}}}}
"
        )
    };
    refused(
        &yaml("parts: {a: 0.001, b: 0.9}"),
        &["part `a` has none of the 100 images", "make it larger"],
    );
    // How many images each class has is known when they are there.
    let space = TestSpace::with_pipeline(&yaml("parts: {a: 0.001, b: 0.9}, by: class"));
    space
        .run(&["run"])
        .expect(1, &["part `a` has none of the 100 images"]);
}

/// Moments of another optimizer were taken and never used.
#[test]
fn the_memory_of_another_optimizer_is_refused() {
    let net = |optimizer: &str, hidden: u32| {
        format!(
            "{{model: {{mlp: {{hidden: [{hidden}]}}}}, seed: 1, length: {{epochs: 2}}, batch_size: 10, optimizer: {optimizer}, checkpoints: {{every: 1, optimizer: true}}}}"
        )
    };
    let momentum = "{sgd: {lr: 0.1, momentum: 0.9}}";
    let on = |from: &str, optimizer: &str| {
        format!(
            "version: 1
stages:
  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 40, test: 10}}}}}}
  sgd: {{uses: train, needs: {{train: data.train}}, with: {}}}
  adam: {{uses: train, needs: {{train: data.train}}, with: {}}}
  wide: {{uses: train, needs: {{train: data.train}}, with: {}}}
  on:
    uses: train
    needs: {{train: data.train, init: \"sgd.checkpoints[epoch=1]\", optimizer: \"{from}.optimizers[epoch=1]\"}}
    with: {{seed: 1, length: {{epochs: 2}}, batch_size: 10, starts_at: {{epochs: 1}}, optimizer: {optimizer}}}
",
            net(momentum, 4),
            net("{adam: {}}", 4),
            net(momentum, 5),
        )
    };
    let space = TestSpace::with_pipeline(&on("adam", momentum));
    let another = "it is of another optimizer";
    space.run(&["run"]).expect(
        1,
        &[
            "has second moments, which this optimizer does not keep",
            another,
        ],
    );
    space.write("pipeline.yaml", on("sgd", "{adam: {}}"));
    space.run(&["run"]).expect(
        1,
        &["lacks second moments, which this optimizer needs", another],
    );
    space.write("pipeline.yaml", on("sgd", "{sgd: {lr: 0.1}}"));
    space
        .run(&["run"])
        .expect(1, &["has first moments", another]);
    space.write("pipeline.yaml", on("wide", momentum));
    space
        .run(&["run"])
        .expect(1, &["of shape [5], which is [4] here"]);
    space.write("pipeline.yaml", on("sgd", momentum));
    space.run(&["run"]).expect(0, &[]);
}

/// What is said to be right is right, and leads on.
#[test]
fn case_28_remedies_are_of_the_mistake_that_was_made() {
    let yaml = |vars: &str, model: &str, more: &str| {
        format!(
            "version: 1
{vars}stages:
  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 20, test: 10}}}}}}
  t:
    uses: train
    needs: {{train: data.train}}
    with: {{model: {model}, seed: 1, length: {{epochs: 5}}, optimizer: {{adam: {{}}}}, checkpoints: {{every: 2}}}}
{more}"
        )
    };
    let mlp = "{mlp: {hidden: [4]}}";
    let groups = "{conv: {layers: [{conv: {channels: 6, kernel: 3}}, {group_norm: {groups: 4}}]}}";
    let said = refused(
        &yaml("", groups, ""),
        &[
            "6 channels cannot be cut into 4 equal groups",
            "give one of 1, 2, 3, 6",
        ],
    );
    assert!(!said.contains("shrink"), "{said}");
    let wide = "  w: {uses: train, needs: {train: data.train}, with: {model: {mlp: {hidden: [8]}}, seed: 1, length: {epochs: 1}, optimizer: {adam: {}}}}
  mean: {uses: average, needs: {models: [t.model, w.model]}}
";
    let said = refused(
        &yaml("", mlp, wide),
        &["its `model.mlp.hidden` is [8]; of the first model it is [4]"],
    );
    assert!(!said.contains('"'), "{said}");
    let best =
        "  s: {uses: summarise, needs: {tables: t.metrics}, with: {of: train_loss, at: best}}\n";
    refused(
        &yaml("", mlp, best),
        &["`best` needs its fields", "write `{best: max}`"],
    );
    let file = "vars: {file: params.toml}\n";
    let said = refused(
        &yaml(file, "{mlp: {hidden: [\"${vars.width}\"]}}", ""),
        &[
            "there is no variable `width`",
            "reads parameters from YAML and JSON",
        ],
    );
    assert!(!said.contains("there is `file`"), "{said}");
    // The last checkpoint is the fourth: one is kept every two epochs of five.
    let last = "  p: {uses: prune, needs: {model: \"t.checkpoints[epoch=last]\"}, with: {fraction: 0.5}}\n";
    let space = TestSpace::with_pipeline(&yaml("", mlp, last));
    space.ok(&["run", "-n"]);
    space.edit("pipeline.yaml", "epoch=last", "step=last");
    refused_in(&space, &["none is kept by step"]);
}

#[test]
fn case_1_an_axis_that_changes_nothing_is_said_at_its_place() {
    let space = TestSpace::with_pipeline(
        r#"version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 20, test: 10}}}
  train:
    uses: train
    matrix: {seed: [0, 1, 2, 3, 4]}
    needs: {train: data.train}
    with: {model: {mlp: {hidden: [4]}}, seed: 0, length: {epochs: 1}, optimizer: {adam: {}}}
  right:
    uses: train
    matrix: {seed: [0, 1]}
    needs: {train: data.train}
    with: {model: {mlp: {hidden: [4]}}, seed: "${matrix.seed}", length: {epochs: 1}, optimizer: {adam: {}}}
  joined: {matrix: {seed: [0, 1]}, needs: {m: right.model}, run: "cat ${needs.m} > ${outputs.o}", outputs: {o: o}}
  told: {matrix: {x: [1, 2], y: [1, 2]}, run: "echo ${matrix.x} > ${outputs.o}", outputs: {o: o}}
  zipped: {matrix: {zip: {a: [1, 2], b: [3, 4]}}, run: "echo ${matrix.a} > ${outputs.o}", outputs: {o: o}}
  loop:
    matrix: {k: [1, 2]}
    rounds: {count: 2, carry: {m: step.o}}
    stages:
      step: {needs: {m: "${round.m}"}, run: "echo ${round.index} ${matrix.k} > ${outputs.o}", outputs: {o: o}}
      side: {run: "echo ${round.index} > ${outputs.o}", outputs: {o: o}}
"#,
    );
    let train = "pipeline.yaml:6:14: stages.train.matrix.seed: the axis `seed` changes nothing in `train`: instances that differ only in it have one key, are executed once, and are one observation, not 5; write `with: {seed: \"${matrix.seed}\"}`";
    let told = "pipeline.yaml:15:30: stages.told.matrix.y: the axis `y` changes nothing in `told`";
    for command in [&["status"][..], &["run", "-n"], &["run", "-q", "told"]] {
        let said = space.run(command).expect(0, command);
        assert!(
            said.err.contains(train) && said.err.contains(told),
            "{}",
            said.err
        );
        assert_eq!(
            said.err.matches("changes nothing").count(),
            2,
            "{}",
            said.err
        );
    }
    let (_, events) = space.events(&["-n"]);
    assert!(
        events
            .iter()
            .any(|e| e["event"] == "warning" && e["text"] == train),
        "{events:#?}"
    );
}

/// What is said of a training with this change, at which field.
pub(super) fn said(field: &str, value: serde_json::Value) -> String {
    let mut with = serde_json::json!({"model": {"mlp": {"hidden": [10]}}, "seed": 0, "length": {"epochs": 1}, "optimizer": {"adam": {}}});
    with[field] = value;
    let (_, problems) =
        repro_stages::kind::parse::<repro_stages::kinds::training::train::Params>(&with);
    let one = |p: &repro_stages::kind::ParamProblem| {
        format!(
            "{}: {} / {}",
            p.path.join("."),
            p.message,
            p.hint.as_deref().unwrap_or("")
        )
    };
    problems.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn case_28_mistakes_are_told_in_words_for_people() {
    for (field, value, message) in [
        (
            "optimizer",
            serde_json::json!("adam"),
            "optimizer: `adam` needs its fields / write `{adam: {lr: 0.001}}`",
        ),
        (
            "optimizer",
            serde_json::json!("sgd"),
            "optimizer: `sgd` needs its fields / write `{sgd: {lr: ...}}`",
        ),
        (
            "optimizer",
            serde_json::json!("Adam"),
            "optimizer: unknown choice `Adam` / write `{adam: {lr: 0.001}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"name": "adam", "lr": 0.1}),
            "optimizer: a choice is a map of one key, with its fields inside / write `{adam: {lr: 0.1}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"type": "SGD", "lr": 0.1, "nesterov": true}),
            "optimizer: a choice is a map of one key, with its fields inside / write `{sgd: {lr: 0.1, nesterov: true}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"name": "sgd"}),
            "optimizer: a choice is a map of one key, with its fields inside / write `{sgd: {lr: ...}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {"weight_decay": 0.25}}),
            "optimizer.adam.weight_decay: expected one of `none`, `l2`, `decoupled`, found 0.25 / write `{l2: 0.25}` or `{decoupled: 0.25}`",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {"eps": 0.1}, "lr": 0.1}),
            "optimizer: a choice is a map of one key, with its fields inside / write `{adam: {eps: 0.1, lr: 0.1}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {}, "sgd": {}}),
            "optimizer: expected one of `sgd`, `adam`, `adamw`, found a map of 2 fields / keep one of them",
        ),
        (
            "optimizer",
            serde_json::json!({}),
            "optimizer: expected one of `sgd`, `adam`, `adamw`, found a map of 0 fields / write `{sgd: {lr: ...}}`",
        ),
        (
            "optimizer",
            serde_json::json!(3),
            "optimizer: expected one of `sgd`, `adam`, `adamw`, found 3 / write `{sgd: {lr: ...}}`",
        ),
        (
            "optimizer",
            serde_json::json!(["adam"]),
            "optimizer: expected one of `sgd`, `adam`, `adamw`, found a list of 1 / write `{sgd: {lr: ...}}`",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {"lr": "1e-3"}}),
            "optimizer.adam.lr: expected a number, found the text \"1e-3\" / remove the quotes: `1e-3`",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {"lr": "0,1"}}),
            "optimizer.adam.lr: expected a number, found the text \"0,1\" / write `0.1`: the decimal point is a point",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": {"betas": [0.9]}}),
            "optimizer.adam.betas: expected a list of 2, found a list of 1 / ",
        ),
        (
            "optimizer",
            serde_json::json!({"adam": 0.1}),
            "optimizer.adam: expected a map of fields, found 0.1 / write `{lr: 0.001}`",
        ),
        (
            "optimizer",
            serde_json::json!({"sgd": {"lr": 0.1, "nesterov": "yes"}}),
            "optimizer.sgd.nesterov: expected true or false, found the text \"yes\" / write `true`",
        ),
        (
            "seed",
            serde_json::json!(-1),
            "seed: expected a whole number, 0 or more, found -1 / ",
        ),
        (
            "seed",
            serde_json::json!(1000.0),
            "seed: expected a whole number, 0 or more, found 1000.0 / write `1000`",
        ),
        (
            "seed",
            serde_json::json!(1.5),
            "seed: expected a whole number, 0 or more, found 1.5 / ",
        ),
        (
            "seed",
            serde_json::json!("1_000"),
            "seed: expected a whole number, 0 or more, found the text \"1_000\" / write `1000`: a number has no `_`",
        ),
        (
            "seed",
            serde_json::json!(null),
            "seed: expected a whole number, 0 or more, found nothing / give it a value, or leave the field out",
        ),
        (
            "seed",
            serde_json::json!([1]),
            "seed: expected a whole number, 0 or more, found a list of 1 / ",
        ),
        (
            "length",
            serde_json::json!(10),
            "length: expected one of `epochs`, `steps`, found 10 / write `{epochs: 10}` or `{steps: 10}`",
        ),
        (
            "length",
            serde_json::json!({"epochs": "10"}),
            "length.epochs: expected a whole number, 0 or more, found the text \"10\" / remove the quotes: `10`",
        ),
        (
            "init",
            serde_json::json!({"pytorch": {}}),
            "init.pytorch: `pytorch` has no fields of its own / write `pytorch` alone",
        ),
        (
            "model",
            serde_json::json!({"mlp": {"hidden": 10}}),
            "model.mlp.hidden: expected a list, found 10 / write a list: `[10]`",
        ),
        (
            "lr",
            serde_json::json!(0.1),
            "lr: unknown field `lr` / it belongs to `optimizer`: write `optimizer: {sgd: {lr: ...}}`",
        ),
        (
            "learning_rate",
            serde_json::json!(0.1),
            "learning_rate: unknown field `learning_rate` / it belongs to `optimizer`: write `optimizer: {sgd: {lr: ...}}`",
        ),
        (
            "epochs",
            serde_json::json!(3),
            "epochs: unknown field `epochs` / write `length: {epochs: ...}`",
        ),
        (
            "batch",
            serde_json::json!(3),
            "batch: unknown field `batch` / did you mean `batch_size`?",
        ),
    ] {
        assert_eq!(said(field, value.clone()), message, "{field}: {value}");
    }
}

#[test]
fn case_28_no_message_speaks_serde() {
    let values = [
        serde_json::json!(null),
        serde_json::json!(true),
        serde_json::json!(-1),
        serde_json::json!(0.5),
        serde_json::json!("x"),
        serde_json::json!(""),
        serde_json::json!([]),
        serde_json::json!([1, "a"]),
        serde_json::json!({}),
        serde_json::json!({"a": 1}),
        serde_json::json!({"a": 1, "b": 2}),
        serde_json::json!([[1]]),
        serde_json::json!({"adam": [1]}),
    ];
    let with = serde_json::json!({"model": {"conv": {"layers": [{"conv": {"channels": 1}}, {"pool": {"max": 2}}, {"dropout": 0.5}]}}, "init": {"normal": {"std": 1.0}}, "seed": 0, "length": {"epochs": 1}, "stop_at": {"train_accuracy": 0.5}, "optimizer": {"adam": {"betas": [0.9, 0.99], "weight_decay": {"l2": 0.1}}}, "schedule": {"step": {"milestones": [1]}}, "augment": {"flip": true}, "checkpoints": {"every": 1}});
    let mut places = Vec::new();
    fn walk(value: &serde_json::Value, pointer: String, places: &mut Vec<String>) {
        places.push(pointer.clone());
        match value {
            serde_json::Value::Object(map) => map
                .iter()
                .for_each(|(k, v)| walk(v, format!("{pointer}/{k}"), places)),
            serde_json::Value::Array(list) => list
                .iter()
                .enumerate()
                .for_each(|(k, v)| walk(v, format!("{pointer}/{k}"), places)),
            _ => {}
        }
    }
    walk(&with, String::new(), &mut places);
    for pointer in places.iter().filter(|p| !p.is_empty()) {
        for value in &values {
            let mut with = with.clone();
            *with.pointer_mut(pointer).unwrap() = value.clone();
            for problem in
                repro_stages::kind::parse::<repro_stages::kinds::training::train::Params>(&with).1
            {
                let text = format!("{} {}", problem.message, problem.hint.unwrap_or_default());
                for word in [
                    "variant",
                    "struct",
                    "u64",
                    "u32",
                    "usize",
                    "f64",
                    "i64",
                    "sequence",
                    "invalid type",
                    "invalid value",
                    "invalid length",
                    "single key",
                    "tuple",
                    "boolean",
                    "string",
                ] {
                    assert!(!text.contains(word), "{pointer} = {value}: {text}");
                }
            }
        }
    }
}

#[test]
fn case_28_words_of_other_tools_are_understood() {
    let space = TestSpace::with_pipeline(
        r#"version: 1
rules: {}
stages:
  train:
    cmd: python train.py
    deps: [train.py, data/in.csv]
    outs: [model.pkl]
    params: [train.lr]
  other: {command: "echo > ${outputs.o}", output: {o: o.txt}, threads: 4}
  third: {shell: "echo hello", outputs: {o: o.txt}}
  more: {run: "true > ${outputs.o}", outputs: {o: o}, inputs: {x: other.o}, wdir: src}
  listed: {run: "true > ${outputs.o}", outputs: {o: o}, needs: [other.o]}
"#,
    );
    let said = refused_in(
        &space,
        &[
            "rules: unknown field `rules`",
            "did you mean `stages`?",
            "stages.train.cmd: unknown field `cmd`",
            "did you mean `run`?",
            "did you mean `needs`?",
            "every entry has a name: `needs: {train: {file: train.py}, in: {file: data/in.csv}}`",
            "did you mean `outputs`?",
            "every entry has a name: `outputs: {model: model.pkl}`",
            "`vars: {file: params.yaml}` reads a file of parameters",
            "stages.other.output: unknown field `output`",
            "write `resources: {cpus: 2}`",
            "a command runs in a directory of its own",
            "stages.listed.needs: expected a map of names, found a list",
        ],
    );
    // What only follows is not said.
    assert!(!said.contains("`other` does nothing"), "{said}");
    assert!(!said.contains("has no output `o`"), "{said}");
}

#[test]
fn case_28_a_file_that_reads_like_an_output_is_told_as_a_file() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  train: {needs: {s: train.py}, run: \"cat ${needs.s} > ${outputs.o}\", outputs: {o: o}}\n  data: {needs: {s: table.csv}, run: \"cat ${needs.s} > ${outputs.o}\", outputs: {o: o}}\n  use: {needs: {s: data.csv}, run: \"cat ${needs.s} > ${outputs.o}\", outputs: {o: o}}\n",
    );
    for file in ["train.py", "table.csv", "data.csv"] {
        space.write(file, "x\n");
    }
    let said = refused_in(
        &space,
        &[
            "stages.train.needs.s: `train.py` is read as the output `py` of the stage `train`",
            "the file of the project is written `{file: train.py}`",
            "stages.data.needs.s: there is no stage `table`",
            "the file of the project is written `{file: table.csv}`",
            "`data.csv` is read as the output `csv` of the stage `data`",
        ],
    );
    assert!(!said.contains("circle"), "{said}");
}

#[test]
fn case_28_a_file_that_reads_like_an_output_of_many_instances_is_told_as_a_file() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  data: {uses: download, with: {dataset: shapes}}\n  train: {uses: train, matrix: {seed: [0, 1]}, needs: {train: data.train, test: data.test}, with: {model: {mlp: {hidden: [4]}}, seed: \"${matrix.seed}\", length: {epochs: 1}, batch_size: 64, optimizer: {adam: {lr: 0.001}}}}\n  use: {needs: {s: train.py}, run: \"cat ${needs.s} > ${outputs.o}\", outputs: {o: o}}\n",
    );
    space.write("train.py", "x\n");
    refused_in(
        &space,
        &[
            "this stands for 2 instances of `train`",
            "the file of the project is written `{file: train.py}`",
        ],
    );
}

#[test]
fn case_28_a_mistyped_command_is_told_the_right_one() {
    let space = TestSpace::new();
    for (args, tip) in [
        (&["rnu"][..], "did you mean `run`?"),
        (&["staus"], "status"),
        (&["remote", "lsit"], "list"),
        (&["train"], "a stage is run with `repro run train`"),
    ] {
        let said = space.run(args).expect(2, args);
        assert!(said.err.contains(tip), "{args:?}: {}", said.err);
    }
    let missing = TestSpace::with_pipeline(
        "version: 1\nstages:\n  s: {tools: [no-such-julia], run: \"true > ${outputs.o}\", outputs: {o: o}}\n",
    );
    let said = missing.run(&["run"]).expect(2, &["run"]);
    for text in [
        "pipeline.yaml:3:",
        "`no-such-julia`",
        "install it, or correct `tools:`",
    ] {
        assert!(said.err.contains(text), "{}", said.err);
    }
}

#[test]
fn case_28_numbers_where_texts_belong_are_to_be_quoted() {
    refused(
        "version: 1\nname: 3.10\nstages:\n  s: {run: \"true > ${outputs.o}\", outputs: {o: o}}\n",
        &[
            "name: expected a text, found the number 3.10",
            "put it in quotes: `\"3.10\"`",
        ],
    );
    refused(
        "version: 1\nstages:\n  data: {uses: download, with: {url: 3.10}}\n",
        &[
            "stages.data.with.url: expected a text, found 3.1",
            "put it in quotes: `\"3.10\"`",
        ],
    );
}

/// What `prune` leaves of pruned weights, and what the training of its model makes of them.
#[test]
fn case_29_weights_that_are_pruned_in_two_ways_are_told() {
    let with = "seed: 0, length: {epochs: 1}, optimizer: {adam: {}}";
    let told = |prune: &str, train: &str, init: &str| {
        let more = format!(
            "  pruned: {{uses: prune, needs: {{model: \"train[seed=0].model\"}}, with: {{fraction: 0.5{prune}}}}}
  again: {{uses: train, needs: {{init: {init}, mask: pruned.mask, train: halves.b}}, with: {{{with}{train}}}}}
"
        );
        let space = TestSpace::with_pipeline(&study(&more));
        space.run(&["run", "-n"]).expect(0, &["run", "-n"]).err
    };
    let frozen = ", masked: frozen";
    let said = told(frozen, "", "pruned.model");
    assert!(
        said.contains("`pruned` leaves pruned weights their values"),
        "{said}"
    );
    assert!(said.contains("stages.again"), "{said}");
    let said = told("", frozen, "pruned.model");
    assert!(said.contains("`pruned` sets pruned weights to 0"), "{said}");
    for (prune, train, init) in [
        (frozen, frozen, "pruned.model"),
        ("", "", "pruned.model"),
        // The mask is for other weights: what they are is not decided there.
        ("", frozen, "\"train[seed=1].model\""),
    ] {
        let said = told(prune, train, init);
        assert!(!said.contains("pruned weights"), "{said}");
    }
}
