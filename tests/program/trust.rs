//! Keys and the trust file, end to end: the real program, and OpenSSL where it is installed.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::TestSpace;
use crate::support::skipped::skipped;

const PIPELINE: &str = "\
version: 1
name: letters
stages:
  upper:
    run: \"echo ABC > ${outputs.text}\"
    outputs: {text: upper.txt}
";

fn space() -> TestSpace {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space.set_env("USER", "anna");
    space.set_env("REPRO_KEY_PASSPHRASE", "a secret");
    space
}

fn key_file(space: &TestSpace) -> std::path::PathBuf {
    space
        .project
        .with_file_name("home")
        .join(".config/repro/signing-key.pem")
}

const BENS: &str = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

#[test]
fn a_file_of_signers_is_made_changed_and_shown() {
    let mut space = space();
    assert!(
        space
            .run(&["trust", "list"])
            .expect(2, &["list"])
            .err
            .contains("`repro trust init`")
    );
    space.ok(&["trust", "init", "--require", "1 of ci or 2 of people"]);
    space.ok(&["trust", "init"]);
    let shown = space.ok(&["trust", "show"]);
    assert!(
        shown.starts_with("ed25519:") && shown.trim().len() == 52,
        "{shown}"
    );
    space.edit(
        "repro.trust.toml",
        "[signers.anna]",
        "# since 2026\n[signers.anna]",
    );
    assert!(
        space
            .run(&["trust", "list"])
            .err
            .contains("no result will be trusted"),
        "one of people and nobody of ci"
    );
    space.ok(&["trust", "add", "ben", BENS]);
    assert!(space.read("repro.trust.toml").contains("# since 2026\n"));
    let said = space
        .run(&["trust", "add", "eve", BENS])
        .expect(2, &["add"]);
    assert!(
        said.err.contains("listed for `ben` already"),
        "{}",
        said.err
    );
    let listed = space.json(&["trust", "list"]);
    assert_eq!(listed["can_be_met"], true);
    assert_eq!(listed["signers"][0]["keys"][0]["key"], shown.trim());
    let text = space.ok(&["trust", "list"]);
    assert!(
        text.contains(&format!("anna  {}  (you)", shown.trim())),
        "{text}"
    );
    let said = space
        .run(&["trust", "remove", "bem"])
        .expect(2, &["remove"]);
    assert!(said.err.contains("did you mean `ben`?"), "{}", said.err);
    space.ok(&["trust", "remove", BENS]);
    assert!(!space.read("repro.trust.toml").contains("ben"));

    // The private key is for its owner alone, and needs the passphrase.
    let key = key_file(&space);
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_file(key.with_extension("pub")).unwrap();
    assert_eq!(space.ok(&["trust", "show"]), shown);
    space.set_env("REPRO_KEY_PASSPHRASE", "another");
    let said = space.run(&["trust", "show"]).expect(2, &["show"]);
    assert!(said.err.contains("passphrase is wrong"), "{}", said.err);
    space.set_env("REPRO_KEY_PASSPHRASE", "");
    let said = space.run(&["trust", "show"]).expect(2, &["show"]);
    assert!(said.err.contains("no terminal"), "{}", said.err);
}

#[test]
fn a_machine_has_its_key_from_the_environment() {
    let mut space = space();
    let pem = space.ok(&["trust", "init", "--ci", "buildbot"]);
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "{pem}");
    assert!(!key_file(&space).exists(), "nothing of it is kept here");
    space.set_env("REPRO_SIGNING_KEY", pem);
    let shown = space.json(&["trust", "show"]);
    assert_eq!(shown["place"], "REPRO_SIGNING_KEY");
    let listed = space.json(&["trust", "list"]);
    assert_eq!(listed["signers"][0]["name"], "buildbot");
    assert_eq!(listed["signers"][0]["role"], "ci");
    assert_eq!(listed["signers"][0]["keys"][0]["id"], shown["id"]);
}

