//! What a command sees of its inputs, and what it can reach beside them.

use std::os::unix::fs::MetadataExt;

use crate::support::TestSpace;

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
        println!("not checked: {confinement}");
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
        space.ok(&["run", "use"]);
        // What the stage made itself is new.
        let after: Vec<_> = stats()
            .into_iter()
            .filter(|s| before.iter().any(|b| b.0 == s.0))
            .collect();
        // Without rooms a sandbox cannot keep a command from changing modes; bytes and times of objects stay all the same.
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
            println!("not checked: {}", said.out);
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
        // Which user runs this must not matter: root reads everything, so the modes are looked at too.
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
        println!("not checked: /dev/shm cannot be written");
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
            println!("not checked: no Landlock");
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
