//! What is said about how many repetitions a claim reads: `n`, `until`, `max_n`, `looks`, `n_of`.

use super::*;

const STAGES: &str = "version: 1
stages:
  a: {uses: make, matrix: {seed: {range: [0, 20]}}}
  b: {uses: make, matrix: {seed: {range: [0, 12]}}}
  c: {uses: make, matrix: {seed: [0, 1, 2, 3, 4, 5], fold: [1, 2]}}
  d: {uses: make}
  per: {uses: make, matrix: {seed: {range: [0, 20]}}, needs: {part: a.thing}}
claims:
";

/// There is one mistake, and this is said of it.
fn says(claims: &str, wanted: &[&str]) {
    let said = project(&format!("{STAGES}{claims}")).errors();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    for text in wanted {
        assert!(said.contains(text), "no {text:?} in:\n{said}");
    }
}

const MEAN: &str = "expect: {mean: {above: 0}}";

#[test]
fn one_clear_error_for_each_mistake() {
    let measure = |more: &str| format!("  x: {{measure: {{of: m, in: a}}, {MEAN}, {more}}}\n");
    says(
        &measure("until: decided"),
        &["ask for ever more runs", "`max_n: 40`"],
    );
    says(
        &measure("until: decided, max_n: 4, looks: {first: 5}"),
        &["the first look is after 5 repetitions, and `max_n` is 4"],
    );
    says(
        &measure("until: decided, max_n: 40"),
        &[
            "`max_n` is 40, and `a` has 20 values of `seed`",
            "`seed: {range: [0, 40]}`",
        ],
    );
    says(
        &measure("n: 21"),
        &["`n` is 21, and `a` has 20 values of `seed`"],
    );
    says(&measure("n: 0"), &["`n` is 0", "give 1 or more"]);
    says(
        &measure("until: decided, max_n: 9, looks: {step: 0}"),
        &["`step` is 0"],
    );
    says(
        &measure("n: 3, until: decided, max_n: 9"),
        &["`n` fixes the number", "keep one of the two"],
    );
    says(
        &measure("max_n: 9"),
        &["`max_n` belongs to `until`", "add `until: decided`"],
    );
    says(&measure("looks: {first: 3}"), &["`looks` belongs to"]);
    says(&measure("n_of: seed"), &["neither is given"]);
    says(
        &measure("n: 3, n_of: sed"),
        &["`sed` is none of the axes", "did you mean `seed`?"],
    );
    says(
        &measure("until: never, max_n: 9"),
        &["claims.x.until", "decided"],
    );
    says(
        &format!("  x: {{measure: {{of: m, in: d}}, {MEAN}, until: decided, max_n: 9}}\n"),
        &[
            "`d` has no axis `seed` that could have more values",
            "`matrix: {seed: {range: [0, 9]}}`",
        ],
    );
    says(
        &format!(
            "  x: {{measure: {{of: m, in: c, over: [seed, fold]}}, {MEAN}, until: decided, max_n: 6}}\n"
        ),
        &[
            "`seed` and `fold` repeat the experiment: which of them",
            "say `n_of: seed`",
        ],
    );
    // Of two sides those count that both have.
    says(
        "  x: {compare: {of: m, a: a, b: b}, expect: {difference: {above: 0}}, until: decided, max_n: 13}\n",
        &["`a` and `b` have 12 values of `seed`"],
    );
}

/// An interval that is made for a fixed number of runs may not be looked at again and again.
#[test]
fn looks_need_an_interval_that_allows_them() {
    let until = |expect: &str| {
        format!("  x: {{measure: {{of: m, in: a}}, expect: {expect}, until: decided, max_n: 9}}\n")
    };
    for (expect, what) in [
        (
            "{mean: {above: 0}, interval: ranks}",
            "the interval `ranks`",
        ),
        (
            "{mean: {above: 0}, interval: {bootstrap: {}}}",
            "the interval `bootstrap`",
        ),
        ("{trend: increasing}", "the test of `trend`"),
        ("{best: {between: [0, 1]}}", "the test of `best`"),
    ] {
        says(
            &until(expect),
            &[what, "fixed beforehand", "in place of `until`"],
        );
    }
    for expect in [
        "{mean: {above: 0}}",
        "{mean: {above: 0}, interval: anytime}",
    ] {
        let plan = project(&format!("{STAGES}{}", until(expect))).plan();
        for id in ["claim:x[n=5]", "claim:x[n=9]"] {
            assert_eq!(
                params(&plan, id)["expect"],
                json!({"mean": {"above": 0}, "interval": "anytime"})
            );
        }
    }
}

