//! What was hashed is what was run: processes that outlive their stage, inputs that move, keys that leak.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::processes::signal;
use crate::support::skipped::skipped;
use crate::support::{TestSpace, wait};

/// A pipeline of these stages.
fn space(stages: &str) -> TestSpace {
    TestSpace::with_pipeline(&format!("version: 1\nname: processes\nstages:\n{stages}"))
}

/// The shell's loop until there is something at a path.
const UNTIL: &str = "until [ -e PATH ]; do sleep 0.02; done";

fn until(path: &std::path::Path) -> String {
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

/// The consumer once read the bytes that the daemon wrote, and was recorded under the digest of those before.
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
        std::thread::sleep(Duration::from_millis(50));
    }
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(0));
}

/// A kind in a shell script that copies its input; `worker` holds what it does before.
fn copying_kind(worker: &str) -> String {
    format!(
        r#"#!/bin/sh
set -eu
case "$1" in
describe) echo '{{"name": "copy", "revision": 1, "summary": "Copies.", "inputs": [{{"name": "in"}}], "outputs": [{{"name": "out", "path": "out.txt"}}]}}' ;;
check) cat > /dev/null; echo '{{"params": {{}}}}' ;;
worker)
    path=$(sed -n 's/.*"path":"\([^"]*\)".*/\1/p' "$2")
    mkdir -p out
    {worker}
    echo '{{"version": 1}}' > outcome.json ;;
esac
"#
    )
}

/// Somebody switches branches while a stage waits for its turn.
#[test]
fn case_50_an_input_that_changed_before_it_was_placed_is_noticed() {
    for path in ["in.txt", "data/x"] {
        let space = TestSpace::new();
        space.write("in.txt", "A\n").write("data/x", "A\n");
        let (go, started) = (space.path("go"), space.path("started"));
        space.write(
            "pipeline.yaml",
            format!(
                "version: 1\nname: n\nstages:\n  wait: {{run: \"touch {}; {}; touch $PWD/o\", outputs: {{o: o}}, sandbox: off}}\n  \
                 use: {{needs: {{in: {{file: in.txt}}, d: {{dir: data}}}}, run: \"cat ${{needs.in}} ${{needs.d}}/x > ${{outputs.o}}\", outputs: {{o: o}}}}\n",
                started.display(),
                until(&go)
            ),
        );
        let child = space.start(&["run", "-j1"]);
        space.wait_for("started");
        space.write(path, "B\n");
        space.write("go", "");
        assert_eq!(wait(child).status.code(), Some(3), "{path}");
        space.write(path, "A\n");
        space.ok(&["run"]);
        assert_eq!(space.read("artifacts/use/o"), "A\nA\n");
    }
}

/// A kind reads its inputs where they lie, while it runs.
#[test]
fn case_50_an_input_that_was_something_else_for_a_while_is_noticed() {
    let space = space(
        "  copy: {uses: ./tools/copy, needs: {in: {file: in.txt}}}\n  all: {uses: ./tools/copy, needs: {in: {dir: data}}}\ndefaults: {sandbox: off}\n",
    );
    let (go, started) = (space.path("go"), space.path("started"));
    let program = copying_kind(&format!(
        "touch {}; {}; cp -r \"$path\" out/out.txt; sleep 1",
        started.display(),
        until(&go)
    ));
    write_program(&space, "tools/copy", &program);
    space.write("in.txt", "A\n").write("data/x", "A\n");
    for (target, path) in [("copy", "in.txt"), ("all", "data/more")] {
        let child = space.start(&["run", target]);
        space.wait_for("started");
        let before = space.exists(path);
        space.write(path, "B\n");
        space.write("go", "");
        std::thread::sleep(Duration::from_millis(500));
        match before {
            true => space.write(path, "A\n"),
            false => space.remove(path),
        };
        assert_eq!(wait(child).status.code(), Some(3), "{path}");
        space.remove("started").remove("go");
    }
    space.write("go", "");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/copy/out.txt"), "A\n");
    assert!(!space.exists("artifacts/all/out.txt/more"));
}

