//! The Python package reads what the command says, whatever else of Python's world is installed.

use std::path::Path;
use std::process::Command;

use crate::docs::markdown::{Block, blocks};
use crate::support::skipped::skipped;
use crate::support::{TestSpace, python};

const PIPELINE: &str = r#"
version: 1
name: way
vars: {epochs: 3}
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 300, test: 100, noise: 20}}}
  train:
    uses: train
    matrix: {lr: [0.01, 0.1], seed: [0, 1]}
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [16]}}
      seed: "${matrix.seed}"
      length: {epochs: "${vars.epochs}"}
      batch_size: 32
      optimizer: {sgd: {lr: "${matrix.lr}"}}
claims:
  faster:
    compare: {of: test_accuracy, a: "train[lr=0.1,*].metrics", b: "train[lr=0.01,*].metrics", at: last}
    expect: {difference: {above: 0}}
"#;

/// A value that is no number, and an axis that is called like a column.
const DIVERGED: &str = r#"
version: 1
stages:
  s:
    matrix: {name: [a], which: [1]}
    run: |
      echo '{"loss": NaN, "accuracy": 0.1}' > ${outputs.metrics}
    outputs: {metrics: metrics.json}
"#;

const TRAINED: &str = r#"
version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 300, test: 100, noise: 20}}}
  train:
    uses: train
    matrix: {seed: [1]}
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [16]}}
      seed: "${matrix.seed}"
      length: {epochs: 3}
      batch_size: 32
      optimizer: {sgd: {lr: 0.1}}
"#;

/// What a network says of two images: -ln p of every class.
const ASKED: &str = r#"  ours:
    uses: evaluate
    matrix: {image: [0, 1], label: {range: [0, 10]}}
    needs:
      model: "train[seed=1].model"
      data: {file: "probe/${matrix.image}-${matrix.label}.safetensors"}
    with: {calibration: true}
  theirs:
    uses: evaluate
    matrix: {image: [0, 1], label: {range: [0, 10]}}
    needs:
      model: {file: theirs.safetensors}
      data: {file: "probe/${matrix.image}-${matrix.label}.safetensors"}
    with: {calibration: true, model: {mlp: {hidden: [16]}}}
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Python in the project, with the package and the program of this checkout.
pub fn command(space: &TestSpace, python: &Path) -> Command {
    let mut command = Command::new(python);
    command.current_dir(&space.project).env_clear();
    let program = space.command(&[]);
    let said = program.get_envs();
    command.envs(said.filter_map(|(name, value)| Some((name, value?))));
    command
        .env("PYTHONPATH", root().join("python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("REPRO_PROGRAM", env!("CARGO_BIN_EXE_repro"));
    command
}

/// Runs a script of `tests/python`, which must succeed; says what it skipped.
pub fn script(space: &TestSpace, python: &Path, name: &str, args: &[&str]) {
    let mut asked = command(space, python);
    asked.arg(root().join("tests/python").join(name)).args(args);
    let said = space.run_command(asked).expect(0, &[name]);
    for line in said.out.lines() {
        if let Some(why) = line.strip_prefix("skipped: ") {
            skipped(why);
        }
    }
}

#[test]
fn the_package_reads_what_the_command_says() {
    let python = match python::with(&["numpy", "pandas"]).or_else(|_| python::with(&[])) {
        Ok(python) => python,
        Err(why) => return skipped(why),
    };
    let space = TestSpace::with_pipeline(PIPELINE);
    space.write("diverged/pipeline.yaml", DIVERGED);
    space.ok(&["run", "-C", "diverged"]);
    space.ok(&["run"]);
    space.write("metrics.json", space.ok(&["metrics", "--json"]));
    space.write("all.json", space.ok(&["metrics", "--all", "--json"]));
    space.write("figures.txt", space.ok(&["plot", "--list"]));
    script(&space, &python, "reads.py", &[]);
}

/// A network of PyTorch gives the logits that `repro` gives for its weights, and the other way
/// round.
#[test]
fn weights_go_in_and_out() {
    let python = match python::with(&["numpy", "torch"]).or_else(|_| python::with(&["numpy"])) {
        Ok(python) => python,
        Err(why) => return skipped(why),
    };
    let space = TestSpace::with_pipeline(TRAINED);
    space.ok(&["run"]);
    std::fs::create_dir(space.path("probe")).unwrap();
    script(&space, &python, "logits.py", &["prepare"]);
    space.write("pipeline.yaml", format!("{TRAINED}{ASKED}"));
    space.ok(&["run"]);
    script(&space, &python, "logits.py", &["compare"]);
}

#[test]
fn the_types_of_the_package_hold() {
    let python = match python::with(&["mypy"]) {
        Ok(python) => python,
        Err(why) => return skipped(why),
    };
    let space = TestSpace::new();
    let mut asked = command(&space, &python);
    asked
        .args([
            "-m",
            "mypy",
            "--strict",
            "--ignore-missing-imports",
            "--cache-dir",
        ])
        .arg(space.path("cache"))
        .arg(root().join("python/src/repro_pipeline"));
    space.run_command(asked).expect(0, &["mypy"]);
}

/// The version of the wheel is that of the program, and nothing is installed with it.
#[test]
fn the_package_needs_nothing() {
    let project = std::fs::read_to_string(root().join("pyproject.toml")).unwrap();
    assert!(project.contains("dynamic = [\"version\"]"), "{project}");
    assert!(!project.contains("\ndependencies"), "{project}");
}

/// The blocks of the page are one program, about the project that the page writes.
#[test]
fn the_page_does_what_it_says() {
    let wanted = ["numpy", "pandas", "polars"];
    let all = [&wanted[..], &["torch"]].concat();
    let (python, has_torch) = match (python::with(&all), python::with(&wanted)) {
        (Ok(python), _) => (python, true),
        (_, Ok(python)) => (python, false),
        (_, Err(why)) => return skipped(why),
    };
    if !has_torch {
        skipped("torch is not installed");
    }
    let page = std::fs::read_to_string(root().join("docs/python.md")).unwrap();
    let blocks = blocks(&page);
    let space = TestSpace::new();
    let pipeline = blocks.iter().find(|b| b.file() == Some("pipeline.yaml"));
    space.write("pipeline.yaml", &pipeline.expect("a pipeline").text);
    space.ok(&["run"]);
    let is_wanted = |b: &&Block| b.says("python") && (has_torch || !b.says("torch"));
    let program: Vec<&str> = blocks.iter().filter(is_wanted).map(|b| &*b.text).collect();
    assert!(program.len() >= 4, "the page has lost its snippets");
    space.write("page.py", program.concat());
    let mut asked = command(&space, &python);
    asked.arg("page.py");
    let said = space.run_command(asked).expect(0, &["page.py"]);
    assert!(said.out.contains("faster inconclusive"), "{}", said.out);
}

/// `REPRO_BLESS=1` saves what its cells say.
#[test]
fn the_notebook_says_what_is_saved_in_it() {
    let jupyter = ["nbclient", "nbformat", "ipykernel", "numpy", "pandas"];
    let python = match python::with(&jupyter).or_else(|_| python::with(&jupyter[3..])) {
        Ok(python) => python,
        Err(why) => return skipped(why),
    };
    let notebook = root().join("docs/notebook.ipynb");
    let notebook = notebook.to_str().expect("UTF-8");
    let bless = std::env::var_os("REPRO_BLESS").is_some_and(|v| v == "1");
    let args = [&[notebook][..], if bless { &["--bless"] } else { &[] }].concat();
    script(&TestSpace::new(), &python, "notebook.py", &args);
}
