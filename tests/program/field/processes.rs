//! What was hashed is what was run: processes that outlive their stage, inputs that move, keys that
//! leak.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::processes::signal;
use crate::support::{TestSpace, wait};

/// A pipeline of these stages.
pub(super) fn space(stages: &str) -> TestSpace {
    TestSpace::with_pipeline(&format!("version: 1\nname: processes\nstages:\n{stages}"))
}

/// The shell's loop until there is something at a path.
const UNTIL: &str = "until [ -e PATH ]; do sleep 0.02; done";

pub(super) fn until(path: &std::path::Path) -> String {
    UNTIL.replace("PATH", &path.to_string_lossy())
}

/// Whoever adds up the last line gets every instance.
#[test]
fn case_26_what_an_interrupt_stops_is_counted() {
    for (signals, stopped) in [
        (&[libc::SIGTERM][..], 2),
        (&[libc::SIGINT, libc::SIGINT], 2),
    ] {
        let space = space(
            r#"
  a: {matrix: {i: [1, 2, 3, 4, 5]}, run: "echo ${matrix.i} > ${outputs.o}; sleep 1000", outputs: {o: o}}
"#,
        );
        let mut command = space.command(&["run", "-j2", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let events = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut events = events.map(|line| {
            serde_json::from_str::<serde_json::Value>(&line.expect("a line")).expect("an event")
        });
        let mut until = |sort: &str, times: usize| {
            let mut left = times;
            events
                .by_ref()
                .find(|event| {
                    left -= usize::from(event["event"] == sort);
                    left == 0
                })
                .expect("an event")
        };
        until("started", 2);
        for (at, sent) in signals.iter().enumerate() {
            if at > 0 {
                until("warning", 1);
            }
            signal(child.id() as i32, *sent);
        }
        let summary = until("summary", 1);
        child.wait().expect("a child");
        let counted = ["executed", "cached", "failed", "stopped", "skipped"];
        let counts = counted.map(|name| summary[name].as_u64().unwrap_or_default());
        assert_eq!(counts, [0, 0, 0, stopped, 5 - stopped], "{summary}");
    }
}

/// The consumer once read the bytes that the daemon wrote, and was recorded under the digest of
/// those before.
#[test]
fn case_52_a_daemon_of_a_stage_does_not_outlive_it() {
    let space = space(
        r#"
  make:
    run: |
      exec 3<>$PWD/out.txt
      echo good >&3
      setsid sh -c '(UNTIL; echo late >&3; sleep 300) & sleep 300' &
      setsid sh -c 'exec 3>&-; echo $$ > pid; sleep 300' &
      until test -s pid; do sleep 0.02; done
    outputs: {out: out.txt, pid: pid}
    sandbox: off
  use:
    needs: {in: make.out}
    run: "touch BEGUN; sleep 1; cat ${needs.in} > ${outputs.out}"
    outputs: {out: out.txt}
    sandbox: off
"#,
    );
    let begun = space.path("begun");
    space.edit("pipeline.yaml", "UNTIL", &until(&begun)).edit(
        "pipeline.yaml",
        "BEGUN",
        &begun.to_string_lossy(),
    );
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/use/out.txt"), "good\n");
    assert_eq!(space.read("artifacts/make/out.txt"), "good\n");
    space.expect_no_processes();
    space.ok(&["fsck"]);
}

/// Also a daemon that left its session and its group, when the program is killed.
#[test]
fn case_35_a_killed_program_leaves_no_daemon() {
    let space = space(
        r#"
  make:
    run: "setsid sh -c 'setsid sleep 1000 & setsid sleep 1000' & touch ${outputs.out}; sleep 1000"
    outputs: {out: out.txt}
"#,
    );
    let mut child = space.start(&["run"]);
    let sleepers = || {
        let all = space.processes();
        all.iter().filter(|p| p.args.trim() == "sleep 1000").count()
    };
    for _ in 0..2000 {
        if sleepers() == 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(sleepers(), 3, "{:#?}", space.processes());
    crate::support::processes::kill_dead(&mut child);
    space.expect_no_processes();
}

#[test]
fn case_39_a_stage_that_stops_itself_is_told_of_and_ended_by_its_timeout() {
    let space = space(
        r#"
  halt:
    run: "sh -c 'kill -STOP $$'; touch ${outputs.out}"
    outputs: {out: out.txt}
    timeout: 15s
    grace: 1s
"#,
    );
    let said = space.run(&["run"]).expect(1, &[]);
    assert!(said.err.contains("has stopped (SIGSTOP)"), "{}", said.err);
    assert!(said.err.contains("kill -CONT"), "{}", said.err);
    assert!(said.err.contains("its timeout of 15 s"), "{}", said.err);
    space.expect_no_processes();
}

/// Two seconds were too few for a training to save.
#[test]
fn case_34_a_stage_has_time_to_save() {
    let space = space(
        r#"
  train:
    run: "trap 'sleep 4; echo saved; exit 1' TERM; echo started; while :; do sleep 0.05; done"
    outputs: {out: out.txt}
    timeout: 1s
"#,
    );
    let said = space.run(&["run"]).expect(1, &[]);
    assert!(said.err.contains("saved"), "{}", said.err);
    // As much as it asks for, and no more.
    space.edit(
        "pipeline.yaml",
        "timeout: 1s",
        "timeout: 1s\n    grace: 500ms",
    );
    let said = space.run(&["run"]).expect(1, &[]);
    assert!(!said.err.contains("saved"), "{}", said.err);
}

#[test]
fn case_34_a_third_interrupt_kills_at_once() {
    let space = space(
        r#"
  deaf:
    run: "trap '' TERM INT; touch ../../started; while :; do sleep 0.05; done"
    outputs: {out: out.txt}
    sandbox: off
    grace: 10m
"#,
    );
    let started = space.path("started");
    space.edit("pipeline.yaml", "../../started", &started.to_string_lossy());
    let mut command = space.command(&["run"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    space.wait_for("started");
    // Signals that come faster than they are heard count once.
    for _ in 0..200 {
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        signal(child.id() as i32, libc::SIGINT);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(wait(child).status.code(), Some(130));
    space.expect_no_processes();
}

/// `nohup repro run &`, and the terminal goes.
#[test]
fn case_06_ignored_signals_stay_ignored() {
    let space = TestSpace::new();
    let (started, go) = (space.path("started"), space.path("go"));
    let script = format!(
        "touch {}; {}; touch $PWD/out.txt",
        started.display(),
        until(&go)
    );
    space.write(
        "pipeline.yaml",
        format!("version: 1\nname: n\nstages:\n  a: {{run: \"{script}\", outputs: {{out: out.txt}}, sandbox: off}}\n"),
    );
    let mut command = space.command(&["run"]);
    use std::os::unix::process::CommandExt;
    // SAFETY: setting a disposition to SIG_IGN is a plain system call.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::signal(libc::SIGINT, libc::SIG_IGN);
            Ok(())
        })
    };
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    space.wait_for("started");
    for ignored in [libc::SIGHUP, libc::SIGINT, libc::SIGINT, libc::SIGHUP] {
        signal(child.id() as i32, ignored);
    }
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(0));
}
