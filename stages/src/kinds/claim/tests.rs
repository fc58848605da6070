//! Tests of [`super`].

use super::*;
use crate::job::JobInput;
use crate::kind::KindInfo;
use crate::kinds::testing::{metrics, task};
use serde_json::json;

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
        let kind = KindInfo::of::<Claim>();
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
        &[0.75, 0.5],
        &[0.5, 0.25],
        json!({"difference": {"above": 0.0}}),
    );
    assert_eq!(
        (&v["verdict"], &v["low"], &v["high"]),
        (&json!("holds"), &json!(0.25), &json!(0.25))
    );
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

/// Freezes the bytes: whoever changes them raises `REVISION`.
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
        (1, "13d4deaeb2d202fb"),
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
    let kind = KindInfo::of::<Claim>();
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
    assert!(
        wrong(json!({"compare": compare, "expect": {"difference": {"above": 0}, "confidence": 1}}))
            .contains("expect.confidence")
    );
}
