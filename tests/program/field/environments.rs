//! Environments of a command stage: packages in the key, told in one word.

use super::commands::refused;
use crate::support::TestSpace;

/// The file that says what an environment holds, or a program of it, where its directory belongs.
#[test]
fn case_19_a_file_in_the_place_of_an_environment_is_told_as_one() {
    let space = TestSpace::new();
    for (declared, says) in [
        (
            "python: requirements.txt",
            "write `python: {lock: requirements.txt}`",
        ),
        ("r: renv.lock", "write `r: {lock: renv.lock}`"),
        (
            "conda: ./environment.yml",
            "write `conda: {lock: ./environment.yml}`",
        ),
        (
            "conda: environment.yml",
            "write `conda: {lock: environment.yml}`",
        ),
        ("python: venv/bin/python3", "write `python: venv`"),
        (
            "python: {lock: requirements.txt, path: venv/pyvenv.cfg}",
            "`path` is the directory",
        ),
        (
            "python: bin/python3",
            "an interpreter, and not an environment",
        ),
    ] {
        let text = "x==1\n";
        space
            .write("requirements.txt", text)
            .write("renv.lock", "{}")
            .write("environment.yml", "name: x\n")
            .write("venv/bin/python3", "")
            .write("venv/pyvenv.cfg", "")
            .write("bin/python3", "");
        space.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  a: {{{declared}, run: \"true > ${{outputs.o}}\", outputs: {{o: o}}}}\n"),
        );
        let err = refused(&space, &["run"], 2, &["is a file", says]);
        assert!(!err.contains("there is no"), "{err}");
    }
    space.edit("pipeline.yaml", "bin/python3", "none/such");
    refused(&space, &["run"], 2, &["there is no directory"]);
}

/// A virtual environment as `python3 -m venv` makes one, in `dir` of the project, with one module
/// installed in it.
fn virtual_environment(space: &TestSpace, dir: &str, version: &str) {
    let said = std::process::Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(space.path(dir))
        .output()
        .expect("python3");
    assert!(said.status.success(), "{said:?}");
    install(space, dir, version);
}

/// What an installer would do.
pub(super) fn install(space: &TestSpace, dir: &str, version: &str) {
    let lib = std::fs::read_dir(space.path(dir).join("lib")).unwrap();
    let site = lib.flatten().next().unwrap().path().join("site-packages");
    for entry in std::fs::read_dir(&site).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tiny") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let info = site.join(format!("tiny_pkg-{version}.dist-info"));
    std::fs::create_dir(&info).unwrap();
    std::fs::write(site.join("tiny.py"), format!("version = '{version}'\n")).unwrap();
    std::fs::write(
        info.join("METADATA"),
        format!("Metadata-Version: 2.1\nName: Tiny.Pkg\nVersion: {version}\n\nBody\n"),
    )
    .unwrap();
    std::fs::write(
        info.join("RECORD"),
        format!("tiny.py,sha256=of{version},20\n../../../bin/tiny,sha256={dir},9\n"),
    )
    .unwrap();
    std::fs::write(info.join("INSTALLER"), dir).unwrap();
}

const TRAIN: &str = r#"
version: 1
stages:
  a:
    needs: {script: {file: train.py}}
    python: .venv
    run: "python ${needs.script} > ${outputs.o}; test -n $VIRTUAL_ENV"
    outputs: {o: o.txt}
"#;

fn trained() -> TestSpace {
    let space = TestSpace::with_pipeline(TRAIN);
    space.write("train.py", "import tiny\nprint(tiny.version)\n");
    virtual_environment(&space, ".venv", "1.0");
    space
}

#[test]
fn case_19_a_virtual_environment_is_one_word_and_its_packages_are_in_the_key() {
    let space = trained();
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "1.0\n");
    assert_eq!(space.executed(&[]), [] as [&str; 0]);
    install(&space, ".venv", "2.0");
    let why = space.ok(&["why", "a"]);
    assert!(
        why.contains("command.python.packages.tiny-pkg: 1.0 ") && why.contains("→ 2.0 "),
        "{why}"
    );
    assert_eq!(space.executed(&[]), ["a"]);
    assert_eq!(space.read("artifacts/a/o.txt"), "2.0\n");
    // The interpreter is found by its path as well, and a missing environment is told with what to
    // do.
    space.edit("pipeline.yaml", "\"python $", "\".venv/bin/python $");
    assert_eq!(space.executed(&[]), ["a"]);
    space.remove(".venv");
    refused(
        &space,
        &["run"],
        2,
        &[
            "`python: .venv`",
            "python3 -m venv .venv",
            "pipeline.yaml:4",
        ],
    );
}

