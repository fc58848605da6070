//! `repro remote`, end to end.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::TestSpace;
use crate::support::servers::s3::S3;
use crate::support::skipped::skipped;

use crate::support::servers::sshd::Sshd;

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
        (&["x", "ftp://host/x"], 2, "not a kind of remote"),
        (&["a b", "/tmp"], 2, "not a name for a remote"),
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
            crate::support::servers::s3::ACCESS_KEY,
            crate::support::servers::s3::SECRET_KEY,
            crate::support::servers::s3::ACCESS_KEY,
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
    for secret in [
        crate::support::servers::s3::ACCESS_KEY,
        crate::support::servers::s3::SECRET_KEY,
    ] {
        assert!(!file.contains(secret) && !said.contains(secret));
    }
}

#[test]
fn a_host_that_ssh_reaches_is_added() {
    let Some(server) = Sshd::start() else {
        return skipped("OpenSSH's server is not installed");
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

const STUDY: &str = r#"
version: 1
name: study
vars: {n: 6, salt: a}
stages:
  data:
    matrix: {i: {range: [0, "${vars.n}", 1]}}
    run: "mkdir ${outputs.tree}; for f in 1 2 3; do echo ${vars.salt} ${matrix.i} $f > ${outputs.tree}/$f; done; echo ${vars.salt} ${matrix.i} > ${outputs.file}"
    outputs: {tree: tree, file: file.txt}
"#;

/// A project that publishes, and a directory it publishes in.
struct Study {
    space: TestSpace,
    remote: PathBuf,
}

impl Study {
    fn new() -> Study {
        let mut space = TestSpace::with_pipeline(STUDY);
        let key = space.ok(&["trust", "init", "--ci", "buildbot", "--no-passphrase"]);
        space.set_env("REPRO_SIGNING_KEY", key);
        let remote = space.project.with_file_name("lab");
        space.ok(&["remote", "add", "lab", remote.to_str().unwrap()]);
        Study { space, remote }
    }

    fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut todo) = (Vec::new(), vec![self.remote.clone()]);
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => todo.push(path),
                    path => files.push(path),
                }
            }
        }
        files
    }

    /// Makes everything on the remote older whose name holds this.
    fn age(&self, part: &str, days: u64) {
        for path in self.files() {
            if !path.to_str().unwrap().contains(part) {
                continue;
            }
            let file = std::fs::File::open(&path).unwrap();
            let before = file.metadata().unwrap().modified().unwrap();
            let older = before - Duration::from_secs(days * 86_400);
            file.set_times(std::fs::FileTimes::new().set_modified(older))
                .unwrap();
        }
    }

    fn fsck(&self) {
        let said = self.space.json(&["fsck", "--remote"]);
        assert_eq!(said["findings"].as_array().unwrap().len(), 0, "{said}");
    }
}

#[test]
fn a_remote_is_collected_checked_and_repaired() {
    let study = Study::new();
    study.space.ok(&["run", "--push"]);
    study.fsck();
    for part in ["objects/", "trees/", "packs/", "actions/", "heads/"] {
        study.age(part, 30);
    }
    // All of it is what repro.lock names.
    let plan = study.space.json(&["gc", "--remote"]);
    assert_eq!(
        (&plan["marked"]["names"], &plan["leases"]),
        (&0.into(), &1.into()),
        "{plan}"
    );
    // A pinned result stays, whatever becomes of the pipeline; the others go when nothing names
    // them any more.
    study.space.ok(&["pin", "data[i=0]"]);
    study.space.edit("pipeline.yaml", "salt: a", "salt: b");
    study.space.ok(&["run", "--push"]);
    let text = study.space.ok(&["gc", "--remote"]);
    assert!(
        text.contains("add --yes to do it") && text.contains("5 results"),
        "{text}"
    );
    assert_eq!(
        study.space.json(&["gc", "--remote", "--yes"])["removed"]["names"],
        0
    );
    study.age("/gc/", 2);
    let swept = study.space.json(&["gc", "--remote", "lab", "--yes"]);
    // Of each: head, record, signature, listing, pack, object.
    assert_eq!(swept["removed"]["names"], 5 * 6, "{swept}");
    study.fsck();
    assert!(
        study
            .space
            .ok(&["gc", "--remote"])
            .contains("nothing to do")
    );
    let few = study
        .space
        .run(&["gc", "--remote", "--yes", "--keep-days", "3"]);
    assert!(
        few.code == 2 && few.err.contains("12 or more"),
        "{}",
        few.err
    );

    // Damage is found, and repaired from this store.
    let object = study
        .files()
        .into_iter()
        .find(|p| p.to_str().unwrap().contains("/objects/"))
        .unwrap();
    std::fs::write(&object, "nonsense").unwrap();
    let found = study.space.run(&["fsck", "--remote"]);
    assert!(
        found.code == 5 && found.out.contains("3 findings"),
        "{}",
        found.out
    );
    let repaired = study
        .space
        .run(&["fsck", "--remote", "--repair"])
        .expect(0, &["fsck"]);
    assert!(
        repaired.out.contains("sent again from the store"),
        "{}",
        repaired.out
    );
    study.fsck();
}

