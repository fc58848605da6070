//! Tests of [`super`].

mod choices;

use super::*;
use crate::failure::Failure;
use crate::kind::BuiltIn;
use crate::kinds::testing::{metrics, task};
use repro_protocol::job::JobInput;
use serde_json::{Value, json};

const A: [f64; 5] = [0.394, 0.401, 0.388, 0.397, 0.392];
const B: [f64; 5] = [0.361, 0.37, 0.372, 0.35, 0.391];

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().unwrap())
    }

    fn side(&self, group: &str, seeds: std::ops::Range<usize>, values: &[f64]) -> Vec<JobInput> {
        seeds
            .zip(values)
            .map(|(seed, v)| metrics(self.0.path(), group, json!({"seed": seed}), &[0.0, *v]))
            .collect()
    }

    fn run<const N: usize>(
        &self,
        with: Value,
        inputs: [(&str, Vec<JobInput>); N],
    ) -> anyhow::Result<(Value, String)> {
        let kind = BuiltIn::of::<Claim>();
        let needs: Vec<String> = inputs.iter().map(|(name, _)| (*name).to_owned()).collect();
        let checked = (kind.check)(&with, &needs).expect("right parameters");
        (kind.run)(&mut task(
            self.0.path(),
            checked.params,
            &["verdict"],
            inputs,
        ))?;
        let text = std::fs::read_to_string(self.0.path().join("verdict"))?;
        Ok((serde_json::from_str(&text)?, text))
    }

    fn compare(&self, a: &[f64], b: &[f64], expect: Value) -> Value {
        let with =
            json!({"compare": {"of": "test_accuracy", "paired_by": "seed"}, "expect": expect});
        let inputs = [
            ("a", self.side("a", 0..a.len(), a)),
            ("b", self.side("b", 0..b.len(), b)),
        ];
        self.run(with, inputs).unwrap().0
    }
}

fn near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!(
        (value - expected).abs() < 1e-12,
        "{value} is not {expected}"
    );
}

// scipy 1.17: stats.ttest_rel(A, B).confidence_interval(0.95), binomtest(5, 5).pvalue
#[test]
fn a_paired_difference_holds() {
    let v = Bench::new().compare(
        &A,
        &B,
        json!({"difference": {"above": 0.0}, "confidence": 0.95}),
    );
    assert_eq!(
        (&v["verdict"], &v["n"], &v["sign_test_p"]),
        (&json!("holds"), &json!(5), &json!(0.0625))
    );
    near(&v["estimate"], 0.0256);
    near(&v["sd"], 0.017601136326953457);
    near(&v["low"], 0.003745302695345478);
    near(&v["high"], 0.04745469730465457);
    assert_eq!(v["a"]["values"]["seed=1"], json!(0.401));
    assert_eq!(
        v["expect"],
        json!({"difference": {"above": 0.0}, "confidence": 0.95})
    );
    assert_eq!(
        v["reason"],
        json!(
            "the 95 % interval [0.0037, 0.0475] of the mean difference a − b lies above 0 (5 pairs); few pairs: sign test p = 0.0625"
        )
    );
}

#[test]
fn other_bounds() {
    let bench = Bench::new();
    let verdict = |expect: Value| bench.compare(&A, &B, expect)["verdict"].clone();
    assert_eq!(verdict(json!({"difference": {"below": 0.0}})), "refuted");
    assert_eq!(
        verdict(json!({"difference": {"above": 0.02}})),
        "inconclusive"
    );
    assert_eq!(
        verdict(json!({"difference": {"within": {"low": 0.0, "high": 0.05}}})),
        "holds"
    );
    assert_eq!(
        verdict(json!({"difference": {"within": {"low": 0.0, "high": 0.01}}})),
        "inconclusive"
    );
    assert_eq!(
        verdict(json!({"difference": {"within": {"low": -0.1, "high": 0.0}}})),
        "refuted"
    );
    assert_eq!(verdict(json!({"ratio": {"above": 1.0}})), "holds");
    assert_eq!(
        verdict(json!({"difference": {"above": 0.0}, "confidence": 0.99})),
        "inconclusive"
    );
}

#[test]
fn one_pair_or_no_spread() {
    let bench = Bench::new();
    let v = bench.compare(&[0.9], &[0.5], json!({"difference": {"above": 0.0}}));
    assert_eq!(
        (&v["verdict"], &v["low"], &v["n"]),
        (&json!("inconclusive"), &Value::Null, &json!(1))
    );
    assert!(v["reason"].as_str().unwrap().contains("one pair only"));
    let v = bench.compare(
        &[0.5, 0.5],
        &[0.5, 0.5],
        json!({"difference": {"above": 0.0}}),
    );
    assert_eq!(
        (&v["verdict"], &v["sign_test_p"]),
        (&json!("inconclusive"), &json!(1.0))
    );
}

