//! What a command sees of its inputs, and what it can reach beside them.

use std::os::unix::fs::MetadataExt;

use crate::support::TestSpace;
use crate::support::skipped::skipped;

/// How commands are confined on this machine, from what a stage says of itself.
fn confinement() -> String {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}\n",
    );
    let (_, events) = space.events(&[]);
    let sandbox = events.iter().find_map(|e| e["sandbox"].as_str());
    sandbox.unwrap_or("no stage ran").to_owned()
}

/// Whether commands have rooms of their own here; the tests say so where they cannot check.
fn has_rooms() -> bool {
    let confinement = confinement();
    if confinement != "enforced" {
        skipped(format_args!("in part: {confinement}"));
    }
    confinement == "enforced"
}

const TREE: &str = r#"version: 1
stages:
  make:
    run: |
      mkdir -p d/sub; echo one > d/a.txt; echo two > d/sub/b.txt; echo one > d/same.txt
      printf '#!/bin/sh\necho ran\n' > d/tool; chmod +x d/tool; ln -s a.txt d/link
      head -c 3000000 /dev/zero > big.bin
    outputs: {d: d, big: big.bin}
  use:
    needs: {d: make.d, big: make.big, script: {file: script.sh}}
    run: "SCRIPT"
    outputs: {out: out}
"#;

fn tree_and(script: &str) -> TestSpace {
    let space = TestSpace::with_pipeline(&TREE.replace("SCRIPT", script));
    space.write("script.sh", "echo a script\n");
    space
}

const LOOKS: &str = "mkdir out; (cd ${needs.d}; find . -type f | sort) > out/files; tar -cf t.tar -C ${needs.d} .; tar -tvf t.tar | cut -c1-10,40-  > out/packed; \
     cp -r ${needs.d} copy; cat copy/sub/b.txt copy/link > out/copied; ${needs.d}/tool >> out/copied; test -f ${needs.big}; test ! -L ${needs.big}; \
     du -b ${needs.big} | cut -f1 >> out/copied; rm t.tar; rm -r copy";

#[test]
fn case_04_inputs_are_ordinary_files_under_their_own_names() {
    for namespaces in ["on", "off"] {
        let mut space = tree_and(LOOKS);
        space.set_env("REPRO_NAMESPACES", namespaces);
        space.ok(&["run", "use"]);
        assert_eq!(
            space.read("artifacts/use/out/files"),
            "./a.txt\n./same.txt\n./sub/b.txt\n./tool\n"
        );
        assert_eq!(
            space.read("artifacts/use/out/copied"),
            "two\none\nran\n3000000\n"
        );
        let packed = space.read("artifacts/use/out/packed");
        let kinds: String = packed.lines().filter_map(|l| l.chars().next()).collect();
        // Two directories, one link, and four files, none of which is packed as a link to another.
        let mut kinds: Vec<char> = kinds.chars().collect();
        kinds.sort_unstable();
        assert_eq!(kinds.iter().collect::<String>(), "----ddl", "{packed}");
    }
}

