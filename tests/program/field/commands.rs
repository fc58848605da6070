//! What a command stage may say: its shell, its secrets, its environment, files from outside the project.

use crate::support::TestSpace;

/// Ends with this code, and standard error holds these texts.
#[track_caller]
fn refused(space: &TestSpace, args: &[&str], code: i32, texts: &[&str]) -> String {
    let said = space.run(args).expect(code, args);
    for text in texts {
        assert!(said.err.contains(text), "no {text:?} in:\n{}", said.err);
    }
    said.err
}

#[test]
fn case_7_a_failure_inside_a_pipe_fails_the_stage() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"(echo half; exit 3) | tee ${outputs.log}\", outputs: {log: log.txt}}\n",
    );
    refused(&space, &["run"], 1, &["exited with code 3"]);
    assert!(!space.exists("artifacts/a/log.txt"));
    // For those who want it.
    space.edit("pipeline.yaml", "outputs:", "shell: sh, outputs:");
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/a/log.txt"), "half\n");
    let preimage = space.json(&["show", "a"]).to_string();
    assert!(preimage.contains(r#"["sh","-eu","-c"]"#), "{preimage}");
}

#[test]
fn case_7_shells_by_name_and_as_lists() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  default: {run: "printf '%s' \"$-\" > ${outputs.o}; shopt -o pipefail", outputs: {o: o}}
  bash: {run: "shopt -o pipefail > ${outputs.o}", shell: bash, outputs: {o: o}}
  plain: {run: "false | true; echo $nothing > ${outputs.o}", shell: [bash, -c], outputs: {o: o}}
  python: {run: "open('${outputs.o}', 'w').write('x')", shell: [python3, -c], outputs: {o: o}}
"#,
    );
    space.ok(&["run"]);
    let flags = space.read("artifacts/default/o");
    assert!(flags.contains('e') && flags.contains('u'), "{flags}");
    assert!(space.read("artifacts/bash/o").contains("on"));
    assert_eq!(space.read("artifacts/python/o"), "x");
    space.edit("pipeline.yaml", "shell: bash", "shell: bash -e -c");
    refused(&space, &["run"], 2, &["write `shell: [bash, -e, -c]`"]);
}

#[test]
fn case_7_without_bash_the_message_says_what_to_write() {
    let mut space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"echo x > ${outputs.o}\", outputs: {o: o}}\n",
    );
    let bin = space.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).unwrap();
    space.set_env("PATH", bin);
    refused(
        &space,
        &["run"],
        1,
        &["`bash` cannot be started", "install it", "`shell: sh`"],
    );
}

#[test]
fn case_7_a_reader_that_stops_early_is_explained() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: \"yes | head -n 1 > ${outputs.o}\", outputs: {o: o}}\n",
    );
    refused(
        &space,
        &["run"],
        1,
        &["SIGPIPE", "(PROGRAM || true) | head"],
    );
}

