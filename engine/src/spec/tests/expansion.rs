//! What plans come out.
use super::*;
use crate::demand::Demand;
use crate::graph::Graph;
use crate::plan::InstanceIndex;

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
            "base[seed=0]",
            "base[seed=1]",
            "tuned[seed=0,speed=0.1]",
            "tuned[seed=0,speed=0.2]",
            "tuned[seed=1,speed=0.1]",
            "tuned[seed=1,speed=0.2]",
            "all",
            "per[seed=1]",
            "pair",
            "groups",
            "text"
        ]
    );
    assert_eq!(
        params(&plan, "tuned[seed=1,speed=0.2]"),
        json!({"size": 1, "speed": 0.2})
    );
    assert_eq!(
        needs(&plan, "tuned[seed=1,speed=0.2]"),
        ["part <- base[seed=1].thing @ in/part/thing.bin"]
    );
    assert_eq!(
        needs(&plan, "all"),
        [
            "parts (many) <- tuned[seed=0,speed=0.1].thing @ in/parts/seed=0,speed=0.1/thing.bin | tuned[seed=0,speed=0.2].thing @ in/parts/seed=0,speed=0.2/thing.bin | tuned[seed=1,speed=0.1].thing @ in/parts/seed=1,speed=0.1/thing.bin | tuned[seed=1,speed=0.2].thing @ in/parts/seed=1,speed=0.2/thing.bin"
        ]
    );
    assert_eq!(
        needs(&plan, "per[seed=1]")[0]
            .matches("tuned[seed=1")
            .count(),
        2
    );
    assert_eq!(
        needs(&plan, "pair"),
        [
            "parts (many) <- 0: base[seed=0].thing @ in/parts/0/thing.bin | 1: tuned[seed=1,speed=0.2].thing @ in/parts/1/thing.bin | 2: note.txt @ note.txt"
        ]
    );
    assert!(
        needs(&plan, "groups")[0].contains(
            "new: tuned[seed=0,speed=0.1].thing @ in/parts/new/seed=0,speed=0.1/thing.bin"
        )
    );
    assert_eq!(
        script(&plan, "text"),
        "cat 'my note.txt' in/runs/new/thing.bin in/runs/old/seed=0/thing.bin in/runs/old/seed=1/thing.bin in/runs/new/thing.bin > 'a b.txt' # 0.2 ${HOME} $x"
    );
}

#[test]
fn rounds_unroll_and_raising_the_count_changes_nothing_old() {
    let text = r#"
version: 1
vars: {count: 2}
stages:
  init: {uses: make, matrix: {seed: [0, 1]}}
  imp:
    matrix: {seed: [0, 1]}
    rounds:
      count: "${vars.count}"
      first: {model: init.thing}
      carry: {model: rewind.thing, mask: prune.thing}
    stages:
      rewind: {uses: make, needs: {part: "train[round=0].thing", mask: prune.thing}}
      train: {uses: make, needs: {part: "${round.model}", mask: "${round.mask}"}, with: {free: "${round.index}"}}
      prune: {uses: make, needs: {part: train.thing}, with: {free: "${matrix.seed}"}}
  last: {uses: make, needs: {part: "imp.train[seed=0,round=last].thing"}}
  all: {uses: join, needs: {parts: "imp.prune[seed=1,*].metrics"}}
"#;
    let two = project(text).plan();
    assert_eq!(
        ids(&two),
        [
            "init[seed=0]",
            "init[seed=1]",
            "imp.train[seed=0,round=0]",
            "imp.train[seed=1,round=0]",
            "imp.prune[seed=0,round=0]",
            "imp.prune[seed=1,round=0]",
            "imp.rewind[seed=0,round=0]",
            "imp.rewind[seed=1,round=0]",
            "imp.train[seed=0,round=1]",
            "imp.train[seed=1,round=1]",
            "imp.prune[seed=0,round=1]",
            "imp.prune[seed=1,round=1]",
            "imp.rewind[seed=0,round=1]",
            "imp.rewind[seed=1,round=1]",
            "last",
            "all",
        ]
    );
    assert_eq!(
        needs(&two, "imp.train[seed=1,round=0]"),
        ["part <- init[seed=1].thing @ in/part/thing.bin"]
    );
    assert_eq!(
        needs(&two, "imp.train[seed=1,round=1]"),
        [
            "mask <- imp.prune[seed=1,round=0].thing @ in/mask/thing.bin",
            "part <- imp.rewind[seed=1,round=0].thing @ in/part/thing.bin"
        ]
    );
    assert_eq!(
        needs(&two, "imp.rewind[seed=0,round=1]"),
        [
            "mask <- imp.prune[seed=0,round=1].thing @ in/mask/thing.bin",
            "part <- imp.train[seed=0,round=0].thing @ in/part/thing.bin"
        ]
    );
    assert_eq!(params(&two, "imp.train[seed=0,round=1]")["free"], 1);
    assert_eq!(
        needs(&two, "last"),
        ["part <- imp.train[seed=0,round=1].thing @ in/part/thing.bin"]
    );
    assert_eq!(needs(&two, "all")[0].matches("imp.prune[seed=1").count(), 2);
    let five = project(text).set("count=5").plan();
    for id in ids(&two).into_iter().filter(|id| id.starts_with("i")) {
        assert_eq!(needs(&two, id), needs(&five, id));
        assert_eq!(params(&two, id), params(&five, id));
    }
    assert_eq!(
        needs(&five, "last"),
        ["part <- imp.train[seed=0,round=4].thing @ in/part/thing.bin"]
    );
}

