//! The default study gives the same bytes whatever runs it: any number of cores and threads, any
//! vector instructions, any directory, interrupted or not, resumed or not, and on every machine the
//! bytes written down in `repro.lock` and in `tests/fixtures/`.
//!
//! What is compared are lock files, which name the key of every instance and the digest of every
//! artifact. After a wanted change of bytes (a revision was raised) or of the study, `REPRO_BLESS=1
//! cargo test --test studies study` writes them anew. The code without vector instructions is some
//! forty times slower, so it runs a study that is smaller but has all the same stages.

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::support::skipped::skipped;
use crate::support::{TestSpace, events_to_the_end, instances};
use repro_engine::record::lockfile::LockFile;
use serde_json::Value;

/// Six hundred images and three seeds: seconds, also without vector instructions.
const SMALLER: [&str; 10] = [
    "--set",
    "seeds=[0, 1, 2]",
    "--set",
    "stages.data.with.shapes={train: 400, test: 200}",
    "--set",
    "epochs_before=3",
    "--set",
    "epochs=3",
    "--set",
    "epochs_after=1",
];

/// The smaller study with a convolutional network that has every layer there is.
const CONVOLUTIONAL: [&str; 6] = [
    "--set",
    "seeds=[0, 1]",
    "--set",
    "stages.data.with.shapes={train: 100, test: 50}",
    "--set",
    "model={conv: {layers: [{conv: {channels: 6}}, {batch_norm: {}}, {activation: relu}, {pool: {max: 2}}, {dropout: 0.2}, \
     {conv: {channels: 8, stride: 2, padding: {pixels: 1}}}, {activation: tanh}, {pool: {average: 2}}, {dense: 20}, {activation: sigmoid}]}}",
];

/// Runs take both cores each, so one test at a time; a test that failed does not stop the others.
fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn pipeline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml")
}

/// The default study in a fresh project on a fresh store.
fn study() -> TestSpace {
    let space = TestSpace::new();
    space.write("pipeline.yaml", std::fs::read(pipeline()).unwrap());
    space
}

/// Runs `repro run` to its end, however long that takes, in `dir`, and gives its events.
#[track_caller]
fn run_in(space: &TestSpace, dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Vec<Value> {
    let mut command = space.command(&["run", "--json"]);
    events_to_the_end(
        command
            .args(args)
            .current_dir(dir)
            .envs(env.iter().copied()),
    )
}

#[track_caller]
fn run(space: &TestSpace, env: &[(&str, &str)], args: &[&str]) -> Vec<Value> {
    run_in(space, &space.project, env, args)
}

#[track_caller]
fn lock_of(dir: &Path) -> LockFile {
    let lock = LockFile::read(&dir.join("repro.lock")).unwrap();
    assert!(!lock.blocks.is_empty(), "{}", dir.display());
    lock
}

/// Both name the same instances, keys and bytes.
#[track_caller]
fn expect_same(found: &LockFile, wanted: &LockFile, what: &str) {
    let names = |lock: &LockFile| lock.blocks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}: instances");
    let different: Vec<_> = found
        .blocks
        .iter()
        .filter(|(id, block)| wanted.blocks[*id] != **block)
        .collect();
    // Most instances follow from others, so one difference makes many; the cause is among those
    // whose keys still agree.
    let causes: Vec<_> = different
        .iter()
        .filter(|(id, block)| wanted.blocks[*id].key == block.key)
        .map(|(id, _)| id)
        .collect();
    assert!(
        different.is_empty(),
        "{what}: {} of {} instances differ; with the same key: {causes:?}",
        different.len(),
        found.blocks.len()
    );
    assert_eq!(found, wanted, "{what}");
}