/// A command read its copy; a backup or `touch` over the original takes no result away.
#[test]
fn case_50_a_touched_original_of_a_copy_is_no_change() {
    let space = TestSpace::new();
    space.write("in.txt", "A\n");
    let (go, started) = (space.path("go"), space.path("started"));
    space.write(
        "pipeline.yaml",
        format!(
            "version: 1\nname: n\nstages:\n  use: {{needs: {{in: {{file: in.txt}}}}, run: \"touch {}; {}; cat ${{needs.in}} > ${{outputs.o}}\", outputs: {{o: o}}, sandbox: off}}\n",
            started.display(),
            until(&go)
        ),
    );
    let child = space.start(&["run"]);
    space.wait_for("started");
    space.write("in.txt", "B\n");
    space.write("in.txt", "A\n");
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(0));
    assert_eq!(space.read("artifacts/use/o"), "A\n");
}

fn write_program(space: &TestSpace, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    space.write(path, text);
    std::fs::set_permissions(space.path(path), std::fs::Permissions::from_mode(0o755))
        .expect("a program");
}

/// The program is edited while its stage waits, or while it runs and set back.
#[test]
fn case_51_a_program_that_changes_is_noticed() {
    let space = TestSpace::new();
    let (go, started) = (space.path("go"), space.path("started"));
    space.write("in.txt", "A\n");
    let waiting = format!("touch {}; {}", started.display(), until(&go));
    space.write(
        "pipeline.yaml",
        format!(
            "version: 1\nname: n\nstages:\n  wait: {{run: \"{waiting}; touch $PWD/o\", outputs: {{o: o}}, sandbox: off}}\n  \
             copy: {{uses: ./tools/copy, needs: {{in: {{file: in.txt}}}}}}\ndefaults: {{sandbox: off}}\n",
        ),
    );
    let program = |worker: &str| {
        write_program(&space, "tools/next", &copying_kind(worker));
        std::fs::rename(space.path("tools/next"), space.path("tools/copy")).expect("a program");
    };
    std::fs::create_dir(space.path("tools")).expect("a directory");
    let old = format!("{waiting}; cat \"$path\" > out/out.txt");
    for (target, is_set_back) in [("wait", false), ("copy", true)] {
        program(&old);
        let child = match is_set_back {
            false => space.start(&["run", "-j1", "--force"]),
            true => space.start(&["run", target]),
        };
        space.wait_for("started");
        program("echo new > out/out.txt");
        if is_set_back {
            program(&old);
        }
        space.write("go", "");
        assert_eq!(wait(child).status.code(), Some(3), "{is_set_back}");
        space.remove("started").remove("go");
    }
    space.write("go", "");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/copy/out.txt"), "A\n");
}

#[test]
fn case_51_a_tool_that_changes_while_its_stage_runs_is_noticed() {
    let mut space = TestSpace::new();
    let bin = space.path("../bin");
    std::fs::create_dir(&bin).expect("a directory");
    let tool = |space: &TestSpace, version: &str| {
        let text = format!("#!/bin/sh\necho {version}\n");
        write_program(space, "../bin/my-tool", &text);
    };
    tool(&space, "1");
    space.set_env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    space.write(
        "pipeline.yaml",
        "version: 1\nname: n\nstages:\n  a: {run: \"my-tool > ${outputs.o}; sleep 2\", tools: [my-tool], outputs: {o: o}}\n",
    );
    let child = space.start(&["run"]);
    std::thread::sleep(Duration::from_millis(1000));
    tool(&space, "2");
    assert_eq!(wait(child).status.code(), Some(3));
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o"), "2\n");
}

