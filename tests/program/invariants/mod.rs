//! The invariants of the design, on command stages and on the real program: what must hold whatever
//! happens.

mod kills;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::TestSpace;
use crate::support::observed::files_below;
use crate::support::processes::{kill_dead, signal};
use repro_engine::digest::{Digest, Domain};
use repro_engine::record::lockfile::LockFile;
use repro_engine::store::{LinkMode, Store};

/// A study of eight instances: a matrix, a join, a gather, a tree as an output, and stages long
/// enough to be hit by a kill. No pipes: a shell does not notice when something before the last `|`
/// is killed.
const STUDY: &str = r#"
version: 1
stages:
  source:
    run: "seq 1 2000 > ${outputs.numbers}; cat ${needs.text} >> ${outputs.numbers}"
    needs: {text: {file: in.txt}}
    outputs: {numbers: numbers.txt}
  part:
    matrix: {k: [1, 2, 3]}
    run: "mkdir ${outputs.dir}; sleep 0.03; sed -n '${matrix.k}~3p' ${needs.all} > ${outputs.dir}/lines; mkdir ${outputs.dir}/deep; sleep 0.03; wc -l < ${outputs.dir}/lines > ${outputs.dir}/deep/count"
    needs: {all: source.numbers}
    outputs: {dir: d}
  turned:
    matrix: {k: [1, 2, 3]}
    run: "(sleep 0.04; tac ${needs.d}/lines) > ${outputs.out}; sleep 0.03; cat ${needs.d}/deep/count >> ${outputs.out}"
    needs: {d: part.dir}
    outputs: {out: turned.txt}
  all:
    run: "cat ${needs.parts} > ${outputs.copy}; sleep 0.05; wc -c < ${outputs.copy} > ${outputs.size}"
    needs: {parts: "turned[*].out"}
    outputs: {copy: copy.txt, size: size.txt}
"#;

const INSTANCES: [&str; 8] = [
    "all",
    "part[k=1]",
    "part[k=2]",
    "part[k=3]",
    "source",
    "turned[k=1]",
    "turned[k=2]",
    "turned[k=3]",
];

fn study() -> TestSpace {
    let space = TestSpace::with_pipeline(STUDY);
    space.write("in.txt", "the end\n");
    space
}

/// What an undisturbed run makes: artifacts and lock file.
type Results = (BTreeMap<String, Vec<u8>>, String);

fn results(space: &TestSpace) -> Results {
    let mut artifacts = space.artifacts();
    // What a killed run was about to show lies beside its place until something is placed there
    // again.
    artifacts.retain(|path, _| !path.contains("/.repro-tmp."));
    (artifacts, space.read("repro.lock"))
}

fn undisturbed() -> Results {
    let space = study();
    space.ran(&[]).executes(&INSTANCES);
    results(&space)
}

