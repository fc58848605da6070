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

/// The directory of the test that this process is a part of.
fn part() -> Option<PathBuf> {
    std::env::var_os("REPRO_TEST_PART").map(PathBuf::from)
}

/// Not a test of its own: the keeper's process of the tests below.
#[test]
fn part_keeper() {
    if part().is_some() {
        keeper::main();
        std::process::exit(0);
    }
}

/// Not a test of its own: the starter's process of the tests below.
#[test]
fn part_starter() {
    if part().is_some() {
        // What libtest says goes nowhere; the first words are the starter's own.
        starter::main();
        std::process::exit(0);
    }
}

/// Not a test of its own: the program that is killed in the test below.
#[test]
fn part_program() {
    let Some(dir) = part() else {
        return;
    };
    keeper::start(again("part_keeper", &dir)).unwrap();
    if dir.join("has-starter").exists() {
        starter::start(again("part_starter", &dir)).unwrap();
    }
    let mut bench = Bench::new(FAMILY, &[]);
    bench.request.dir = dir.join("run");
    let _ = bench.run();
}

#[test]
fn nothing_outlives_a_program_that_is_killed() {
    for has_starter in [false, true, false, true] {
        let dir = tempfile::tempdir().unwrap();
        if has_starter {
            std::fs::write(dir.path().join("has-starter"), "").unwrap();
        }
        let mut program = again("part_program", dir.path());
        program.stdout(Stdio::null());
        let mut program = program.spawn().unwrap();
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

/// Who forked the reaper of a command that tells.
fn who_forked() -> i32 {
    let mut bench = Bench::new("cut -d' ' -f4 /proc/$PPID/stat > who", &["who"])
        .policy(|p| p.sandbox = Sandbox::Off);
    bench.output("who").trim().parse().unwrap()
}

/// Not a test of its own: the program with a starter of the test below.
#[test]
fn part_with_a_starter() {
    let Some(dir) = part() else {
        return;
    };
    let me = std::process::id() as i32;
    assert_eq!(who_forked(), me, "there is no starter yet");
    starter::start(again("part_starter", &dir)).unwrap();
    let starter = who_forked();
    assert_ne!(starter, me);

    // What holds without one holds with one: errors, confinement, memory, a timeout.
    let mut bench = Bench::new("echo never", &[]);
    let Work::Command(command) = &mut bench.request.work else {
        panic!()
    };
    let command = Arc::get_mut(command).unwrap();
    let setup = Arc::get_mut(&mut command.setup).unwrap();
    setup.shell = ["no-such-shell".to_owned()].into();
    let failure = bench.fails();
    let is_missing = matches!(
        &failure.cause,
        Cause::Spawn { source, .. } if source.kind() == std::io::ErrorKind::NotFound
    );
    assert!(is_missing, "{failure}");
    let mut bench = Bench::new("cat ../../../../secret > out", &["out"]);
    bench.file("project/secret", "s");
    bench.run().unwrap_err();
    let failure = Bench::new("sleep 1000", &[])
        .policy(|p| p.timeout_s = Some(0.2))
        .fails();
    assert!(matches!(failure.cause, Cause::TimedOut { .. }), "{failure}");
    let long = "x".repeat(100_000);
    let mut bench = Bench::new(&format!("echo {long} > out"), &["out"]);
    assert_eq!(bench.output("out").trim_end(), long);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(who_forked(), starter)));
        }
    });

    // A starter that is gone is done without.
    let starter = rustix::process::Pid::from_raw(starter).unwrap();
    rustix::process::kill_process(starter, rustix::process::Signal::KILL).unwrap();
    eventually("the starter is gone", || !is_running(starter.as_raw_pid()));
    assert_eq!(who_forked(), me);
    std::fs::write(dir.join("passed"), "").unwrap();
}

#[test]
fn a_starter_forks_as_the_program_would() {
    let dir = tempfile::tempdir().unwrap();
    let said = again("part_with_a_starter", dir.path()).output().unwrap();
    let passed = said.status.success() && dir.path().join("passed").exists();
    assert!(passed, "{}", String::from_utf8_lossy(&said.stdout));
}

#[test]
fn what_cannot_be_a_starter_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let said = again("part_with_a_false_starter", dir.path())
        .output()
        .unwrap();
    let passed = said.status.success() && dir.path().join("passed").exists();
    assert!(passed, "{}", String::from_utf8_lossy(&said.stdout));
}

/// Not a test of its own: the program of the test above.
#[test]
fn part_with_a_false_starter() {
    let Some(dir) = part() else {
        return;
    };
    starter::start(std::process::Command::new("/bin/false")).unwrap();
    assert_eq!(who_forked(), std::process::id() as i32);
    std::fs::write(dir.join("passed"), "").unwrap();
}
