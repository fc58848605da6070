//! Claims that ask for more than the interval of Student: equivalence, other intervals, reports,
//! trends and votes along an axis.

use super::*;

/// Freezes what new parameters write, on the same terms.
#[test]
fn golden_of_what_is_asked_for() {
    let bench = Bench::new();
    let sides = || {
        [
            ("a", bench.side("a", 0..5, &A)),
            ("b", bench.side("b", 0..5, &B)),
        ]
    };
    let compare = |expect: Value| {
        let with = json!({
            "compare": {"of": "accuracy"}, "expect": expect, "family": "f",
            "report": ["effect_size", "bootstrap", "ranks", "p_value"],
        });
        bench.run(with, sides()).unwrap().1
    };
    let row: &[f64] = &[0.5, 0.7, 0.7, 0.2];
    let rows = [row, &[0.4, 0.6, 0.5, 0.3], &[0.45, 0.65, 0.5, 0.7]];
    let along = |expect: Value| {
        let with = json!({"measure": {"of": "accuracy", "along": "lambda"}, "expect": expect});
        let runs = grid(&bench, &[0.0, 0.4, 0.6, 1.0], &rows);
        bench.run(with, [("in", runs)]).unwrap().1
    };
    let texts = [
        compare(json!({"difference": {"equivalent": 0.05}})),
        compare(json!({"ratio": {"above": 1.0}, "interval": "anytime"})),
        compare(json!({"difference": {"above": 0.0}, "confidence": 0.9, "interval": "ranks"})),
        along(json!({"trend": "decreasing"})),
        along(json!({"best": {"between": [0.4, 0.6]}})),
    ];
    let digests = texts.map(|text| blake3::hash(text.as_bytes()).to_hex()[..8].to_owned());
    assert_eq!(
        digests.join(" "),
        "2b46eec8 7105bf92 8d7c4ba9 551b63c1 1e9ff916"
    );
}

/// A side whose axis `lambda` has these columns of values, one row per seed.
fn grid(bench: &Bench, at: &[f64], rows: &[&[f64]]) -> Vec<JobInput> {
    let mut all = Vec::new();
    for (seed, row) in rows.iter().enumerate() {
        for (lambda, value) in at.iter().zip(*row) {
            let axes = json!({"seed": seed, "lambda": lambda});
            all.push(metrics(bench.0.path(), "grid", axes, &[*value]));
        }
    }
    all
}

// scipy 1.17: stats.ttest_1samp(A - B, -x, alternative="greater"), (A - B, x, "less"),
// t.interval(0.9)
#[test]
fn equivalence_is_two_one_sided_tests() {
    let bench = Bench::new();
    let v = bench.compare(&A, &B, json!({"difference": {"equivalent": 0.05}}));
    assert_eq!(v["verdict"], "holds");
    near(&v["equivalence"]["low"], 0.00881923738818156);
    near(&v["equivalence"]["high"], 0.04238076261181847);
    near(&v["equivalence"]["p"], 0.018114011863729816);
    near(&v["low"], 0.003745302695345478);
    assert_eq!(v["equivalence"]["confidence"], 0.9);
    assert_eq!(
        v["reason"],
        "the 90 % interval [0.0088, 0.0424] of the mean difference a − b lies within -0.05 to 0.05 (5 pairs); \
         two one-sided tests: p = 0.0181"
    );
    // Where the 95 % interval crosses the bound, `within` does not decide.
    let by = |bound: Value| bench.compare(&A, &B, json!({"difference": bound}))["verdict"].clone();
    assert_eq!(by(json!({"equivalent": 0.045})), "holds");
    assert_eq!(
        by(json!({"within": {"low": -0.045, "high": 0.045}})),
        "inconclusive"
    );
    // Refuted by the 95 % interval, not by the 90 % one.
    assert_eq!(by(json!({"equivalent": 0.003})), "refuted");
    assert_eq!(by(json!({"equivalent": 0.008})), "inconclusive");
    let ratio =
        |x: f64| bench.compare(&A, &B, json!({"ratio": {"equivalent": x}}))["verdict"].clone();
    assert_eq!(
        (ratio(1.15), ratio(1.001)),
        ("holds".into(), "refuted".into())
    );
}