#[test]
fn openssl_reads_the_keys_and_makes_some() {
    let openssl = |args: &[&str]| {
        Command::new("openssl")
            .args(args)
            .stderr(Stdio::null())
            .output()
    };
    if !openssl(&["version"]).is_ok_and(|o| o.status.success()) {
        skipped("openssl is not installed");
        return;
    }
    let space = space();
    space.ok(&["trust", "init"]);
    let path = key_file(&space).display().to_string();
    let made = openssl(&["pkey", "-in", &path, "-passin", "pass:a secret", "-pubout"]).unwrap();
    assert!(made.status.success());
    space.write("anna.pem", &made.stdout);
    let said = space.ok(&["trust", "add", "anna", "anna.pem"]);
    assert!(said.contains("listed with this key already"), "{said}");
    let wrong = openssl(&["pkey", "-in", &path, "-passin", "pass:another"]).unwrap();
    assert!(!wrong.status.success());

    let foreign = openssl(&["genpkey", "-algorithm", "ed25519"]).unwrap();
    space.write("foreign.pem", &foreign.stdout);
    let said = space
        .run(&["trust", "add", "ben", "foreign.pem"])
        .expect(2, &["add"]);
    assert!(said.err.contains("this is a private key"), "{}", said.err);
    let path = space.path("foreign.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = space.command(&["trust", "show"]);
    command.env("REPRO_SIGNING_KEY_FILE", &path);
    let shown = space.run_command(command).expect(0, &["show"]).out;
    assert!(shown.starts_with("ed25519:"), "{shown}");
}

/// The text depends on a file that no key knows of: what a stage that is not deterministic looks
/// like.
fn verified_space() -> (TestSpace, std::path::PathBuf) {
    let mut space = space();
    let hidden = space.project.with_file_name("hidden");
    std::fs::write(&hidden, "one two\n").unwrap();
    let run = format!("cat {} > ${{outputs.text}}", hidden.display());
    let pipeline = format!(
        "version: 1\nname: letters\nstages:\n  words:\n    run: \"{run}\"\n    sandbox: off\n    outputs: {{text: words.txt}}\n  \
         tree:\n    run: \"mkdir ${{outputs.dir}}; cat {} > ${{outputs.dir}}/a\"\n    sandbox: off\n    outputs: {{dir: d}}\n",
        hidden.display()
    );
    space.write("pipeline.yaml", pipeline);
    space.set_env("REPRO_TEST", "1");
    space.ok(&["trust", "init"]);
    space.ok(&["run"]);
    (space, hidden)
}

#[test]
fn what_agrees_is_signed() {
    let (space, _) = verified_space();
    let said = space.json(&["verify", "words"]);
    assert_eq!(said[0]["identical"], true);
    assert_eq!(said[0]["signers"][0], "anna");
    let said = space
        .run(&["verify", "--no-sign", "words", "tree"])
        .expect(0, &["verify"]);
    assert!(
        said.out.contains("words: identical, 1 outputs"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("not signed; vouched for by anna"),
        "{}",
        said.out
    );
    assert!(space.ok(&["why", "words"]).contains("vouched for by: anna"));
    // A second run executes nothing and loses nothing.
    assert!(space.executed(&[]).is_empty());
    assert_eq!(
        space
            .json(&["verify", "--sample", "1", "words", "tree"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let kept = space.store_files("envelopes");
    assert!(!kept.is_empty(), "{kept:?}");
    space.ok(&["fsck"]);
}

#[test]
fn other_bits_are_told_and_remembered() {
    let (space, hidden) = verified_space();
    std::fs::write(&hidden, "one too\n").unwrap();
    let said = space
        .run(&["verify", "words", "tree"])
        .expect(4, &["verify"]);
    assert!(
        said.out
            .contains("words: other bits\n  output `text` from byte 5 on: 8 bytes both\n"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("output `dir` `a`: from byte 5 on"),
        "{}",
        said.out
    );
    let why = space.ok(&["why", "words"]);
    assert!(
        why.contains("other bits: output `text` from byte 5 on: 8 bytes both ("),
        "{why}"
    );
    assert!(why.contains(", signed by anna)"), "{why}");
    assert!(!why.contains("vouched for"), "{why}");
    // The recorded result stays and serves.
    assert!(space.executed(&[]).is_empty());
    assert_eq!(space.read("artifacts/words/words.txt"), "one two\n");
    // Nothing is left of the execution but the account.
    let kept = space.path("kept");
    let said = space
        .run(&["verify", "words", "--keep", "kept"])
        .expect(4, &["verify"]);
    assert!(kept.is_dir(), "{}", said.err);
    let said = space.run(&["verify", "nothing"]).expect(2, &["verify"]);
    assert!(
        said.err
            .contains("no stage or instance is called `nothing`"),
        "{}",
        said.err
    );
}

/// Another machine with the files git would bring.
fn clone_of(from: &TestSpace, user: &str) -> TestSpace {
    let mut space = TestSpace::new();
    for file in [
        "pipeline.yaml",
        "repro.lock",
        "repro.trust.toml",
        "repro.remotes.toml",
    ] {
        space.write(file, from.read(file));
    }
    space
        .set_env("USER", user)
        .set_env("REPRO_KEY_PASSPHRASE", user);
    space
}

#[test]
fn signatures_and_accounts_reach_other_machines() {
    let (anna, hidden) = verified_space();
    let remote = anna.project.with_file_name("remote");
    std::fs::create_dir(&remote).unwrap();
    anna.ok(&["remote", "add", "lab", remote.to_str().unwrap()]);
    anna.ok(&["push"]);

    // Ben gets the result, makes it again, and says so.
    let ben = clone_of(&anna, "ben");
    ben.ok(&["trust", "init"]);
    ben.ok(&["pull"]);
    let said = ben.json(&["verify", "words", "--push"]);
    assert_eq!(said[0]["signers"].to_string(), r#"["anna","ben"]"#);
    // Now two vouch for it, and who asks for two believes it; the other result has one.
    let carl = clone_of(&ben, "carl");
    carl.edit("repro.trust.toml", "1 of any", "2 of people");
    let said = carl.run(&["pull", "words"]).expect(0, &["pull"]);
    assert_eq!(
        carl.read("artifacts/words/words.txt"),
        "one two\n",
        "{}",
        said.err
    );
    let said = carl.run(&["pull", "tree"]).expect(1, &["pull"]);
    assert!(
        said.err.contains("`2 of people` is required"),
        "{}",
        said.err
    );
    assert!(
        carl.ok(&["why", "words"])
            .contains("vouched for by: anna, ben")
    );

    // Somebody gets other bits; who looks, hears of it.
    std::fs::write(&hidden, "one too\n").unwrap();
    ben.run(&["verify", "words", "--push"])
        .expect(4, &["verify"]);
    assert!(!anna.ok(&["why", "words"]).contains("other bits"));
    std::fs::write(&hidden, "one two\n").unwrap();
    // Anna's file does not list Ben yet.
    let said = anna
        .run(&["verify", "words", "--pull"])
        .expect(0, &["verify"]);
    assert!(said.out.contains("words: identical"), "{}", said.out);
    let why = anna.ok(&["why", "words"]);
    assert!(
        why.contains("other bits: output `text` from byte 5 on") && !why.contains("signed by ben"),
        "{why}"
    );
    anna.write("repro.trust.toml", ben.read("repro.trust.toml"));
    assert!(anna.ok(&["why", "words"]).contains("signed by ben"));
}

/// The help texts are the reference manual: a change is looked at.
#[test]
fn help_texts() {
    let space = TestSpace::new();
    let commands: [&[&str]; 9] = [
        &["trust"],
        &["trust", "init"],
        &["trust", "add"],
        &["trust", "remove"],
        &["trust", "list"],
        &["trust", "show"],
        &["verify"],
        &["export"],
        &["import"],
    ];
    for command in commands {
        let args = [command, &["--help"]].concat();
        insta::assert_snapshot!(format!("help_{}", command.join("_")), space.ok(&args));
    }
}
