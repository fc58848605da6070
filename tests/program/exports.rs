//! Bundles and crates, end to end: what leaves one machine in a file is what another one has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::TestSpace;
use serde_json::Value;

const PIPELINE: &str = r#"
version: 1
name: letters
stages:
  upper:
    needs: {text: {file: in put.txt}, more: {dir: data}}
    run: "cat ${needs.text} ${needs.more}/* | tr a-z A-Z > ${outputs.text}"
    outputs: {text: upper.txt}
  times:
    matrix: {n: [1, 2]}
    needs: {text: upper.text}
    run: "mkdir ${outputs.dir}; for i in $(seq ${matrix.n}); do cat ${needs.text} > ${outputs.dir}/$i; done; ln -s 1 ${outputs.dir}/first"
    outputs: {dir: d}
"#;

fn space() -> TestSpace {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space
        .write("in put.txt", "abc\n")
        .write("data/x", "d\n")
        .write("data/y", "e\n");
    space
        .set_env("USER", "anna")
        .set_env("REPRO_KEY_PASSPHRASE", "a secret");
    space.ok(&["run"]);
    space
}

/// An empty machine with the files of another one.
fn other_machine(from: &TestSpace, files: &[&str]) -> TestSpace {
    let space = TestSpace::new();
    for file in files {
        fs::copy(from.path(file), space.path(file)).unwrap();
    }
    space
}

fn files_below(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        count += match entry.file_type().unwrap().is_dir() {
            true => files_below(&entry.path()),
            false => 1,
        };
    }
    count
}

#[test]
fn a_bundle_is_everything_another_machine_needs() {
    let from = space();
    let said = from.ok(&["export", "--bundle", "all.repro"]);
    assert!(said.contains("3 results, 0 signatures"), "{said}");
    from.ok(&["export", "--bundle", "again.repro"]);
    assert_eq!(
        fs::read(from.path("all.repro")).unwrap(),
        fs::read(from.path("again.repro")).unwrap()
    );

    let to = other_machine(&from, &["all.repro"]);
    // Nobody said whom to believe: nothing is taken, and nothing is left behind.
    let said = to
        .run(&["import", "all.repro", "--into", "study"])
        .expect(2, &["import"]);
    assert!(
        said.err
            .contains("none of its 3 results is trusted: the project has no repro.trust.toml"),
        "{}",
        said.err
    );
    assert!(
        !to.exists("study")
            && to.store_files("objects").is_empty()
            && to.store_files("actions").is_empty()
    );

    let said = to.ok(&["import", "all.repro", "--into", "study", "--unsigned"]);
    assert!(said.contains("took 3 results in"), "{said}");
    let study = to.path("study");
    let run = to
        .run_in(&study, &["run", "--offline", "--json"])
        .expect(0, &["run"]);
    assert!(run.out.contains("\"executed\":0"), "{}", run.out);
    for path in [
        "artifacts/upper/upper.txt",
        "artifacts/times/n=2/d/2",
        "artifacts/times/n=2/d/first",
        "repro.lock",
        "in put.txt",
    ] {
        assert_eq!(
            fs::read(study.join(path)).unwrap(),
            fs::read(from.path(path)).unwrap(),
            "{path}"
        );
    }
    to.run_in(&study, &["fsck"]).expect(0, &["fsck"]);
    let said = to
        .run(&["import", "all.repro", "--into", "study", "--unsigned"])
        .expect(2, &["import"]);
    assert!(said.err.contains("`study` is not empty"), "{}", said.err);
}

