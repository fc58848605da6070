//! One store, several machines, and file systems whose locks say nothing: who waits, who deletes,
//! and what is told of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::skipped::skipped;
use crate::support::{TestSpace, wait};

/// Makes one machine look like several. By the environment: `MACHINE_LOCKS=alone` grants every
/// lock, `MACHINE_DISK=shared` calls every file system NFS, `MACHINE_BOOT=other` gives each process
/// a boot of its own, and `MACHINE_HASTE=1` cuts pauses of 20 seconds short.
const MACHINE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
static int alone, shared, other, haste;
static int (*real_flock)(int, int);
static int (*real_statfs)(const char *, struct statfs *);
static int (*real_open)(const char *, int, ...);
static int (*real_sleep)(const struct timespec *, struct timespec *);
static int (*real_clock_sleep)(clockid_t, int, const struct timespec *, struct timespec *);
__attribute__((constructor)) static void begin(void) {
  alone = getenv("MACHINE_LOCKS") != 0;
  shared = getenv("MACHINE_DISK") != 0;
  other = getenv("MACHINE_BOOT") != 0;
  haste = getenv("MACHINE_HASTE") != 0;
  real_flock = dlsym(RTLD_NEXT, "flock");
  real_statfs = dlsym(RTLD_NEXT, "statfs");
  real_open = dlsym(RTLD_NEXT, "open64");
  real_sleep = dlsym(RTLD_NEXT, "nanosleep");
  real_clock_sleep = dlsym(RTLD_NEXT, "clock_nanosleep");
}
int flock(int fd, int how) { return alone ? 0 : real_flock(fd, how); }
int statfs(const char *path, struct statfs *info) {
  int rc = real_statfs(path, info);
  if (rc == 0 && shared) info->f_type = 0x6969;
  return rc;
}
int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  if (other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
    path = "/proc/sys/kernel/random/uuid";
  return real_open(path, flags, mode);
}
static struct timespec brief = {0, 50000000};
static int is_long(const struct timespec *t) { return haste && t->tv_sec >= 20; }
int nanosleep(const struct timespec *t, struct timespec *left) {
  return real_sleep(is_long(t) ? &brief : t, left);
}
int clock_nanosleep(clockid_t c, int flags, const struct timespec *t, struct timespec *left) {
  return real_clock_sleep(c, flags, flags == 0 && is_long(t) ? &brief : t, left);
}
"#;

/// The library of [`MACHINE`]; `None` where nothing can build it.
fn machines() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("machine.c");
    fs::write(&source, MACHINE).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(dir.path().join("machine.so"))
        .arg(source)
        .arg("-ldl");
    let is_built = cc.status().is_ok_and(|status| status.success());
    if !is_built {
        skipped("there is no cc to build locks that do nothing");
    }
    is_built.then_some(dir)
}

/// Two machines whose locks do not see each other: here one, and locks that do nothing.
#[test]
fn case_48_locks_that_do_nothing_kill_nobody() {
    let Some(shim) = machines() else {
        return;
    };
    let mut space = TestSpace::with_pipeline(
        "
version: 1
name: slow
stages:
  slow: {run: 'touch started; while [ ! -e ${outputs.o} ] || [ $i -lt 30 ]; do i=$((i+1)); sleep .1; echo $i > ${outputs.o}; done', outputs: {o: o.txt}}
  quick: {run: 'echo x > ${outputs.o}', outputs: {o: o.txt}}
",
    );
    space.edit("pipeline.yaml", "touch started; while", "i=0; while");
    space.set_env("MACHINE_LOCKS", "alone");
    space.set_env("LD_PRELOAD", shim.path().join("machine.so").as_os_str());
    let slow = space
        .command(&["run", "slow"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while fs::read_dir(space.store.join("locks")).map_or(0, |d| d.count()) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The second one begins with what dead processes left.
    space.run(&["run", "quick"]).expect(0, &["run", "quick"]);
    let states = space.json(&["status"]);
    let state = states
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["instance"] == "slow");
    assert_eq!(state.unwrap()["state"], "running");
    let output = wait(slow);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(space.read("artifacts/slow/o.txt"), "30\n");
}

/// `slow` runs until there is a file `go`, and counts how often it has run.
const SLOW: &str = "
version: 1
name: slow
stages:
  slow:
    run: 'echo x >> PROJECT/count; while [ ! -e PROJECT/go ]; do sleep .05; done; echo done > ${outputs.o}'
    outputs: {o: o.txt}
    sandbox: off
  quick: {run: 'echo x > ${outputs.o}', outputs: {o: o.txt}}
";

/// A project on a store, and the library that makes processes look like machines.
struct Cluster {
    space: TestSpace,
    shim: tempfile::TempDir,
    traits: &'static [&'static str],
}

