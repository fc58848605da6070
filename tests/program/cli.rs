//! The commands besides `run`, end to end: the real program in a temporary project with command
//! stages.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::TestSpace;
use serde_json::Value;

const PIPELINE: &str = r#"
version: 1
name: letters
stages:
  upper:
    needs: {text: {file: in.txt}}
    run: "echo noise; tr a-z A-Z < ${needs.text} > ${outputs.text}"
    outputs: {text: upper.txt}
  times:
    matrix: {n: [1, 2]}
    needs: {text: upper.text}
    run: "for i in $(seq ${matrix.n}); do cat ${needs.text}; done > ${outputs.text}"
    outputs: {text: times.txt}
  all:
    needs: {texts: "times[*].text"}
    run: "cat ${needs.texts} > ${outputs.text}"
    outputs: {text: all.txt}
"#;

fn space() -> TestSpace {
    let space = TestSpace::with_pipeline(PIPELINE);
    space.write("in.txt", "abc\n");
    space
}

fn states(space: &TestSpace) -> Vec<(String, String)> {
    let value = space.json(&["status"]);
    let text = |v: &Value, field: &str| v[field].as_str().unwrap_or_default().to_owned();
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(|v| (text(v, "instance"), text(v, "state")))
        .collect()
}

fn state_of(space: &TestSpace, id: &str) -> String {
    states(space)
        .into_iter()
        .find(|(i, _)| i == id)
        .unwrap_or_else(|| panic!("no {id}"))
        .1
}

#[test]
fn status_follows_the_life_of_a_result() {
    let space = space();
    assert!(
        states(&space).iter().all(|(_, s)| s == "missing"),
        "{:?}",
        states(&space)
    );
    assert_eq!(states(&space).len(), 4);
    space.ok(&["run"]);
    assert!(
        states(&space).iter().all(|(_, s)| s == "cached"),
        "{:?}",
        states(&space)
    );
    let value = space.json(&["status", "upper"]);
    let row = &value[0];
    assert_eq!(
        (row["kind"].as_str(), row["key"].as_str().map(str::len)),
        (Some("command"), Some(64))
    );
    assert!(
        row["outputs"]["text"]
            .as_str()
            .is_some_and(|d| d.starts_with("file:") && d.len() == 69),
        "{row}"
    );
    // Looking executes nothing and changes nothing.
    let records = space.store_files("actions");
    space.write("in.txt", "xyz\n");
    let value = space.json(&["status"]);
    assert_eq!(value[0]["state"], "stale");
    assert_eq!(value[1]["state"], "stale");
    assert_eq!(
        value[1]["key"],
        Value::Null,
        "the key of what follows is not known"
    );
    assert_eq!(space.store_files("actions"), records);
    let table = space.ok(&["status"]);
    assert!(
        table.contains("times") && table.contains("2 stale"),
        "{table}"
    );
    let all = space.ok(&["status", "--all"]);
    assert!(all.starts_with("stage  n  kind"), "{all}");
    assert!(all.contains("\ntimes  2  command  stale"), "{all}");
    space.write("in.txt", "abc\n");
    assert_eq!(
        state_of(&space, "upper"),
        "cached",
        "a reverted input is a hit"
    );
}

