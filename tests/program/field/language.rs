//! What the pipeline file accepts, and what it says of mistakes before anything runs.

use crate::support::TestSpace;

/// The file is refused, and these texts are said of it, in any order.
#[track_caller]
pub(super) fn refused(yaml: &str, said: &[&str]) -> String {
    let space = TestSpace::with_pipeline(yaml);
    refused_in(&space, said)
}

#[track_caller]
pub(super) fn refused_in(space: &TestSpace, said: &[&str]) -> String {
    let run = space.run(&["run", "-n"]).expect(2, &["run", "-n"]);
    for text in said {
        assert!(run.err.contains(text), "{text:?} is not said:\n{}", run.err);
    }
    run.err
}

#[test]
fn case_9_numbers_whose_zeros_would_be_lost_are_to_be_quoted() {
    let said = refused(
        "version: 1\nstages:\n  s:\n    matrix: {sub: [01, 02], py: [3.10]}\n    run: \"echo ${matrix.sub} > ${outputs.o}\"\n    outputs: {o: o.txt}\n",
        &[
            "stages.s.matrix.sub[0]: `01` is read as the number 1",
            "quote it if you mean a text: `\"01\"`; write `1` if the number is",
            "stages.s.matrix.py[0]: `3.10` is read as the number 3.1",
        ],
    );
    assert!(said.contains("pipeline.yaml:4:20"), "{said}");
    for value in ["007", "-01", "0.50", "1.00", "00.5", "1.50e3"] {
        refused(
            &format!(
                "version: 1\nvars: {{list: [{value}]}}\nstages:\n  s: {{matrix: {{x: \"${{vars.list}}\"}}, run: \"true > ${{outputs.o}}\", outputs: {{o: o}}}}\n"
            ),
            &[value, "quote it"],
        );
    }
}

#[test]
fn case_9_a_number_in_a_text_stands_as_it_was_written() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
vars: {lib: 3.10, id: 007, small: 1e-3, hex: 0x10, octal: 0o17, half: .5, plus: +1, yes: yes, day: 2026-01-02, big: 1_000, on: True, one: 1.0, int: 1}
stages:
  s:
    matrix: {lr: [1e-3, 5e-4], flag: [yes, True], n: [0x10]}
    env: {ID: 007, LIB: 3.10, ON: True}
    run: "echo ${vars.lib} ${vars.id} ${vars.small} ${vars.hex} ${vars.octal} ${vars.half} ${vars.plus} ${vars.yes} ${vars.day} ${vars.big} ${vars.on} ${vars.one} ${vars.int} $ID $LIB $ON ${matrix.lr} ${matrix.flag} ${matrix.n} > ${outputs.o}"
    outputs: {o: "x-${matrix.lr}.txt"}
"#,
    );
    space.ok(&["run", "-q", "--set", "id=0042"]);
    assert_eq!(
        space.read("artifacts/s/lr=1e-3,flag=True,n=0x10/x-1e-3.txt"),
        "3.10 0042 1e-3 0x10 0o17 .5 +1 yes 2026-01-02 1_000 True 1.0 1 007 3.10 True 1e-3 True 0x10\n"
    );
    // Either way of writing names the instance.
    assert!(
        space.json(&["status", "s[lr=0.001,n=16,flag=yes]"])[0]["instance"]
            == "s[lr=1e-3,flag=yes,n=0x10]"
    );
}

