//! What executes when something happens: the table of the design, on `in.txt → a → a.txt → b →
//! b.txt`.
//!
//! Every test counts what ran by the events *and* the summary of `run --json`, and looks at the
//! outputs afterwards: a run that executes the right stages and shows the wrong bytes fails as
//! well.

mod disturbed;
mod undeclared;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::TestSpace;
use crate::support::observed::Ran;
use crate::support::processes::kill_dead;

/// `a` leaves out comments, `b` writes capitals.
const TWO_STAGES: &str = r#"
version: 1
stages:
  a:
    run: "grep -v '^#' ${needs.text} > ${outputs.out}"
    needs: {text: {file: in.txt}}
    outputs: {out: a.txt}
  b:
    run: "tr a-z A-Z < ${needs.text} > ${outputs.out}"
    needs: {text: a.out}
    outputs: {out: b.txt}
"#;

fn two_stages() -> TestSpace {
    let space = TestSpace::with_pipeline(TWO_STAGES);
    space.write("in.txt", "# one\nhello\n");
    space
}

/// Two stages that have run once.
fn done() -> TestSpace {
    let space = two_stages();
    space.ran(&[]).executes(&["a", "b"]);
    shows(&space, "hello\n", "HELLO\n");
    space
}

#[track_caller]
fn shows(space: &TestSpace, a: &str, b: &str) {
    assert_eq!(space.read("artifacts/a/a.txt"), a);
    assert_eq!(space.read("artifacts/b/b.txt"), b);
}

fn beside(space: &TestSpace, name: &str) -> PathBuf {
    space.project.parent().expect("a parent").join(name)
}

fn wait_for(path: &Path) {
    let started = std::time::Instant::now();
    while !path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} never appeared",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_first_run_executes_both_and_a_second_nothing() {
    let space = done();
    let lock = space.read("repro.lock");
    let again = space.ran(&[]);
    again.executes(&[]);
    assert_eq!(again.count("cached"), 2);
    assert!(
        again.events.iter().all(|e| e["restored"] != true),
        "nothing was amiss: {again:#?}"
    );
    assert_eq!(
        space.read("repro.lock"),
        lock,
        "a run that does nothing changes no file"
    );
}

#[test]
fn a_touched_input_executes_nothing() {
    let space = done();
    let file = fs::File::options()
        .append(true)
        .open(space.path("in.txt"))
        .expect("the input");
    file.set_modified(SystemTime::now() + Duration::from_secs(3))
        .expect("a new time");
    space.ran(&[]).executes(&[]);
    // Rewritten with the same bytes, as an editor or `git checkout` does: another inode.
    space.remove("in.txt").write("in.txt", "# one\nhello\n");
    space.ran(&[]).executes(&[]);
}

#[test]
fn a_changed_input_executes_both() {
    let space = done();
    space.write("in.txt", "# one\nworld\n");
    space.ran(&[]).executes(&["a", "b"]);
    shows(&space, "world\n", "WORLD\n");
}

#[test]
fn an_input_changed_with_size_and_time_kept_is_seen() {
    let space = done();
    let before = fs::metadata(space.path("in.txt")).expect("the input");
    space.write("in.txt", "# one\nworld\n");
    let file = fs::File::options()
        .append(true)
        .open(space.path("in.txt"))
        .expect("the input");
    file.set_modified(before.modified().expect("a time"))
        .expect("the old time");
    let after = fs::metadata(space.path("in.txt")).expect("the input");
    assert_eq!(
        (before.len(), before.mtime(), before.mtime_nsec()),
        (after.len(), after.mtime(), after.mtime_nsec())
    );
    space.ran(&[]).executes(&["a", "b"]);
    shows(&space, "world\n", "WORLD\n");
}

#[test]
fn an_unchanged_intermediate_result_stops_the_change() {
    let space = done();
    space.write("in.txt", "# two\nhello\n");
    let ran = space.ran(&[]);
    ran.executes(&["a"]);
    assert_eq!(ran.all("cached"), ["b"], "early cutoff");
    space.ran(&[]).executes(&[]);
}

#[test]
fn a_changed_command_executes_its_stage() {
    let space = done();
    // The same bytes another way: b need not run.
    space.edit("pipeline.yaml", "grep -v '^#' ", "sed '/^#/d' ");
    let ran = space.ran(&[]);
    ran.executes(&["a"]);
    assert!(
        ran.event("started", "a")["reason"]["changed"].is_array(),
        "{ran:#?}"
    );
    // Other bytes: b runs as well.
    space.edit("pipeline.yaml", "sed '/^#/d' ", "cat ");
    space.ran(&[]).executes(&["a", "b"]);
    shows(&space, "# one\nhello\n", "# ONE\nHELLO\n");
    // The last stage alone.
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-z _");
    space.ran(&[]).executes(&["b"]);
}