impl Cluster {
    /// Every process is a machine of these traits.
    fn new(traits: &'static [&'static str]) -> Option<Cluster> {
        let shim = machines()?;
        let space = TestSpace::with_pipeline(SLOW);
        let project = space.project.display().to_string();
        let text = space.read("pipeline.yaml").replace("PROJECT", &project);
        space.write("pipeline.yaml", text);
        Some(Cluster {
            space,
            shim,
            traits,
        })
    }

    fn machine(&self, args: &[&str]) -> Command {
        let mut command = self.space.command(args);
        command.env("LD_PRELOAD", self.shim.path().join("machine.so"));
        command.envs(self.traits.iter().filter_map(|t| t.split_once('=')));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `slow` on a machine of its own. Gives the process and the working directory.
    fn start_slow(&self) -> (Child, PathBuf) {
        let child = self.machine(&["run", "slow"]).spawn().unwrap();
        let count = self.space.path("count");
        until("it has begun", || {
            fs::read(&count).is_ok_and(|text| text == b"x\n")
        });
        let tmp = self.space.store.join("tmp");
        let mut dirs = fs::read_dir(tmp).unwrap().map(|e| e.unwrap().path());
        let dir = dirs.find(|path| path.is_dir()).unwrap();
        assert!(dir.join("work").is_dir());
        (child, dir)
    }

    /// The lock files of whoever works.
    fn locks(&self, dir: &Path) -> Vec<PathBuf> {
        let files = |name: &str| self.space.store_files(name).into_iter();
        let beside = dir.with_file_name(format!(
            "{}.lock",
            dir.file_name().unwrap().to_str().unwrap()
        ));
        [beside]
            .into_iter()
            .chain(files("locks"))
            .chain(files("leases"))
            .collect()
    }

    fn runs_of_slow(&self) -> usize {
        self.space.read("count").lines().count()
    }
}

const LONG_AGO: Duration = Duration::from_secs(3600);

fn make_old(locks: &[PathBuf]) {
    assert_eq!(locks.len(), 3, "{locks:?}");
    for path in locks {
        let file = File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - LONG_AGO).unwrap();
    }
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A machine that works keeps its locks young: others wait for it, and sweep nothing of it.
#[test]
fn case_48_a_machine_that_works_loses_nothing_to_another() {
    let traits = &[
        "MACHINE_LOCKS=alone",
        "MACHINE_DISK=shared",
        "MACHINE_BOOT=other",
        "MACHINE_HASTE=1",
    ];
    let Some(cluster) = Cluster::new(traits) else {
        return;
    };
    let (slow, dir) = cluster.start_slow();
    let locks = cluster.locks(&dir);
    make_old(&locks);
    until("the locks are stamped again", || {
        locks.iter().all(|path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            modified > SystemTime::now() - LONG_AGO / 2
        })
    });
    let quick = wait(cluster.machine(&["run", "quick"]).spawn().unwrap());
    assert_eq!(quick.status.code(), Some(0));
    assert!(dir.join("work").is_dir(), "the other machine deleted it");
    let status = wait(cluster.machine(&["status", "--json"]).spawn().unwrap());
    let states: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let is_running = |s: &serde_json::Value| s["instance"] == "slow" && s["state"] == "running";
    assert!(states.as_array().unwrap().iter().any(is_running));

    let mut second = cluster.machine(&["run", "--json", "slow"]).spawn().unwrap();
    let said = BufReader::new(second.stdout.take().unwrap()).lines();
    let waits = format!("waiting: process {}", slow.id());
    let mut lines = said.map_while(Result::ok);
    assert!(lines.any(|line| line.contains(&waits)), "it did not wait");
    cluster.space.write("go", "");
    assert_eq!(wait(slow).status.code(), Some(0));
    lines.for_each(drop);
    assert_eq!(wait(second).status.code(), Some(0));
    assert_eq!(cluster.runs_of_slow(), 1);
    assert!(!dir.exists(), "its owner removes it");
}

