//! Processors and GPUs are assigned.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::processes::space;

#[test]
fn case_24_cpus_bound_the_threads_of_libraries() {
    let space = space(
        r#"
  two: {run: "env > ${outputs.o}; nproc --all >/dev/null; nproc > ${outputs.n}", outputs: {o: o, n: n}, resources: {cpus: 1}, env: {MKL_NUM_THREADS: "9"}}
  any: {run: "env > ${outputs.o}", outputs: {o: o}}
"#,
    );
    space.ok(&["run"]);
    let env = space.read("artifacts/two/o");
    for name in [
        "OMP_NUM_THREADS=1",
        "OPENBLAS_NUM_THREADS=1",
        "NUMEXPR_NUM_THREADS=1",
        "VECLIB_MAXIMUM_THREADS=1",
        "RAYON_NUM_THREADS=1",
        // The stage's own word counts.
        "MKL_NUM_THREADS=9",
    ] {
        assert!(env.lines().any(|l| l == name), "{name}: {env}");
    }
    // Who declares nothing is told nothing.
    let env = space.read("artifacts/any/o");
    assert!(!env.contains("NUM_THREADS"), "{env}");
}

/// Two stages that run at once see different GPUs, of those that this process may see.
#[test]
fn case_24_gpus_are_assigned() {
    let mut space = space(
        r#"
  train:
    matrix: {n: [1, 2]}
    run: "echo $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES > ${outputs.o}; sleep 1; : ${matrix.n}"
    outputs: {o: o}
    resources: {gpus: 1}
  plain: {run: "echo =$CUDA_VISIBLE_DEVICES= > ${outputs.o}", outputs: {o: o}}
"#,
    );
    space.set_env("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b");
    space.ok(&["run", "-j3"]);
    let mut seen = [1, 2].map(|n| space.read(&format!("artifacts/train/n={n}/o")));
    seen.sort();
    assert_eq!(seen, ["GPU-a GPU-a\n", "GPU-b GPU-b\n"]);
    assert_eq!(space.read("artifacts/plain/o"), "==\n");
}

/// Where there is no GPU, a stage that asks for one is warned of once, before it begins.
#[test]
fn a_stage_without_its_gpu_is_warned_of_once() {
    let mut space = space(
        r#"
  train:
    matrix: {n: [1, 2]}
    run: "echo ${matrix.n} > ${outputs.o}"
    outputs: {o: o}
    resources: {gpus: 1}
  plain: {run: "echo > ${outputs.o}", outputs: {o: o}}
"#,
    );
    space.set_env("CUDA_VISIBLE_DEVICES", "");
    let said = space.run(&["run"]).expect(0, &["run"]);
    for words in [
        "it asks for a GPU, and this machine shows none",
        "remove `gpus` from the stage",
    ] {
        assert_eq!(said.err.matches(words).count(), 1, "{}", said.err);
    }
    assert_eq!(space.read("artifacts/train/n=2/o"), "2\n");
}

/// Stages that say so share a GPU: each waits here until the other has begun.
#[test]
fn shares_of_a_gpu_are_given_at_once() {
    let mut space = space(
        r#"
  half:
    matrix: {n: [1, 2]}
    run: "touch $GATE/half-${matrix.n}; while [ ! -e $GATE/half-1 ] || [ ! -e $GATE/half-2 ]; do sleep .05; done; echo $CUDA_VISIBLE_DEVICES > ${outputs.o}"
    outputs: {o: o}
    resources: {gpus: 0.5}
    timeout: 120s
    env: {GATE: "HERE"}
    sandbox: off
  many: {run: "echo $CUDA_VISIBLE_DEVICES > ${outputs.o}", outputs: {o: o}, resources: {gpus: 3}}
"#,
    );
    let here = space.path("").to_str().unwrap().to_owned();
    space.edit("pipeline.yaml", "HERE", &here);
    let name = format!("GPU-s-{}", std::process::id());
    space.set_env("CUDA_VISIBLE_DEVICES", &name);
    let said = space.run(&["run", "-j2"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for n in [1, 2] {
        assert_eq!(
            space.read(&format!("artifacts/half/n={n}/o")),
            format!("{name}\n")
        );
    }
    // Who asks for more than there is gets all there is, and the run says so.
    assert_eq!(space.read("artifacts/many/o"), format!("{name}\n"));
    assert!(said.err.contains("3 GPUs"), "{}", said.err);
}

/// Two runs of one machine agree too: the second one waits, and goes on when the first one dies.
#[test]
fn case_24_runs_share_no_gpu() {
    let stages = r#"
  train:
    run: "echo $CUDA_VISIBLE_DEVICES > ${outputs.o}; touch $GATE/started; while [ ! -e $GATE/go ]; do sleep .05; done"
    outputs: {o: o}
    resources: {gpus: 1}
    env: {GATE: "HERE"}
    sandbox: off
"#;
    let begin = |gpus: &str| {
        let mut space = space(stages);
        let here = space.path("").to_str().unwrap().to_owned();
        space.edit("pipeline.yaml", "HERE", &here);
        space.set_env("CUDA_VISIBLE_DEVICES", gpus);
        space
    };
    // Nobody else's, also where this test runs twice at once.
    let name = |letter: &str| format!("GPU-{letter}-{}", std::process::id());
    let both = format!("{},{}", name("a"), name("b"));
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let space = begin(&both);
            let child = space.command(&["run"]).spawn().unwrap();
            space.wait_for("started");
            (space, child)
        })
        .collect();
    let third = begin(&both);
    let mut waiting = third.command(&["run"]);
    let mut waiting = waiting.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let is_told = |line: std::io::Result<String>| line.unwrap().contains("waiting for GPUs");
    assert!(told.any(is_told));
    assert!(!third.exists("started"));
    // The first one is killed, and its GPU is free.
    let mut runs = runs.into_iter();
    let (first, mut child) = runs.next().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    third.wait_for("started");
    let (second, mut child) = runs.next().unwrap();
    for space in [&second, &third] {
        space.write("go", "");
    }
    assert!(child.wait().unwrap().success());
    told.for_each(drop);
    assert!(waiting.wait().unwrap().success());
    let mut seen = [&second, &third].map(|s| s.read("artifacts/train/o"));
    seen.sort();
    assert_eq!(seen, ["a", "b"].map(|l| format!("{}\n", name(l))));
    drop(first);
}

/// A run in a stage has the GPUs of the stage, and does not wait for it to give them back.
#[test]
fn case_24_a_run_in_a_stage_has_its_gpus() {
    let mut space = space(
        r#"
  outer:
    run: "env > ${outputs.o}; cd $INNER && $REPRO run"
    outputs: {o: o}
    resources: {gpus: 1}
    env: {INNER: "HERE", REPRO: "PROGRAM"}
    sandbox: off
"#,
    );
    space.write(
        "inner/pipeline.yaml",
        r#"
version: 1
name: inner
stages:
  train: {run: "echo $CUDA_VISIBLE_DEVICES > ${outputs.o}", outputs: {o: o}, resources: {gpus: 1}}
"#,
    );
    let inner = space.path("inner").to_str().unwrap().to_owned();
    space.edit("pipeline.yaml", "HERE", &inner);
    space.edit("pipeline.yaml", "PROGRAM", env!("CARGO_BIN_EXE_repro"));
    let name = format!("GPU-n-{}", std::process::id());
    space.set_env("CUDA_VISIBLE_DEVICES", &name);
    space.ok(&["run"]);
    assert_eq!(space.read("inner/artifacts/train/o"), format!("{name}\n"));
}
