//! Bad input, bad disks, bad bytes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::*;
use crate::digest::Shape;
use crate::skipped::skipped;
use repro_protocol::relpath::RelPath;

fn refused(f: &Fixture, name: &str) -> String {
    match f.store.absorb(&f.path(name)) {
        Err(e @ StoreError::Refused { .. }) => e.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let f = Fixture::new();
    let tree = |name: &str| {
        fs::create_dir_all(f.path(name).join("sub")).unwrap();
        fs::write(f.path(name).join("sub/file"), "x").unwrap();
        f.path(name)
    };
    for (n, target) in [
        "/etc/passwd",
        "../../x",
        "sub/../../x",
        "..",
        "up/../../x",
        "loop",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{n}");
        let dir = tree(&name);
        symlink("sub", dir.join("up")).unwrap();
        symlink(target, dir.join("loop")).unwrap();
        assert!(refused(&f, &name).contains("loop"), "{target}");
        assert!(
            dir.join("sub/file").exists(),
            "nothing is moved before all is checked"
        );
    }
    // Through an inner link, `..` means the parent of where the link leads: this one leads out,
    // though its text does not.
    let dir = tree("through");
    fs::create_dir(dir.join("a")).unwrap();
    symlink("../sub", dir.join("a/s")).unwrap();
    symlink("a/s/../../x", dir.join("l")).unwrap();
    assert!(refused(&f, "through").contains("out of the tree"));

    let _socket = UnixListener::bind(tree("socket").join("s")).unwrap();
    assert!(refused(&f, "socket").contains("socket"));
    assert!(
        Command::new("mkfifo")
            .arg(tree("pipe").join("p"))
            .status()
            .unwrap()
            .success()
    );
    assert!(refused(&f, "pipe").contains("pipe"));
    use std::os::unix::ffi::OsStrExt;
    fs::write(tree("name").join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    assert!(refused(&f, "name").contains("UTF-8"));
    symlink("name", f.path("link")).unwrap();
    assert!(refused(&f, "link").contains("symbolic link"));
    assert!(matches!(
        f.store.absorb(&f.path("none")),
        Err(StoreError::Vanished { .. })
    ));
}

#[test]
fn a_file_with_a_second_name_is_copied() {
    let f = Fixture::new();
    fs::write(f.path("mine"), "mine").unwrap();
    fs::hard_link(f.path("mine"), f.path("out")).unwrap();
    let (content, staged) = f.store.absorb(&f.path("out")).unwrap();
    commit_one(&f.store, record("k", &[("out", content)]), staged).unwrap();
    fs::write(f.path("mine"), "else").unwrap();
    f.store.verify(&content).unwrap();
    assert!(!f.path("out").exists());
}

/// A handle that was open before is no way into the store: the file was copied.
#[test]
fn case_35_somebody_still_writing_does_not_reach_the_object() {
    let f = Fixture::new();
    fs::write(f.path("out"), "abc").unwrap();
    let mut open = File::options().append(true).open(f.path("out")).unwrap();
    let (content, staged) = f.store.absorb(&f.path("out")).unwrap();
    std::io::Write::write_all(&mut open, b"d").unwrap();
    let outcome = commit_one(&f.store, record("k", &[("out", content)]), staged);
    assert!(outcome.is_ok());
    std::io::Write::write_all(&mut open, b"e").unwrap();
    let object = f.store.object_path(&content.digest);
    assert_eq!(fs::read(object).unwrap(), b"abc");
}

#[test]
fn a_tampered_object_is_found_moved_aside_and_replaced() {
    let f = Fixture::new();
    let content = f.commit_file("k", "the bytes");
    tamper(&f.store.object_path(&content.digest), 0);
    fs::write(f.path("dest"), "before").unwrap();
    let error = f
        .store
        .place(&content, &f.path("dest"), LinkMode::Copy)
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Corrupt { .. })
            && error.to_string().contains(&content.digest.hex()),
        "{error}"
    );
    assert_eq!(fs::read(f.path("dest")).unwrap(), b"before");
    assert!(f.warned().contains("corrupt"));
    assert_eq!(names(&f.store.root().join("quarantine")).len(), 1);
    assert!(!f.store.has(&content).unwrap());
    f.commit_file("k", "the bytes");
    f.store
        .place(&content, &f.path("dest"), LinkMode::Copy)
        .unwrap();
    assert_eq!(fs::read(f.path("dest")).unwrap(), b"the bytes");
}

