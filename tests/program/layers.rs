//! What Cargo cannot keep: where `unsafe` and standard error may be used.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn offending(dir: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join(dir), &mut files);
    assert!(files.len() > 20, "only {} files under {dir}", files.len());
    let mut found = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if allowed.contains(&name.as_str()) {
            continue;
        }
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            found.extend(
                words
                    .iter()
                    .filter(|w| line.contains(*w))
                    .map(|w| format!("{name}:{}: `{w}`", number + 1)),
            );
        }
    }
    found
}

/// `unsafe` in the stage crate stays with the kernels and the two thin views of dfdx's memory: a tensor's, and several gradients' at once.
#[test]
fn unsafe_stays_where_it_belongs() {
    let views = ["stages/src/ops/view.rs", "stages/src/ops/tape.rs"];
    let found = offending("stages/src", &["unsafe {", "unsafe fn"], &views);
    let in_kernels =
        |f: &&String| f.starts_with("stages/src/kernels/") || f.starts_with("stages/src/exact/");
    assert!(
        found.iter().any(|f| in_kernels(&f)),
        "the search finds nothing"
    );
    let elsewhere: Vec<_> = found.iter().filter(|f| !in_kernels(f)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
}

/// What is said goes through `say!`: `eprintln!` panics where nobody listens, and lets escape codes of others through.
#[test]
fn case_14_standard_error_is_written_in_one_place() {
    let mut found = offending("src", &["eprintln!(", "eprint!("], &[]);
    found.extend(offending("engine/src", &["eprintln!(", "eprint!("], &[]));
    // Tests say there why they skip.
    found.retain(|place| !place.starts_with("engine/src/exec/tests/"));
    assert_eq!(found, Vec::<String>::new());
}

/// CONTRIBUTING.md says which files a new kind touches; this counts them for one.
#[test]
fn a_kind_is_named_in_two_files_of_the_stages() {
    let words = ["perturb::", "mod perturb"];
    let files = |dir: &str| {
        let mut files: Vec<String> = offending(dir, &words, &[])
            .iter()
            .map(|place| place.split(':').next().unwrap_or_default().to_owned())
            .collect();
        files.dedup();
        files.sort();
        files.dedup();
        files
    };
    let optional = "stages/src/facts/learning.rs";
    let mut named = files("stages/src");
    named.retain(|file| file != optional);
    // Inside its own file a kind has no need of its name.
    assert_eq!(named, ["stages/src/kinds/mod.rs"]);
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("stages/src/kinds/perturb.rs").is_file());
    for dir in ["engine/src", "src"] {
        assert_eq!(files(dir), Vec::<String>::new(), "{dir}");
    }
}
