//! One suite for every kind of storage, against the real thing: what callers rely on of
//! `remote::Backend`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::servers::nginx::{Dav, Nginx};
use crate::support::servers::proxy::{Fault, Proxy};
use crate::support::servers::s3::S3;
use crate::support::skipped::skipped;

use crate::support::servers::sshd::Sshd;
use repro_engine::remote::backends::{self, BucketBackend, Settings};
use repro_engine::remote::{
    Backend, BackendError, BackendFault, Body, Location, Name, PutMode, PutOutcome, Reading,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn all(reading: Reading) -> Vec<u8> {
    let mut bytes = Vec::new();
    { reading.body }.read_to_end(&mut bytes).unwrap();
    bytes
}

fn get(backend: &dyn Backend, text: &str) -> Vec<u8> {
    all(backend.get(&name(text), 0).unwrap())
}

fn put(backend: &dyn Backend, text: &str, bytes: &[u8], mode: PutMode) -> PutOutcome {
    backend.put(&name(text), Body::Bytes(bytes), mode).unwrap()
}

fn names(backend: &dyn Backend, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    backend
        .list(&name(prefix), &mut |entry| {
            assert!(names.insert(entry.name.to_string()), "{} twice", entry.name);
            ControlFlow::Continue(())
        })
        .unwrap();
    names
}

#[track_caller]
fn cause<T>(answer: Result<T, BackendError>) -> BackendFault {
    match answer {
        Ok(_) => panic!("it succeeded"),
        Err(e) => e.cause,
    }
}

/// What differs between kinds of storage.
struct Expected {
    lists: bool,
}

/// Everything callers rely on.
fn conforms(backend: &dyn Backend, expected: &Expected) {
    // What is not there.
    let none = name("v1/none/at/all");
    assert_eq!(cause(backend.get(&none, 0)), BackendFault::NotFound);
    assert_eq!(cause(backend.head(&none)), BackendFault::NotFound);
    assert_eq!(cause(backend.freshen(&none)), BackendFault::NotFound);
    backend.delete(&none).unwrap();

    // Whole bodies come back; empty ones too.
    for bytes in [&b""[..], b"x", &[7; 70_000]] {
        let text = format!("v1/bodies/{}", bytes.len());
        assert_eq!(
            put(backend, &text, bytes, PutMode::Overwrite),
            PutOutcome::Written
        );
        assert_eq!(get(backend, &text), bytes);
        let entry = backend.head(&name(&text)).unwrap();
        assert_eq!(
            (entry.name, entry.bytes_total),
            (name(&text), bytes.len() as u64)
        );
        let age = SystemTime::now()
            .duration_since(entry.modified)
            .unwrap_or_default();
        assert!(
            age < Duration::from_secs(3600),
            "{text} was written {age:?} ago"
        );
    }

    // Parts of bodies, from the first to behind the last byte.
    let bytes: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    put(backend, "v1/range", &bytes, PutMode::Overwrite);
    for from in [0, 1, 4_096, 49_999, 50_000] {
        let reading = backend.get(&name("v1/range"), from as u64).unwrap();
        assert_eq!(reading.bytes_total, 50_000);
        assert!(all(reading) == bytes[from..], "from {from}");
    }
    assert!(backend.get(&name("v1/range"), 50_001).is_err());

    // What is there stays, or is replaced.
    assert_eq!(
        put(backend, "v1/once/a", b"first", PutMode::Create),
        PutOutcome::Written
    );
    assert_eq!(
        put(backend, "v1/once/a", b"second", PutMode::Create),
        PutOutcome::WasThere
    );
    assert_eq!(get(backend, "v1/once/a"), b"first");
    assert_eq!(
        put(backend, "v1/once/a", b"third", PutMode::Overwrite),
        PutOutcome::Written
    );
    assert_eq!(get(backend, "v1/once/a"), b"third");

    // Gone is gone, and may come again.
    backend.delete(&name("v1/once/a")).unwrap();
    backend.delete(&name("v1/once/a")).unwrap();
    assert_eq!(
        cause(backend.get(&name("v1/once/a"), 0)),
        BackendFault::NotFound
    );
    assert_eq!(
        put(backend, "v1/once/a", b"fourth", PutMode::Create),
        PutOutcome::Written
    );
    assert_eq!(get(backend, "v1/once/a"), b"fourth");

    // A large body from a file: larger than what is sent in one piece, and no multiple of it.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let large: Vec<u8> = (0..(65u32 << 20) + 12_345)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    file.write_all(&large).unwrap();
    let body = || Body::File(file.path());
    let text = name("v1/large/deep/down/x");
    assert_eq!(
        backend.put(&text, body(), PutMode::Create).unwrap(),
        PutOutcome::Written
    );
    assert_eq!(
        backend.put(&text, body(), PutMode::Create).unwrap(),
        PutOutcome::WasThere
    );
    assert!(get(backend, text.as_str()) == large);
    assert!(all(backend.get(&text, 9 << 20).unwrap()) == large[9 << 20..]);
    assert_eq!(
        backend.put(&text, body(), PutMode::Overwrite).unwrap(),
        PutOutcome::Written
    );
    assert_eq!(backend.head(&text).unwrap().bytes_total, large.len() as u64);
    let missing = Body::File(Path::new("/no/such/file"));
    assert_eq!(
        cause(backend.put(&name("v1/x"), missing, PutMode::Overwrite)),
        BackendFault::Local
    );

    // A header before a file, small and large.
    let small = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(small.path(), b"file").unwrap();
    for (file, bytes) in [(small.path(), &b"file"[..]), (file.path(), &large)] {
        let headed = name(&format!("v1/headed/{}", bytes.len()));
        let body = Body::Headed(b"header ", file);
        assert_eq!(
            backend.put(&headed, body, PutMode::Create).unwrap(),
            PutOutcome::Written
        );
        assert!(get(backend, headed.as_str()) == [b"header ", bytes].concat());
        backend.delete(&headed).unwrap();
    }

    // Freshening keeps the bytes.
    for text in ["v1/range", "v1/bodies/0", "v1/large/deep/down/x"] {
        let before = backend.head(&name(text)).unwrap();
        backend.freshen(&name(text)).unwrap();
        let after = backend.head(&name(text)).unwrap();
        assert_eq!(after.bytes_total, before.bytes_total);
        assert!(after.modified >= before.modified, "{text} got older");
    }
    assert_eq!(get(backend, "v1/range"), bytes);
    assert!(get(backend, text.as_str()) == large);

    // Many at once, from many threads.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for i in 0..25 {
                    let text = format!("v1/many/{:02x}/{thread}.{i}", i % 5);
                    put(backend, &text, text.as_bytes(), PutMode::Create);
                    assert_eq!(get(backend, &text), text.as_bytes());
                }
            });
        }
    });

    if !expected.lists {
        let listed = backend.list(&name("v1/many"), &mut |_| ControlFlow::Continue(()));
        assert_eq!(cause(listed), BackendFault::Unsupported);
        return;
    }
    assert_eq!(names(backend, "v1/many").len(), 200);
    assert_eq!(names(backend, "v1/many/03").len(), 40);
    assert_eq!(names(backend, "v1/none"), BTreeSet::new());
    // A prefix is whole segments.
    assert_eq!(names(backend, "v1/man"), BTreeSet::new());
    assert_eq!(
        names(backend, "v1/bodies"),
        ["v1/bodies/0", "v1/bodies/1", "v1/bodies/70000"]
            .map(str::to_owned)
            .into()
    );
    // Nothing temporary is left, and nothing else appeared.
    let expected: BTreeSet<String> = ["v1/range", "v1/once/a", "v1/large/deep/down/x"]
        .map(str::to_owned)
        .into_iter()
        .chain(names(backend, "v1/bodies"))
        .chain(names(backend, "v1/many"))
        .collect();
    assert_eq!(names(backend, "v1"), expected);
    // Sizes in listings are those of the bodies.
    let mut bytes_total = 0;
    backend
        .list(&name("v1/large"), &mut |entry| {
            bytes_total += entry.bytes_total;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(bytes_total, large.len() as u64);
    // Whoever has seen enough stops.
    let mut seen = 0;
    backend
        .list(&name("v1/many"), &mut |_| {
            seen += 1;
            if seen == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(seen, 3);
}

/// One writer wins, and everybody reads the winner's bytes.
fn the_first_wins(backend: &dyn Backend) {
    for round in 0..5 {
        let text = name(&format!("v1/race/{round}"));
        let barrier = std::sync::Barrier::new(8);
        let outcomes: Vec<(String, PutOutcome)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|i| {
                    let (barrier, text) = (&barrier, &text);
                    scope.spawn(move || {
                        let bytes = format!("writer {i}");
                        barrier.wait();
                        let outcome = backend
                            .put(text, Body::Bytes(bytes.as_bytes()), PutMode::Create)
                            .unwrap();
                        (bytes, outcome)
                    })
                })
                .collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let winners: Vec<&String> = outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == PutOutcome::Written)
            .map(|(bytes, _)| bytes)
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(get(backend, text.as_str()), winners[0].as_bytes());
    }
}

const LISTS: Expected = Expected { lists: true };

fn s3_at(endpoint: &str, address: &str, env: backends::Env<'_>) -> Box<dyn Backend> {
    let settings = Settings {
        endpoint: Some(endpoint.to_owned()),
        ..Settings::default()
    };
    backends::open(&address.parse().unwrap(), &settings, env).unwrap()
}

fn s3(server: &S3, address: &str) -> Box<dyn Backend> {
    s3_at(&server.endpoint, address, &|n| server.env(n))
}

fn at(address: &str, env: backends::Env<'_>) -> Box<dyn Backend> {
    backends::open(&address.parse().unwrap(), &Settings::default(), env).unwrap()
}

#[test]
fn memory() {
    let backend = BucketBackend::in_memory().unwrap();
    conforms(&backend, &LISTS);
    the_first_wins(&backend);
}

#[test]
fn a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let backend = at(dir.path().to_str().unwrap(), &no_env);
    conforms(&*backend, &LISTS);
    the_first_wins(&*backend);
}