/// Keys of CI live in the environment, under names that nobody can list, and any stage could read them there.
#[test]
fn case_53_secrets_of_the_program_are_nobodys() {
    let mut space = space(
        r#"
  kind: {uses: ./tools/env, needs: {}}
  spy:
    run: "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'very-''secret' > ${outputs.out} || true"
    outputs: {out: out.txt}
    sandbox: off
  confined:
    run: "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c 'very-''secret' > ${outputs.out} || true"
    outputs: {out: out.txt}
"#,
    );
    let program =
        copying_kind("env > out/out.txt").replace("Copies.\"", "'\"$(env | tr '\\n\"' '  ')\"'\"");
    write_program(
        &space,
        "tools/env",
        &program.replace(r#"{"name": "in"}"#, ""),
    );
    for name in [
        "REPRO_SIGNING_KEY",
        "REPRO_KEY_PASSPHRASE",
        "AWS_SECRET_ACCESS_KEY",
        "MY_TOKEN",
        "ANY_NAME",
    ] {
        space.set_env(name, "very-secret");
    }
    space.set_env("HTTPS_PROXY", "http://me:very-secret@proxy");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/spy/out.txt"), "0\n");
    assert_eq!(space.read("artifacts/confined/out.txt"), "0\n");
    let seen = space.read("artifacts/kind/out.txt");
    assert!(!seen.contains("very-secret"), "{seen}");
    assert!(!seen.contains("REPRO_"), "{seen}");
    let described = space.ok(&["kinds", "./tools/env", "--json"]);
    assert!(described.contains("LANG=C.UTF-8"), "{described}");
    assert!(!described.contains("very-secret"), "{described}");
    assert!(!described.contains("REPRO_"), "{described}");
}

/// Who only looks at a project that somebody sent must not run its programs.
#[test]
fn case_53_commands_that_only_look_run_nothing_of_the_project() {
    let space = space(
        "  copy: {uses: ./tools/copy, needs: {in: {file: in.txt}}}\n  tool: {run: \"touch ${outputs.o}\", outputs: {o: o}, tools: [{program: sh, version: VERSION}]}\n",
    );
    let version = space.path("version.sh");
    space.edit("pipeline.yaml", "VERSION", &version.to_string_lossy());
    let lookers: &[&[&str]] = &[
        &["status"],
        &["why", "copy"],
        &["run", "-n"],
        &["dag"],
        &["metrics"],
    ];
    let armed =
        |text: &str| format!("#!/bin/sh\ntouch ran /tmp/ran 2>/dev/null; echo RAN >&2\n{text}");
    let program = copying_kind("cat \"$path\" > out/out.txt");
    space.write("in.txt", "A\n");
    write_program(&space, "tools/copy", &armed(&program));
    write_program(&space, "version.sh", &armed("echo 1"));
    for args in lookers {
        let said = space.run(args);
        assert!(!said.err.contains("RAN"), "{args:?}: {}", said.err);
        // Nothing but the stages of these programs is unknown.
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        let told = format!("{}{}", said.out, said.err);
        assert!(!told.contains("does not describe"), "{args:?}: {told}");
        if let ["status"] | ["why", _] | ["run", ..] = args {
            assert!(told.contains("`repro run` asks it"), "{args:?}: {told}");
        }
    }
    let states = space.json(&["status"]);
    let state = |i: usize| states[i]["state"].as_str().unwrap().to_owned();
    assert_eq!([state(0), state(1)], ["unknown", "unknown"], "{states}");
    write_program(&space, "tools/copy", &program);
    write_program(&space, "version.sh", "#!/bin/sh\necho 1\n");
    space.ok(&["run"]);
    // What a run heard is enough, and certain until a program changes.
    let said = space.run(&["status"]).expect(0, &[]);
    assert!(!said.err.contains("certain only after"), "{}", said.err);
    write_program(&space, "tools/copy", "#!/bin/sh\necho RAN >&2; exit 9\n");
    for args in lookers {
        let said = space.run(args);
        assert!(!said.err.contains("RAN"), "{args:?}: {}", said.err);
        assert_ne!(said.code, 2, "{args:?}: {}", said.err);
    }
    let said = space.run(&["status"]).expect(0, &[]);
    assert!(
        said.err.contains("certain only after `repro run`"),
        "{}",
        said.err
    );
}

/// What is not known of one stage leaves the others as they are.
#[test]
fn case_53_a_program_that_was_not_asked_hides_no_other_stage() {
    let space = space(
        r#"
  kind: {uses: ./tools/copy, needs: {in: {file: in.txt}}}
  tool: {run: "echo t > ${outputs.o}", outputs: {o: o}, tools: [{program: sh, version: VERSION}]}
  plain: {run: "echo b > ${outputs.o}", outputs: {o: o}}
  after: {needs: {a: kind.out}, run: "cat ${needs.a} > ${outputs.o}", outputs: {o: o}}
"#,
    );
    space.write("in.txt", "A\n");
    write_program(
        &space,
        "tools/copy",
        &copying_kind("cat \"$path\" > out/out.txt"),
    );
    write_program(&space, "version.sh", "#!/bin/sh\necho 1\n");
    let version = space.path("version.sh");
    space.edit("pipeline.yaml", "VERSION", &version.to_string_lossy());
    let states = || -> Vec<String> {
        let all = space.json(&["status"]);
        let state = |row: &serde_json::Value| row["state"].as_str().unwrap().to_owned();
        all.as_array().unwrap().iter().map(state).collect()
    };
    assert_eq!(states(), ["unknown", "unknown", "missing", "missing"]);
    for args in [
        &["run", "-n"][..],
        &["run", "-n", "plain"],
        &["dag"],
        &["why", "plain"],
        &["metrics"],
    ] {
        space.run(args).expect(0, args);
    }
    space.ok(&["run"]);
    let all = states();
    assert_eq!(all, ["cached"; 4], "{all:?}");
    // Somebody else's clone asks again, and finds what it has.
    std::fs::remove_file(space.path(".repro/answers")).expect("what was heard");
    assert_eq!(states(), ["unknown", "unknown", "cached", "stale"]);
    // What is not on this machine is no less unknown to who only looks; a run could not begin.
    space.edit("pipeline.yaml", "version.sh", "missing.sh");
    assert_eq!(states(), ["unknown", "unknown", "cached", "stale"]);
    let said = space.run(&["run", "plain"]).expect(2, &["run", "plain"]);
    assert!(said.err.contains("missing.sh"), "{}", said.err);
}

/// What a clone pulls is said by repro.lock, and no program of the project.
#[test]
fn case_2_a_clone_pulls_before_its_programs_were_asked() {
    let lab = Lab::new();
    for space in [&lab.ci, &lab.laptop] {
        let program = copying_kind("cat \"$path\" > out/out.txt");
        write_program(space, "tools/copy", &program);
    }
    lab.ci.write(
        "pipeline.yaml",
        "version: 1\nname: n\nstages:\n  kind: {uses: ./tools/copy, needs: {in: {file: in.txt}}}\n  \
         next: {needs: {a: kind.out}, run: \"cat ${needs.a} > ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    lab.ci.ok(&["run", "--push"]);
    lab.clone_to(&lab.laptop);
    let said = lab.laptop.run(&["pull", "kind", "next"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("kind: its result is in the store"),
        "{}",
        said.err
    );
    assert_eq!(lab.laptop.read("artifacts/next/o.txt"), "abc\n");
    assert!(!lab.laptop.exists("artifacts/kind"));
    // Asked, it has what was pulled.
    assert_eq!(lab.laptop.executed(&[]), [""; 0]);
    assert_eq!(lab.laptop.read("artifacts/kind/out.txt"), "abc\n");
}

/// Asked, a program may read the project and write nothing.
#[test]
fn case_53_programs_are_asked_confined() {
    let space = space("  copy: {uses: ./tools/copy, needs: {in: {file: in.txt}}}\n");
    let home = space.path("../home/secret");
    std::fs::write(&home, "very-secret").expect("a file");
    let text = copying_kind("cat \"$path\" > out/out.txt").replace(
        "case \"$1\" in",
        &format!(
            "if [ \"$1\" != worker ]; then ! touch ran 2>/dev/null || touch \"$TMPDIR/x\"; touch {0}/ran 2>/dev/null && exit 7; cat {1} 2>/dev/null && exit 8; fi\ncase \"$1\" in",
            space.project.display(),
            home.display()
        ),
    );
    space.write("in.txt", "A\n");
    write_program(&space, "tools/copy", &text);
    space.ok(&["run"]);
    assert!(!space.exists("ran"));
}

/// The project, the store and the program as an ordinary user has them; root may write anywhere.
fn as_nobody(space: &TestSpace, args: &[&str]) -> std::process::Command {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let mut command = space.command(args);
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        let root = space.project.parent().expect("a parent");
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).expect("modes");
        let mut todo = vec![root.to_owned()];
        while let Some(path) = todo.pop() {
            let _ = chown(&path, Some(65534), Some(65534));
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            todo.extend(entries.filter(|e| !e.path().is_symlink()).map(|e| e.path()));
        }
        command.uid(65534).gid(65534);
    }
    command
}

#[test]
fn case_56_read_only_outputs_are_kept_like_others() {
    let space = space(
        r#"
  make:
    run: "mkdir -p d/e; echo a > d/e/f; echo b > g; chmod 555 d/e d; chmod 000 g d/e/f"
    outputs: {d: d, g: g}
"#,
    );
    space
        .run_command(as_nobody(&space, &["run"]))
        .expect(0, &[]);
    assert_eq!(space.read("artifacts/make/d/e/f"), "a\n");
    assert_eq!(space.read("artifacts/make/g"), "b\n");
}

/// What the user's own directories refuse has nothing to do with the store.
#[test]
fn case_28_a_place_of_the_users_that_is_closed_is_no_fault_of_the_store() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path, mode| {
        set_permissions(path, Permissions::from_mode(mode)).expect("modes");
    };
    let stage = "\n  a: {run: 'echo x > ${outputs.o}', NEEDS outputs: {o: o}}\n";
    let closed = |needs: &str, path: &str, bits: u32, code: i32| {
        let space = space(&stage.replace("NEEDS", needs));
        space
            .write("artifacts/other", "")
            .write("d/x", "x")
            .write("away/python3", "");
        space.write(".venv/pyvenv.cfg", "version = 3.11\n");
        std::fs::create_dir(space.path(".venv/bin")).expect("a directory");
        std::os::unix::fs::symlink(space.path("away/python3"), space.path(".venv/bin/python"))
            .expect("a link");
        let run = as_nobody(&space, &["run"]);
        mode(&space.path(path), bits);
        let said = space.run_command(run);
        mode(&space.path(path), 0o755);
        assert!(!said.err.contains("REPRO_STORE"), "{}", said.err);
        assert!(
            said.err.to_lowercase().contains("permission denied"),
            "{}",
            said.err
        );
        assert!(said.err.contains(path), "{}", said.err);
        said.expect(code, &[needs, path]).err
    };
    closed("", "artifacts", 0o555, 5);
    closed("needs: {d: {dir: d}},", "d/x", 0o000, 1);
    closed("needs: {d: {dir: d}},", "d", 0o000, 1);
    closed("needs: {d: {file: d/x}},", "d/x", 0o000, 1);
    let err = closed("python: .venv,", "away", 0o000, 2);
    assert!(!err.contains("leads nowhere"), "{err}");
}

