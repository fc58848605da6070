//! What a training can be told beside its model: data that join later, validation and patience,
//! decay, clipping and schedules.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;

use repro_stages::kinds;
use repro_stages::table;
use repro_stages::weights::TensorFile;
use serde_json::{Value, json};
use support::{Bench, Ran, data};

/// The parameters of a small training, and more.
fn with(more: Value) -> Value {
    let mut all = json!({"model": {"mlp": {"hidden": [12], "batch_norm": {}, "dropout": 0.1}},
        "seed": 5, "length": {"epochs": 6}, "batch_size": 16,
        "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}}});
    let more = more.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    all
}

fn rows(ran: &Ran, split: Option<&str>, name: &str) -> Vec<(i64, i64, f64)> {
    let rows = table::read(ran.path("metrics")).unwrap().rows;
    let wanted = rows
        .iter()
        .filter(|r| r.split.as_deref() == split && r.name == name);
    wanted
        .map(|r| (r.epoch.unwrap(), r.step.unwrap(), r.value))
        .collect()
}

fn same_model(a: &Ran, b: &Ran) -> bool {
    a.bytes("model") == b.bytes("model")
}

fn refused(bench: &Bench, with: Value, inputs: &[(&str, &Path)]) -> String {
    format!("{:#}", bench.run("train", with, inputs).err().unwrap())
}

/// The laws of data that join later: before the first portion a training is the one without them;
/// with everything visible it is the one on all data; and any cut gives the bits of the whole.
#[test]
fn data_join_later() {
    let bench = Bench::new();
    let whole = data(1, 100, (4, 4, 1), 3);
    let pick = |from: usize, to: usize| whole.pick(&(from..to).collect::<Vec<_>>());
    let (first, others) = (
        bench.put("first", &pick(0, 40)),
        bench.put("others", &pick(40, 100)),
    );
    let (alone, joined): ([(&str, &Path); 1], [(&str, &Path); 2]) =
        ([("train", &first)], [("train", &first), ("later", &others)]);
    let portions = |after: u64, every: u64, share: f64, draw: &str| json!({"portions": {"after": after, "every": every, "share": share, "draw": draw}});
    let run =
        |more: Value, inputs: &[(&str, &Path)]| bench.run("train", with(more), inputs).unwrap();
    let late = run(json!({"later": portions(6, 1, 0.5, "fresh")}), &joined);
    assert!(same_model(&late, &run(json!({}), &alone)));
    let at_once = run(json!({"later": portions(0, 1, 1.0, "cumulative")}), &joined);
    let both: [(&str, &Path); 2] = [("train", &first), ("train", &others)];
    assert!(same_model(&at_once, &run(json!({}), &both)));
    for (later, images) in [
        (
            portions(2, 2, 0.25, "cumulative"),
            [40., 40., 55., 55., 70., 70.],
        ),
        (
            portions(1, 2, 0.25, "fresh"),
            [40., 55., 55., 55., 55., 55.],
        ),
        (
            json!({"sliding": {"gamma": 0.9, "epochs": 20}}),
            [40., 54., 65., 73., 79., 84.],
        ),
    ] {
        let whole = run(json!({"later": later}), &joined);
        let seen: Vec<f64> = rows(&whole, None, "images").iter().map(|r| r.2).collect();
        assert_eq!(seen, images, "{later}");
        for cut in [1, 3, 5] {
            let shorter = json!({"later": later, "length": {"epochs": cut}});
            let part = run(shorter, &joined);
            let state = part.states_dir.join(format!("epoch-{cut}.state"));
            let more = with(json!({"later": later}));
            let rest = bench.resume("train", more, &joined, Some(&state)).unwrap();
            assert!(same_model(&whole, &rest), "{later} {cut}");
            assert_eq!(whole.bytes("metrics"), rest.bytes("metrics"));
            let all: f64 = images[cut as usize..].iter().sum();
            assert_eq!(rest.figures["images"], all, "only the rest was trained");
        }
        // A budget of steps ends where it ends.
        let budget = run(json!({"later": later, "length": {"steps": 11}}), &joined);
        assert_eq!(rows(&budget, None, "images").last().unwrap().1, 11);
    }
    let states = |epochs: u64, every: u64| {
        let info = kinds::find("train").unwrap();
        let later = portions(1, every, 0.5, "cumulative");
        let with = with(json!({"later": later, "length": {"epochs": epochs}}));
        let params = (info.check)(&with, &["train".into(), "later".into()])
            .unwrap()
            .params;
        let mut points = (info.states.as_ref().unwrap())(&params);
        points.reverse();
        points.into_iter().map(|p| p.preimage).collect::<Vec<_>>()
    };
    assert_eq!(
        states(3, 1),
        states(5, 1)[..3],
        "a longer training takes the states"
    );
    assert_ne!(states(3, 1), states(3, 2));
    let cosine = json!({"later": portions(1, 1, 0.5, "fresh"), "schedule": {"cosine": {}}});
    assert!(refused(&bench, with(cosine), &joined).contains("epochs differ in length"));
    let unsaid = refused(&bench, with(json!({})), &joined);
    assert!(
        unsaid.contains("nothing says when its images join"),
        "{unsaid}"
    );
    let nothing = with(json!({"later": portions(1, 1, 0.5, "fresh")}));
    assert!(refused(&bench, nothing, &alone).contains("no images that could join"));
}

/// Validation is measured as the test set is, and changes nothing that was there before.
#[test]
fn validation_is_measured_beside_test() {
    let bench = Bench::new();
    let put = |name: &str, seed: u64| bench.put(name, &data(seed, 60, (4, 4, 1), 3));
    let (train, test, validation) = (put("train", 1), put("test", 2), put("validation", 3));
    let inputs: [(&str, &Path); 3] = [
        ("train", &train),
        ("test", &test),
        ("validation", &validation),
    ];
    let run =
        |more: Value, inputs: &[(&str, &Path)]| bench.run("train", with(more), inputs).unwrap();
    let (both, plain) = (run(json!({}), &inputs), run(json!({}), &inputs[..2]));
    assert!(same_model(&both, &plain));
    for name in ["loss", "accuracy"] {
        assert_eq!(
            rows(&both, Some("test"), name),
            rows(&plain, Some("test"), name)
        );
    }
    let swapped: [(&str, &Path); 3] = [
        ("train", &train),
        ("test", &validation),
        ("validation", &test),
    ];
    let swapped = run(json!({}), &swapped);
    let (loss, other) = (
        rows(&both, Some("validation"), "loss"),
        rows(&swapped, Some("test"), "loss"),
    );
    assert_eq!((loss.len(), &loss), (6, &other));

    // Every three steps of four an epoch: in the middle of epochs, and the end.
    let by_steps = run(
        json!({"eval_every": {"steps": 3}, "length": {"epochs": 2}}),
        &inputs,
    );
    let at: Vec<_> = rows(&by_steps, Some("validation"), "loss")
        .iter()
        .map(|r| (r.0, r.1))
        .collect();
    assert_eq!(at, [(1, 3), (2, 6), (2, 8)]);
    let each = run(json!({"length": {"epochs": 2}}), &inputs);
    assert!(same_model(&by_steps, &each), "looking changes nothing");
    assert_eq!(
        rows(&by_steps, Some("test"), "loss").last(),
        rows(&each, Some("test"), "loss").last()
    );
    let zero = with(json!({"eval_every": {"steps": 0}}));
    assert!(refused(&bench, zero, &inputs).contains("must be at least 1"));
    let misspelt = refused(&bench, with(json!({"eval_every": {"step": 5}})), &inputs);
    assert!(misspelt.contains("steps"), "{misspelt}");
    let checked = |more: Value| {
        let kind = kinds::find("train").unwrap();
        (kind.check)(&with(more), &["train".into()]).unwrap().params
    };
    assert_eq!(checked(json!({}))["eval_every"], json!(1), "keys stay");
    assert_eq!(checked(json!({"eval_every": 3}))["eval_every"], json!(3));
    assert_eq!(
        checked(json!({"eval_every": {"steps": 3}}))["eval_every"],
        json!({"steps": 3})
    );
}

/// Training ends when the validation loss has not got better for long enough, and its result is
/// the model of the last epoch or of the best, also where it was resumed on the way.
#[test]
fn patience_ends_a_training() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 48, (4, 4, 1), 3));
    let validation = bench.put("validation", &data(7, 60, (4, 4, 1), 3));
    let inputs: [(&str, &Path); 2] = [("train", &train), ("validation", &validation)];
    let until = |epochs: u64, keep: &str| {
        let patience = json!({"of": "validation_loss", "epochs": 3, "keep": keep});
        with(json!({"length": {"epochs": epochs}, "stop_at": {"patience": patience}}))
    };
    let run = |with: Value| bench.run("train", with, &inputs).unwrap();
    let (last, best) = (run(until(200, "last")), run(until(200, "best")));
    let losses = rows(&last, Some("validation"), "loss");
    let ended = losses.last().unwrap().0;
    assert!((4..200).contains(&ended), "{ended}");
    let lowest = losses.iter().min_by(|a, b| a.2.total_cmp(&b.2)).unwrap();
    assert_eq!(lowest.0, ended - 3);
    assert_eq!(rows(&best, Some("validation"), "loss"), losses);
    let of_length = |epochs: i64| run(with(json!({"length": {"epochs": epochs}})));
    assert!(same_model(&last, &of_length(ended)));
    assert!(same_model(&best, &of_length(ended - 3)));
    for cut in [1, ended as u64 - 2, ended as u64] {
        let part = run(until(cut, "best"));
        let state = part.states_dir.join(format!("epoch-{cut}.state"));
        let rest = bench
            .resume("train", until(200, "best"), &inputs, Some(&state))
            .unwrap();
        assert!(same_model(&best, &rest), "{cut}");
        assert_eq!(best.bytes("metrics"), rest.bytes("metrics"));
    }
    let alone = refused(&bench, until(9, "last"), &inputs[..1]);
    assert!(
        alone.contains("no need `validation` to measure on"),
        "{alone}"
    );
    let mut of_numbers = until(9, "last");
    of_numbers["stop_at"]["patience"]["of"] = json!("validation_mse");
    let of_numbers = refused(&bench, of_numbers, &inputs);
    assert!(of_numbers.contains("only numbers have"), "{of_numbers}");
}

