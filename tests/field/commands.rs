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