#[test]
fn what_was_there_before_is_found_again() {
    let space = done();
    space.write("in.txt", "# one\nworld\n");
    space.ran(&[]).executes(&["a", "b"]);
    space.write("in.txt", "# one\nhello\n");
    let ran = space.ran(&[]);
    ran.executes(&[]);
    assert_eq!(ran.event("cached", "a")["restored"], true);
    shows(&space, "hello\n", "HELLO\n");
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-z _");
    space.ran(&[]).executes(&["b"]);
    space.edit("pipeline.yaml", "tr a-z _", "tr a-z A-Z");
    space.ran(&[]).executes(&[]);
    shows(&space, "hello\n", "HELLO\n");
}

#[test]
fn names_and_looks_of_the_file_execute_nothing() {
    let space = done();
    let reformatted = r#"# a comment
version: 1
name: another name
stages:

  last:
    description: capitals
    outputs:
      out: b.txt
    needs:
      text: first.out   # renamed
    run: 'tr a-z A-Z < ${needs.text} > ${outputs.out}'
  "first": {outputs: {out: a.txt}, needs: {text: {file: ./in.txt}}, timeout: 1h, retries: 3, resources: {cpus: 2, memory: 1GB},
            run: "grep -v '^#' ${needs.text} > ${outputs.out}"}
"#;
    space.write("pipeline.yaml", reformatted);
    let ran = space.ran(&[]);
    ran.executes(&[]);
    assert_eq!(space.read("artifacts/last/b.txt"), "HELLO\n");
    let lock = space.read("repro.lock");
    assert!(
        lock.contains("last") && !lock.contains("[a"),
        "blocks of stages that are gone go: {lock}"
    );
}

/// The object in the store that holds these bytes.
fn object_with(space: &TestSpace, bytes: &[u8]) -> PathBuf {
    let mut found = space
        .store_files("objects")
        .into_iter()
        .filter(|p| fs::read(p).is_ok_and(|b| b == bytes));
    found.next().expect("an object with these bytes")
}

fn damage(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(path, bytes).expect("damage");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("a mode");
}

#[test]
fn a_corrupt_object_is_never_used_and_always_reported() {
    for keep_looks in [false, true] {
        for wanted in ["hello\n", "HELLO\n"] {
            let space = done();
            let object = object_with(&space, wanted.as_bytes());
            let time = fs::metadata(&object)
                .expect("the object")
                .modified()
                .expect("a time");
            // Of one size with the real ones; a flipped bit on the disk looks like that.
            damage(&object, if keep_looks { b"w\0rld\n" } else { b"x\n" });
            if keep_looks {
                let file = fs::File::open(&object).expect("the object");
                file.set_modified(time).expect("the old time");
            }
            // What is shown must come from the store again.
            space.remove("artifacts");
            let ran = space.ran(&[]);
            assert_eq!(ran.code, 0, "{ran:#?}");
            shows(&space, "hello\n", "HELLO\n");
            assert!(
                ran.talk().contains("corrupt") || ran.talk().contains("damaged"),
                "not reported: {ran:#?}"
            );
            assert_eq!(
                fs::read(object_with(&space, wanted.as_bytes())).expect("repaired"),
                wanted.as_bytes()
            );
            let damaged = if wanted == "hello\n" { "a" } else { "b" };
            assert!(
                ran.all("started").iter().all(|i| i == damaged),
                "only what was lost: {ran:#?}"
            );
            space.ran(&[]).executes(&[]);
        }
    }
}