/// The project's lock file agrees with the one kept in git, or replaces it where `REPRO_BLESS=1` says so.
#[track_caller]
fn expect_golden(project: &Path, golden: &Path) {
    if std::env::var_os("REPRO_BLESS").is_some_and(|v| v == "1") {
        std::fs::copy(project.join("repro.lock"), golden).unwrap();
        return;
    }
    let what = format!(
        "{} (if a change of bytes is wanted: REPRO_BLESS=1 cargo test --test studies study)",
        golden.display()
    );
    let wanted = LockFile::read(golden).unwrap();
    expect_same(&lock_of(project), &wanted, &what);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The whole default study as this machine runs it by itself, once for all tests.
fn whole() -> &'static (TestSpace, LockFile) {
    static WHOLE: OnceLock<(TestSpace, LockFile)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let space = study();
        let events = run(&space, &[], &["-j", "2"]);
        let summary = events.last().unwrap();
        assert_eq!(summary["failed"], 0, "{summary}");
        assert_eq!(summary["cached"], 0, "{summary}");
        let lock = lock_of(&space.project);
        (space, lock)
    })
}

fn has(instructions: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    return match instructions {
        "avx512" => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
        }
        "avx2" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        _ => true,
    };
    #[cfg(not(target_arch = "x86_64"))]
    return instructions == "plain";
}

