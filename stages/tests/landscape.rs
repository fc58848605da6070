//! The kind `landscape` against the kinds that give the same at single points, and against laws of
//! lines and planes.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;

use arrow_array::{Array, Float64Array, RecordBatch, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use repro_stages::weights::TensorFile;
use serde_json::{Value, json};
use support::{Bench, Ran, data, numbers};

/// x, y, name, value.
type Point = (f64, Option<f64>, String, f64);

fn grid(ran: &Ran) -> Vec<Point> {
    let file = std::fs::File::open(ran.path("grid")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let mut points = Vec::new();
    for batch in &batches {
        let number = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            column.as_any().downcast_ref::<Float64Array>().unwrap()
        };
        let names = batch.column_by_name("name").unwrap();
        let names = names.as_any().downcast_ref::<StringArray>().unwrap();
        let (x, y, value) = (number("x"), number("y"), number("value"));
        points.extend((0..batch.num_rows()).map(|i| {
            let y = y.is_valid(i).then(|| y.value(i));
            (x.value(i), y, names.value(i).to_owned(), value.value(i))
        }));
    }
    points
}

fn values(points: &[Point], name: &str) -> Vec<f64> {
    let named = points.iter().filter(|p| p.2 == name);
    named.map(|p| p.3).collect()
}

fn trained(bench: &Bench, train: &Path, model: Value, seed: u64) -> Ran {
    let with = json!({"model": model, "seed": seed, "length": {"epochs": 3}, "batch_size": 16,
        "optimizer": {"adam": {"lr": 0.01}}});
    bench.run("train", with, &[("train", train)]).unwrap()
}

fn perceptron() -> Value {
    json!({"mlp": {"hidden": [12]}})
}

#[test]
fn a_line_begins_and_ends_at_its_models_and_its_middle_is_their_average() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 90, (4, 4, 1), 3));
    let test = bench.put("test", &data(2, 60, (4, 4, 1), 3));
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, perceptron(), seed));
    let models = [("models", a.path("model")), ("models", b.path("model"))];
    let on = |with: Value| {
        let inputs = [models[0], models[1], ("data", test.as_path())];
        bench.run("landscape", with, &inputs).unwrap()
    };
    let line = on(json!({"points": 11}));
    let points = grid(&line);
    let xs: Vec<f64> = points.iter().step_by(2).map(|p| p.0).collect();
    assert_eq!(xs.len(), 11);
    assert!(xs.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(points.iter().all(|p| p.1.is_none()));
    let (losses, errors) = (values(&points, "loss"), values(&points, "error"));
    let middle = bench.run("average", Value::Null, &models).unwrap();
    for (at, model) in [(0, &a), (10, &b), (5, &middle)] {
        let inputs = [("model", model.path("model")), ("data", test.as_path())];
        let score = bench.run("evaluate", Value::Null, &inputs).unwrap();
        assert_eq!(losses[at], score.metric("test", "loss"), "point {at}");
        assert_eq!(errors[at], 1.0 - score.metric("test", "accuracy"));
    }
    // The barrier is the highest value less the mean of the ends.
    for (name, all) in [("loss", &losses), ("error", &errors)] {
        let highest = all.iter().copied().fold(f64::MIN, f64::max);
        let barrier = highest - (all[0] + all[10]) / 2.0;
        assert_eq!(line.metric("test", &format!("{name}_barrier")), barrier);
    }
    // What lies beyond the models is no part of the barrier.
    let longer = on(json!({"points": 31, "margin": 1.0}));
    let beyond = values(&grid(&longer), "loss");
    let between = beyond[10..=20].iter().copied().fold(f64::MIN, f64::max);
    assert_eq!((beyond[10], beyond[20]), (losses[0], losses[10]));
    let barrier = between - (beyond[10] + beyond[20]) / 2.0;
    assert_eq!(longer.metric("test", "loss_barrier"), barrier);
    // Twice the same bits.
    assert_eq!(on(json!({"points": 11})).bytes("grid"), line.bytes("grid"));
}