#[test]
fn a_forced_write_to_a_hardlinked_artifact_is_found() {
    let f = Fixture::new();
    let content = f.commit_file("k", "the bytes");
    f.store
        .place(&content, &f.path("dest"), LinkMode::Hardlink)
        .unwrap();
    assert!(f.store.has(&content).unwrap());
    tamper(&f.path("dest"), 1);
    assert!(!f.store.has(&content).unwrap());
    f.commit_file("k", "the bytes");
    f.store
        .place(&content, &f.path("dest"), LinkMode::Hardlink)
        .unwrap();
    assert_eq!(fs::read(f.path("dest")).unwrap(), b"the bytes");
}

#[test]
fn a_commit_does_not_trust_a_corrupt_object_of_the_same_name() {
    let f = Fixture::new();
    let content = f.commit_file("k", "the bytes");
    tamper(&f.store.object_path(&content.digest), 3);
    f.commit_file("other", "the bytes");
    f.store.verify(&content).unwrap();
    assert_eq!(names(&f.store.root().join("quarantine")).len(), 1);
}

#[test]
fn an_unsealed_object_is_hashed_before_use() {
    // As after a power failure: the name is there, the bytes are not.
    let f = Fixture::new();
    let (content, _staged) = f.store.absorb_bytes(b"never flushed").unwrap();
    let path = f.store.object_path(&content.digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    assert!(!f.store.has(&content).unwrap());
    fs::write(&path, "").unwrap();
    f.commit_file("k", "never flushed");
    f.store.verify(&content).unwrap();
}

#[test]
fn a_corrupt_record_is_a_miss_with_a_warning() {
    let f = Fixture::new();
    let content = f.commit_file("k", "x");
    let dir = f.store.named("actions", &key("k"));
    let path = dir.join(record("k", &[("out", content)]).result().hex());
    let whole = fs::read(&path).unwrap();
    for n in 0..whole.len() {
        let mut bad = whole.clone();
        bad[n] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(f.store.lookup(&key("k")).is_empty(), "byte {n}");
        assert!(!path.exists());
        fs::write(&path, &whole[..n]).unwrap();
        assert!(f.store.lookup(&key("k")).is_empty(), "cut at {n}");
    }
    assert!(f.warned().contains("corrupt"));
    // Good bytes in the wrong place are no record either.
    fs::create_dir_all(f.store.named("actions", &key("j"))).unwrap();
    fs::write(
        f.store
            .named("actions", &key("j"))
            .join(path.file_name().unwrap()),
        &whole,
    )
    .unwrap();
    assert!(f.store.lookup(&key("j")).is_empty());
    // A commit replaces a corrupt one.
    fs::write(&path, "torn").unwrap();
    f.commit_file("k", "x");
    assert_eq!(f.store.lookup(&key("k")).len(), 1);
}

#[test]
fn fsck_finds_every_flipped_byte() {
    let f = Fixture::new();
    f.commit_file("file", "some bytes");
    fs::create_dir(f.path("t")).unwrap();
    fs::write(f.path("t/a"), "in a tree").unwrap();
    let (tree, staged) = f.store.absorb(&f.path("t")).unwrap();
    commit_one(&f.store, record("tree", &[("t", tree)]), staged).unwrap();
    fs::write(f.path("state"), "state bytes").unwrap();
    f.store.put_state(&key("s"), &f.path("state"), "p").unwrap();
    let report = f.store.fsck(true).unwrap();
    assert_eq!(
        (
            report.objects,
            report.trees,
            report.records,
            report.states,
            report.findings.len()
        ),
        (3, 1, 2, 1, 0)
    );

    let mut files = Vec::new();
    for dir in ["objects", "trees", "actions", "states"] {
        let mut todo = vec![f.store.root().join(dir)];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    files.push(path);
                }
            }
        }
    }
    assert_eq!(files.len(), 7);
    files.push(f.store.root().join("seals"));
    for path in &files {
        let bytes = fs::read(path).unwrap();
        for n in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            tamper(path, n);
            let findings = f.store.fsck(false).unwrap().findings;
            assert!(
                findings.iter().any(|found| found.path == *path),
                "{}: byte {n}: {findings:?}",
                path.display()
            );
            assert!(
                findings
                    .iter()
                    .all(|found| found.remedy == Remedy::None(None))
            );
            tamper(path, n);
        }
    }
    assert!(f.store.fsck(false).unwrap().findings.is_empty());
}