#[test]
fn case_41_without_spread_there_is_no_verdict() {
    let bench = Bench::new();
    let none = |a: &[f64], b: &[f64], expect: Value| {
        let v = bench.compare(a, b, expect);
        assert_eq!(
            (&v["verdict"], &v["low"], &v["high"], &v["sd"]),
            (
                &json!("inconclusive"),
                &Value::Null,
                &Value::Null,
                &json!(0.0)
            ),
            "{v}"
        );
        v["reason"].as_str().unwrap().to_owned()
    };
    let above = || json!({"difference": {"above": 0.0}});
    let reason = none(&[0.75, 0.5], &[0.5, 0.25], above());
    assert_eq!(
        reason,
        "all give the same figure, 0.25 (2 pairs): without spread there is no interval"
    );
    // Equal as people wrote them, and equal but for the rounding of binary fractions.
    none(&[0.3, 0.8], &[0.1, 0.6], above());
    none(
        &[0.9; 5],
        &[0.7; 5],
        json!({"difference": {"within": {"low": 0.1, "high": 0.3}}}),
    );
    none(
        &[0.8, 0.6, 0.3],
        &[0.4, 0.3, 0.15],
        json!({"ratio": {"above": 1.0}}),
    );
    none(&[0.1 + 0.2, 0.3], &[0.1, 0.1], above());
}

#[test]
fn case_41_a_bound_is_touched_by_what_rounding_could_move() {
    let bench = Bench::new();
    let verdict =
        |a: &[f64], b: &[f64], expect: Value| bench.compare(a, b, expect)["verdict"].clone();
    let (a, b) = ([0.85, 0.75, 0.65], [0.86, 0.76, 0.66]);
    for expect in [
        json!({"difference": {"above": -0.01}}),
        json!({"difference": {"below": -0.01}}),
        json!({"difference": {"within": {"low": -0.01, "high": 0.0}}}),
    ] {
        assert_eq!(verdict(&a, &b, expect), "inconclusive");
    }
    assert_eq!(
        verdict(
            &b,
            &a,
            json!({"difference": {"within": {"low": 0.0, "high": 0.01}}})
        ),
        "inconclusive"
    );
    // With spread: two differences 0.02 and 0.04 at a confidence whose t quantile is 1 end at
    // exactly 0.02 and 0.04.
    let (a, b) = ([0.52, 0.54], [0.5, 0.5]);
    let at = |bound: Value| verdict(&a, &b, json!({"difference": bound, "confidence": 0.5}));
    assert_eq!(at(json!({"above": 0.02})), "inconclusive");
    assert_eq!(at(json!({"below": 0.04})), "inconclusive");
    assert_eq!(
        at(json!({"within": {"low": 0.02, "high": 0.04}})),
        "inconclusive",
        "ends included"
    );
    assert_eq!(
        at(json!({"within": {"low": 0.0199, "high": 0.0401}})),
        "holds"
    );
    assert_eq!(
        at(json!({"within": {"low": 0.0, "high": 0.02}})),
        "inconclusive"
    );
    assert_eq!(
        at(json!({"within": {"low": 0.0, "high": 0.0199}})),
        "refuted"
    );
    assert_eq!(at(json!({"above": 0.0199})), "holds");
    assert_eq!(at(json!({"above": 0.0401})), "refuted");
}

/// Five equal keys are one action: the job says so, and the claim counts one.
#[test]
fn case_1_one_action_is_one_observation() {
    let bench = Bench::new();
    let twins = |group: &str| -> Vec<JobInput> {
        let mut side = bench.side(group, 0..5, &[0.75; 5]);
        side.iter_mut().for_each(|item| item.chain = Some(0));
        side
    };
    let measure = json!({"measure": {"of": "test_accuracy"}, "expect": {"mean": {"above": 0.5}}});
    let (v, _) = bench.run(measure, [("in", twins("a"))]).unwrap();
    assert_eq!(
        (&v["n"], &v["runs"], &v["verdict"]),
        (&json!(1), &json!(5), &json!("inconclusive"))
    );
    assert_eq!(
        v["reason"],
        "the 5 runs are one observation; an interval needs at least two independent ones"
    );
    let compare =
        || json!({"compare": {"of": "test_accuracy"}, "expect": {"difference": {"above": 0.0}}});
    // One side alone does not repeat either.
    for b in [twins("b"), bench.side("b", 0..5, &B)] {
        let (v, _) = bench.run(compare(), [("a", twins("a")), ("b", b)]).unwrap();
        assert_eq!(
            (&v["n"], &v["runs"], &v["a"]["n"]),
            (&json!(1), &json!(5), &json!(1)),
            "{v}"
        );
    }
    // An axis that reaches nothing: every run stands there twice.
    let note = |note: &str| -> Vec<JobInput> {
        let mut side = bench.side("a", 0..5, &A);
        for (i, item) in side.iter_mut().enumerate() {
            item.axes.insert("note".into(), json!(note));
            item.chain = Some(i as u32);
        }
        side
    };
    let twice = || [note("x"), note("y")].concat();
    let (v, _) = bench
        .run(
            compare(),
            [("a", twice()), ("b", bench.side("b", 0..5, &B))],
        )
        .unwrap();
    assert_eq!((&v["n"], &v["verdict"]), (&json!(5), &json!("holds")));
    let measure = json!({"measure": {"of": "test_accuracy"}, "expect": {"mean": {"above": 0.35}}});
    let (v, _) = bench.run(measure, [("in", twice())]).unwrap();
    near(&v["a"]["mean"], A.iter().sum::<f64>() / 5.0);
    assert_eq!(v["n"], 5);
}

