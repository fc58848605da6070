//! Inputs from outside of the project, directories of links, globs and long lists.

use super::commands::refused;
use crate::support::TestSpace;

/// A link, with the directories on its way.
fn link(target: impl AsRef<std::path::Path>, at: &std::path::Path) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, at).unwrap();
}

const OUTSIDE: &str = r#"
version: 1
stages:
  a:
    needs: {data: {dir: ../data}, one: {file: ../data/one.txt}}
    run: "(cd ${needs.data} && find . -type f | sort | xargs cat) > ${outputs.o}; cat ${needs.one} >> ${outputs.o}; echo ${needs.data} ${needs.one} >> ${outputs.o}"
    outputs: {o: o.txt}
"#;

pub(super) fn outside() -> TestSpace {
    let space = TestSpace::with_pipeline(OUTSIDE);
    space.write("../data/one.txt", "1\n");
    space.write("../data/sub/two.txt", "2\n");
    space
}

fn key_of(space: &TestSpace) -> serde_json::Value {
    space.json(&["status"])[0]["key"].clone()
}

#[test]
fn case_25_files_outside_of_the_project_are_inputs_like_any_other() {
    let space = outside();
    space.ok(&["run"]);
    assert_eq!(
        space.read("artifacts/a/o.txt"),
        "1\n2\n1\nin/data in/one/one.txt\n"
    );
    assert_eq!(space.executed(&[]), [] as [&str; 0]);
    space.write("../data/sub/two.txt", "3\n");
    assert_eq!(space.executed(&[]), ["a"]);
    space.write("../data/sub/two.txt", "2\n");
    assert_eq!(space.executed(&[]), [] as [&str; 0]);

    // Where the data lie is no part of a key: elsewhere, by an absolute path, and by `~`.
    let key = key_of(&space);
    let other = outside();
    std::fs::rename(other.path("../data"), other.path("../home/moved")).unwrap();
    other.edit("pipeline.yaml", "dir: ../data", "dir: ~/moved");
    let absolute = other.path("../home/moved/one.txt").canonicalize().unwrap();
    other.edit(
        "pipeline.yaml",
        "../data/one.txt",
        absolute.to_str().unwrap(),
    );
    assert_eq!(key_of(&other), key);
    other.ok(&["run"]);
    for (wrong, texts) in [
        (
            "{dir: ../nowhere}",
            ["there is no directory `../nowhere`", "paths are relative"],
        ),
        (
            "{file: ../home}",
            ["is a directory", "write `{dir: ../home}`"],
        ),
        (
            "{dir: ..}",
            ["holds the project itself", "name what is needed"],
        ),
    ] {
        other.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  a: {{needs: {{x: {wrong}}}, run: \"true > ${{outputs.o}}\", outputs: {{o: o}}}}\n"),
        );
        refused(&other, &["run"], 2, &texts);
    }
}

#[test]
fn case_25_an_input_outside_that_changes_during_the_run_is_noticed() {
    let space = outside();
    let data = space.path("../data").canonicalize().unwrap();
    space.edit(
        "pipeline.yaml",
        "run: \"",
        &format!(
            "sandbox: off\n    run: \"echo later > {}/sub/two.txt; ",
            data.display()
        ),
    );
    let (code, events) = space.events(&[]);
    assert_eq!(code, 3, "{events:#?}");
    assert!(
        events.iter().any(|e| e["event"] == "unstable"),
        "{events:#?}"
    );
}

