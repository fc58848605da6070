//! With programs that stand in for a batch system: what cannot be had of a real one at will.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{QUICK, files, local, project, record_executions, warnings};
use crate::support::lab::summary;
use crate::support::machines::{as_user, can_be_others, on_a_poor_file_system};
use crate::support::processes::kill_dead;
use crate::support::skipped::skipped;
use crate::support::{TestSpace, wait};

/// Runs elements at once, in the background. Files in its directory change its mind: `refuse` is
/// what it says to every submission, `largest` the number of elements that it takes; `starve` is
/// the memory (MiB) below which a job is ended for it, with the state in `starve.state`; `hang` are
/// seconds that it sleeps when it has submitted.
const SBATCH: &str = r#"#!/bin/sh
d=@DIR@
mem=0
for a; do case "$a" in
  --job-name=*) name=${a#*=};; --array=0-*) last=${a#--array=0-};;
  --output=*) log=${a#*=};; --mem=*M) mem=${a#--mem=}; mem=${mem%M};;
esac; done
if [ -e $d/refuse ]; then cat $d/refuse >&2; exit 1; fi
if [ -e $d/largest ] && [ $((last + 1)) -gt $(cat $d/largest) ]; then
  echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2; exit 1
fi
id=$(($(ls $d/jobs | wc -l) + 1)); j=$d/jobs/$id; mkdir $j || exit 1
cat > $j/script; echo $last > $j/last; echo "$@" > $j/said
cat $(cat $d/remote)/jobs/*/bundles/* >> $d/bundles 2> /dev/null
i=0
while [ $i -le $last ]; do
  if [ -e $d/starve ] && [ $mem -lt $(cat $d/starve) ]; then
    echo "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=$id.batch" > "${log%%%a*}$i${log##*%a}"
    cat $d/starve.state > $j/state.$i; echo 137 > $j/end.$i
    i=$((i + 1)); continue
  fi
  (SLURM_JOB_ID=$id SLURM_MEM_PER_NODE=$mem SLURM_ARRAY_TASK_ID=$i setsid sh $j/script > $j/out.$i 2>&1 < /dev/null; echo $? > $j/end.$i) > /dev/null 2>&1 &
  i=$((i + 1))
done
echo $name > $j/name
if [ -e $d/hang ]; then exec sleep $(cat $d/hang); fi
echo $id
"#;

/// `hang.squeue` are seconds that it sleeps; `mute` is what it says in the place of an answer; `state.N` of a job what it says of an element.
const SQUEUE: &str = r#"#!/bin/sh
d=@DIR@
if [ -e $d/hang.squeue ]; then exec sleep $(cat $d/hang.squeue); fi
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
        fs::write(dir.path().join("remote"), remote.path().to_str().unwrap()).unwrap();
        StandIn { dir, space, remote }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn say(&self, file: &str, text: &str) {
        fs::write(self.at(file), text).unwrap();
    }

    /// Instances that were ever submitted.
    fn submitted(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.at("bundles")).unwrap_or_default();
        let bundles = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut ids = BTreeSet::new();
        for bundle in bundles {
            for item in bundle.unwrap()["elements"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|e| e.as_array().unwrap())
            {
                ids.insert(item["id"].as_str().unwrap().to_owned());
            }
        }
        ids
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

/// A remote that nothing can be written to is told at once, and nothing is waited for.
#[test]
fn a_remote_that_refuses_is_told() {
    let cluster = StandIn::new("");
    // Where directories are to be made; it is refused to root as well.
    fs::write(cluster.remote.path().join("jobs"), "a file").unwrap();
    let said = cluster
        .space
        .run(&["run", "--on", "lab"])
        .expect(5, &["run"]);
    assert!(
        said.err
            .contains("`lab` sends through the remote `dir`, which cannot be written to"),
        "{}",
        said.err
    );
    assert_eq!(cluster.jobs(), Vec::<u32>::new());
    fs::remove_file(cluster.remote.path().join("jobs")).unwrap();
    cluster.space.ok(&["run", "--on", "lab"]);
    assert_eq!(files(cluster.remote.path()), 0);
}

/// Types Ctrl-C on a terminal of its own each time a pattern comes; says how the program ended, and
/// how many patterns did not come.
const CTRL_C: &str = r#"
import os, pty, re, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
said = b""
words = sys.argv[1].encode().split(b" then ")
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    said += more
    if words and re.search(words[0], said):
        said = re.split(words.pop(0), said, maxsplit=1)[-1]
        os.write(terminal, b"\x03")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(words))
"#;

/// Whoever presses Ctrl-C once more at the question leaves the jobs.
#[test]
fn ctrl_c_answers_the_question() {
    let cluster = StandIn::new("");
    let repro = cluster
        .space
        .command(&["run", "--on", "lab", "--set", "wait=20"]);
    let mut python = Command::new("python3");
    python
        .args(["-c", CTRL_C, r"\] (?:on|first) then \[y/N\]"])
        .arg(repro.get_program())
        .args(repro.get_args())
        .current_dir(repro.get_current_dir().unwrap())
        .env_clear();
    python.envs(
        repro
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let Ok(done) = python.output() else {
        return skipped("python3 is not installed");
    };
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).trim(),
        "130 0",
        "{done:?}"
    );
    assert!(cluster.space.exists(".repro/cluster/lab/campaign"));
    // What is listed is what is cancelled.
    let listed = cluster.space.ok(&["jobs"]).lines().count();
    assert!(listed > 1);
    let cancelled = cluster.space.ok(&["cancel"]);
    assert_eq!(cancelled, format!("{listed} jobs cancelled\n"));
}

/// `repro cancel` may be done before the run looks: that the campaign is gone ends it, too.
#[test]
fn a_run_whose_campaign_is_gone_ends() {
    let cluster = StandIn::new("");
    let mut run = cluster
        .space
        .command(&["run", "--on", "lab", "--set", "wait=20"]);
    let mut run = run
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !cluster.at("jobs").read_dir().unwrap().any(|job| {
        job.is_ok_and(|job| job.file_name() != "1" && job.path().join("script").exists())
    }) {
        assert!(run.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The run may be writing there.
    while let Err(e) = fs::remove_dir_all(cluster.space.path(".repro/cluster/lab")) {
        assert_eq!(e.kind(), std::io::ErrorKind::DirectoryNotEmpty);
    }
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(cluster.space.ok(&["jobs"]), "no jobs\n");
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

/// Programs that hang keep nobody from hearing results; what a submission did that did not answer is
/// seen by its name.
#[test]
fn programs_that_hang_are_no_news() {
    let cluster = StandIn::new("");
    cluster.say("hang.squeue", "20");
    let (code, events) = cluster.space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(summary(&events)["executed"], 26);
    assert_eq!(warnings(&events), Vec::<&str>::new());

    let cluster = StandIn::new("");
    cluster.space.edit(
        "repro.executors.toml",
        "poll = {",
        "poll = {patience = \"2s\", ",
    );
    cluster.say("hang", "20");
    let (code, events) = cluster.space.events(&["--on", "lab", "--set", "n=1"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(summary(&events)["executed"], 4);
    assert_eq!(files(cluster.remote.path()), 0);
}

/// Too little memory is told in words, and tried with more where that is allowed: whether the state
/// says so or only the log of the job.
#[test]
fn a_job_that_is_ended_for_its_memory_gets_more() {
    for state in ["OUT_OF_MEMORY", "FAILED"] {
        let with = |retry: &str| {
            let more = format!("defaults = {{memory = \"100MiB\"}}\n{retry}");
            let cluster = StandIn::new(&more);
            cluster.say("starve", "300");
            cluster.say("starve.state", state);
            cluster
        };
        let cluster = with("retry = {times = 2}\n");
        let (code, events) = cluster.space.events(&["--on", "lab", "--set", "n=2"]);
        assert_eq!(code, 0, "{events:#?}");
        let told = warnings(&events);
        let has = |text: &str| told.iter().any(|w| w.contains(text));
        let words = "MiB of memory: its job used more memory than it asked for";
        assert!(
            has(&format!("submitted again with 200.0 {words}")),
            "{told:?}"
        );
        assert!(
            has(&format!("submitted again with 400.0 {words}")),
            "{told:?}"
        );

        let cluster = with("");
        let run = cluster.space.run(&["run", "--on", "lab"]);
        let said = run.expect(1, &["run"]).err;
        assert!(
            said.contains("its job used more memory than it asked for"),
            "{said}"
        );
        assert!(
            said.contains("allow more with `retry` of the executor"),
            "{said}"
        );
    }
}

/// A stage that needs more than it declares is executed with more as well: its own limit grows with
/// that of its job. One whose job's memory is not declared at all is told to declare it.
#[test]
fn a_stage_that_lacks_memory_gets_more() {
    let cluster = StandIn::new("retry = {times = 1, memory = 8.0}\n");
    let hungry = "    resources: {memory: 40MiB}\n    run: \"python3 -c \\\"len(b'x' * (100 << 20))\\\" && cat";
    cluster.space.edit(
        "pipeline.yaml",
        "    run: \"cat ${needs.words}",
        &format!("{hungry} ${{needs.words}}"),
    );
    let (code, events) = cluster.space.events(&["--on", "lab", "--set", "n=1"]);
    assert_eq!(code, 0, "{events:#?}");
    let told = warnings(&events);
    assert!(
        told.len() == 1 && told[0].contains("with 320.0 MiB of memory"),
        "{told:?}"
    );
}

/// The kernel kills a command when the memory of its job is used up: that is no fault of the stage.
#[test]
fn a_command_that_the_kernel_killed_for_memory_is_executed_with_more() {
    let groups = Path::new("/sys/fs/cgroup/memory");
    let name = format!("repro-test-{}", std::process::id());
    if fs::create_dir(groups.join(&name)).is_err() {
        return skipped(
            "there is no control group for memory that could be used (version 1, root)",
        );
    }
    let group = groups.join(&name).display().to_string();
    let prelude = format!(
        "mkdir -p {group}/$SLURM_JOB_ID && echo ${{SLURM_MEM_PER_NODE}}M > {group}/$SLURM_JOB_ID/memory.limit_in_bytes && echo $$ > {group}/$SLURM_JOB_ID/cgroup.procs"
    );
    let cluster = StandIn::new(&format!(
        "defaults = {{memory = \"128MiB\"}}\nretry = {{times = 1, memory = 4.0}}\nprelude = \"{prelude}\"\n"
    ));
    let hungry = "    run: \"python3 -c \\\"len(b'x' * (200 << 20))\\\" && cat";
    cluster.space.edit(
        "pipeline.yaml",
        "    run: \"cat ${needs.words}",
        &format!("{hungry} ${{needs.words}}"),
    );
    let (code, events) = cluster.space.events(&["--on", "lab", "--set", "n=1"]);
    for job in fs::read_dir(&group).unwrap().flatten() {
        let _ = fs::remove_dir(job.path());
    }
    let _ = fs::remove_dir(&group);
    assert_eq!(code, 0, "{events:#?}");
    let told = warnings(&events);
    assert!(
        told.len() == 1
            && told[0].contains("with 512.0 MiB of memory")
            && told[0].contains("the kernel killed a process"),
        "{told:?}"
    );
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
    // The node's directory is gone with its job.
    assert!(!said.err.contains("directory is kept"), "{}", said.err);
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
    record_executions(&cluster.space, &count);
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
    let begun = counted.lines().filter_map(|l| l.strip_prefix("begin "));
    let mut counted: Vec<u32> = begun.map(|l| l.parse().unwrap()).collect();
    counted.sort_unstable();
    assert_eq!(counted, (0..12).collect::<Vec<_>>(), "after {kills} kills");
    assert_eq!(files(cluster.remote.path()), 0);
    assert_eq!(cluster.space.executed(&[]), Vec::<String>::new());
}

/// A stage says where it belongs: there, or here. With `--on here` everything is executed here, also
/// where there is no cluster.
#[test]
fn a_stage_says_where_it_is_executed() {
    let cluster = StandIn::new("");
    let (lock, _) = local(&cluster.space, &[]);
    cluster.space.edit(
        "pipeline.yaml",
        "  second:\n",
        "  second:\n    executor: lab\n",
    );
    let (code, events) = cluster.space.events(&[]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(cluster.space.read("repro.lock"), lock, "it is in no key");
    let sent = cluster.submitted();
    assert!(
        sent.iter().all(|id| id.starts_with("second")) && sent.len() == 12,
        "{sent:?}"
    );

    let cluster = StandIn::new("");
    cluster.space.edit(
        "pipeline.yaml",
        "  table:\n",
        "  table:\n    executor: here\n",
    );
    let args = ["--on", "lab", "--set", "n=2"];
    let planned = [&["run", "-n"][..], &args].concat();
    let planned = cluster.space.run(&planned).expect(0, &planned).err;
    let last = planned.lines().last();
    assert_eq!(last, Some("5 of these would be submitted to `lab`"));
    let (code, events) = cluster.space.events(&args);
    assert_eq!(code, 0, "{events:#?}");
    let sent = cluster.submitted();
    assert!(sent.len() == 5 && !sent.contains("table"), "{sent:?}");

    cluster
        .space
        .edit("pipeline.yaml", "executor: here", "executor: nowhere");
    cluster.space.edit("words.txt", "some", "other");
    for args in [&["run", "--set", "n=2"][..], &["run", "-n", "--set", "n=2"]] {
        let said = cluster.space.run(args).expect(2, args).err;
        assert!(
            said.contains("the stage `table` has `executor: nowhere`: no executor is called"),
            "{said}"
        );
    }
    let (code, events) = cluster.space.events(&["--on", "here", "--set", "n=2"]);
    assert_eq!((code, cluster.submitted().len()), (0, 5), "{events:#?}");
}

/// Two projects with one store do work that is in flight once: the second takes the result of what
/// the first has on a node.
#[test]
fn two_clones_share_work_in_flight() {
    let cluster = StandIn::new("");
    let count = cluster.at("count");
    record_executions(&cluster.space, &count);
    let go = cluster.at("go");
    fs::write(&go, "").unwrap();
    let script = cluster.space.read("tool.sh").replace(
        "cat; ",
        &format!("while [ -e {} ]; do sleep 0.1; done; cat; ", go.display()),
    );
    cluster.space.write("tool.sh", script);
    let clone = cluster.space.other_project("clone");
    for file in ["pipeline.yaml", "words.txt", "tool.sh"] {
        fs::copy(cluster.space.path(file), clone.join(file)).unwrap();
    }
    let args = ["run", "--set", "n=2"];
    let first = cluster.space.start(&[&args[..], &["--on", "lab"]].concat());
    let running = || {
        let states = cluster.space.json(&["status", "--set", "n=2"]);
        let states = states.as_array().unwrap().clone();
        states.iter().filter(|s| s["state"] == "running").count()
    };
    while running() < 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut second = cluster.space.command(&args);
    let second = second
        .current_dir(&clone)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    fs::remove_file(&go).unwrap();
    for run in [first, second] {
        let output = wait(run);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let counted = fs::read_to_string(&count).unwrap();
    assert_eq!(counted.matches("begin").count(), 2, "{counted}");
}

/// Two runs in one project at once, on different targets: each keeps what the other wrote.
#[test]
fn case_12_runs_on_different_targets_keep_each_others_results() {
    let cluster = StandIn::new("");
    let both = ["second[i=0]", "second[i=1]"].map(|target| {
        let args = ["run", "--on", "lab", "--set", "n=2", target];
        let mut run = cluster.space.command(&args);
        run.stderr(Stdio::piped()).spawn().unwrap()
    });
    for run in both {
        let output = wait(run);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let lock = cluster.space.read("repro.lock");
    assert!(
        lock.contains("second[i=0]") && lock.contains("second[i=1]"),
        "{lock}"
    );
    let executed = cluster.space.executed(&["--set", "n=2"]);
    assert_eq!(executed, ["table"]);
}

/// A stage gets the processors it asks for, and its libraries hear of them; an element has no more
/// than its job.
#[test]
fn case_24_resources_are_those_of_the_job() {
    let cluster = StandIn::new("defaults = {memory = \"300MiB\"}\n");
    cluster.space.edit(
        "pipeline.yaml",
        "    run: \"cat ${needs.words} >",
        "    resources: {cpus: 2}\n    run: \"echo $OMP_NUM_THREADS; cat ${needs.words} >",
    );
    let (code, events) = cluster
        .space
        .events(&["--on", "lab", "--set", "n=1", "base"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(cluster.space.ok(&["logs", "base"]), "2\n");
    let script = fs::read_to_string(cluster.at("jobs/1/said")).unwrap();
    assert!(
        script.contains("--cpus-per-task=2") && script.contains("--mem=300M"),
        "{script}"
    );
}

/// Submitter, shared directory and nodes on a file system without second names, locks and modes.
#[test]
fn case_32_a_cluster_whose_file_system_can_little() {
    let cluster = StandIn::new("");
    let args = ["run", "--on", "lab", "--set", "n=3"];
    let Some(said) = on_a_poor_file_system(&cluster.space, &args) else {
        return;
    };
    said.expect(0, &args);
    let (lock, table) = local(&cluster.space, &["--set", "n=3"]);
    assert_eq!(cluster.space.read("repro.lock"), lock);
    assert_eq!(cluster.space.read("artifacts/table/table.txt"), table);
}

/// Two users of one group send to one shared directory, with the umask that everybody has.
#[test]
fn case_33_a_group_shares_the_directory_of_a_cluster() {
    use std::os::unix::fs::chown;
    if !can_be_others() {
        return;
    }
    let group = 4000;
    let cluster = StandIn::new("");
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // What `remote add` tried is in it already.
    let own = cluster.remote.path();
    let inside = fs::read_dir(own).unwrap().map(|e| e.unwrap().path());
    for dir in inside.chain([own.to_owned()]) {
        chown(&dir, Some(0), Some(group)).unwrap();
        open(&dir, 0o2775);
    }
    for path in ["", "jobs"] {
        open(&cluster.at(path), 0o777);
    }
    for (user, n) in [(4001, "n=2"), (4002, "n=3"), (4001, "n=4")] {
        let home = cluster.at(&format!("user-{user}"));
        fs::create_dir_all(&home).unwrap();
        for file in [
            "pipeline.yaml",
            "words.txt",
            "tool.sh",
            "repro.executors.toml",
            "repro.remotes.toml",
        ] {
            fs::write(home.join(file), cluster.space.read(file)).unwrap();
        }
        chown(&home, Some(user), Some(group)).unwrap();
        let plain = cluster.space.command(&[]);
        let mut command = as_user((user, group), plain.get_program());
        command.args(["run", "--on", "lab", "--set", n]);
        command.current_dir(&home).env_clear();
        let path = plain.get_envs().find(|(name, _)| *name == "PATH");
        command.env("PATH", path.and_then(|(_, value)| value).unwrap());
        command
            .env("HOME", &home)
            .env("REPRO_STORE", home.join("store"));
        let said = cluster.space.run_command(command).expect(0, &[n]);
        assert!(!said.err.contains("enied"), "{user}: {}", said.err);
    }
}
