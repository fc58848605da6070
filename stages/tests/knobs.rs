//! What `train` can be told of a step, against PyTorch, and the laws it keeps. The numbers are
//! printed by `tests/reference/knobs.py`.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use dfdx::prelude::Cpu;
use repro_stages::nn::architecture::Architecture;
use repro_stages::nn::network::StepKey;
use repro_stages::training::clip::Clip;
use repro_stages::training::mask::Masks;
use repro_stages::training::optim::{Decays, Optimizer};
use repro_stages::training::pace::Paces;
use repro_stages::training::pass::{Images, Wanted};
use repro_stages::training::regularise::{Adversarial, Regularisers, mix};
use repro_stages::training::step::Learner;
use repro_stages::weights::{NamedTensor, NamedTensors, TensorFile};
use serde_json::{Value, json};
use support::{Bench, data};

/// `fill` of the script.
fn fill(count: usize, seed: usize, scale: f64) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + 1) * 31 % 1021) as f64;
    (0..count)
        .map(|i| ((value(i) - 510.0) / 512.0 * scale) as f32)
        .collect()
}

/// The script's network with its first weights.
fn learner() -> (Arc<Architecture>, Learner<Cpu>) {
    let identity = json!({"model": {"mlp": {"hidden": [5, 4], "activation": "tanh"}},
        "input": {"height": 1, "width": 1, "channels": 12}, "classes": 3});
    let architecture = Architecture::new(serde_json::from_value(identity).unwrap()).unwrap();
    let parameters = architecture.parameters.iter().enumerate();
    let tensors: NamedTensors = parameters
        .map(|(seed, p)| {
            let data = fill(p.shape.iter().product(), seed, 0.5);
            let shape = p.shape.clone();
            (p.name.clone(), NamedTensor { shape, data })
        })
        .collect();
    let optimizer = json!({"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": {"l2": 0.01}}});
    let optimizer: Optimizer = serde_json::from_value(optimizer).unwrap();
    let architecture = Arc::new(architecture);
    let masks = Masks::none(&architecture);
    let learner = Learner::new(
        &Cpu::default(),
        &architecture,
        &tensors,
        optimizer,
        Vec::new(),
        0,
        &masks,
    );
    (Arc::clone(&architecture), learner.unwrap())
}

/// Three steps, then each parameter's sum weighted by `fill`.
fn after_three_steps(architecture: &Architecture, learner: Learner<Cpu>) -> Vec<f64> {
    let wanted = Wanted::Labels {
        of_rows: &[0, 2, 1, 2],
        smoothing: 0.0,
    };
    after_steps(architecture, learner, &fill(48, 99, 2.0), wanted)
}

fn after_steps(
    architecture: &Architecture,
    mut learner: Learner<Cpu>,
    x: &[f32],
    wanted: Wanted,
) -> Vec<f64> {
    for step in 0..3 {
        let key = StepKey {
            seed: 0,
            epoch: 0,
            step,
        };
        let fill = |to: &mut [f32]| to.copy_from_slice(x);
        learner
            .step(4, Images::Written(fill), wanted, 0.1, key)
            .unwrap();
    }
    let tensors = learner.network().save();
    let sum = |name: &String| {
        let data = &tensors[name].data;
        let places = fill(data.len(), 7, 1.0);
        let terms = data.iter().zip(&places);
        terms.map(|(x, p)| f64::from(*x) * f64::from(*p)).sum()
    };
    architecture
        .parameters
        .iter()
        .map(|p| sum(&p.name))
        .collect()
}

#[track_caller]
fn close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!(
            (g - w).abs() < 1e-5 * (1.0 + w.abs()),
            "{got:?}, want {want:?}"
        );
    }
}

#[test]
fn paces_are_pytorchs_parameter_groups() {
    let (architecture, learner) = learner();
    let paces = Paces {
        rates: [("fc2".to_owned(), 0.1), ("fc3.bias".to_owned(), 2.0)].into(),
        frozen: vec!["fc1".to_owned()],
    };
    let paces = paces.of(&architecture).unwrap();
    let learner = learner
        .with(Decays::All, Some(Clip::Norm(0.5)))
        .paced(paces);
    close(&after_three_steps(&architecture, learner), &PACED);
}