#[test]
fn matrices() {
    let rows = |matrix: &str| -> Vec<String> {
        let plan = project(&format!(
            "version: 1\nstages: {{s: {{uses: make, matrix: {matrix}}}}}\n"
        ))
        .plan();
        ids(&plan)
            .iter()
            .map(|id| id[2..id.len() - 1].to_owned())
            .collect()
    };
    assert_eq!(
        rows("{b: [1, x], a: [true, 0.5]}"),
        ["b=1,a=true", "b=1,a=0.5", "b=x,a=true", "b=x,a=0.5"]
    );
    assert_eq!(rows("{n: {range: [0, 7, 3]}}"), ["n=0", "n=3", "n=6"]);
    assert_eq!(rows("{n: {range: [3, 0, -1]}}"), ["n=3", "n=2", "n=1"]);
    assert_eq!(
        rows("{n: {range: [0, 0.5, 0.1]}}"),
        ["n=0.0", "n=0.1", "n=0.2", "n=0.3", "n=0.4"]
    );
    assert_eq!(
        rows("{n: {logspace: [0.001, 1, 4]}}"),
        ["n=0.001", "n=0.01", "n=0.1", "n=1"]
    );
    assert_eq!(
        rows("{x: [0], zip: {a: [1, 2], b: [p, q]}, y: [8, 9]}"),
        [
            "x=0,a=1,b=p,y=8",
            "x=0,a=1,b=p,y=9",
            "x=0,a=2,b=q,y=8",
            "x=0,a=2,b=q,y=9"
        ]
    );
    assert_eq!(
        rows("{a: [1, 2], b: [1, 2], exclude: [{a: 1, b: 1.0}, {a: 2, b: 2}]}"),
        ["a=1,b=2", "a=2,b=1"]
    );
    // The example of the GitHub Actions documentation, which fixes the rule.
    assert_eq!(
        rows(
            "{fruit: [apple, pear], animal: [cat, dog], include: [{color: green}, {color: pink, animal: cat}, {fruit: apple, shape: circle}, {fruit: banana}, {fruit: banana, animal: cat}]}"
        ),
        [
            "fruit=apple,animal=cat,color=pink,shape=circle",
            "fruit=apple,animal=dog,color=green,shape=circle",
            "fruit=pear,animal=cat,color=pink",
            "fruit=pear,animal=dog,color=green",
            "fruit=banana",
            "fruit=banana,animal=cat",
        ]
    );
    assert_eq!(rows("{include: [{a: 1}, {a: 2}]}"), ["a=1", "a=2"]);
}

