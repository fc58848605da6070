//! First weights against PyTorch, Keras and NumPy (`reference/inits.py`), and against what defines
//! them.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

mod reference;
mod support;

use repro_stages::nn::architecture::{Architecture, Head, Identity, InputSize};
use repro_stages::nn::init::{FirstWeights, Init, check, doubts, first, fresh};
use repro_stages::weights::{NamedTensor, TensorFile};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Bench, data};

#[derive(Deserialize)]
struct Recorded {
    shares: Vec<f64>,
    random: Vec<Random>,
    fixed: Vec<Fixed>,
}

#[derive(Deserialize)]
struct Random {
    init: Value,
    dense: Spread,
    conv: Spread,
}

/// Of a million numbers.
#[derive(Deserialize)]
struct Spread {
    quantiles: Vec<f64>,
    mean: f64,
    std: f64,
    largest: f64,
}

#[derive(Deserialize)]
struct Fixed {
    init: Value,
    shape: Vec<usize>,
    values: Vec<f64>,
}

fn init(rule: &Value) -> Init {
    serde_json::from_value(rule.clone()).unwrap()
}

fn architecture(
    model: Value,
    (height, width, channels): (usize, usize, usize),
    classes: usize,
) -> Architecture {
    Architecture::new(Identity {
        model: serde_json::from_value(model).unwrap(),
        input: InputSize {
            height,
            width,
            channels,
        },
        outputs: Head::Classes(classes),
    })
    .unwrap()
}

/// A network whose first weight has this shape.
fn with_weight(shape: &[usize]) -> Architecture {
    match *shape {
        [out, inputs] => architecture(json!({"mlp": {"hidden": [out]}}), (1, inputs, 1), 2),
        [out, inputs, kernel, _] => architecture(
            json!({"conv": {"layers": [{"conv": {"channels": out, "kernel": kernel, "padding": "valid"}}]}}),
            (8, 8, inputs),
            2,
        ),
        _ => unreachable!(),
    }
}

/// The first weight under a rule, all other layers left alone.
fn weight(rule: &Value, shape: &[usize], seed: u64) -> NamedTensor {
    let a = with_weight(shape);
    let name = &a.parameters[0].name;
    let differing = json!({"by_name": {name.as_str(): rule}});
    let differing: FirstWeights = serde_json::from_value(differing).unwrap();
    assert_eq!(differing.problems(), []);
    let set = data(
        1,
        8,
        (
            a.identity.input.height,
            a.identity.input.width,
            a.identity.input.channels,
        ),
        2,
    );
    let tensors = first(&a, Init::Pytorch, &differing, seed, &set).unwrap();
    assert_eq!(tensors[name].shape, shape);
    tensors[name].clone()
}