#[test]
fn other_intervals_decide_where_they_are_asked_for() {
    let bench = Bench::new();
    let a: Vec<f64> = (0..8).map(|i| 0.4 + 0.01 * f64::from(i * i % 7)).collect();
    let b = [0.35; 8];
    let by = |interval: Value| {
        bench.compare(
            &a,
            &b,
            json!({"difference": {"above": 0.0}, "interval": interval}),
        )
    };
    let ranks = by(json!("ranks"));
    assert_eq!(ranks["verdict"], "holds");
    assert_eq!(ranks["expect"]["interval"], "ranks");
    let reason = ranks["reason"].as_str().unwrap();
    assert!(
        reason.contains("95 % rank interval") && reason.contains("median difference a − b"),
        "{reason}"
    );
    assert_eq!(by(json!("anytime"))["verdict"], "holds");
    assert_eq!(by(json!({"bootstrap": {}}))["verdict"], "holds");
    // Five pairs allow no 95 % interval of ranks, and two no anytime interval.
    let few = bench.compare(
        &A,
        &B,
        json!({"difference": {"above": 0.0}, "interval": "ranks"}),
    );
    assert_eq!(
        (&few["verdict"], &few["low"], &few["reason"]),
        (
            &json!("inconclusive"),
            &Value::Null,
            &json!("5 pairs are too few for a 95 % rank interval")
        )
    );
    let few = bench.compare(
        &A[..2],
        &B[..2],
        json!({"difference": {"above": 0.0}, "interval": "anytime"}),
    );
    assert_eq!(
        few["reason"],
        "2 pairs are too few for a 95 % anytime interval"
    );
}

#[test]
fn extras_stand_beside_the_verdict() {
    let bench = Bench::new();
    let run = |with: Value| {
        let sides = [
            ("a", bench.side("a", 0..5, &A)),
            ("b", bench.side("b", 0..5, &B)),
        ];
        bench.run(with, sides).unwrap()
    };
    let (v, text) = run(json!({
        "compare": {"of": "accuracy"},
        "expect": {"difference": {"above": 0.0}},
        "family": "main",
        "report": ["effect_size", "bootstrap", "ranks", "p_value"],
    }));
    near(&v["effect_size"]["d"], 1.4544515492898904);
    assert_eq!(v["effect_size"]["formula"], "d_z: mean of a − b / its sd");
    assert!((v["effect_size"]["low"].as_f64().unwrap() - 0.11362315022162996).abs() < 1e-9);
    assert!(v["effect_size"]["hedges_g"].as_f64().unwrap() > 1.5);
    assert_eq!(v["bootstrap"]["resamples"], 10_000);
    assert!(v["bootstrap"]["low"].as_f64().unwrap() > 0.0);
    assert_eq!(
        (&v["ranks"]["statistic"], &v["ranks"]["p"]),
        (&json!(15.0), &json!(0.0625))
    );
    // scipy 1.17: stats.ttest_rel(A, B).pvalue
    near(&v["p"], 0.03130901558601516);
    assert_eq!(v["family"], "main");
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("  \"")?.split('"').next())
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    // None of it where nobody asks.
    let (plain, _) =
        run(json!({"compare": {"of": "accuracy"}, "expect": {"difference": {"above": 0.0}}}));
    for field in [
        "p",
        "family",
        "ranks",
        "bootstrap",
        "effect_size",
        "equivalence",
    ] {
        assert_eq!(plain.get(field), None);
    }
}

/// The level at which the interval touches the bound is the p-value.
#[test]
fn p_values_are_those_of_intervals() {
    let bench = Bench::new();
    for interval in [None, Some("anytime")] {
        for bound in [
            json!({"above": 0.01}),
            json!({"below": 0.04}),
            json!({"within": {"low": 0.005, "high": 0.08}}),
            json!({"within": {"low": -0.08, "high": -0.005}}),
        ] {
            let verdict = |confidence: f64| {
                let mut expect = json!({"difference": bound, "confidence": confidence});
                if let Some(interval) = interval {
                    expect["interval"] = json!(interval);
                }
                let sides = [
                    ("a", bench.side("a", 0..5, &A)),
                    ("b", bench.side("b", 0..5, &B)),
                ];
                let with =
                    json!({"compare": {"of": "accuracy"}, "expect": expect, "report": ["p_value"]});
                bench.run(with, sides).unwrap().0
            };
            let p = verdict(0.95)["p"].as_f64().unwrap();
            if p > 0.99 {
                continue;
            }
            assert_ne!(
                verdict(1.0 - p * 1.01)["verdict"],
                "inconclusive",
                "{bound} {p}"
            );
            assert_eq!(
                verdict(1.0 - p * 0.99)["verdict"],
                "inconclusive",
                "{bound} {p}"
            );
        }
    }
}