/// Between networks that were trained apart hidden units vary less than in either; REPAIR gives them
/// their means and deviations back, and leaves the ends alone. Checked on a network whose hidden units
/// can be read off by `probe`.
#[test]
fn repaired_layers_vary_as_between_the_ends() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 200, (4, 4, 1), 3));
    let deep = json!({"mlp": {"hidden": [16, 16]}});
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, deep.clone(), seed));
    let models = [("models", a.path("model")), ("models", b.path("model"))];
    let inputs = [
        models[0],
        models[1],
        ("data", train.as_path()),
        ("train", train.as_path()),
    ];
    let on = |with: Value| bench.run("landscape", with, &inputs).unwrap();
    let (naive, repaired) = (
        on(json!({"points": 5})),
        on(json!({"points": 5, "repair": "activations"})),
    );
    let losses = |ran: &Ran| values(&grid(ran), "loss");
    let (naive, again) = (losses(&naive), losses(&repaired));
    assert_eq!((naive[0], naive[4]), (again[0], again[4]));
    assert!(naive[1..4].iter().zip(&again[1..4]).all(|(a, b)| a != b));
    // From a network to itself there is nothing to repair.
    let same = [models[0], ("models", a.path("model"))];
    let same = [same[0], same[1], inputs[2], inputs[3]];
    let still = bench.run(
        "landscape",
        json!({"points": 3, "repair": "activations"}),
        &same,
    );
    let still = losses(&still.unwrap());
    assert!((still[0] - still[1]).abs() < 1e-5, "{still:?}");
}

#[test]
fn what_cannot_be_repaired_is_refused() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 60, (4, 4, 1), 3));
    let three = [1, 2, 3].map(|seed| trained(&bench, &train, perceptron(), seed));
    let mut plane: Vec<(&str, &Path)> = three.iter().map(|m| ("models", m.path("model"))).collect();
    plane.extend([("data", train.as_path()), ("train", train.as_path())]);
    let with = json!({"points": 3, "repair": "activations"});
    let refused = bench.run("landscape", with, &plane).err().unwrap();
    let text = "`repair` is for the line between two models, and there are 3 models";
    assert!(refused.to_string().contains(text), "{refused}");
    let norm = json!({"mlp": {"hidden": [8], "batch_norm": {}}});
    let bare = json!({"conv": {"layers": [{"conv": {"channels": 4, "bias": false}}, {"activation": "relu"}]}});
    for (model, told) in [(norm, "without batch norm"), (bare, "has no bias")] {
        let [a, b] = [1, 2].map(|seed| trained(&bench, &train, model.clone(), seed));
        let inputs = [
            ("models", a.path("model")),
            ("models", b.path("model")),
            ("data", train.as_path()),
            ("train", train.as_path()),
        ];
        let with = json!({"points": 3, "repair": "activations"});
        let refused = bench.run("landscape", with, &inputs).err().unwrap();
        assert!(refused.to_string().contains(told), "{refused}");
    }
}

#[test]
fn a_plane_has_its_models_where_it_says() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 90, (4, 4, 1), 3));
    let [a, b, c] = [1, 2, 3].map(|seed| trained(&bench, &train, perceptron(), seed));
    let inputs = [
        ("models", a.path("model")),
        ("models", b.path("model")),
        ("models", c.path("model")),
        ("data", train.as_path()),
    ];
    let plane = bench.run("landscape", json!({"points": 5, "margin": 0.0}), &inputs);
    let plane = plane.unwrap();
    let points = grid(&plane);
    let read = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let flat = |ran: &Ran| -> Vec<f64> {
        let tensors = read(ran);
        let all = tensors.values().flat_map(|t| &t.data);
        all.map(|w| f64::from(*w)).collect()
    };
    let apart = |a: &Ran, b: &Ran| {
        let (a, b) = (flat(a), flat(b));
        let squares = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>().sqrt()
    };
    let at = |name: &str| plane.metric("test", name);
    // Distances in the plane are those between weights.
    assert!((at("x[2]") - apart(&a, &b)).abs() < 1e-9);
    assert!((at("x[3]").hypot(at("y[3]")) - apart(&a, &c)).abs() < 1e-9);
    let between = (at("x[3]") - at("x[2]")).hypot(at("y[3]"));
    assert!((between - apart(&b, &c)).abs() < 1e-9);
    // The corner at the origin is the first model, the next one the second.
    let loss = |model: &Ran| {
        let inputs = [("model", model.path("model")), ("data", train.as_path())];
        let score = bench.run("evaluate", Value::Null, &inputs).unwrap();
        score.metric("test", "loss")
    };
    let of = |x: f64, y: f64| {
        let mut found = points.iter().filter(|p| p.2 == "loss");
        found.find(|p| p.0 == x && p.1 == Some(y)).unwrap().3
    };
    assert_eq!(of(0.0, 0.0), loss(&a));
    assert!((of(at("x[2]"), 0.0) - loss(&b)).abs() < 1e-5);
    let least = values(&points, "loss").into_iter().fold(f64::MAX, f64::min);
    assert_eq!(at("least_loss"), least);
}

