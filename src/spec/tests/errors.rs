//! What is said about files that are wrong: one snapshot per class of error.

use super::*;

#[test]
fn several_at_once() {
    insta::assert_snapshot!(project(r#"
version: 1
vars: {seeds: [0, 1], lenght: 3}
stages:
  base: {uses: mke, matrix: {seed: "${vars.sed}"}}
  next: {uses: make, wiht: {size: 1}, needs: {part: base.thing, prat: base.thing}}
  third:
    uses: make
    with:
      size: 0
      sped: 3
      tool: {teeth: many}
  fourth: {run: "echo ${need.x} > ${outputs.y}", outputs: {z: z.txt}}
  fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
"#).errors(), @r###"
error: stages.base.uses: there is no kind `mke`
 --> pipeline.yaml:5:16
  |
5 |   base: {uses: mke, matrix: {seed: "${vars.sed}"}}
  |                ^^^
  |
  = help: did you mean `make`?
  = help: `repro kinds` lists all; a program of the project is written `./path/to/program`

error: stages.base.matrix.seed: there is no variable `sed`
 --> pipeline.yaml:5:37
  |
5 |   base: {uses: mke, matrix: {seed: "${vars.sed}"}}
  |                                     ^^^^^^^^^^^
  |
  = help: did you mean `seeds`?

error: stages.next.wiht: unknown field `wiht`
 --> pipeline.yaml:6:22
  |
6 |   next: {uses: make, wiht: {size: 1}, needs: {part: base.thing, prat: base.thing}}
  |                      ^^^^
  |
  = help: did you mean `with`?

error: stages.next.needs.prat: the kind `make` has no input `prat`
 --> pipeline.yaml:6:65
  |
6 |   next: {uses: make, wiht: {size: 1}, needs: {part: base.thing, prat: base.thing}}
  |                                                                 ^^^^
  |
  = help: did you mean `part`?

error: stages.third.with.size: expected a whole number above 0, found 0
  --> pipeline.yaml:10:13
   |
10 |       size: 0
   |             ^
   |
   = help: 1 is a good size

error: stages.third.with.sped: unknown field `sped`
  --> pipeline.yaml:11:7
   |
11 |       sped: 3
   |       ^^^^

error: stages.third.with.tool.teeth: expected a whole number
  --> pipeline.yaml:12:21
   |
12 |       tool: {teeth: many}
   |                     ^^^^

error: stages.fourth.run: `${need.x}` is not known here
  --> pipeline.yaml:13:23
   |
13 |   fourth: {run: "echo ${need.x} > ${outputs.y}", outputs: {z: z.txt}}
   |                       ^^^^^^^^^
   |
   = help: did you mean `needs.x`? references begin with vars, env, matrix, round, needs or outputs; for the shell's own variable write `$${need.x}`

error: stages.fifth.needs.part: there is no stage `bsae`
  --> pipeline.yaml:14:37
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                     ^^^^^^^^^^
   |
   = help: did you mean `base`?

error: stages.fifth.retries: expected a whole number, 0 or more, found the text "two"
  --> pipeline.yaml:14:59
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                                           ^^^

error: stages.fifth.resources.cpus: a stage needs at least 1 CPU
  --> pipeline.yaml:14:82
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                                                                  ^

error: stages.fifth.resources.memory: expected an amount of memory, found the text "lots"
  --> pipeline.yaml:14:93
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                                                                             ^^^^
   |
   = help: write `512MiB`, `2GB` or a whole number of bytes

error: stages.fifth.resources.mutx: unknown field `mutx`
  --> pipeline.yaml:14:99
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                                                                                   ^^^^
   |
   = help: did you mean `mutex`?

error: stages.fifth.timeout: expected a time above 0, found the text "soon"
  --> pipeline.yaml:14:118
   |
14 |   fifth: {uses: make, needs: {part: bsae.thing}, retries: two, resources: {cpus: 0, memory: lots, mutx: a}, timeout: soon}
   |                                                                                                                      ^^^^
   |
   = help: write `90s`, `10m`, `1h30m` or a number of seconds
"###);
}

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
  = help: they are no part of YAML 1.2; write the shared values once under `vars:` and refer to them with `${vars.name}`
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
  = help: there is `version`, `name`, `description`, `salt`, `vars`, `profiles`, `include`, `mirrors`, `defaults`, `stages`, `claims`
"###);
}

#[test]
fn cycle() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, needs: {part: c.thing}}
  b: {uses: make, needs: {part: a.thing}}
  c: {uses: make, needs: {part: b.thing}}