#[test]
fn s3_in_a_bucket_and_below_a_prefix() {
    let server = S3::start(&["one", "two"]);
    conforms(&*s3(&server, "s3://one"), &LISTS);
    let backend = s3(&server, "s3://two/some/where");
    conforms(&*backend, &LISTS);
    assert!(
        server
            .bucket_dir("two")
            .join("some/where/v1/range")
            .is_file()
    );
}

#[test]
fn s3_without_conditional_writes() {
    let server = S3::start(&["one"]);
    let settings = Settings {
        endpoint: Some(server.endpoint.clone()),
        no_conditional_put: true,
        ..Settings::default()
    };
    let location: Location = "s3://one".parse().unwrap();
    let backend = backends::open(&location, &settings, &|n| server.env(n)).unwrap();
    conforms(&*backend, &LISTS);
}

#[test]
fn webdav() {
    for dav in [Dav::Strict, Dav::Relaxed] {
        let Some(server) = Nginx::start(dav) else {
            return skipped("nginx with its dav-ext module is not installed");
        };
        std::fs::create_dir(server.files().join("some dir")).unwrap();
        for path in ["", "/some%20dir"] {
            let backend = at(&format!("{}{path}", server.url), &|n| server.env(n));
            conforms(&*backend, &LISTS);
        }
        assert!(server.files().join("some dir/v1/range").is_file());
    }
}

