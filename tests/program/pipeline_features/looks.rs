//! Claims that decide how many seeds they need: what is run for them, what is shown, and that
//! neither an order of finishing nor a kill nor what is cached makes a difference.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::processes::kill_dead;
use crate::support::{TestSpace, instances};

/// A stage of cheap runs, which share no key with those of other stages. Their accuracies are 60 to
/// 64, and 62 on average over every five seeds.
fn runs(name: &str, before: &str) -> String {
    format!(
        "  {name}:
    matrix: {{seed: {{range: [0, 30]}}}}
    sandbox: off
    run: |
      : {name}; {before}
      echo '{{\"accuracy\": '$((60 + ${{matrix.seed}} * 7 % 5))'}}' > ${{outputs.metrics}}
    outputs: {{metrics: m.json}}
"
    )
}

fn claim(name: &str, runs: &str, above: f64, more: &str) -> String {
    format!(
        "  {name}: {{measure: {{of: accuracy, in: {runs}}}, expect: {{mean: {{above: {above}}}}}, until: decided, max_n: 20{more}}}\n"
    )
}

/// One claim is decided at the first look, one at the third, one never.
fn three() -> String {
    format!(
        "version: 1\nstages:\n{}{}{}claims:\n{}{}{}",
        runs("a", ":"),
        runs("b", ":"),
        runs("c", ":"),
        claim("first", "a", 30.0, ""),
        claim("third", "b", 60.3, ""),
        claim("never", "c", 62.0, "")
    )
}

/// How many instances of each stage are among these.
fn counted(instances: &[String]) -> Value {
    let mut counts = std::collections::BTreeMap::new();
    for id in instances {
        let stage = id.split('[').next().unwrap();
        *counts.entry(stage).or_insert(0) += 1;
    }
    json!(counts)
}

fn lock(space: &TestSpace) -> String {
    space.read("repro.lock")
}

#[test]
fn a_claim_adds_seeds_until_it_is_decided() {
    let space = TestSpace::with_pipeline(&three());
    // What a dry run can know is the first look; how much may follow is said.
    let (_, dry) = space.events(&["-n"]);
    assert_eq!(
        counted(&instances(&dry, "planned")),
        json!({"a": 5, "b": 5, "c": 5, "claim:first": 1, "claim:third": 1, "claim:never": 1})
    );
    // 15 more seeds and 3 more looks of each claim.
    assert_eq!(dry.last().unwrap()["not_asked_for"], 54);

    let (code, events) = space.events(&[]);
    assert_eq!(code, 0);
    let asked: Vec<(&str, u64, u64, u64)> = events
        .iter()
        .filter(|e| e["event"] == "asked")
        .map(|e| {
            let n = |field: &str| e[field].as_u64().unwrap();
            (
                e["claim"].as_str().unwrap(),
                n("n"),
                n("next"),
                n("instances"),
            )
        })
        .collect();
    let of = |claim: &str| -> Vec<(u64, u64, u64)> {
        let of_it = asked.iter().filter(|(c, ..)| *c == claim);
        of_it.map(|(_, n, next, more)| (*n, *next, *more)).collect()
    };
    assert_eq!(of("first"), []);
    assert_eq!(of("third"), [(5, 10, 6), (10, 15, 6)]);
    assert_eq!(of("never"), [(5, 10, 6), (10, 15, 6), (15, 20, 6)]);
    let all =
        json!({"a": 5, "b": 15, "c": 20, "claim:first": 1, "claim:third": 3, "claim:never": 4});
    assert_eq!(counted(&instances(&events, "finished")), all);
    // What was announced at the start and on the way is what was done.
    let announced = events[0]["instances"].as_u64().unwrap()
        + asked.iter().map(|(_, _, _, more)| more).sum::<u64>();
    let summary = events.last().unwrap();
    assert_eq!(summary["executed"].as_u64(), Some(announced));
    assert_eq!(summary["not_asked_for"], 15 + 3 + 5 + 1);
    let verdicts: Vec<(&Value, &Value, &Value)> = summary["claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["verdict"], &c["n"], &c["looks"]["taken"]))
        .collect();
    assert_eq!(
        verdicts,
        [
            (&json!("holds"), &json!(5), &json!([5])),
            (&json!("holds"), &json!(15), &json!([5, 10, 15])),
            (&json!("inconclusive"), &json!(20), &json!([5, 10, 15, 20])),
        ]
    );

    // Later commands agree, and nothing is left to do.
    let claims = space.ok(&["claims"]);
    for said in [
        "third: looked at n = 5, 10, 15 of at most 20; the interval holds at all looks together",
        "never: looked at n = 5, 10, 15, 20 of at most 20;",
    ] {
        assert!(claims.contains(said), "{claims}");
    }
    assert_eq!(space.json(&["claims"])[1]["looks"]["max_n"], 20);
    let states = space.json(&["status"]);
    let held = states
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["state"] == "held");
    assert_eq!(held.count(), 54, "of 30 seeds of each stage");
    assert!(space.exists("artifacts/claims/third/n=15/verdict.json"));
    assert!(!space.exists("artifacts/claims/third/n=20"));
    let before = lock(&space);
    assert_eq!(space.executed(&[]), Vec::<String>::new());
    assert_eq!(lock(&space), before);
    assert!(!space.run(&["run"]).err.contains("looks again"));

    // A larger maximum runs new seeds only, and no key of a look knows of it.
    space.edit(
        "pipeline.yaml",
        "above: 62}}, until: decided, max_n: 20",
        "above: 62}}, until: decided, max_n: 30",
    );
    let new = counted(&space.executed(&[]));
    assert_eq!(new, json!({"c": 10, "claim:never": 2}));
}