"#).errors(), @r###"
error: stages.a.needs.part: stages need each other in a circle: a → c → b → a
 --> pipeline.yaml:3:33
  |
3 |   a: {uses: make, needs: {part: c.thing}}
  |                                 ^^^^^^^ this need closes the circle
  |
 ::: pipeline.yaml:5:3
  |
5 |   c: {uses: make, needs: {part: b.thing}}
  |   - `c` is part of it
  |
 ::: pipeline.yaml:4:3
  |
4 |   b: {uses: make, needs: {part: a.thing}}
  |   - `b` is part of it
  |
  = help: remove one of these needs, or make the circle a loop with `rounds`
"###);
}

#[test]
fn self_cycle() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, needs: {part: a.thing}}
"#).errors(), @r###"
error: stages.a.needs.part: stages need each other in a circle: a → a
 --> pipeline.yaml:3:33
  |
3 |   a: {uses: make, needs: {part: a.thing}}
  |                                 ^^^^^^^ this need closes the circle
  |
  = help: remove one of these needs, or make the circle a loop with `rounds`
"###);
}

#[test]
fn unresolved() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, matrix: {seed: [0, 1], lr: [0.1, 0.2]}}
  b: {uses: make, matrix: {seed: [0, 1, 2]}, needs: {part: 'a[lr=0.1].thing'}}
  c: {uses: make, matrix: {seed: [0]}, needs: {part: a.thing}}
  d: {uses: make, needs: {part: 'a[sede=0].thing', mask: 'a[lr=0.3,seed=0].thing'}}
  e: {uses: make, needs: {part: 'a[*].thing', mask: a.thng}}
  f: {uses: make, needs: {part: 'a[seed=0,lr=0.1]', mask: 'a[seed=0,lr=0.1].thng'}}
"#).errors(), @r###"
error: stages.b.needs.part: `b[seed=2]` joins on equal axis values, but no instance of `a` has seed=2,lr=0.1
 --> pipeline.yaml:4:60
  |
4 |   b: {uses: make, matrix: {seed: [0, 1, 2]}, needs: {part: 'a[lr=0.1].thing'}}
  |                                                            ^^^^^^^^^^^^^^^^^
  |
  = help: give `a` these values, or pick one instance with `[axis=value]`

error: stages.c.needs.part: this stands for 2 instances of `a`: `c[seed=0]` does not say which `lr`
 --> pipeline.yaml:5:54
  |
5 |   c: {uses: make, matrix: {seed: [0]}, needs: {part: a.thing}}
  |                                                      ^^^^^^^
  |
  = help: gather all with `a[*].thing`, or pick one with `a[lr=0.1].thing`

error: stages.d.needs.part: `a` has no axis `sede`
 --> pipeline.yaml:6:33
  |
6 |   d: {uses: make, needs: {part: 'a[sede=0].thing', mask: 'a[lr=0.3,seed=0].thing'}}
  |                                 ^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `seed`?

error: stages.d.needs.mask: no instance of `a` has lr=0.3
 --> pipeline.yaml:6:58
  |
6 |   d: {uses: make, needs: {part: 'a[sede=0].thing', mask: 'a[lr=0.3,seed=0].thing'}}
  |                                                          ^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: `lr` is 0.1, 0.2

error: stages.e.needs.part: the input `part` of `make` takes one artifact, not several
 --> pipeline.yaml:7:33
  |