/// Every file below a directory whose bytes hold this text.
fn files_with(dir: &std::path::Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|w| w == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

const SECRET: &str = "hf_QwErTy0123456789";

#[test]
fn case_8_a_secret_is_passed_and_never_hashed_stored_or_logged() {
    let mut space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  a:
    secrets: [HF_TOKEN]
    run: |
      test ${#HF_TOKEN} -ge 4
      echo "token: $HF_TOKEN"
      printf '%s' "${HF_TOKEN:0:5}"; sleep 0.1; echo "${HF_TOKEN:5}"
      touch "undeclared $HF_TOKEN"
      echo made > ${outputs.o}
    outputs: {o: o.txt}
  b:
    secrets: [HF_TOKEN]
    run: "echo before; echo \"said $HF_TOKEN\" >&2; exit 3"
    outputs: {o: o.txt}
"#,
    );
    space.edit("pipeline.yaml", "${#HF", "$${#HF");
    space.edit("pipeline.yaml", "${HF_TOKEN:0", "$${HF_TOKEN:0");
    space.edit("pipeline.yaml", "${HF_TOKEN:5", "$${HF_TOKEN:5");
    // Said before anything runs.
    let err = refused(&space, &["run"], 2, &["HF_TOKEN", "is not set"]);
    assert!(err.contains("pipeline.yaml:"), "{err}");
    assert!(!space.exists("artifacts"));

    space.set_env("HF_TOKEN", SECRET);
    let said = space.run(&["run", "-k"]).expect(1, &["run"]);
    assert!(said.err.contains("said ***"), "{}", said.err);
    assert!(!said.err.contains(SECRET) && !said.out.contains(SECRET));
    assert_eq!(space.read("artifacts/a/o.txt"), "made\n");
    let log = space.ok(&["logs", "a"]);
    assert!(log.contains("token: ***\n***\n"), "{log}");
    assert_eq!(
        files_with(&space.store, SECRET),
        [] as [std::path::PathBuf; 0]
    );
    assert_eq!(
        files_with(&space.project, SECRET),
        [] as [std::path::PathBuf; 0]
    );

    // Another value, or none, is no reason to execute it again.
    space.set_env("HF_TOKEN", "another value");
    assert_eq!(space.executed(&["a"]), [] as [&str; 0]);
    space.set_env("HF_TOKEN", "");
    assert_eq!(space.executed(&["a"]), [] as [&str; 0]);
    refused(&space, &["run", "-f", "a"], 2, &["`HF_TOKEN` is not set"]);
}

#[test]
fn case_8_an_output_that_holds_a_secret_is_not_kept() {
    let mut space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {secrets: [HF_TOKEN], run: \"mkdir ${outputs.o}; echo url=x:$HF_TOKEN@y > ${outputs.o}/config\", outputs: {o: repo}}\n",
    );
    space.set_env("HF_TOKEN", SECRET);
    let err = refused(
        &space,
        &["run"],
        1,
        &[
            "its output `o` holds the value of the secret `HF_TOKEN`",
            "config",
        ],
    );
    assert!(!err.contains(SECRET));
    assert_eq!(
        files_with(&space.store, SECRET),
        [] as [std::path::PathBuf; 0]
    );
}

/// Names of files and targets of links are stored like contents, and messages are no place for a secret either.
#[test]
fn case_8_a_secret_in_a_name_or_a_link_is_not_kept() {
    for made in [
        "touch ${outputs.o}/$HF_TOKEN",
        "mkdir -p ${outputs.o}/x/$HF_TOKEN/y",
        "mkdir -p ${outputs.o}/x; echo x > ${outputs.o}/x/of-$HF_TOKEN.txt",
        "ln -s $HF_TOKEN ${outputs.o}/x",
        "ln -s /$HF_TOKEN ${outputs.o}/x",
        "mkfifo ${outputs.o}/$HF_TOKEN",
    ] {
        let mut space = TestSpace::with_pipeline(&format!(
            "version: 1\nstages:\n  a: {{secrets: [HF_TOKEN], run: \"mkdir ${{outputs.o}}; {made}\", outputs: {{o: o}}}}\n"
        ));
        space.set_env("HF_TOKEN", SECRET);
        let err = refused(&space, &["run"], 1, &["its output `o`"]);
        assert!(!err.contains(SECRET), "{made}\n{err}");
        if !made.contains(" /") && !made.contains("mkfifo") {
            assert!(
                err.contains("holds the value of the secret `HF_TOKEN`"),
                "{made}\n{err}"
            );
        }
        let trees = space.store_files("trees");
        assert!(trees.is_empty(), "{made}: {trees:?}");
    }
}

/// A password inside an address is a credential, whatever the variable is called.
#[test]
fn case_8_a_variable_that_holds_a_password_is_refused_with_advice() {
    let mut space = TestSpace::new();
    let url = "postgres://me:s3cr3t-words@db/x";
    for (name, value) in [
        ("GH_PAT", "ghp_1"),
        ("MYSQL_PWD", "x"),
        ("DATABASE_URL", url),
    ] {
        space.set_env(name, value);
    }
    for (stage, advised) in [
        ("run: \"true > ${outputs.o}\", env: [GH_PAT]", "GH_PAT"),
        (
            "run: \"true > ${outputs.o}\", env: [MYSQL_PWD]",
            "MYSQL_PWD",
        ),
        (
            "run: \"true > ${outputs.o}\", env: [DATABASE_URL]",
            "DATABASE_URL",
        ),
        (
            "run: \"psql ${env.DATABASE_URL} > ${outputs.o}\"",
            "DATABASE_URL",
        ),
        (
            "run: \"true > ${outputs.o}\", env: {DB: \"postgres://me:s3cr3t-words@db/x\"}",
            "DB",
        ),
    ] {
        space.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  a: {{{stage}, outputs: {{o: o}}}}\n"),
        );
        let advice = format!("write `secrets: [{advised}]`");
        let err = refused(&space, &["run"], 2, &[&advice]);
        // The text of the pipeline itself may be shown, a value of the environment may not.
        assert!(!err.contains("s3cr3t") || advised == "DB", "{err}");
    }
    space.write(
        "pipeline.yaml",
        "version: 1\nstages:\n  a: {run: \"echo $GIT_URL > ${outputs.o}\", env: {GIT_URL: \"ssh://git@host/x\", OLD_PWD: /tmp, MIRROR: \"https://host:80/@scope\"}, outputs: {o: o}}\n",
    );
    space.ok(&["run"]);
}