#[test]
fn names_ask_for_what_they_say() {
    let space = TestSpace::with_pipeline(&three());
    assert_eq!(
        counted(&space.executed(&["third"])),
        json!({"b": 15, "claim:third": 3})
    );
    assert_eq!(
        counted(&space.executed(&["claim:first[n=10]"])),
        json!({"a": 10, "claim:first": 1})
    );
    // Looks that are not asked for do not count, though they have a result.
    let claims = space.json(&["claims"]);
    assert_eq!(
        (&claims[0]["verdict"], &claims[1]["n"]),
        (&Value::Null, &json!(15))
    );
    assert_eq!(counted(&space.executed(&["a"])), json!({"a": 20}));
    space.executed(&[]);
    let claims = space.json(&["claims"]);
    assert_eq!(claims[0]["looks"]["taken"], json!([5]));
    // Whoever forces a claim forces all the looks it takes.
    assert_eq!(
        counted(&space.executed(&["-f", "third"])),
        json!({"claim:third": 3})
    );
}

/// The lock file is a function of the pipeline: neither the order of finishing nor what the store
/// already has makes a difference.
#[test]
fn the_lock_file_knows_no_order_and_no_cache() {
    let one = TestSpace::with_pipeline(&three());
    one.executed(&["-j", "1"]);
    let many = TestSpace::with_pipeline(&three());
    many.executed(&["-j", "8"]);
    assert_eq!(lock(&one), lock(&many));
    // Everything is cached now, later looks too; another project on this store asks for no more.
    one.executed(&["a", "b", "c", "claim:first[n=20]", "claim:third[n=20]"]);
    let other = one.other_project("other");
    fs::write(other.join("pipeline.yaml"), three()).unwrap();
    let said = one.run_in(&other, &["run"]);
    assert!(said.err.contains("0 executed"), "{}", said.err);
    assert_eq!(
        fs::read_to_string(other.join("repro.lock")).unwrap(),
        lock(&many)
    );
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let space = TestSpace::new();
    let gate = space.project.with_file_name("gate");
    fs::create_dir_all(&gate).unwrap();
    let at = gate.display();
    let wait = format!(
        "if [ ${{matrix.seed}} = 7 ]; then touch {at}/here; while [ ! -e {at}/go ]; do sleep 0.01; done; fi"
    );
    let yaml = format!(
        "version: 1\nstages:\n{}claims:\n{}",
        runs("b", &wait),
        claim("third", "b", 60.3, "")
    );
    space.write("pipeline.yaml", &yaml);
    let mut run = space.start(&["run", "-j", "1"]);
    while !gate.join("here").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_dead(&mut run);
    fs::write(gate.join("go"), "").unwrap();
    let again: BTreeSet<String> = space.executed(&["-j", "1"]).into_iter().collect();
    assert!(
        !again.contains("b[seed=4]") && !again.contains("claim:third[n=5]"),
        "{again:?}"
    );
    assert!(again.contains("b[seed=7]") && again.contains("claim:third[n=15]"));
    assert!(!again.contains("b[seed=15]"));
    let other = space.other_project("other");
    fs::write(other.join("pipeline.yaml"), &yaml).unwrap();
    space.run_in(&other, &["run"]);
    assert_eq!(
        fs::read_to_string(other.join("repro.lock")).unwrap(),
        lock(&space)
    );
}