7 |   e: {uses: make, needs: {part: 'a[*].thing', mask: a.thng}}
  |                                 ^^^^^^^^^^^^
  |
  = help: refer to one: `stage.output` or `stage[axis=value].output`

error: stages.e.needs.mask: this stands for 4 instances of `a`: `e` does not say which `seed` and `lr`
 --> pipeline.yaml:7:53
  |
7 |   e: {uses: make, needs: {part: 'a[*].thing', mask: a.thng}}
  |                                                     ^^^^^^
  |
  = help: gather all with `a[*].thng`, or pick one with `a[seed=0].thng`

error: stages.f.needs.part: `a[seed=0,lr=0.1]` has 2 outputs: say which
 --> pipeline.yaml:8:33
  |
8 |   f: {uses: make, needs: {part: 'a[seed=0,lr=0.1]', mask: 'a[seed=0,lr=0.1].thng'}}
  |                                 ^^^^^^^^^^^^^^^^^^
  |
  = help: there is `metrics`, `thing`
  = help: write `a.OUTPUT`

error: stages.f.needs.mask: `a[seed=0,lr=0.1]` has no output `thng`
 --> pipeline.yaml:8:59
  |
8 |   f: {uses: make, needs: {part: 'a[seed=0,lr=0.1]', mask: 'a[seed=0,lr=0.1].thng'}}
  |                                                           ^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `thing`?
"###);
}

#[test]
fn files() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../up}}, outputs: {o: /abs}}
"#).errors(), @r###"
error: stages.a.needs.x.file: there is no file `missing.csv` in the project
 --> pipeline.yaml:3:35
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../up}}, outputs: {o: /abs}}
  |                                   ^^^^^^^^^^^
  |
  = help: paths are relative to the project; what another stage makes is `stage.output`

error: stages.a.needs.y.dir: `pipeline.yaml` is a file, not a directory
 --> pipeline.yaml:3:58
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../up}}, outputs: {o: /abs}}
  |                                                          ^^^^^^^^^^^^^
  |
  = help: write `{file: pipeline.yaml}`

error: stages.a.needs.z.file: `../up` leaves the project (`..`)
 --> pipeline.yaml:3:84
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../up}}, outputs: {o: /abs}}
  |                                                                                    ^^^^^
  |
  = help: paths are relative to the project and stay inside it

error: stages.a.outputs.o: the output `o`: `/abs` is absolute; paths are relative to the project
 --> pipeline.yaml:3:106
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../up}}, outputs: {o: /abs}}
  |                                                                                                          ^^^^
  |
  = help: outputs are written inside the command's private directory
"###);
}