#[test]
fn failed_and_running_are_told_apart() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: s\nstages:\n  bad: {run: \"exit 3\", outputs: {o: o}}\n  slow:\n    run: \"sleep 60; echo > ${outputs.o}\"\n    outputs: {o: o}\n",
    );
    space.run(&["run", "bad"]).expect(1, &["run", "bad"]);
    assert_eq!(state_of(&space, "bad"), "failed");
    space.edit("pipeline.yaml", "exit 3", "exit 4");
    assert_eq!(
        state_of(&space, "bad"),
        "missing",
        "another key has not failed yet"
    );
    let mut child = space.start(&["run", "slow"]);
    let started = std::time::Instant::now();
    while state_of(&space, "slow") != "running" {
        assert!(started.elapsed().as_secs() < 60, "never running");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    // What watched over the stage ends a moment after the run, and holds the lock until then.
    let killed = std::time::Instant::now();
    while state_of(&space, "slow") == "running" {
        assert!(
            killed.elapsed().as_secs() < 60,
            "the lock outlives its owner"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn why_names_the_field_and_the_stage_behind_it() {
    let space = space();
    let text = space.ok(&["why", "upper"]);
    assert!(text.contains("no earlier result"), "{text}");
    space.ok(&["run"]);
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-y A-Y");
    let text = space.ok(&["why", "upper"]);
    assert!(
        text.contains("will be executed because")
            && text.contains("command.script: echo noise; tr a-z")
            && text.contains("→ echo noise; tr a-y"),
        "{text}"
    );
    let text = space.ok(&["why", "times"]);
    assert!(
        text.contains("times[n=1], times[n=2]")
            && text.contains("the instance itself did not change"),
        "{text}"
    );
    // After the run it still tells why the last execution took place.
    space.write("in.txt", "xyz\n");
    space.ok(&["run"]);
    let text = space.ok(&["why", "times[n=1]"]);
    assert!(
        text.contains("cached")
            && text.contains("then because:")
            && text.contains("inputs.text: file:"),
        "{text}"
    );
    let value = space.json(&["why", "times[n=1]"]);
    assert_eq!(value[0]["last_execution"]["end"], "finished");
}

#[test]
fn why_shows_the_chain_and_the_nearest_relative() {
    let space = space();
    space.ok(&["run"]);
    space.write("in.txt", "xyz\n");
    space.ok(&["run", "upper"]);
    let text = space.ok(&["why", "times[n=2]"]);
    assert!(
        text.contains("inputs.text comes from upper, executed"),
        "{text}"
    );
    assert!(
        text.contains("(inputs.text: file:"),
        "the reason of the producer: {text}"
    );
    space.write("in.txt", "abc\n");
    space.edit("pipeline.yaml", "n: [1, 2]", "n: [1, 2, 3]");
    let text = space.ok(&["why", "times[n=3]"]);
    assert!(
        text.contains("closest recorded result: times[n=") && text.contains("command.script"),
        "{text}"
    );
}

#[test]
fn why_stays_on_one_screen() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: s\nstages:\n  a: {matrix: {i: {range: [0, 500, 1]}}, run: \"echo ${matrix.i} > ${outputs.o}\", outputs: {o: o}}\n",
    );
    let text = space.ok(&["why", "a"]);
    assert!(
        text.contains("a[i=5] and 494 more") && text.len() < 2000,
        "{text}"
    );
    assert!(space.ok(&["why", "a", "--all"]).contains("a[i=499]"));
}

#[test]
fn unknown_names_get_a_suggestion() {
    let space = space();
    for args in [
        &["why", "uper"][..],
        &["status", "uper"],
        &["metrics", "uper"],
        &["logs", "uper"],
        &["replay", "uper"],
        &["show", "uper"],
    ] {
        let said = space.run(args).expect(2, args);
        assert!(
            said.err.contains("did you mean `upper`?"),
            "{args:?}: {}",
            said.err
        );
    }
    let said = space.run(&["claims", "x"]).expect(2, &["claims"]);
    assert!(said.err.contains("no claim is called `x`"), "{}", said.err);
}

#[test]
fn dag_collapses_a_matrix() {
    let space = space();
    insta::assert_snapshot!("dag_tree", space.ok(&["dag"]));
    insta::assert_snapshot!("dag_mermaid", space.ok(&["dag", "--format", "mermaid"]));
    insta::assert_snapshot!("dag_dot", space.ok(&["dag", "--format", "dot", "--all"]));
    let value: Value = serde_json::from_str(&space.ok(&["dag", "--format", "json"])).expect("JSON");
    assert_eq!(value["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(value["edges"][0]["from"], "upper");
}

#[test]
fn log_show_and_logs_tell_what_happened() {
    let space = space();
    assert!(space.ok(&["log"]).contains("no run"));
    space.ok(&["run"]);
    space.ok(&["run"]);
    let runs = space.json(&["log"]);
    assert_eq!(
        (
            runs[0]["summary"]["executed"].as_u64(),
            runs[1]["summary"]["executed"].as_u64()
        ),
        (Some(0), Some(4))
    );
    assert_eq!(
        space.json(&["log", "-n", "1"]).as_array().map(Vec::len),
        Some(1)
    );
    assert!(
        space.ok(&["show", "last-1"]).contains("4 executed"),
        "{}",
        space.ok(&["show", "last-1"])
    );
    let shown = space.json(&["show", "upper"]);
    assert!(
        shown["preimage"]["command"]["script"]
            .as_str()
            .is_some_and(|s| s.contains("tr a-z")),
        "{shown}"
    );
    assert!(shown["results"][0]["observation"]["wall_s"].is_number());
    let key = shown["key"].as_str().expect("a key");
    let said = space.ok(&["show", &key[..12]]);
    assert!(said.contains(key));
    // What has a unit is not named after one.
    assert!(said.contains("  cpu: "), "{said}");
    assert!(said.contains("  wall: "), "{said}");
    assert_eq!(space.ok(&["logs", "upper"]), "noise\n");
    let silent = space.run(&["logs", "times[n=1]"]).expect(0, &["logs"]);
    assert_eq!(
        (&*silent.out, &*silent.err),
        ("", "`times[n=1]` wrote nothing\n")
    );
    let said = space.run(&["logs", "times"]).expect(2, &["logs"]);
    assert!(said.err.contains("has 2 instances"), "{}", said.err);
}

#[test]
fn logs_of_a_failed_stage_are_kept() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: s\nstages:\n  bad: {run: \"echo told you; exit 3\", outputs: {o: o}}\n",
    );
    space.run(&["run"]).expect(1, &["run"]);
    assert_eq!(space.ok(&["logs", "bad"]), "told you\n");
    assert!(space.ok(&["why", "bad"]).contains("failed"));
}

/// Two pipelines of one directory have their runs in one place.
#[test]
fn a_run_of_another_pipeline_is_told_where_runs_are_compared() {
    let space = TestSpace::new();
    let study = |name: &str| {
        format!(
            "version: 1\nname: {name}\nstages:\n  t: {{run: 'echo 1 > ${{outputs.o}}', outputs: {{o: o.txt}}}}\n"
        )
    };
    space.write("pipeline.yaml", study("own"));
    space.write("other.yaml", study("other"));
    space.ok(&["run"]);
    space.ok(&["run", "other.yaml"]);
    let said = space.run(&["diff"]).expect(0, &["diff"]).err;
    let told = "is a run of `other.yaml` (other), and this is `pipeline.yaml` (own)";
    assert_eq!(said.matches(told).count(), 1, "{said}");
    let said = space
        .run(&["diff", "-C", "other.yaml", "last-1", "last"])
        .err;
    assert!(said.contains("is a run of `pipeline.yaml` (own)"), "{said}");
    space.ok(&["run"]);
    space.ok(&["run"]);
    let said = space.run(&["diff"]).err;
    assert!(!said.contains("is a run of"), "{said}");
}

#[test]
fn diff_of_runs_and_of_lock_files() {
    let space = space();
    space.ok(&["run"]);
    let lock = space.read("repro.lock");
    space.ok(&["run"]);
    assert!(space.ok(&["diff"]).contains("no difference"));
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-y A-Y");
    space.ok(&["run"]);
    // The output is the same: early cutoff, only the key is another.
    let value = space.json(&["diff"]);
    assert_eq!(
        value["instances"].as_array().map(Vec::len),
        Some(1),
        "{value}"
    );
    assert_eq!(value["instances"][0]["change"], "other key, same outputs");
    assert_eq!(
        value["instances"][0]["fields"][0]["field"],
        "command.script"
    );
    space.write("in.txt", "new\n");
    space.ok(&["run"]);
    let value = space.json(&["diff"]);
    assert_eq!(
        value["instances"].as_array().map(Vec::len),
        Some(4),
        "{value}"
    );
    space.write("old.lock", lock);
    let text = space.ok(&["diff", "--lock", "old.lock"]);
    assert!(text.contains("upper: changed (text)"), "{text}");
    // Reverted: a hit in the history is journalled because the key changed.
    space.write("in.txt", "abc\n");
    space.ok(&["run"]);
    let value = space.json(&["diff", "last-1", "last"]);
    assert_eq!(
        value["instances"].as_array().map(Vec::len),
        Some(4),
        "{value}"
    );
}

#[test]
fn replay_says_identical_or_which_output_differs() {
    let space = space();
    space.run(&["replay", "upper"]).expect(2, &["replay"]);
    space.ok(&["run"]);
    let records = space.store_files("actions");
    let text = space.ok(&["replay", "upper", "times", "all"]);
    assert_eq!(text.matches("identical").count(), 4, "{text}");
    space.ok(&["replay", "upper", "--keep", "kept"]);
    assert_eq!(space.read("kept/work/upper.txt"), "ABC\n");
    space
        .run(&["replay", "upper", "--keep", "kept"])
        .expect(2, &["an existing directory"]);
    assert_eq!(space.store_files("actions"), records, "nothing is recorded");
    let random = TestSpace::with_pipeline(
        "version: 1\nname: s\nstages:\n  r: {run: \"head -c 8 /dev/urandom > ${outputs.o}\", outputs: {o: o}}\n",
    );
    random.ok(&["run"]);
    let said = random.run(&["replay", "r"]).expect(4, &["replay", "r"]);
    assert!(said.out.contains("output `o` differs"), "{}", said.out);
    random.ok(&["run", "--force"]);
    assert!(
        random
            .ok(&["why", "r"])
            .contains("2 different ones under this key"),
        "{}",
        random.ok(&["why", "r"])
    );
}

#[test]
fn gc_keeps_what_this_and_other_projects_need() {
    let space = space();
    space.ok(&["run"]);
    let other = space.other_project("other");
    std::fs::write(other.join("pipeline.yaml"), "version: 1\nname: o\nstages:\n  o: {run: \"echo other > ${outputs.o}\", outputs: {o: o}}\n").expect("written");
    space.run_in(&other, &["run"]).expect(0, &["run"]);
    space.write("in.txt", "temporary\n");
    space.ok(&["run"]);
    space.write("in.txt", "abc\n");
    space.ok(&["run"]);
    let started = std::time::Instant::now();
    // A second of slack protects what was made just now.
    let plan = loop {
        let plan = space.json(&["gc", "--keep-days", "0"]);
        if plan["actions"] == 4 || started.elapsed().as_secs() > 60 {
            break plan;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(
        (plan["actions"].as_u64(), plan["done"].as_bool()),
        (Some(4), Some(false)),
        "{plan}"
    );
    let before = space.store_files("objects");
    assert!(space.ok(&["gc", "--keep-days", "0"]).contains("add --yes"));
    assert_eq!(
        space.store_files("objects"),
        before,
        "a plan removes nothing"
    );
    space.ok(&["gc", "--keep-days", "0", "--yes"]);
    assert!(space.store_files("objects").len() < before.len());
    assert!(states(&space).iter().all(|(_, s)| s == "cached"));
    assert!(
        space
            .run_in(&other, &["status"])
            .expect(0, &["status"])
            .out
            .contains("1 cached")
    );
    std::fs::remove_dir_all(&other).expect("removed");
    let said = space.run(&["gc"]).expect(2, &["gc"]);
    assert!(said.err.contains("--forget-gone-projects"), "{}", said.err);
    space.ok(&["gc", "--yes", "--forget-gone-projects"]);
    let said = space.ok(&["gc"]);
    assert!(said.contains("0 results (0 ms to compute again)"), "{said}");
}

#[test]
fn fsck_finds_damage_and_exits_5() {
    let space = space();
    space.ok(&["run"]);
    assert!(space.ok(&["fsck"]).contains("all is well"));
    let object = &space.store_files("objects")[0];
    std::fs::remove_file(object).expect("removed");
    std::fs::write(object, "damage").expect("written");
    space.run(&["fsck"]).expect(5, &["fsck"]);
    space.ok(&["fsck", "--repair"]);
    space.ok(&["fsck"]);
    space.ok(&["run"]);
}

#[test]
fn clean_removes_only_what_the_store_has() {
    let space = space();
    space.ok(&["run"]);
    space.write("artifacts/upper/notes.md", "mine");
    space.write("artifacts/README.md", "ABC\n");
    assert!(space.ok(&["clean"]).contains("nothing to clean"));
    space.edit("pipeline.yaml", "n: [1, 2]", "n: [1]");
    assert!(space.ok(&["clean"]).contains("add --yes"));
    assert!(space.exists("artifacts/times/n=2/times.txt"));
    space.ok(&["clean", "--yes"]);
    assert!(!space.exists("artifacts/times/n=2") && space.exists("artifacts/times/n=1/times.txt"));
    let said = space
        .run(&["clean", "--all", "--yes"])
        .expect(0, &["clean"]);
    assert!(
        said.err.contains("kept") && said.err.contains("notes.md"),
        "{}",
        said.err
    );
    assert!(!space.exists("artifacts/upper/upper.txt") && space.exists("artifacts/upper/notes.md"));
    assert!(
        space.exists("artifacts/README.md"),
        "files right in artifacts/ are never ours"
    );
    space.ok(&["run"]);
    assert!(space.exists("artifacts/upper/upper.txt"));
}

#[test]
fn init_writes_a_pipeline_that_runs_and_overwrites_nothing() {
    let space = TestSpace::new();
    space.write(".gitignore", "/target\n/artifacts");
    space.ok(&["init"]);
    assert_eq!(space.read(".gitignore"), "/target\n/artifacts\n/.repro/\n");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/total/total.txt"), "72\n");
    let said = space.run(&["init"]).expect(2, &["init"]);
    assert!(
        said.err.contains("exists; it is left as it is"),
        "{}",
        said.err
    );
    space.ok(&["init", "sub/dir"]);
    assert!(space.exists("sub/dir/pipeline.yaml"));
}

/// Each template is a study that runs and decides its claim; with fewer seeds here.
#[test]
fn every_template_runs() {
    let space = TestSpace::new();
    for template in ["shell", "python", "warm-start", "lottery", "swa"] {
        space.ok(&["init", "--template", template, template]);
        let dir = space.project.join(template);
        let less: &[&str] = match template {
            "shell" => &[],
            "python" => &["--set", "seeds=[0, 1]"],
            _ => &["--set", "seeds=[0, 1]", "--set", "train_limit=200"],
        };
        let run = [&["run"], less].concat();
        space.run_in(&dir, &run).expect(0, &run);
        let claims = [&["claims", "--json"], less].concat();
        let said = space.run_in(&dir, &claims).expect(0, &claims).out;
        let claims: Value = serde_json::from_str(&said).unwrap();
        for claim in claims.as_array().unwrap() {
            assert!(claim["verdict"].is_string(), "{template}: {said}");
        }
    }
    // A program that is there already is nobody's to overwrite.
    space.write("taken/train.py", "mine");
    let said = space.ok(&["init", "--template", "python", "taken"]);
    let kept = "`train.py` is there already: change `run:` to fit";
    assert!(said.contains(kept), "{said}");
    assert_eq!(space.read("taken/train.py"), "mine");
    assert!(space.exists("taken/pipeline.yaml"));
}

#[test]
fn kinds_schema_and_completions_need_no_project() {
    let space = TestSpace::new();
    let kinds = space.json(&["kinds"]);
    let name = kinds[0]["name"].as_str().expect("a kind");
    assert!(space.ok(&["kinds"]).contains(name));
    assert!(space.ok(&["kinds", name]).contains("### Inputs"));
    assert!(
        space
            .ok(&["kinds", "--markdown"])
            .contains(&format!("## `{name}`"))
    );
    let said = space.run(&["kinds", &name[1..]]).expect(2, &["kinds"]);
    assert!(
        said.err.contains(&format!("did you mean `{name}`?")),
        "{}",
        said.err
    );
    let schema: Value = serde_json::from_str(&space.ok(&["schema"])).expect("JSON");
    assert!(schema.get("properties").is_some());
    for shell in ["bash", "zsh", "fish"] {
        assert!(space.ok(&["completions", shell]).contains("repro"));
    }
}

#[test]
fn metrics_and_claims_without_any() {
    let space = space();
    space.ok(&["run"]);
    assert!(space.ok(&["metrics"]).contains("no output is a table"));
    assert_eq!(space.json(&["metrics"]), Value::Array(Vec::new()));
    assert!(space.ok(&["claims"]).contains("has no claims"));
}

#[test]
fn a_closed_standard_output_is_no_panic() {
    let space = space();
    space.ok(&["run"]);
    for args in [
        &["status", "--json"][..],
        &["log"],
        &["dag"],
        &["why", "upper"],
        &["kinds"],
        &["schema"],
        &["completions", "bash"],
        &["logs", "upper"],
        &["--help"],
    ] {
        let mut command = space.command(args);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut err = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut err)
            .expect("read");
        let status = child.wait().expect("ended");
        assert!(
            status.code() == Some(0) && !err.contains("panicked"),
            "{args:?}: {status} {err}"
        );
    }
}

/// The help texts are the reference manual: a change is looked at.
#[test]
fn help_texts() {
    let space = TestSpace::new();
    insta::assert_snapshot!("help", space.ok(&["--help"]));
    let commands = [
        "run",
        "status",
        "why",
        "dag",
        "metrics",
        "claims",
        "diff",
        "bisect",
        "log",
        "show",
        "logs",
        "replay",
        "report",
        "plot",
        "shell",
        "push",
        "pull",
        "gc",
        "fsck",
        "clean",
        "init",
        "kinds",
        "schema",
        "completions",
    ];
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), space.ok(&[command, "--help"]));
    }
}

/// A shell that asks gets the names of the study: of stages and claims, and of instances once `[` is
/// typed. A pipeline with a mistake gives none, and no noise.
#[test]
fn shells_complete_the_names_of_a_study() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  train: {matrix: {seed: [1, 2]}, run: \"echo '{\\\"a\\\": 1}' > ${outputs.metrics}\", outputs: {metrics: metrics.json}}\n  other: {run: 'true'}\nclaims:\n  tall: {measure: {of: a, in: train}, expect: {mean: {above: 0}}}\n",
    );
    let script = space.ok(&["completions", "bash"]);
    let program = space.command(&[]).get_program().to_owned();
    let complete = |words: &[&str]| -> Vec<String> {
        let mut command = space.command(&[]);
        command.env("REPRO_COMPLETE", "bash").env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        command
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true");
        command.arg("--").args(words);
        let said = space.run_command(command).expect(0, words);
        assert_eq!(said.err, "");
        said.out.lines().map(str::to_owned).collect()
    };
    assert_eq!(complete(&["repro", "run", "t"]), ["train", "tall"]);
    assert_eq!(
        complete(&["repro", "why", "train["]),
        ["train[seed=1]", "train[seed=2]"]
    );
    assert_eq!(complete(&["repro", "claims", ""])[0], "tall");
    assert!(complete(&["repro", "bis"]).contains(&"bisect".to_owned()));
    let named = ["repro", "run", "-C", "no/such/pipeline.yaml", "t"];
    assert_eq!(complete(&named), Vec::<String>::new());
    // The script itself, in the shell it is for.
    let asks = format!(
        "repro() {{ {program:?} \"$@\"; }}\n{script}\nCOMP_WORDS=(repro run o) COMP_CWORD=2 COMP_TYPE=9\n_clap_complete_repro repro o run\necho \"${{COMPREPLY[@]}}\"\n"
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &asks]).current_dir(&space.project);
    assert_eq!(space.run_command(bash).expect(0, &["bash"]).out, "other\n");
    space.write("pipeline.yaml", "version: 1\nstages: {a: [}\n");
    assert_eq!(complete(&["repro", "run", "t"]), Vec::<String>::new());
}

/// Every command has a manual page, made of its help.
#[test]
fn manual_pages() {
    let space = TestSpace::new();
    space.ok(&["man", "pages/man1"]);
    for (page, says) in [
        ("repro.1", "repro\\-metrics"),
        ("repro-metrics.1", "\\-\\-sort"),
        ("repro-remote-add.1", "remote"),
    ] {
        let text = space.read(&format!("pages/man1/{page}"));
        assert!(text.contains(says), "{page}\n{text}");
    }
    space.write("file", "");
    let said = space.run(&["man", "file/man1"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("cannot write to file/man1"),
        "{}",
        said.err
    );
}

/// Only a run that needs an executor reads who they are.
#[test]
fn a_dry_run_ends_at_nothing_that_the_run_passes() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"echo > ${outputs.o}\", outputs: {o: o}}\n",
    );
    space.write("repro.executors.toml", "no TOML");
    space.ok(&["run", "-n"]);
    space.ok(&["run"]);
}