#[test]
fn a_server_that_takes_put_and_cannot_list() {
    let Some(server) = Nginx::start(Dav::WithoutListing) else {
        return skipped("nginx with its dav-ext module is not installed");
    };
    conforms(
        &*at(&server.url, &|n| server.env(n)),
        &Expected { lists: false },
    );
}

#[test]
fn sftp() {
    let Some(server) = Sshd::start() else {
        return skipped("OpenSSH's server is not installed");
    };
    let backend = at(&server.address("lab"), &|n| server.env(n));
    conforms(&*backend, &LISTS);
    the_first_wins(&*backend);
    let unfinished = server.files("lab").join(".unfinished");
    assert_eq!(std::fs::read_dir(unfinished).unwrap().count(), 0);
}

/// A directory on a file system that is too small says so, and keeps what is there.
#[test]
fn a_full_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        return skipped("a tmpfs may not be mounted here");
    }
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0).status();
        }
    }
    let _mounted = Mounted(dir.path());
    let backend = at(dir.path().to_str().unwrap(), &no_env);
    put(&*backend, "v1/small", b"x", PutMode::Create);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(30 << 20).unwrap();
    let full = backend
        .put(&name("v1/large"), Body::File(file.path()), PutMode::Create)
        .unwrap_err();
    assert!(full.to_string().contains("free space"), "{full}");
    assert_eq!(get(&*backend, "v1/small"), b"x");
    assert_eq!(names(&*backend, "v1").len(), 1);
    let unfinished = dir.path().join(".unfinished");
    assert_eq!(std::fs::read_dir(unfinished).unwrap().count(), 0);
    // On a file system as small as that, but large enough.
    file.as_file().set_len(10 << 20).unwrap();
    backend
        .put(&name("v1/large"), Body::File(file.path()), PutMode::Create)
        .unwrap();
}