#[test]
fn templates() {
    insta::assert_snapshot!(project(r#"version: 1
vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
stages:
  s: {uses: make, with: {free: '${matrix.seed} ${HOME} ${vars.'}}
  t: {uses: make, matrix: {seed: [1]}, with: {free: ['${matrix.sead}', '${round.index}', '${needs.x}']}}
"#).errors(), @r###"
error: vars.b: variables refer to each other in a circle: a → b → a
 --> pipeline.yaml:2:30
  |
2 | vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
  |                              ^^^^^^^^^

error: vars.d: `${vars.c}` is a list; only a single value can be part of a text
 --> pipeline.yaml:2:56
  |
2 | vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
  |                                                        ^^^^^^^^^
  |
  = help: let the reference be the whole value, or pick one element with `[0]` or `.name`

error: vars.e: the environment variable `NOPE` is not set
 --> pipeline.yaml:2:72
  |
2 | vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
  |                                                                        ^^^^^^^^^^^
  |
  = help: run with `NOPE=... repro run`

error: vars.f: `${vars.c[3]}`: a list has no position 3
 --> pipeline.yaml:2:90
  |
2 | vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
  |                                                                                          ^^^^^^^^^^^^

error: vars.g: `${vars.c.x}`: a list has no `x`
 --> pipeline.yaml:2:109
  |
2 | vars: {a: '${vars.b}', b: 'x ${vars.a}', c: [1], d: 'x ${vars.c}', e: '${env.NOPE}', f: '${vars.c[3]}', g: '${vars.c.x}'}
  |                                                                                                             ^^^^^^^^^^^

error: stages.s.with.free: `${HOME}` is not known here
 --> pipeline.yaml:4:48
  |
4 |   s: {uses: make, with: {free: '${matrix.seed} ${HOME} ${vars.'}}
  |                                                ^^^^^^^
  |
  = help: references begin with vars, env, matrix, round, needs or outputs; for the shell's own variable write `$${HOME}`

error: stages.t.with.free[0]: `t` has no axis `sead`
 --> pipeline.yaml:5:55
  |
5 |   t: {uses: make, matrix: {seed: [1]}, with: {free: ['${matrix.sead}', '${round.index}', '${needs.x}']}}
  |                                                       ^^^^^^^^^^^^^^
  |
  = help: did you mean `seed`?

error: stages.t.with.free[1]: `${round.index}` is known only in the stages of a loop
 --> pipeline.yaml:5:73
  |
5 |   t: {uses: make, matrix: {seed: [1]}, with: {free: ['${matrix.sead}', '${round.index}', '${needs.x}']}}
  |                                                                         ^^^^^^^^^^^^^^

error: stages.t.with.free[2]: `${needs.x}` is known only in `run` and `env`
 --> pipeline.yaml:5:91
  |
5 |   t: {uses: make, matrix: {seed: [1]}, with: {free: ['${matrix.sead}', '${round.index}', '${needs.x}']}}
  |                                                                                           ^^^^^^^^^^
"###);
}

#[test]
fn command() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {run: 'cat ${needs.y} > ${outputs.p}', uses: make, outputs: {p: p}}
  b: {run: 'cat ${needs.y} > ${outputs.q}', needs: {x: {file: pipeline.yaml}}, outputs: {p: p}, with: {a: 1}}
  c: {description: nothing}
  d: {run: x}
  e: {run: x, outputs: {p: out, q: out/q}, env: [NOPE, 'a b'], tools: [{program: x, vers: y}], shell: []}
  f: {run: x, outputs: {p: pipeline.yaml}, needs: {x: {file: pipeline.yaml}}, sandbox: maybe}
  'g h': {run: x, outputs: {p: p}}
  "i\nj": {run: x, outputs: {p: p}}
  k: {uses: make, outputs: {p: p}}
"#).errors(), @r###"
error: stages.a.run: `a` has both `uses` and `run`
 --> pipeline.yaml:3:12
  |
3 |   a: {run: 'cat ${needs.y} > ${outputs.p}', uses: make, outputs: {p: p}}
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
 ::: pipeline.yaml:3:51
  |
3 |   a: {run: 'cat ${needs.y} > ${outputs.p}', uses: make, outputs: {p: p}}
  |                                                   ---- `uses` is here
  |
  = help: keep one: a stage is a kind or a command

error: stages.b.run: `b` has no need `y`
 --> pipeline.yaml:4:17
  |
4 |   b: {run: 'cat ${needs.y} > ${outputs.q}', needs: {x: {file: pipeline.yaml}}, outputs: {p: p}, with: {a: 1}}
  |                 ^^^^^^^^^^
  |
  = help: there is `x`

error: stages.b.run: `b` has no output `q`
 --> pipeline.yaml:4:30
  |
4 |   b: {run: 'cat ${needs.y} > ${outputs.q}', needs: {x: {file: pipeline.yaml}}, outputs: {p: p}, with: {a: 1}}
  |                              ^^^^^^^^^^^^
  |
  = help: there is `p`

error: stages.b.with: `with` belongs to kinds, and `b` is a command
 --> pipeline.yaml:4:103
  |
4 |   b: {run: 'cat ${needs.y} > ${outputs.q}', needs: {x: {file: pipeline.yaml}}, outputs: {p: p}, with: {a: 1}}
  |                                                                                                       ^^^^^^
  |
  = help: put values into the command with `${vars.name}`

error: stages.c: `c` does nothing: it has neither `uses` nor `run`
 --> pipeline.yaml:5:3
  |
5 |   c: {description: nothing}
  |   ^
  |
  = help: add `uses: KIND` or `run: COMMAND`

error: stages.d: the command `d` has no `outputs`
 --> pipeline.yaml:6:3
  |
6 |   d: {run: x}
  |   ^
  |
  = help: add `outputs: {result: result.txt}` and write to `${outputs.result}`

error: stages.e: `shell` names no program
 --> pipeline.yaml:7:3
  |
7 |   e: {run: x, outputs: {p: out, q: out/q}, env: [NOPE, 'a b'], tools: [{program: x, vers: y}], shell: []}
  |   ^
  |
  = help: write `shell: [bash, -euo, pipefail, -c]`

error: stages.e.env[0]: the environment variable `NOPE` is not set
 --> pipeline.yaml:7:50
  |
7 |   e: {run: x, outputs: {p: out, q: out/q}, env: [NOPE, 'a b'], tools: [{program: x, vers: y}], shell: []}
  |                                                  ^^^^
  |
  = help: run with `NOPE=... repro run`, or give it a value: `env: {NOPE: ...}`

error: stages.e.env[1]: `a b` cannot be the name of an environment variable
 --> pipeline.yaml:7:56
  |
7 |   e: {run: x, outputs: {p: out, q: out/q}, env: [NOPE, 'a b'], tools: [{program: x, vers: y}], shell: []}
  |                                                        ^^^^^

error: stages.e.tools[0].vers: unknown field `vers`
 --> pipeline.yaml:7:85
  |
7 |   e: {run: x, outputs: {p: out, q: out/q}, env: [NOPE, 'a b'], tools: [{program: x, vers: y}], shell: []}
  |                                                                                     ^^^^
  |
  = help: did you mean `version`?

error: stages.f.outputs.p: the output `p` would be written over the input `x`
 --> pipeline.yaml:8:28
  |
8 |   f: {run: x, outputs: {p: pipeline.yaml}, needs: {x: {file: pipeline.yaml}}, sandbox: maybe}
  |                            ^^^^^^^^^^^^^
  |
  = help: give the output another path

error: stages.f.sandbox: `maybe` is not known here
 --> pipeline.yaml:8:88
  |
8 |   f: {run: x, outputs: {p: pipeline.yaml}, needs: {x: {file: pipeline.yaml}}, sandbox: maybe}
  |                                                                                        ^^^^^
  |
  = help: there is `on`, `off`

error: stages.g h: `g h` cannot be the name of a stage: names are made of letters, digits, `_` and `-`
 --> pipeline.yaml:9:3
  |
9 |   'g h': {run: x, outputs: {p: p}}
  |   ^^^^^
  |
  = help: write `g-h`

error: stages.i\nj: `i\nj` cannot be the name of a stage: names are made of letters, digits, `_` and `-`
  --> pipeline.yaml:10:3
   |
10 |   "i\nj": {run: x, outputs: {p: p}}
   |   ^^^^^^
   |
   = help: write `i-j`

error: stages.k: `outputs` belongs to commands, and `k` uses a kind
  --> pipeline.yaml:11:3
   |
11 |   k: {uses: make, outputs: {p: p}}
   |   ^
   |
   = help: remove `outputs`, or replace `uses` by `run`
"###);
}

#[test]
fn matrix() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  b: {uses: make, matrix: {zip: {a: [1, 2], b: [1]}}}
  c: {uses: make, matrix: {a: [1, 1]}}
  d: {uses: make, matrix: {a: [1], exclude: [{b: 1}]}}
  e: {uses: make, matrix: {a: [1], exclude: [{a: 1}]}}
  f: {uses: make, matrix: {round: [1], 'x y': [2], s: ['a,b']}}
"#).errors(), @r###"
error: stages.a.matrix.seed: an axis takes a list, found the number 3
 --> pipeline.yaml:3:34
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                  ^
  |
  = help: write a list, `{range: [start, stop, step]}`, `{logspace: [from, to, n]}` or a `${vars.name}` that is one of these

error: stages.a.matrix.x: the axis `x` has no values
 --> pipeline.yaml:3:40
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                        ^^

error: stages.a.matrix.y[0]: an axis value is a single value, found a list
 --> pipeline.yaml:3:48
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                ^^^

error: stages.a.matrix.z.range: the step of a `range` must not be 0
 --> pipeline.yaml:3:65
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                                 ^^^^^^^^^

error: stages.a.matrix.w: this map is no axis
 --> pipeline.yaml:3:80
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                                                ^^^^^^^^^^^
  |
  = help: write a list, `{range: [start, stop, step]}`, `{logspace: [from, to, n]}` or a `${vars.name}` that is one of these

error: stages.a.matrix.v.logspace: `logspace` goes between numbers above 0
 --> pipeline.yaml:3:107
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                                                                           ^^^^^^^^^

error: stages.b.matrix.zip.b: zipped axes must have as many values as each other: `b` has 1, not 2
 --> pipeline.yaml:4:45
  |
4 |   b: {uses: make, matrix: {zip: {a: [1, 2], b: [1]}}}
  |                                             ^

error: stages.c.matrix: the matrix has the combination `a=1` twice
 --> pipeline.yaml:5:27
  |
5 |   c: {uses: make, matrix: {a: [1, 1]}}
  |                           ^^^^^^^^^^^
  |
  = help: remove the value that is given twice

error: stages.d.matrix.exclude[0].b: there is no axis `b`
 --> pipeline.yaml:6:47
  |
6 |   d: {uses: make, matrix: {a: [1], exclude: [{b: 1}]}}
  |                                               ^
  |
  = help: there is `a`

error: stages.e.matrix: the matrix has no combination left
 --> pipeline.yaml:7:27
  |
7 |   e: {uses: make, matrix: {a: [1], exclude: [{a: 1}]}}
  |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: give an axis values, or remove an `exclude`

error: stages.f.matrix.round: `round` is reserved and cannot be the name of an axis
 --> pipeline.yaml:8:28
  |
8 |   f: {uses: make, matrix: {round: [1], 'x y': [2], s: ['a,b']}}
  |                            ^^^^^

error: stages.f.matrix.x y: `x y` cannot be the name of an axis: names are made of letters, digits, `_` and `-`
 --> pipeline.yaml:8:40
  |
8 |   f: {uses: make, matrix: {round: [1], 'x y': [2], s: ['a,b']}}
  |                                        ^^^^^
  |
  = help: write `x-y`

error: stages.f.matrix.s[0]: `a,b` cannot be an axis value: it would make names of instances ambiguous
 --> pipeline.yaml:8:56
  |
8 |   f: {uses: make, matrix: {round: [1], 'x y': [2], s: ['a,b']}}
  |                                                        ^^^^^
  |
  = help: use a short name without `,`, `[`, `]` or line breaks, and look the text up in `vars`
"###);
}

