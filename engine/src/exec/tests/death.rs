//! How processes end that do not end themselves: timeout, cancel, and the death of the program.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use super::*;

/// Starts a grandchild in the background that notes its number and sleeps; then the shell does the
/// same.
const FAMILY: &str = "sh -c 'echo $$ >> pids; exec sleep 1000' & echo $$ >> pids; wait; sleep 1000";

fn family(bench: &Bench) -> Vec<i32> {
    pids(&bench.request.dir.join("work/pids"))
}

#[test]
fn a_timeout_ends_the_whole_family() {
    let mut bench = Bench::new(FAMILY, &[]).policy(|p| p.timeout_s = Some(2.0));
    let failure = bench.fails();
    assert!(matches!(failure.cause, Cause::TimedOut { .. }), "{failure}");
    assert_eq!(family(&bench).len(), 2);
    for pid in family(&bench) {
        eventually("the process is gone", || !is_running(pid));
    }
}

#[test]
fn sigterm_comes_first_and_sigkill_follows() {
    // It may clean up ...
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let failure = Bench::new(script, &[])
        .policy(|p| p.timeout_s = Some(2.0))
        .fails();
    assert!(matches!(failure.cause, Cause::TimedOut { .. }), "{failure}");
    assert_eq!(
        (
            failure.tail[0].as_str(),
            failure.tail.last().unwrap().as_str()
        ),
        ("ready", "bye")
    );
    // ... but not refuse.
    let failure = Bench::new("trap '' TERM; while :; do sleep 0.05; done", &[])
        .policy(|p| (p.timeout_s, p.grace_s) = (Some(0.2), 0.5))
        .fails();
    assert!(matches!(failure.cause, Cause::TimedOut { .. }), "{failure}");
}

#[test]
fn a_cancel_ends_it() {
    let mut bench = Bench::new(FAMILY, &[]);
    let cancel = Cancel::new().unwrap();
    std::thread::scope(|scope| {
        let execution = scope.spawn(|| execute(&bench.request, &cancel, &mut |_| {}));
        eventually("the family has started", || family(&bench).len() == 2);
        cancel.raise(CancelLevel::Graceful);
        assert!(!execution.is_finished());
        cancel.raise(CancelLevel::Now);
        let failure = execution.join().unwrap().unwrap_err();
        assert!(matches!(failure.cause, Cause::Cancelled), "{failure}");
    });
    for pid in family(&bench) {
        eventually("the process is gone", || !is_running(pid));
    }
    bench.cancel = cancel;
    assert!(matches!(bench.fails().cause, Cause::Cancelled));
}

#[test]
fn what_a_finished_command_left_running_is_ended() {
    let mut bench = Bench::new(
        "sh -c 'echo $$ > pids; exec sleep 1000' & while ! test -s pids; do sleep 0.01; done",
        &["pids"],
    );
    let finished = bench.run().unwrap_or_else(|f| panic!("{f}"));
    let [pid] = pids(&finished.outputs["pids"])[..] else {
        panic!()
    };
    eventually("the process is gone", || !is_running(pid));
}

#[test]
fn many_at_once() {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let mut bench = Bench::new(&format!("echo {n} > out"), &["out"]);
                    assert_eq!(bench.output("out"), format!("{n}\n"));
                }
            });
        }
    });
}

/// This test binary again, as a program that runs one of the tests below and nothing else.
fn again(test: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("exec::tests::death::{test}"),
            "--nocapture",
        ])
        .env("REPRO_TEST_PART", dir);
    command
}

/// Not a test of its own: the keeper's process of the test below.
#[test]
fn part_keeper() {
    if std::env::var_os("REPRO_TEST_PART").is_some() {
        keeper::main();
        std::process::exit(0);
    }
}

/// Not a test of its own: the program that is killed in the test below.
#[test]
fn part_program() {
    let Some(dir) = std::env::var_os("REPRO_TEST_PART").map(PathBuf::from) else {
        return;
    };
    keeper::start(again("part_keeper", &dir)).unwrap();
    let mut bench = Bench::new(FAMILY, &[]);
    bench.request.dir = dir.join("run");
    let _ = bench.run();
}

#[test]
fn nothing_outlives_a_program_that_is_killed() {
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut program = again("part_program", dir.path());
        program.stdout(Stdio::null());
        let mut program = spawner::spawn(program).unwrap();
        let family = || pids(&dir.path().join("run/work/pids"));
        eventually("the family has started", || family().len() == 2);
        assert!(family().into_iter().all(is_running));
        program.kill().unwrap();
        assert_eq!(program.wait().unwrap().signal(), Some(libc::SIGKILL));
        for pid in family() {
            eventually("the process is gone", || !is_running(pid));
        }
    }
}