/// What others may have put into a directory cannot make a reader wait, nor lead a listing astray.
#[test]
fn odd_things_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at_dir = |path: &str| dir.path().join(path);
    let backend = at(dir.path().to_str().unwrap(), &no_env);
    put(&*backend, "v1/a/x", b"x", PutMode::Create);
    let made = std::process::Command::new("mkfifo")
        .arg(at_dir("v1/a/pipe"))
        .status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink(dir.path(), at_dir("v1/a/loop")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at_dir("v1/a/zero")).unwrap();
    std::fs::create_dir(at_dir("v1/a/dir")).unwrap();
    for odd in ["pipe", "zero", "dir", "loop"] {
        assert_eq!(
            cause(backend.get(&name(&format!("v1/a/{odd}")), 0)),
            BackendFault::NotFound,
            "{odd}"
        );
        assert_eq!(
            cause(backend.head(&name(&format!("v1/a/{odd}")))),
            BackendFault::NotFound,
            "{odd}"
        );
    }
    for odd in ["Upper", ".hidden", "sp ace", "ü", "new\nline"] {
        std::fs::write(at_dir("v1/a").join(odd), "x").unwrap();
    }
    std::fs::remove_file(at_dir("v1/a/loop")).unwrap();
    assert_eq!(names(&*backend, "v1"), ["v1/a/x".to_owned()].into());
    // Links in circles end somewhere.
    std::os::unix::fs::symlink(at_dir("v1/a"), at_dir("v1/a/loop")).unwrap();
    assert!(names(&*backend, "v1").len() < 100);
}

/// A directory that a group shares stays shared.
#[test]
fn a_shared_directory() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o2775)).unwrap();
    let backend = at(dir.path().to_str().unwrap(), &no_env);
    put(&*backend, "v1/objects/ab/x", b"x", PutMode::Create);
    let mode = |path: &str| {
        let meta = std::fs::metadata(dir.path().join(path)).unwrap();
        meta.permissions().mode() & 0o7777
    };
    for path in ["v1", "v1/objects", "v1/objects/ab"] {
        assert_eq!(mode(path), 0o2775, "{path}");
    }
    assert_eq!(mode("v1/objects/ab/x"), 0o664);
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("mount");
    let backend = at(base.to_str().unwrap(), &no_env);
    let write = backend.put(&name("v1/x"), Body::Bytes(b"x"), PutMode::Create);
    assert_eq!(cause(write), BackendFault::Unreachable);
    assert_eq!(
        cause(backend.get(&name("v1/x"), 0)),
        BackendFault::Unreachable
    );
    let list = backend.list(&name("v1"), &mut |_| ControlFlow::Continue(()));
    assert_eq!(cause(list), BackendFault::Unreachable);
    assert!(!base.exists());
}