#[test]
fn kinds() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: join}
  b: {uses: ./tools/saw}
  c: {uses: ./tools/saw}
  d: {uses: make, with: [1], matrix: {size: [1, 0]}}
  e: {uses: make, with: {size: '${matrix.n}'}, matrix: {n: [1, 0, -1]}}
"#).errors(), @r###"
error: stages.a: the kind `join` requires the input `parts`
 --> pipeline.yaml:3:3
  |
3 |   a: {uses: join}
  |   ^
  |
  = help: add `needs: {parts: STAGE.OUTPUT}`: what parts is

error: stages.b.uses: `./tools/saw` cannot be used as a kind: saw does not answer
 --> pipeline.yaml:4:13
  |
4 |   b: {uses: ./tools/saw}
  |             ^^^^^^^^^^^

error: stages.c.uses: `./tools/saw` cannot be used as a kind: saw does not answer
 --> pipeline.yaml:5:13
  |
5 |   c: {uses: ./tools/saw}
  |             ^^^^^^^^^^^

error: stages.d.with: expected a map of parameters, found a list
 --> pipeline.yaml:6:25
  |
6 |   d: {uses: make, with: [1], matrix: {size: [1, 0]}}
  |                         ^^^

error: stages.e.with.size: expected a whole number above 0, found -1
 --> pipeline.yaml:7:32
  |