/// One step without a gradient's help: at learning rate 0.1 and decay 0.5 what is decayed shrinks
/// by 0.95 besides its step, and `decays: weights` leaves the others to their step alone.
#[test]
fn weights_alone_decay() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 16, (4, 4, 1), 3));
    let first = with(json!({"length": {"epochs": 2}}));
    let first = bench.run("train", first, &[("train", &train)]).unwrap();
    let inputs: [(&str, &Path); 2] = [("train", &train), ("init", first.path("model"))];
    let step = |decay: f64, decays: &str| {
        let sgd = json!({"sgd": {"lr": 0.1, "weight_decay": {"decoupled": decay}}});
        let with = json!({"seed": 5, "length": {"steps": 1}, "batch_size": 16, "optimizer": sgd,
            "decays": decays});
        let ran = bench.run("train", with, &inputs).unwrap();
        TensorFile::read(ran.path("model")).unwrap().tensors
    };
    let (none, all, weights) = (step(0.0, "all"), step(0.5, "all"), step(0.5, "weights"));
    for name in none.keys().filter(|name| !name.contains("running")) {
        let is_weight = name.starts_with("fc") && name.ends_with(".weight");
        assert_ne!(all[name], none[name], "{name}");
        let want = if is_weight { &all[name] } else { &none[name] };
        assert_eq!(&weights[name], want, "{name}");
    }
    let decayed = json!({"sgd": {"lr": 0.1, "weight_decay": {"l2": 0.0}}});
    let checked = |decays: &str| {
        let kind = kinds::find("train").unwrap();
        let with = with(json!({"decays": decays, "optimizer": decayed}));
        (kind.check)(&with, &["train".into()]).unwrap().params
    };
    let without = refused(&bench, with(json!({"decays": "weights"})), &inputs[..1]);
    assert!(without.contains("no weight decay"), "{without}");
    assert_eq!(checked("all").get("decays"), None, "keys stay");
    assert_eq!(checked("weights")["decays"], "weights");
}