#[test]
fn settings_override_in_order() {
    let text = r#"
version: 1
vars: {n: 1, opts: {size: 1, speed: 2}, tool: {saw: 1}, copy: "${vars.opts}", text: "n is ${vars.n}", list: [1, 2], paint: "${env.PAINT}"}
mirrors: ["https://a/${vars.n}"]
profiles:
  quick: {vars: {n: 2, opts: {speed: 3}, tool: {axe: 2}}, mirrors: ["/data/${vars.n}"]}
  more: {vars: {n: 3}}
stages:
  a: {uses: make, with: {free: ["${vars.n}", "${vars.copy}", "${vars.text}", "${vars.list[1]}", "${vars.tool}", "${vars.paint}", "$${vars.n}"]}}
"#;
    let free = |plan: &Plan| params(plan, "a")["free"].clone();
    let plain = project(text).plan();
    assert_eq!(
        free(&plain),
        json!([1, {"size": 1, "speed": 2}, "n is 1", 2, {"saw": 1}, "blue", "${vars.n}"])
    );
    assert_eq!(plain.mirrors, ["https://a/1"]);
    let quick = project(text).profile("quick").plan();
    assert_eq!(
        free(&quick),
        json!([2, {"size": 1, "speed": 3}, "n is 2", 2, {"axe": 2}, "blue", "${vars.n}"])
    );
    assert_eq!(quick.mirrors, ["/data/2"]);
    let both = project(text)
        .profile("quick")
        .profile("more")
        .set("vars.opts.size=7")
        .set("list[1]=[a, 3]")
        .set("stages.a.with.size=4")
        .plan();
    assert_eq!(
        free(&both),
        json!([3, {"size": 7, "speed": 3}, "n is 3", ["a", 3], {"axe": 2}, "blue", "${vars.n}"])
    );
    assert_eq!(params(&both, "a")["size"], 4);
    let tried = project(text).set("stages.a.retries=3").plan();
    assert_eq!(
        find(&tried, "a").policy.retries,
        3,
        "a field of the stage itself"
    );
}

#[test]
fn includes_add_their_stages() {
    let plan = project("version: 1\ninclude: [lib/more.yaml]\nvars: {x: 1}\ndefaults: {retries: 2}\nstages:\n  a: {uses: make, needs: {part: b.thing}}\n")
        .file("lib/more.yaml", "version: 1\ninclude: [deep.yaml]\nstages:\n  b: {uses: make, with: {size: \"${vars.x}\"}, needs: {part: {file: lib/deep.yaml}}}\n")
        .file("lib/deep.yaml", "version: 1\nvars: {y: 1}\n")
        .plan();
    assert_eq!(ids(&plan), ["b", "a"]);
    assert_eq!(plan.name, "pipeline");
    assert_eq!(
        plan.files
            .iter()
            .map(|f| f.display().to_string())
            .collect::<Vec<_>>(),
        ["pipeline.yaml", "lib/more.yaml", "lib/deep.yaml"]
    );
    assert_eq!(
        (
            find(&plan, "a").policy.retries,
            find(&plan, "b").policy.retries
        ),
        (2, 0)
    );
    let place = &find(&plan, "b").place;
    assert_eq!(
        (&*place.file, place.line, place.column),
        ("lib/more.yaml", 4, 3)
    );
}

#[test]
fn commands_and_policies() {
    let plan = project(
        r#"
version: 1
defaults: {timeout: 1h, resources: {cpus: 2}}
stages:
  a:
    run: |
      echo ${matrix.n} > ${outputs.x}
      cp -- ${needs.f} ${outputs.y}
    matrix: {n: [1, 2]}
    needs: {f: {file: "in ${matrix.n}.txt"}, d: {dir: dir}}
    outputs: {y: -y, x: "x${matrix.n}.txt"}
    env: {N: "${matrix.n}", F: "${needs.f}", E: "", B: true}
    tools: [sh, {program: cp, version: [cp, --help]}]
    resources: {memory: 1GiB, mutex: [b, a]}
    sandbox: off
  b: {run: "true", shell: bash, env: [PAINT], outputs: {o: o}, timeout: 5}
"#,
    )
    .file("in 1.txt", "")
    .file("in 2.txt", "")
    .file("dir/x", "")
    .plan();
    assert_eq!(
        script(&plan, "a[n=2]"),
        "echo 2 > x2.txt\ncp -- 'in 2.txt' ./-y\n"
    );
    assert_eq!(
        needs(&plan, "a[n=2]"),
        ["d <- dir @ dir", "f <- in 2.txt @ in 2.txt"]
    );
    let a = find(&plan, "a[n=2]");
    let Work::Command(command) = &a.work else {
        panic!()
    };
    assert_eq!(
        command
            .setup
            .env
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>(),
        ["B=true", "E=", "F=in 2.txt", "N=2"]
    );
    assert_eq!(
        command
            .setup
            .tools
            .iter()
            .map(|t| t.version_command.join(" "))
            .collect::<Vec<_>>(),
        ["cp --help", "sh --version"]
    );
    assert_eq!(*command.setup.shell, ["bash", "-euo", "pipefail", "-c"]);
    assert_eq!(
        (
            a.policy.cpus,
            a.policy.memory_bytes,
            a.policy.timeout_s,
            a.policy.sandbox
        ),
        (
            Some(2),
            Some(1 << 30),
            Some(3600.0),
            crate::plan::Sandbox::Off
        )
    );
    assert_eq!(
        a.outputs
            .iter()
            .map(|o| format!("{}:{}", o.name, o.path))
            .collect::<Vec<_>>(),
        ["x:x2.txt", "y:-y"]
    );
    let Work::Command(command) = &find(&plan, "b").work else {
        panic!()
    };
    assert_eq!(
        (
            command.setup.shell.join(" "),
            command.setup.env["PAINT"].as_str()
        ),
        ("bash -euo pipefail -c".to_owned(), "blue")
    );
}