7 |   e: {uses: make, with: {size: '${matrix.n}'}, matrix: {n: [1, 0, -1]}}
  |                                ^^^^^^^^^^^^^ in `e[n=-1]`
  |
  = help: 1 is a good size

error: stages.e.with.size: expected a whole number above 0, found 0
 --> pipeline.yaml:7:32
  |
7 |   e: {uses: make, with: {size: '${matrix.n}'}, matrix: {n: [1, 0, -1]}}
  |                                ^^^^^^^^^^^^^ in `e[n=0]`
  |
  = help: 1 is a good size
"###);
}

#[test]
fn claims() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {uses: make, matrix: {seed: [0, 1]}}
claims:
  one: {compare: {of: x, a: a, b: c, paired_by: sed}, expect: {above: 0}}
  two: {note: nothing}
  three: {measure: {of: x, at: last}, compre: {}}
  four: {measure: {of: x, in: a.thng}, expect: {}}
"#).errors(), @r###"
error: claims.one.compare.b: there is no stage `c`
 --> pipeline.yaml:5:35
  |
5 |   one: {compare: {of: x, a: a, b: c, paired_by: sed}, expect: {above: 0}}
  |                                   ^
  |
  = help: there is `a`

error: claims.one.compare.paired_by: `a` has no axis `sed` to pair by
 --> pipeline.yaml:5:49
  |