/// A norm that is never reached changes nothing; a small one makes steps of just that length.
#[test]
fn gradients_are_cut_to_a_norm() {
    let bench = Bench::new();
    let train = bench.put("train", &data(1, 32, (4, 4, 1), 3));
    let run = |more: Value| {
        let mut with = with(json!({"length": {"steps": 1}, "optimizer": {"sgd": {"lr": 1.0}}}));
        let more = more.as_object().unwrap().clone();
        with.as_object_mut().unwrap().extend(more);
        bench.run("train", with, &[("train", &train)]).unwrap()
    };
    let free = run(json!({}));
    assert!(same_model(
        &free,
        &run(json!({"clip_gradients": {"norm": 1e6}}))
    ));
    let start = run(json!({"length": {"epochs": 0}}));
    let cut = run(json!({"clip_gradients": {"norm": 0.01}}));
    let tensors = |ran: &Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let (start, cut) = (tensors(&start), tensors(&cut));
    let mut sum = 0.0;
    for (name, before) in start.iter().filter(|(name, _)| !name.contains("running")) {
        for (a, b) in before.data.iter().zip(&cut[name].data) {
            sum += (f64::from(*a) - f64::from(*b)).powi(2);
        }
    }
    assert!((sum.sqrt() / 0.01 - 1.0).abs() < 1e-3, "{}", sum.sqrt());
    let zero = with(json!({"clip_gradients": {"norm": 0.0}}));
    let zero = refused(&bench, zero, &[("train", &train)]);
    assert!(zero.contains("must be finite and above 0"), "{zero}");
}

/// A field that is true, false or a word tells all three.
#[test]
fn flips_are_told_by_their_words() {
    let train = kinds::find("train").unwrap();
    for (given, message, hint) in [
        (
            json!(1),
            "expected one of `true`, `false`, `alternating`, found 1",
            "",
        ),
        (
            json!("alternate"),
            "unknown choice `alternate`",
            "did you mean `alternating`?",
        ),
    ] {
        let params = with(json!({"augment": {"flip": given}}));
        let problems = (train.description.check)(&params, &[]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let problem = &problems[0];
        assert_eq!(problem.path, ["augment", "flip"]);
        assert_eq!(problem.message, message);
        let told = problem.hint.as_deref().unwrap_or_default();
        assert!(told.contains(hint), "{told}");
    }
}
