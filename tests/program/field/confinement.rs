//! What a stage, and a program that is asked for its kinds, can reach and leave behind.

use std::process::Stdio;
use std::time::Duration;

use super::changing::copying_kind;
use super::changing::write_program;
use super::processes::space;
use crate::support::TestSpace;
use crate::support::lab::Lab;
use crate::support::skipped::skipped;

/// Keys of CI live in the environment, under names that nobody can list, and any stage could read
/// them there.
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