5 |   one: {compare: {of: x, a: a, b: c, paired_by: sed}, expect: {above: 0}}
  |                                                 ^^^
  |
  = help: did you mean `seed`?

error: claims.two: the claim `two` states nothing
 --> pipeline.yaml:6:3
  |
6 |   two: {note: nothing}
  |   ^^^
  |
  = help: add `compare: {of: VALUE, a: STAGE, b: STAGE}` or `measure: {of: VALUE, in: STAGE}`, and `expect`

error: claims.three: `in` is missing in `measure`
 --> pipeline.yaml:7:3
  |
7 |   three: {measure: {of: x, at: last}, compre: {}}
  |   ^^^^^
  |
  = help: add `in: STAGE`

error: claims.three: the claim `three` does not say what to expect
 --> pipeline.yaml:7:3
  |
7 |   three: {measure: {of: x, at: last}, compre: {}}
  |   ^^^^^
  |
  = help: add `expect: ...`

error: claims.three.compre: unknown field `compre`
 --> pipeline.yaml:7:39
  |
7 |   three: {measure: {of: x, at: last}, compre: {}}
  |                                       ^^^^^^
  |
  = help: did you mean `compare`?

error: claims.four.measure.in: `a[seed=0]` has no output `thng`
 --> pipeline.yaml:8:31
  |
8 |   four: {measure: {of: x, in: a.thng}, expect: {}}
  |                               ^^^^^^
  |
  = help: did you mean `thing`?
"###);
}

#[test]
fn rounds() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  imp:
    rounds: {count: 3, first: {model: init.thing, extra: init.thing}, carry: {model: train.thing, mask: prun.thing}}
    stages:
      train: {uses: make, needs: {part: '${round.model}', mask: '${round.msk}'}}
      prune: {uses: make, needs: {part: train.thing}, with: {free: '${round.model}'}}
      all: {uses: join, needs: {parts: 'train[*].thing'}}
  init: {uses: make}
  after: {uses: make, needs: {part: imp.train.thing, mask: imp.thing}}
  last: {uses: make, needs: {part: 'imp.train[round=7].thing'}, with: {free: '${round.index}'}}
  empty: {rounds: {count: 0}, uses: make}
"#).errors(), @r###"
error: stages.imp.rounds.first.extra: `carry` does not say what `extra` is after round 0
 --> pipeline.yaml:4:51
  |