/// Five seeds with three nested runs each are five observations, of their means.
#[test]
fn case_40_nested_runs_do_not_count() {
    let bench = Bench::new();
    let nested = |group: &str, values: &[f64], shared: bool| -> Vec<JobInput> {
        let run = |(seed, order): (usize, usize)| {
            let value = values[seed] + 0.001 * (order as f64 - 1.0);
            let axes = json!({"seed": seed, "order": order});
            let mut item = metrics(bench.0.path(), group, axes, &[value]);
            item.sources.extend(shared.then_some(seed as u32));
            item
        };
        (0..5)
            .flat_map(|s| (0..3).map(move |o| (s, o)))
            .map(run)
            .collect()
    };
    let claim =
        |compare: Value| json!({"compare": compare, "expect": {"difference": {"above": 0.0}}});
    let flat = bench.compare(&A, &B, json!({"difference": {"above": 0.0}}));
    // The orders are averaged before pairing, or pairs over the orders; either way the seeds count.
    for (compare, b) in [
        (
            json!({"of": "accuracy", "within": "order"}),
            bench.side("b", 0..5, &B),
        ),
        (
            json!({"of": "accuracy", "paired_by": ["seed", "order"]}),
            nested("b", &B, false),
        ),
        (
            json!({"of": "accuracy", "paired_by": ["seed", "order"], "over": ["seed", "order"]}),
            nested("b", &B, true),
        ),
    ] {
        let (v, _) = bench
            .run(claim(compare), [("a", nested("a", &A, false)), ("b", b)])
            .unwrap();
        assert_eq!(v["n"], 5, "{v}");
        for figure in ["estimate", "low", "high", "sd"] {
            near(&v[figure], flat[figure].as_f64().unwrap());
        }
    }
    let measure = |more: Value| {
        let mut measure = json!({"of": "accuracy"});
        measure
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let with = json!({"measure": measure, "expect": {"mean": {"above": 0.35}}});
        bench.run(with, [("in", nested("a", &A, false))])
    };
    assert_eq!(measure(json!({"within": "order"})).unwrap().0["n"], 5);
    assert_eq!(
        measure(json!({"over": ["seed", "order"]})).unwrap().0["n"],
        15,
        "said on purpose"
    );
    let said = measure(json!({}))
        .unwrap_err()
        .downcast::<Failure>()
        .unwrap();
    assert_eq!(
        said.message,
        "the runs differ in `order` (0, 1, 2), and the claim does not say what that means"
    );
    let hint = said.hint.unwrap();
    assert!(
        hint.contains("`over: order`") && hint.contains("`within: order`"),
        "{hint}"
    );
}

/// Rounds of one training are one chain, whatever pairs them.
#[test]
fn case_1_rounds_of_one_training_are_one_observation() {
    let bench = Bench::new();
    let rounds = |group: &str, values: &[f64]| -> Vec<JobInput> {
        let run = |(seed, round): (usize, usize)| {
            let axes = json!({"seed": seed, "round": round});
            let mut item = metrics(bench.0.path(), group, axes, &[values[seed] + round as f64]);
            item.chain = Some(seed as u32);
            item
        };
        (0..5)
            .flat_map(|s| (0..4).map(move |r| (s, r)))
            .map(run)
            .collect()
    };
    for over in [json!("seed"), json!(["seed", "round"])] {
        let compare = json!({"of": "accuracy", "paired_by": ["seed", "round"], "over": over});
        let with = json!({"compare": compare, "expect": {"difference": {"above": 0.0}}});
        let (v, _) = bench
            .run(with, [("a", rounds("a", &A)), ("b", rounds("b", &B))])
            .unwrap();
        assert_eq!((&v["n"], &v["runs"]), (&json!(5), &json!(20)));
    }
}