#[test]
fn a_trend_along_an_axis() {
    let bench = Bench::new();
    let at = [0.1, 0.5, 0.9, 0.25];
    let rows: [&[f64]; 4] = [
        &[0.50, 0.60, 0.70, 0.55],
        &[0.51, 0.63, 0.69, 0.54],
        &[0.49, 0.61, 0.72, 0.58],
        &[0.52, 0.59, 0.71, 0.56],
    ];
    let run = |direction: &str, inputs: Vec<JobInput>| {
        let with = json!({"measure": {"of": "accuracy", "along": "lambda"}, "expect": {"trend": direction}});
        bench.run(with, [("in", inputs)])
    };
    let (v, text) = run("increasing", grid(&bench, &at, &rows)).unwrap();
    assert_eq!((&v["verdict"], &v["n"]), (&json!("holds"), &json!(16)));
    assert_eq!(
        v["trend"],
        json!({"distribution": "exact", "pairs": 96, "statistic": 96.0})
    );
    assert_eq!((&v["estimate"], &v["low"]), (&json!(1.0), &Value::Null));
    // In the order of numbers, whatever the order of runs.
    assert_eq!(
        (&v["along"][1]["at"], &v["along"][3]["at"]),
        (&json!(0.25), &json!(0.9))
    );
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("  \"")?.split('"').next())
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let (v, _) = run("decreasing", grid(&bench, &at, &rows)).unwrap();
    assert_eq!(v["verdict"], "refuted");
    let flat: [&[f64]; 2] = [&[0.5, 0.6, 0.4, 0.55], &[0.52, 0.41, 0.61, 0.5]];
    let (v, _) = run("increasing", grid(&bench, &at, &flat)).unwrap();
    assert_eq!(v["verdict"], "inconclusive");
    // Rounds of one training are no observations along their axis.
    let mut chained = grid(&bench, &at, &rows);
    chained.iter_mut().for_each(|item| item.chain = Some(0));
    let said = run("increasing", chained).unwrap_err().to_string();
    assert!(said.contains("one was made from the other"), "{said}");
    let mut named = grid(&bench, &at[..2], &rows);
    named.iter_mut().for_each(|item| {
        item.axes.insert("lambda".into(), json!("high"));
    });
    let said = run("increasing", named[..1].to_vec())
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "`along: lambda` needs numbers, and lambda=high,seed=0 has \"high\" there"
    );
}

#[test]
fn the_best_value_lies_between() {
    let bench = Bench::new();
    let at = [0.0, 0.4, 0.6, 1.0];
    let inside: &[f64] = &[0.5, 0.7, 0.6, 0.2];
    let outside: &[f64] = &[0.9, 0.7, 0.6, 0.2];
    let tied: &[f64] = &[0.7, 0.7, 0.6, 0.2];
    let run = |rows: &[&[f64]], best: Value| {
        let with =
            json!({"measure": {"of": "accuracy", "along": "lambda"}, "expect": {"best": best}});
        bench
            .run(with, [("in", grid(&bench, &at, rows))])
            .unwrap()
            .0
    };
    let vary = |rows: &[&[f64]]| -> Vec<Vec<f64>> {
        let vary = |(i, row): (usize, &&[f64])| row.iter().map(|v| v + 0.001 * i as f64).collect();
        rows.iter().enumerate().map(vary).collect()
    };
    let claim = |rows: &[&[f64]], best: Value| {
        let rows = vary(rows);
        run(&Vec::from_iter(rows.iter().map(Vec::as_slice)), best)
    };
    let between = || json!({"between": [0.4, 0.6]});
    let v = claim(&[inside; 6], between());
    assert_eq!(
        (&v["verdict"], &v["n"], &v["estimate"]),
        (&json!("holds"), &json!(6), &json!(1.0))
    );
    // scipy 1.17: stats.binomtest(6, 6).proportion_ci(0.95, method="exact")
    near(&v["low"], 0.5407418735600995);
    assert_eq!(v["best"]["seed=3"], json!([0.4]));
    assert_eq!(claim(&[inside; 5], between())["verdict"], "inconclusive");
    assert_eq!(claim(&[outside; 6], between())["verdict"], "refuted");
    // Equal best values on both sides of an end are no vote.
    let v = claim(&[inside, inside, outside, tied], between());
    assert_eq!((&v["n"], &v["p"]), (&json!(3), &json!(1.0)));
    let v = claim(&[inside; 6], json!({"between": [0.9, 1.5], "is": "min"}));
    assert_eq!(v["verdict"], "holds");
    // A repetition that lacks a number does not vote.
    let mut runs = grid(&bench, &at, &[inside, inside, inside]);
    runs.pop();
    let with =
        json!({"measure": {"of": "accuracy", "along": "lambda"}, "expect": {"best": between()}});
    let (v, _) = bench.run(with, [("in", runs)]).unwrap();
    assert_eq!(v["unmatched"], json!(["seed=2: no run at lambda=1"]));
}