#[test]
fn case_04_nothing_a_command_does_to_its_inputs_reaches_the_store_or_the_project() {
    let attack = "set +e; exec 2> /dev/null; for f in ${needs.d}/a.txt ${needs.d}/tool ${needs.big} ROOT/data.csv ROOT/script.sh STORE/objects/*/*; do \
         echo bad >> $f; chmod 777 $f && echo bad >> $f; touch -d 2001-01-01 $f; mv $f gone; rm -f $f; \
         setfattr -n user.x -v y $f; ln -f $f linked; done; rm -rf ${needs.d}/sub; touch ${needs.d}/new; chmod 700 STORE ROOT; \
         chmod 000 STORE/objects; mkdir -p ROOT/new; echo ok > ${outputs.out}; true";
    for namespaces in ["on", "off"] {
        let mut space = TestSpace::new();
        space.set_env("REPRO_NAMESPACES", namespaces);
        let script = attack
            .replace("ROOT", space.project.to_str().unwrap())
            .replace("STORE", space.store.to_str().unwrap());
        let pipeline = TREE
            .replace("SCRIPT", &script)
            .replace("script: {file: script.sh}", "data: {file: data.csv}");
        space.write("pipeline.yaml", pipeline);
        space.write("script.sh", "echo a script\n");
        space.write("data.csv", vec![b'x'; 2 << 20]);
        space.ok(&["run", "make"]);
        let stats = || -> Vec<_> {
            let mut files = space.store_files("objects");
            files.extend(["data.csv", "script.sh"].map(|p| space.path(p)));
            let stat = |path: &std::path::PathBuf| {
                let meta = std::fs::symlink_metadata(path).unwrap();
                (path.clone(), meta.mode(), meta.mtime_nsec(), meta.size())
            };
            let mut all: Vec<_> = files.iter().map(stat).collect();
            all.sort();
            all
        };
        let before = stats();
        // Without a room the mode of a project's file can be changed, which makes a program of it:
        // that is noticed.
        let code = space.run(&["run", "use"]).code;
        assert!(code == 0 || (code == 3 && namespaces == "off"), "{code}");
        // What the stage made itself is new.
        let after: Vec<_> = stats()
            .into_iter()
            .filter(|s| before.iter().any(|b| b.0 == s.0))
            .collect();
        // Without rooms a sandbox cannot keep a command from changing modes; bytes and times of
        // objects stay all the same.
        let comparable = |stats: &[(std::path::PathBuf, u32, i64, u64)]| -> Vec<_> {
            let is_store = |p: &std::path::Path| p.starts_with(&space.store);
            let seen = stats
                .iter()
                .filter(|s| namespaces == "on" || is_store(&s.0));
            seen.map(|s| (s.0.clone(), (namespaces == "on").then_some(s.1), s.3))
                .collect()
        };
        if namespaces == "on" && !has_rooms() {
            continue;
        }
        assert_eq!(comparable(&after), comparable(&before), "{namespaces}");
        assert!(!space.exists("new"));
        space.ok(&["fsck"]);
    }
}

#[test]
fn case_04_a_large_input_is_not_copied_for_every_instance() {
    if !has_rooms() {
        return;
    }
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a:\n    matrix: {k: [1, 2, 3]}\n    needs: {f: {file: data.bin}, d: {dir: data}}\n    \
         run: 'stat -c %i ${needs.f} ${needs.d}/part > ${outputs.out}; echo ${matrix.k} > /dev/null'\n    outputs: {out: out}\n",
    );
    space.write("data.bin", vec![7; 3 << 20]);
    space.write("data/part", vec![8; 3 << 20]);
    space.ok(&["run"]);
    let inode = |path: &str| std::fs::metadata(space.path(path)).unwrap().ino();
    let expected = format!("{}\n{}\n", inode("data.bin"), inode("data/part"));
    for k in 1..=3 {
        let seen = space.read(&format!("artifacts/a/k={k}/out"));
        assert_eq!(seen, expected, "the file itself is shown, not a copy");
    }
}

#[test]
fn case_04_a_placeholder_never_becomes_an_output() {
    let space = tree_and("mv in moved; mkdir ${outputs.out}");
    let said = space.run(&["run", "use"]).expect(1, &["run"]);
    assert!(
        said.err.contains("moved or replaced its input"),
        "{}",
        said.err
    );
    let space = tree_and("ln -s ${needs.d} ${outputs.out}");
    let said = space.run(&["run", "use"]).expect(1, &["run"]);
    assert!(said.err.contains("leads to its input `d`"), "{}", said.err);
}

#[test]
fn case_20_tmp_is_private_and_short() {
    let space = TestSpace::new();
    let deep = "a-directory-with-a-long-name/".repeat(6);
    let script = "import os, socket, tempfile\n\
         open('/tmp/by-name', 'w').write('x'); os.listdir('/tmp')\n\
         d = tempfile.mkdtemp(); path = os.path.join(d, 'a-socket-with-a-long-name-of-its-own')\n\
         s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()\n\
         c = socket.socket(socket.AF_UNIX); c.connect(path)\n\
         open('out', 'w').write('fine\\n')\n";
    for namespaces in ["on", "off"] {
        let dir = space.project.join(namespaces).join(&deep);
        std::fs::create_dir_all(&dir).unwrap();
        let script = match namespaces {
            "on" if has_rooms() => script.to_owned(),
            _ => script.replace(
                "open('/tmp/by-name', 'w').write('x'); os.listdir('/tmp')\n",
                "",
            ),
        };
        std::fs::write(dir.join("s.py"), script).unwrap();
        std::fs::write(
            dir.join("pipeline.yaml"),
            "version: 1\nstages:\n  a: {needs: {s: {file: s.py}}, run: 'python3 s.py', outputs: {out: out}}\n",
        )
        .unwrap();
        let mut command = space.command(&["run"]);
        command
            .current_dir(&dir)
            .env("REPRO_STORE", space.store.join(&deep))
            .env("REPRO_NAMESPACES", namespaces);
        space.run_command(command).expect(0, &["run"]);
        assert!(!std::path::Path::new("/tmp/by-name").exists());
        let out = std::fs::read_to_string(dir.join("artifacts/a/out")).unwrap();
        assert_eq!(out, "fine\n");
    }
}