#[track_caller]
fn expect_clean_store(space: &TestSpace) {
    let store = Store::open(&space.store).expect("the store");
    let report = store.fsck(false).expect("fsck");
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

/// I4, I8: the same bytes and keys from the cache, from a fresh store, and from another directory.
#[test]
fn cached_is_fresh() {
    let first = study();
    first.ran(&[]).executes(&INSTANCES);
    let wanted = results(&first);
    assert_eq!(wanted.0.len(), 1 + 3 * 2 + 3 + 2, "{:?}", wanted.0.keys());

    // From the cache, in a project that has nothing.
    for gone in ["artifacts", "repro.lock", ".repro"] {
        first.remove(gone);
    }
    first.ran(&[]).executes(&[]);
    assert_eq!(results(&first), wanted);

    // On a store that has nothing, in a directory of another name, length and depth.
    let second = study();
    let elsewhere = second.other_project("another/much deeper/ünicode and spaces");
    for file in ["pipeline.yaml", "in.txt"] {
        fs::copy(second.path(file), elsewhere.join(file)).expect("a copy");
    }
    second.ran_in(&elsewhere, &["-j", "3"]).executes(&INSTANCES);
    assert_eq!(files_below(&elsewhere.join("artifacts")), wanted.0);
    assert_eq!(
        fs::read_to_string(elsewhere.join("repro.lock")).expect("a lock file"),
        wanted.1,
        "keys and digests"
    );

    // One core, forced.
    let third = study();
    third.ran(&["-j", "1"]).executes(&INSTANCES);
    assert_eq!(results(&third), wanted);
    third.ran(&["-f", "-j", "4"]).executes(&INSTANCES);
    assert_eq!(results(&third), wanted, "forced");
}

/// I8: nothing of who and where gets into a key.
#[test]
fn keys_do_not_depend_on_the_user_the_machine_or_the_time() {
    let space = study();
    space.ran(&[]).executes(&INSTANCES);
    let wanted = results(&space);
    let mut other = study();
    other
        .set_env("USER", "somebody")
        .set_env("LOGNAME", "somebody")
        .set_env("LC_ALL", "tr_TR.UTF-8")
        .set_env("TZ", "Asia/Tokyo");
    other
        .set_env(
            "HOME",
            other
                .project
                .with_file_name("another home")
                .into_os_string(),
        )
        .set_env("TMPDIR", "/nowhere")
        .set_env("HOSTNAME", "x");
    let file = fs::File::options()
        .append(true)
        .open(other.path("in.txt"))
        .expect("the input");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .expect("an old time");
    other.ran(&[]).executes(&INSTANCES);
    assert_eq!(results(&other), wanted);
}

/// I10: two projects share what one of them did.
#[test]
fn two_projects_on_one_store_share_results() {
    let space = study();
    space.ran(&[]).executes(&INSTANCES);
    let other = space.other_project("other");
    for file in ["pipeline.yaml", "in.txt"] {
        fs::copy(space.path(file), other.join(file)).expect("a copy");
    }
    space.ran_in(&other, &[]).executes(&[]);
    assert_eq!(files_below(&other.join("artifacts")), space.artifacts());

    // What one of them does to its artifacts is its own affair.
    fs::write(other.join("artifacts/source/numbers.txt"), "mine\n").expect("a plain file");
    space.ran(&[]).executes(&[]);
    assert_ne!(space.read("artifacts/source/numbers.txt"), "mine\n");
    expect_clean_store(&space);
}

/// I10: at once, on a cold store.
#[test]
fn two_projects_at_once_do_the_work_once() {
    let space = study();
    let projects: Vec<PathBuf> = (0..3)
        .map(|i| space.other_project(&format!("p{i}")))
        .collect();
    for (project, file) in projects
        .iter()
        .flat_map(|p| ["pipeline.yaml", "in.txt"].map(|f| (p, f)))
    {
        fs::copy(space.path(file), project.join(file)).expect("a copy");
    }
    let ran: Vec<_> = std::thread::scope(|scope| {
        let space = &space;
        let threads: Vec<_> = projects
            .iter()
            .map(|p| scope.spawn(move || space.ran_in(p, &[])))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a run"))
            .collect()
    });
    assert!(ran.iter().all(|r| r.code == 0), "{ran:#?}");
    assert_eq!(
        ran.iter().map(|r| r.count("executed")).sum::<u64>(),
        8,
        "{ran:#?}"
    );
    let wanted = undisturbed();
    for project in &projects {
        assert_eq!(files_below(&project.join("artifacts")), wanted.0);
        assert_eq!(
            fs::read_to_string(project.join("repro.lock")).expect("a lock file"),
            wanted.1
        );
    }
    expect_clean_store(&space);
}

/// I1, I2: every name is the hash of its bytes, and every record names what is there. Hashed here,
/// not by the store.
#[test]
fn names_are_hashes_and_records_are_whole() {
    let space = study();
    space.ran(&[]).executes(&INSTANCES);
    for path in space.store_files("objects") {
        let name = format!(
            "{}{}",
            text(path.parent().and_then(Path::file_name)),
            text(path.file_name())
        );
        assert_eq!(
            blake3::hash(&fs::read(&path).expect("an object"))
                .to_hex()
                .as_str(),
            name
        );
    }
    let store = Store::open(&space.store).expect("the store");
    let lock = LockFile::read(&space.path("repro.lock")).expect("the lock file");
    assert_eq!(lock.blocks.len(), 8);
    for (instance, block) in lock.blocks {
        let records = store.lookup(&block.key);
        assert_eq!(records.len(), 1, "{instance}");
        let record = &records[0];
        assert_eq!(
            Digest::derive(Domain::Action, record.preimage.as_bytes()),
            block.key,
            "the key is the hash of what it says it was made of"
        );
        let outputs: BTreeMap<String, String> = record
            .outputs
            .iter()
            .map(|(name, content)| (name.clone(), content.to_string()))
            .collect();
        assert_eq!(outputs, block.outputs, "{instance}");
        for content in record.outputs.values() {
            store.verify(content).expect("whole");
        }
    }
}

fn text(name: Option<&std::ffi::OsStr>) -> String {
    name.map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// I3: while runs replace the artifacts over and over, a watcher sees each of them always there and
/// always whole, in one of the forms that were ever right.
#[test]
fn artifacts_are_never_absent_or_partial() {
    let pipeline = |lines: usize| {
        format!(
            "version: 1\nstages:\n  big:\n    run: 'i=0; while [ $i -lt 40 ]; do (yes line-{lines} || true) | head -n 500; i=$((i+1)); done > ${{outputs.out}}; mkdir ${{outputs.dir}}; cp ${{outputs.out}} ${{outputs.dir}}/x'\n    outputs: {{out: big.txt, dir: tree}}\n"
        )
    };
    let right = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let first = text.lines().next().unwrap_or("").to_owned();
        first.starts_with("line-")
            && text.lines().count() == 20_000
            && text.lines().all(|l| l == first)
    };
    let space = TestSpace::with_pipeline(&pipeline(0));
    space.ran(&[]).executes(&["big"]);
    let stop = Arc::new(AtomicBool::new(false));
    let watched = [
        space.path("artifacts/big/big.txt"),
        space.path("artifacts/big/tree/x"),
    ];
    let watchers: Vec<_> = watched
        .into_iter()
        .map(|path| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut looks, mut forms) = (0, std::collections::BTreeSet::new());
                while !stop.load(Ordering::Relaxed) {
                    let bytes = fs::read(&path).unwrap_or_else(|e| {
                        panic!("{} vanished after {looks} looks: {e}", path.display())
                    });
                    assert!(
                        right(&bytes),
                        "{} is partial ({} bytes)",
                        path.display(),
                        bytes.len()
                    );
                    forms.insert(bytes[..8].to_vec());
                    looks += 1;
                }
                forms.len()
            })
        })
        .collect();
    for i in 1..=8 {
        space.write("pipeline.yaml", pipeline(i));
        space.ran(&[]).executes(&["big"]);
    }
    for i in [3, 5, 8] {
        space.write("pipeline.yaml", pipeline(i));
        space.ran(&[]).executes(&[]);
    }
    stop.store(true, Ordering::Relaxed);
    for watcher in watchers {
        assert!(
            watcher.join().expect("a watcher that saw only whole files") >= 2,
            "the watcher saw the files change"
        );
    }
}

