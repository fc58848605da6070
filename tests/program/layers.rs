//! What Cargo cannot keep: where `unsafe` and standard error may be used.

use std::collections::{BTreeMap, BTreeSet};
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

/// `unsafe` in the stage crate stays with the kernels and the exact arithmetic.
#[test]
fn unsafe_stays_where_it_belongs() {
    let found = offending("stages/src", &["unsafe {", "unsafe fn"], &[]);
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
fn a_kind_is_named_in_one_file_beside_its_own() {
    let words = ["perturb::", "mod perturb"];
    let files = |dir: &str| {
        let found = offending(dir, &words, &[]);
        let names = found.iter().filter_map(|place| place.split(':').next());
        BTreeSet::from_iter(names.map(str::to_owned))
    };
    // Inside its own file a kind has no need of its name.
    let lists = "stages/src/kinds/starts.rs";
    assert_eq!(files("stages/src"), BTreeSet::from([lists.to_owned()]));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(root.join("stages/src/kinds/starts/perturb.rs").is_file());
    for dir in ["engine/src", "src"] {
        assert_eq!(files(dir), BTreeSet::new(), "{dir}");
    }
}

/// The modules that each module right below `dir` uses of its neighbours.
fn uses(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let folders = dir.split('/').skip_while(|name| *name != "src").skip(1);
    let parent = folders.fold("crate::".to_owned(), |path, name| path + name + "::");
    for file in files {
        let inner = file
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let module = inner.split(['/', '.']).next().unwrap().to_owned();
        if matches!(&*module, "lib" | "main" | "mod") || inner.contains("tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // What only tests use is no direction of the program's.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().map(str::trim_start);
        let code: String = lines.filter(|line| !line.starts_with("//")).collect();
        let depth = inner.matches('/').count() + 1 - usize::from(inner.ends_with("/mod.rs"));
        let parents = [&*parent, &"super::".repeat(depth)];
        let found = parents.iter().flat_map(|parent| heads(&code, parent));
        let others = found.filter(|used| *used != module);
        uses.entry(module.clone()).or_default().extend(others);
    }
    uses
}

/// The names that stand right behind a path, in braces or not.
fn heads(code: &str, path: &str) -> Vec<String> {
    let name = |text: &str| {
        let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut heads = Vec::new();
    for rest in code.split(path).skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            heads.push(name(rest));
            continue;
        };
        let list = list.split(';').next().unwrap_or_default();
        let mut depth = 0;
        let between = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        heads.extend(list.split(between).map(name));
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// A way from a module back to itself, if there is one.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn search(
        at: &str,
        uses: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(begin) = way.iter().position(|m| m == at) {
            way.drain(..begin);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.to_owned());
        for next in uses.get(at).into_iter().flatten() {
            if search(next, uses, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(at.to_owned());
        false
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| {
        let mut way = Vec::new();
        search(module, uses, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn modules_use_one_another_in_one_direction() {
    for dir in [
        "protocol/src",
        "engine/src",
        "engine/src/change",
        "engine/src/collect",
        "engine/src/environment",
        "engine/src/exchange",
        "engine/src/exec",
        "engine/src/exec/denied",
        "engine/src/executor",
        "engine/src/explain",
        "engine/src/export",
        "engine/src/record",
        "engine/src/remote",
        "engine/src/remote/backends",
        "engine/src/results",
        "engine/src/run",
        "engine/src/session",
        "engine/src/spec",
        "engine/src/spec/expansion",
        "engine/src/spec/text",
        "engine/src/spec/tying",
        "engine/src/store",
        "engine/src/trust",
        "engine/src/verify",
        "report/src",
        "src",
        "src/cli",
        "src/ui",
        "stages/src",
        "stages/src/data",
        "stages/src/data/own",
        "stages/src/facts",
        "stages/src/fetch",
        "stages/src/kind",
        "stages/src/kinds",
        "stages/src/kinds/data",
        "stages/src/kinds/data/dataset",
        "stages/src/kinds/statistics",
        "stages/src/kinds/statistics/claim",
        "stages/src/kinds/training",
        "stages/src/kinds/training/train",
        "stages/src/ops",
        "stages/src/stats",
        "stages/src/table",
        "stages/src/training",
    ] {
        let uses = uses(dir);
        assert!(!uses.is_empty(), "nothing was found in {dir}");
        assert_eq!(circle(&uses), None, "{dir}");
    }
    let engine = uses("engine/src");
    assert!(engine["run"].contains("store"), "the search finds nothing");
    let circular = [("a", "b"), ("b", "c"), ("c", "b")];
    let circular = circular.map(|(a, b)| (a.to_owned(), BTreeSet::from([b.to_owned()])));
    assert_eq!(circle(&BTreeMap::from(circular)).unwrap(), ["b", "c"]);
    let code = "use crate::{a::{self, B}, c}; fn f() { crate::d::e(crate::F) }";
    assert_eq!(heads(&code.replace(' ', ""), "crate::"), ["a", "c", "d"]);
}
