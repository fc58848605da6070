//! What plans come out.
use super::*;

#[test]
fn stages_join_gather_and_pick() {
    let plan = project(
        r#"
version: 1
name: shop
vars: {seeds: [0, 1], speeds: [0.1, 0.2]}
stages:
  base: {uses: make, matrix: {seed: "${vars.seeds}"}, with: {size: 2}}
  tuned: {uses: make, matrix: {seed: "${vars.seeds}", speed: "${vars.speeds}"}, needs: {part: base.thing}, with: {speed: "${matrix.speed}"}}
  all: {uses: join, needs: {parts: "tuned[*].thing"}}
  per: {uses: join, matrix: {seed: [1]}, needs: {parts: "tuned[seed=${matrix.seed},*].thing"}}
  pair: {uses: join, needs: {parts: ["base[seed=0].thing", "tuned[seed=1,speed=0.2].thing", {file: note.txt}]}}
  groups: {uses: join, needs: {parts: {old: "base[*].thing", new: "tuned[speed=0.1,*].thing"}}}
  text:
    run: "cat ${needs.in} ${needs.runs} ${needs.runs.new} > ${outputs.out} # ${vars.speeds[1]} $${HOME} $x"
    needs: {in: {file: "my note.txt"}, runs: {old: "base[*].thing", new: "base[seed=1].thing"}}
    outputs: {out: "a b.txt"}
"#,
    )
    .file("note.txt", "x")
    .file("my note.txt", "x")
    .plan();
    assert_eq!(plan.name, "shop");
    assert_eq!(
        ids(&plan),
        [
            "base[seed=0]", "base[seed=1]", "tuned[seed=0,speed=0.1]", "tuned[seed=0,speed=0.2]", "tuned[seed=1,speed=0.1]", "tuned[seed=1,speed=0.2]", "all", "per[seed=1]",
            "pair", "groups", "text"
        ]
    );
    assert_eq!(params(&plan, "tuned[seed=1,speed=0.2]"), json!({"size": 1, "speed": 0.2}));
    assert_eq!(needs(&plan, "tuned[seed=1,speed=0.2]"), ["part <- base[seed=1].thing @ in/part/thing.bin"]);
    assert_eq!(
        needs(&plan, "all"),
        ["parts (many) <- tuned[seed=0,speed=0.1].thing @ in/parts/seed=0,speed=0.1/thing.bin | tuned[seed=0,speed=0.2].thing @ in/parts/seed=0,speed=0.2/thing.bin | tuned[seed=1,speed=0.1].thing @ in/parts/seed=1,speed=0.1/thing.bin | tuned[seed=1,speed=0.2].thing @ in/parts/seed=1,speed=0.2/thing.bin"]
    );
    assert_eq!(needs(&plan, "per[seed=1]")[0].matches("tuned[seed=1").count(), 2);
    assert_eq!(
        needs(&plan, "pair"),
        ["parts (many) <- 0: base[seed=0].thing @ in/parts/0/thing.bin | 1: tuned[seed=1,speed=0.2].thing @ in/parts/1/thing.bin | 2: note.txt @ note.txt"]
    );
    assert!(needs(&plan, "groups")[0].contains("new: tuned[seed=0,speed=0.1].thing @ in/parts/new/seed=0,speed=0.1/thing.bin"));
    assert_eq!(
        script(&plan, "text"),
        "cat 'my note.txt' in/runs/old/seed=0/thing.bin in/runs/old/seed=1/thing.bin in/runs/new/thing.bin in/runs/new/thing.bin > 'a b.txt' # 0.2 ${HOME} $x"
    );
}