#[test]
fn fsck_repairs_so_that_the_next_run_runs_again() {
    let f = Fixture::new();
    fs::create_dir(f.path("t")).unwrap();
    fs::write(f.path("t/a"), "in a tree").unwrap();
    let (tree, staged) = f.store.absorb(&f.path("t")).unwrap();
    commit_one(&f.store, record("tree", &[("t", tree)]), staged).unwrap();
    let file = f.commit_file("file", "file");
    tamper(&f.store.object_path(&Digest::of(b"in a tree")), 0);
    fs::set_permissions(
        f.store.object_path(&file.digest),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    fs::write(f.store.root().join("objects/stray"), "").unwrap();
    let findings = f.store.fsck(true).unwrap().findings;
    let remedies: Vec<&Remedy> = findings.iter().map(|found| &found.remedy).collect();
    // The record, the object, the stray name and the tree; the writable object was made read-only.
    assert_eq!(
        remedies
            .iter()
            .filter(|r| ***r == Remedy::MovedAside)
            .count(),
        3,
        "{findings:?}"
    );
    assert_eq!(
        remedies.iter().filter(|r| ***r == Remedy::Fixed).count(),
        1,
        "{findings:?}"
    );
    assert!(f.store.lookup(&key("tree")).is_empty() && f.store.lookup(&key("file")).len() == 1);
    assert!(!f.store.has(&tree).unwrap() && f.store.has(&file).unwrap());
    let left = f.store.fsck(false).unwrap().findings;
    assert_eq!(
        left.iter().map(|l| &l.remedy).collect::<Vec<_>>(),
        vec![&Remedy::LeftAlone]
    );
}

#[test]
fn other_formats_and_other_directories_are_refused() {
    let f = Fixture::new();
    fs::write(f.store.root().join("format"), "repro store 2\n").unwrap();
    let Err(error) = Store::open(f.store.root()) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("repro store 2"), "{error}");
    fs::create_dir(f.path("home")).unwrap();
    fs::write(f.path("home/thesis"), "").unwrap();
    assert!(matches!(
        Store::open(&f.path("home")),
        Err(StoreError::Format { .. })
    ));
    assert_eq!(names(&f.path("home")), vec!["thesis"]);
    // A store half made is completed.
    fs::create_dir_all(f.path("half/objects")).unwrap();
    Store::open(&f.path("half")).unwrap();
    Store::open(&f.path("half"))
        .unwrap()
        .check_writable()
        .unwrap();
}