#[test]
fn case_25_directories_of_links_are_what_the_links_lead_to() {
    // As the cache of a hub: snapshots of links to blobs; the same content in plain files is the
    // same key.
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a:\n    needs: {m: {dir: ../hub/snapshots/main}}\n    run: \"find ${needs.m} -type f | sort > ${outputs.o}; cat ${needs.m}/model.bin ${needs.m}/sub/x >> ${outputs.o}\"\n    outputs: {o: o.txt}\n",
    );
    space.write("../hub/blobs/abc", "weights\n");
    space.write("../hub/more/x", "x\n");
    space.write("../hub/snapshots/main/plain.txt", "plain\n");
    link(
        "../../blobs/abc",
        &space.path("../hub/snapshots/main/model.bin"),
    );
    link(
        space.path("../hub/more"),
        &space.path("../hub/snapshots/main/sub"),
    );
    space.ok(&["run"]);
    assert_eq!(
        space.read("artifacts/a/o.txt"),
        "in/m/model.bin\nin/m/plain.txt\nin/m/sub/x\nweights\nx\n"
    );
    let key = key_of(&space);
    let plain = TestSpace::with_pipeline(&space.read("pipeline.yaml"));
    for (file, text) in [
        ("model.bin", "weights\n"),
        ("sub/x", "x\n"),
        ("plain.txt", "plain\n"),
    ] {
        plain.write(&format!("../hub/snapshots/main/{file}"), text);
    }
    assert_eq!(key_of(&plain), key);
    space.write("../hub/blobs/abc", "others\n");
    assert_eq!(space.executed(&[]), ["a"]);

    // A link that leads nowhere, and one that leads in a circle.
    link(
        "../../blobs/gone",
        &space.path("../hub/snapshots/main/gone"),
    );
    refused(&space, &["run"], 1, &["main/gone", "leads nowhere"]);
    space.remove("../hub/snapshots/main/gone");
    link(
        space.path("../hub/snapshots"),
        &space.path("../hub/snapshots/main/round"),
    );
    refused(&space, &["run"], 1, &["round", "in a circle"]);
    space.edit("pipeline.yaml", "main}", "main, ignore: [round]}");
    space.ok(&["run"]);
}

#[test]
fn case_25_links_out_of_a_directory_of_the_project_as_an_annex_has_them() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {needs: {d: {dir: data}}, run: \"cat ${needs.d}/x ${needs.d}/y > ${outputs.o}; readlink ${needs.d}/y >> ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    space.write(".git/annex/objects/k/k", "annexed\n");
    link("../.git/annex/objects/k/k", &space.path("data/x"));
    link("x", &space.path("data/y"));
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "annexed\nannexed\nx\n");
}

#[test]
fn case_25_a_manifest_is_checked_once_and_then_trusted_by_size_and_time() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {needs: {d: {dir: ../big, manifest: big.b3}}, run: \"cat ${needs.d}/x > ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    space.write("../big/x", "one\n");
    space.write("../big/sub/y", "two\n");
    let line = |text: &str, path: &str| format!("{}  {path}\n", blake3::hash(text.as_bytes()));
    space.write("big.b3", line("one\n", "./x") + &line("two\n", "./sub/y"));
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "one\n");
    // The key is that of the content.
    let key = key_of(&space);
    space.edit("pipeline.yaml", ", manifest: big.b3", "");
    assert_eq!(key_of(&space), key);
    space.edit(
        "pipeline.yaml",
        "dir: ../big",
        "dir: ../big, manifest: big.b3",
    );
    // Same size, same time: trusted. Another time: read, and found out.
    let path = space.path("../big/x");
    let time = path.metadata().unwrap().modified().unwrap();
    let set = |time| {
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    std::fs::write(&path, "two\n").unwrap();
    set(time);
    assert_eq!(key_of(&space), key);
    set(time + std::time::Duration::from_secs(5));
    refused(
        &space,
        &["run"],
        1,
        &["big/x", "is not the file that", "big.b3"],
    );
    space.write("../big/x", "one\n");
    space.write("../big/new", "new\n");
    refused(&space, &["run"], 1, &["big/new", "does not list it"]);
    space.remove("../big/new").remove("../big/sub/y");
    refused(&space, &["run"], 1, &["sub/y", "does not exist"]);
}

const LISTS: &str = "version: 1\nstages:\n  a: {needs: {s: {dir: src}}, run: \"ls -A ${needs.s} > ${outputs.o}\", outputs: {o: o.txt}}\n";

