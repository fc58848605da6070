//! Explanations go down to the file and the line: what changed in an input, and why a claim is open.

use crate::support::TestSpace;

/// A script, a directory of code and a claim on what they make.
fn space() -> TestSpace {
    let space = TestSpace::new();
    space
        .write("train.sh", "set -eu\nrate=1\necho done\n")
        .write("code/model.py", "width = 10\ndepth = 2\nact = 'relu'\n")
        .write("code/data.py", "x\n")
        .write("code/old.py", "old\n")
        .write("code/big.bin", vec![0u8; 100_000])
        .write(
            "pipeline.yaml",
            "version: 1\nname: n\nstages:\n  train:\n    needs: {script: {file: train.sh}, code: {dir: code}}\n    \
             run: sh ${needs.script} > ${outputs.log}; cat ${needs.code}/* > ${outputs.all}\n    outputs: {log: log.txt, all: all}\n  \
             use: {needs: {all: train.all}, run: \"wc -c ${needs.all} > ${outputs.n}\", outputs: {n: n}}\n",
        );
    space
}

#[test]
fn why_names_the_files_that_changed_and_their_lines() {
    let space = space();
    space.ok(&["run"]);
    space
        .edit("train.sh", "rate=1", "rate=2")
        .edit("code/model.py", "depth = 2", "depth = 3")
        .write("code/new.py", "new\n")
        .write("code/moved.py", "x\n")
        .remove("code/data.py")
        .remove("code/old.py")
        .write("code/big.bin", vec![1u8; 100_000]);
    let text = space.ok(&["why", "train"]);
    for lines in [
        "inputs.script: file:",
        "(line 2)\n      - rate=1\n      + rate=2\n",
        "      big.bin: changed\n      model.py (line 2)\n        - depth = 2\n        + depth = 3\n",
        "      moved.py: was data.py\n      new.py: new\n      old.py: gone\n",
    ] {
        assert!(text.contains(lines), "{lines:?} in\n{text}");
    }
    // What is recorded after the run explains it as well, and so does the comparison of the runs.
    space.ok(&["run"]);
    for command in [&["why", "train"][..], &["diff"]] {
        let text = space.ok(command);
        assert!(text.contains("(line 2)\n      - rate=1"), "{text}");
        assert!(
            text.contains("      model.py (line 2)\n        - depth = 2"),
            "{text}"
        );
    }
    let value = space.json(&["diff"]);
    let fields = value["instances"][0]["fields"].as_array().unwrap();
    let script = fields
        .iter()
        .find(|f| f["field"] == "inputs.script")
        .unwrap();
    assert_eq!(
        script["files"],
        serde_json::json!([{"fate": "changed", "hunks": [{"line": 2, "old": ["rate=1"], "new": ["rate=2"]}]}])
    );
    // A memory that is lost costs words only.
    std::fs::remove_dir_all(space.path(".repro/inputs")).unwrap();
    space.edit("train.sh", "rate=2", "rate=3");
    let text = space.ok(&["why", "train"]);
    assert!(
        text.contains("inputs.script: file:") && !text.contains("(line"),
        "{text}"
    );
}

/// What is remembered of an input may be nobody else's to read.
#[test]
fn remembered_inputs_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let space = space();
    space.ok(&["run"]);
    let kept = std::fs::read_dir(space.path(".repro/inputs")).unwrap();
    let modes: Vec<u32> = kept
        .map(|e| e.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    // The pipeline, the script, the listing, and the texts in the directory.
    assert_eq!(modes, [0o600; 6]);
}

#[test]
fn an_open_claim_says_what_it_lacks() {
    let space = TestSpace::new();
    let pipeline = |metric: &str, script: &str| {
        space.write(
            "pipeline.yaml",
            format!(
                "version: 1\nname: n\nstages:\n  train:\n    matrix: {{seed: [0, 1, 2]}}\n    run: \"{script}\"\n    outputs: {{m: metrics.csv}}\n\
             claims:\n  good: {{expect: {{mean: {{above: 0.5}}}}, measure: {{of: {metric}, in: train, table: m, over: seed}}}}\n"
            ),
        );
    };
    let works = "printf 'accuracy\\n0.9\\n' > ${outputs.m}";
    pipeline("accuracy", works);
    space.run(&["claims"]).expect(
        0,
        &["good: open, because 3 instances have no result, `train[seed=0]` is the first"],
    );
    pipeline("accuracy", "echo no such file >&2; exit 1");
    space.run(&["run"]).expect(1, &[]);
    space
        .run(&["claims"])
        .expect(0, &["good: open, because `train[seed=0]` failed: "]);
    // The claim itself cannot be judged.
    pipeline("acuracy", works);
    space.run(&["run"]).expect(1, &[]);
    space
        .run(&["claims"])
        .expect(0, &["good: open, because it cannot be judged: ", "acuracy"]);
    space.run(&["status"]).expect(0, &["acuracy"]);
    space.ok(&["report", "-o", "page.html"]);
    assert!(
        space
            .read("page.html")
            .contains("It is open, because it cannot be judged: ")
    );
    let value = space.json(&["claims"]);
    assert_eq!(value[0]["failed"]["instance"], "claim:good");
}

#[test]
fn commands_for_machines_are_not_suggested() {
    let space = TestSpace::new();
    for word in ["rn", "run-bundl", "mn"] {
        let said = space.run(&[word]).expect(2, &[]);
        assert!(
            !said.err.contains("run-bundle") && !said.err.contains("`man`"),
            "{word}: {}",
            said.err
        );
    }
}

/// The file is there under another name, or in another directory: said with the line that helps.
#[test]
fn an_output_in_another_place_is_named() {
    let space = TestSpace::new();
    let pipeline = |script: &str| {
        space.write(
            "pipeline.yaml",
            format!("version: 1\nname: n\nstages:\n  a: {{run: \"{script}\", outputs: {{table: out/results.csv}}}}\n"),
        );
        space.run(&["run"])
    };
    pipeline("echo x > other.txt; echo 1 > results.csv").expect(
        1,
        &[
            "it did not write its output `table` (out/results.csv)",
            "it wrote `other.txt`, `results.csv`, which nobody declared",
            "or declare `outputs: {table: results.csv}`",
        ],
    );
    pipeline("true").expect(
        1,
        &["paths are relative to the directory the stage runs in"],
    );
}