#[test]
fn pairs_are_matched_by_axes_not_by_order() {
    let bench = Bench::new();
    let with = || json!({"compare": {"of": "accuracy"}, "expect": {"difference": {"above": 0.0}}});
    let mut a = bench.side("a", 0..5, &A);
    a.reverse();
    let (v, _) = bench
        .run(with(), [("a", a.clone()), ("b", bench.side("b", 2..7, &B))])
        .unwrap();
    assert_eq!(v["n"], 3);
    assert_eq!(
        v["unmatched"],
        json!(["a: seed=0", "a: seed=1", "b: seed=5", "b: seed=6"])
    );
    near(
        &v["estimate"],
        ((0.388 - 0.361) + (0.397 - 0.37) + (0.392 - 0.372)) / 3.0,
    );
    let says = |b: Vec<JobInput>| {
        bench
            .run(with(), [("a", a.clone()), ("b", b)])
            .unwrap_err()
            .to_string()
    };
    assert!(says(bench.side("c", 10..12, &B)).contains("no pair of runs agrees on seed"));
    let twin = metrics(bench.0.path(), "t", json!({"seed": 0, "lr": 0.5}), &[0.1]);
    let other = metrics(bench.0.path(), "t", json!({"seed": 0, "lr": 0.1}), &[0.1]);
    assert!(
        says(vec![twin, other])
            .contains("two runs with seed=0: [lr=0.5,seed=0] and [lr=0.1,seed=0]")
    );
}

#[test]
fn a_measurement() {
    let bench = Bench::new();
    let with = json!({"measure": {"of": "test_accuracy", "at": {"best": "max"}}, "expect": {"mean": {"above": 0.35}}});
    let (v, _) = bench
        .run(with, [("in", bench.side("a", 0..5, &A))])
        .unwrap();
    assert_eq!(
        (&v["verdict"], &v["n"], v.get("b")),
        (&json!("holds"), &json!(5), None)
    );
}

/// Frozen bytes: a change must raise `REVISION`.
#[test]
fn golden() {
    let bench = Bench::new();
    let with = json!({"compare": {"of": "accuracy"}, "expect": {"ratio": {"above": 1.0}}});
    let (_, text) = bench
        .run(
            with,
            [
                ("a", bench.side("a", 0..5, &A)),
                ("b", bench.side("b", 0..5, &B)),
            ],
        )
        .unwrap();
    assert_eq!(
        (
            Claim::REVISION,
            &blake3::hash(text.as_bytes()).to_hex()[..16]
        ),
        (2, "d25a4fcfb4a9a42e"),
        "{text}"
    );
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("  \"")?.split('"').next())
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
}

#[test]
fn bad_parameters() {
    let kind = BuiltIn::of::<Claim>();
    let wrong = |with: Value| {
        let problems = (kind.check)(&with, &["a".into(), "b".into()]).unwrap_err();
        problems
            .into_iter()
            .map(|p| format!("{}: {}", p.path.join("."), p.message))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let compare = json!({"of": "x"});
    assert!(
        wrong(json!({"compare": compare, "expect": {}}))
            .contains("expect: it must state one thing")
    );
    assert!(
        wrong(json!({"compare": compare, "expect": {"mean": {"above": 1}}}))
            .contains("expect.mean: a comparison has no mean")
    );
    assert!(
        wrong(json!({"compare": compare, "expect": {"difference": {"abov": 1}}}))
            .contains("unknown choice `abov`")
    );
    assert!(
        wrong(
            json!({"compare": compare, "expect": {"difference": {"within": {"low": 1, "high": 0}}}})
        )
        .contains("expect.difference.within: low (1) is above high (0)")
    );
    assert!(
        wrong(json!({"expect": {"mean": {"above": 1}}})).contains("either `compare` or `measure`")
    );
    assert!(
        wrong(json!({"compare": compare, "expect": {"ratio": {"above": 0}}})).contains("above 0")
    );
    let axes =
        |compare: Value| wrong(json!({"compare": compare, "expect": {"difference": {"above": 0}}}));
    assert!(
        axes(json!({"of": "x", "paired_by": ["fold", "rep"]}))
            .contains("which one repeats the experiment?")
    );
    assert!(
        axes(json!({"of": "x", "over": "rep"})).contains("compare.over: `rep` is none of the axes")
    );
    assert!(
        axes(json!({"of": "x", "within": "seed"})).contains("compare.within: `seed` cannot both")
    );
    assert!(
        wrong(json!({"compare": compare, "expect": {"difference": {"above": 0}, "confidence": 1}}))
            .contains("expect.confidence")
    );
}
