//! Servers that misbehave, storages that can do little, stores of a group.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::TestSpace;
use crate::support::lab::PIPELINE;
use crate::support::machines::{as_user, can_be_others, on_a_poor_file_system};
use crate::support::skipped::skipped;

/// A server of one answer: what it says to every request, for ever where that never ends.
fn server(answer: impl Fn(&str, &mut std::net::TcpStream) + Send + Sync + 'static) -> String {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut head, mut length) = (String::new(), 0u64);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                            length = n.trim().parse().unwrap_or(0);
                        }
                        if line == "\r\n" {
                            break;
                        }
                        head.push_str(&line);
                    }
                    let _ = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink());
                    answer(&head, &mut writer);
                }
            });
        }
    });
    address
}

/// Sends pieces until nobody takes them any more.
fn endless(stream: &mut std::net::TcpStream, head: &str, piece: &str) {
    use std::io::Write;
    let piece = piece.repeat(1000);
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    let mut going = stream
        .write_all(format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes())
        .is_ok();
    while going {
        going = stream.write_all(chunk.as_bytes()).is_ok();
    }
}

/// The program with no more memory than this, in KiB.
fn with_memory(space: &TestSpace, kib: u64, args: &[&str]) -> crate::support::Said {
    let command = space.command(args);
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", &line])
        .arg(command.get_program())
        .args(args);
    limited.current_dir(&space.project).env_clear();
    limited.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    space.run_command(limited)
}

#[test]
fn case_57_an_endless_listing_is_an_error_and_takes_no_memory() {
    use std::io::Write;
    let nothing = |stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let dav = server(move |head, stream| match head.starts_with("PROPFIND") {
        true => endless(
            stream,
            "HTTP/1.1 207 Multi-Status\r\nContent-Type: application/xml",
            "<D:response><D:href>/dav/v1/objects/ab/cd</D:href></D:response>\n",
        ),
        false => nothing(stream),
    });
    let s3 = server(move |head, stream| match head.contains("list-type=") {
        true => endless(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml",
            "<Contents><Key>v1/objects/ab</Key><Size>1</Size></Contents>\n",
        ),
        false => nothing(stream),
    });
    // It announces more than there is memory in the world.
    let boast = server(move |head, stream| match head.contains("list-type=") {
        true => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n<L");
            std::thread::sleep(Duration::from_secs(1));
        }
        false => nothing(stream),
    });
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space.write("in.txt", "abc\n");
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y")
        .set_env("REPRO_REMOTE_PATIENCE", "2");
    space.ok(&[
        "remote",
        "add",
        "dav",
        &format!("http://{dav}/dav"),
        "--no-probe",
    ]);
    for (name, address) in [("s3", s3), ("boast", boast)] {
        let endpoint = format!("http://{address}");
        space.ok(&[
            "remote",
            "add",
            name,
            "s3://lab",
            "--endpoint",
            &endpoint,
            "--no-probe",
        ]);
    }
    for (name, why) in [
        ("dav", "more than 64 MiB"),
        ("s3", "more than 64 MiB"),
        ("boast", ""),
    ] {
        let said = with_memory(&space, 1_500_000, &["gc", "--remote", name]);
        assert_eq!(said.code, 5, "{name}: {}{}", said.out, said.err);
        assert!(said.err.contains(why), "{name}: {}", said.err);
        assert!(!said.err.contains("panicked"), "{name}: {}", said.err);
    }
}

#[test]
fn case_57_doctor_ends_on_a_server_that_is_silent() {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let silent = server(|_, _| std::thread::sleep(Duration::from_secs(600)));
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y")
        .set_env("REPRO_REMOTE_PATIENCE", "1");
    let ssh = space.path("ssh");
    space.write("ssh", "#!/bin/sh\nexec sleep 60\n");
    fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    space.set_env("REPRO_SSH", ssh.to_str().unwrap());
    space.ok(&[
        "remote",
        "add",
        "dav",
        &format!("http://{silent}/dav"),
        "--no-probe",
    ]);
    space.ok(&["remote", "add", "sftp", "sftp://host/x", "--no-probe"]);
    let endpoint = format!("http://{silent}");
    space.ok(&[
        "remote",
        "add",
        "s3",
        "s3://lab",
        "--endpoint",
        &endpoint,
        "--no-probe",
    ]);
    let said = space.run(&["remote", "doctor"]).expect(5, &["doctor"]);
    let silent = said.out.matches("answer").count();
    assert_eq!(silent, 3, "{}{}", said.out, said.err);
}

