//! What the sandbox denies, and what is said about it.

use super::*;
use crate::skipped::skipped;

#[test]
fn an_undeclared_read_gives_the_line_to_add() {
    for script in [
        "cat helper.py > out",
        "cat ROOT/helper.py > out",
        "python3 -c 'open(\"ROOT/helper.py\")'",
    ] {
        if script.contains("ROOT") && !has_landlock() {
            continue;
        }
        let mut bench = Bench::new("", &["out"]);
        bench.file("project/helper.py", "secret");
        let root = bench.request.project_root.display().to_string();
        rescript(&mut bench, &script.replace("ROOT", &root));
        let failure = bench.fails();
        let Cause::Undeclared {
            path,
            line_to_add,
            wanted,
            ..
        } = &failure.cause
        else {
            panic!("{script}: {failure}")
        };
        assert_eq!((path.as_str(), *wanted), ("helper.py", true));
        assert_eq!(line_to_add, "needs: {helper: {file: helper.py}}");
        let text = failure.to_string();
        assert!(
            text.contains("read `helper.py`, which it does not declare"),
            "{text}"
        );
        assert!(
            text.contains("add to the stage: needs: {helper: {file: helper.py}}"),
            "{text}"
        );
    }
}

fn rescript(bench: &mut Bench, script: &str) {
    let Work::Command(old) = &bench.request.work else {
        unreachable!()
    };
    let command = Command {
        script: script.into(),
        setup: old.setup.clone(),
    };
    bench.request.work = Work::Command(Arc::new(command));
}

