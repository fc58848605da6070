//! What Cargo cannot keep: where `unsafe` and standard error may be used, and that the modules of a
//! folder use one another in one direction.

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

/// Of what stages compute with, `unsafe` is in the exact arithmetic and its kernels only.
#[test]
fn unsafe_stays_where_it_belongs() {
    let words = ["unsafe {", "unsafe fn"];
    let found = offending("numerics/src", &words, &[]);
    assert!(!found.is_empty(), "the search finds nothing");
    assert_eq!(offending("stages/src", &words, &[]), Vec::<String>::new());
}

/// Calls of drivers are in one file of `gpu/`, and what promises them valid arguments in two.
#[test]
fn drivers_are_called_in_one_place() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl"];
    let files = [
        "opencl.rs",
        "cuda.rs",
        "graphs.rs",
        "staging.rs",
        "memory.rs",
        "launch.rs",
        "driver.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    sources(&root.join("gpu/src"), &mut all);
    for file in all {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !files.contains(&&*name) {
            assert!(words.iter().all(|word| !text.contains(word)), "{name}");
        }
    }
}

/// Which device kinds compute on is said in `stages/src/device.rs`.
#[test]
fn kinds_name_no_device() {
    let found = offending("stages/src/kinds", &["Cpu", "dfdx"], &[]);
    assert_eq!(found, Vec::<String>::new());
    let said = offending("stages/src", &["Device = Chosen"], &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("stages/src/device.rs:"));
}

/// What is said goes through `say!`: `eprintln!` panics where nobody listens, and lets escape codes
/// of others through.
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

/// The code of a file without its comments and the tests at its end: what only tests use is no
/// direction of the program's.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//")).collect()
}

/// The modules that each module right below `dir` uses of its neighbours.
fn uses(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files = Vec::new();
    sources(&root, &mut files);
    let passed_on = passed_on(&root);
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
        let code = code(&file);
        let depth = inner.matches('/').count() + 1 - usize::from(inner.ends_with("/mod.rs"));
        let parents = [&*parent, &"super::".repeat(depth)];
        let found = parents.iter().flat_map(|parent| heads(&code, parent));
        let found = found.map(|name| passed_on.get(&name).cloned().unwrap_or(name));
        let others = found.filter(|used| *used != module);
        uses.entry(module.clone()).or_default().extend(others);
    }
    uses
}

/// The names that a folder's own file takes from its modules, and from which: whoever uses one of
/// them uses that module.
fn passed_on(folder: &Path) -> BTreeMap<String, String> {
    let own = ["mod.rs", "lib.rs", "main.rs"].map(|name| folder.join(name));
    let mut own = own.into_iter().chain([folder.with_extension("rs")]);
    let code = own
        .find(|file| file.is_file())
        .map_or_else(String::new, |file| code(&file));
    let mut names = BTreeMap::new();
    for statement in code.split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let Some((module, list)) = statement.split_once("::") else {
            continue;
        };
        if folder.join(module).is_dir() || folder.join(format!("{module}.rs")).is_file() {
            let list = list.split(|c: char| !in_a_name(c));
            names.extend(list.map(|name| (name.to_owned(), module.to_owned())));
        }
    }
    names
}

fn in_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The names that stand right behind a path, in braces or not.
fn heads(code: &str, path: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !in_a_name(c));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut heads = Vec::new();
    for (at, _) in code.match_indices(path) {
        // The end of a longer path leads elsewhere.
        if code[..at].ends_with(|c: char| in_a_name(c) || c == ':') {
            continue;
        }
        let rest = &code[at + path.len()..];
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

/// The folders of modules at and below `dir`, but those of tests.
fn folders(dir: &str) -> Vec<String> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    sources(&root.join(dir), &mut files);
    let folders = files.iter().filter_map(|file| {
        let folder = file.parent()?.strip_prefix(root).ok()?;
        Some(folder.to_string_lossy().into_owned())
    });
    let folders = BTreeSet::from_iter(folders.filter(|folder| !folder.contains("tests")));
    folders.into_iter().collect()
}

#[test]
fn modules_use_one_another_in_one_direction() {
    for package in [
        "adopt/src",
        "cluster/src",
        "protocol/src",
        "gpu/src",
        "numerics/src",
        "engine/src",
        "report/src",
        "src",
        "stages/src",
    ] {
        let folders = folders(package);
        assert!(folders.contains(&package.to_owned()), "{folders:?}");
        for dir in folders {
            assert_eq!(circle(&uses(&dir)), None, "{dir}");
        }
    }
    assert!(folders("numerics/src").contains(&"numerics/src/kernels/conv/winograd".to_owned()));
    let engine = uses("engine/src");
    assert!(engine["run"].contains("store"), "the search finds nothing");
    // Names with figures, names that the folder's own file passes on, and names behind others in
    // braces are found too.
    assert!(uses("numerics/src/exact")["fma"].contains("sse2"));
    let ops = uses("stages/src/ops");
    for module in ["backend", "labels", "matrix", "slots"] {
        assert!(ops["loss"].contains(module), "{module}: {ops:?}");
    }
}

#[test]
fn a_circle_is_found() {
    let circular = [("a", "b"), ("b", "c"), ("c", "b")];
    let circular = circular.map(|(a, b)| (a.to_owned(), BTreeSet::from([b.to_owned()])));
    assert_eq!(circle(&BTreeMap::from(circular)).unwrap(), ["b", "c"]);
    let code = "use crate::{a::{self, B}, c}; fn f() { crate::d::e(crate::F) }";
    assert_eq!(heads(code, "crate::"), ["a", "c", "d", "F"]);
    let code = "use super::super::a; use super::b2::{C, D};";
    assert_eq!(heads(code, "super::super::"), ["a"]);
    assert_eq!(heads(code, "super::"), ["super", "b2"]);
}