#[test]
fn case_9_null_is_no_part_of_a_text() {
    refused(
        "version: 1\nvars: {a: ~, b:  }\nstages:\n  s: {run: \"echo ${vars.a} > ${outputs.o}\", outputs: {o: o}}\n  t: {run: \"echo ${vars.b} > ${outputs.o}\", outputs: {o: o}}\n",
        &["`${vars.a}` is null", "`${vars.b}` is null", "`\"null\"`"],
    );
    // A value of an axis is a value like others. As a whole parameter, and in names, it stays what
    // it is.
    refused(
        "version: 1\nstages:\n  s: {matrix: {s: [~, 1]}, run: \"echo ${matrix.s} > ${outputs.o}\", outputs: {o: o}}\n",
        &["`${matrix.s}` is null", "`\"null\"`"],
    );
    refused(
        "version: 1\nstages:\n  s: {matrix: {s: [~]}, env: {S: \"${matrix.s}\"}, run: \"echo x > ${outputs.o}\", outputs: {o: o}}\n",
        &["`${matrix.s}` is null"],
    );
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  s: {matrix: {s: [~, \"null \"]}, run: \"echo x > ${outputs.o}\", outputs: {o: o}}\n",
    );
    assert_eq!(space.json(&["status"])[0]["instance"], "s[s=null]");
}

#[test]
fn case_28_instances_are_named_by_some_of_their_axes_in_any_order() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  train:\n    matrix: {seed: [0, 1], lr: [0.1, 0.01]}\n    run: \"echo ${matrix.seed} ${matrix.lr} | tee ${outputs.o}\"\n    outputs: {o: o}\n",
    );
    assert_eq!(
        space.executed(&["train[lr=0.01]"]),
        ["train[seed=0,lr=0.01]", "train[seed=1,lr=0.01]"]
    );
    assert_eq!(
        space.executed(&["train[lr=0.1,seed=1]"]),
        ["train[seed=1,lr=0.1]"]
    );
    assert_eq!(space.ok(&["logs", "train[lr=0.1,seed=1]"]), "1 0.1\n");
    assert!(
        space
            .ok(&["why", "train[lr=0.1, seed=1]"])
            .contains("train[seed=1,lr=0.1]")
    );
    assert!(
        space
            .ok(&["show", "train[lr=0.10,seed=1]"])
            .contains("train[seed=1,lr=0.1]")
    );
    space.ok(&["replay", "train[lr=0.1,seed=1]"]);
    space.ok(&["verify", "train[lr=0.1,seed=1]"]);
    assert_eq!(space.executed(&["train[*]"]), ["train[seed=0,lr=0.1]"]);
    for (name, said) in [
        ("train[lr=0.5]", "`lr` is 0.01, 0.1"),
        ("train[ls=0.1]", "its axes are seed, lr"),
        ("train[0.1]", "picks nothing"),
        ("tran[lr=0.1]", "did you mean `train`?"),
    ] {
        let run = space.run(&["run", name]).expect(2, &["run", name]);
        assert!(run.err.contains(said), "{name}: {}", run.err);
    }
}

#[test]
fn case_30_arithmetic_in_references() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
vars: {base: 100, epochs: 8, next: "${vars.base + 1}", seeds: ["${vars.base}", "${vars.next}"], own: "${matrix.seed}"}
stages:
  s:
    matrix: {seed: "${vars.seeds}", half: ["${vars.epochs / 2}"], r: {range: [0, "${vars.epochs // 8}"]}}
    run: "echo ${matrix.seed + 1000} ${vars.base * 2 ** 3} ${vars.own - vars.base} ${matrix.half} $((1 + 1)) > ${outputs.o}"
    outputs: {o: "o-${matrix.seed % 10}.txt"}
  pick:
    needs: {x: "s[seed=${vars.base + 1}].o"}
    run: "cat ${needs.x} > ${outputs.o}"
    outputs: {o: o.txt}
"#,
    );
    space.ok(&["run", "-q"]);
    assert_eq!(space.read("artifacts/pick/o.txt"), "1101 800 1 4 2\n");
    assert!(space.exists("artifacts/s/seed=101,half=4,r=0/o-1.txt"));
    let with = |text: &str| {
        format!(
            "version: 1\nvars: {{n: 3, word: hello, list: [1]}}\nstages:\n  s: {{matrix: {{seed: [1], name: ['7']}}, run: \"echo {text} > ${{outputs.o}}\", outputs: {{o: o}}}}\n"
        )
    };
    for (text, said) in [
        ("${vars.n / 0}", "`${vars.n / 0}`: a division by 0"),
        (
            "${vars.word + 1}",
            "`${vars.word}` is `hello`, which is not a number",
        ),
        (
            "${vars.list + 1}",
            "`${vars.list}` is `a list`, which is not a number",
        ),
        ("${vars.m + 1}", "there is no variable `m`"),
        ("${matrix.seed +}", "missing at the end"),
        ("${matrix.name + 1}", "remove its quotes"),
        ("${matrix.seed-1}", "a minus sign with spaces around it"),
        ("${outputs.o + 1}", "which is not a number"),
        ("${matrix.seed ** 200000}", "the limit is"),
    ] {
        refused(&with(text), &[said, "pipeline.yaml:4:"]);
    }
}