/// A small or read-only file system of our own. `None`, with a reason printed, where mounting is
/// not allowed.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        fs::create_dir_all(at).unwrap();
        Mount::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(at),
            at,
        )
    }

    fn run(command: &mut Command, at: &Path) -> Option<Mount> {
        match command.output() {
            Ok(out) if out.status.success() => Some(Mount(at.to_owned())),
            Ok(out) => {
                let said = String::from_utf8_lossy(&out.stderr);
                skipped(format_args!("mounting fails: {}", said.trim()));
                None
            }
            Err(e) => {
                skipped(format_args!("no `mount`: {e}"));
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(
            Command::new("mount")
                .args(["-o", &options])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_a_typed_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::tmpfs(&dir.path().join("store"), "size=2m,mode=755") else {
        return;
    };
    let f = Fixture::at(dir);
    let kept = f.commit_file("kept", "kept");
    fs::write(f.path("big"), vec![7; 4 << 20]).unwrap();
    for error in [
        f.store.absorb(&f.path("big")).unwrap_err(),
        f.store.absorb_bytes(&vec![7; 4 << 20]).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("repro gc") && error.is_write_refused());
    }
    assert_eq!(
        fs::metadata(f.path("big")).unwrap().len(),
        4 << 20,
        "the output is still where it was"
    );
    assert_eq!(f.store.lookup(&key("kept")).len(), 1);
    f.commit_file("after", "there is room again");
    // Full to the last byte: hits are still served.
    let fill = f.store.root().join("tmp/fill");
    let _ = fs::write(&fill, vec![1; 3 << 20]);
    let full = Store::open(f.store.root()).unwrap();
    assert!(full.has(&kept).unwrap());
    full.place(&kept, &f.path("dest"), LinkMode::Copy).unwrap();
    // The place that is full may be the destination.
    let Some(_other) = Mount::tmpfs(&f.path("small"), "size=64k") else {
        return;
    };
    let big = commit_bytes(&f.store, "big", &"x".repeat(200 << 10));
    fs::remove_file(&fill).unwrap();
    let big = big
        .or_else(|_| commit_bytes(&f.store, "big", &"x".repeat(200 << 10)))
        .unwrap();
    fs::write(f.path("small/dest"), "before").unwrap();
    assert!(matches!(
        f.store.place(&big, &f.path("small/dest"), LinkMode::Copy),
        Err(StoreError::Full { .. })
    ));
    assert_eq!(fs::read(f.path("small/dest")).unwrap(), b"before");
    assert_eq!(names(&f.path("small")), vec!["dest"]);
}

#[test]
fn a_read_only_store_serves_hits() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(&dir.path().join("store"), "size=8m,mode=755") else {
        return;
    };
    let f = Fixture::at(dir);
    let kept = f.commit_file("kept", "kept");
    fs::write(f.path("s"), "state").unwrap();
    f.store.put_state(&key("s"), &f.path("s"), "").unwrap();
    // Whoever has a scratch directory has a file open for writing, and then nothing can be mounted
    // read-only.
    let Fixture { dir, store, .. } = f;
    let root = store.root().to_owned();
    drop(store);
    mount.remount("ro");
    let store = Store::open(&root).unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(store.start_lease().unwrap_err().is_write_refused());
    assert!(store.check_writable().unwrap_err().is_write_refused());
    assert_eq!(store.lookup(&key("kept")).len(), 1);
    assert!(store.has(&kept).unwrap());
    assert!(store.get_state(&key("s")).is_some());
    store.place(&kept, &path("dest"), LinkMode::Copy).unwrap();
    store.view(&kept, &path("view"), ViewMode::Symlink).unwrap();
    assert!(store.absorb_bytes(b"new").unwrap_err().is_write_refused());
    fs::write(path("out"), "new").unwrap();
    let error = store.absorb(&path("out")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(path("out").exists());
    assert!(
        store
            .try_lock_action(&key("x"))
            .is_err_and(|e| e.is_write_refused())
    );
    assert!(store.fsck(true).unwrap().findings.is_empty());
    drop(store);
}

#[test]
fn a_directory_of_somebody_else_is_denied_by_name() {
    let f = Fixture::new();
    f.commit_file("k", "x");
    let tmp = f.store.root().join("tmp");
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(tmp.join("probe"), "").is_ok() {
        skipped("this user may write anywhere");
        return;
    }
    let error = f.reopen().absorb_bytes(b"y").unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unsafe_link_in_a_project_directory_is_refused() {
    let f = Fixture::new();
    fs::create_dir(f.path("d")).unwrap();
    symlink("/etc", f.path("d/l")).unwrap();
    let cache = StatCache::load(f.dir.path(), &f.path("cache"));
    let error = cache.digest_path(&RelPath::new("d").unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }));
    // The input itself may be a link: its bytes are what counts.
    fs::write(f.path("real"), "x").unwrap();
    symlink(f.path("real"), f.path("alias")).unwrap();
    let content = cache.digest_path(&RelPath::new("alias").unwrap()).unwrap();
    assert_eq!(
        (content.shape, content.digest),
        (Shape::File, Digest::of(b"x"))
    );
}