/// The squared error of a linear model is a quadratic function of its weights.
#[test]
fn the_squared_error_of_a_linear_model_is_a_bowl() {
    let bench = Bench::new();
    let train = bench.put("train", &numbers(1, 60, 1));
    let linear = json!({"mlp": {"hidden": []}});
    let model = trained(&bench, &train, linear, 1);
    let inputs = [("models", model.path("model")), ("data", train.as_path())];
    let with = json!({"points": 7, "random": {"seed": 3, "span": 2.0}});
    let around = bench.run("landscape", with.clone(), &inputs).unwrap();
    let points = grid(&around);
    let mse = values(&points, "mse");
    assert_eq!(mse.len(), 49);
    let row = &mse[7..14];
    let second: Vec<f64> = row.windows(3).map(|w| w[0] - 2.0 * w[1] + w[2]).collect();
    let mean = second.iter().sum::<f64>() / 5.0;
    assert!(mean > 1e-3);
    assert!(
        second.iter().all(|s| (s - mean).abs() < 1e-4 * mean),
        "{second:?}"
    );
    // The middle is the model itself.
    let inputs = [("model", model.path("model")), ("data", train.as_path())];
    let score = bench.run("evaluate", Value::Null, &inputs).unwrap();
    assert_eq!(mse[24], score.metric("test", "mse"));
}

#[test]
fn rays_begin_at_the_model_and_are_as_long_as_they_say() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 90, (4, 4, 1), 3));
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, perceptron(), seed));
    let loss_at = |model: &Path| {
        let inputs = [("model", model), ("data", train.as_path())];
        let score = bench.run("evaluate", Value::Null, &inputs).unwrap();
        score.metric("test", "loss")
    };
    let inputs = [("models", a.path("model")), ("data", train.as_path())];
    let random = json!({"random": {"seed": 4, "count": 6}});
    let with = json!({"points": 5, "rays": {"length": 3.0, "along": random}});
    let rays = bench.run("landscape", with, &inputs).unwrap();
    let points = grid(&rays);
    let losses = values(&points, "loss");
    assert_eq!(losses.len(), 6 * 5);
    assert!(
        losses
            .chunks(5)
            .all(|ray| ray[0] == loss_at(a.path("model")))
    );
    let numbers: Vec<f64> = points.iter().step_by(10).filter_map(|p| p.1).collect();
    assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let rise: f64 = losses.chunks(5).map(|ray| ray[4] - ray[0]).sum();
    assert!((rays.metric("test", "loss_rise") - rise / 6.0).abs() < 1e-12);
    // Away from the second model is the line through both, beyond the first.
    let both = [inputs[0], ("models", b.path("model")), inputs[1]];
    let [from, to] = [&a, &b].map(|ran| TensorFile::read(ran.path("model")).unwrap().tensors);
    let squares = from
        .iter()
        .flat_map(|(name, t)| t.data.iter().zip(&to[name].data));
    let apart = squares
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum::<f64>()
        .sqrt();
    let away = json!({"points": 3, "rays": {"length": 0.5 * apart, "along": "away"}});
    let away = bench.run("landscape", away, &both).unwrap();
    let line = json!({"points": 9, "margin": 0.5});
    let line = bench.run("landscape", line, &both).unwrap();
    let (away, line) = (values(&grid(&away), "loss"), values(&grid(&line), "loss"));
    for (ray, line) in away.iter().zip([line[2], line[1], line[0]]) {
        assert!((ray - line).abs() < 1e-5, "{ray} {line}");
    }
}

