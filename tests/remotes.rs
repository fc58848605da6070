//! `repro remote`, end to end.

mod servers;
mod support;

use servers::s3::S3;
use servers::skip;
use servers::sshd::Sshd;
use support::TestSpace;

const PIPELINE: &str =
    "version: 1\nname: t\nstages:\n  a: {run: \"echo a > ${outputs.o}\", outputs: {o: o.txt}}\n";

fn space() -> TestSpace {
    TestSpace::with_pipeline(PIPELINE)
}

#[test]
fn a_directory_is_added_listed_examined_and_removed() {
    let space = space();
    let dir = space.project.with_file_name("lab");
    let address = dir.to_str().unwrap();
    let said = space.ok(&["remote", "add", "lab", address]);
    assert!(said.contains("first writer wins      yes"), "{said}");
    assert!(
        said.ends_with("added `lab`; commit repro.remotes.toml\n"),
        "{said}"
    );
    let file = space.read("repro.remotes.toml");
    assert!(
        file.contains("default = \"lab\"") && file.contains("can_list = true"),
        "{file}"
    );
    let twice = space.run(&["remote", "add", "lab", address]);
    assert_eq!(twice.code, 2);
    assert!(twice.err.contains("--replace"), "{}", twice.err);
    space.ok(&["remote", "add", "other", "../other"]);
    let list = space.json(&["remote", "list"]);
    assert_eq!(list[0]["name"], "lab");
    assert_eq!(list[0]["default"], true);
    assert_eq!(list[1]["url"], "../other");
    let doctor = space.json(&["remote", "doctor"]);
    assert_eq!(doctor[0]["usable"], true);
    assert_eq!(doctor[1]["checks"]["first_writer_wins"], true);
    // What was tried left nothing.
    let mut left = Vec::new();
    for entry in std::fs::read_dir(dir.join("v1/gc/probe")).unwrap() {
        left.extend(std::fs::read_dir(entry.unwrap().path()).unwrap());
    }
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
    let gone = space.run(&["remote", "doctor", "lab"]);
    assert_eq!(gone.code, 5);
    assert!(
        gone.out.contains("is the file system mounted?"),
        "{}",
        gone.out
    );
    space.ok(&["remote", "remove", "lab"]);
    assert_eq!(space.run(&["remote", "remove", "lab"]).code, 2);
    assert_eq!(space.json(&["remote", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_used_is_not_added() {
    let space = space();
    for (args, code, words) in [
        (
            &["x", "/no/such/place/lab"][..],
            2,
            "is the file system mounted?",
        ),
        (&["x", "s3://key:s3cret@bucket/x"], 2, "~/.aws"),
        (&["x", "ftp://host/x"], 2, "no kind of remote"),
        (&["a b", "/tmp"], 2, "no name for a remote"),
        (
            &["x", "s3://lab", "--endpoint", "http://127.0.0.1:9"],
            5,
            "AWS_ACCESS_KEY_ID",
        ),
        (&["x", "http://127.0.0.1:9/x"], 5, "Connection refused"),
        (
            &["x", "s3://lab", "--endpoint", "http://u:s3cret@h"],
            2,
            "credentials",
        ),
    ] {
        let mut command = space.command(&["remote", "add"]);
        command.args(args).env("AWS_EC2_METADATA_DISABLED", "true");
        let said = space.run_command(command);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
        assert!(!said.err.contains("s3cret"), "{}", said.err);
    }
    assert!(!space.exists("repro.remotes.toml"));
    // Without trying it.
    space.ok(&["remote", "add", "x", "s3://lab", "--no-probe"]);
    assert!(space.exists("repro.remotes.toml"));
}

#[test]
fn an_s3_server_is_added_with_keys_from_a_profile() {
    let server = S3::start(&["lab"]);
    let space = space();
    let keys = space.path("keys");
    std::fs::write(
        &keys,
        format!(
            "[lab]\naws_access_key_id = {}\naws_secret_access_key = {}\n[wrong]\naws_access_key_id = {}\naws_secret_access_key = wr0ng\n",
            servers::s3::ACCESS_KEY,
            servers::s3::SECRET_KEY,
            servers::s3::ACCESS_KEY,
        ),
    )
    .unwrap();
    let add = |profile: &str| {
        let mut command = space.command(&["remote", "add", "lab", "s3://lab/results"]);
        command
            .args(["--endpoint", &server.endpoint])
            .env("AWS_PROFILE", profile)
            .env("AWS_SHARED_CREDENTIALS_FILE", &keys);
        space.run_command(command)
    };
    let wrong = add("wrong").expect(5, &["wrong"]);
    assert!(wrong.err.contains("secret key"), "{}", wrong.err);
    assert!(!wrong.err.contains("wr0ng"));
    assert!(
        add("none")
            .expect(5, &["none"])
            .err
            .contains("no profile `none`")
    );
    let said = add("lab").expect(0, &["lab"]).out;
    assert!(said.contains("list                   yes"), "{said}");
    let file = space.read("repro.remotes.toml");
    for secret in [servers::s3::ACCESS_KEY, servers::s3::SECRET_KEY] {
        assert!(!file.contains(secret) && !said.contains(secret));
    }
}

#[test]
fn a_host_that_ssh_reaches_is_added() {
    let Some(server) = Sshd::start() else {
        return skip("OpenSSH's server");
    };
    let mut space = space();
    space.set_env("REPRO_SSH", server.env("REPRO_SSH").unwrap());
    let said = space.ok(&["remote", "add", "lab", &server.address("lab")]);
    for words in [
        "first writer wins      yes",
        "freshen                yes",
        "agrees with this",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
