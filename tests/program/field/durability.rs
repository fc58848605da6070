//! The store and the program by force: failing system calls, foreign files, long chains, odd file
//! systems.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::skipped::skipped;
use crate::support::{TestSpace, wait};

/// Two stages, the second of the first.
pub(super) const TWO: &str = "
version: 1
name: two
stages:
  a:
    needs: {in: {file: in.txt}}
    run: cat in.txt in.txt > ${outputs.o}; echo said by a
    outputs: {o: a.txt}
  b:
    needs: {a: a.o}
    run: sort ${needs.a} > ${outputs.o}
    outputs: {o: b.txt}
";

pub(super) fn two() -> TestSpace {
    let space = TestSpace::with_pipeline(TWO);
    space.write("in.txt", "hello\n");
    space
}

/// The program under a limit of the shell's.
fn limited(space: &TestSpace, limit: &str, args: &[&str]) -> Command {
    let own = space.command(args);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{limit}; exec \"$0\" \"$@\""));
    command.arg(own.get_program()).args(args);
    command
        .current_dir(&space.project)
        .env_clear()
        .stdin(Stdio::null());
    command.envs(own.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Many results that are there, one behind the other, were resolved by recursion: the stack ended
/// after some thousands.
#[test]
fn case_13_a_long_chain_of_results_that_are_there_needs_no_stack() {
    let space = TestSpace::with_pipeline(
        "
version: 1
name: chain
stages:
  init: {run: 'echo start > ${outputs.m}', outputs: {m: m.txt}}
  loop:
    rounds: {count: 3000, first: {m: init.m}, carry: {m: step.m}}
    stages:
      step:
        needs: {m: '${round.m}'}
        run: 'cat ${needs.m} > /dev/null; echo same > ${outputs.m}'
        outputs: {m: m.txt}
",
    );
    // A stack of an eighth, for a chain of a tenth.
    let mut command = limited(&space, "ulimit -s 1024", &["run", "--quiet"]);
    let said = space.run_command(command);
    assert_eq!(said.code, 0, "{}", said.err);
    command = limited(&space, "ulimit -s 1024", &["run", "--json"]);
    let said = space.run_command(command).expect(0, &["run"]);
    let summary: serde_json::Value =
        serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(summary["cached"].as_u64(), Some(3001));
}

/// A pipe in the place of a file would be read for ever.
#[test]
fn case_61_pipes_in_the_state_directory_hang_nothing() {
    let space = two();
    space.ok(&["run"]);
    let key = space.json(&["status"])[0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let journal = fs::read_dir(space.path(".repro/runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let log = format!(".repro/logs/{key}.log");
    let paths = [".repro/index", ".repro/stats", ".repro/turn", &log];
    for path in paths.iter().map(|p| space.path(p)).chain([journal.path()]) {
        for sort in ["fifo", "directory", "link to a device"] {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            match sort {
                "fifo" => fifo(&path),
                "directory" => fs::create_dir(&path).unwrap(),
                _ => symlink("/dev/zero", &path).unwrap(),
            }
            for args in [
                &["diff", "last", "last"][..],
                &["why", "b"],
                &["log"],
                &["logs", "a"],
                &["run"],
                &["status"],
            ] {
                let said = space.run(args);
                let is_told = said.code == 0 || !said.err.is_empty();
                assert!(
                    is_told && said.code != 101,
                    "{} as {sort}: {args:?}: {}",
                    path.display(),
                    said.err
                );
            }
        }
    }
    space.run(&["run"]).expect(0, &["run"]);
}

/// A file with holes takes the space of what it holds, in the store and under artifacts/.
#[test]
fn case_61_holes_stay_holes() {
    let space = TestSpace::with_pipeline(
        "
version: 1
name: holes
stages:
  one: {run: 'truncate -s 1G ${outputs.o}; printf end >> ${outputs.o}', outputs: {o: o.bin}}
  # With a second name it is copied into the store.
  linked: {run: 'truncate -s 1G ${outputs.o}; printf End >> ${outputs.o}; ln ${outputs.o} other', outputs: {o: o.bin}}
",
    );
    space.ok(&["run"]);
    let store: u64 = space
        .store_files("objects")
        .iter()
        .map(|p| p.metadata().unwrap().blocks())
        .sum();
    let shown: u64 = ["one", "linked"]
        .iter()
        .map(|s| {
            space
                .path(&format!("artifacts/{s}/o.bin"))
                .metadata()
                .unwrap()
                .blocks()
        })
        .sum();
    assert!(
        store < 1000 && shown < 1000,
        "{store} and {shown} blocks of 512 bytes"
    );
    let mut end = String::new();
    let mut file = File::open(space.path("artifacts/linked/o.bin")).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(1 << 30)).unwrap();
    file.read_to_string(&mut end).unwrap();
    assert_eq!(end, "End");
}

/// Tools installed with cargo can be used; what else lies beside them is nobody's business.
#[test]
fn case_61_a_path_with_cargo_opens_no_credentials() {
    let mut space = TestSpace::with_pipeline(
        "
version: 1
name: tools
stages:
  good: {run: 'mytool > ${outputs.o}', outputs: {o: o.txt}}
  bad: {run: 'cat ~/.cargo/credentials.toml $CARGO/credentials.toml > ${outputs.o}', env: {CARGO: $HOME}, outputs: {o: o.txt}}
",
    );
    let home = space.path("../home/.cargo");
    fs::create_dir_all(home.join("bin")).unwrap();
    fs::write(home.join("credentials.toml"), "secret").unwrap();
    fs::write(home.join("bin/mytool"), "#!/bin/sh\necho works\n").unwrap();
    fs::set_permissions(home.join("bin/mytool"), fs::Permissions::from_mode(0o755)).unwrap();
    let home = fs::canonicalize(home).unwrap();
    space.edit("pipeline.yaml", "env: {CARGO: $HOME}, ", "");
    space.edit(
        "pipeline.yaml",
        "~/.cargo/credentials.toml $CARGO/",
        &format!("{}/", home.display()),
    );
    let path = std::env::var("PATH").unwrap();
    space.set_env("PATH", format!("{}/bin:{path}", home.display()));
    let said = space.run(&["run", "-k"]);
    if !said.err.contains("Landlock") {
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(!space.exists("artifacts/bad/o.txt"));
    }
    assert_eq!(space.read("artifacts/good/o.txt"), "works\n");
}

/// A link that somebody put into the store leads nowhere: nothing of the user's is read, truncated
/// or written through it.
#[test]
fn case_59_links_in_the_store_are_not_followed() {
    let space = two();
    space.ok(&["run"]);
    let key = space.json(&["status"])[0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    space.write("mine", "precious");
    space.write("in.txt", "other\n");
    for name in [format!("locks/{key}"), "seals".into(), "gc.lock".into()] {
        let path = space.store.join(&name);
        let _ = fs::remove_file(&path);
        symlink(space.path("mine"), &path).unwrap();
        space.edit("in.txt", "o", "oo");
        let said = space.run(&["run"]);
        assert_eq!(space.read("mine"), "precious", "{name}: {}", said.err);
        assert!([0, 1, 5].contains(&said.code), "{name}: {}", said.err);
        fs::remove_file(&path).unwrap();
        space.run(&["run"]).expect(0, &["run"]);
    }
    // Every key may come next.
    for byte in 0..=255u8 {
        let dir = space.store.join(format!("objects/{byte:02x}"));
        fs::create_dir_all(dir).unwrap();
    }
    for dir in ["tmp", "leases", "pins", "quarantine"] {
        symlink(space.path("mine"), space.store.join(dir).join("x.lock")).unwrap();
        symlink(space.path("mine"), space.store.join(dir).join("0.1.1.0")).unwrap();
    }
    space.edit("in.txt", "o", "ooo");
    space.run(&["run"]).expect(0, &["run"]);
    space.run(&["gc"]);
    assert_eq!(space.read("mine"), "precious");
}

/// The same for a part of the store as a whole: nothing is written to where it leads, and the
/// message says what to do.
#[test]
fn case_59_a_part_of_the_store_that_is_a_link_is_refused() {
    let space = two();
    space.ok(&["run"]);
    let elsewhere = space.path("elsewhere");
    let aside = space.store.with_extension("aside");
    for part in [
        "objects",
        "actions",
        "locks",
        "tmp",
        "leases",
        "views",
        "seals",
        "objects/ab",
    ] {
        let path = space.store.join(part);
        let was_there = fs::rename(&path, &aside).is_ok();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        space.edit("in.txt", "\n", "o\n");
        let said = space.run(&["run"]);
        assert_eq!(said.code, 5, "{part}: {}", said.err);
        assert!(
            said.err.contains("is a link") && said.err.contains("(`rm /"),
            "{part}: {}",
            said.err
        );
        // It is empty still.
        fs::remove_dir(&elsewhere).unwrap();
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
        space.ok(&["run"]);
    }
    // The store as a whole may lie where its user wants it.
    fs::rename(&space.store, &aside).unwrap();
    symlink(&aside, &space.store).unwrap();
    space.edit("in.txt", "\n", "o\n");
    space.ok(&["run"]);
}

#[test]
fn case_59_a_store_that_strangers_may_write_is_refused() {
    let space = two();
    space.ok(&["run"]);
    let locks = space.store.join("locks");
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o777)).unwrap();
    let said = space.run(&["run"]).expect(5, &["run"]);
    assert!(said.err.contains("every user may write"), "{}", said.err);
    assert!(said.err.contains("chmod o-w"), "{}", said.err);
}

/// Damaged files of the state directory are moved aside with a warning, in little time and memory.
#[test]
fn case_47_damaged_state_files_are_set_aside() {
    let space = two();
    space.ok(&["run"]);
    space.write("in.txt", "changed\n");
    space.ok(&["run"]);
    let journal = fs::read_dir(space.path(".repro/runs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let name = format!(".repro/runs/{}", journal.file_name().to_str().unwrap());
    for file in [".repro/index", ".repro/stats", &name] {
        let path = space.path(file);
        let whole = fs::read(&path).unwrap();
        for damage in ["garbage", "holes", "brackets"] {
            match damage {
                "garbage" => fs::write(&path, b"\xff\x00\n".repeat(1 << 20)).unwrap(),
                "holes" => File::create(&path).unwrap().set_len(1 << 40).unwrap(),
                _ => fs::write(&path, b"[".repeat(20 << 20)).unwrap(),
            }
            let mut warned = String::new();
            for args in [&["diff"][..], &["why", "b"], &["log"], &["status"]] {
                // Three gigabytes of address space are enough.
                let said = space.run_command(limited(&space, "ulimit -v 3000000", args));
                // One run is left to compare.
                let codes: &[i32] = if args[0] == "diff" { &[0, 2] } else { &[0] };
                assert!(
                    codes.contains(&said.code),
                    "{file}, {damage}: {args:?}: {}",
                    said.err
                );
                warned += &said.err;
            }
            assert!(warned.contains("is damaged"), "{file}, {damage}: {warned}");
            assert!(space.exists(&format!("{file}.damaged")));
            fs::remove_file(space.path(&format!("{file}.damaged"))).unwrap();
            fs::write(&path, &whole).unwrap();
        }
    }
}

/// Runs of one project on different targets, begun and ended in any order: all are remembered.
#[test]
fn case_12_thirty_two_runs_at_once_are_all_remembered() {
    let space = TestSpace::with_pipeline(
        "
version: 1
name: array
stages:
  job:
    matrix: {n: {range: [0, 32]}}
    run: 'sleep 0.${matrix.n}; echo ${matrix.n} > ${outputs.o}'
    outputs: {o: o.txt}
",
    );
    let seeds: Vec<String> = (0..32).map(|n| n.to_string()).collect();
    space.edit(
        "pipeline.yaml",
        "{range: [0, 32]}",
        &format!("[{}]", seeds.join(", ")),
    );
    let children: Vec<_> = (0..32)
        .map(|n| space.start(&["run", "-j1", &format!("job[n={n}]")]))
        .collect();
    for child in children {
        assert_eq!(wait(child).status.code(), Some(0));
    }
    let lock = space.read("repro.lock");
    for n in 0..32 {
        assert!(
            lock.contains(&format!("[instance.\"job[n={n}]\"]")),
            "{n}: {lock}"
        );
    }
    // The index knows them too: with the store's records out of the way it alone would tell.
    fs::rename(
        space.store.join("actions"),
        space.store.join("actions.away"),
    )
    .unwrap();
    fs::create_dir(space.store.join("actions")).unwrap();
    let states = space.json(&["status"]);
    let cached = states
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["state"] == "cached");
    assert_eq!(cached.count(), 32);
}

/// A single file that may be executed stays so: for who needs it, under artifacts/, out of the
/// cache, over a remote, in a bundle.
#[test]
fn case_5_a_program_stays_executable() {
    let pipeline = "
version: 1
name: tools
stages:
  build: {run: 'printf \"#!/bin/sh\\necho built\\n\" > ${outputs.o}; chmod +x ${outputs.o}', outputs: {o: tool}}
  use: {needs: {tool: build.o}, run: '${needs.tool} > ${outputs.o}', outputs: {o: o.txt}}
";
    let space = TestSpace::with_pipeline(pipeline);
    let is_program =
        |path: &Path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o111 == 0o111);
    space.ok(&["run"]);
    let tool = space.path("artifacts/build/tool");
    assert_eq!(space.read("artifacts/use/o.txt"), "built\n");
    assert!(is_program(&tool));
    assert!(
        space.read("repro.lock").contains("\"o\" = \"program:"),
        "{}",
        space.read("repro.lock")
    );
    // Restored from the cache; and a bit that somebody took away is a change.
    fs::remove_file(&tool).unwrap();
    assert!(space.executed(&[]).is_empty());
    assert!(is_program(&tool));
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    space.ok(&["run"]);
    assert!(is_program(&tool));
    space.run(&["verify", "--no-sign"]);
    space.run(&["replay", "build"]).expect(0, &["replay"]);
    space.run(&["fsck"]).expect(0, &["fsck"]);
    space.run(&["gc"]).expect(0, &["gc"]);
    assert!(space.executed(&[]).is_empty());
    // Elsewhere: by a remote, and by a bundle.
    space.ok(&["trust", "init", "--name", "ben", "--no-passphrase"]);
    space.ok(&[
        "remote",
        "add",
        "there",
        space.path("../remote").to_str().unwrap(),
    ]);
    space.ok(&["push"]);
    space.ok(&["export", "--bundle", "../study.repro", "--sign"]);
    let sharing = [
        "pipeline.yaml",
        "repro.lock",
        "repro.trust.toml",
        "repro.remotes.toml",
    ];
    for (name, taken) in [
        ("clone", &["pull"][..]),
        ("imported", &["import", "../study.repro"]),
    ] {
        let clone = space.other_project(name);
        for file in sharing {
            fs::copy(space.path(file), clone.join(file)).unwrap();
        }
        let store = space.path(&format!("../store-{name}"));
        let run = |args: &[&str]| {
            let mut command = space.command(args);
            command.current_dir(&clone).env("REPRO_STORE", &store);
            space.run_command(command).expect(0, args)
        };
        run(taken);
        let said = run(&["run", "--json"]);
        assert!(
            !said.out.contains("\"event\":\"started\""),
            "{name}: {}",
            said.out
        );
        run(&["run", "build"]);
        assert!(is_program(&clone.join("artifacts/build/tool")), "{name}");
    }
}

/// Whether an input may be executed is seen by the command, so it is in the key; that of any other
/// file is as it was.
#[test]
fn case_61_the_exec_bit_of_a_single_file_is_in_the_key() {
    let space = TestSpace::with_pipeline(
        "
version: 1
name: bits
stages:
  s: {needs: {t: {file: tool.sh}}, run: 'test -x tool.sh && echo yes > ${outputs.o} || echo no > ${outputs.o}', outputs: {o: o.txt}}
",
    );
    space.write("tool.sh", "echo x\n");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/s/o.txt"), "no\n");
    let key = space.json(&["status"])[0]["key"].clone();
    let tool = space.path("tool.sh");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(space.executed(&[]), ["s"]);
    assert_eq!(space.read("artifacts/s/o.txt"), "yes\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(space.executed(&[]).is_empty());
    assert_eq!(space.json(&["status"])[0]["key"], key);
    assert_eq!(space.read("artifacts/s/o.txt"), "no\n");
}

/// Three stages, one of them with a directory.
const THREE: &str = "
version: 1
name: three
stages:
  a:
    needs: {in: {file: in.txt}}
    run: 'cat in.txt in.txt > ${outputs.o}; mkdir ${outputs.d}; echo x > ${outputs.d}/x; echo said'
    outputs: {o: a.txt, d: tree}
  b:
    needs: {a: a.o, d: a.d}
    run: 'sort ${needs.a} > ${outputs.o}; cat ${needs.d}/x >> ${outputs.o}'
    outputs: {o: b.txt}
  c:
    needs: {b: b.o}
    run: 'tail -n 1 ${needs.b} > ${outputs.o}'
    outputs: {o: c.txt}
";

/// What the artifacts of [`THREE`] must be.
fn is_right(space: &TestSpace) -> bool {
    let shown = [
        ("artifacts/a/a.txt", "hello\nhello\n"),
        ("artifacts/a/tree/x", "x\n"),
        ("artifacts/b/b.txt", "hello\nhello\nx\n"),
        ("artifacts/c/c.txt", "x\n"),
    ];
    let is_so =
        |(path, text): (&str, &str)| fs::read_to_string(space.path(path)).is_ok_and(|t| t == text);
    shown.into_iter().all(is_so)
}

/// System calls fail, in whatever process of a run: it ends in success, with everything shown, or
/// with an error that is told; and the next one needs no help.
#[test]
fn case_37_failing_system_calls_end_in_an_answer() {
    let strace = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    if !strace.as_ref().is_ok_and(|o| o.status.success()) {
        skipped(format_args!("strace cannot be used here: {strace:?}"));
        return;
    }
    let injections = [
        ("write", "ENOSPC", "3"),
        ("write", "EIO", "9"),
        ("fsync", "EIO", "1"),
        ("syncfs", "EIO", "1"),
        ("renameat2", "EIO", "1"),
        ("renameat2", "ENOSPC", "2"),
        ("rename", "EACCES", "1"),
        ("rename", "EIO", "2"),
        ("openat", "EIO", "40"),
        ("openat", "EACCES", "70"),
        ("openat", "ENOSPC", "100"),
        ("close", "EIO", "5"),
        ("close", "EIO", "9"),
        ("close", "EIO", "31"),
        ("newfstatat", "EIO", "1"),
        ("newfstatat", "EIO", "4"),
        ("statx", "EIO", "10"),
        ("statx", "EACCES", "30"),
        ("mkdir", "ENOSPC", "2"),
        ("mkdir", "EACCES", "9"),
        ("unlink", "EIO", "1"),
        ("unlinkat", "EIO", "1+"),
        ("fchmod", "EIO", "1"),
        ("chmod", "EIO", "1"),
        ("getdents64", "EIO", "2"),
        ("read", "EIO", "12"),
        ("pread64", "EIO", "1"),
        ("ftruncate", "EIO", "1"),
        ("flock", "EIO", "2"),
        ("mount", "EIO", "1"),
        ("clone3", "EAGAIN", "2"),
    ];
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some((call, error, when)) =
            injections.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let space = TestSpace::with_pipeline(THREE);
            space.write("in.txt", "hello\n");
            let mut command = Command::new("strace");
            command.args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
            ]);
            command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
            let own = space.command(&["run"]);
            command
                .arg(own.get_program())
                .arg("run")
                .current_dir(&space.project)
                .env_clear();
            command
                .envs(own.get_envs().filter_map(|(k, v)| Some((k, v?))))
                .stdin(Stdio::null());
            let said = space.run_command(command);
            let what = format!("{call} {error} {when}: code {}\n{}", said.code, said.err);
            // A kernel without the call, or a program that does not use it, is fine: then nothing
            // fails.
            assert!(
                !said.err.contains("panicked") && !said.err.contains("BUG"),
                "{what}"
            );
            let never_began = said.err.contains("error while loading shared libraries");
            assert!((0..=5).contains(&said.code) || never_began, "{what}");
            assert!(
                said.code != 0 || is_right(&space),
                "it ended well, and shows something else: {what}"
            );
            assert!(
                said.code == 0 || !said.err.trim().is_empty(),
                "it says nothing: {what}"
            );
            let again = space.run(&["run"]);
            assert!(
                again.code == 0 && is_right(&space),
                "the next run needs help: {}\n{what}",
                again.err
            );
            let checked = space.run(&["fsck"]);
            assert_eq!(checked.code, 0, "{}{}\n{what}", checked.out, checked.err);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