/// The reaper is a copy of the program: what that knows is not for the stage.
#[test]
fn case_53_a_stage_cannot_look_into_its_reaper() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        skipped("only root can become another user");
        return;
    }
    let mut space = space(
        r#"
  spy:
    run: "cat ${needs.in} > ${outputs.o}; cat /proc/$PPID/maps || echo closed >> ${outputs.o}"
    needs: {in: {file: in.txt}}
    outputs: {o: o}
    sandbox: off
"#,
    );
    space.write("in.txt", "in\n");
    space.set_env("MY_TOKEN", "very-secret");
    let said = space.run_command(as_nobody(&space, &["run"]));
    said.expect(0, &["run"]);
    assert_eq!(space.read("artifacts/spy/o"), "in\nclosed\n");
}

#[test]
fn case_56_read_only_directories_of_a_killed_stage_are_removed() {
    let space = space(
        r#"
  make:
    run: "mkdir -p d/e; touch d/e/f; chmod 555 d/e d; touch ${outputs.o}; sleep 1000"
    outputs: {o: o}
"#,
    );
    let mut child = as_nobody(&space, &["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    for _ in 0..3000 {
        if space
            .store_files("tmp")
            .iter()
            .any(|p| p.ends_with("work/o"))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    crate::support::processes::kill_dead(&mut child);
    space.expect_no_processes();
    space.edit("pipeline.yaml", "; sleep 1000", "");
    space
        .run_command(as_nobody(&space, &["run"]))
        .expect(0, &[]);
    let left = std::fs::read_dir(space.store.join("tmp")).expect("a directory");
    let left: Vec<_> = left.flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

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
