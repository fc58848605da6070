//! With programs that stand in for a batch system: what cannot be had of a real one at will.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::{QUICK, files, local, project, warnings};
use crate::support::TestSpace;
use crate::support::lab::summary;
use crate::support::processes::kill_dead;

/// Runs elements at once, in the background. Files in its directory change its mind: `refuse` is
/// what it says to every submission, `largest` the number of elements that it takes.
const SBATCH: &str = r#"#!/bin/sh
d=@DIR@
for a; do case "$a" in --job-name=*) name=${a#*=};; --array=0-*) last=${a#--array=0-};; esac; done
if [ -e $d/refuse ]; then cat $d/refuse >&2; exit 1; fi
if [ -e $d/largest ] && [ $((last + 1)) -gt $(cat $d/largest) ]; then
  echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1
fi
id=$(($(ls $d/jobs | wc -l) + 1)); j=$d/jobs/$id; mkdir $j || exit 1
cat > $j/script; echo $last > $j/last
i=0
while [ $i -le $last ]; do
  (SLURM_ARRAY_TASK_ID=$i setsid sh $j/script > $j/out.$i 2>&1 < /dev/null; echo $? > $j/end.$i) > /dev/null 2>&1 &
  i=$((i + 1))
done
echo $name > $j/name
echo $id
"#;

/// `mute` is what it says in the place of an answer; `state.N` of a job what it says of an element.
const SQUEUE: &str = r#"#!/bin/sh
d=@DIR@
if [ -e $d/mute ]; then cat $d/mute; exit $(cat $d/mute.code); fi
for j in $d/jobs/*; do
  [ -e $j/name ] || continue
  i=0
  while [ $i -le $(cat $j/last) ]; do
    s=RUNNING
    if [ -e $j/end.$i ]; then if [ "$(cat $j/end.$i)" = 0 ]; then s=COMPLETED; else s=FAILED; fi; fi
    if [ -e $j/state.$i ]; then s=$(cat $j/state.$i); fi
    echo "$(cat $j/name)|${j##*/}|$i|$s|None|here"
    i=$((i + 1))
  done
done
"#;

const SCANCEL: &str = r#"#!/bin/sh
j=@DIR@/jobs/$1
[ -e $j/last ] || exit 1
i=0
while [ $i -le $(cat $j/last) ]; do
  [ -e $j/end.$i ] || { echo CANCELLED > $j/state.$i; pkill -9 -f "@DIR@/jobs/$1/script" ; }
  i=$((i + 1))
done
"#;

struct StandIn {
    dir: tempfile::TempDir,
    space: TestSpace,
    remote: tempfile::TempDir,
}

