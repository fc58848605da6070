//! Pipelines of DVC, read: what comes out, how many instances and edges, and no panic on any text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use repro_engine::catalog::{Catalog, Table};
use repro_engine::plan::Work;
use repro_engine::spec::{Options, load};

use crate::Adopted;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn read(dir: &Path) -> Result<Adopted, String> {
    super::read(dir).map_err(|e| e.render(false))
}

/// Whole files, to be mangled.
const PARAMS: &str = "\
seed: 7
train: {lr: 1e-3, epochs: 3, opt: {name: sgd, fast: true, sizes: [4, 8]}}
models: {small: {width: 4}, large: {width: 16}}
regions: [north, south]
";
const DVC: &str = r"
vars:
  - extra.json:alpha
  - sizes: [1, 2]
stages:
  prepare:
    cmd: python prep.py
    deps: [prep.py, data/raw]
    params: [train.epochs, seed]
    outs: [data/prepared]
  split:
    foreach: ${regions}
    do:
      cmd: split data/prepared/rows ${item} > parts/${item}.txt
      deps:
        - data/prepared/rows
      outs:
        - parts/${item}.txt
  train:
    foreach: ${models}
    do:
      wdir: sub
      cmd:
        - train ${train.opt} --width ${item.width} --to ${key}.bin
        - echo \${HOME} ${sizes[1]} ${alpha}
      deps:
        - ../parts/north.txt
      outs:
        - ${key}.bin:
            persist: true
  eval:
    matrix:
      region: ${regions}
      model: [small, large]
      how: [{k: 1}, {k: 2}]
    cmd: eval ${item.region} ${item.model} ${item.how.k} > s/${key}.json
    deps:
      - sub/${item.model}.bin
    metrics:
      - s/${key}.json: {cache: false}
    frozen: true
  all:
    cmd: cat s/* > all.json
    deps: [s, ../outside]
    outs: [all.json]
";

/// What a pipeline comes to: its instances by name with their scripts, and how many pairs of them
/// take something from one another.
fn plan(dir: &Path, pipeline: &str) -> (BTreeMap<String, String>, usize) {
    let file = dir.join("pipeline.yaml");
    std::fs::write(&file, pipeline).unwrap();
    let catalog = Catalog::without_kinds(|_| Ok(Table::default()));
    let options = Options {
        file: &file,
        root: dir,
        profile: Vec::new(),
        set: Vec::new(),
        env: &|_| None,
    };
    let none: &dyn Fn(&Path) -> _ = &|_| unreachable!("no stage names a program");
    let plan = load(&options, &catalog, none)
        .unwrap_or_else(|e| panic!("{}\n{pipeline}", e.render(false)));
    assert_eq!(plan.warnings, Vec::<String>::new(), "{pipeline}");
    let mut edges = BTreeSet::new();
    let mut scripts = BTreeMap::new();
    for (i, instance) in plan.instances.iter().enumerate() {
        edges.extend(instance.producers().map(|by| (i, by)));
        let Work::Command(command) = &instance.work else {
            panic!("a kind")
        };
        scripts.insert(
            instance.id.to_string(),
            command.script.trim_end().to_owned(),
        );
    }
    (scripts, edges.len())
}

/// Reads a project and what was written for it; the numbers are DVC's.
fn check(
    files: &[(&str, &str)],
    instances: usize,
    edges: usize,
) -> (Adopted, BTreeMap<String, String>) {
    let dir = project(files);
    // A name that every run has.
    let root = dir.path().join("project");
    let adopted = read(&root).unwrap_or_else(|e| panic!("{e}"));
    let (scripts, found) = plan(&root, &adopted.pipeline);
    let told = (adopted.instances, adopted.edges);
    assert_eq!(told, (instances, edges), "{}", adopted.pipeline);
    assert_eq!(
        (scripts.len(), found),
        (instances, edges),
        "{}",
        adopted.pipeline
    );
    (adopted, scripts)
}

#[test]
fn a_whole_file_becomes_a_pipeline_of_five_stages() {
    let (adopted, scripts) = check(
        &[
            ("project/dvc.yaml", DVC),
            ("project/params.yaml", PARAMS),
            (
                "project/extra.json",
                r#"{"alpha": 1, "regions": "not this"}"#,
            ),
            ("project/prep.py", ""),
            ("project/data/raw/x", ""),
            ("outside", ""),
        ],
        14,
        20,
    );
    assert_eq!(adopted.stages, 5);
    insta::assert_snapshot!(adopted.pipeline);
    assert_eq!(
        scripts["train[item=large]"],
        "cd sub\ntrain --name sgd --fast --sizes 4 8 --width 16 --to large.bin\necho ${HOME} 2 1"
    );
    assert_eq!(
        scripts["eval[region=south,model=small,how=how1]"],
        "eval south small 2 > s/south-small-how1.json"
    );
}

/// Lists of maps, maps of numbers, axes with lists, values that are written in other ways.
const ITEMS: &str = r#"
stages:
  maps:
    foreach: ${models}
    do:
      cmd: echo ${item.name} ${flag} > maps/${item.name}
      outs:
        - maps/${item.name}
  named:
    foreach: ${countries}
    do:
      cmd: echo ${key} ${item.name} ${item.n} > named/${key}
      outs:
        - named/${key}
  numbers:
    foreach: ${thresholds}
    do:
      cmd: echo ${key} ${item} > numbers/${key}
      deps:
        - named/us
      outs:
        - numbers/${key}
  inline:
    foreach: [1e-3, 0.50, true, "x y", x y]
    do:
      cmd: echo ${item} > 'inline/${item}'
      outs:
        - inline/${item}
  lists:
    matrix:
      model: ${models}
      sizes: [[1, 2], [3]]
      lr: ${rates}
    cmd: fit ${item.model.name} ${item.sizes[0]} ${item.lr}
    deps:
      - maps/${item.model.name}
  keys:
    matrix:
      shape: ${shapes}
      x: [1]
    cmd: echo ${key} ${item.shape.w} > keys-${key}
    outs:
      - keys-${key}
  options:
    matrix:
      shape: ${shapes}
    cmd: draw ${item.shape}
    deps:
      - keys-${item.key}
  follow:
    foreach: [a, b]
    do:
      cmd: cat numbers/${item}
      deps:
        - numbers/${item}
"#;
const ITEM_VALUES: &str = r"
flag: True
models: [{name: cnn, lr: 0.10}, {name: rnn, lr: 0.2}]
countries: {us: {n: 1, name: States}, uk: {n: 2, name: Kingdom}}
thresholds: {a: 1, b: 2}
rates: [0.1, 1e-2]
shapes: [{w: 3, h: 4}, {w: 5, thin: true}]
";

#[test]
fn items_of_every_shape_stay_the_instances_they_are() {
    let dvc = ITEMS.replace("keys-${item.key}", "keys-shape0-1");
    let (adopted, scripts) = check(
        &[
            ("project/dvc.yaml", &dvc),
            ("project/params.yaml", ITEM_VALUES),
        ],
        24,
        14,
    );
    insta::assert_snapshot!(adopted.pipeline);
    let all: Vec<&str> = scripts.values().map(String::as_str).collect();
    for command in [
        "echo cnn True > maps/cnn",
        "echo uk Kingdom 2 > named/uk",
        "echo b 2 > numbers/b",
        "echo 0.001 > 'inline/0.001'",
        "echo 0.5 > 'inline/0.5'",
        "echo x y > 'inline/x y'",
        "fit rnn 3 1e-2",
        "echo shape1-1 5 > keys-shape1-1",
        "draw --w 3 --h 4",
        "draw --w 5 --thin",
    ] {
        assert!(all.contains(&command), "{command} is not in {all:#?}");
    }
    let notes: Vec<String> = adopted.notes.iter().map(|n| n.text.clone()).collect();
    assert!(
        notes
            .iter()
            .any(|n| n.contains("puts `True` into texts here")),
        "{notes:#?}"
    );
    assert!(
        notes
            .iter()
            .any(|n| n.contains("puts `1e-2` into texts here")),
        "{notes:#?}"
    );
}

#[test]
fn dependencies_are_files_directories_parts_and_what_lies_outside() {
    let dvc = r#"
stages:
  a:
    cmd: cat ../data/x.csv src/in.txt > a.txt
    deps: [../data/x.csv, src/in.txt]
    outs: [a.txt, a.csv]
  b:
    cmd: mkdir res; cp a.txt res/b.txt; echo $USER_NAME
    deps: [a.txt]
    outs: [res/b.txt]
  tree:
    cmd: python tree.py
    outs: [tree]
  part:
    cmd: ls res tree/x > c.txt
    deps: [res, tracked, tree/x/y.bin, locked]
    outs: [c.txt]
  sub:
    wdir: work/here
    cmd: |
      cp ../../c.txt d.txt
      cd .. && ls
    deps: [../../c.txt, ./own.txt]
    outs: [d.txt]
    params: [k, other.toml:]
"#;
    let (adopted, scripts) = check(
        &[
            (
                "project/dvc.yaml",
                &dvc.replace("[k, other.toml:]", "[k, {../../conf.toml: [a.b]}]"),
            ),
            ("project/work/here/params.yaml", "k: 1\nunused: 2\n"),
            ("project/work/here/own.txt", ""),
            ("project/conf.toml", "[a]\nb = 1\n"),
            ("project/src/in.txt", ""),
            ("project/res/readme.md", ""),
            (
                "project/tracked.dvc",
                "outs:\n- md5: abc.dir\n  path: tracked\n",
            ),
            ("project/tracked/x", ""),
            ("project/locked/y", ""),
            ("data/x.csv", ""),
        ],
        5,
        4,
    );
    insta::assert_snapshot!(adopted.pipeline);
    assert_eq!(scripts["a"], "cat in/data/x.csv src/in.txt > a.txt");
    assert_eq!(
        scripts["sub"],
        "cd work/here\ncp ../../c.txt d.txt\n(cd .. && ls)"
    );
}

#[test]
fn what_is_not_here_is_said_and_what_the_lock_knows_is_used() {
    let dvc = "stages:\n  a:\n    cmd: run\n    deps: [big, small, who, kept, s3://bucket/x]\n";
    let lock = "schema: '2.0'\nstages:\n  a:\n    cmd: run\n    deps:\n    - path: big\n      md5: 00.dir\n    - path: small\n      md5: '00'\n";
    let dir = project(&[
        ("dvc.yaml", dvc),
        ("dvc.lock", lock),
        ("kept.dvc", "outs:\n- md5: 11.dir\n  path: kept\n"),
    ]);
    let adopted = read(dir.path()).unwrap();
    for line in [
        "big: {dir: big}",
        "small: {file: small}",
        "who: {file: who}",
        "kept: {dir: kept}",
    ] {
        assert!(
            adopted.pipeline.contains(line),
            "{line}\n{}",
            adopted.pipeline
        );
    }
    let notes: Vec<&str> = adopted.notes.iter().map(|n| n.text.as_str()).collect();
    for said in [
        "`who` is not here, and nothing says",
        "`kept` is tracked by a .dvc file",
        "`big` is not here: it has to be",
        "`s3://bucket/x`",
    ] {
        assert!(notes.iter().any(|n| n.contains(said)), "{said}\n{notes:#?}");
    }
}

#[test]
fn parameters_count_by_key_where_that_is_sure() {
    let config = |dvc: &str, params: &str| {
        let dir = project(&[
            ("dvc.yaml", dvc),
            ("params.yaml", params),
            ("more.json", r#"{"m": {"x": 1}, "lr": 5}"#),
        ]);
        read(dir.path()).unwrap().pipeline
    };
    let of = |keys: &str| format!("stages:\n  a:\n    cmd: run\n    params: [{keys}]\n");
    let text = config(
        &of("train.lr, seed"),
        "train: {lr: 1e-5, epochs: 3}\nseed: 1\n",
    );
    assert!(text.contains("vars: {file: params.yaml}\n"), "{text}");
    assert!(
        text.contains(
            r#"config: {params.yaml: {seed: "${vars.seed}", train: {lr: "${vars.train.lr}"}}}"#
        ),
        "{text}"
    );
    let text = config(&of("train, train.lr"), "train: {lr: 1e-5}\n");
    assert!(
        text.contains(r#"config: {params.yaml: {train: "${vars.train}"}}"#),
        "{text}"
    );
    // Another file, whose names are free.
    let text = config(&of("seed, {more.json: [m.x]}"), "seed: 1\n");
    assert!(
        text.contains(r#"more.json: {m: {x: "${vars.m.x}"}}"#),
        "{text}"
    );
    // Whole files: a name that both have; all of it; what is read in different ways; a pattern.
    for (keys, params) in [
        ("{more.json: [lr]}", "lr: 1\n"),
        ("{params.yaml: }", "lr: 1\n"),
        ("lr", "lr: yes\n"),
        ("lr", "lr: 2024-01-02\n"),
        ("t.octal", "t: {octal: 010}\n"),
        ("t.1", "t: {1: x}\n"),
        ("'t.*'", "t: {a: x}\n"),
    ] {
        let text = config(&of(keys), params);
        assert!(
            !text.contains("config:") && text.contains("{file: "),
            "{keys}: {text}"
        );
    }
    // A file that is not read here, and that no text refers to.
    let text = config(&of("lr"), "base: &b {x: 1}\nlr: {<<: *b}\n");
    assert!(text.contains("{file: params.yaml}"), "{text}");
    // Quoted, they are texts to everybody.
    assert!(config(&of("lr"), "lr: 'yes'\n").contains("config:"));
}

#[test]
fn a_file_that_gives_no_own_meaning_to_a_name_is_copied() {
    let dvc = "vars:\n  - a.json:x\n  - b.json:y\n  - c: {d: 1}\n  - c: {e: 2}\n  - c: {f: 3}\nstages:\n  a:\n    cmd: echo ${x} ${y} ${c.d} ${c.e}${c.f}\n";
    let (adopted, scripts) = check(
        &[
            ("project/dvc.yaml", dvc),
            ("project/a.json", r#"{"x": 1, "y": 2}"#),
            ("project/b.json", r#"{"x": 3, "y": 4}"#),
        ],
        1,
        0,
    );
    assert_eq!(scripts["a"], "echo 1 4 1 23");
    assert!(
        adopted
            .notes
            .iter()
            .any(|n| n.text.contains("`x` has parts in several files")),
        "{:#?}",
        adopted.notes
    );
}

#[test]
fn what_dvc_refuses_is_refused_with_its_place() {
    let said = |dvc: &str| {
        let dir = project(&[("dvc.yaml", dvc), ("params.yaml", "lr: 1\nlist: [1]\n")]);
        read(dir.path()).unwrap_err()
    };
    let mut all = String::new();
    for dvc in [
        "stages:\n  a:\n    cmd: echo ${rl}\n",
        "stages:\n  a:\n    cmd: echo ${list}\n",
        "stages:\n  a:\n    cmd: echo ${lr..x}\n",
        "stages:\n  a:\n    deps: [x]\n",
        "stages:\n  a:\n    cmd: x\n    deps: [out/x]\n    outs: [out]\n",
        "stages:\n  a: {cmd: x, outs: [o]}\n  b: {cmd: y, outs: [./o]}\n",
        "stages:\n  a: {cmd: x, wdir: ../up}\n",
        "stages:\n  a:\n    foreach: ${lr}\n    do: {cmd: x}\n",
        "stages:\n  a: {cmd: x, out: [o]}\n",
        "vars: [nowhere.yaml]\nstages:\n  a: {cmd: x}\n",
        "vars: [{lr: 2}]\nstages:\n  a: {cmd: x}\n",
        "stages: [a]\n",
        "stages: {}\n",
        "stages:\n  a: {cmd: x\n",
    ] {
        all.push_str(&said(dvc));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

/// Pieces that stand in such files, at the wrong places.
const PIECES: [&str; 24] = [
    "${",
    "}",
    "${item}",
    "${key}",
    "${a.b[0]}",
    "[",
    "]",
    "{",
    ": ",
    "\n  ",
    "- ",
    "..",
    "/",
    "\\${x}",
    "~",
    "null",
    "foreach: ${models}",
    "matrix: {a: []}",
    "&x",
    "*x",
    "\u{0}",
    "'",
    "\"",
    "outs: [.]",
];

fn mangled(text: &'static str) -> impl Strategy<Value = String> {
    let change = (
        0..text.len(),
        0..12usize,
        prop::sample::select(PIECES.to_vec()),
    );
    prop::collection::vec(change, 0..5).prop_map(move |changes| {
        let mut text = text.to_owned();
        for (at, len, piece) in changes {
            let at = (0..=at.min(text.len()))
                .rev()
                .find(|&i| text.is_char_boundary(i))
                .unwrap_or(0);
            let end = (at + len..=text.len())
                .find(|&i| text.is_char_boundary(i))
                .unwrap_or(text.len());
            text.replace_range(at..end.max(at), piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever a file says, it is read or refused with a place; what is written is YAML.
    #[test]
    fn no_text_makes_it_panic(dvc in mangled(DVC), params in mangled(PARAMS)) {
        let dir = project(&[("dvc.yaml", &dvc), ("params.yaml", &params), ("extra.json", r#"{"alpha": 1}"#)]);
        match read(dir.path()) {
            Ok(adopted) => {
                let (node, problems) = repro_engine::spec::yaml::parse(0, &adopted.pipeline);
                prop_assert!(problems.is_empty() && node.is_some(), "{dvc}\n---\n{}\n{problems:?}", adopted.pipeline);
            }
            Err(said) => prop_assert!(said.contains(":") && said.contains("error"), "{said}"),
        }
    }
}