/// Buckets that refuse what does not say how it is to be encrypted.
#[test]
fn case_32_what_is_written_to_a_bucket_says_how_it_is_encrypted() {
    use std::io::Write;
    let heads: std::sync::Arc<std::sync::Mutex<Vec<String>>> = std::sync::Arc::default();
    let kept = heads.clone();
    let bucket = server(move |head, stream| {
        kept.lock().unwrap().push(head.to_lowercase());
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y");
    let endpoint = format!("http://{bucket}");
    let add = [
        "remote",
        "add",
        "lab",
        "s3://lab",
        "--endpoint",
        &endpoint,
        "--no-probe",
    ];
    space.ok(&[
        &add[..],
        &["--sse", "aws:kms", "--sse-kms-key", "alias/lab"],
    ]
    .concat());
    assert!(
        space
            .read("repro.remotes.toml")
            .contains("sse = \"aws:kms\"")
    );
    space.run(&["remote", "doctor"]).expect(5, &["doctor"]);
    let puts = |heads: &[String]| {
        let puts = heads.iter().filter(|h| h.starts_with("put ")).cloned();
        puts.collect::<Vec<_>>()
    };
    let sent = puts(&heads.lock().unwrap());
    assert!(
        !sent.is_empty()
            && sent
                .iter()
                .all(|h| h.contains("x-amz-server-side-encryption: aws:kms\r")
                    && h.contains("x-amz-server-side-encryption-aws-kms-key-id: alias/lab\r")),
        "{sent:#?}"
    );
    let said = space.run(&[&add[..], &["--sse", "aes", "--replace"]].concat());
    assert!(
        said.code == 2 && said.err.contains("AES256"),
        "{}",
        said.err
    );
    let said = space.run(&[
        "remote",
        "add",
        "dir",
        "/tmp",
        "--sse",
        "AES256",
        "--no-probe",
    ]);
    assert!(said.code == 2 && said.err.contains("s3://"), "{}", said.err);
}

/// Two users of one group, a store whose directory is set-group, and the umask everybody has.
#[test]
fn case_33_a_group_shares_a_store_whatever_the_umask() {
    use std::os::unix::fs::{PermissionsExt, chown};
    if !can_be_others() {
        return;
    }
    let (users, group) = ([4001, 4002], 4000);
    let top = tempfile::Builder::new()
        .prefix("repro-group-")
        .tempdir_in("/tmp")
        .unwrap();
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(top.path(), 0o755);
    let store = top.path().join("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(0), Some(group)).unwrap();
    open(&store, 0o2775);
    let home = |user: u32| top.path().join(format!("user-{user}"));
    for user in users {
        fs::create_dir(home(user)).unwrap();
        for (file, text) in [("pipeline.yaml", PIPELINE), ("in.txt", "abc\n")] {
            fs::write(home(user).join(file), text).unwrap();
            chown(home(user).join(file), Some(user), Some(group)).unwrap();
        }
        chown(home(user), Some(user), Some(group)).unwrap();
    }
    let space = TestSpace::new();
    let run = |user: u32, args: &[&str]| {
        let mut command = as_user((user, group), space.command(&[]).get_program());
        command.args(args).current_dir(home(user)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home(user)).env("REPRO_STORE", &store);
        space.run_command(command).expect(0, args)
    };
    let [anna, ben] = users;
    run(anna, &["run"]);
    let said = run(ben, &["run"]);
    assert!(said.err.contains("0 executed, 4 cached"), "{}", said.err);
    // Each adds to what the other made, in directories the other made.
    for (n, user) in [(1, ben), (2, anna), (3, ben), (4, anna)] {
        let text = PIPELINE.replace("echo ${matrix.of} >>", &format!("echo {n} >>"));
        fs::write(home(user).join("pipeline.yaml"), text).unwrap();
        let said = run(user, &["run"]);
        assert!(said.err.contains("3 executed"), "{n}: {}", said.err);
        assert!(!said.err.contains("warning"), "{n}: {}", said.err);
    }
    run(anna, &["gc", "--yes", "--keep-days", "0"]);
    run(ben, &["gc", "--yes", "--keep-days", "0"]);
    run(ben, &["run", "--force", "table"]);
    run(anna, &["fsck"]);
}

#[test]
fn case_32_a_store_a_remote_and_artifacts_without_links_locks_and_modes() {
    let space = TestSpace::with_pipeline(PIPELINE);
    space.write("in.txt", "abc\n");
    let Some(said) = on_a_poor_file_system(&space, &["run"]) else {
        return;
    };
    let said = said.expect(0, &["run"]);
    assert!(said.err.contains("4 executed"), "{}", said.err);
    assert_eq!(space.read("artifacts/big/parts/3"), "3\n");
    // Another result in the place of the first.
    space.edit("pipeline.yaml", "echo $i", "echo x$i");
    on_a_poor_file_system(&space, &["run"])
        .unwrap()
        .expect(0, &["run"]);
    assert_eq!(space.read("artifacts/big/parts/3"), "x3\n");
    let said = on_a_poor_file_system(&space, &["run"])
        .unwrap()
        .expect(0, &["run"]);
    assert!(said.err.contains("0 executed"), "{}", said.err);
    let remote = space.project.with_file_name("remote");
    let add = ["remote", "add", "dir", remote.to_str().unwrap(), "--json"];
    let said = on_a_poor_file_system(&space, &add).unwrap().expect(0, &add);
    let probe: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(probe["checks"]["first_writer_wins"], true, "{probe}");
    space.ok(&["trust", "init", "--name", "anna", "--no-passphrase"]);
    on_a_poor_file_system(&space, &["push"])
        .unwrap()
        .expect(0, &["push"]);
    let other = TestSpace::new();
    for file in [
        "pipeline.yaml",
        "in.txt",
        "repro.lock",
        "repro.trust.toml",
        "repro.remotes.toml",
    ] {
        other.write(file, space.read(file));
    }
    on_a_poor_file_system(&other, &["pull"])
        .unwrap()
        .expect(0, &["pull"]);
    assert_eq!(
        other.read("artifacts/table/table.txt"),
        space.read("artifacts/table/table.txt")
    );
}

/// Built-in kinds change no modes there either.
#[test]
fn case_32_training_without_links_locks_and_modes() {
    let space = TestSpace::with_pipeline(
        r#"
version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 40, test: 20}}}
  halves: {uses: split, needs: {data: data.train}, with: {parts: {fit: 0.5, held: 0.5}, seed: 7}}
  train:
    uses: train
    matrix: {seed: [0, 1]}
    needs: {train: halves.fit, validation: halves.held}
    with: {model: {mlp: {hidden: [4]}}, seed: "${matrix.seed}", length: {epochs: 1}, optimizer: {sgd: {lr: 0.1}}}
  best:
    uses: select
    needs: {tables: "train[*].metrics", models: "train[*].model"}
    with: {by: {max: validation_accuracy}}
"#,
    );
    if let Some(said) = on_a_poor_file_system(&space, &["run"]) {
        said.expect(0, &["run"]);
    }
}