/// The paths of this processor; says which are left out.
fn paths(all: &[&'static str]) -> Vec<&'static str> {
    let (have, lack): (Vec<_>, Vec<_>) = all.iter().partition(|name| has(name));
    for name in lack {
        skipped(format_args!("in part: this processor has no {name}"));
    }
    have
}

#[test]
fn gives_what_is_written_down_and_then_executes_nothing() {
    let _turn = one_at_a_time();
    let (space, _) = whole();
    expect_golden(
        &space.project,
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("repro.lock"),
    );
    let written = space.read("repro.lock");
    let events = run(space, &[], &[]);
    assert_eq!(instances(&events, "started"), Vec::<String>::new());
    assert_eq!(events.last().unwrap()["executed"], 0);
    assert_eq!(space.read("repro.lock"), written);
}

/// One core, another directory, AVX2.
#[test]
fn the_same_on_one_core_elsewhere_with_avx2() {
    let _turn = one_at_a_time();
    let space = TestSpace::new();
    let elsewhere = space.other_project("a deeper/plâce with spaces/and a 'quote'");
    std::fs::copy(pipeline(), elsewhere.join("pipeline.yaml")).unwrap();
    let env: Vec<_> = paths(&["avx2"])
        .into_iter()
        .map(|name| ("REPRO_SIMD", name))
        .collect();
    run_in(&space, &elsewhere, &env, &["-j", "1"]);
    expect_same(&lock_of(&elsewhere), &whole().1, "-j1, avx2");
}

/// Two threads in every training, AVX-512.
#[test]
fn the_same_with_two_threads_each_and_avx512() {
    let _turn = one_at_a_time();
    let space = study();
    let env: Vec<_> = paths(&["avx512"])
        .into_iter()
        .map(|name| ("REPRO_SIMD", name))
        .collect();
    let trainings = [
        "pretrain",
        "scratch",
        "warm",
        "shrink-perturb",
        "fine-tune",
        "branch",
    ];
    let sets: Vec<String> = trainings
        .iter()
        .map(|stage| format!("stages.{stage}.resources.cpus=2"))
        .collect();
    let args: Vec<&str> = ["-j", "2"]
        .into_iter()
        .chain(sets.iter().flat_map(|set| ["--set", set]))
        .collect();
    run(&space, &env, &args);
    expect_same(&lock_of(&space.project), &whole().1, "two threads, avx512");
}

/// The smaller study and the one with convolutions, on every path and with one and two threads; on
/// other machines too, because the digests are written down.
#[test]
fn smaller_studies_are_the_same_on_every_path() {
    let _turn = one_at_a_time();
    for (name, sets) in [
        ("study-small.lock", &SMALLER[..]),
        ("study-conv.lock", &[&SMALLER[..], &CONVOLUTIONAL].concat()),
    ] {
        for path in paths(&["avx512", "avx2", "plain"]) {
            let space = study();
            run(
                &space,
                &[("REPRO_SIMD", path)],
                &[&["-j", "2"], sets].concat(),
            );
            expect_golden(&space.project, &fixture(name));
            println!("{name}: {path}");
        }
        let space = study();
        let threads = [
            "--set",
            "stages.scratch.resources.cpus=2",
            "--set",
            "stages.branch.resources.cpus=2",
        ];
        run(&space, &[], &[&["-j", "2"], &threads[..], sets].concat());
        expect_golden(&space.project, &fixture(name));
    }
}

/// More epochs at a constant rate go on from what is kept of the shorter training, and end in the
/// same bits as if they had not.
#[test]
fn longer_trainings_go_on_from_shorter_ones() {
    let _turn = one_at_a_time();
    let target = ["scratch", "--set", "seeds=[0]", "--set", "epochs=5"];
    let fresh = study();
    run(&fresh, &[], &target);
    let (wanted, shorter) = (lock_of(&fresh.project), study());
    run(
        &shorter,
        &[],
        &["scratch", "--set", "seeds=[0]", "--set", "epochs=3"],
    );
    let events = run(&shorter, &[], &target);
    assert_eq!(instances(&events, "finished"), ["scratch[seed=0]"]);
    let said: Vec<&str> = events.iter().filter_map(|e| e["text"].as_str()).collect();
    assert!(said.contains(&"resuming from epoch 3"), "{said:?}");
    let finished = events.iter().find(|e| e["event"] == "finished").unwrap();
    assert_eq!(
        finished["figures"]["images"],
        2.0 * 6000.0,
        "two epochs of five were trained"
    );
    expect_same(&lock_of(&shorter.project), &wanted, "resumed");

    // A schedule that spans the whole length forbids it.
    let cosine = ["--set", "stages.scratch.with.schedule={cosine: {}}"];
    run(
        &shorter,
        &[],
        &[
            &["scratch", "--set", "seeds=[0]", "--set", "epochs=3"],
            &cosine[..],
        ]
        .concat(),
    );
    let events = run(&shorter, &[], &[&target[..], &cosine].concat());
    let finished = events.iter().find(|e| e["event"] == "finished").unwrap();
    assert_eq!(finished["figures"]["images"], 5.0 * 6000.0, "{finished}");
}

/// `kill -9`, of the program or of all it runs, at random moments; then a plain run needs nothing
/// but to be started.
#[test]
fn killed_at_random_moments_it_ends_in_the_same_bytes() {
    let _turn = one_at_a_time();
    let space = study();
    let mut random = std::hash::RandomState::new().build_hasher();
    for round in 0..6 {
        random.write_u32(round);
        let after = Duration::from_millis(200 + random.finish() % 3000);
        let worker_too = random.finish() & (1 << 40) != 0;
        println!(
            "round {round}: killed after {after:?}, {}",
            if worker_too {
                "a worker first"
            } else {
                "the program alone"
            }
        );
        let mut child = space.start(&["run", "-j", "2"]);
        std::thread::sleep(after);
        if worker_too {
            kill_a_worker_of(child.id());
            std::thread::sleep(Duration::from_millis(random.finish() % 50));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run(&space, &[], &["-j", "2"]);
    expect_same(&lock_of(&space.project), &whole().1, "after kills");
    let fsck = repro_engine::store::Store::open(&space.store)
        .unwrap()
        .fsck(false)
        .unwrap();
    assert!(fsck.findings.is_empty(), "{:#?}", fsck.findings);
}

/// Kills one process that works for this one, if there is any at the moment.
fn kill_a_worker_of(program: u32) {
    let mine = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent: u32 = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()?;
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (parent == program && args.split(|b| *b == 0).any(|a| a == b"worker")).then_some(pid)
    };
    let all = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok());
    if let Some(worker) = all.filter_map(mine).next() {
        // SAFETY: a system call on plain values; the number is that of a child of our child.
        unsafe { libc::kill(worker as i32, libc::SIGKILL) };
    }
}