#[test]
fn case_19_the_same_packages_elsewhere_are_the_same_key() {
    let space = trained();
    let key = |space: &TestSpace| space.json(&["status"])[0]["key"].clone();
    let here = key(&space);
    let other = TestSpace::with_pipeline(TRAIN);
    other.write("train.py", space.read("train.py"));
    virtual_environment(&other, "../envs/other", "1.0");
    other.edit("pipeline.yaml", "python: .venv", "python: ../envs/other");
    assert_eq!(key(&other), here);
    other.ok(&["run"]);
    // An absolute path too, and `~`.
    let absolute = other.path("../envs/other").canonicalize().unwrap();
    other.edit("pipeline.yaml", "../envs/other", absolute.to_str().unwrap());
    assert_eq!(key(&other), here);
}

#[test]
fn case_19_a_lock_file_stands_for_what_is_installed() {
    let space = trained();
    space.edit("pipeline.yaml", "python: .venv", "python: {lock: uv.lock}");
    space.write(
        "uv.lock",
        "version = 1\n\n[[package]]\nname = \"tiny-pkg\"\nversion = \"1.0\"\n",
    );
    space.ok(&["run"]);
    let shown = space.json(&["show", "a"]).to_string();
    assert!(shown.contains("lock"), "{shown}");
    install(&space, ".venv", "2.0");
    refused(
        &space,
        &["run"],
        2,
        &[
            "`tiny-pkg` 2.0 is installed where",
            "uv.lock says 1.0",
            "uv sync",
        ],
    );
    space.edit("uv.lock", "1.0", "2.0");
    assert_eq!(space.executed(&[]), ["a"]);
    space.edit("pipeline.yaml", "{lock: uv.lock}", "{lok: uv.lock}");
    refused(&space, &["run"], 2, &["lok"]);
}

#[test]
fn case_19_hints_name_the_line_that_declares_an_environment() {
    let space = trained();
    for (command, said) in [
        ("python ${needs.script}", "python: .venv"),
        (".venv/bin/python ${needs.script}", "python: .venv"),
    ] {
        space.write(
            "pipeline.yaml",
            TRAIN
                .replace("    python: .venv\n", "")
                .replace("python ${needs.script}", command),
        );
        refused(&space, &["run"], 1, &["add to the stage: ", said]);
    }
    let outside = space.path("../outside");
    virtual_environment(&space, "../outside", "1.0");
    let python = outside.canonicalize().unwrap();
    let python = python.to_str().unwrap();
    space.write(
        "pipeline.yaml",
        TRAIN
            .replace("    python: .venv\n", "")
            .replace("python $", &format!("{python}/bin/python $")),
    );
    let declared = format!("python: {python}");
    let said = space.run(&["run"]);
    if said.code != 0 {
        // Where the temporary directory is readable, the interpreter runs, and the environment is
        // told of.
        assert!(said.err.contains(&declared), "{}", said.err);
    }
    space.edit(
        "pipeline.yaml",
        "    run:",
        &format!("    {declared}\n    run:"),
    );
    space.ok(&["run"]);
}

/// A module that is installed nowhere: which Python looked for it, and what to install.
#[test]
fn case_19_a_missing_module_is_told_with_its_package_and_python() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  t:\n    run: python3 ${needs.script} > ${outputs.o}\n    needs: {script: {file: t.py}}\n    outputs: {o: o.txt}\n",
    );
    space.write("t.py", "import no_such_module_x.inner\n");
    let said = space.run(&["run"]).expect(1, &["run"]).err;
    assert!(
        said.contains("its Python has no module `no_such_module_x` (/"),
        "{said}"
    );
    assert!(said.contains("/python3 ran it)"), "{said}");
    assert!(
        said.contains("python3 -m pip install no_such_module_x`"),
        "{said}"
    );
    assert!(said.contains("`python: .venv`"), "{said}");
    // Some packages are called otherwise than their modules.
    space.write(
        "t.py",
        "import sys\nsys.exit(\"ModuleNotFoundError: No module named 'sklearn.svm'\")\n",
    );
    let said = space.run(&["run"]).expect(1, &["run"]).err;
    assert!(said.contains("pip install scikit-learn`"), "{said}");
    // One that was dealt with is not the cause.
    space.write(
        "t.py",
        "import sys\nprint(\"No module named 'x'\", file=sys.stderr)\nopen('nowhere.csv')\n",
    );
    let said = space.run(&["run"]).expect(1, &["run"]).err;
    assert!(!said.contains("pip install"), "{said}");
}