#[test]
fn case_38_shared_memory_is_private_to_the_stage() {
    if !has_rooms() {
        return;
    }
    let name = format!("/dev/shm/repro-test-{}", std::process::id());
    std::fs::write(&name, "not declared").unwrap();
    let space = TestSpace::with_pipeline(&format!(
        "version: 1\nstages:\n  a: {{run: 'ls /dev/shm > ${{outputs.out}}; test ! -e {name}; echo x > {name}', outputs: {{out: out}}}}\n"
    ));
    let said = space.run(&["run"]);
    let left = std::fs::read_to_string(&name).unwrap();
    std::fs::remove_file(&name).unwrap();
    said.expect(0, &["run"]);
    assert_eq!(left, "not declared");
    assert_eq!(space.read("artifacts/a/out"), "");
}

#[test]
fn case_38_a_network_that_is_off_holds_nothing_but_the_stage() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "import socket, threading\n\
         def reaches(port):\n    try: socket.create_connection(('127.0.0.1', port), 5).close(); return True\n    except OSError: return False\n\
         own = socket.socket(); own.bind(('127.0.0.1', 0)); own.listen()\n\
         open('out', 'w').write(f'{{reaches({port})}} {{reaches(own.getsockname()[1])}}\\n')\n"
    );
    let pipeline = "version: 1\nDEFAULTS\nstages:\n  a: {needs: {s: {file: s.py}}, run: 'python3 s.py', MORE outputs: {out: out}}\n";
    let keys: Vec<String> = [
        ("", "", "True True\n"),
        ("", "network: off,", "False True\n"),
        ("defaults: {network: off}", "", "False True\n"),
        ("defaults: {network: off}", "network: on,", "True True\n"),
        ("", "network: off, sandbox: off,", "False True\n"),
    ]
    .into_iter()
    .map(|(defaults, more, expected)| {
        let text = pipeline.replace("DEFAULTS", defaults).replace("MORE", more);
        let space = TestSpace::with_pipeline(&text);
        space.write("s.py", &script);
        let said = space.run(&["run", "--json"]);
        if more.contains("off") && said.out.contains("cannot be switched off") {
            skipped(format_args!("in part: {}", said.out.trim()));
        } else {
            assert_eq!(
                space.read("artifacts/a/out"),
                expected,
                "{defaults} {more} {}",
                said.out
            );
        }
        let key = said.out.split("\"key\":\"").nth(1).unwrap_or_default();
        key.chars().take(64).collect()
    })
    .collect();
    assert!(keys.iter().all(|k| *k == keys[0]), "{keys:?}");
    // Where it cannot be, nothing runs.
    let mut space = TestSpace::with_pipeline(
        &pipeline
            .replace("DEFAULTS", "")
            .replace("MORE", "network: off,"),
    );
    space.write("s.py", "open('out', 'w')");
    space.set_env("REPRO_NAMESPACES", "off");
    let said = space.run(&["run"]).expect(1, &["run"]);
    assert!(
        said.err.contains(
            "its network cannot be switched off on this machine: REPRO_NAMESPACES is off"
        ),
        "{}",
        said.err
    );
}