#[test]
fn a_signed_bundle_is_believed_by_who_believes_the_signer() {
    let from = space();
    from.ok(&["trust", "init"]);
    let said = from.ok(&["export", "--bundle", "all.repro", "--sign"]);
    assert!(said.contains("3 results, 3 signatures"), "{said}");
    let mut to = other_machine(&from, &["all.repro", "repro.trust.toml"]);
    to.write("pipeline.yaml", PIPELINE)
        .write("in put.txt", "abc\n")
        .write("data/x", "d\n")
        .write("data/y", "e\n");
    assert_eq!(
        to.json(&["import", "all.repro"])["results"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert!(to.executed(&[]).is_empty());
    assert!(to.ok(&["why", "upper"]).contains("vouched for by: anna"));
    // What was not executed here is not signed here, even when asked for.
    to.set_env("USER", "ben")
        .set_env("REPRO_KEY_PASSPHRASE", "x");
    to.ok(&["trust", "init"]);
    let said = to.ok(&["export", "--bundle", "second.repro", "--sign"]);
    assert!(said.contains("3 results, 3 signatures"), "{said}");
    // It is after a second execution.
    to.ok(&["verify", "upper"]);
    let said = to.ok(&["export", "--bundle", "third.repro"]);
    assert!(said.contains("3 results, 4 signatures"), "{said}");

    // Who believes only somebody else gets the reason, and nothing else.
    let other = other_machine(&from, &["all.repro"]);
    other.write("pipeline.yaml", PIPELINE);
    other.write("repro.trust.toml", "version = 1\nrequire = \"1 of any\"\n[signers.eve]\nrole = \"people\"\nkeys = [\"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"]\n");
    let said = other.run(&["import", "all.repro"]).expect(2, &["import"]);
    assert!(said.err.contains("does not list"), "{}", said.err);
    assert!(other.store_files("actions").is_empty());
}

#[test]
fn a_crate_describes_what_it_holds() {
    let mut space = space();
    space.set_env("USER", "anna");
    space.ok(&["trust", "init"]);
    space.ok(&["verify", "times"]);
    space.ok(&[
        "export",
        "--crate",
        "crate",
        "--license",
        "https://spdx.org/licenses/CC-BY-4.0",
    ]);
    let metadata: Value =
        serde_json::from_str(&space.read("crate/ro-crate-metadata.json")).unwrap();
    let graph = metadata["@graph"].as_array().unwrap();
    let entity = |id: &str| {
        graph
            .iter()
            .find(|e| e["@id"] == id)
            .unwrap_or_else(|| panic!("no {id}"))
    };
    let root = entity("./");
    assert_eq!(
        root["license"]["@id"],
        "https://spdx.org/licenses/CC-BY-4.0"
    );
    assert_eq!(root["mainEntity"]["@id"], "pipeline.yaml");
    // Every part is there, under its name, and nothing else is.
    let mut files = 1;
    for part in root["hasPart"].as_array().unwrap() {
        let id = part["@id"].as_str().unwrap();
        let path = space.path("crate").join(
            id.replace("%20", " ")
                .replace("%5B", "[")
                .replace("%5D", "]"),
        );
        assert!(path.exists(), "{id}");
        files += if path.is_dir() { files_below(&path) } else { 1 };
        entity(id);
    }
    assert_eq!(files, files_below(&space.path("crate")));
    // Nothing is referred to that is not described.
    let ids: std::collections::BTreeSet<&str> =
        graph.iter().filter_map(|e| e["@id"].as_str()).collect();
    for e in graph {
        let text = e.to_string();
        for reference in text.split("{\"@id\":\"").skip(1) {
            let id = reference.split('"').next().unwrap();
            assert!(ids.contains(id) || id.starts_with("http"), "{id} in {text}");
        }
    }
    let action = entity("#action-1");
    assert_eq!(action["name"], "times[n=2]");
    assert_eq!(action["result"]["@id"], "artifacts/times/n=2/d/");
    assert_eq!(
        entity("in%20put.txt")["sha256"],
        "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb"
    );
    assert_eq!(
        fs::metadata(space.path("crate/pipeline.yaml"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );

    space.ok(&["export", "--crate", "crate.zip", "upper"]);
    let said = space
        .run(&["export", "--crate", "crate"])
        .expect(2, &["export"]);
    assert!(said.err.contains("`crate` exists"), "{}", said.err);
    space.write("in put.txt", "changed\n");
    let said = space
        .run(&["export", "--crate", "crate2"])
        .expect(2, &["export"]);
    assert!(
        said.err.contains("the result of `upper` is not here"),
        "{}",
        said.err
    );
    assert!(!space.exists("crate2"));
    let left: Vec<_> = fs::read_dir(&space.project)
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .filter(|n| n.to_string_lossy().starts_with(".repro-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
