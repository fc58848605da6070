//! Runs that are disturbed: inputs that change meanwhile, kills, other runs.

use super::*;

/// Two stages whose `a` says that it started (`started` appears beside the project) and goes on
/// once `gate` is there. Unconfined, since what it waits for is no input.
fn gated() -> TestSpace {
    let space = TestSpace::new();
    let dir = beside(&space, "");
    let yaml = TWO_STAGES.replace(
        r#"    run: "grep -v '^#' ${needs.text} > ${outputs.out}""#,
        &format!(
            "    sandbox: off\n    run: \"grep -v '^#' ${{needs.text}} > ${{outputs.out}}; echo a >> {0}/started; while [ ! -e {0}/gate ]; do sleep 0.01; done\"",
            dir.display()
        ),
    );
    space
        .write("pipeline.yaml", yaml)
        .write("in.txt", "# one\nhello\n");
    space
}

fn start_run(space: &TestSpace) -> Child {
    space
        .command(&["run", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn ended(child: Child) -> Ran {
    let output = crate::support::wait(child);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran::of(crate::support::Said {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

#[test]
fn an_input_that_changes_while_it_is_used_is_flagged_and_not_kept() {
    for (how, outcome) in [
        ("overwritten", "# two\nhello\n"),
        ("replaced", "# one\nworld\n"),
        ("removed", ""),
    ] {
        let space = gated();
        let (started, gate) = (beside(&space, "started"), beside(&space, "gate"));
        let run = start_run(&space);
        wait_for(&started);
        match how {
            "overwritten" => drop(space.write("in.txt", outcome)),
            "replaced" => drop(space.remove("in.txt").write("in.txt", outcome)),
            _ => drop(space.remove("in.txt")),
        }
        fs::write(&gate, "").expect("the gate");
        let ran = ended(run);
        assert_eq!(ran.code, 3, "{how}: {ran:#?}");
        assert_eq!(
            (
                ran.count("unstable"),
                ran.count("executed"),
                ran.count("failed")
            ),
            (1, 0, 0),
            "{ran:#?}"
        );
        let event = ran.event("unstable", "a");
        assert_eq!(event["path"], "in.txt");
        assert_eq!(event["after"] == "gone", how == "removed", "{event}");
        assert!(
            !space.exists("artifacts/a/a.txt"),
            "{how}: a result that is worth nothing is not shown"
        );
        assert!(
            space.store_files("actions").is_empty(),
            "{how}: nor recorded"
        );

        space.write(
            "in.txt",
            if how == "removed" {
                "# one\nhello\n"
            } else {
                outcome
            },
        );
        let ran = space.ran(&[]);
        ran.executes(&["a", "b"]);
        let word = if how == "replaced" {
            "world\n"
        } else {
            "hello\n"
        };
        shows(&space, word, &word.to_uppercase());
        space.ran(&[]).executes(&[]);
    }
}

#[test]
fn an_input_changed_there_and_back_within_a_run_is_flagged_or_harmless() {
    let space = gated();
    let run = start_run(&space);
    wait_for(&beside(&space, "started"));
    space
        .write("in.txt", "# two\nworld\n")
        .write("in.txt", "# one\nhello\n");
    fs::write(beside(&space, "gate"), "").expect("the gate");
    let ran = ended(run);
    assert!([0, 3].contains(&ran.code), "{ran:#?}");
    assert_eq!(space.ran(&[]).code, 0);
    shows(&space, "hello\n", "HELLO\n");
}

#[test]
fn a_kill_in_the_middle_of_a_stage_leaves_nothing_behind() {
    let space = gated();
    let mut run = start_run(&space);
    wait_for(&beside(&space, "started"));
    assert!(!space.processes().is_empty(), "the test sees the command");
    kill_dead(&mut run);
    space.expect_no_processes();
    assert!(!space.exists("artifacts/a/a.txt"), "a was not done");
    fs::write(beside(&space, "gate"), "").expect("the gate");
    space.ran(&[]).executes(&["a", "b"]);
    shows(&space, "hello\n", "HELLO\n");
    assert_eq!(
        space.read("../started"),
        "a\na\n",
        "it ran twice: once in vain"
    );
    space.ran(&[]).executes(&[]);
    let left: Vec<_> = fs::read_dir(space.store.join("tmp"))
        .expect("the store")
        .flatten()
        .collect();
    assert!(left.is_empty(), "private directories are swept: {left:?}");
}

#[test]
fn two_runs_at_once_do_the_work_once() {
    let space = gated();
    let runs = [start_run(&space), start_run(&space), start_run(&space)];
    wait_for(&beside(&space, "started"));
    // The others got to the same stage too.
    space.wait_for_journals(r#""event":"started""#, 3);
    fs::write(beside(&space, "gate"), "").expect("the gate");
    let ran: Vec<Ran> = runs.into_iter().map(ended).collect();
    assert!(ran.iter().all(|r| r.code == 0), "{ran:#?}");
    let executed: u64 = ran.iter().map(|r| r.count("executed")).sum();
    assert_eq!(executed, 2, "each stage once in all: {ran:#?}");
    assert_eq!(
        space.read("../started"),
        "a\n",
        "the command itself ran once"
    );
    shows(&space, "hello\n", "HELLO\n");
    space.ran(&[]).executes(&[]);
}

#[test]
fn a_run_takes_over_from_one_that_was_killed() {
    let space = gated();
    let mut first = start_run(&space);
    wait_for(&beside(&space, "started"));
    let second = start_run(&space);
    space.wait_for_journals(r#""event":"started""#, 2);
    kill_dead(&mut first);
    fs::write(beside(&space, "gate"), "").expect("the gate");
    ended(second).executes(&["a", "b"]);
    shows(&space, "hello\n", "HELLO\n");
}