#[test]
fn case_36_wrong_modes_of_objects_are_set_right() {
    use std::os::unix::fs::PermissionsExt;
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'echo x > ${outputs.out}', outputs: {out: a}}\n  \
         b: {needs: {a: a}, run: 'cat ${needs.a} > ${outputs.out}; echo K >> ${outputs.out}', outputs: {out: b}}\n",
    );
    space.ok(&["run"]);
    for (mode, line) in [(0o000, "echo L"), (0o777, "echo M"), (0o200, "echo N")] {
        for object in space.store_files("objects") {
            std::fs::set_permissions(&object, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let before = space.read("pipeline.yaml");
        let at = before.rfind("echo ").unwrap();
        space.write(
            "pipeline.yaml",
            format!("{}{line}{}", &before[..at], &before[at + 6..]),
        );
        // Which user runs this must not matter: root reads everything, so the modes are looked at
        // too.
        assert_eq!(space.executed(&[]), ["b"]);
        let input = space
            .store_files("objects")
            .into_iter()
            .find(|o| std::fs::read(o).unwrap() == b"x\n");
        let mode = std::fs::metadata(input.unwrap()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o444, "it was {mode:o}");
        let used = space.read("artifacts/a/a");
        assert_eq!(used, "x\n");
    }
}

/// A temporary directory in memory, or nothing where there is none.
fn in_memory() -> Option<tempfile::TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("repro-test-")
        .tempdir_in("/dev/shm");
    if dir.is_err() {
        skipped("/dev/shm cannot be written");
    }
    dir.ok()
}

const WRITE_BY_MAP: &str = "import mmap, sys\n\
     with open(sys.argv[1], 'r+b') as f:\n    m = mmap.mmap(f.fileno(), 0); m[:1] = sys.argv[2].encode(); m.flush()\n";

#[test]
fn case_60_an_input_in_memory_that_changes_through_a_map_is_noticed() {
    let Some(memory) = in_memory() else { return };
    let project = memory.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("in.txt"), "a\n").unwrap();
    std::fs::write(
        project.join("pipeline.yaml"),
        "version: 1\nstages:\n  a: {needs: {t: {file: in.txt}}, run: 'cat ${needs.t} > ${outputs.out}', outputs: {out: out}}\n",
    )
    .unwrap();
    let space = TestSpace::new();
    let run = || space.run_in(&project, &["run"]).expect(0, &["run"]);
    run();
    std::thread::sleep(std::time::Duration::from_millis(100));
    run();
    let changed = std::process::Command::new("python3")
        .args(["-c", WRITE_BY_MAP])
        .arg(project.join("in.txt"))
        .arg("b")
        .status();
    assert!(changed.is_ok_and(|s| s.success()));
    run();
    let out = std::fs::read_to_string(project.join("artifacts/a/out")).unwrap();
    assert_eq!(out, "b\n");
}

#[test]
fn case_60_a_project_and_a_store_in_shared_memory_are_confined_like_any_other() {
    let Some(memory) = in_memory() else { return };
    for namespaces in ["on", "off"] {
        let project = memory.path().join(namespaces);
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("secret.txt"), "secret").unwrap();
        let script = format!(
            "echo ok > out; cat {0}/secret.txt >> out || true; echo bad > {0}/secret.txt || true; \
             echo bad > {1}/store/format || true; touch {0}/new || true",
            project.display(),
            memory.path().display()
        );
        std::fs::write(
            project.join("pipeline.yaml"),
            format!("version: 1\nstages:\n  a: {{run: '{script}', outputs: {{out: out}}}}\n"),
        )
        .unwrap();
        let mut space = TestSpace::new();
        space.store = memory.path().join("store");
        space.set_env("REPRO_NAMESPACES", namespaces);
        let said = space
            .run_in(&project, &["run", "--json"])
            .expect(0, &["run"]);
        if said.out.contains("unavailable") {
            skipped("no Landlock");
            return;
        }
        let out = std::fs::read_to_string(project.join("artifacts/a/out")).unwrap();
        assert_eq!(out, "ok\n", "{namespaces}");
        assert_eq!(
            std::fs::read_to_string(project.join("secret.txt")).unwrap(),
            "secret"
        );
        assert!(!project.join("new").exists());
        assert_ne!(
            std::fs::read_to_string(space.store.join("format")).unwrap(),
            "bad\n"
        );
    }
}

const COUNTS: &str = "version: 1\nstages:\n  a:\n    scratch: true\n    retries: 1\n    \
     run: 'n=$(cat ${scratch}/n 2>/dev/null || echo 0); n=$((n+1)); echo $n > ${scratch}/n; test $n -ge 3; echo $n > ${outputs.out}'\n    \
     outputs: {out: out}\n";