#[test]
fn a_corrupt_object_does_not_reach_a_consumer() {
    let space = done();
    // The artifact is in place, so a itself needs nothing; but b must run, and reads the object.
    damage(&object_with(&space, b"hello\n"), b"w\0rld\n");
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-z _");
    let ran = space.ran(&[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    shows(&space, "hello\n", "_____\n");
    assert!(ran.talk().contains("corrupt"), "not reported: {ran:#?}");
}

#[test]
fn lost_and_overwritten_outputs_are_restored() {
    let space = done();
    for (path, stage) in [("artifacts/a/a.txt", "a"), ("artifacts/b/b.txt", "b")] {
        space.remove(path);
        let ran = space.ran(&[]);
        ran.executes(&[]);
        assert_eq!(ran.event("cached", stage)["restored"], true);
        shows(&space, "hello\n", "HELLO\n");

        space.remove(path).write(path, "mine\n");
        let ran = space.ran(&[]);
        ran.executes(&[]);
        assert_eq!(ran.event("cached", stage)["restored"], true);
        shows(&space, "hello\n", "HELLO\n");

        // Written through the name, as a careless script would: this must not reach the store.
        fs::write(space.path(path), "mine too\n")
            .unwrap_or_else(|e| panic!("an artifact is a plain file of the user's: {e}"));
        space.ran(&[]).executes(&[]);
        shows(&space, "hello\n", "HELLO\n");

        // Something else in its place.
        space.remove(path).write(&format!("{path}/inner"), "x");
        space.ran(&[]).executes(&[]);
        shows(&space, "hello\n", "HELLO\n");
    }
    space.remove("artifacts");
    space.ran(&[]).executes(&[]);
    shows(&space, "hello\n", "HELLO\n");
    // A file in the place of the directory.
    space.remove("artifacts/a").write("artifacts/a", "mine\n");
    space.ran(&[]).executes(&[]);
    shows(&space, "hello\n", "HELLO\n");
}

#[test]
fn an_overwritten_intermediate_output_does_not_reach_a_consumer() {
    let space = done();
    space
        .remove("artifacts/a/a.txt")
        .write("artifacts/a/a.txt", "mine\n");
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-z _");
    space.ran(&[]).executes(&["b"]);
    shows(&space, "hello\n", "_____\n");
}

#[test]
fn a_declared_value_of_the_environment_is_an_input() {
    let space = two_stages();
    space.edit(
        "pipeline.yaml",
        "    run: \"tr a-z A-Z <",
        "    env: {CASE: \"${env.CASE}\", OTHER: x}\n    run: \"tr a-z $CASE <",
    );
    let with = |case: &str, noise: &str| {
        let mut command = space.command(&["run", "--json"]);
        command.env("CASE", case).env("NOISE", noise);
        space.ran_command(command)
    };
    with("A-Z", "1").executes(&["a", "b"]);
    shows(&space, "hello\n", "HELLO\n");
    with("A-Z", "2").executes(&[]);
    with("_", "2").executes(&["b"]);
    shows(&space, "hello\n", "_____\n");
    with("A-Z", "3").executes(&[]);
    shows(&space, "hello\n", "HELLO\n");
}

#[test]
fn a_dry_run_says_what_would_execute_and_does_nothing() {
    let space = two_stages();
    let plan = |space: &TestSpace| {
        let ran = space.ran(&["-n"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.all("started").is_empty());
        ran.all("planned")
    };
    assert_eq!(plan(&space), ["a", "b"]);
    assert!(
        !space.exists("artifacts") && !space.exists("repro.lock"),
        "nothing is written"
    );
    space.ran(&[]).executes(&["a", "b"]);
    assert!(plan(&space).is_empty());
    space.edit("pipeline.yaml", "tr a-z A-Z", "tr a-z _");
    assert_eq!(plan(&space), ["b"]);
}

#[test]
fn force_executes_the_target_and_compares() {
    let space = done();
    let ran = space.ran(&["-f", "a"]);
    ran.executes(&["a"]);
    assert!(!ran.talk().contains("deterministic"), "{ran:#?}");
    // A stage that is not deterministic is found out.
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'date +%s%N > ${outputs.out}', outputs: {out: a.txt}}\n",
    );
    space.ran(&[]).executes(&["a"]);
    let first = space.read("artifacts/a/a.txt");
    let ran = space.ran(&["-f"]);
    ran.executes(&["a"]);
    assert!(ran.talk().contains("not deterministic"), "{ran:#?}");
    assert_ne!(space.read("artifacts/a/a.txt"), first);
}

/// The harness's own check: a run in a shell sees the same program.
#[test]
fn the_pipeline_is_found_from_below() {
    let space = done();
    fs::create_dir_all(space.path("deep/er")).expect("directories");
    space.ran_in(&space.path("deep/er"), &[]).executes(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_repro"));
    command
        .args(["run", "--json", "-C"])
        .arg(space.path("pipeline.yaml"))
        .current_dir("/")
        .env("REPRO_STORE", &space.store);
    space.ran_command(command).executes(&[]);
}

/// Every execution of a worker gets a scratch directory; they used to pile up, one per action.
#[test]
fn a_finished_worker_leaves_no_scratch() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  data: {uses: download, with: {dataset: shapes, shapes: {train: 20, test: 10}}}\n",
    );
    space.ran(&[]).executes(&["data"]);
    let left: Vec<_> = fs::read_dir(space.path(".repro/scratch"))
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}
