//! Keys and the trust file, end to end: the real program, and OpenSSL where it is installed.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use support::TestSpace;

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
            .contains("nothing will be believed"),
        "one of people and nobody of ci"
    );
    space.ok(&["trust", "add", "ben", BENS]);
    assert!(space.read("repro.trust.toml").contains("# since 2026\n"));
    let said = space.run(&["trust", "add", "eve", BENS]).expect(2, &["add"]);
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
    let said = space.run(&["trust", "remove", "bem"]).expect(2, &["remove"]);
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
        eprintln!("skipped: openssl is not installed");
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