#[test]
fn regularisers_are_pytorchs() {
    let (architecture, plain) = learner();
    let confident = Regularisers {
        confidence_penalty: 0.3,
        ..Regularisers::default()
    };
    close(
        &after_three_steps(&architecture, plain.regularised(confident)),
        &CONFIDENT,
    );
    let adversarial = Regularisers {
        adversarial: Some(Adversarial {
            epsilon: 0.1,
            weight: 0.5,
        }),
        ..Regularisers::default()
    };
    let (_, plain) = learner();
    close(
        &after_three_steps(&architecture, plain.regularised(adversarial)),
        &ADVERSARIAL,
    );
    let (_, plain) = learner();
    let mut x = fill(48, 99, 2.0);
    mix(0.3, 12, &mut x);
    let wanted = Wanted::Mixed {
        of_rows: &[0, 2, 1, 2],
        share: 0.3,
        smoothing: 0.0,
    };
    close(&after_steps(&architecture, plain, &x, wanted), &MIXED);
}

/// Everything at once, cut and gone on with: the same bits.
#[test]
fn regularised_trainings_resume_exactly() {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 60, (6, 6, 1), 3));
    let inputs: [(&str, &Path); 1] = [("train", &images)];
    let with = |epochs: u64| {
        json!({"model": {"mlp": {"hidden": [8], "batch_norm": {}, "dropout": 0.2}}, "seed": 3, "batch_size": 16,
            "length": {"epochs": epochs}, "optimizer": {"adam": {"lr": 0.01}}, "label_smoothing": 0.1,
            "mixup": {"alpha": 0.4}, "confidence_penalty": 0.1, "adversarial": {"epsilon": 0.05, "weight": 0.5}})
    };
    let whole = bench.run("train", with(4), &inputs).unwrap();
    let part = bench.run("train", with(2), &inputs).unwrap();
    let state = part.states_dir.join("epoch-2.state");
    let rest = bench
        .resume("train", with(4), &inputs, Some(&state))
        .unwrap();
    for name in ["model", "metrics"] {
        assert_eq!(whole.bytes(name), rest.bytes(name), "{name}");
    }
}

/// A training of the small data set with these parameters besides.
fn train(bench: &Bench, more: Value) -> Result<NamedTensors, String> {
    let images = bench.put("images", &data(1, 60, (6, 6, 1), 3));
    let mut with = json!({"model": {"conv": {"layers": [{"conv": {"channels": 4}}, {"batch_norm": {}},
            {"activation": "relu"}, {"dense": 6}, {"activation": "relu"}]}},
        "seed": 3, "length": {"epochs": 2}, "batch_size": 16, "optimizer": {"sgd": {"lr": 0.1, "momentum": 0.9}}});
    with.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let inputs: [(&str, &Path); 1] = [("train", &images)];
    match bench.run("train", with, &inputs) {
        Ok(ran) => Ok(TensorFile::read(ran.path("model")).unwrap().tensors),
        Err(e) => Err(format!("{e:#}")),
    }
}

/// The law of going on: a training that goes on from a checkpoint with the optimizer's memory gives
/// the model of one that never stopped.
#[test]
fn going_on_from_a_checkpoint_gives_the_bits_of_one_training() {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 60, (6, 6, 1), 3));
    let with = |optimizer: Value| {
        json!({"model": {"mlp": {"hidden": [8], "batch_norm": {}, "dropout": 0.2}}, "seed": 3, "batch_size": 16,
            "length": {"epochs": 4}, "augment": {"flip": true}, "schedule": {"cosine": {}}, "optimizer": optimizer})
    };
    let momentum = json!({"sgd": {"lr": 0.1, "momentum": 0.9}});
    for optimizer in [
        momentum,
        json!({"adam": {"lr": 0.01}}),
        json!({"sgd": {"lr": 0.1}}),
    ] {
        let mut whole = with(optimizer.clone());
        whole["checkpoints"] = json!({"every": 1, "every_steps": 6, "optimizer": true});
        let whole = bench.run("train", whole, &[("train", &images)]).unwrap();
        for (file, at) in [
            ("epoch-000002", json!({"epochs": 2})),
            ("step-000006", json!({"steps": 6})),
        ] {
            let file = format!("{file}.safetensors");
            let model = whole.path("checkpoints").join(&file);
            let memory = whole.path("optimizers").join(&file);
            let mut rest = with(optimizer.clone());
            rest["starts_at"] = at;
            let inputs: [(&str, &Path); 3] =
                [("train", &images), ("init", &model), ("optimizer", &memory)];
            let on = bench.run("train", rest.clone(), &inputs).unwrap();
            assert_eq!(
                on.bytes("model"),
                whole.bytes("model"),
                "{optimizer} {file}"
            );
            // Without the memory it is another training, but for plain gradient descent.
            let afresh = bench.run("train", rest, &inputs[..2]).unwrap();
            let same = afresh.bytes("model") == whole.bytes("model");
            assert_eq!(
                same,
                optimizer["sgd"]["momentum"].is_null() && optimizer["adam"].is_null()
            );
        }
    }
}