impl StandIn {
    fn new(more: &str) -> StandIn {
        let dir = tempfile::Builder::new()
            .prefix("stand-in-")
            .tempdir()
            .unwrap();
        fs::create_dir(dir.path().join("jobs")).unwrap();
        for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)] {
            let path = dir.path().join(name);
            fs::write(&path, text.replace("@DIR@", dir.path().to_str().unwrap())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let executor =
            format!("[lab]\nkind = \"slurm\"\nremote = \"dir\"\nwidth = 4\n{QUICK}{more}\n");
        let (mut space, remote) = project(&executor);
        let path = std::env::var("PATH").unwrap();
        space.set_env("PATH", format!("{}:{path}", dir.path().display()));
        StandIn { dir, space, remote }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn say(&self, file: &str, text: &str) {
        fs::write(self.at(file), text).unwrap();
    }

    /// How many elements each job has.
    fn jobs(&self) -> Vec<u32> {
        let mut jobs: Vec<PathBuf> = fs::read_dir(self.at("jobs"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        jobs.sort();
        let last = |job: &Path| {
            fs::read_to_string(job.join("last"))
                .unwrap()
                .trim()
                .parse::<u32>()
                .unwrap()
        };
        jobs.iter().map(|job| last(job) + 1).collect()
    }
}

/// Limits of a site: arrays become smaller, and nothing fails.
#[test]
fn arrays_that_are_too_large_are_cut() {
    let cluster = StandIn::new("");
    cluster.say("largest", "3");
    let (lock, _) = local(&cluster.space, &[]);
    let (code, events) = cluster.space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(cluster.space.read("repro.lock"), lock);
    let jobs = cluster.jobs();
    assert!(
        jobs.iter().all(|n| *n <= 3) && jobs.iter().sum::<u32>() == 6,
        "{jobs:?}"
    );
    assert_eq!(warnings(&events), Vec::<&str>::new());
    assert_eq!(files(cluster.remote.path()), 0);
}

/// A site that takes nothing more for now is waited for; one that says no is believed.
#[test]
fn a_busy_site_is_waited_for_and_a_refusal_is_told() {
    let cluster = StandIn::new("");
    cluster.say("refuse", "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n");
    let mut run = cluster.space.command(&["run", "--json", "--on", "lab"]);
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    for line in BufReader::new(run.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("takes no more jobs for now") {
            fs::remove_file(cluster.at("refuse")).unwrap();
        }
        told += &line;
    }
    assert!(run.wait().unwrap().success(), "{told}");
    assert_eq!(
        told.matches("takes no more jobs for now").count(),
        1,
        "{told}"
    );
    assert!(told.contains("AssocMaxSubmitJobLimit"));
    cluster.say("refuse", "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n");
    cluster.space.edit("words.txt", "words", "other words");
    let said = cluster
        .space
        .run(&["run", "--on", "lab"])
        .expect(1, &["run"]);
    assert!(
        said.err.contains("cannot be submitted to `lab`") && said.err.contains("Invalid account"),
        "{}",
        said.err
    );
    assert!(said.err.contains("repro.executors.toml"), "{}", said.err);
}

/// Answers that are none decide nothing: what was executed is told by itself.
#[test]
fn garbage_is_no_news() {
    for (mute, code) in [
        (
            "slurm_load_jobs error: Socket timed out on send/recv operation\n",
            "1",
        ),
        ("repro|1|0|RUN", "0"),
    ] {
        let cluster = StandIn::new("");
        cluster.say("mute", mute);
        cluster.say("mute.code", code);
        let (code, events) = cluster.space.events(&["--on", "lab"]);
        assert_eq!(code, 0, "{events:#?}");
        assert_eq!(summary(&events)["executed"], 26);
        assert_eq!(warnings(&events), Vec::<&str>::new());
    }
}

/// A failure is told with its log, and what does not need it goes on.
#[test]
fn a_stage_that_fails_there_fails_here() {
    let cluster = StandIn::new("");
    cluster.space.write(
        "tool.sh",
        "cat; if [ $1 = 5 ]; then echo no good >&2; exit 3; fi\n",
    );
    let said = cluster
        .space
        .run(&["run", "--on", "lab", "--keep-going"])
        .expect(1, &["run"]);
    assert!(
        said.err.contains("first[i=5]") && said.err.contains("no good"),
        "{}",
        said.err
    );
    assert!(
        cluster
            .space
            .ok(&["logs", "first[i=5]"])
            .contains("no good")
    );
    let states = cluster.space.json(&["status"]);
    let cached = states
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["state"] == "cached")
        .count();
    assert_eq!(cached, 1 + 2 * 11);
    assert_eq!(files(cluster.remote.path()), 0);
}

/// Killed at any moment, the submitter leaves jobs that the next run takes up: everything is
/// executed once.
#[test]
fn a_submitter_that_is_killed_loses_nothing_and_repeats_nothing() {
    let cluster = StandIn::new("");
    let count = cluster.at("count");
    let script = format!("echo $1 >> {}; cat\n", count.display());
    cluster.space.write("tool.sh", script);
    cluster.space.edit(
        "pipeline.yaml",
        "    matrix: {i: {range: [0, \"${vars.n}\"]}}\n    needs: {base",
        "    sandbox: off\n    matrix: {i: {range: [0, \"${vars.n}\"]}}\n    needs: {base",
    );
    let mut millis = 40;
    let mut kills = 0;
    loop {
        let mut run = cluster.space.start(&["run", "--on", "lab"]);
        std::thread::sleep(Duration::from_millis(millis));
        if let Ok(Some(status)) = run.try_wait() {
            assert!(status.success());
            break;
        }
        kill_dead(&mut run);
        kills += 1;
        millis += 150;
    }
    assert!(kills > 5, "{kills}");
    let counted = fs::read_to_string(&count).unwrap();
    let mut counted: Vec<u32> = counted.lines().map(|l| l.parse().unwrap()).collect();
    counted.sort_unstable();
    assert_eq!(counted, (0..12).collect::<Vec<_>>(), "after {kills} kills");
    assert_eq!(files(cluster.remote.path()), 0);
    assert_eq!(cluster.space.executed(&[]), Vec::<String>::new());
}