/// I7 in small: a link in the place of a directory of ours does not lead the outputs over what lies
/// elsewhere.
#[test]
fn nothing_is_written_through_a_link_below_artifacts() {
    let space = study();
    let outside = space.other_project("outside");
    fs::write(outside.join("numbers.txt"), "precious\n").expect("a file");
    fs::create_dir_all(space.path("artifacts")).expect("a directory");
    std::os::unix::fs::symlink(&outside, space.path("artifacts/source")).expect("a link");
    space.ran(&[]).executes(&INSTANCES);
    assert_eq!(files_below(&outside).len(), 1, "nothing was added");
    assert_eq!(
        fs::read_to_string(outside.join("numbers.txt")).expect("still there"),
        "precious\n"
    );
    assert_eq!(results(&space), undisturbed());
}

/// `artifacts/` itself may lie on another disk, by a link.
#[test]
fn artifacts_may_be_a_link() {
    let space = study();
    let elsewhere = space.other_project("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, space.path("artifacts")).expect("a link");
    space.ran(&[]).executes(&INSTANCES);
    assert!(space.path("artifacts").is_symlink());
    assert_eq!(files_below(&elsewhere), undisturbed().0);
    space.ran(&[]).executes(&[]);
}

/// I6 as far as placing goes: hard links save space, and still nothing written through an artifact
/// reaches the store.
#[test]
fn hard_links_cannot_corrupt_the_store() {
    assert_ne!(LinkMode::Copy, LinkMode::Hardlink);
    let mut space = study();
    space.set_env("REPRO_LINK", "hardlink");
    space.ran(&[]).executes(&INSTANCES);
    let wanted = results(&space);
    // An editor that saves by truncating finds a file it may not write, or its own copy; never the
    // store's bytes unguarded. As a user who may write anything this write succeeds, and must then
    // be found out.
    let wrote = fs::write(space.path("artifacts/source/numbers.txt"), "mine\n").is_ok();
    let ran = space.ran(&[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(results(&space), wanted, "written: {wrote}");
    expect_clean_store(&space);
}