#[test]
fn exit_codes_tell_of_the_last_look() {
    // 62 on average is not above 63.7: refuted at the third look.
    let refuted = |max: u32| {
        format!(
            "version: 1\nstages:\n{}claims:\n  x: {{measure: {{of: accuracy, in: a}}, expect: {{mean: {{above: 63.7}}}}, until: decided, max_n: {max}}}\n",
            runs("a", ":")
        )
    };
    let space = TestSpace::with_pipeline(&refuted(10));
    assert_eq!(space.run(&["run", "--strict"]).code, 0, "not decided by 10");
    space.write("pipeline.yaml", refuted(20));
    assert_eq!(space.run(&["run", "--strict"]).code, 4);
    assert_eq!(space.json(&["claims"])[0]["n"], 15);
    // A seed that fails leaves the claim where its last look was.
    let broken = format!(
        "version: 1\nstages:\n{}claims:\n{}",
        runs("b", "if [ ${matrix.seed} = 7 ]; then exit 3; fi"),
        claim("third", "b", 60.3, "")
    );
    let space = TestSpace::with_pipeline(&broken);
    let (code, events) = space.events(&["-k"]);
    let summary = events.last().unwrap();
    assert_eq!(
        (code, &summary["failed"], &summary["skipped"]),
        (1, &json!(1), &json!(1))
    );
    assert_eq!(
        counted(&instances(&events, "finished")),
        json!({"b": 9, "claim:third": 1})
    );
    let claim = &space.json(&["claims"])[0];
    assert_eq!(
        (&claim["verdict"], &claim["looks"]),
        (
            &json!("inconclusive"),
            &json!({"taken": [5], "max_n": 20, "next": 10})
        )
    );
}

/// In a family a claim asks for more until its verdict stands whatever the others are.
#[test]
fn a_family_asks_for_what_its_correction_needs() {
    let yaml = |family: &str| {
        let three: String = ["x", "y", "z"]
            .iter()
            .zip(["a", "b", "c"])
            .map(|(name, of)| claim(name, of, 60.5, family))
            .collect();
        format!(
            "version: 1\nstages:\n{}{}{}claims:\n{three}",
            runs("a", ":"),
            runs("b", ":"),
            runs("c", ":")
        )
    };
    let space = TestSpace::with_pipeline(&yaml(""));
    space.executed(&[]);
    assert_eq!(space.json(&["claims"])[0]["n"], 15);
    space.write("pipeline.yaml", yaml(", family: f"));
    space.executed(&[]);
    for claim in space.json(&["claims"]).as_array().unwrap() {
        assert_eq!(
            (&claim["verdict"], &claim["n"]),
            (&json!("holds"), &json!(20)),
            "{claim}"
        );
        assert!(claim["corrected"]["corrected_p"].as_f64().unwrap() <= 0.05);
    }
}

/// A claim with a number of its own reads these seeds, and has them run.
#[test]
fn a_fixed_number_beside_a_claim_that_decides() {
    let more = "  fixed: {measure: {of: accuracy, in: a}, expect: {mean: {above: 30}}, n: 8}\n";
    let space = TestSpace::with_pipeline(&format!(
        "version: 1\nstages:\n{}  all: {{run: 'cat ${{needs.m}} > ${{outputs.o}}', needs: {{m: \"a[*].metrics\"}}, outputs: {{o: o.txt}}}}\nclaims:\n{}{more}",
        runs("a", ":"),
        claim("first", "a", 30.0, "")
    ));
    let said = space.run(&["run"]).expect(0, &["run"]);
    assert!(
        said.err
            .contains("`all` takes all runs whose number the claim `first` decides"),
        "{}",
        said.err
    );
    let claims = space.json(&["claims"]);
    assert_eq!((&claims[0]["n"], &claims[1]["n"]), (&json!(5), &json!(8)));
    assert!(!space.exists("artifacts/all"));
    let verdict: Value =
        serde_json::from_str(&space.read("artifacts/claims/fixed/verdict.json")).unwrap();
    assert_eq!(verdict["expect"].get("interval"), None, "Student's t");
    assert_eq!(
        counted(&space.executed(&["all"])),
        json!({"a": 22, "all": 1})
    );
}

/// The verdicts of looks that are on a remote only are fetched, since they say what is asked for.
#[test]
fn looks_that_are_elsewhere_lead_on() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", three());
    lab.ci.ok(&["run", "--push"]);
    lab.clone_to(&lab.laptop);
    let wanted = lock(&lab.laptop);
    lab.laptop.remove("repro.lock");
    // A dry run fetches nothing, so it knows of the first looks.
    let (_, dry) = lab.laptop.events(&["-n", "--pull"]);
    let dry = dry.last().unwrap();
    assert_eq!((&dry["executed"], &dry["cached"]), (&json!(0), &json!(18)));
    assert_eq!(dry["not_asked_for"], 54);
    let (code, events) = lab.laptop.events(&["--pull"]);
    let summary = events.last().unwrap();
    assert_eq!((code, &summary["executed"]), (0, &json!(0)), "{summary}");
    assert_eq!(summary["cached"], 48);
    assert_eq!(lock(&lab.laptop), wanted);
    let claims = lab.laptop.json(&["claims"]);
    assert_eq!(claims[1]["looks"]["taken"], json!([5, 10, 15]));
    // A clone misses nothing that was never asked for.
    lab.laptop.remove("artifacts").remove(".repro");
    let said = lab.laptop.run(&["pull"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!said.err.contains("does not name"), "{}", said.err);
    lab.ci.ok(&["export", "--bundle", "all.tar.zst"]);
}