#[test]
fn case_11_scratch_outlives_failures_retries_and_kills_and_is_dropped_on_success() {
    for namespaces in ["on", "off"] {
        let mut space = TestSpace::with_pipeline(COUNTS);
        space.set_env("REPRO_NAMESPACES", namespaces);
        space.run(&["run"]).expect(1, &["run"]);
        let said = space.run(&["run"]).expect(0, &["run"]);
        assert!(
            !said.err.contains("scratch"),
            "it is not told of as an undeclared file: {}",
            said.err
        );
        assert_eq!(space.read("artifacts/a/out"), "3\n");
        let left = std::fs::read_dir(space.path(".repro/scratch")).unwrap();
        assert_eq!(left.count(), 0);
        // Made again from nothing.
        space.run(&["run", "-f", "a"]).expect(1, &["run"]);
    }
    let space = TestSpace::new();
    let mark = space.path("started");
    space.write(
        "pipeline.yaml",
        format!(
            "version: 1\nstages:\n  a:\n    scratch: true\n    sandbox: off\n    run: 'echo step >> ${{scratch}}/steps; cp ${{scratch}}/steps ${{outputs.out}}; \
             if [ $(wc -l < ${{scratch}}/steps) = 1 ]; then touch {}; sleep 100; fi'\n    outputs: {{out: out}}\n",
            mark.display()
        ),
    );
    let mut killed = space.start(&["run"]);
    space.wait_for("started");
    killed.kill().unwrap();
    killed.wait().unwrap();
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/out"), "step\nstep\n");
    // Who wants it has to say so.
    let text = space
        .read("pipeline.yaml")
        .replace("    scratch: true\n", "");
    space.write("pipeline.yaml", text);
    let said = space.run(&["run"]).expect(2, &["run"]);
    assert!(
        said.err.contains("add `scratch: true` to the stage"),
        "{}",
        said.err
    );
}

const FAILS: &str = "version: 1\nstages:\n  make: {run: 'mkdir d; echo one > d/x', outputs: {d: d}}\n  a:\n    matrix: {k: [1, 2]}\n    \
     needs: {d: make.d, s: {file: s.txt}}\n    env: {DECLARED: yes-it-is}\n    \
     run: 'echo half of ${matrix.k} > half.txt; cat ${needs.d}/x; test -e go-on; cp half.txt ${outputs.out}'\n    outputs: {out: out}\n";

#[test]
fn case_11_the_directory_of_the_last_failure_is_kept_named_and_entered() {
    for namespaces in ["on", "off"] {
        let mut space = TestSpace::with_pipeline(FAILS);
        space.set_env("REPRO_NAMESPACES", namespaces);
        space
            .write("s.txt", "small\n")
            .write("secret.txt", "secret\n");
        let said = space.run(&["run", "-k"]).expect(1, &["run"]);
        let named = said
            .err
            .lines()
            .find_map(|l| l.trim().strip_prefix("its directory is kept: "));
        let dir = std::path::PathBuf::from(named.unwrap_or_else(|| panic!("{}", said.err)));
        assert!(said.err.contains("repro shell 'a[k=1]'"), "{}", said.err);
        let half = std::fs::read_to_string(dir.join("half.txt")).unwrap();
        assert!(half.starts_with("half of "));
        // Whoever looks from outside finds the inputs as well.
        assert_eq!(
            std::fs::read_to_string(dir.join("in/d/d/x")).unwrap(),
            "one\n"
        );

        let shell = |words: &[&str]| {
            let mut all = vec!["shell", "a[k=2]", "--"];
            all.extend(words);
            space.run(&all)
        };
        let said = shell(&[
            "sh",
            "-c",
            "cat half.txt in/d/d/x s.txt; echo $DECLARED; cmp $TMPDIR/command - <<E\nx\nE",
        ]);
        assert!(
            said.out.starts_with("half of 2\none\nsmall\nyes-it-is\n"),
            "{said:?}"
        );
        assert_eq!(said.code, 1);
        assert!(
            said.err.contains("as its last failure left it"),
            "{}",
            said.err
        );
        // The walls are there, and the command can be run from inside.
        let secret = space.path("secret.txt").display().to_string();
        assert_eq!(shell(&["cat", &secret]).code, 1, "{}", confinement());
        let said = shell(&[
            "sh",
            "-c",
            "touch go-on; bash -euo pipefail $TMPDIR/command && cat out",
        ]);
        assert_eq!(said.out, "one\nhalf of 2\n", "{}", said.err);

        // Without words it is the stage's shell, which reads what comes.
        let mut command = space.command(&["shell", "a[k=2]"]);
        let script = space.path("typed");
        std::fs::write(&script, "cat half.txt\nexit 0\n").unwrap();
        command.stdin(std::fs::File::open(&script).unwrap());
        assert_eq!(
            space.run_command(command).expect(0, &["shell"]).out,
            "half of 2\n"
        );

        // A success drops it; then there is a new one with the inputs.
        space.edit("pipeline.yaml", "test -e go-on; ", "");
        space.ok(&["run"]);
        assert!(!dir.exists());
        let said = shell(&["sh", "-c", "ls; cat in/d/d/x"]);
        assert_eq!(said.out, "in\ns.txt\none\n");
        assert!(said.err.contains("it has no failure"), "{}", said.err);

        space.edit("pipeline.yaml", "cp half.txt", "false; cp half.txt");
        space.run(&["run", "-k"]).expect(1, &["run"]);
        assert!(
            space
                .ok(&["clean", "--failed"])
                .contains("removed 2 directories of failures")
        );
        assert!(
            space
                .run(&["shell", "make"])
                .expect(0, &["shell"])
                .err
                .contains("it has no failure")
        );
    }
}