#[test]
fn case_19_an_activated_environment_is_told_of() {
    let mut space = trained();
    space.edit(
        "pipeline.yaml",
        "    python: .venv\n",
        "    env: {VIRTUAL_ENV: x}\n",
    );
    let path = format!(
        "{}:{}",
        space.path(".venv/bin").display(),
        std::env::var("PATH").unwrap()
    );
    space.set_env("PATH", path);
    let said = space.run(&["run"]).expect(0, &["run"]);
    assert!(
        said.err.contains("not part of the key")
            && said.err.contains("add to the stage: python: .venv"),
        "{}",
        said.err
    );
}

#[test]
fn case_19_conda_and_r_libraries() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  conda: {conda: ./envs/c, run: "tool > ${outputs.o}; echo $CONDA_DEFAULT_ENV >> ${outputs.o}", outputs: {o: o}}
  r: {r: {lock: renv.lock}, run: "cat $R_LIBS/dplyr/DESCRIPTION > ${outputs.o}", outputs: {o: o}}
"#,
    );
    space.write("envs/c/conda-meta/tool-1.2-h1_0.json", "{}");
    space.write("envs/c/bin/tool", "#!/bin/sh\necho tool\n");
    std::fs::set_permissions(
        space.path("envs/c/bin/tool"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    space.write("renv.lock", "{}");
    space.write(
        "renv/library/R-4.3/x86_64/dplyr/DESCRIPTION",
        "Package: dplyr\nVersion: 1.1\n",
    );
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/conda/o"), "tool\nc\n");
    assert!(space.read("artifacts/r/o").contains("1.1"));
    space.remove("envs/c/conda-meta/tool-1.2-h1_0.json");
    space.write("envs/c/conda-meta/tool-1.2-h1_1.json", "{}");
    space.write("renv.lock", "{ }");
    assert_eq!(space.executed(&[]), ["conda", "r"]);
    space.edit("pipeline.yaml", "conda: ./envs/c", "conda: nowhere");
    refused(
        &space,
        &["run"],
        2,
        &["`conda: nowhere`", "there is no environment of that name"],
    );
}

#[test]
fn case_19_caches_and_user_packages_are_one_word() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  a: {caches: [huggingface, "~/other"], run: "cat $HF_HOME/hub/x ~/x > ${outputs.o} || cat $HF_HOME/hub/x > ${outputs.o}; echo new > $HF_HOME/hub/y", outputs: {o: o}}
"#,
    );
    let home = space.path("../home");
    let cache = home.join(".cache/huggingface/hub");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("x"), "cached\n").unwrap();
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o"), "cached\n");
    assert!(cache.join("y").exists() && home.join("other").is_dir());
    std::fs::write(cache.join("x"), "other\n").unwrap();
    assert_eq!(space.executed(&[]), [] as [&str; 0]);
    space.edit("pipeline.yaml", "huggingface", "hugingface");
    refused(&space, &["run"], 2, &["did you mean `huggingface`"]);

    let said = std::process::Command::new("python3")
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(said.stdout).unwrap();
    let short: Vec<&str> = version
        .trim()
        .trim_start_matches("Python ")
        .split('.')
        .take(2)
        .collect();
    let site = home.join(format!(
        ".local/lib/python{}/site-packages",
        short.join(".")
    ));
    std::fs::create_dir_all(site.join("mine-1.dist-info")).unwrap();
    std::fs::write(site.join("mine.py"), "print('mine')\n").unwrap();
    space.write(
        "pipeline.yaml",
        "version: 1\nstages:\n  a: {run: \"python3 -c 'import mine' > ${outputs.o}\", outputs: {o: o}}\n",
    );
    refused(&space, &["run"], 1, &["add to the stage: python: user"]);
    space.edit("pipeline.yaml", "{run:", "{python: user, run:");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/o"), "mine\n");
}