/// A script of the project's own directory is placed under its name, which a shell looks for on PATH alone.
#[test]
fn case_28_a_script_that_is_called_by_its_bare_name_or_may_not_run_is_explained() {
    use std::os::unix::fs::PermissionsExt;
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  x: {needs: {s: {file: s.sh}}, run: '${needs.s} > ${outputs.o}', outputs: {o: o}}\n",
    );
    space.write("s.sh", "#!/bin/sh\necho ran\n");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(space.path("s.sh"), mode(0o755)).unwrap();
    for shell in ["", "shell: sh, "] {
        space.edit("pipeline.yaml", "run:", &format!("{shell}run:"));
        refused(
            &space,
            &["run"],
            1,
            &[
                "its input `s`",
                "exited with code 127",
                "write `./${needs.s}`",
            ],
        );
    }
    space.edit("pipeline.yaml", "'${needs.s}", "'./${needs.s}");
    std::fs::set_permissions(space.path("s.sh"), mode(0o644)).unwrap();
    refused(
        &space,
        &["run"],
        1,
        &["its input `s`", "exited with code 126", "chmod +x s.sh"],
    );
    std::fs::set_permissions(space.path("s.sh"), mode(0o755)).unwrap();
    space.ok(&["run"]);
    assert_eq!(space.read("artifacts/x/o"), "ran\n");
    // A program that is really missing is not blamed on an input.
    space.edit(
        "pipeline.yaml",
        "./${needs.s}",
        "no-such-program ${needs.s}",
    );
    let err = refused(&space, &["run"], 1, &["code 127"]);
    assert!(!err.contains("its input"), "{err}");
}

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

/// A path inside the output, and no byte that is none.
#[test]
fn case_28_a_name_that_is_not_utf_8_is_told_by_its_place_in_the_output() {
    let space = TestSpace::with_pipeline(
        "version: 1\nstages:\n  a: {run: 'mkdir -p ${outputs.o}/sub; touch ${outputs.o}/sub/$(printf \"caf\\351\")', outputs: {o: o}}\n",
    );
    let err = refused(
        &space,
        &["run"],
        1,
        &["its output `o` cannot be kept", r#""sub/caf\xE9""#, "UTF-8"],
    );
    let said = err.split("its directory is kept").next().unwrap();
    assert!(
        !said.contains(&space.store.display().to_string()) && !said.contains('\u{fffd}'),
        "{err}"
    );
}

#[test]
fn case_8_a_credential_under_env_is_refused_with_advice() {
    let mut space = TestSpace::new();
    space.set_env("HF_TOKEN", SECRET);
    for stage in [
        "{run: \"true > ${outputs.o}\", env: [HF_TOKEN], outputs: {o: o}}",
        "{run: \"true > ${outputs.o}\", env: {AWS_SECRET_ACCESS_KEY: abc}, outputs: {o: o}}",
        "{run: \"curl -H ${env.HF_TOKEN} > ${outputs.o}\", outputs: {o: o}}",
    ] {
        space.write(
            "pipeline.yaml",
            format!("version: 1\nstages:\n  a: {stage}\n"),
        );
        let err = refused(
            &space,
            &["run"],
            2,
            &["looks like a credential", "write `secrets: ["],
        );
        assert!(!err.contains(SECRET));
    }
    space.write(
        "pipeline.yaml",
        "version: 1\nstages:\n  a: {run: \"echo $PAD_TOKEN > ${outputs.o}\", env: {PAD_TOKEN: pad, MAX_TOKENS: 5}, outputs: {o: o}}\n",
    );
    space.ok(&["run"]);
    // Secrets of a kind that reads what its job names would be a misunderstanding.
    space.write(
        "pipeline.yaml",
        "version: 1\nstages:\n  a: {uses: download, with: {dataset: shapes}, secrets: [HF_TOKEN, 'a b']}\n",
    );
    refused(
        &space,
        &["run"],
        2,
        &["takes no `secrets`", "`a b` cannot be the name"],
    );
}

/// A virtual environment as `python3 -m venv` makes one, in `dir` of the project, with one module installed in it.
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
fn install(space: &TestSpace, dir: &str, version: &str) {
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
    // The interpreter is found by its path as well, and a missing environment is told with what to do.
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
        // Where the temporary directory is readable, the interpreter runs, and the environment is told of.
        assert!(said.err.contains(&declared), "{}", said.err);
    }
    space.edit(
        "pipeline.yaml",
        "    run:",
        &format!("    {declared}\n    run:"),
    );
    space.ok(&["run"]);
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

fn outside() -> TestSpace {
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
    // As the cache of a hub: snapshots of links to blobs; the same content in plain files is the same key.
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
