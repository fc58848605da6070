//! The documentation is what the program does: references are generated, examples run, links lead
//! somewhere.
//!
//! `REPRO_BLESS=1 cargo test --test program docs` writes the generated parts anew.

mod book;
mod console;
mod front_door;
pub mod markdown;
mod schema;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::markdown::Block;
use self::schema::Schema;
use crate::support::TestSpace;

const MODELINE: &str = "# yaml-language-server: $schema=";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// A file of the repository must have this content, or is given it.
fn current(path: &str, text: &str) {
    if std::env::var_os("REPRO_BLESS").is_some_and(|v| v == "1") {
        fs::write(root().join(path), text).unwrap_or_else(|e| panic!("cannot write {path}: {e}"));
        return;
    }
    let file = fs::read_to_string(root().join(path)).unwrap_or_default();
    let first = file
        .lines()
        .zip(text.lines())
        .position(|(a, b)| a != b)
        .unwrap_or(file.lines().count().min(text.lines().count()));
    let line = |text: &str| text.lines().nth(first).unwrap_or("(end)").to_owned();
    assert!(
        file == text,
        "{path} is stale at line {}:\n  file:    {}\n  program: {}\nrefresh it with: REPRO_BLESS=1 cargo test --test program docs",
        first + 1,
        line(&file),
        line(text)
    );
}

fn schema() -> Schema {
    Schema::of(&TestSpace::new().ok(&["schema"]))
}

/// The pages under docs/.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = fs::read_dir(root().join("docs"))
        .expect("docs/")
        .flatten()
        .map(|e| format!("docs/{}", e.file_name().to_string_lossy()))
        .filter(|p| p.ends_with(".md"))
        .collect();
    pages.sort();
    pages
}

