//! Data and metrics that people bring along.

use crate::support::TestSpace;

/// A file that other programs wrote (`stages/tests/foreign/make.py`).
fn foreign(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/stages/tests/foreign/");
    std::fs::read(format!("{dir}{name}")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

const TRAIN: &str = "with: {model: {mlp: {hidden: [8]}}, seed: 1, length: {epochs: 2}, batch_size: 4, optimizer: {adam: {lr: 0.01}}}";

/// A folder of photographs goes all the way: into parts, through a training, to a figure per class.
#[test]
fn case_22_own_images_are_split_corrupted_trained_and_evaluated() {
    let space = TestSpace::with_pipeline(&format!(
        "version: 1
stages:
  photos: {{uses: dataset, needs: {{data: {{dir: photos}}}}, with: {{images: {{resize: {{width: 8, height: 6}}}}}}}}
  parts: {{uses: split, needs: {{data: photos.data}}, with: {{parts: {{a: 0.5, b: 0.5}}, seed: 1, by: class}}}}
  noisy: {{uses: corrupt, needs: {{data: parts.a}}, with: {{pixels: {{noise: {{std: 3.0}}}}, seed: 1}}}}
  train: {{uses: train, needs: {{train: noisy.data, test: parts.b}}, {TRAIN}}}
  test: {{uses: evaluate, needs: {{model: train.model, data: parts.b}}}}
"
    ));
    for (i, name) in ["rgb.png", "rgb.jpg", "palette.png", "progressive.jpg"]
        .iter()
        .enumerate()
    {
        let ending = &name[name.len() - 3..];
        space.write(&format!("photos/warm/{i}.{ending}"), foreign(name));
        space.write(
            &format!("photos/cold/below/{i}.{ending}"),
            foreign("grey.png"),
        );
    }
    space.write("photos/notes.txt", "not an image");
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.err
            .contains("files that are no images are left out: notes.txt"),
        "{}",
        said.err
    );
    let metrics = space.ok(&["metrics", "test"]);
    assert!(
        metrics.contains("accuracy[cold]") && metrics.contains("accuracy[warm]"),
        "{metrics}"
    );
    // One more image is another data set; a hidden file is not.
    space.write("photos/warm/9.jpg", "no image at all");
    let said = space.run(&["run"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("photos/warm/9.jpg: it is neither PNG nor JPEG"),
        "{}",
        said.err
    );
}

/// Floats, tables, more than 256 classes.
#[test]
fn case_22_tables_of_many_classes_train() {
    let space = TestSpace::with_pipeline(&format!(
        "version: 1
stages:
  many: {{uses: dataset, needs: {{data: {{file: many.csv}}}}, with: {{csv: {{label: y, ignore: price}}}}}}
  train: {{uses: train, needs: {{train: many.data}}, {TRAIN}}}
"
    ));
    let rows: String = (0..600)
        .map(|i| format!("{},{}.5,class {},{}.25\n", i % 7, i, i % 300, i))
        .collect();
    space.write("many.csv", format!("a,b,y,price\n{rows}"));
    let said = space.run(&["run", "train"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

/// A table with numbers to be learnt: a data set, a training, its errors, and a claim about them.
#[test]
fn case_22_numbers_are_learnt_evaluated_and_claimed() {
    let pipeline = |of: &str, more: &str| {
        format!(
            "version: 1
stages:
  houses: {{uses: dataset, needs: {{data: {{file: houses.csv}}}}, with: {{csv: {{targets: [price, rent]}}}}}}
  parts: {{uses: split, needs: {{data: houses.data}}, with: {{parts: {{a: 0.75, b: 0.25}}, seed: 1}}}}
  train:
    uses: train
    matrix: {{seed: [1, 2, 3]}}
    needs: {{train: parts.a, test: parts.b}}
    with: {{model: {{mlp: {{hidden: [8]}}}}, seed: \"${{matrix.seed}}\", length: {{epochs: 30}}, batch_size: 8, optimizer: {{adam: {{lr: 0.02}}}}{more}}}
  test: {{uses: evaluate, matrix: {{seed: [1, 2, 3]}}, needs: {{model: train.model, data: parts.b}}}}
claims:
  learnt: {{measure: {{of: {of}, in: test}}, expect: {{mean: {{below: 0.05}}}}}}
"
        )
    };
    let space = TestSpace::with_pipeline(&pipeline("mse", ""));
    let rows: String = (0..80)
        .map(|i| {
            (
                f64::from(i * 37 % 80) / 40.0 - 1.0,
                f64::from(i * 11 % 80) / 80.0,
            )
        })
        .map(|(a, b)| format!("{a},{b},{},{}\n", 2.0 * a - b, a * b + 0.5))
        .collect();
    space.write("houses.csv", format!("a,b,price,rent\n{rows}"));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("holds"), "{}", said.out);
    let shown = space.ok(&["metrics", "test[seed=1]"]);
    for name in ["mse", "mae", "r2", "mse[price]", "r2[rent]"] {
        assert!(shown.contains(name), "{name}\n{shown}");
    }
    assert!(!shown.contains("accuracy"), "{shown}");
    // What only classes have is told before anything runs, with its place.
    for (of, more, expected) in [
        ("accuracy", "", "these tables have no value `accuracy`"),
        (
            "mse",
            ", label_smoothing: 0.1",
            "this smooths labels, and numbers are to be learnt from these data",
        ),
        (
            "mse",
            ", stop_at: {train_accuracy: 0.9}",
            "this waits for an accuracy, which only classes have, and numbers are to be learnt",
        ),
    ] {
        space.write("pipeline.yaml", pipeline(of, more));
        let said = space.run(&["run"]);
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(expected), "{}", said.err);
        assert!(said.err.contains("pipeline.yaml:"), "{}", said.err);
    }
}

/// Classes where numbers are learnt, and the other way round.
#[test]
fn case_22_classes_and_numbers_do_not_meet() {
    let space = TestSpace::with_pipeline(&format!(
        "version: 1
stages:
  kinds: {{uses: dataset, needs: {{data: {{file: t.csv}}}}, with: {{csv: {{label: y, ignore: price}}}}}}
  price: {{uses: dataset, needs: {{data: {{file: t.csv}}}}, with: {{csv: {{targets: price, columns: [a, b]}}}}}}
  train: {{uses: train, needs: {{train: price.data, test: kinds.data}}, {TRAIN}}}
  noisy: {{uses: corrupt, needs: {{data: price.data}}, with: {{labels: {{random: {{fraction: 0.5}}}}, seed: 1}}}}
  parts: {{uses: split, needs: {{data: price.data}}, with: {{parts: {{a: 1.0}}, by: class, seed: 1}}}}
"
    ));
    space.write("t.csv", "a,b,y,price\n1,2,yes,0.5\n3,4,no,1.5\n");
    let said = space.run(&["run"]);
    assert_eq!(said.code, 2, "{}", said.err);
    for expected in [
        "these data have no labels: numbers are to be learnt from them",
        "these data have no classes: numbers are to be learnt from them",
    ] {
        assert_eq!(said.err.matches(expected).count(), 1, "{}", said.err);
    }
    // How large the images are is known when they are read.
    space.write(
        "pipeline.yaml",
        space
            .read("pipeline.yaml")
            .lines()
            .filter(|l| !l.contains("noisy") && !l.contains("parts"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let said = space.run(&["run"]);
    assert_ne!(said.code, 0);
    let expected = "has 2 classes, the model 1 number to be learnt";
    assert!(said.err.contains(expected), "{}", said.err);
}

/// Any stage can make a data set: an array that a command writes.
#[test]
fn case_22_a_command_makes_arrays_for_a_data_set() {
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 2), }";
    let labels = "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }";
    let npy = |header: &str, data: &[u8]| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    };
    let space = TestSpace::with_pipeline(&format!(
        "version: 1
stages:
  make:
    needs: {{x: {{file: x.npy}}, y: {{file: y.npy}}}}
    run: \"cat ${{needs.x}} > ${{outputs.x}}; cat ${{needs.y}} > ${{outputs.y}}\"
    outputs: {{x: x, y: y}}
  data: {{uses: dataset, needs: {{train: {{x: make.x, y: make.y}}}}, with: {{npy: {{}}, classes: [no, yes]}}}}
  train: {{uses: train, needs: {{train: data.train}}, {TRAIN}}}
"
    ));
    space.write("x.npy", npy(header, &[1, 2, 3, 4, 5, 6, 7, 8]));
    space.write("y.npy", npy(labels, &[0, 1, 1, 0]));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    // What is wrong with it is said by stage and output.
    space.write("y.npy", npy(labels, &[0, 1]));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("make.y (y): type `|u1`, shape [4]: 2 bytes of data"),
        "{}",
        said.err
    );
}

/// A claim over metrics in every form that people have them in.
#[test]
fn case_21_claims_read_metrics_of_any_form() {
    let forms = [
        ("metrics.json", "{\"accuracy\": 0.9SEED, \"test\": {\"loss\": 0.SEED}}".to_owned()),
        ("metrics.yaml", "accuracy: 0.9SEED\ntest: {loss: 0.SEED}\n".to_owned()),
        ("metrics.csv", "epoch,accuracy,test.loss\n1,0.1,9\n2,0.9SEED,0.SEED\n".to_owned()),
        ("metrics.tsv", "accuracy\ttest.loss\n0.9SEED\t0.SEED\n".to_owned()),
        ("metrics.jsonl", "{\"epoch\": 1, \"accuracy\": 0}\n{\"epoch\": 2, \"accuracy\": 0.9SEED, \"test\": {\"loss\": 0.SEED}}\n".to_owned()),
    ];
    let mut yaml = String::from("version: 1\nstages:\n");
    let mut claims = String::from("claims:\n");
    let space = TestSpace::new();
    for (file, text) in &forms {
        let name = file.replace('.', "-");
        space.write(&format!("{name}.txt"), text);
        yaml.push_str(&format!("  {name}:\n    matrix: {{seed: [1, 2, 3]}}\n    needs: {{form: {{file: {name}.txt}}}}\n    run: \"sed s/SEED/${{matrix.seed}}/g ${{needs.form}} > ${{outputs.metrics}}\"\n    outputs: {{metrics: {file}}}\n"));
        claims.push_str(&format!("  {name}: {{measure: {{of: accuracy, in: {name}}}, expect: {{mean: {{above: 0.8}}}}}}\n"));
    }
    yaml.push_str("  summary:\n    uses: summarise\n    needs: {tables: {json: \"metrics-json[*].metrics\", csv: \"metrics-csv[*].metrics\"}}\n    with: {of: [accuracy, test.loss]}\n");
    space.write("pipeline.yaml", yaml + &claims);
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(
        said.out.matches("holds").count(),
        forms.len(),
        "{}",
        said.out
    );
    let shown = space.ok(&["metrics", "metrics-csv[seed=2]"]);
    assert!(shown.contains("0.92") && shown.contains("0.2"), "{shown}");
    assert!(space.read("artifacts/summary/summary.md").contains("0.92"));
}

/// Parquet of pandas (snappy) reaches claims; what cannot be read is named by stage and output, and
/// told before the run where it can be.
#[test]
fn case_21_what_cannot_be_read_is_named_by_stage_and_output() {
    let pipeline = |file: &str| {
        format!(
            "version: 1
stages:
  frame:
    matrix: {{seed: [1, 2]}}
    needs: {{file: {{file: given}}}}
    run: \"cat ${{needs.file}} > ${{outputs.metrics}}; echo ${{matrix.seed}} > ${{outputs.seed}}\"
    outputs: {{metrics: {file}, seed: seed}}
claims:
  good: {{measure: {{of: accuracy, in: frame}}, expect: {{mean: {{above: 0.5}}}}}}
"
        )
    };
    let space = TestSpace::with_pipeline(&pipeline("m.parquet"));
    space.write("given", foreign("pandas.snappy.parquet"));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let shown = space.ok(&["metrics", "frame"]);
    assert!(shown.contains("0.875"), "{shown}");

    for (content, expected) in [
        (
            "{\"accuracy\": \"high\"}",
            "frame[seed=1].metrics (m.parquet): not a readable metrics table: it holds no number: `accuracy` is the text `high`",
        ),
        (
            "{\"accuracy\": NaN, \"n\": 1}",
            "frame[seed=1].metrics (m.parquet): the value of `accuracy` is NaN",
        ),
        (
            "{\"acuracy\": 0.5}",
            "frame[seed=1].metrics (m.parquet): it has no value `accuracy`",
        ),
        // What pandas, Keras and a shell write first; each is told what to write.
        (
            "{\"accuracy\": {\"0\": 0.5, \"1\": 0.7}}",
            "`accuracy` holds numbers by row: write one map per row",
        ),
        (
            "{\"a\": {\"accuracy\": 0.7}, \"b\": {\"accuracy\": 0.6}}",
            "say which: `of: a.accuracy`",
        ),
        (
            "{\"loss\": [0.5, 0.4], \"accuracy\": [0.7, 0.8]}",
            "add `\"epoch\": [1, 2]`",
        ),
        ("accuracy 0.7\n", "write `accuracy: 0.7`, one a line"),
        (
            "{\"accuracy\": 0.1,\n \"n\": ",
            "line 2: the JSON ends before it is complete",
        ),
        (
            "{\"accuracy\": 0.1, \"accuracy\": 0.7}",
            "`accuracy` appears twice",
        ),
    ] {
        space.write("given", content);
        let said = space.run(&["run"]);
        assert_eq!(said.code, 1, "{content}");
        assert!(said.err.contains(expected), "{content}\n{}", said.err);
        assert!(!said.err.contains("/objects/"), "{}", said.err);
    }
}

/// What a claim needs is looked at before anything runs, as far as names tell.
#[test]
fn case_21_an_output_that_is_no_table_is_told_before_the_run() {
    let space = TestSpace::with_pipeline(
        "version: 1
stages:
  train: {run: \"touch ${outputs.model}\", outputs: {model: model.safetensors}}
claims:
  good: {measure: {of: accuracy, in: train, table: model}, expect: {mean: {above: 0.5}}}
",
    );
    let said = space.run(&["run"]);
    assert_eq!(said.code, 2, "{}", said.err);
    let expected = "the output `model` of `train` is the file `model.safetensors`, which is no table of numbers";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(!space.exists("artifacts/train"));
}

/// The same for whatever counts rows of tables, and only for what it counts.
#[test]
fn case_21_every_kind_that_counts_tables_is_told_before_the_run() {
    let space = TestSpace::with_pipeline(
        "version: 1
stages:
  run:
    matrix: {seed: [0, 1]}
    run: \"touch ${outputs.model} ${outputs.metrics}; mkdir ${outputs.d}\"
    outputs: {model: model.safetensors, metrics: metrics.json, d: d}
  all: {uses: summarise, needs: {tables: \"run[*].model\"}, with: {of: accuracy}}
  some:
    uses: summarise
    needs: {tables: {a: \"run[*].metrics\", b: \"run[*].d/plot.png\"}}
    with: {of: accuracy}
  own: {uses: summarise, needs: {tables: {file: pipeline.yml}}, with: {of: accuracy}}
",
    );
    space.write("pipeline.yml", "a: 1\n");
    let said = space.run(&["run"]);
    assert_eq!(said.code, 2, "{}", said.err);
    for text in [
        "stages.all.needs.tables: the output `model` of `run` is the file `model.safetensors`, which is no table",
        "`run.metrics` is another output",
        "stages.some.needs.tables.b: the output `d` of `run` is the file `plot.png`, which is no table",
    ] {
        assert!(said.err.contains(text), "{text}: {}", said.err);
    }
    assert_eq!(
        said.err.matches("no table of numbers").count(),
        2,
        "{}",
        said.err
    );
    assert!(
        !said.err.contains("`table: "),
        "that belongs to claims: {}",
        said.err
    );
}

/// What is no data set is called by stage and output, and the way in is said.
#[test]
fn case_22_what_is_no_data_set_leads_to_the_kind_that_makes_one() {
    let space = TestSpace::with_pipeline(&format!(
        "version: 1
stages:
  table: {{run: \"echo a,y > ${{outputs.rows}}\", outputs: {{rows: rows.csv}}}}
  train: {{uses: train, needs: {{train: table.rows}}, {TRAIN}}}
"
    ));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 1);
    let place = "table.rows (rows.csv) is not a data set";
    assert!(said.err.contains(place), "{}", said.err);
    let remedy = "own images, tables and arrays come in through a stage `uses: dataset`";
    assert!(said.err.contains(remedy), "{}", said.err);
}

/// A directory that a command made is read like one of the project; parts are named inside it.
#[test]
fn case_22_a_command_makes_a_folder_of_images() {
    let space = TestSpace::with_pipeline(
        "version: 1
stages:
  draw:
    needs: {image: {file: given.png}}
    run: \"mkdir -p ${outputs.dir}/{train,val}/{a,b}; for d in ${outputs.dir}/*/*; do cp ${needs.image} $d/1.png; done\"
    outputs: {dir: drawn}
  photos: {uses: dataset, needs: {data: draw.dir}, with: {images: {}, parts: {train: train, test: val}}}
  whole: {uses: dataset, needs: {data: draw.dir}, with: {images: {}}}
",
    );
    space.write("given.png", foreign("rgb.png"));
    let said = space.run(&["run", "photos"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let files = [
        "artifacts/photos/train.safetensors",
        "artifacts/photos/test.safetensors",
    ];
    assert!(files.iter().all(|f| space.exists(f)));
    let said = space.run(&["run", "whole"]);
    assert_eq!(said.code, 1);
    let parts = "draw.dir (drawn) holds the parts train, val, not classes";
    assert!(said.err.contains(parts), "{}", said.err);
    assert!(
        said.err.contains("say `parts: {train: train, val: val}`"),
        "{}",
        said.err
    );
}

/// Weights of PyTorch are pruned, perturbed, averaged and evaluated where the pipeline says what
/// they are.
#[test]
fn case_23_pytorch_weights_go_wherever_models_go() {
    let network = "network: {model: {mlp: {hidden: [6, 5]}}, input: {height: 8, width: 8, channels: 2}, classes: 4}";
    let pipeline = |network: &str, more: &str| {
        format!(
            "version: 1
stages:
  prune: {{uses: prune, needs: {{model: {{file: net.safetensors}}}}, with: {{fraction: 0.5, {network}}}}}
  perturb: {{uses: perturb, needs: {{model: {{file: net.safetensors}}}}, with: {{shrink: 0.5, perturb: 0.1, seed: 1, {network}}}}}
  average: {{uses: average, needs: {{models: [prune.model, perturb.model, {{file: net.safetensors}}]}}, with: {{{network}}}}}
  test: {{uses: evaluate, needs: {{model: average.model, data: {{file: data.safetensors}}}}}}
{more}"
        )
    };
    let space = TestSpace::with_pipeline(&pipeline(network, ""));
    space.write("net.safetensors", foreign("torch.lenet.half.safetensors"));
    space.write("data.safetensors", foreign("torch.data.safetensors"));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(space.ok(&["metrics", "test"]).contains("accuracy"));
    // Another network than is known, before anything runs.
    let other = network.replace("classes: 4", "classes: 5");
    let more = format!(
        "  again: {{uses: prune, needs: {{model: prune.model}}, with: {{fraction: 0.1, {other}}}}}\n"
    );
    space.write("pipeline.yaml", pipeline(network, &more));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 2, "{}", said.err);
    let expected = "the model under `needs:` is another one";
    assert_eq!(said.err.matches(expected).count(), 1, "{}", said.err);
    // Nobody says what they are.
    space.write(
        "pipeline.yaml",
        "version: 1\nstages:\n  prune: {uses: prune, needs: {model: {file: net.safetensors}}, with: {fraction: 0.5}}\n",
    );
    let said = space.run(&["run"]);
    assert_eq!(said.code, 2, "{}", said.err);
    for expected in ["does not say which network", "`with: {network: ...}`"] {
        assert!(said.err.contains(expected), "{expected}\n{}", said.err);
    }
}

/// A program of one's own is compared with a training: what its value must be called is said
/// wherever it is missed.
#[test]
fn case_21_own_metrics_are_compared_with_those_of_kinds() {
    let pipeline = |of: &str, key: &str| {
        format!(
            "version: 1
stages:
  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 60, test: 60}}}}}}
  net: {{uses: train, matrix: {{seed: [1, 2]}}, needs: {{train: data.train, test: data.test}}, with: {{model: {{mlp: {{hidden: [4]}}}}, seed: \"${{matrix.seed}}\", length: {{epochs: 1}}, optimizer: {{sgd: {{lr: 0.1}}}}}}}}
  eval: {{matrix: {{seed: [1, 2]}}, run: \"echo '{{\\\"{key}\\\": 0.${{matrix.seed}}, \\\"n\\\": 3}}' > ${{outputs.metrics}}\", outputs: {{metrics: m.json}}}}
claims:
  c: {{compare: {{of: {of}, a: eval, b: net}}, expect: {{difference: {{above: -9.0}}}}}}
"
        )
    };
    let space = TestSpace::with_pipeline(&pipeline("accuracy", "accuracy"));
    let said = space
        .run(&["run"])
        .expect(2, &["`accuracy` may mean test_accuracy or train_accuracy"]);
    let way = "say which: `of: test_accuracy`; a table of a program of your own must call its value so too (docs/data.md)";
    assert!(said.err.contains(way), "{}", said.err);
    space.write("pipeline.yaml", pipeline("test_accuracy", "accuracy"));
    let said = space.run(&["run"]);
    assert_eq!(said.code, 1, "{}", said.err);
    let way = "its values: accuracy, n; if `accuracy` is what is meant, the program must write it as `test_accuracy`";
    assert!(said.err.contains(way), "{}", said.err);
    space.write("pipeline.yaml", pipeline("test_accuracy", "test_accuracy"));
    space.ok(&["run"]);
}