#[test]
fn case_30_axes_whose_values_are_maps() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
vars:
  models: [{name: small, hidden: [10], lib: 3.10}, {name: large, hidden: [100, 100], lib: 1}]
stages:
  train:
    matrix: {model: "${vars.models}", seed: [0, 1], exclude: [{model: large, seed: 1}]}
    run: "echo ${matrix.model} ${matrix.model.hidden[0]} ${matrix.model.lib} ${matrix.seed} > ${outputs.o}"
    outputs: {o: o.txt}
  use:
    matrix: {model: "${vars.models}"}
    needs: {x: "train[seed=0].o"}
    run: "cat ${needs.x} > ${outputs.o}"
    outputs: {o: "${matrix.model.name}.txt"}
  one: {needs: {x: "train[model=small,seed=1].o"}, run: "cat ${needs.x} > ${outputs.o}", outputs: {o: o.txt}}
  choice:
    matrix: {optimizer: [{sgd: {lr: 0.1}}, {adam: {lr: 0.001}}]}
    run: "echo ${matrix.optimizer} > ${outputs.o}"
    outputs: {o: o.txt}
  positions:
    matrix: {p: [{a: 1, b: 2}, {a: 3, b: 4}]}
    run: "echo ${matrix.p.a} > ${outputs.o}"
    outputs: {o: o.txt}
"#,
    );
    assert_eq!(space.executed(&[]).len(), 10);
    assert_eq!(
        space.read("artifacts/use/model=large/large.txt"),
        "large 100 1 0\n"
    );
    assert_eq!(space.read("artifacts/one/o.txt"), "small 10 3.10 1\n");
    assert_eq!(
        space.read("artifacts/choice/optimizer=adam/o.txt"),
        "adam\n"
    );
    assert_eq!(space.read("artifacts/positions/p=1/o.txt"), "3\n");
    let with = |values: &str, text: &str| {
        format!(
            "version: 1\nstages:\n  s: {{matrix: {{m: {values}}}, run: \"echo {text} > ${{outputs.o}}\", outputs: {{o: o}}}}\n"
        )
    };
    for (values, text, said) in [
        (
            "[{name: a, n: 1}, {name: a, n: 2}]",
            "x",
            "two values of this axis are called `a`",
        ),
        ("[{name: [1], n: 1}]", "x", "expected a name, found a list"),
        ("[[1, 2]]", "x", "write a map with a name"),
        (
            "[{name: a, n: [1]}]",
            "${matrix.m.n}",
            "is a list; only a single value",
        ),
        ("[{name: a, n: 1}]", "${matrix.m.nn}", "there is no `nn`"),
        ("[1]", "${matrix.m.n}", "the value `1` is not a map"),
    ] {
        refused(&with(values, text), &[said]);
    }
}

#[test]
fn case_61_twenty_thousand_excludes_cost_no_more_than_one() {
    let mut yaml = String::from(
        "version: 1\nstages:\n  s:\n    run: \"true > ${outputs.o}\"\n    outputs: {o: \"${matrix.a}-${matrix.b}\"}\n    matrix:\n      a: {range: [0, 1000]}\n      b: {range: [0, 200]}\n      exclude:\n",
    );
    for i in 0..20_000 {
        // All but one of every row that is named.
        yaml.push_str(&format!("        - {{a: {}, b: {}}}\n", i / 199, i % 199));
    }
    yaml.push_str("      include:\n");
    for i in 0..2_000 {
        yaml.push_str(&format!("        - {{a: {}, note: n{i}}}\n", i % 1000));
    }
    let space = TestSpace::with_pipeline(&yaml);
    let said = space.run(&["why", "s[a=0,b=150]"]).expect(2, &["why"]);
    assert!(said.err.contains("none of these has b=150"), "{}", said.err);
    assert!(said.err.contains("`b` is 199"), "{}", said.err);
}