/// A machine that died is believed dead after a long silence; on a disk of one's own at once.
#[test]
fn case_48_what_a_silent_machine_left_is_taken_over() {
    for traits in [
        &[
            "MACHINE_LOCKS=alone",
            "MACHINE_BOOT=other",
            "MACHINE_DISK=shared",
        ][..],
        &["MACHINE_LOCKS=alone", "MACHINE_BOOT=other"],
    ] {
        let Some(cluster) = Cluster::new(traits) else {
            return;
        };
        let (mut slow, dir) = cluster.start_slow();
        let locks = cluster.locks(&dir);
        slow.kill().unwrap();
        slow.wait().unwrap();
        let quick = wait(cluster.machine(&["run", "quick"]).spawn().unwrap());
        assert_eq!(quick.status.code(), Some(0));
        let is_shared = traits.contains(&"MACHINE_DISK=shared");
        assert_eq!(dir.exists(), is_shared, "{traits:?}");
        if is_shared {
            make_old(&locks);
        }
        cluster.space.write("go", "");
        let again = wait(cluster.machine(&["run", "slow"]).spawn().unwrap());
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert_eq!(again.status.code(), Some(0), "{said}");
        assert_eq!(cluster.runs_of_slow(), 2);
        assert!(!dir.exists(), "{traits:?}");
        assert!(cluster.space.store_files("locks").is_empty());
    }
}

/// `repro fsck` tries out the file system and says what follows.
#[test]
fn case_48_fsck_tells_what_the_file_system_can_do() {
    let space = TestSpace::with_pipeline(SLOW);
    let found = &space.json(&["fsck"])["file_system"];
    assert_eq!(found["locks"], "kept", "{found}");
    assert_eq!(found["renames_over"], true, "{found}");
    let text = space.ok(&["fsck"]);
    assert!(
        text.contains("locks: hold between processes of this machine"),
        "{text}"
    );
    assert!(space.store_files("tmp").is_empty());

    let traits = &["MACHINE_LOCKS=alone", "MACHINE_DISK=shared"];
    let Some(cluster) = Cluster::new(traits) else {
        return;
    };
    let told = cluster.space.run_command(cluster.machine(&["fsck"]));
    let text = told.expect(0, &["fsck"]).out;
    for part in [
        "NFS",
        "locks: are granted to everybody",
        "repro fsck --probe-lock",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Two machines find out together what a lock is worth between them.
#[test]
fn case_48_two_machines_try_a_lock() {
    for (traits, code, says) in [
        (
            &[
                "MACHINE_LOCKS=alone",
                "MACHINE_DISK=shared",
                "MACHINE_BOOT=other",
                "MACHINE_HASTE=1",
            ][..],
            5,
            "Locks do not hold between",
        ),
        (
            &["MACHINE_DISK=shared", "MACHINE_BOOT=other"],
            0,
            "Locks hold between",
        ),
        (&["MACHINE_DISK=shared"], 2, "run this on another machine"),
    ] {
        let Some(cluster) = Cluster::new(traits) else {
            return;
        };
        let mut first = cluster.machine(&["fsck", "--probe-lock"]).spawn().unwrap();
        let mut told = BufReader::new(first.stdout.take().unwrap()).lines();
        let told = told.next().unwrap().unwrap();
        assert!(told.contains("is held here"), "{told}");
        let second = cluster.machine(&["fsck", "--probe-lock"]);
        let told = cluster
            .space
            .run_command(second)
            .expect(code, &["fsck", "--probe-lock"]);
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(told.out.contains(says), "{}", told.out);
    }
}
