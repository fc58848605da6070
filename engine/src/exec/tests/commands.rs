//! What a command stage sees, and what becomes of its ends.

use super::*;

#[test]
fn success_with_usage_log_and_lines() {
    let mut bench = Bench::new(
        "echo to the log; echo and more >&2; cat in.txt > out.txt",
        &["out.txt"],
    );
    bench.project_file("in", "in.txt", "hello");
    let finished = bench.run().unwrap();
    assert_eq!(
        std::fs::read_to_string(&finished.outputs["out.txt"]).unwrap(),
        "hello"
    );
    assert_eq!(
        std::fs::read_to_string(&finished.log).unwrap(),
        "to the log\nand more\n"
    );
    assert_eq!(bench.lines(), ["to the log", "and more"]);
    assert!(
        finished.usage.max_rss_bytes > 100_000 && finished.usage.wall_s > 0.0,
        "{:?}",
        finished.usage
    );
    assert!(finished.pins.is_empty() && finished.figures.is_empty());
    discard(&bench.request.dir).unwrap();
    assert!(!bench.request.dir.exists());
    discard(&bench.request.dir).unwrap();
}

#[test]
fn exit_code_and_tail() {
    let mut bench = Bench::new("for i in $(seq 100); do echo line $i; done; exit 7", &[]);
    let failure = bench.fails();
    assert!(
        matches!(failure.cause, Cause::Exit { code: 7 }),
        "{failure}"
    );
    assert_eq!(failure.tail.len(), log::TAIL_LINES);
    let text = failure.to_string();
    assert!(
        text.starts_with("stage `a`: it exited with code 7\n") && text.contains("line 100"),
        "{text}"
    );
    assert!(failure.log.is_some_and(|l| l.is_file()));
}

#[test]
fn death_by_signal() {
    let failure = Bench::new("kill -SEGV $$", &[]).fails();
    assert!(
        matches!(
            failure.cause,
            Cause::Signal {
                signal: libc::SIGSEGV,
                ..
            }
        ),
        "{failure}"
    );
    let failure = Bench::new("kill -KILL $$", &[]).fails();
    assert!(failure.to_string().contains("memory runs out"), "{failure}");
}

#[test]
fn a_shell_that_is_missing() {
    let mut bench = Bench::new("true", &[]);
    let shell = ["no-such-shell", "-c"].map(String::from).into();
    let command = Command {
        script: "true".into(),
        setup: Arc::new(Setup {
            shell,
            ..Setup::default()
        }),
    };
    bench.request.work = Work::Command(Arc::new(command));
    let text = bench.fails().to_string();
    assert!(
        text.contains("`no-such-shell` cannot be started") && text.contains("PATH"),
        "{text}"
    );
}

#[test]
fn a_missing_output_is_named() {
    let mut bench = Bench::new("echo x > a.txt", &["a.txt", "sub/b.txt"]);
    let failure = bench.fails();
    assert!(
        matches!(&failure.cause, Cause::OutputMissing { name, .. } if &**name == "sub/b.txt"),
        "{failure}"
    );
}

#[test]
fn outputs_that_leave_the_directory() {
    for (script, part) in [
        ("ln -s /etc/hostname o", "leads out of"),
        ("ln -s nowhere o", "leads nowhere"),
        ("mkfifo o", "neither a file nor"),
        ("mkdir o; ln -s ../../log o/x", "symlink out of it"),
        ("mkdir o; mkdir o/d; ln -s ../.. o/d/x", "symlink out of it"),
        ("mkdir o; mkfifo o/p", "neither a file nor"),
        ("ln -s . o", "leads out of"),
    ] {
        let failure = Bench::new(script, &["o"]).fails();
        let text = failure.to_string();
        assert!(
            matches!(failure.cause, Cause::BadOutput { .. }) && text.contains(part),
            "{script}: {text}"
        );
    }
    // Its parent directory replaced by a way out.
    let mut bench = Bench::new("rmdir d; ln -s /etc d", &["d/hostname"]);
    assert!(matches!(bench.fails().cause, Cause::BadOutput { .. }));
    // Links inside are fine.
    let mut bench = Bench::new(
        "mkdir -p o/d; echo x > o/y; ln -s ../y o/d/x; ln -s o/y p",
        &["o", "p"],
    );
    assert_eq!(bench.output("p"), "x\n");
}

#[test]
fn strange_names() {
    let mut bench = Bench::new("cat 'in put\n\"ü\"/x y' > 'out\nput'", &["out\nput"]);
    bench.project_file("x", "in put\n\"ü\"/x y", "strange");
    assert_eq!(bench.output("out\nput"), "strange");
}

#[test]
fn the_environment_is_what_is_declared() {
    let mut bench = Bench::new("env > out", &["out"]);
    if let Work::Command(command) = &mut bench.request.work {
        let env = [("DECLARED", "va lue"), ("TZ", "Europe/Paris")];
        *command = Arc::new(Command {
            script: command.script.clone(),
            setup: Arc::new(Setup {
                shell: command.setup.shell.clone(),
                env: env
                    .iter()
                    .map(|(k, v)| ((*k).into(), (*v).into()))
                    .collect(),
                ..Setup::default()
            }),
        });
    }
    let text = bench.output("out");
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.retain(|n| !["_", "PWD", "OLDPWD", "SHLVL"].contains(n));
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "DECLARED",
            "HOME",
            "LANG",
            "PATH",
            "PYTHONUNBUFFERED",
            "TMPDIR",
            "TZ"
        ]
    );
    assert!(
        text.contains("DECLARED=va lue\n") && text.contains("TZ=Europe/Paris\n"),
        "{text}"
    );
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(value("HOME="), value("TMPDIR="));
    assert!(value("TMPDIR=").len() < 40, "{text}");
}