/// The share of our numbers below each quantile of theirs is the quantile's, up to 4.5 standard
/// errors of both samples.
#[test]
fn distributions_are_those_of_pytorch_and_keras() {
    let recorded: Recorded = reference::read("inits.json");
    assert!(recorded.random.len() > 20);
    for random in &recorded.random {
        for (shape, spread) in [
            (&[200, 300][..], &random.dense),
            (&[8, 4, 3, 3], &random.conv),
        ] {
            let seeds = 60_000_usize.div_ceil(shape.iter().product());
            let ours = |seed| weight(&random.init, shape, seed as u64).data;
            let ours: Vec<f64> = (0..seeds).flat_map(ours).map(f64::from).collect();
            let n = ours.len() as f64;
            let what = format!("{} {shape:?}", random.init);
            for (share, quantile) in recorded.shares.iter().zip(&spread.quantiles) {
                let below = ours.iter().filter(|x| *x < quantile).count() as f64 / n;
                let error = (share * (1.0 - share) * (1.0 / n + 1e-6)).sqrt();
                assert!(
                    (below - share).abs() < 4.5 * error,
                    "{what}: {below} below {quantile}, not {share}"
                );
            }
            let mean = ours.iter().sum::<f64>() / n;
            let std = (ours.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!(
                (mean - spread.mean).abs() < 5.0 * spread.std / n.sqrt(),
                "{what}: mean {mean}"
            );
            assert!(
                (std / spread.std - 1.0).abs() < 0.02,
                "{what}: std {std}, not {}",
                spread.std
            );
            let largest = ours.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(
                largest < 1.25 * spread.largest,
                "{what}: {largest} and {}",
                spread.largest
            );
        }
    }
}

#[test]
fn rules_without_chance_give_the_same_numbers() {
    let recorded: Recorded = reference::read("inits.json");
    for fixed in &recorded.fixed {
        let got = weight(&fixed.init, &fixed.shape, 3).data;
        let want: Vec<f32> = fixed.values.iter().map(|x| *x as f32).collect();
        assert_eq!(got, want, "{} {:?}", fixed.init, fixed.shape);
    }
}

/// Truncated and untruncated are told apart: of 60,000 numbers some lie beyond 2.3 standard
/// deviations, or none does.
#[test]
fn what_is_truncated_says_so() {
    let beyond = |rule: Value| {
        let x = weight(&rule, &[200, 300], 1).data;
        let std = (x.iter().map(|x| f64::from(x * x)).sum::<f64>() / x.len() as f64).sqrt();
        x.iter().any(|x| f64::from(x.abs()) > 2.3 * std)
    };
    for rule in [
        json!("he_normal"),
        json!({"keras": "he_normal"}),
        json!({"keras": "glorot_normal"}),
        json!({"keras": "lecun_normal"}),
    ] {
        assert!(!beyond(rule.clone()), "{rule}");
    }
    for rule in [
        json!("kaiming_normal"),
        json!("glorot_normal"),
        json!("lecun_normal"),
        json!({"torch": {"xavier_normal_": {}}}),
        json!({"torch": {"kaiming_normal_": {}}}),
    ] {
        assert!(beyond(rule.clone()), "{rule}");
    }
}

/// Rows (or columns, where there are fewer) are orthonormal to f32's last bits, whatever the shape;
/// times the gain.
#[test]
fn orthogonal_weights_are_orthogonal() {
    for shape in [
        &[5, 9][..],
        &[9, 5],
        &[16, 16],
        &[4, 2, 3, 3],
        &[20, 1, 3, 3],
    ] {
        let w = weight(&json!({"orthogonal": {"gain": 2.0}}), shape, 4).data;
        let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
        let at = |r: usize, c: usize| f64::from(w[r * columns + c]);
        let few = rows.min(columns);
        for i in 0..few {
            for j in 0..few {
                let product: f64 = match rows <= columns {
                    true => (0..columns).map(|c| at(i, c) * at(j, c)).sum(),
                    false => (0..rows).map(|r| at(r, i) * at(r, j)).sum(),
                };
                let want = if i == j { 4.0 } else { 0.0 };
                assert!(
                    (product - want).abs() < 2e-6,
                    "{shape:?} {i} {j}: {product}"
                );
            }
        }
    }
}

/// Martens: as many incoming weights for every unit. PyTorch's `sparse_`: as many zeros in every
/// column, and units differ.
#[test]
fn sparse_rules_count_on_their_own_side() {
    for (shape, incoming) in [(&[30, 40][..], 15), (&[6, 4, 3, 3], 15), (&[6, 9], 9)] {
        let w = weight(&json!({"sparse": {}}), shape, 2).data;
        let columns: usize = shape[1..].iter().product();
        for unit in w.chunks(columns) {
            assert_eq!(
                unit.iter().filter(|x| **x != 0.0).count(),
                incoming,
                "{shape:?}"
            );
        }
    }
    let w = weight(
        &json!({"torch": {"sparse_": {"sparsity": 0.55}}}),
        &[30, 40],
        2,
    )
    .data;
    let zeros = |of: &mut dyn Iterator<Item = &f32>| of.filter(|x| **x == 0.0).count();
    for column in 0..40 {
        assert_eq!(
            zeros(&mut w[column..].iter().step_by(40)),
            17,
            "0.55 of 30, rounded up"
        );
    }
    let by_unit: Vec<usize> = w.chunks(40).map(|unit| zeros(&mut unit.iter())).collect();
    assert!(by_unit.iter().any(|n| *n != by_unit[0]), "{by_unit:?}");
}

/// A residual network of 4 blocks with 2 weights each.
fn residual() -> Architecture {
    let block = json!({"residual": {"layers": [{"conv": {"channels": 16}}, {"activation": "relu"}, {"conv": {"channels": 16}}]}});
    let layers = json!([{"conv": {"channels": 16}}, block, block, block, block]);
    architecture(json!({"conv": {"layers": layers}}), (8, 8, 3), 10)
}

/// Fixup as in the paper's three rules; with all branches ending in 0, the network is its skip
/// connections.
#[test]
fn fixup_follows_the_place_of_a_weight() {
    let a = residual();
    let tensors = fresh(&a, Init::Fixup, 1, "init").unwrap();
    let std = |name: &str| {
        let x = &tensors[name].data;
        (x.iter().map(|x| f64::from(x * x)).sum::<f64>() / x.len() as f64).sqrt()
    };
    let he = (2.0 / (16.0 * 9.0f64)).sqrt();
    assert!((std("conv1.weight") / he - 1.0).abs() < 0.15, "432 numbers");
    for block in 1..=4 {
        let first = std(&format!("block{block}.conv1.weight"));
        assert!(
            (first / (he / 2.0) - 1.0).abs() < 0.06,
            "4 to the power of -1/2: {first}"
        );
        assert_eq!(std(&format!("block{block}.conv2.weight")), 0.0);
    }
    assert_eq!((std("fc1.weight"), std("fc1.bias")), (0.0, 0.0));
}

/// Fixup filled networks that it is not made for without a word.
#[test]
fn fixup_says_what_it_is_not_made_for() {
    let said = |a: &Architecture| doubts(a, Init::Fixup, &FirstWeights::default());
    assert_eq!(said(&residual()), []);
    let plain = architecture(json!({"mlp": {"hidden": [3]}}), (4, 4, 1), 2);
    let at = vec!["init".to_owned()];
    let [(place, text)] = &said(&plain)[..] else {
        panic!("one doubt");
    };
    assert_eq!(*place, at);
    assert!(text.contains("no residual blocks"), "{text}");
    let wide = architecture(json!({"resnet": {"widths": [2, 4, 4, 4]}}), (8, 8, 3), 2);
    assert!(said(&wide)[0].1.contains("this one has norms"));
    // The widths of shortcuts follow their own fans, as all that is outside of blocks.
    let tensors = fresh(&wide, Init::Fixup, 1, "init").unwrap();
    let shortcut = &tensors["layer2.0.downsample.0.weight"].data;
    assert!(shortcut.iter().all(|x| *x != 0.0));
    let named = json!({"by_name": {"fc1": "fixup"}});
    let named: FirstWeights = serde_json::from_value(named).unwrap();
    let found = doubts(&plain, Init::HeNormal, &named);
    assert_eq!(found[0].0, ["first_weights", "by_name", "fc1"]);
}

/// Every channel of a depthwise convolution is a kernel of its own.
#[test]
fn identities_reach_every_channel_of_a_depthwise_convolution() {
    let a = architecture(
        json!({"conv": {"layers": [{"depthwise": {}}]}}),
        (4, 4, 3),
        2,
    );
    for rule in [json!({"identity": {}}), json!("hadamard")] {
        let w = &fresh(&a, init(&rule), 1, "init").unwrap()["conv1.weight"];
        let one = |i: usize| if i % 9 == 4 { 1.0 } else { 0.0 };
        assert_eq!(w.data, (0..27).map(one).collect::<Vec<f32>>(), "{rule}");
    }
}

#[test]
fn what_differs_from_the_rule() {
    let a = architecture(
        json!({"mlp": {"hidden": [6, 5], "batch_norm": {}}}),
        (2, 2, 1),
        3,
    );
    let set = data(1, 9, (2, 2, 1), 3);
    let of = |rule: Init, differing: Value| {
        let differing: FirstWeights = serde_json::from_value(differing).unwrap();
        first(&a, rule, &differing, 5, &set)
    };
    let plain = of(Init::KaimingNormal, json!({})).unwrap();
    assert_eq!(plain, fresh(&a, Init::KaimingNormal, 5, "init").unwrap());

    let changed = of(
        Init::KaimingNormal,
        json!({"biases": {"constant": 0.1}, "by_name": {"fc2.bias": {"constant": 0.5}, "fc*": "he_normal", "bn1.weight": {"constant": 0}},
            "scale": 2.0, "scales": {"fc3": 0.5, "fc1.bias": 3.0}}),
    )
    .unwrap();
    let he_normal = fresh(&a, Init::HeNormal, 5, "init").unwrap();
    let times = |name: &str, factor: f32| -> Vec<f32> {
        he_normal[name].data.iter().map(|x| x * factor).collect()
    };
    assert_eq!(changed["fc1.weight"].data, times("fc1.weight", 2.0));
    assert_eq!(
        changed["fc3.weight"].data,
        times("fc3.weight", 1.0),
        "2 times a half"
    );
    assert_eq!(
        changed["fc1.bias"].data,
        [0.1f32 * 3.0; 6],
        "a scale reaches biases by name only"
    );
    assert_eq!(changed["fc2.bias"].data, [0.5; 5]);
    assert_eq!(changed["fc3.bias"].data, [0.1; 3]);
    assert_eq!(changed["bn1.weight"].data, [0.0; 6]);
    assert_eq!(changed["bn2.weight"].data, [1.0; 5]);
    assert_eq!(changed["bn1.running_var"].data, [1.0; 6]);

    let refused = |rule: Init, differing: Value| of(rule, differing).unwrap_err().to_string();
    for (differing, word) in [
        (
            json!({"by_name": {"conv*": "he_normal"}}),
            "means no weight",
        ),
        (json!({"scales": {"bn1": 2.0}}), "means no weight"),
        (json!({"by_name": {"fc1.bias": "he_normal"}}), "has no fans"),
        (
            json!({"by_name": {"fc*": "he_normal", "*c1": "he_normal"}}),
            "neither is more specific",
        ),
        (
            json!({"by_name": {"fc1": {"torch": "dirac_"}}}),
            "convolutions only",
        ),
    ] {
        let got = refused(Init::Pytorch, differing.clone());
        assert!(got.contains(word), "{differing}: {got}");
        assert!(got.contains("first_weights."), "{got}");
    }
    let everywhere = init(&json!({"torch": "dirac_"}));
    assert!(check(&a, everywhere, &FirstWeights::default()).is_err());
}

/// Of what is said of a bias, `by_name` counts before `output_bias`, and that before `biases`.
#[test]
fn the_nearest_rule_of_a_bias_counts() {
    let a = architecture(json!({"mlp": {"hidden": [6]}}), (2, 2, 1), 3);
    let set = data(1, 9, (2, 2, 1), 3);
    let last = |differing: Value| {
        let differing: FirstWeights = serde_json::from_value(differing).unwrap();
        let tensors = first(&a, Init::Pytorch, &differing, 5, &set).unwrap();
        tensors["fc2.bias"].data.clone()
    };
    let third = (1f32 / 3.0).ln();
    let near = |values: Vec<f32>| values.iter().all(|x| (x - third).abs() < 1e-6);
    let marginals = json!({"output_bias": "marginals"});
    let with = |field: &str, value: Value| {
        let mut all = marginals.clone();
        all[field] = value;
        last(all)
    };
    assert!(near(with("biases", json!({"constant": 0.5}))));
    assert_eq!(
        with("by_name", json!({"fc2.bias": {"constant": 0.25}})),
        [0.25; 3]
    );
    assert!(
        near(with("by_name", json!({"fc2": "he_normal"}))),
        "a layer's name means its weight"
    );
    assert!(near(with("scales", json!({"*.bias": 3.0}))));
}

/// Numbers that make no distribution are told as what they are.
#[test]
fn impossible_numbers_are_told() {
    for (rule, want) in [
        (
            json!({"variance_scaling": {"scale": 0, "fan": "in", "distribution": "normal"}}),
            "scale must be finite and above 0, got 0; weights of 0 are `{constant: 0}`",
        ),
        (
            json!({"torch": {"trunc_normal_": {"a": 2, "b": -2}}}),
            "from 2 to -2 is no range: the lower end comes first",
        ),
        (
            json!({"torch": {"uniform_": {"a": 2, "b": 1}}}),
            "from 2 to 1 is no range: both ends must be finite, the lower first",
        ),
    ] {
        assert_eq!(init(&rule).problem().unwrap(), want);
    }
}

/// The first loss under `marginals` is the entropy of the classes; without, ln 3. Weights are 0, so
/// that the bias alone speaks.
#[test]
fn the_output_bias_is_the_logarithm_of_the_shares() {
    let set = data(1, 90, (2, 2, 1), 3);
    // 30 of the first class, 12 of the second, 3 of the third
    let uneven: Vec<usize> = (0..90)
        .filter(|i| i % 3 == 0 || (i % 3 == 1 && *i < 36) || (i % 3 == 2 && *i < 9))
        .collect();
    let set = set.pick(&uneven);
    let a = architecture(json!({"mlp": {"hidden": []}}), (2, 2, 1), 3);
    let differing: FirstWeights =
        serde_json::from_value(json!({"output_bias": "marginals"})).unwrap();
    let tensors = first(&a, Init::Constant(0.0), &differing, 1, &set).unwrap();
    let shares = [30.0, 12.0, 3.0].map(|n| n / 45.0);
    let bias = &tensors["fc1.bias"].data;
    for (got, share) in bias.iter().zip(shares) {
        assert!((f64::from(*got) - f64::ln(share)).abs() < 1e-6, "{bias:?}");
    }
    let bench = Bench::new();
    let uneven = bench.put("uneven", &set);
    let first_loss = |first_weights: Value| {
        let with = json!({"model": {"mlp": {"hidden": []}}, "init": {"constant": 0.0}, "first_weights": first_weights, "seed": 1,
            "length": {"epochs": 0}, "optimizer": {"adam": {}}});
        let ran = bench.run("train", with, &[("train", &uneven), ("test", &uneven)]);
        ran.unwrap().metric("test", "loss")
    };
    let entropy: f64 = shares.iter().map(|p| -p * p.ln()).sum();
    assert!((first_loss(json!({"output_bias": "marginals"})) - entropy).abs() < 1e-6);
    assert!((first_loss(json!({})) - 3f64.ln()).abs() < 1e-6);
    let empty = set.pick(&[0, 1]);
    let refused = first(&a, Init::Pytorch, &differing, 1, &empty).unwrap_err();
    assert!(
        refused.to_string().contains("no example is of the class"),
        "{refused}"
    );
}

/// ±√(scale / fan), and the sign is that of the uniform rule on the same random numbers: the signed
/// constant of Ramanujan et al. 2020, `sign(W) · gain/√fan_in`.
#[test]
fn signed_constants_have_the_signs_of_uniform_weights() {
    let rule = |distribution: &str| json!({"variance_scaling": {"scale": 2.0, "fan": "in", "distribution": distribution}});
    for shape in [&[30, 50][..], &[7, 4, 3, 3]] {
        let fan_in: usize = shape[1..].iter().product();
        let size = (2.0 / fan_in as f64).sqrt() as f32;
        let (signed, uniform) = (
            weight(&rule("signed"), shape, 3),
            weight(&rule("uniform"), shape, 3),
        );
        for (s, u) in signed.data.iter().zip(&uniform.data) {
            assert_eq!(*s, if *u < 0.0 { -size } else { size });
        }
        assert!(signed.data.iter().any(|s| *s < 0.0) && signed.data.iter().any(|s| *s > 0.0));
    }
}

/// The numbers of every rule that came after the golden artifacts.
#[test]
fn numbers_are_frozen() {
    let a = architecture(
        json!({"conv": {"layers": [{"conv": {"channels": 4}}, {"activation": "relu"}, {"dense": 20}]}}),
        (5, 5, 2),
        3,
    );
    let mut wrong = Vec::new();
    for (rule, want) in FROZEN {
        let rule: Value = serde_json::from_str(rule).unwrap();
        let tensors = fresh(&a, init(&rule), 7, "init").unwrap();
        let mut hasher = blake3::Hasher::new();
        for tensor in tensors.values() {
            tensor.data.iter().for_each(|x| {
                hasher.update(&x.to_le_bytes());
            });
        }
        let got = &hasher.finalize().to_hex()[..16];
        if got != *want {
            wrong.push(format!("    ({:?}, {got:?}),", rule.to_string()));
        }
    }
    assert!(wrong.is_empty(), "numbers changed:\n{}", wrong.join("\n"));
}

const FROZEN: &[(&str, &str)] = &[
    (r#""he_normal""#, "34d23436dfe4989e"),
    (r#""he_uniform""#, "842ce161e7e5e26b"),
    (r#""fan_in_uniform""#, "40d688899b476c8b"),
    (
        r#"{"uniform_range":{"high":0.5,"low":-0.25}}"#,
        "872336acd31cb30c",
    ),
    (r#"{"orthogonal":{}}"#, "e9cd36550c51baac"),
    (r#"{"identity":{}}"#, "8b748bcb60405f00"),
    (r#"{"sparse":{}}"#, "89167d7c80d1fffe"),
    (r#""hadamard""#, "0de1f1b1bf78a57b"),
    (r#""fixup""#, "22a7243621461d42"),
    (r#"{"keras":"glorot_normal"}"#, "1a0cf7a3366ce0c3"),
    (r#"{"keras":{"truncated_normal":{}}}"#, "56431218df87c0bb"),
    (r#"{"keras":{"random_uniform":{}}}"#, "81a4af75f90ae283"),
    (
        r#"{"torch":{"kaiming_normal_":{"mode":"fan_out","nonlinearity":"tanh"}}}"#,
        "1b91c63db7a380a3",
    ),
    (r#"{"torch":{"trunc_normal_":{}}}"#, "718fb35326389d57"),
    (
        r#"{"variance_scaling":{"distribution":"signed","fan":"in","scale":2.0}}"#,
        "c3a62e99fe95a76f",
    ),
];

/// `epochs: 0` hands on the first weights, measured once; `evaluate` measures the same.
#[test]
fn no_epoch_gives_the_first_weights() {
    let bench = Bench::new();
    let (train_set, test) = (
        data(1, 40, (4, 4, 1), 4),
        bench.put("test", &data(2, 24, (4, 4, 1), 4)),
    );
    let train = bench.put("train", &train_set);
    let model = json!({"mlp": {"hidden": [7], "batch_norm": {}}});
    let with = json!({"model": model, "init": {"sparse": {}}, "first_weights": {"scale": 0.5, "output_bias": "marginals"}, "seed": 6,
        "length": {"epochs": 0}, "optimizer": {"adam": {}}});
    let ran = bench
        .run("train", with, &[("train", &train), ("test", &test)])
        .unwrap();
    let a = architecture(model, (4, 4, 1), 4);
    let differing: FirstWeights =
        serde_json::from_value(json!({"scale": 0.5, "output_bias": "marginals"})).unwrap();
    let want = first(&a, init(&json!({"sparse": {}})), &differing, 6, &train_set).unwrap();
    assert_eq!(TensorFile::read(ran.path("model")).unwrap().tensors, want);
    let rows = repro_stages::table::read(ran.path("metrics")).unwrap().rows;
    let told: Vec<_> = rows
        .iter()
        .map(|r| (r.epoch, r.step, r.split.as_deref(), &*r.name))
        .collect();
    let zero = Some(0);
    assert_eq!(
        told,
        [
            (zero, zero, Some("test"), "loss"),
            (zero, zero, Some("test"), "accuracy")
        ]
    );
    let evaluated = bench.run(
        "evaluate",
        Value::Null,
        &[("model", ran.path("model")), ("data", &test)],
    );
    assert_eq!(
        evaluated.unwrap().metric("test", "loss"),
        ran.metric("test", "loss")
    );
}

/// From a network for four classes to one for three: layers that fit are taken, the last one starts
/// fresh; without `partial` it is an error.
#[test]
fn a_learnt_start_takes_the_layers_that_fit() {
    let bench = Bench::new();
    let four = bench.put("four", &data(1, 40, (4, 4, 1), 4));
    let three = bench.put("three", &data(2, 30, (4, 4, 1), 3));
    let model = json!({"mlp": {"hidden": [7, 5], "batch_norm": {}}});
    let with = |length: u64| json!({"model": model, "seed": 6, "length": {"epochs": length}, "optimizer": {"adam": {}}});
    let learnt = bench.run("train", with(2), &[("train", &four)]).unwrap();
    let inputs = [("train", three.as_path()), ("init", learnt.path("model"))];
    let refused = bench.run("train", with(0), &inputs).err().unwrap();
    assert!(refused.to_string().contains("classes"), "{refused}");
    let read = |ran: &support::Ran| TensorFile::read(ran.path("model")).unwrap().tensors;
    let mut partial = with(0);
    partial["partial"] = true.into();
    let started = read(&bench.run("train", partial.clone(), &inputs).unwrap());
    let fresh = read(&bench.run("train", with(0), &inputs[..1]).unwrap());
    let learnt = read(&learnt);
    for (name, tensor) in &started {
        let from = if name.starts_with("fc3") {
            &fresh
        } else {
            &learnt
        };
        assert_eq!(*tensor, from[name], "{name}");
    }
    // the network may be left out: it is that of `init`, with an output for each class
    partial.as_object_mut().unwrap().remove("model");
    assert_eq!(
        read(&bench.run("train", partial.clone(), &inputs).unwrap()),
        started
    );
    let alone = bench
        .run("train", partial.clone(), &inputs[..1])
        .err()
        .unwrap();
    assert!(alone.to_string().contains("no need `init`"), "{alone}");
    partial["model"] = json!({"mlp": {"hidden": [9]}});
    let nothing = bench.run("train", partial, &inputs).err().unwrap();
    assert!(
        nothing.to_string().contains("no layer of `init` fits"),
        "{nothing}"
    );
}
