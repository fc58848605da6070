//! Secrets of a command stage: passed, never hashed, stored or logged.

use super::commands::refused;
use crate::support::TestSpace;

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

/// Names of files and targets of links are stored like contents, and messages are no place for a
/// secret either.
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