#[test]
fn batch_norm_has_statistics_at_every_point() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 90, (4, 4, 1), 3));
    let model = json!({"mlp": {"hidden": [12], "batch_norm": {}}});
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, model.clone(), seed));
    let models = [("models", a.path("model")), ("models", b.path("model"))];
    let data = ("data", train.as_path());
    let why = bench.run("landscape", Value::Null, &[models[0], models[1], data]);
    let why = format!("{:#}", why.err().unwrap());
    assert!(why.contains("batch norm"), "{why}");
    let anew = [models[0], models[1], data, ("train", train.as_path())];
    let line = bench.run("landscape", json!({"points": 3}), &anew).unwrap();
    // As `average` with the training data.
    let with_data = [models[0], models[1], ("train", train.as_path())];
    let middle = bench.run("average", Value::Null, &with_data).unwrap();
    let inputs = [("model", middle.path("model")), data];
    let score = bench.run("evaluate", Value::Null, &inputs).unwrap();
    let losses = values(&grid(&line), "loss");
    assert_eq!(losses[1], score.metric("test", "loss"));
}

#[test]
fn what_makes_no_line_and_no_plane_is_said() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 90, (4, 4, 1), 3));
    let [a, b] = [1, 2].map(|seed| trained(&bench, &train, perceptron(), seed));
    let models = [("models", a.path("model")), ("models", b.path("model"))];
    let middle = bench.run("average", Value::Null, &models).unwrap();
    let other = trained(&bench, &train, json!({"mlp": {"hidden": [11]}}), 1);
    let [a, b, middle, other] = [&a, &b, &middle, &other].map(|ran| ("models", ran.path("model")));
    let data = ("data", train.as_path());
    let random = json!({"random": {"seed": 1}});
    let ray = json!({"rays": {"length": 1.0, "along": {"random": {"seed": 1}}}});
    let away = json!({"rays": {"length": 1.0, "along": "away"}});
    for (with, inputs, said) in [
        (Value::Null, vec![a, data], "one model says no direction"),
        (random, vec![a, b, data], "`random` goes with one model"),
        (ray, vec![a, b, data], "random rays begin at one model"),
        (away, vec![a, data], "a ray away from a model goes with two"),
        (Value::Null, vec![a, b, a, b, data], "there are 4 models"),
        (Value::Null, vec![a, b, middle, data], "on one line"),
        (Value::Null, vec![a, a, b, data], "are the same"),
        (
            Value::Null,
            vec![a, other, data],
            "of the first model it is",
        ),
    ] {
        let failure = bench.run("landscape", with, &inputs).err().unwrap();
        let why = format!("{failure:#}");
        assert!(why.contains(said), "{why}");
    }
}

/// A network is like itself, also where it is compared in batches of which the last is not whole;
/// less like another one; and what is compared may have different shapes.
#[test]
fn layers_are_compared_by_what_they_make_of_images() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 300, (4, 4, 1), 3));
    let a = trained(&bench, &train, perceptron(), 1);
    let b = trained(&bench, &train, json!({"mlp": {"hidden": [9, 7]}}), 2);
    let compared = |like: &Ran, with: Value| {
        let inputs: [(&str, &Path); 3] = [
            ("model", a.path("model")),
            ("like", like.path("model")),
            ("data", &train),
        ];
        table(&bench.run("cka", with, &inputs).unwrap())
    };
    let itself = compared(&a, json!({"seed": 3, "images": 200}));
    let names: Vec<&str> = itself.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(names, ["cka", "cka[fc1]", "cka[fc2]"]);
    assert!(itself.iter().all(|row| (row.1 - 1.0).abs() < 1e-9));
    let other = compared(&b, json!({"seed": 3, "images": 200, "pairs": "all"}));
    assert_eq!(other.len(), 6);
    assert_eq!(other[4].0, "cka[fc2,fc2]");
    assert!(
        other.iter().all(|row| (0.01..0.999).contains(&row.1)),
        "{other:?}"
    );
    // Fewer images than are asked for, and the order of all of them, make no difference.
    let all = [(4, 300), (5, 10_000)]
        .map(|(seed, images)| compared(&b, json!({"seed": seed, "images": images})));
    let [one, two] = all.map(|rows| rows[0].1);
    assert!((one - two).abs() < 1e-5, "{one} {two}");
}

fn table(ran: &Ran) -> Vec<(String, f64)> {
    let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
    rows.into_iter().map(|row| (row.name, row.value)).collect()
}