/// The pipelines in the repository.
fn shipped() -> Vec<PathBuf> {
    let mut found = vec![root().join("pipeline.yaml")];
    let mut dirs = vec![root().join("studies")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let hidden = name.to_string_lossy().starts_with('.');
            match path.is_dir() {
                true if !hidden && name != "artifacts" => dirs.push(path),
                false if name == "pipeline.yaml" => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_schema_is_current() {
    current(
        "docs/pipeline.schema.json",
        &TestSpace::new().ok(&["schema"]),
    );
}

#[test]
fn the_reference_of_kinds_is_current() {
    let head = "# Kinds\n\nWhat `uses:` can name. Written by `repro kinds --markdown`; do not edit. Claims are decided by a kind of their own:\n[claims.md](claims.md).\n\n";
    current(
        "docs/kinds.md",
        &format!("{head}{}", TestSpace::new().ok(&["kinds", "--markdown"])),
    );
}

#[test]
fn the_tables_of_keys_are_current() {
    let schema = schema();
    current(
        "docs/pipeline.md",
        &markdown::fill(&read("docs/pipeline.md"), &|name| schema.table(name)),
    );
}

#[test]
fn shipped_pipelines_fit_the_schema_and_point_at_it() {
    let schema = schema();
    for path in shipped() {
        let text = fs::read_to_string(&path).expect("a pipeline");
        schema.accepts(&path.display().to_string(), &text);
        let modeline = text
            .lines()
            .find_map(|l| l.strip_prefix(MODELINE))
            .unwrap_or_else(|| panic!("{} has no line `{MODELINE}...`", path.display()));
        let named = path.parent().expect("a directory").join(modeline.trim());
        let same = fs::canonicalize(&named).ok()
            == fs::canonicalize(root().join("docs/pipeline.schema.json")).ok();
        assert!(
            same,
            "{}: the modeline names {}, not docs/pipeline.schema.json",
            path.display(),
            named.display()
        );
    }
}

/// Around this, the schema is asked about one stage.
fn stage(text: &str) -> String {
    format!("version: 1\nstages:\n  s: {text}\n")
}

#[test]
fn the_schema_takes_references_and_refuses_typos() {
    let schema = schema();
    for good in [
        "{uses: train, needs: {train: d.train}, with: {seed: \"${matrix.seed}\", length: {epochs: \"${vars.n}\"}, optimizer: {adam: {lr: \"${vars.lr}\"}}}}",
        "{uses: train, needs: {train: d.train}, with: {model: \"${vars.model}\", seed: 1, length: \"${vars.length}\", optimizer: \"${vars.o}\"}}",
        "{uses: train, needs: {train: [a.x, b.x]}, with: {model: {mlp: {hidden: [\"${vars.width}\", 10]}}, seed: 1, length: {epochs: 1}, optimizer: {sgd: {lr: 0.1}}}}",
        "{uses: download, with: \"${vars.source}\"}",
        "{uses: train, needs: \"${vars.needs}\", with: \"${vars.with}\"}",
        "{uses: evaluate, needs: {model: a.model, data: d.test}, matrix: {x: [null, 1]}}",
        "{uses: ./tools/mine, with: {anything: [1, {deep: true}]}}",
        "{run: \"${vars.command}\", outputs: {o: \"${matrix.x}.txt\"}, timeout: 90s, resources: {memory: 2GB, cpus: \"${vars.cpus}\", mutex: [disk]}}",
        "{run: \"true\", outputs: {o: o}, env: [LANG], tools: [python3, {program: gcc, version: [gcc, -dumpversion]}], shell: bash}",
        "{run: \"true\", outputs: {o: o}, needs: {a: {file: a.txt}, b: {dir: d}, c: [x.y, {file: z}], e: {g: \"x[*].y\"}}}",
        "{run: \"true\", needs: {a: {from: x.y, at: \"d/${matrix.k}\"}, b: [{from: {dir: d}, at: e}]}, config: {p.yaml: {lr: \"${vars.lr}\", l: [1]}}}",
        "{run: \"true\", outputs: {o: o}, matrix: {a: [1, x, true], b: {range: [0, 3]}, c: {logspace: [1, 100, 3]}, zip: {d: [1], e: [2]}, include: [{a: 2}], exclude: [{a: 1}]}}",
        "{run: \"true\", outputs: {o: o}, matrix: {a: \"${vars.list}\"}, sandbox: off, retries: 2}",
        "{rounds: {count: \"${vars.n}\", first: {m: i.m}, carry: {m: t.m}}, stages: {t: {run: \"true\", outputs: {m: m}}}}",
    ] {
        schema.accepts("a stage", &stage(good));
    }
    for bad in [
        "{uses: train, needs: {train: d.train}, with: {seed: 1, length: {epochs: 1}, optimiser: {adam: {lr: 0.1}}}}",
        "{uses: train, needs: {train: d.train}, with: {seed: 1, length: {epochs: 1}, optimizer: {adam: {rate: 0.1}}}}",
        "{uses: train, needs: {train: d.train}, with: {seed: one, length: {epochs: 1}, optimizer: {adam: {lr: 0.1}}}}",
        "{uses: trian}",
        "{uses: train, needs: {trian: d.train}, with: {seed: 1, length: {epochs: 1}, optimizer: {adam: {lr: 0.1}}}}",
        "{uses: train, needs: {train: d.train}}",
        "{uses: split, with: {parts: {a: 0.5}, seed: 1}}",
        "{uses: prune, needs: {model: t.model}, with: {fraction: 0.5, scope: globally}}",
        "{run: \"true\", output: {o: o}}",
        "{run: \"true\", outputs: {o: o}, sandbox: maybe}",
        "{run: \"true\", outputs: {o: o}, needs: {a: {file: a.txt, dirs: b}, b: 3}}",
        "{run: \"true\", outputs: {o: o}, resources: {cpu: 2}}",
        "{rounds: {first: {m: i.m}}, stages: {t: {run: \"true\", outputs: {m: m}}}}",
    ] {
        schema.refuses(&stage(bad));
    }
    schema.refuses("name: no-version\nstages: {s: {run: \"true\", outputs: {o: o}}}\n");
    schema.refuses("version: 1\nstage: {}\n");
    schema.refuses("version: 1\nclaims: {c: {compare: {of: x, a: s, b: t}, expects: {}}}\n");
    schema.accepts("claims", "version: 1\nclaims: {c: {source: S, note: N, measure: {of: x, in: s, at: {best: max}}, expect: {mean: {above: 0.5}}}}\n");
}

#[test]
fn the_template_of_init_fits_the_schema() {
    let space = TestSpace::new();
    space.ok(&["init", "."]);
    schema().accepts("repro init", &space.read("pipeline.yaml"));
}

/// Pages that are one project from their first line to their last.
const STORIES: [&str; 2] = ["docs/tutorial.md", "docs/sharing.md"];

#[test]
fn the_stories_do_what_they_say() {
    for path in STORIES {
        let page = read(path);
        let blocks = markdown::blocks(&page);
        assert!(
            blocks.iter().filter(|b| b.says("console")).count() >= 8,
            "{path} has lost its commands"
        );
        console::run(path, &blocks.iter().collect::<Vec<_>>(), &schema());
    }
}

/// Each section is a project of its own.
#[test]
fn the_examples_do_what_they_say() {
    let schema = schema();
    let mut ran = 0;
    for path in pages()
        .iter()
        .filter(|p| !STORIES.contains(&p.as_str()) && !p.ends_with("/kinds.md"))
    {
        let page = read(path);
        let blocks = markdown::blocks(&page);
        let mut sections: BTreeMap<&str, Vec<&Block>> = BTreeMap::new();
        for block in &blocks {
            sections.entry(&block.section).or_default().push(block);
        }
        for blocks in sections.values() {
            ran += blocks
                .iter()
                .filter(|b| b.says("yaml") && !b.says("fragment"))
                .count();
            console::run(path, blocks, &schema);
        }
    }
    assert!(ran >= 10, "only {ran} examples were found");
}

#[test]
fn blocks_of_yaml_are_yaml() {
    for path in pages() {
        for block in markdown::blocks(&read(&path))
            .iter()
            .filter(|b| b.says("yaml"))
        {
            let parsed = yaml::parse(&block.text);
            assert!(parsed.is_ok(), "{path}:{}: {parsed:?}", block.line);
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let page = read(&path);
        for link in markdown::links(&page).iter().filter(|l| !l.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&path)
            } else {
                root().join("docs").join(file)
            };
            assert!(target.exists(), "{path}: `{link}` leads nowhere");
            if !anchor.is_empty() {
                let anchors = markdown::anchors(&fs::read_to_string(&target).expect("a page"));
                assert!(
                    anchors.iter().any(|a| a == anchor),
                    "{path}: `{link}`: the anchors are {anchors:?}"
                );
            }
        }
    }
}

#[test]
fn the_index_names_every_page() {
    let index = read("docs/README.md");
    let own = ["docs/README.md", "docs/SUMMARY.md"];
    for path in pages().iter().filter(|p| !own.contains(&p.as_str())) {
        let name = path.trim_start_matches("docs/");
        assert!(
            index.contains(&format!("({name})")),
            "docs/README.md does not name {name}"
        );
    }
}
