//! What is said about stages: their fields, kinds, commands, files and matrices.

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
   = help: did you mean `needs.x`? references begin with vars, env, matrix, round, needs, outputs or scratch; for the shell's own variable write `$${need.x}`

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
fn a_misspelt_file() {
    let project = project(
        r#"version: 1
stages:
  a: {run: cat, needs: {x: {file: pipelin.yaml}}}
"#,
    );
    let errors = project.errors();
    assert!(errors.contains("did you mean `pipeline.yaml`?"), "{errors}");
}

#[test]
fn files() {
    insta::assert_snapshot!(project(r#"version: 1
stages:
  a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../_0}}, outputs: {o: /abs}}
"#).errors(), @r###"
error: stages.a.needs.x.file: there is no file `missing.csv` in the project
 --> pipeline.yaml:3:35
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../_0}}, outputs: {o: /abs}}
  |                                   ^^^^^^^^^^^
  |
  = help: paths are relative to the project; what another stage makes is `stage.output`

error: stages.a.needs.y.dir: `pipeline.yaml` is a file, not a directory
 --> pipeline.yaml:3:58
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../_0}}, outputs: {o: /abs}}
  |                                                          ^^^^^^^^^^^^^
  |
  = help: write `{file: pipeline.yaml}`

error: stages.a.needs.z.file: there is no file `../_0`
 --> pipeline.yaml:3:84
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../_0}}, outputs: {o: /abs}}
  |                                                                                    ^^^^^
  |
  = help: paths are relative to the project; what another stage makes is `stage.output`

error: stages.a.outputs.o: the output `o`: `/abs` is absolute; paths are relative to the project
 --> pipeline.yaml:3:106
  |
3 |   a: {run: cat, needs: {x: {file: missing.csv}, y: {dir: pipeline.yaml}, z: {file: ../_0}}, outputs: {o: /abs}}
  |                                                                                                          ^^^^
  |
  = help: outputs are written inside the command's private directory
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

error: stages.a.matrix.y[0]: an axis value is a single value or a map, found a list
 --> pipeline.yaml:3:48
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                ^^^
  |
  = help: write a map with a name: `{name: small, sizes: [10, 20]}`, and refer to `${matrix.AXIS.sizes}`

error: stages.a.matrix.z.range: the step of a `range` must not be 0
 --> pipeline.yaml:3:65
  |
3 |   a: {uses: make, matrix: {seed: 3, x: [], y: [[1]], z: {range: [0, 1, 0]}, w: {rnge: [1]}, v: {logspace: [0, 1, 3]}}}
  |                                                                 ^^^^^^^^^

error: stages.a.matrix.w: this map is not an axis
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

error: stages.e.with.size: expected a whole number above 0, found 0
 --> pipeline.yaml:7:32
  |
7 |   e: {uses: make, with: {size: '${matrix.n}'}, matrix: {n: [1, 0, -1]}}
  |                                ^^^^^^^^^^^^^ in `e[n=0]` and 1 more of 3 instances
  |
  = help: 1 is a good size
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