4 |     rounds: {count: 3, first: {model: init.thing, extra: init.thing}, carry: {model: train.thing, mask: prun.thing}}
  |                                                   ^^^^^
  |
  = help: add `extra` to `carry`; an input that never changes is referred to directly

error: stages.imp.rounds.carry.mask: there is no stage `prun`
 --> pipeline.yaml:4:105
  |
4 |     rounds: {count: 3, first: {model: init.thing, extra: init.thing}, carry: {model: train.thing, mask: prun.thing}}
  |                                                                                                         ^^^^^^^^^^
  |
  = help: did you mean `prune`?

error: stages.imp.stages.train.needs.mask: the loop `imp` has no binding `msk`
 --> pipeline.yaml:6:65
  |
6 |       train: {uses: make, needs: {part: '${round.model}', mask: '${round.msk}'}}
  |                                                                 ^^^^^^^^^^^^^^
  |
  = help: did you mean `mask`?
  = help: add `carry: {msk: STAGE.OUTPUT}` to its `rounds`

error: stages.imp.stages.prune.with.free: `${round.model}` stands for an artifact and must be a need of its own
 --> pipeline.yaml:7:69
  |
7 |       prune: {uses: make, needs: {part: train.thing}, with: {free: '${round.model}'}}
  |                                                                     ^^^^^^^^^^^^^^
  |
  = help: write `needs: {NAME: "${round.model}"}`

error: stages.after.needs.part: this stands for 3 instances of `imp.train`: `after` does not say which `round`
  --> pipeline.yaml:10:37
   |
10 |   after: {uses: make, needs: {part: imp.train.thing, mask: imp.thing}}
   |                                     ^^^^^^^^^^^^^^^
   |
   = help: gather all with `imp.train[*].thing`, or pick one with `imp.train[round=last].thing`

error: stages.after.needs.mask: the loop `imp` has no stage `thing`
  --> pipeline.yaml:10:60
   |
10 |   after: {uses: make, needs: {part: imp.train.thing, mask: imp.thing}}
   |                                                            ^^^^^^^^^
   |
   = help: there is `train`, `prune`, `all`

error: stages.last.needs.part: no instance of `imp.train` has round=7
  --> pipeline.yaml:11:36
   |
11 |   last: {uses: make, needs: {part: 'imp.train[round=7].thing'}, with: {free: '${round.index}'}}
   |                                    ^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: `round` is 0, 1, 2

error: stages.last.with.free: `${round.index}` is known only in the stages of a loop
  --> pipeline.yaml:11:79
   |
11 |   last: {uses: make, needs: {part: 'imp.train[round=7].thing'}, with: {free: '${round.index}'}}
   |                                                                               ^^^^^^^^^^^^^^

error: stages.empty: `empty` is a loop (it has `rounds` or `stages`) and cannot have `uses`
  --> pipeline.yaml:12:3
   |
12 |   empty: {rounds: {count: 0}, uses: make}
   |   ^^^^^
   |
   = help: give it to one of the inner `stages`

error: stages.empty: the loop `empty` has no inner `stages`
  --> pipeline.yaml:12:3
   |
12 |   empty: {rounds: {count: 0}, uses: make}
   |   ^^^^^
   |
   = help: put the stages of one round under `stages:`

error: stages.empty.rounds.count: a loop has at least 1 round
  --> pipeline.yaml:12:27
   |
12 |   empty: {rounds: {count: 0}, uses: make}
   |                           ^
"###);
}

#[test]
fn a_stage_leaves_the_place_of_verdicts_alone() {
    let text = "version: 1\nstages:\n  claims: {uses: make}\n";
    insta::assert_snapshot!(project(text).errors(), @r###"
error: stages.claims: `claims` cannot be the name of a stage: the verdicts on claims lie in artifacts/claims/
 --> pipeline.yaml:3:3
  |
3 |   claims: {uses: make}
  |   ^^^^^^
  |
  = help: choose another name
"###);
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