/// A server whose file system has no second names says that it is not permitted.
#[test]
fn case_32_sftp_without_hard_links() {
    let server = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/lib/ssh/sftp-server",
    ];
    let Some(server) = server.iter().find(|path| Path::new(path).exists()) else {
        skipped("there is no sftp-server");
        return;
    };
    if std::process::Command::new("strace")
        .arg("--version")
        .output()
        .is_err()
    {
        skipped("strace is not installed");
        return;
    }
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let ssh = space.path("ssh");
    let inject = "-e inject=link,linkat:error=EPERM";
    space.write(
        "ssh",
        format!("#!/bin/sh\nexec strace -f -qq -o /dev/null {inject} {server}\n"),
    );
    fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    space.set_env("REPRO_SSH", ssh.to_str().unwrap());
    let remote = space.project.with_file_name("remote");
    fs::create_dir(&remote).unwrap();
    let url = format!("sftp://host{}", remote.display());
    let added = space.json(&["remote", "add", "dir", &url]);
    assert_eq!(added["checks"]["write"], true, "{added}");
    assert_eq!(added["checks"]["first_writer_wins"], true, "{added}");
    space.write("in.txt", "abc\n");
    space.ok(&["trust", "init", "--name", "anna", "--no-passphrase"]);
    space.ok(&["run", "--push"]);
    assert!(space.ok(&["push"]).contains("4 were there"));
}