#[test]
fn case_04_a_directory_kept_by_replay_shows_the_inputs() {
    let space = tree_and("cat ${needs.d}/a.txt > ${outputs.out}");
    space.ok(&["run"]);
    space.ok(&["replay", "use", "--keep", "kept"]);
    assert_eq!(space.read("kept/work/in/d/d/a.txt"), "one\n");
}

#[test]
fn case_20_a_program_that_insists_on_tmp_is_told_what_to_do_where_tmp_is_shared() {
    let mut space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'echo x > /tmp/repro-test-shared; echo y > ${outputs.out}', outputs: {out: out}}\n",
    );
    if confinement() == "enforced" {
        space.ok(&["run"]);
        space.edit("pipeline.yaml", "echo y", "echo z");
    }
    space.set_env("REPRO_NAMESPACES", "off");
    let said = space.run(&["run"]);
    let _ = std::fs::remove_file("/tmp/repro-test-shared");
    if said.code == 0 {
        skipped("no Landlock");
        return;
    }
    assert!(
        said.err.contains("it was refused `/tmp/repro-test-shared`"),
        "{}",
        said.err
    );
    assert!(said.err.contains("$TMPDIR"), "{}", said.err);
}

/// The file was there before: that it was read cannot be told from the message, and for who wrote
/// it the road is TMPDIR.
#[test]
fn case_20_what_is_written_over_in_a_shared_tmp_belongs_below_tmpdir() {
    let mut space = TestSpace::with_pipeline("");
    let there = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let path = there.path().display().to_string();
    space.set_env("REPRO_NAMESPACES", "off");
    for (command, says, not) in [
        (format!("echo x > {path}"), "it was refused", "copy it into"),
        (
            format!("echo x | tee {path}"),
            "it was refused",
            "copy it into",
        ),
        (format!("T={path}; echo x > $T"), "$TMPDIR", ""),
        (format!("cat {path}"), "declare it under `needs:`", ""),
    ] {
        space.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  a: {{run: '{command}; echo y > ${{outputs.out}}', outputs: {{out: out}}}}\n"),
        );
        let said = space.run(&["run"]);
        if said.code == 0 {
            skipped("no Landlock");
            return;
        }
        assert!(said.err.contains(says), "{command}\n{}", said.err);
        assert!(
            not.is_empty() || (said.err.contains("$TMPDIR") && !said.err.contains(not)),
            "{command}\n{}",
            said.err
        );
    }
}