#[test]
fn claims_come_last() {
    let plan = project(
        r#"
version: 1
claims:
  better: {source: "a paper", compare: {of: strength, a: new, b: "old[speed=1]", paired_by: seed}, expect: {difference: {above: 0}}}
  good: {measure: {of: strength, in: new.thing}, expect: {above: 0}}
stages:
  new: {uses: make, matrix: {seed: [1, 0]}}
  old: {uses: make, matrix: {seed: [0, 1], speed: [1, 2]}}
"#,
    )
    .plan();
    assert_eq!(ids(&plan)[6..], ["claim:better", "claim:good"]);
    assert_eq!(
        params(&plan, "claim:better"),
        json!({"compare": {"of": "strength", "paired_by": "seed"}, "expect": {"difference": {"above": 0}}})
    );
    assert_eq!(
        needs(&plan, "claim:better"),
        [
            "a (many) <- new[seed=0].metrics @ in/a/seed=0/metrics.csv | new[seed=1].metrics @ in/a/seed=1/metrics.csv",
            "b (many) <- old[seed=0,speed=1].metrics @ in/b/seed=0,speed=1/metrics.csv | old[seed=1,speed=1].metrics @ in/b/seed=1,speed=1/metrics.csv",
        ]
    );
    assert!(needs(&plan, "claim:good")[0].contains("new[seed=0].thing"));
    assert_eq!(
        plan.claims
            .iter()
            .map(|c| (
                &*c.name,
                c.source.as_deref(),
                &*plan.instance(c.looks[0].instance).outputs[0].name
            ))
            .collect::<Vec<_>>(),
        [
            ("better", Some("a paper"), "verdict"),
            ("good", None, "verdict")
        ]
    );
}

#[test]
fn a_program_is_described_once() {
    let calls = AtomicU32::new(0);
    let project = project(
        "version: 1\nstages:\n  a: {uses: ./tools/saw}\n  b: {uses: ./tools/saw, matrix: {n: [1, 2]}}\n",
    );
    let plan = project
        .load_with(&|path| {
            assert!(path.ends_with("tools/saw"));
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(kind("./tools/saw", vec![], &[("o", "o")]))
        })
        .unwrap();
    assert_eq!((plan.instances.len(), calls.into_inner()), (3, 1));
}

#[test]
fn whom_a_stage_waits_for_is_no_need() {
    let plan = project(
        r#"
version: 1
stages:
  base: {uses: make, matrix: {seed: [0, 1], speed: [1, 2]}}
  all: {uses: make, matrix: {seed: [0, 1]}, after: base}
  own: {uses: make, matrix: {seed: [0, 1]}, after: ["base[seed=${matrix.seed},speed=2]", all]}
  imp:
    rounds: {count: 2}
    stages:
      late: {uses: make, with: {size: "${round.index + 1}"}, after: early}
      early: {uses: make, with: {size: "${round.index + 1}"}}
  end: {uses: make, after: ["imp[round=last]", all]}
"#,
    )
    .plan();
    let after = |id: &str| -> Vec<&str> {
        let after = find(&plan, id).after.iter();
        after.map(|i| &*plan.instance(*i).id).collect()
    };
    let base = [
        "base[seed=0,speed=1]",
        "base[seed=0,speed=2]",
        "base[seed=1,speed=1]",
        "base[seed=1,speed=2]",
    ];
    assert_eq!(after("all[seed=1]"), base);
    let (one, other) = (find(&plan, "all[seed=0]"), find(&plan, "all[seed=1]"));
    assert!(Arc::ptr_eq(&one.after, &other.after), "it is held once");
    assert_eq!(
        after("own[seed=1]"),
        ["base[seed=1,speed=2]", "all[seed=0]", "all[seed=1]"]
    );
    assert_eq!(after("imp.late[round=1]"), ["imp.early[round=1]"]);
    assert_eq!(
        after("end"),
        [
            "all[seed=0]",
            "all[seed=1]",
            "imp.early[round=1]",
            "imp.late[round=1]"
        ]
    );
    assert!(plan.instances.iter().all(|i| i.needs.is_empty()));
}