#[test]
fn case_49_the_schema_is_of_the_draft_that_editors_read() {
    let schema: serde_json::Value =
        serde_json::from_str(&TestSpace::new().ok(&["schema"])).expect("JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    // Keywords of later drafts, and what draft-07 does not read beside a `$ref`.
    fn later(schema: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        if let Some(object) = schema.as_object() {
            for (key, value) in object {
                let new = [
                    "$defs",
                    "prefixItems",
                    "unevaluatedProperties",
                    "unevaluatedItems",
                    "dependentRequired",
                    "dependentSchemas",
                    "minContains",
                    "$anchor",
                    "$dynamicRef",
                ];
                if new.contains(&key.as_str()) || (key == "$ref" && object.len() > 1) {
                    found.push(format!("{path}/{key}"));
                }
                later(value, &format!("{path}/{key}"), found);
            }
        }
        for (i, value) in schema.as_array().into_iter().flatten().enumerate() {
            later(value, &format!("{path}/{i}"), found);
        }
    }
    let mut found = Vec::new();
    later(&schema, "", &mut found);
    assert_eq!(found, [] as [String; 0]);
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    let validator = jsonschema::draft7::new(&schema).expect("a schema of draft-07");
    let file = |with: serde_json::Value| serde_json::json!({"version": 1, "stages": {"data": {"uses": "download", "with": with}}});
    assert!(validator.is_valid(&file(serde_json::json!({"dataset": "shapes"}))));
    assert!(validator.is_valid(&file(serde_json::json!({"dataset": "${vars.d}"}))));
    assert!(!validator.is_valid(&file(serde_json::json!({"datasett": "shapes"}))));
    assert!(!validator.is_valid(&file(serde_json::json!({"dataset": "shpes"}))));
}

#[test]
fn case_30_parameters_come_from_a_file() {
    let space = TestSpace::with_pipeline(
        r#"version: 1
vars: {file: params.yaml}
profiles: {fast: {vars: {file: fast.json}}}
stages:
  a: {run: "echo ${vars.train.lr} ${vars.train.epochs} > ${outputs.o}", outputs: {o: o.txt}}
  b: {run: "echo '${vars.note}' ${vars.lib} > ${outputs.o}", outputs: {o: o.txt}}
"#,
    );
    space.write(
        "params.yaml",
        "train:\n  lr: 1e-3\n  epochs: 3\nnote: \"${not.ours}\"\nlib: 3.10\nunused: 1\n",
    );
    space.write("fast.json", "{\n\t\"train\": {\"epochs\": 1}\n}\n");
    assert_eq!(space.executed(&[]), ["a", "b"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "1e-3 3\n");
    assert_eq!(space.read("artifacts/b/o.txt"), "${not.ours} 3.10\n");
    // Only what is used counts.
    space.edit("params.yaml", "unused: 1", "unused: 2\nmore: {x: 1}");
    assert_eq!(space.executed(&[]), [] as [&str; 0]);
    space.edit("params.yaml", "epochs: 3", "epochs: 4");
    assert_eq!(space.executed(&[]), ["a"]);
    assert_eq!(space.executed(&["--profile", "fast"]), ["a"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "1e-3 1\n");
    space.ok(&["run", "-q", "--set", "train.lr=0.5"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "0.5 4\n");

    // Several files, and values on top.
    space.edit("pipeline.yaml", "vars: {file: params.yaml}", "vars: [{file: params.yaml}, {file: more.yml}, {train: {epochs: \"${vars.base + 1}\"}, base: 6}]");
    space.write("more.yml", "train: {lr: 0.25}\n");
    space.ok(&["run", "-q"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "0.25 7\n");

    // Mistakes have a place.
    space.write("more.yml", "train: {lr: 0.25\n");
    refused_in(&space, &["more.yml:", "not valid YAML"]);
    space.write("more.yml", "- 1\n");
    refused_in(&space, &["a file of parameters is a map, found a list"]);
    space.remove("more.yml");
    refused_in(
        &space,
        &["more.yml: there is no such file", "pipeline.yaml:2:"],
    );
    space.edit("pipeline.yaml", "{file: more.yml}", "{file: more.toml}");
    refused_in(&space, &["`more.toml` is not a parameter file"]);
    // A variable may be called `file`.
    let plain = TestSpace::with_pipeline(
        "version: 1\nvars: {file: data.csv}\nstages:\n  a: {run: \"echo ${vars.file} > ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    plain.ok(&["run", "-q"]);
    assert_eq!(plain.read("artifacts/a/o.txt"), "data.csv\n");
}