#[test]
fn case_04_who_looks_from_outside_does_not_take_a_placeholder_for_an_empty_input() {
    if !has_rooms() {
        return;
    }
    let space = tree_and(
        "touch ${outputs.out}; while [ ! -e go-on ]; do sleep 0.05; done; rm go-on; cat ${needs.d}/a.txt > ${outputs.out}",
    );
    let mut run = space.start(&["run", "use"]);
    let work = loop {
        let tmp = std::fs::read_dir(space.store.join("tmp"))
            .into_iter()
            .flatten()
            .flatten();
        let dirs = tmp.filter_map(|s| std::fs::read_dir(s.path().join("work")).ok());
        let works = dirs.flatten().flatten().map(|d| d.path().join("work"));
        if let Some(work) = works.into_iter().find(|w| w.join("out").exists()) {
            break work;
        }
        assert!(run.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let big = std::fs::read_to_string(work.join("in/big/big.bin")).unwrap();
    assert!(big.contains("not the input itself"), "{big}");
    assert!(work.join("in/d/d/THIS-IS-NOT-THE-INPUT").exists());
    std::fs::write(work.join("go-on"), "").unwrap();
    assert!(run.wait().unwrap().success());
    assert_eq!(space.read("artifacts/use/out"), "one\n");
}

#[test]
fn an_input_lies_where_the_command_wants_it() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  make:\n    matrix: {k: [1, 2]}\n    run: 'mkdir d; echo ${matrix.k} > d/x; echo y > d/y'\n    outputs: {d: d}\n  \
         use:\n    matrix: {k: [1, 2]}\n    needs:\n      d: {from: make.d, at: data/in}\n      x: {from: \"make.d/x\", at: \"data/x-${matrix.k}\"}\n      \
         far: {from: {file: ../far.txt}, at: far/away.txt}\n    run: 'cat ${needs.d}/x data/in/y data/x-${matrix.k} ${needs.far} > out'\n    outputs: {out: out}\n",
    );
    space.write("../far.txt", "far\n");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/use/k=2/out"), "2\ny\n2\nfar\n");
    for (from, to, said) in [
        ("at: data/in", "at: ../in", "leaves the project"),
        (
            "at: data/in",
            "at: far/away.txt",
            "two inputs would both be placed at `far/away.txt`",
        ),
        (
            "from: make.d, at",
            "from: \"make[*].d\", at",
            "`at` is the place of one artifact, and here are 2",
        ),
        ("at: data/in", "at: [x]", "expected a path, found a list"),
        ("x-${matrix.k}", "x-${matrix.q}", "`use` has no axis `q`"),
        (
            "at: data/in",
            "at: out",
            "would be written over the input `d`",
        ),
    ] {
        let text = space.read("pipeline.yaml");
        space.edit("pipeline.yaml", from, to);
        let found = space.run(&["run", "-n"]).expect(2, &["run", "-n"]);
        assert!(found.err.contains(said), "{to}: {}", found.err);
        space.write("pipeline.yaml", text);
    }
}

#[test]
fn a_program_finds_the_values_it_reads_in_a_file() {
    let space = TestSpace::with_pipeline(
        "version: 1\nvars: {file: params.yaml}\nstages:\n  a:\n    matrix: {k: [1, 2]}\n    config:\n      \
         params.yaml: {train: \"${vars.train}\", k: \"${matrix.k}\"}\n      conf/x.json: {lr: \"${vars.train.lr}\"}\n      y.toml: {k: {v: \"${matrix.k}\"}}\n    \
         run: 'cat params.yaml conf/x.json y.toml > out'\n    outputs: {out: out}\n",
    );
    space.write("params.yaml", "train: {lr: 1e-7, on: [1, x]}\nother: 1\n");
    space.ok(&["run"]);
    assert_eq!(
        space.read("artifacts/a/k=2/out"),
        "k: 2\ntrain:\n  lr: 1.0e-7\n  \"on\": [1, \"x\"]\n{\n  \"lr\": 1e-7\n}\n[k]\nv = 2\n"
    );
    space.edit("params.yaml", "other: 1", "other: 2");
    assert_eq!(space.executed(&[]), Vec::<String>::new());
    assert_eq!(space.executed(&["--set", "train.lr=2"]).len(), 2);
    for (from, to, said) in [
        ("y.toml:", "y.ini:", "ends with .yaml, .yml, .json or .toml"),
        ("y.toml:", "out:", "ends with"),
        ("out: out", "out: y.toml", "is its output `out`"),
        (
            "conf/x.json: {lr: \"${vars.train.lr}\"}",
            "conf/x.json: 3",
            "expected a map of values",
        ),
        (
            "{v: \"${matrix.k}\"}",
            "{v: null}",
            "cannot be written as TOML",
        ),
        ("y.toml:", "../y.toml:", "a file under `config`"),
        (
            "config:",
            "needs: {p: {file: params.yaml}}\n    config:",
            "would be written over the input `p`",
        ),
    ] {
        let text = space.read("pipeline.yaml");
        space.edit("pipeline.yaml", from, to);
        let found = space.run(&["run", "-n"]).expect(2, &["run", "-n"]);
        assert!(found.err.contains(said), "{to}: {}", found.err);
        space.write("pipeline.yaml", text);
    }
}