#[test]
fn home_and_tmp_can_be_written_and_stdin_is_empty() {
    let mut bench = Bench::new(
        "cat > out; echo x > $HOME/x; t=$(mktemp); echo y > $t; cat $HOME/x $t >> out",
        &["out"],
    );
    assert_eq!(bench.output("out"), "x\ny\n");
    assert!(bench.notes.is_empty(), "{:?}", bench.notes);
}

#[test]
fn extra_files_are_mentioned() {
    let mut bench = Bench::new(
        "echo > out; mkdir -p more d/__pycache__; echo > more/x; echo > d/stray",
        &["out", "d/o"],
    );
    bench.request.outputs = specs(&["out", "d"]);
    bench.run().unwrap();
    let [Note::Event(Event::Warning { text })] = bench.notes.as_slice() else {
        panic!("{:?}", bench.notes)
    };
    assert!(
        text.contains("`more`") && !text.contains("stray") && !text.contains("`out`"),
        "{text}"
    );
}

#[test]
fn the_copy_of_a_project_file_is_the_commands_own() {
    let mut bench = Bench::new("echo changed > in.txt; ./run.sh > out", &["out"]);
    let file = bench.project_file("in", "in.txt", "original");
    let script = bench.project_file("run", "run.sh", "#!/bin/sh\ncat in.txt\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(bench.output("out"), "changed\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "original");
}

#[test]
fn directories_are_copied_with_their_links() {
    let mut bench = Bench::new("cat d/s/link > out; cat d/outside >> out", &["out"]);
    bench.file("project/d/x", "x");
    bench.file("elsewhere", "y");
    let d = bench.root.path().join("project/d");
    std::fs::create_dir(d.join("s")).unwrap();
    std::os::unix::fs::symlink("../x", d.join("s/link")).unwrap();
    std::os::unix::fs::symlink(bench.root.path().join("elsewhere"), d.join("outside")).unwrap();
    bench.need("d", "d", InputOrigin::ProjectFile(d));
    assert_eq!(bench.output("out"), "xy");
    assert!(bench.request.dir.join("work/d/s/link").is_symlink());
    assert!(bench.request.dir.join("work/d/outside").is_file());
}

#[test]
fn an_input_that_vanished_is_named() {
    let mut bench = Bench::new("true", &[]);
    let file = bench.project_file("in", "in.txt", "");
    std::fs::remove_file(file).unwrap();
    let failure = bench.fails();
    assert!(
        matches!(&failure.cause, Cause::Input { need, .. } if &**need == "in"),
        "{failure}"
    );
}

#[test]
fn what_a_killed_execution_left_is_replaced_and_a_strangers_directory_is_not() {
    let mut bench = Bench::new("test ! -e old; echo x > out", &["out"]);
    std::fs::create_dir_all(bench.request.dir.join("work/old")).unwrap();
    assert_eq!(bench.output("out"), "x\n");
    discard(&bench.request.dir).unwrap();
    bench.file("project/.repro/work/1/precious", "");
    assert!(matches!(bench.fails().cause, Cause::Io { .. }));
    assert!(bench.request.dir.join("precious").exists());
}

#[test]
fn a_big_log_is_bounded_in_memory_and_kept_on_disk() {
    let mut bench = Bench::new(
        "head -c 30000000 /dev/zero | tr '\\0' x; (yes || true) | head -n 1000000; printf 'last\\377'; exit 1",
        &[],
    );
    let failure = bench.fails();
    assert_eq!(failure.tail.last().unwrap(), "last\u{fffd}");
    assert!(failure.tail.iter().map(String::len).sum::<usize>() < 200_000);
    assert_eq!(
        std::fs::metadata(failure.log.unwrap()).unwrap().len(),
        30_000_000 + 2_000_000 + 5
    );
}

#[test]
fn the_memory_limit_is_reported_as_such() {
    let script = "python3 -c 'x = bytearray(800 << 20)'";
    let mut bench = Bench::new(script, &[]).policy(|p| p.memory_bytes = Some(200 << 20));
    let failure = bench.fails();
    assert!(
        matches!(failure.cause, Cause::OutOfMemory { limit_bytes } if limit_bytes == 200 << 20),
        "{failure}"
    );
    Bench::new(script, &[])
        .policy(|p| p.memory_bytes = Some(2 << 30))
        .run()
        .unwrap_or_else(|f| panic!("{f}"));
}

#[test]
fn nothing_starts_after_a_cancel() {
    let mut bench = Bench::new("true", &[]);
    bench.cancel.raise(CancelLevel::Graceful);
    assert!(matches!(bench.fails().cause, Cause::Cancelled));
    assert!(!bench.request.dir.exists());
}