/// A training with everything that `starts_at` and `optimizers` ask for can itself be cut.
#[test]
fn going_on_can_be_resumed() {
    let bench = Bench::new();
    let images = bench.put("images", &data(1, 60, (6, 6, 1), 3));
    let with = |epochs: u64| {
        json!({"model": {"mlp": {"hidden": [8]}}, "seed": 3, "batch_size": 16, "length": {"epochs": epochs},
            "optimizer": {"adam": {"lr": 0.01}}, "checkpoints": {"every": 1, "optimizer": true}})
    };
    let start = bench.run("train", with(2), &[("train", &images)]).unwrap();
    let at = |name: &str| start.path(name).join("epoch-000002.safetensors");
    let (model, memory) = (at("checkpoints"), at("optimizers"));
    let inputs: [(&str, &Path); 3] = [("train", &images), ("init", &model), ("optimizer", &memory)];
    let on = |epochs: u64| {
        let mut with = with(epochs);
        with["starts_at"] = json!({"epochs": 2});
        with
    };
    let whole = bench.run("train", on(5), &inputs).unwrap();
    for cut in [3, 4] {
        let part = bench.run("train", on(cut), &inputs).unwrap();
        let state = part.states_dir.join(format!("epoch-{cut}.state"));
        let rest = bench.resume("train", on(5), &inputs, Some(&state)).unwrap();
        for name in whole.outputs.keys() {
            let digests = [&whole, &rest].map(|ran| support::digest(ran.path(name)));
            assert_eq!(digests[0], digests[1], "{cut} {name}");
        }
    }
}

#[test]
fn going_on_from_nowhere_is_refused() {
    let bench = Bench::new();
    for (more, want) in [
        (
            json!({"starts_at": {"epochs": 1}}),
            "there are no weights to go on from",
        ),
        (
            json!({"starts_at": {"epochs": 2}}),
            "nothing of `length` is left",
        ),
    ] {
        let error = train(&bench, more).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn one_factor_for_all_layers_is_another_learning_rate() {
    let bench = Bench::new();
    for optimizer in ["sgd", "adamw"] {
        let rate = |lr: f64| json!({optimizer: {"lr": lr}});
        let halved = json!({"optimizer": rate(0.5), "learning_rates": {"*": 0.5}});
        let plain = json!({"optimizer": rate(0.25)});
        let one =
            json!({"optimizer": rate(0.25), "learning_rates": {"*": 0.1, "*1": 1.0, "fc2": 1.0}});
        let want = train(&bench, plain).unwrap();
        assert!(train(&bench, halved).unwrap() == want, "{optimizer}");
        assert!(
            train(&bench, one).unwrap() == want,
            "{optimizer}: the most specific name counts"
        );
    }
}

#[test]
fn frozen_layers_stay_and_their_statistics_follow_the_data() {
    let bench = Bench::new();
    let first = train(&bench, json!({"length": {"epochs": 0}})).unwrap();
    let decayed = json!({"sgd": {"lr": 0.1, "weight_decay": {"decoupled": 0.1}}});
    let more = json!({"frozen": ["conv1", "bn*", "fc2.weight"], "optimizer": decayed});
    let last = train(&bench, more).unwrap();
    for (name, tensor) in &first {
        let stays = name.starts_with("conv1")
            || name == "fc2.weight"
            || (name.starts_with("bn1") && !name.contains("running"));
        assert_eq!(last[name] == *tensor, stays, "{name}");
    }
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let bench = Bench::new();
    for (more, want) in [
        (json!({"frozen": ["conv9"]}), "`conv9` names no layer"),
        (
            json!({"learning_rates": {"conv9": 2.0}}),
            "`conv9` names no layer",
        ),
        (
            json!({"learning_rates": {"fc*": 2.0, "*c1": 3.0}}),
            "neither is more specific",
        ),
        (
            json!({"frozen": ["*"]}),
            "every layer of this network is frozen",
        ),
        (
            json!({"learning_rates": {"fc1": 0.0}}),
            "must be finite and above 0",
        ),
    ] {
        let error = train(&bench, more).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

const PACED: [f64; 6] = [
    -1.12743378,
    0.658573151,
    1.58550588,
    -0.518998918,
    -1.11569708,
    -0.28333559,
];
const CONFIDENT: [f64; 6] = [
    -1.12934165,
    0.65968546,
    1.57932221,
    -0.443597009,
    -1.14603581,
    -0.308982223,
];
const ADVERSARIAL: [f64; 6] = [
    -1.11725557,
    0.660847229,
    1.58995091,
    -0.4129594,
    -1.1584532,
    -0.287836009,
];
const MIXED: [f64; 6] = [
    -1.03904102,
    0.65213984,
    1.60021577,
    -0.430714923,
    -1.04258115,
    -0.334147997,
];