/// Whoever reads runs whose number a claim decides says how many.
#[test]
fn other_readers_of_such_runs_fix_their_number() {
    let claims = |other: &str| {
        format!(
            "  x: {{measure: {{of: m, in: a}}, {MEAN}, until: decided, max_n: 20}}\n  y: {other}\n"
        )
    };
    for reads in [
        "a", // What is made of them is read all the same.
        "per",
    ] {
        for expect in [MEAN, "expect: {mean: {above: 0}, interval: anytime}"] {
            let other = format!("{{measure: {{of: m, in: {reads}}}, {expect}}}");
            says(
                &claims(&other),
                &[
                    "the claim `y` reads all runs there are, and the claim `x` decides",
                    "`n: 5`",
                    "`until: decided",
                ],
            );
        }
    }
    for other in [
        format!("{{measure: {{of: m, in: a}}, {MEAN}, n: 7}}"),
        format!("{{measure: {{of: m, in: per}}, {MEAN}, until: decided, max_n: 10}}"),
        format!("{{measure: {{of: m, in: \"a[seed=7]\"}}, {MEAN}}}"),
        format!("{{measure: {{of: m, in: b}}, {MEAN}}}"),
    ] {
        project(&format!("{STAGES}{}", claims(&other))).plan();
    }
    // A stage that takes all of them waits, and the user hears of it.
    let all = STAGES.replace(
        "claims:",
        "  table: {uses: join, needs: {parts: \"a[*].thing\"}}\nclaims:",
    );
    let plan = project(&format!(
        "{all}  x: {{measure: {{of: m, in: a}}, {MEAN}, until: decided, max_n: 20}}\n"
    ))
    .plan();
    let said = plan.warnings.join("\n");
    assert!(
        said.contains("`table` takes all runs whose number the claim `x` decides"),
        "{said}"
    );
    assert!(!said.contains("`per`"), "{said}");
}

/// A claim that decides how many runs it needs makes many looks, and its runs have other readers:
/// one mistake is told once, and nothing that only follows from it.
#[test]
fn one_mistake_beside_such_a_claim_is_one_error() {
    let until = format!("  x: {{measure: {{of: m, in: a}}, {MEAN}, until: decided, max_n: 20}}\n");
    let beside = |other: &str, wanted: &str| says(&format!("{until}  y: {other}\n"), &[wanted]);
    let reads = |more: &str| format!("{{measure: {{of: m, in: a}}, {MEAN}, {more}}}");
    beside(&reads("n: 2.5"), "claims.y.n");
    beside(&reads("n: 0"), "`n` is 0");
    beside(&reads("n: 21"), "`n` is 21");
    beside(&reads("n: 5, n_of: sed"), "`sed` is none of the axes");
    beside(&reads("n: \"${vars.n}\""), "there is no variable `n`");
    beside(&reads("max_m: 20, until: decided"), "did you mean `max_n`?");
    beside(&reads("max_n: 20, untl: decided"), "did you mean `until`?");
    beside(&reads("max_n: 20, until: never"), "`never` is not known");
    let over = format!("{{measure: {{of: m, in: a, over: sed}}, {MEAN}, n: 5}}");
    beside(&over, "no axis `sed`");
    beside(
        "{measure: {of: m, in: a}, n: 5}",
        "does not say what to expect",
    );
    let misspelt = "{measure: {of: m, in: a}, expct: {mean: {above: 0}}, n: 5}";
    beside(misspelt, "unknown field `expct`");
    let one_side = "{compare: {of: m, a: a}, expect: {difference: {above: 0}}, n: 5}";
    beside(one_side, "`b` is missing");
    // Of its own looks.
    let own = |expect: &str| {
        format!("  x: {{measure: {{of: m, in: a}}, expect: {expect}, until: decided, max_n: 20}}\n")
    };
    says(&own("{men: {above: 0}}"), &["unknown field `men`"]);
    // A stage whose axes are unknown has them, as far as its readers go.
    let stages = STAGES.replacen("matrix", "matix", 1);
    let said = project(&format!("{stages}{until}")).errors();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("unknown field `matix`"), "{said}");
    // One reference of many values.
    let stages = STAGES.replace("part: a.thing", "part: \"a[sed=${matrix.seed}].thing\"");
    let said = project(&format!("{stages}{until}")).errors();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("and 19 more"), "{said}");
}