#[test]
fn undeclared_directories_modules_and_odd_names() {
    let mut bench = Bench::new("ls data > out", &["out"]);
    bench.file("project/data/x", "");
    let failure = bench.fails();
    assert!(
        failure.to_string().contains("needs: {data: {dir: data}}"),
        "{failure}"
    );

    // The module lies beside a declared script; the name `helper` is taken.
    let mut bench = Bench::new("python3 tools/main.py", &[]);
    bench.project_file("helper", "tools/main.py", "import helper\n");
    bench.file("project/tools/helper.py", "");
    let failure = bench.fails();
    assert!(
        failure
            .to_string()
            .contains("needs: {helper_2: {file: tools/helper.py}}"),
        "{failure}"
    );

    let mut bench = Bench::new("cat '1 odd: name'", &[]);
    bench.file("project/1 odd: name", "");
    let failure = bench.fails();
    assert!(
        failure
            .to_string()
            .contains(r#"needs: {file_1_odd__name: {file: "1 odd: name"}}"#),
        "{failure}"
    );

    // Only the text of a silent command names it.
    let mut bench = Bench::new("test -f quiet.txt", &[]);
    bench.file("project/quiet.txt", "");
    let failure = bench.fails();
    assert!(
        matches!(&failure.cause, Cause::Undeclared { wanted: false, .. }),
        "{failure}"
    );
}

#[test]
fn other_failures_are_not_blamed_on_a_file() {
    let mut bench = Bench::new("echo see README.md for help; exit 3", &[]);
    bench.file("project/README.md", "");
    assert!(matches!(bench.fails().cause, Cause::Exit { code: 3 }));
    let mut bench = Bench::new("cat in.txt missing.txt", &[]);
    bench.project_file("in", "in.txt", "");
    assert!(matches!(bench.fails().cause, Cause::Exit { code: 1 }));
}

#[test]
fn a_read_outside_the_project_is_refused_and_off_is_off() {
    if !has_landlock() {
        return;
    }
    let mut bench = Bench::new("", &["out"]);
    let file = bench.file("elsewhere/x", "outside");
    rescript(&mut bench, &format!("cat {} > out", file.display()));
    let failure = bench.fails();
    assert!(
        matches!(&failure.cause, Cause::Denied { path, .. } if *path == file.display().to_string()),
        "{failure}"
    );
    assert!(failure.to_string().contains("sandbox: off"), "{failure}");
    discard(&bench.request.dir).unwrap();
    let mut bench = bench.policy(|p| p.sandbox = Sandbox::Off);
    let finished = bench.run().unwrap();
    assert_eq!(finished.sandbox, SandboxReport::Off);
    assert_eq!(
        std::fs::read_to_string(&finished.outputs["out"]).unwrap(),
        "outside"
    );
}

/// With a room, without one, and without any confinement: a command reads its inputs, and the store
/// stays as it was.
#[test]
fn inputs_from_the_store_can_be_read_and_not_written() {
    for (namespaces, landlock) in [(true, true), (true, false), (false, true), (false, false)] {
        let script = "set +e; cat in/obj in/tree/l > out; (echo bad > in/obj) 2>/dev/null; chmod 600 in/obj 2>/dev/null; \
                      (echo bad > in/obj) 2>/dev/null; touch -d 2001-01-01 in/obj in/tree/l 2>/dev/null; \
                      (echo bad > in/tree/new) 2>/dev/null; rm -rf in 2>/dev/null; ls STORE 2>/dev/null || echo hidden >> out; true";
        let mut bench = Bench::new("", &["out"]);
        let object = bench.file("store/objects/one", "1");
        let other = bench.file("store/objects/two", "2");
        let view = bench.root.path().join("store/views/t");
        std::fs::create_dir_all(&view).unwrap();
        std::fs::hard_link(&other, view.join("l")).unwrap();
        let seen = |path: &Path| {
            use std::os::unix::fs::MetadataExt;
            let meta = std::fs::metadata(path).unwrap();
            (meta.mode(), meta.mtime(), meta.ctime_nsec())
        };
        let before = [seen(&object), seen(&other)];
        bench.need("obj", "in/obj", InputOrigin::Object(object.clone()));
        bench.need("tree", "in/tree", InputOrigin::TreeView(view.clone()));
        let store = bench.root.path().join("store");
        bench.request.store_roots = Arc::new([store.join("objects")]);
        rescript(
            &mut bench,
            &script.replace("STORE", &store.join("objects").display().to_string()),
        );
        namespaces::tests_only::UNAVAILABLE.set(!namespaces);
        sandbox::tests_only::UNAVAILABLE.set(!landlock);
        let walls = namespaces::available().is_ok() || !namespaces;
        let result = bench.run();
        namespaces::tests_only::UNAVAILABLE.set(false);
        sandbox::tests_only::UNAVAILABLE.set(false);
        if !walls || (landlock && !has_landlock()) {
            skipped(format_args!(
                "in part: namespaces {namespaces}, Landlock {landlock}"
            ));
            continue;
        }
        let case = format!("namespaces {namespaces}, landlock {landlock}");
        let finished = match result {
            Ok(finished) => finished,
            Err(failure) => panic!("{case}: {failure}"),
        };
        let expected = match (namespaces, landlock) {
            (true, true) => matches!(finished.sandbox, SandboxReport::Enforced),
            (false, true) => matches!(finished.sandbox, SandboxReport::Degraded(_)),
            (_, false) => matches!(finished.sandbox, SandboxReport::Unavailable(_)),
        };
        assert!(expected, "{case}: {:?}", finished.sandbox);
        let text = std::fs::read_to_string(&finished.outputs["out"]).unwrap();
        assert!(text.starts_with("12"), "{case}: {text}");
        assert_eq!(text.ends_with("hidden\n"), landlock || namespaces, "{case}");
        assert_eq!([seen(&object), seen(&other)], before, "{case}");
        assert_eq!(std::fs::read_to_string(&object).unwrap(), "1", "{case}");
        assert_eq!(std::fs::read_dir(&view).unwrap().count(), 1, "{case}");
    }
}

#[test]
fn an_output_inside_an_input_tree_never_reaches_the_store() {
    let mut bench = Bench::new("cat in/t/x > in/t/out", &["in/t/out"]);
    let tree = bench.file("store/t/x", "x").parent().unwrap().to_owned();
    bench.need("t", "in/t", InputOrigin::TreeView(tree.clone()));
    assert_eq!(bench.output("in/t/out"), "x");
    assert_eq!(std::fs::read_dir(tree).unwrap().count(), 1);
}

#[test]
fn usual_programs_work_inside() {
    let script = "python3 -c 'import json, tempfile, multiprocessing as m; m.Lock(); print(json.dumps(1))' > out; \
                  date >> /dev/stderr; echo x | tee /dev/null | sort | gzip > z; mkdir -p p/q; mv z p/q/z; rm -r p; \
                  id > /dev/null; : > /dev/shm/repro-test.$$; rm /dev/shm/repro-test.$$; : > /tmp/repro-test.$$; ls /tmp > /dev/null";
    assert_eq!(Bench::new(script, &["out"]).output("out"), "1\n");
}