#[test]
fn a_part_of_an_output_is_placed_under_its_own_name() {
    let plan = project(
        r#"
version: 1
stages:
  prep: {run: "mkdir ${outputs.out}", outputs: {out: out}, matrix: {x: [a/b, c]}}
  one: {run: "true", needs: {w: "prep[x=a/b].out/model/./best [1].bin"}}
  each: {run: "true", matrix: {f: [p.bin, q/r.bin]}, needs: {w: "prep[*]/${matrix.f}"}}
"#,
    )
    .plan();
    assert_eq!(
        needs(&plan, "one"),
        ["w <- prep[x=a/b].out @ in/w/best [1].bin"]
    );
    let inside = find(&plan, "one").needs[0].items[0]
        .inside
        .as_ref()
        .unwrap();
    assert_eq!(inside.path.as_str(), "model/best [1].bin");
    assert_eq!((inside.place.line, inside.place.column), (5, 33));
    assert!(needs(&plan, "each[f=p.bin]")[0].ends_with("/p.bin"));
    assert!(needs(&plan, "each[f=q/r.bin]")[0].ends_with("/r.bin"));
}

/// A claim that decides how many runs it needs has an instance for every look.
#[test]
fn looks_read_the_first_repetitions() {
    let plan = project(
        "version: 1
stages:
  a: {uses: make, matrix: {seed: [5, 3, 8, 1, 9, 7], size: [1, 2]}, with: {size: \"${matrix.size}\"}}
  b: {uses: make, matrix: {seed: [9, 8, 7, 6, 5, 3]}}
claims:
  x: {measure: {of: m, in: \"a[size=2,*]\"}, expect: {mean: {above: 0}}, until: decided, max_n: 5, looks: {first: 2, step: 2}}
  y: {compare: {of: m, a: \"a[size=1,*]\", b: b}, expect: {difference: {above: 0}}, n: 2}
",
    )
    .plan();
    let read = |id: &str| {
        let items = needs(&plan, id).join(" ");
        let seeds = items.split("seed=").skip(1);
        // Each is told twice: by its producer and by its place.
        let seeds: Vec<&str> = seeds.map(|s| &s[..1]).step_by(2).collect();
        seeds.join("")
    };
    assert_eq!(read("claim:x[n=2]"), "35", "in the order of the axis: 5, 3");
    assert_eq!(read("claim:x[n=4]"), "1358");
    assert_eq!(read("claim:x[n=5]"), "13589");
    // The first two that both sides have are 5 and 3.
    assert_eq!(read("claim:y"), "3535");
    let [x, y] = &plan.claims[..] else { panic!() };
    let looks = |claim: &crate::plan::Claim| claim.looks.iter().map(|l| l.n).collect::<Vec<_>>();
    assert_eq!(looks(x), [Some(2), Some(4), Some(5)]);
    assert_eq!(
        (looks(y), x.runs.len(), y.runs.len()),
        (vec![Some(2)], 6, 0)
    );
}

/// What is asked for at first, and after each look that leaves a claim open.
#[test]
fn a_plan_is_asked_for_look_by_look() {
    let plan = project(
        "version: 1
stages:
  data: {uses: make}
  pre: {uses: make, matrix: {seed: {range: [0, 8]}}, needs: {part: data.thing}}
  run: {uses: make, matrix: {seed: {range: [0, 8]}}, needs: {part: pre.thing}}
  per: {uses: make, matrix: {seed: {range: [0, 8]}}, needs: {part: run.thing}}
  all: {uses: join, needs: {parts: \"run[*].thing\"}}
  late: {uses: make, after: run}
  other: {uses: make, matrix: {seed: {range: [0, 8]}}}
claims:
  x: {measure: {of: m, in: run}, expect: {mean: {above: 0}}, until: decided, max_n: 6, looks: {first: 2, step: 2}}
  y: {measure: {of: m, in: run}, expect: {mean: {above: 0}}, n: 3}
  z: {measure: {of: m, in: \"run[seed=7]\"}, expect: {mean: {above: 0}}}
",
    )
    .plan();
    let graph = Graph::new(&plan);
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let of = |demand: &Demand, stage: &str| {
        let wanted = graph.wanted(&demand.targets(&plan, &graph));
        let all = plan.instances.iter().zip(wanted);
        let found = all.filter(|(i, wanted)| *wanted && *i.stage == *stage);
        let seeds = found.map(|(i, _)| {
            i.axes
                .first()
                .map_or(String::new(), |a| a.1.text.to_string())
        });
        seeds.collect::<Vec<_>>().join(" ")
    };
    let look = |id: &str| {
        let at = plan.instances.iter().position(|i| *i.id == *id).unwrap();
        InstanceIndex(at as u32)
    };
    let mut whole = Demand::of(&plan, &[]).unwrap();
    for stage in ["pre", "run", "per"] {
        // `y` needs 2, `z` needs 7; what is made of them comes along.
        assert_eq!(of(&whole, stage), "0 1 2 7", "{stage}");
    }
    assert_eq!(of(&whole, "other"), "0 1 2 3 4 5 6 7");
    assert_eq!(of(&whole, "claim:x"), "2");
    let count = |demand: &Demand, stage: &str| {
        let wanted = graph.wanted(&demand.targets(&plan, &graph));
        let all = plan.instances.iter().zip(wanted);
        all.filter(|(i, wanted)| *wanted && *i.stage == *stage)
            .count()
    };
    for stage in ["all", "late"] {
        assert_eq!(count(&whole, stage), 0, "{stage}");
    }
    assert_eq!(whole.awaited(&plan, look("claim:x[n=2]")), Some(0));
    assert_eq!(whole.awaited(&plan, look("claim:x[n=4]")), None);
    assert_eq!(whole.awaited(&plan, look("claim:y")), None);
    assert_eq!(whole.ask(&plan, 0), Some(4));
    assert_eq!(
        whole.awaited(&plan, look("claim:x[n=2]")),
        None,
        "it has its answer"
    );
    assert_eq!(
        (&*of(&whole, "run"), &*of(&whole, "claim:x")),
        ("0 1 2 3 7", "2 4")
    );
    assert_eq!((whole.ask(&plan, 0), whole.ask(&plan, 0)), (Some(6), None));
    assert_eq!(
        of(&whole, "per"),
        "0 1 2 3 4 5 7",
        "8 seeds are there, and at most 6 are asked for"
    );
    assert_eq!(count(&whole, "all"), 0);

    let mut claim = Demand::of(&plan, &names(&["x"])).unwrap();
    assert_eq!((&*of(&claim, "run"), &*of(&claim, "per")), ("0 1", ""));
    assert_eq!(claim.ask(&plan, 0), Some(4));
    assert_eq!(of(&claim, "run"), "0 1 2 3");
    let one = Demand::of(&plan, &names(&["claim:x[n=4]"])).unwrap();
    assert_eq!((&*of(&one, "run"), one.is_settled()), ("0 1 2 3", true));
    // Who names a stage means all of it.
    let stage = Demand::of(&plan, &names(&["all", "y"])).unwrap();
    assert_eq!(
        (&*of(&stage, "run"), stage.is_settled()),
        ("0 1 2 3 4 5 6 7", true)
    );
}

/// A list that is carried is the list one would write by hand: round k sees what `first` says and
/// what each of the k rounds before it added, in order, and nothing depends on the count.
#[test]
fn a_carried_list_grows_by_one_entry_a_round() {
    let rounds = |count: u32| {
        project(&format!(
            "version: 1
stages:
  start: {{uses: make, matrix: {{seed: [0, 1]}}}}
  grow:
    matrix: {{seed: [0, 1]}}
    rounds: {{count: {count}, first: {{seen: start.thing}}, carry: {{seen: [pick.thing], new: [pick.thing, pick.metrics]}}}}
    stages:
      pick: {{uses: make, with: {{size: \"${{round.index + 1}}\"}}}}
      fit: {{uses: join, needs: {{parts: \"${{round.seen}}\"}}}}
      mix: {{uses: gauge, needs: {{b: [\"${{round.new}}\", start.thing], only: \"${{round.new}}\"}}}}
  by-hand: {{uses: join, needs: {{parts: [\"start[seed=1].thing\", \"grow.pick[seed=1,round=0].thing\", \"grow.pick[seed=1,round=1].thing\"]}}}}
"
        ))
        .plan()
    };
    let plan = rounds(3);
    for seed in 0..2 {
        for k in 0..3 {
            let start = format!("0: start[seed={seed}].thing @ in/parts/0/thing.bin");
            let picked = (0..k).map(|j| {
                let at = j + 1;
                format!("{at}: grow.pick[seed={seed},round={j}].thing @ in/parts/{at}/thing.bin")
            });
            let all: Vec<String> = [start].into_iter().chain(picked).collect();
            assert_eq!(
                needs(&plan, &format!("grow.fit[seed={seed},round={k}]")),
                [format!("parts (many) <- {}", all.join(" | "))]
            );
        }
    }
    assert_eq!(
        needs(&plan, "grow.fit[seed=1,round=2]"),
        needs(&plan, "by-hand")
    );
    // In a list of its own the others move on; without `first` it is absent in round 0.
    assert_eq!(
        needs(&plan, "grow.mix[seed=0,round=0]"),
        ["b (many) <- 0: start[seed=0].thing @ in/b/0/thing.bin"]
    );
    let mixed = needs(&plan, "grow.mix[seed=0,round=2]");
    let sources = |text: &str| -> Vec<String> {
        let (_, items) = text.split_once("<- ").unwrap();
        items
            .split(" | ")
            .map(|item| item.split(" @").next().unwrap().to_owned())
            .collect()
    };
    let of = |n: usize, j: u32, output: &str| format!("{n}: grow.pick[seed=0,round={j}].{output}");
    let only = [
        of(0, 0, "thing"),
        of(1, 0, "metrics"),
        of(2, 1, "thing"),
        of(3, 1, "metrics"),
    ];
    assert_eq!(sources(&mixed[1]), only);
    let with_start = only
        .iter()
        .cloned()
        .chain(["4: start[seed=0].thing".to_owned()]);
    assert_eq!(sources(&mixed[0]), with_start.collect::<Vec<_>>());
    let more = rounds(5);
    for instance in &plan.instances {
        assert_eq!(needs(&plan, &instance.id), needs(&more, &instance.id));
    }
}

#[test]
fn carried_lists_that_mean_nothing_are_refused() {
    let says = |rounds: &str, need: &str, wanted: &str| {
        let said = project(&format!(
            "version: 1
stages:
  start: {{uses: make}}
  grow:
    rounds: {{count: 2, {rounds}}}
    stages:
      pick: {{uses: make}}
      fit: {{uses: join, needs: {{parts: {need}}}}}
"
        ))
        .errors();
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(said.contains(wanted), "{said}");
    };
    let whole = "\"${round.seen}\"";
    says("carry: {seen: []}", whole, "no round adds anything");
    says(
        "first: {seen: [start.thing]}, carry: {seen: pick.thing}",
        whole,
        "`seen` is a list in round 0, and one artifact after it",
    );
    says(
        "first: {seen: start.thing}, carry: {seen: [[pick.thing]]}",
        whole,
        "expected a reference, found a list",
    );
    says(
        "first: {seen: start.thing}, carry: {seen: [pikc.thing]}",
        whole,
        "there is no stage `pikc`",
    );
    says(
        "first: {seen: start.thing}, carry: {seen: [pick.thing]}",
        "{a: start.thing, b: \"${round.seen}\"}",
        "this binding is a list, and a group is one input",
    );
    let said = project(
        "version: 1
stages:
  start: {uses: make}
  grow:
    rounds: {count: 2, first: {seen: start.thing}, carry: {seen: [pick.thing]}}
    stages:
      pick: {uses: make, needs: {part: \"${round.seen}\"}}
",
    )
    .errors();
    assert!(said.contains("takes one artifact, not several"), "{said}");
}