/// Killed again and again at any moment, collections end up where one that is left alone does.
#[test]
fn a_collection_that_is_killed_goes_on() {
    let study = Study::new();
    study.space.edit("pipeline.yaml", "n: 6", "n: 120");
    study.space.ok(&["run", "--push"]);
    for part in ["objects/", "trees/", "packs/", "actions/", "heads/"] {
        study.age(part, 30);
    }
    study.space.edit("pipeline.yaml", "salt: a", "salt: b");
    study.space.ok(&["run", "--push"]);
    study.space.ok(&["gc", "--remote", "--yes"]);
    study.age("/gc/", 2);
    let all = study.files().len();
    let (mut kills, mut partial) = (0, 0);
    let sweeps = study.remote.join("v1/gc/sweep");
    let markers = || std::fs::read_dir(&sweeps).map_or(0, Iterator::count);
    for round in 0..60u64 {
        let before = markers();
        let mut gc = study.space.start(&["gc", "--remote", "--yes"]);
        // Most of the time goes by before the sweep; half of the kills are to hit that.
        while round % 4 > 0 && markers() == before && gc.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let delay = match round % 4 {
            0 => Duration::from_millis(round * 3),
            n => Duration::from_micros(n * round * 50),
        };
        std::thread::sleep(delay);
        let is_over = gc.try_wait().unwrap().is_some();
        let _ = gc.kill();
        let _ = gc.wait();
        study.fsck();
        if is_over {
            break;
        }
        kills += 1;
        let left = study.files().len();
        partial += usize::from(left < all && left > 100);
    }
    eprintln!("{kills} kills, {partial} of them in the sweep");
    // Markers of dead sweeps go too, when they are seen to be dead.
    study.age("/gc/sweep/", 1);
    study.space.ok(&["gc", "--remote", "--yes"]);
    study.age("/gc/", 2);
    study.space.ok(&["gc", "--remote", "--yes"]);
    study.fsck();
    assert!(
        study
            .space
            .ok(&["gc", "--remote"])
            .contains("nothing to do")
    );
    // What the project needs is there: a clone gets it.
    let heads = study
        .files()
        .into_iter()
        .filter(|p| p.to_str().unwrap().contains("/heads/"));
    assert_eq!(heads.count(), 120);
}

/// A small store keeps what is dear to compute.
#[test]
fn the_store_is_brought_below_a_budget() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: t\nstages:\n  cheap: {run: \"head -c 300000 /dev/zero | tr '\\\\0' c > ${outputs.o}\", outputs: {o: o}}\n  \
         dear: {run: \"sleep 1; head -c 300000 /dev/zero | tr '\\\\0' d > ${outputs.o}\", outputs: {o: o}}\n  \
         kept: {run: \"head -c 300000 /dev/zero | tr '\\\\0' k > ${outputs.o}\", outputs: {o: o}}\n",
    );
    space.ok(&["run"]);
    space.ok(&["pin", "kept"]);
    assert_eq!(space.json(&["pin"]).as_array().unwrap().len(), 1);
    let plan = space.json(&["gc", "--budget", "700kB"]);
    assert_eq!(
        (&plan["actions"], &plan["done"]),
        (&1.into(), &false.into()),
        "{plan}"
    );
    space.ok(&["gc", "--budget", "700kB", "--yes"]);
    let state = |name: &str| {
        let all = space.json(&["status"]);
        let of = all
            .as_array()
            .unwrap()
            .iter()
            .find(|i| i["instance"] == name);
        of.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("dear"), "cached");
    assert_eq!(state("kept"), "cached");
    assert_ne!(state("cheap"), "cached");
    assert_eq!(space.json(&["gc", "--budget", "0"])["actions"], 1);
    space.ok(&["gc", "--budget", "0", "--yes"]);
    assert_eq!(state("kept"), "cached");
    assert_eq!(
        space.json(&["fsck"])["findings"].as_array().unwrap().len(),
        0
    );
    space.ok(&["unpin", "kept"]);
    space.ok(&["gc", "--budget", "0", "--yes"]);
    assert!(space.store_files("objects").is_empty());
    assert_eq!(space.run(&["gc", "--budget", "many"]).code, 2);
    assert_eq!(space.executed(&[]), ["cheap", "dear", "kept"]);
}