/// Wrong keys, no bucket, nobody there: told apart, with the remedy, without secrets.
#[test]
fn s3_refusals_are_explained() {
    let server = S3::start(&["lab"]);
    let wrong = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        move |n: &str| {
            if n == key {
                Some(value.clone())
            } else {
                server_env(n)
            }
        }
    };
    fn server_env(n: &str) -> Option<String> {
        match n {
            "AWS_ACCESS_KEY_ID" => Some(crate::support::servers::s3::ACCESS_KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(crate::support::servers::s3::SECRET_KEY.to_owned()),
            _ => None,
        }
    }
    let mut said = Vec::new();
    let mut told = |what: &str, backend: &dyn Backend| {
        let calls = [
            backend.get(&name("v1/x"), 0).map(|_| ()),
            backend
                .put(&name("v1/x"), Body::Bytes(b"x"), PutMode::Create)
                .map(|_| ()),
            backend.list(&name("v1"), &mut |_| ControlFlow::Continue(())),
        ];
        for call in calls {
            let e = call.unwrap_err();
            let text = e.to_string();
            for secret in [crate::support::servers::s3::SECRET_KEY, "wr0ng"] {
                assert!(!text.contains(secret), "{text}");
            }
            said.push(format!("{what}: {:?}: {text}", e.cause));
        }
    };
    told(
        "unknown key",
        &*s3_at(
            &server.endpoint,
            "s3://lab",
            &wrong("AWS_ACCESS_KEY_ID", "AKWRONG"),
        ),
    );
    told(
        "wrong secret",
        &*s3_at(
            &server.endpoint,
            "s3://lab",
            &wrong("AWS_SECRET_ACCESS_KEY", "wr0ng"),
        ),
    );
    insta::assert_snapshot!(said.join("\n"));
    // This server makes a bucket on writing; it knows only in a list that there is none.
    let none = s3(&server, "s3://none");
    let list = none
        .list(&name("v1"), &mut |_| ControlFlow::Continue(()))
        .unwrap_err();
    assert!(list.to_string().contains("no such bucket"), "{list}");
    let nobody = s3_at("http://127.0.0.1:9", "s3://lab", &server_env);
    assert_eq!(
        cause(nobody.get(&name("v1/x"), 0)),
        BackendFault::Unreachable
    );
    let named = s3_at("http://no-such-host.invalid", "s3://lab", &server_env);
    assert_eq!(
        cause(named.get(&name("v1/x"), 0)),
        BackendFault::Unreachable
    );
    let missing = backends::open(&"s3://lab".parse().unwrap(), &Settings::default(), &|n| {
        (n == "AWS_EC2_METADATA_DISABLED").then(|| "true".to_owned())
    });
    let missing = missing.map(|_| ()).unwrap_err();
    assert!(
        missing.to_string().contains("AWS_ACCESS_KEY_ID"),
        "{missing}"
    );
}

/// Trouble that passes is waited out; trouble that stays is told as what it is.
#[test]
fn transient_trouble_is_waited_out() {
    let server = S3::start(&["lab"]);
    for fault in [Fault::Throttle, Fault::Hang] {
        let proxy = Proxy::start(&server.endpoint, fault);
        let backend = s3_at(&proxy.url, "s3://lab", &|n| server.env(n));
        proxy.fail_next(2);
        let word = match fault {
            Fault::Throttle => "throttled",
            _ => "hung-up",
        };
        let text = format!("v1/{word}");
        assert_eq!(
            put(&*backend, &text, b"x", PutMode::Create),
            PutOutcome::Written
        );
        assert_eq!(proxy.faults_left(), 0);
        assert_eq!(get(&*backend, &text), b"x");
    }
    let proxy = Proxy::start(&server.endpoint, Fault::Throttle);
    let backend = s3_at(&proxy.url, "s3://lab", &|n| server.env(n));
    proxy.fail_next(1000);
    assert_eq!(
        cause(backend.head(&name("v1/throttled"))),
        BackendFault::Throttled
    );
}