#[test]
fn contradictions_of_new_parameters_are_told() {
    let kind = BuiltIn::of::<Claim>();
    let wrong = |with: Value, needs: &[&str]| {
        let needs: Vec<String> = needs.iter().map(|n| (*n).to_owned()).collect();
        let problems = (kind.check)(&with, &needs).unwrap_err();
        let line = |p: ParamProblem| {
            let hint = p.hint.unwrap_or_default();
            format!("{}: {} / {hint}", p.path.join("."), p.message)
        };
        problems
            .into_iter()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let compare = |more: Value| {
        let mut with = json!({"compare": {"of": "x"}});
        with.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        wrong(with, &["a", "b"])
    };
    let measure = |measure: Value, expect: Value| {
        let mut all = json!({"of": "x"});
        all.as_object_mut()
            .unwrap()
            .extend(measure.as_object().unwrap().clone());
        wrong(json!({"measure": all, "expect": expect}), &["in"])
    };
    let said = [
        compare(json!({"expect": {"difference": {"equivalent": 0}}})),
        compare(json!({"expect": {"ratio": {"equivalent": 0.9}}})),
        compare(json!({"expect": {"difference": {"equivalent": 0.1}, "confidence": 0.5}})),
        compare(json!({"expect": {"difference": {"equivalent": 0.1}, "interval": "anytime"}})),
        compare(json!({"expect": {"difference": {"above": 0}, "interval": "rank"}})),
        compare(json!({"expect": {"difference": {"above": 0}, "interval": {"bootstrap": {"resamples": 10}}}})),
        compare(json!({"expect": {"difference": {"above": 0}, "interval": {"bootstrap": {}}}, "family": "f"})),
        compare(json!({"expect": {"difference": {"above": 0}}, "report": ["effect"]})),
        compare(json!({"expect": {"trend": "increasing"}})),
        measure(json!({}), json!({"trend": "increasing"})),
        measure(json!({}), json!({"mean": {"equivalent": 0.1}})),
        measure(json!({"along": "lambda"}), json!({"mean": {"above": 0}})),
        measure(json!({"along": "seed"}), json!({"trend": "rising"})),
        measure(json!({"along": "seed"}), json!({"trend": "decreasing"})),
        measure(json!({"along": "lambda"}), json!({"best": {"between": [0.8, 0.2]}})),
        measure(json!({"along": "lambda"}), json!({"best": {"between": [0.2, 0.8]}, "interval": "ranks"})),
    ]
    .join("\n");
    assert_eq!(said, CONTRADICTIONS.join("\n"));
}

const CONTRADICTIONS: [&str; 16] = [
    "expect.difference.equivalent: 0 leaves no room / give a number above 0: `0.01` means between -0.01 and 0.01",
    "expect.ratio.equivalent: 0.9 leaves no room / give a ratio above 1: `1.05` means between 1/1.05 and 1.05",
    "expect.confidence: two one-sided tests need a confidence above 0.5 / e.g. 0.95",
    "expect.interval: two one-sided tests need a fixed number of observations / use `within` in place of `equivalent`",
    "expect.interval: unknown choice `rank` / did you mean `ranks`?",
    "expect.interval.bootstrap.resamples: 10 resamples / give 1,000 to 1,000,000",
    "expect.interval: a bootstrap interval has no p-value / use `interval: ranks` in a family, or leave it out",
    "report.0: unknown choice `effect` / choices: effect_size, bootstrap, ranks, p_value",
    "expect.trend: a comparison has no trend of its own / use `measure`",
    "expect.trend: along which axis? / say it where values are measured, e.g. `measure: {along: lambda}`",
    "expect.mean.equivalent: equivalent to what? A mean has one side / use `within: {low, high}`",
    "measure.along: a mean looks along no axis / use `trend` or `best`, or leave it out",
    "expect.trend: unknown choice `rising` / choices: increasing, decreasing",
    "measure.along: `seed` cannot also repeat the experiment or be averaged over / name it once",
    "expect.best.between: 0.8 is above 0.2 / swap them",
    "expect.interval: `best` has a test of its own / leave it out",
];
