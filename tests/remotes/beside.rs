//! `repro diff remote:NAME`: what is here beside what a remote has.

use crate::support::lab::Lab;
use serde_json::Value;

/// `when` gives other bytes each time.
const PIPELINE: &str = r#"
version: 1
name: beside
stages:
  same: {run: "echo 1 > ${outputs.o}", outputs: {o: o.txt}}
  when: {run: "date +%s%N > ${outputs.o}", outputs: {o: o.txt}}
  mine: {matrix: {of: [a, b, c]}, run: "echo ${matrix.of} > ${outputs.o}", outputs: {o: o.txt}}
  late: {needs: {o: when.o}, run: "cat ${needs.o} > ${outputs.o}", outputs: {o: o.txt}}
"#;

fn of<'a>(diff: &'a Value, instance: &str) -> &'a Value {
    let all = diff["instances"].as_array().unwrap();
    let found = all.iter().find(|one| one["instance"] == instance);
    found.unwrap_or_else(|| panic!("{instance}: {diff:#}"))
}

#[test]
fn results_are_compared_with_those_of_a_remote() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", PIPELINE);
    lab.clone_to(&lab.laptop);
    lab.ci.ok(&["run", "same", "when", "mine[of=a]", "--push"]);
    lab.laptop
        .ok(&["run", "same", "when", "mine[of=b]", "mine[of=c]"]);
    let diff = lab.laptop.json(&["diff", "remote:lab"]);
    assert_eq!((&diff["remote"], &diff["same"]), (&"lab".into(), &1.into()));
    assert_eq!(of(&diff, "when")["difference"], "other_outputs", "{diff:#}");
    assert_eq!(of(&diff, "when")["outputs"][0], "o");
    assert_eq!(of(&diff, "when")["signers"][0], "buildbot");
    assert_eq!(of(&diff, "mine[of=a]")["difference"], "only_there");
    assert_eq!(of(&diff, "mine[of=b]")["difference"], "only_here");
    // It has a key here, and nobody has a result.
    assert_eq!(diff["neither"], 1, "{diff:#}");

    // For people, what differs in the same way is one line; of a stage, that alone.
    let said = lab.laptop.ok(&["diff", "remote:"]);
    for told in [
        "when: same key, other outputs (o), signed by buildbot",
        "mine[of=a]: only there, signed by buildbot",
        "2 instances of mine: only here",
        "`repro push 'mine' --remote lab` publishes it",
        "1 instance the same on both sides",
        "1 instance without a result on either side",
    ] {
        assert!(said.contains(told), "{said}");
    }
    let said = lab.laptop.ok(&["diff", "remote:lab", "mine"]);
    assert!(!said.contains("when"), "{said}");
    let said = lab.laptop.ok(&["diff", "remote:lab", "--csv"]);
    assert!(
        said.contains("when,,") && said.contains("buildbot"),
        "{said}"
    );
    // Nothing was fetched, and nothing published.
    assert!(lab.laptop.json(&["status", "mine[of=a]"])[0]["state"] == "missing");
    assert_eq!(
        lab.ci.json(&["diff", "remote:lab"])["instances"],
        Value::Array(Vec::new())
    );
}

/// A signer who is not trusted, a remote that is not there, and one that is not to be asked.
#[test]
fn what_cannot_be_compared_is_told() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", PIPELINE);
    lab.ci.ok(&["run", "same", "--push"]);
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["run", "same"]);
    lab.laptop.ok(&["trust", "remove", "buildbot"]);
    let said = lab.laptop.ok(&["diff", "remote:lab"]);
    assert!(
        said.contains("same: the remote's result is not trusted"),
        "{said}"
    );
    let said = lab.laptop.run(&["diff", "remote:lap"]).err;
    assert!(said.contains("lap"), "{said}");
    let said = lab.laptop.run(&["diff", "remote:lab", "--offline"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--offline"), "{}", said.err);
}
