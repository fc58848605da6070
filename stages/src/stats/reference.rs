//! Against SciPy, and against definitions counted out: `stages/tests/reference/statistics.py` made
//! the values.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::noncentral::noncentral_t_cdf;
use super::*;

/// The cases of one subject.
fn cases<T: DeserializeOwned>(subject: &str) -> Vec<T> {
    let text = include_str!("../../tests/reference/statistics.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(all[subject].clone()).unwrap()
}

fn close(a: f64, b: f64, tolerance: f64) {
    assert!(
        (a - b).abs() <= tolerance * b.abs().max(1e-3),
        "{a} is not {b}"
    );
}

fn same(found: Option<Interval>, [low, high]: [f64; 2], tolerance: f64) {
    let found = found.expect("an interval");
    close(found.low, low, tolerance);
    close(found.high, high, tolerance);
}

#[test]
fn noncentral_t() {
    #[derive(Deserialize)]
    struct Case {
        t: f64,
        df: f64,
        delta: f64,
        value: f64,
    }
    for c in cases::<Case>("noncentral") {
        close(noncentral_t_cdf(c.t, c.df, c.delta), c.value, 1e-10);
    }
}

#[test]
fn effect_sizes() {
    #[derive(Deserialize)]
    struct One {
        sample: Vec<f64>,
        confidence: f64,
        size: f64,
        interval: [f64; 2],
    }
    for c in cases::<One>("cohen_d") {
        let summary = summarise(&c.sample, c.confidence).unwrap();
        let found = cohen_d(&summary, 0.0, c.confidence).unwrap();
        close(found.size, c.size, 1e-12);
        same(found.interval, c.interval, 1e-9);
        // Another origin is another sample.
        let moved: Vec<f64> = c.sample.iter().map(|v| v + 2.0).collect();
        let moved = cohen_d(&summarise(&moved, 0.5).unwrap(), 2.0, c.confidence).unwrap();
        close(moved.size, c.size, 1e-12);
    }
    #[derive(Deserialize)]
    struct Two {
        a: Vec<f64>,
        b: Vec<f64>,
        g: f64,
    }
    for c in cases::<Two>("hedges_g") {
        let [a, b] = [&c.a, &c.b].map(|side| summarise(side, 0.95).unwrap());
        close(hedges_g(&a, &b).unwrap(), c.g, 1e-12);
    }
    let equal = summarise(&[0.5, 0.5], 0.95).unwrap();
    assert_eq!(cohen_d(&equal, 0.0, 0.95), None);
    assert_eq!(hedges_g(&equal, &equal), None);
}

#[test]
fn signed_ranks() {
    #[derive(Deserialize)]
    struct Case {
        sample: Vec<f64>,
        statistic: f64,
        above: f64,
        below: f64,
        p: f64,
    }
    for c in cases::<Case>("signed_rank") {
        let found = signed_rank(&c.sample, 0.0, 0.0);
        assert_eq!(found.statistic, c.statistic);
        close(found.above, c.above, 1e-12);
        close(found.below, c.below, 1e-12);
        close(found.p(), c.p, 1e-12);
    }
    // The approximation goes on where counting ends.
    let long: Vec<f64> = (0..501).map(|i| f64::from(i % 11) - 4.7).collect();
    let (exact, normal) = (
        signed_rank(&long[..500], 0.0, 0.0),
        signed_rank(&long, 0.0, 0.0),
    );
    assert!(
        (libm::log(exact.p()) - libm::log(normal.p())).abs() < 0.2,
        "{exact:?} {normal:?}"
    );
}

#[test]
fn medians_of_pairs() {
    #[derive(Deserialize)]
    struct Case {
        sample: Vec<f64>,
        confidence: f64,
        estimate: f64,
        interval: Option<[f64; 2]>,
    }
    for c in cases::<Case>("hodges_lehmann") {
        let (estimate, interval) = hodges_lehmann(&c.sample, c.confidence).unwrap();
        close(estimate, c.estimate, 1e-12);
        match c.interval {
            Some(ends) => same(interval, ends, 1e-12),
            None => assert_eq!(interval, None),
        }
    }
    // The interval holds the thresholds that the test does not reject.
    let sample = [0.81, -0.32, 1.47, 0.55, 2.03, -0.11, 0.97, 1.88, 0.29, 3.4];
    let (_, interval) = hodges_lehmann(&sample, 0.95).unwrap();
    let Interval { low, high } = interval.unwrap();
    for (at, is_inside) in [
        (low - 1e-6, false),
        (low + 1e-6, true),
        (high - 1e-6, true),
        (high + 1e-6, false),
    ] {
        assert_eq!(signed_rank(&sample, at, 0.0).p() > 0.05, is_inside, "{at}");
    }
}

#[test]
fn bootstrap() {
    #[derive(Deserialize)]
    struct Case {
        sample: Vec<f64>,
        confidence: f64,
        resamples: u32,
        seed: u64,
        interval: [f64; 2],
    }
    for c in cases::<Case>("bca") {
        same(
            bca(&c.sample, c.confidence, c.resamples, c.seed),
            c.interval,
            1e-12,
        );
    }
    assert_eq!(bca(&[0.5, 0.5, 0.5], 0.95, 99, 0), None);
    // Artifacts hold these bits.
    let found = bca(&[0.812, 0.835, 0.821, 0.80], 0.95, 1000, 0).unwrap();
    assert_eq!(
        [found.low, found.high].map(f64::to_bits),
        [4605428266745156600, 4605633180528201957],
        "{found:?}"
    );
}

#[test]
fn shares() {
    #[derive(Deserialize)]
    struct Case {
        yes: usize,
        n: usize,
        confidence: f64,
        interval: [f64; 2],
    }
    for c in cases::<Case>("clopper_pearson") {
        same(
            Some(clopper_pearson(c.yes, c.n, c.confidence)),
            c.interval,
            1e-11,
        );
    }
}

#[test]
fn trends() {
    #[derive(Deserialize)]
    struct Case {
        groups: Vec<Vec<f64>>,
        statistic: f64,
        rising: f64,
        falling: f64,
    }
    // Random orders come within a few standard errors of all orders.
    for (subject, made, tolerance) in [
        ("trend_exact", Made::Exact, 1e-14),
        ("trend_normal", Made::Normal, 1e-12),
        ("trend_tied", Made::Permutations(9999), 0.01),
    ] {
        for c in cases::<Case>(subject) {
            let found = jonckheere(&c.groups).unwrap();
            assert_eq!((found.statistic, found.made), (c.statistic, made));
            for (a, b) in [(found.rising, c.rising), (found.falling, c.falling)] {
                assert!((a - b).abs() <= tolerance, "{subject}: {a} is not {b}");
            }
        }
    }
    assert_eq!(jonckheere(&[vec![1.0, 2.0], vec![]]), None);
}

#[test]
fn growing_evidence() {
    #[derive(Deserialize)]
    struct Case {
        sample: Vec<f64>,
        mean: f64,
        value: f64,
    }
    for c in cases::<Case>("evidence") {
        let summary = summarise(&c.sample, 0.95).unwrap();
        close(evidence(&summary, c.mean), c.value, 1e-7);
        // The interval holds the means against which there is less evidence than 1/α.
        for confidence in [0.5, 0.8, 0.95] {
            let Some(found) = anytime(&summary, confidence) else {
                continue;
            };
            for end in [found.low, found.high] {
                close(evidence(&summary, end), 1.0 / (1.0 - confidence), 1e-9);
            }
        }
    }
    let few = summarise(&[0.1, 0.2], 0.95).unwrap();
    assert_eq!(anytime(&few, 0.95), None);
    let equal = summarise(&[0.5, 0.5], 0.95).unwrap();
    assert_eq!(evidence(&equal, 0.5), 1.0);
}
