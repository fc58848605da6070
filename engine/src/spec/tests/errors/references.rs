//! What is said about references that lead nowhere, or back to where they began.

use super::*;

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
  = help: references begin with vars, env, matrix, round, needs, outputs or scratch; for the shell's own variable write `$${HOME}`

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

/// What is missing only because its name is misspelt is told where the name is written, and nowhere
/// else.
#[test]
fn a_misspelt_name_is_one_error() {
    let told = project(
        r#"version: 1
stages:
  a: {use: make}
  b: {uses: join, needs: {part: a.out}}
  c: {uses: join, need: {parts: a.out}}
  d: {uses: join, needs: {other: a.out}}
  e: {run: "cat ${needs.x} > ${outputs.o}", ned: {x: {file: pipeline.yaml}}, ouputs: {o: o}}
  f: {rnu: "cat ${needs.x} > ${outputs.o}", needs: {x: e.o}, outputs: {o: o}}
claims:
  one: {mesure: {of: x, in: a}, expect: {mean: {above: 0}}}
  two: {measure: {of: x, in: a}, expct: {mean: {above: 0}}}
"#,
    )
    .errors();
    let titles = told.lines().filter(|line| line.starts_with("error"));
    insta::assert_snapshot!(titles.collect::<Vec<_>>().join("\n"), @r###"
error: stages.a.use: unknown field `use`
error: stages.b.needs.part: the kind `join` has no input `part`
error: stages.c.need: unknown field `need`
error: stages.d: the kind `join` requires the input `parts`
error: stages.d.needs.other: the kind `join` has no input `other`
error: stages.e.ned: unknown field `ned`
error: stages.e.ouputs: unknown field `ouputs`
error: stages.f.rnu: unknown field `rnu`
error: claims.one.mesure: unknown field `mesure`
error: claims.two.expct: unknown field `expct`
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