/// A body that is cut goes on where it stopped; one that stays cut is an error, never a short body.
#[test]
fn cut_bodies_go_on_or_fail() {
    let server = S3::start(&["lab"]);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 253) as u8).collect();
    put(&*s3(&server, "s3://lab"), "v1/x", &bytes, PutMode::Create);
    let proxy = Proxy::start(&server.endpoint, Fault::Cut(1_000_000));
    let backend = s3_at(&proxy.url, "s3://lab", &|n| server.env(n));
    proxy.fail_next(2);
    assert!(get(&*backend, "v1/x") == bytes);
    assert_eq!(proxy.faults_left(), 0);
    let proxy = Proxy::start(&server.endpoint, Fault::Cut(5_000));
    let backend = s3_at(&proxy.url, "s3://lab", &|n| server.env(n));
    proxy.fail_next(1000);
    let mut short = Vec::new();
    let read = backend
        .get(&name("v1/x"), 0)
        .map_err(|e| e.to_string())
        .and_then(|reading| {
            { reading.body }
                .read_to_end(&mut short)
                .map_err(|e| e.to_string())
        });
    assert!(read.is_err());
    assert!(bytes.starts_with(&short) && short.len() < bytes.len());
}

#[test]
fn webdav_refusals_are_explained() {
    let Some(server) = Nginx::start(Dav::Strict) else {
        return skipped("nginx with its dav-ext module is not installed");
    };
    let backend = at(&server.url, &no_env);
    for refused in [
        backend.get(&name("v1/x"), 0).map(|_| ()),
        backend
            .put(&name("v1/x"), Body::Bytes(b"x"), PutMode::Create)
            .map(|_| ()),
        backend.list(&name("v1"), &mut |_| ControlFlow::Continue(())),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.cause, BackendFault::Refused, "{refused}");
        assert!(
            !refused
                .to_string()
                .contains(crate::support::servers::nginx::PASSWORD)
        );
    }
}

#[test]
fn sftp_refusals_are_explained() {
    let Some(server) = Sshd::start() else {
        return skipped("OpenSSH's server is not installed");
    };
    let address = server.address("lab");
    let told = |address: &str, env: backends::Env<'_>| {
        let backend = at(address, env);
        let e = backend
            .put(&name("v1/x"), Body::Bytes(b"x"), PutMode::Create)
            .unwrap_err();
        (e.cause, e.to_string())
    };
    let (cause, text) = told(&address, &|n| server.env_of_stranger(n));
    assert!(
        cause == BackendFault::Refused && text.contains("ssh agent"),
        "{text}"
    );
    let (cause, text) = told(&address, &|n| server.env_without_host(n));
    assert!(
        cause == BackendFault::Refused && text.contains("not known here"),
        "{text}"
    );
    let (cause, text) = told(&format!("{address}/none"), &|n| server.env(n));
    assert!(
        cause == BackendFault::Other && text.contains("mkdir"),
        "{text}"
    );
    assert!(!server.files("lab").join("none").exists());
    let (cause, text) = told("sftp://127.0.0.1:9/x", &|n| server.env(n));
    assert!(
        cause == BackendFault::Unreachable && text.contains("refused"),
        "{text}"
    );
    let (cause, text) = told(&address, &|n| {
        (n == "REPRO_SSH").then(|| "no-such-ssh-here".to_owned())
    });
    assert!(
        cause == BackendFault::Local && text.contains("install OpenSSH"),
        "{text}"
    );
}

/// A connection that breaks is made anew.
#[test]
fn sftp_survives_its_connection() {
    let Some(server) = Sshd::start() else {
        return skipped("OpenSSH's server is not installed");
    };
    let backend = at(&server.address("lab"), &|n| server.env(n));
    put(&*backend, "v1/a", b"a", PutMode::Create);
    assert!(server.break_connections() > 0);
    assert_eq!(get(&*backend, "v1/a"), b"a");
    assert!(server.break_connections() > 0);
    assert_eq!(
        put(&*backend, "v1/b", b"b", PutMode::Create),
        PutOutcome::Written
    );
}
