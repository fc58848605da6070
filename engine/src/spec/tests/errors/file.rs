//! What is said about files that are no pipeline, and about what stands at their top.

use super::*;

#[test]
fn yaml() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: [1, 2
  b: 3
"#).errors(), @r###"
error: this is not valid YAML: illegal placement of ':' indicator
 --> pipeline.yaml:4:4
  |
4 |   b: 3
  |    ^
"###);
}

#[test]
fn a_nul_character() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {run: x, matrix: {seed: "\0{x}"}}
"#).errors(), @r###"
error: a text cannot hold a NUL character
 --> pipeline.yaml:3:30
  |
3 |   a: {run: x, matrix: {seed: "\0{x}"}}
  |                              ^^^^^^^
  |
  = help: remove `\0`
"###);
    for stage in [
        r#""b\0": {run: x}"#,
        r#"a: {run: "\0"}"#,
        r#"a: {run: x, env: {A: "\0"}}"#,
    ] {
        let errors = project(&format!("version: 1\nstages: {{{stage}}}\n")).errors();
        assert!(
            errors.contains("a text cannot hold a NUL character"),
            "{stage}: {errors}"
        );
    }
}

#[test]
fn duplicate_keys() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, uses: join}
  b: {uses: make}
  b: {uses: make}
"#).errors(), @r###"
error: stages.a: the key `uses` is given twice
 --> pipeline.yaml:3:19
  |
3 |   a: {uses: make, uses: join}
  |                   ^^^^ given again here
  |
 ::: pipeline.yaml:3:7
  |
3 |   a: {uses: make, uses: join}
  |       ---- first given here

error: stages: the key `b` is given twice
 --> pipeline.yaml:5:3
  |
5 |   b: {uses: make}
  |   ^ given again here
  |
 ::: pipeline.yaml:4:3
  |
4 |   b: {uses: make}
  |   - first given here
"###);
}