#[test]
fn case_10_what_editors_and_interpreters_leave_behind_is_no_change() {
    let space = TestSpace::with_pipeline(LISTS);
    space.write("src/main.py", "x").write("src/data.tmp", "y");
    space.ok(&["run"]);
    for file in [
        "__pycache__/main.cpython-311.pyc",
        ".ipynb_checkpoints/a.ipynb",
        ".DS_Store",
        ".main.py.swp",
        "main.py~",
        ".git/HEAD",
        "sub/.mypy_cache/x",
        ".pytest_cache/x",
        "~$doc.xlsx",
        "._main.py",
        ".vscode/settings.json",
        ".fuse_hidden0001",
        ".goutputstream-AB12",
        ".main.py.swx",
        ".main.py.kate-swp",
        ".coverage",
        ".hypothesis/x",
        ".tox/x",
        ".nox/x",
        ".eggs/x",
        ".RData",
        ".directory",
    ] {
        space.write(&format!("src/{file}"), "noise");
    }
    space.remove("src/sub");
    assert_eq!(space.executed(&[]), [] as [&str; 0]);
    let why = space.ok(&["why", "a"]);
    assert!(
        why.contains("ignored: in src: .DS_Store, ") && why.contains("more"),
        "{why}"
    );
    // What is ignored is not placed.
    assert_eq!(space.executed(&["-f", "a"]), ["a"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "data.tmp\nmain.py\n");

    // Patterns of the input, taking a usual one back, and none at all.
    space.edit(
        "pipeline.yaml",
        "dir: src",
        "dir: src, ignore: [\"*.tmp\", \"!.DS_Store\"]",
    );
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o.txt"), ".DS_Store\nmain.py\n");
    space.edit("pipeline.yaml", "[\"*.tmp\", \"!.DS_Store\"]", "none");
    space.ok(&["run"]);
    assert!(space.read("artifacts/a/o.txt").contains("__pycache__"));
    space.edit("pipeline.yaml", "ignore: none", "ignore: [\"[z-a]\"]");
    refused(&space, &["run"], 2, &["this is not a pattern"]);
}

#[test]
fn case_30_globs_in_needs() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  a:
    needs: {d: {files: "data/*.csv"}, all: {all: {files: ["data/**/*.txt", "data/*.csv"]}, one: {file: data/a.csv}}}
    run: "cat ${needs.d} > ${outputs.o}; echo ${needs.all.all} >> ${outputs.o}"
    outputs: {o: o.txt}
"#,
    );
    space
        .write("data/b.csv", "b\n")
        .write("data/a.csv", "a\n")
        .write("data/x/y.txt", "y\n");
    space.ok(&["run"]);
    assert_eq!(
        space.read("artifacts/a/o.txt"),
        "a\nb\ndata/a.csv data/b.csv data/x/y.txt\n"
    );
    space.write("data/c.csv", "c\n");
    let why = space.ok(&["why", "a"]);
    assert!(why.contains("inputs.d[data/c.csv]: (absent)"), "{why}");
    assert_eq!(space.executed(&[]), ["a"]);
    space.edit("pipeline.yaml", "data/*.csv\"}, all", "data/*.json\"}, all");
    refused(&space, &["run"], 2, &["no file matches `data/*.json`"]);
}

#[test]
fn case_58_a_gather_that_is_too_long_is_found_in_the_plan_and_a_list_helps() {
    let values: Vec<String> = (0..6000).map(|i| i.to_string()).collect();
    let space = TestSpace::with_pipeline(&format!(
        "version: 1\nstages:\n  one: {{matrix: {{i: [{}]}}, run: \"echo ${{matrix.i}} > ${{outputs.o}}\", outputs: {{o: number-of-this-instance.txt}}}}\n  all: {{needs: {{x: \"one[*].o\"}}, run: \"cat ${{needs.x}} > ${{outputs.o}}\", outputs: {{o: o.txt}}}}\n",
        values.join(", ")
    ));
    refused(
        &space,
        &["run", "-n"],
        2,
        &["the system takes 131072", "write `${needs.x.list}`"],
    );
    space.edit(
        "pipeline.yaml",
        "cat ${needs.x} >",
        "xargs cat < ${needs.x.list} >",
    );
    space.ok(&["run", "-n"]);
    // And with few, it runs.
    space.edit("pipeline.yaml", &values.join(", "), "3, 1, 2");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/all/o.txt"), "1\n2\n3\n");
}
