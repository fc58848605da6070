//! What runs when: resources, failures, targets, interrupts.

use super::*;

/// Stages that write when they begin and end into one log beside the project.
fn logged(more: &str, count: u32) -> (TestSpace, PathBuf) {
    let space = TestSpace::new();
    let log = beside(&space, "log");
    let run = format!(
        "echo begin >> {0}; sleep 0.05; echo end >> {0}; echo ${{matrix.k}} > ${{outputs.out}}",
        log.display()
    );
    space.write("pipeline.yaml", stages(&format!("a: {{matrix: {{k: {{range: [0, {count}]}}}}, run: '{run}', sandbox: off, {more}, outputs: {{out: a.txt}}}}")));
    (space, log)
}

/// The most that ran at once.
fn most_at_once(log: &Path) -> i32 {
    let (mut now, mut most) = (0, 0);
    for line in fs::read_to_string(log).expect("the log").lines() {
        now += if line == "begin" { 1 } else { -1 };
        most = most.max(now);
    }
    most
}

#[test]
fn resources_are_respected() {
    for (more, jobs, limit) in [
        ("resources: {mutex: disk}", "4", 1),
        ("resources: {cpus: 2}", "2", 1),
        ("resources: {cpus: 1}", "2", 2),
        ("resources: {cpus: 64}", "4", 1),
        ("resources: {memory: 1000TB}", "4", 1),
    ] {
        let (space, log) = logged(more, 6);
        let ran = space.ran(&["-j", jobs]);
        assert_eq!(
            (ran.code, ran.count("executed")),
            (0, 6),
            "{more}: {ran:#?}"
        );
        let most = most_at_once(&log);
        assert!(most <= limit, "{more} with -j {jobs}: {most} at once");
    }
}

#[test]
fn stages_run_at_once_where_they_may() {
    // Each waits for the other.
    let space = TestSpace::new();
    let dir = beside(&space, "");
    let run = |me: &str, other: &str| {
        format!(
            "echo > {0}/{me}; i=0; while [ ! -e {0}/{other} ]; do i=$((i+1)); test $i -lt 3000; sleep 0.01; done; echo > ${{outputs.out}}",
            dir.display()
        )
    };
    space.write("pipeline.yaml", stages(&format!("a: {{run: '{}', sandbox: off, outputs: {{out: a}}}}\nb: {{run: '{}', sandbox: off, outputs: {{out: b}}}}", run("one", "two"), run("two", "one"))));
    space.ran(&["-j", "2"]).executes(&["a", "b"]);
}

#[test]
fn a_failure_stops_what_is_new_unless_told_to_go_on() {
    let lines = "bad: {run: 'exit 1', outputs: {out: bad.txt}}
behind: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: bad.out}, outputs: {out: b.txt}}
far: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: behind.out}, outputs: {out: f.txt}}
good: {run: 'echo good > ${outputs.out}', outputs: {out: good.txt}}
after: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: good.out}, outputs: {out: a.txt}}";
    // The failing one has the longest way behind it, so it is the first.
    let fast = space(lines);
    let ran = fast.ran(&["-j", "1"]);
    ran.fails(1, "bad", &["exited with code 1"]);
    assert_eq!(
        (ran.count("executed"), ran.count("skipped")),
        (0, 4),
        "{ran:#?}"
    );
    let going = space(lines);
    let ran = going.ran(&["-j", "1", "--keep-going"]);
    ran.fails(1, "bad", &["exited with code 1"]);
    assert_eq!(ran.all("finished"), ["after", "good"]);
    assert_eq!(ran.all("skipped"), ["behind", "far"]);
    assert_eq!(going.read("artifacts/after/a.txt"), "good\n");
}

#[test]
fn targets_bring_what_they_need_and_no_more() {
    let lines = "a: {matrix: {k: [1, 2, 3]}, run: 'echo ${matrix.k} > ${outputs.out}', outputs: {out: a.txt}}
b: {matrix: {k: [1, 2, 3]}, run: 'cat ${needs.x} > ${outputs.out}', needs: {x: a.out}, outputs: {out: b.txt}}
c: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: 'b[*].out'}, outputs: {out: c.txt}}";
    let space = space(lines);
    let ran = space.ran(&["b[k=2]"]);
    ran.executes(&["a[k=2]", "b[k=2]"]);
    assert_eq!(ran.count("skipped"), 0);
    let lock = space.read("repro.lock");
    space.ran(&["a"]).executes(&["a[k=1]", "a[k=3]"]);
    assert!(
        space.read("repro.lock").contains("b[k=2]"),
        "blocks of what was not asked for stay: {lock}"
    );
    space.ran(&["c"]).executes(&["b[k=1]", "b[k=3]", "c"]);
    // A target's inputs are executed for it, others' are not.
    space.edit("pipeline.yaml", "echo ${matrix.k}", "echo 0${matrix.k}");
    space
        .ran(&["b[k=1]", "a[k=3]"])
        .executes(&["a[k=1]", "a[k=3]", "b[k=1]"]);
}

/// A stage that says that it began and ends once `gate` is there, and one behind it.
fn gated() -> TestSpace {
    let space = TestSpace::new();
    let dir = beside(&space, "");
    let run = format!(
        "echo half > ${{outputs.out}}; echo >> {0}/began; while [ ! -e {0}/gate ]; do sleep 0.01; done",
        dir.display()
    );
    space.write("pipeline.yaml", stages(&format!("a: {{run: '{run}', sandbox: off, outputs: {{out: a.txt}}}}\nb: {{run: 'cat ${{needs.x}} > ${{outputs.out}}', needs: {{x: a.out}}, outputs: {{out: b.txt}}}}")));
    space
}

fn interrupted(space: &TestSpace, signals: &[i32], open: bool) -> Ran {
    let child = space
        .command(&["run", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    wait_for(&beside(space, "began"));
    for (told, s) in (1..).zip(signals) {
        signal(child.id() as i32, *s);
        // Two signals at once are one for the kernel. Each is answered with a warning.
        space.wait_for_journals("running stages", told);
    }
    if open {
        fs::write(beside(space, "gate"), "").expect("the gate");
    }
    let output = crate::support::wait(child);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran::of(crate::support::Said {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

#[test]
fn one_interrupt_lets_running_stages_finish() {
    let space = gated();
    let ran = interrupted(&space, &[libc::SIGINT], true);
    assert_eq!(ran.code, 130, "{ran:#?}");
    assert_eq!(
        (
            ran.all("finished"),
            ran.count("skipped"),
            ran.count("failed")
        ),
        (vec!["a".to_owned()], 1, 0),
        "{ran:#?}"
    );
    assert!(ran.err.contains("Ctrl-C again"), "{}", ran.err);
    assert_eq!(ran.summary["interrupted"], true);
    assert_eq!(space.read("artifacts/a/a.txt"), "half\n");
    space.expect_no_processes();
    space.ran(&[]).executes(&["b"]);
}

#[test]
fn two_interrupts_or_a_termination_stop_at_once() {
    for signals in [
        &[libc::SIGINT, libc::SIGINT][..],
        &[libc::SIGTERM],
        &[libc::SIGHUP],
    ] {
        let space = gated();
        let ran = interrupted(&space, signals, false);
        assert_eq!(ran.code, 130, "{ran:#?}");
        assert_eq!(
            (ran.count("executed"), ran.count("failed")),
            (0, 0),
            "{ran:#?}"
        );
        assert!(!space.exists("artifacts/a"), "nothing half done is shown");
        space.expect_no_processes();
        fs::write(beside(&space, "gate"), "").expect("the gate");
        space.ran(&[]).executes(&["a", "b"]);
    }
}