#[test]
fn merge_keys() {
    insta::assert_snapshot!(project(r#"version: 1
x: &x {uses: make}
stages:
  a: {<<: *x}
"#).errors(), @r###"
error: merge keys (`<<`) are not supported
 --> pipeline.yaml:4:7
  |
4 |   a: {<<: *x}
  |       ^^
  |
  = help: they are not part of YAML 1.2; write the shared values once under `vars:` and refer to them with `${vars.name}`
"###);
}

#[test]
fn documents() {
    insta::assert_snapshot!(project(r#"version: 1
---
version: 1
"#).errors(), @r###"
error: the file holds more than one YAML document
 --> pipeline.yaml:2:1
  |
2 | ---
  | ^^^
  |
  = help: keep one, and put the others into files named under `include:`
"###);
}

#[test]
fn empty() {
    insta::assert_snapshot!(project(r#"# nothing
"#).errors(), @r###"
error: the file is empty
 --> pipeline.yaml:1:1
  |
1 | # nothing
  | ^
  |
  = help: begin with `version: 1` and `stages:`; `repro init` writes an example
"###);
}

#[test]
fn version() {
    insta::assert_snapshot!(project(r#"version: 2
stages: {a: {uses: make}}
extra: 1
"#).errors(), @r###"
error: version: this version of `repro` reads pipelines of version 1
 --> pipeline.yaml:1:10
  |
1 | version: 2
  |          ^
  |
  = help: write `version: 1`, or use a newer `repro`

error: extra: unknown field `extra`
 --> pipeline.yaml:3:1
  |
3 | extra: 1
  | ^^^^^
  |
  = help: there is `version`, `name`, `description`, `salt`, `vars`, `profiles`, `include`, `mirrors`, `defaults`, `stages`, `claims`, `figures`
"###);
}

/// What a file that cannot be read declares is not known: nothing is said of it.
#[test]
fn a_file_that_is_no_yaml_has_no_missing_profiles() {
    let project = project("version: 1\nstages: {a: [}\n")
        .profile("fast")
        .set("epochs=1");
    let said = project.errors();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn settings() {
    let text = "version: 1\nvars: {epochs: 1, deep: {a: [1, 2]}}\nprofiles:\n  fast: {vars: {epoch: 2}}\nstages:\n  a: {uses: make}\n";
    let project = project(text)
        .profile("fats")
        .set("epoch=3")
        .set("deep.a[7]=1")
        .set("stages.b.with.x=1")
        .set("stages.a=1")
        .set("epochs")
        .set("epochs=[1")
        .set("epochs.x=1")
        .set("deep.b={a: 1, a: 2}");
    insta::assert_snapshot!(project.errors(), @r###"
error: profiles.fast.vars.epoch: there is no variable `epoch`
 --> pipeline.yaml:4:17
  |
4 |   fast: {vars: {epoch: 2}}
  |                 ^^^^^
  |
  = help: did you mean `epochs`?
  = help: a profile overrides variables; declare it under `vars:` first

error: there is no profile `fats`
 --> --profile:1:1
  |
1 | fats
  | ^^^^
  |
  = help: did you mean `fast`?

error: vars.epoch: there is no variable `epoch`
 --> --set:1:1
  |
1 | epoch=3
  | ^^^^^
  |
  = help: did you mean `epochs`?

error: vars.deep.a.7: `7` is not a position in a list of 2
 --> --set:1:1
  |
1 | deep.a[7]=1
  | ^^^^^^^^^
  |
 ::: pipeline.yaml:2:29
  |
2 | vars: {epochs: 1, deep: {a: [1, 2]}}
  |                             ------ the list

error: stages.b.with.x: there is no stage `b`
 --> --set:1:1
  |
1 | stages.b.with.x=1
  | ^^^^^^^^^^^^^^^
  |
  = help: there is `a`

error: stages.a: `--set` changes a field of a stage, not the whole stage
 --> --set:1:1
  |
1 | stages.a=1
  | ^^^^^^^^
  |
  = help: write `--set stages.a.with.FIELD=...`

error: vars.epochs: `epochs` does not say what to set
 --> --set:1:1
  |
1 | epochs
  | ^^^^^^
  |
  = help: write `--set epochs=3`, `--set vars.epochs=3` or `--set stages.NAME.with.FIELD=3`

error: vars.epochs: this is not valid YAML: while parsing a flow sequence, expected ',' or ']'
 --> --set:1:10
  |
1 | epochs=[1
  |          ^

error: vars.epochs.x: `x` cannot be set: the number 1 is not a map
 --> --set:1:1
  |
1 | epochs.x=1
  | ^^^^^^^^
  |
 ::: pipeline.yaml:2:16
  |
2 | vars: {epochs: 1, deep: {a: [1, 2]}}
  |                - this is what is there

error: vars.deep.b: the key `a` is given twice
 --> --set:1:15
  |
1 | deep.b={a: 1, a: 2}
  |               ^ given again here
  |
 ::: --set:1:9
  |
1 | deep.b={a: 1, a: 2}
  |         - first given here
"###);
}

#[test]
fn includes() {
    let text =
        "version: 1\ninclude: [more.yaml, gone.yaml]\nvars: {x: 1}\nstages:\n  a: {uses: make}\n";
    let project = project(text).file("more.yaml", "version: 1\ninclude: [pipeline.yaml]\nsalt: s\nvars: {x: 2}\nstages:\n  a: {uses: make}\n  b: {uses: mak}\n");
    insta::assert_snapshot!(project.errors(), @r###"
error: include[1]: gone.yaml: there is no such file
 --> pipeline.yaml:2:22
  |
2 | include: [more.yaml, gone.yaml]
  |                      ^^^^^^^^^

error: include[0]: files include each other in a circle: pipeline.yaml → more.yaml → pipeline.yaml
 --> more.yaml:2:11
  |
2 | include: [pipeline.yaml]
  |           ^^^^^^^^^^^^^
  |
  = help: move what they share into a file of its own

error: salt: `salt` belongs to the main file: it is part of every key
 --> more.yaml:3:7
  |
3 | salt: s
  |       ^
  |
  = help: move it there

error: vars.x: the variable `x` is declared twice
 --> more.yaml:4:8
  |
4 | vars: {x: 2}
  |        ^ declared again here
  |
 ::: pipeline.yaml:3:8
  |
3 | vars: {x: 1}
  |        - first declared here

error: stages.a: the stage `a` is declared twice
 --> more.yaml:6:3
  |
6 |   a: {uses: make}
  |   ^ declared again here
  |
 ::: pipeline.yaml:5:3
  |
5 |   a: {uses: make}
  |   - first declared here

error: stages.b.uses: there is no kind `mak`
 --> more.yaml:7:13
  |
7 |   b: {uses: mak}
  |             ^^^
  |
  = help: did you mean `make`?
  = help: `repro kinds` lists all; a program of the project is written `./path/to/program`
"###);
}

#[test]
fn files_that_are_no_pipeline() {
    let big = format!("version: 1 # {}\n", "x".repeat(20 << 20));
    let gone = project("");
    std::fs::remove_file(gone.dir.path().join("pipeline.yaml")).unwrap();
    let all = [
        project(&big),
        project("").file("pipeline.yaml", [0xff, 0xfe, 0]),
        project("- a\n- b\n"),
        gone,
    ];
    insta::assert_snapshot!(all.map(|p| p.errors()).join("\n"), @r###"
error: pipeline.yaml: the file is larger than 16 MiB, the limit for a pipeline
 --> pipeline.yaml:1:1
  |
1 |
  | ^

error: pipeline.yaml: the file is not UTF-8 text (byte 0)
 --> pipeline.yaml:1:1
  |
1 |
  | ^

error: a pipeline file is a map, found a list
 --> pipeline.yaml:1:1
  |
1 | - a
  | ^^^
  |
  = help: begin with `version: 1` and `stages:`

error: pipeline.yaml: there is no such file
 --> pipeline.yaml:1:1
  |
1 |
  | ^
"###);
}
