//! With a real Slurm.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use super::{QUICK, files, local, project, warnings};
use crate::support::lab::summary;
use crate::support::nvml::library;
use crate::support::servers::s3::{ACCESS_KEY, S3, SECRET_KEY};
use crate::support::servers::slurm::{Slurm, TINY};
use crate::support::skipped::skipped;
use crate::support::{TestSpace, wait};

/// A cluster; `None`, told, where there can be none.
pub fn slurm(more: &str) -> Option<Slurm> {
    match Slurm::start(more) {
        Ok(slurm) => Some(slurm),
        Err(why) => {
            skipped(why);
            None
        }
    }
}

/// A project whose executor `lab` is that cluster.
pub fn on(slurm: &Slurm, more: &str) -> (TestSpace, tempfile::TempDir) {
    let executor = format!("[lab]\nkind = \"slurm\"\nremote = \"dir\"\n{QUICK}{more}\n");
    let (mut space, remote) = project(&executor);
    space.set_env("SLURM_CONF", slurm.conf());
    (space, remote)
}

/// Nothing is left of a study anywhere.
#[track_caller]
pub fn is_clean(slurm: &Slurm, space: &TestSpace, remote: &Path) {
    assert!(
        slurm.jobs().iter().all(|j| j.contains("COMPLET")),
        "{:?}",
        slurm.jobs()
    );
    assert_eq!(files(remote), 0, "something is left on the remote");
    assert!(!space.exists(".repro/cluster/lab/campaign"));
}

/// With limits that bite, everything is executed there once, and the lock file is that of a local
/// run.
#[test]
fn a_study_on_slurm_has_the_lock_file_of_a_local_run() {
    let Some(slurm) = slurm(TINY) else { return };
    let (space, remote) = on(&slurm, "");
    let (lock, table) = local(&space, &[]);
    let (code, events) = space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    let sum = summary(&events);
    assert_eq!(
        (sum["executed"].as_u64(), sum["failed"].as_u64()),
        (Some(26), Some(0)),
        "{events:#?}"
    );
    assert_eq!(warnings(&events), Vec::<&str>::new());
    assert_eq!(space.read("repro.lock"), lock);
    assert_eq!(space.read("artifacts/table/table.txt"), table);
    assert!(space.ok(&["logs", "first[i=3]"]).contains("first 3"));
    is_clean(&slurm, &space, remote.path());
    // Everything is here now, and nothing is asked of the cluster.
    assert_eq!(space.executed(&["--on", "lab"]), Vec::<String>::new());
    assert_eq!(space.executed(&[]), Vec::<String>::new());
    assert_eq!(space.ok(&["jobs"]), "no jobs\n");
}

/// Jobs are requeued, cancelled and lost with their node, and the controller dies: everything gets
/// its result, and the lock file is that of a local run.
#[test]
fn whatever_becomes_of_jobs_the_study_is_finished() {
    let Some(mut slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    let few = ["--set", "n=6"];
    let (lock, _) = local(&space, &few);
    let run = space.command(&[
        "run", "--json", "--on", "lab", "--set", "n=6", "--set", "wait=8",
    ]);
    let mut run = run;
    let run = run
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    slurm.wait_for("six elements", |slurm| {
        slurm
            .jobs()
            .iter()
            .filter(|j| j.contains("RUNNING"))
            .count()
            == 6
    });
    let job = slurm.jobs()[0].split('_').next().unwrap().to_owned();
    slurm.call(&["scontrol", "requeue", &format!("{job}_0")]);
    slurm.call(&["scancel", &format!("{job}_1")]);
    // Else Slurm waits for two minutes with what is requeued.
    slurm.wait_for("the requeued element", |slurm| {
        slurm.jobs().iter().any(|j| j.contains("_0 PENDING"))
    });
    slurm.call(&[
        "scontrol",
        "update",
        &format!("jobid={job}_0"),
        "starttime=now",
    ]);
    slurm.wait_for_state();
    slurm.kill_controller();
    slurm.start_controller();
    slurm.lose_node(1);
    let output = wait(run);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{out}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(out.contains("its job was cancelled by somebody"), "{out}");
    // The pause is in the script, and so in the keys.
    assert_ne!(space.read("repro.lock"), lock);
    let last = out.lines().last().unwrap();
    assert!(
        last.contains("\"executed\":14") && last.contains("\"failed\":0"),
        "{last}"
    );
    is_clean(&slurm, &space, remote.path());
}

/// Two runs of one study at once: the second waits, and then there is nothing left to do.
#[test]
fn two_submitters_do_the_work_once() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    let both = [(), ()].map(|()| {
        let mut run = space.command(&["run", "--json", "--on", "lab", "--set", "wait=1"]);
        run.stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut finished = 0;
    for run in both {
        let output = wait(run);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{out}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        finished += out.matches("\"event\":\"finished\"").count();
    }
    assert_eq!(finished, 26);
    is_clean(&slurm, &space, remote.path());
}

/// Bytes travel through a bucket, and a node sees nothing of the project.
#[test]
fn a_bucket_is_all_that_nodes_need() {
    let Some(slurm) = slurm("") else { return };
    let server = S3::start(&["lab"]);
    let (mut space, _remote) = on(&slurm, "");
    space.set_env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    space.set_env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    space.ok(&[
        "remote",
        "add",
        "s3",
        "s3://lab",
        "--endpoint",
        &server.endpoint,
    ]);
    space.edit("repro.executors.toml", "\"dir\"", "\"s3\"");
    // The directory of the project is empty for jobs.
    let project = space.project.display();
    let hide = format!(
        "prelude = \"[ -n \\\"$HIDDEN\\\" ] || HIDDEN=1 exec unshare -m sh -c 'mount -t tmpfs none {project} && exec sh $0' \\\"$0\\\"\"\n"
    );
    let text = space.read("repro.executors.toml");
    fs::write(space.path("repro.executors.toml"), text + &hide).unwrap();
    let (lock, _) = local(&space, &["--set", "n=2"]);
    let (code, events) = space.events(&["--on", "lab", "--set", "n=2"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(summary(&events)["executed"], 6);
    assert_eq!(space.read("repro.lock"), lock);
    assert_eq!(files(&server.bucket_dir("lab")), 0);
}

/// A preempted job is begun anew, and what its signals did to a command is no failure of that.
#[test]
fn a_preempted_job_is_no_failure() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    let args = [
        "run", "--json", "--on", "lab", "--set", "n=2", "--set", "wait=5",
    ];
    let mut run = space.command(&args);
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    let (mut told, mut is_preempted) = (String::new(), false);
    for line in BufReader::new(run.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let begins = line.contains("first[i=0]") && line.contains("\"on ");
        if begins && !std::mem::replace(&mut is_preempted, true) {
            let urgent = [
                "-p",
                "urgent",
                "-N2",
                "--exclusive",
                "-o",
                "/dev/null",
                "--wrap",
                "true",
            ];
            slurm.call(&[&["sbatch"][..], &urgent].concat());
            slurm.wait_for("both to be requeued", |slurm| {
                slurm
                    .jobs()
                    .iter()
                    .filter(|j| j.contains("PENDING"))
                    .count()
                    == 2
            });
            for job in slurm.jobs() {
                // Else Slurm waits for two minutes with what is requeued.
                let job = job.split(' ').next().unwrap();
                slurm.call(&[
                    "scontrol",
                    "update",
                    &format!("jobid={job}"),
                    "starttime=now",
                ]);
            }
        }
        told += &(line + "\n");
    }
    assert!(run.wait().unwrap().success() && is_preempted, "{told}");
    assert!(told.contains("\"executed\":6"), "{told}");
    is_clean(&slurm, &space, remote.path());
}

/// A node on which every job fails at once is left out, before it has drawn all jobs to itself.
#[test]
fn a_bad_node_is_left_out() {
    let Some(slurm) = slurm("") else { return };
    let prelude = "prelude = \"[ \\\"$SLURMD_NODENAME\\\" != n1 ] || exit 1\"\n";
    let (space, remote) = on(&slurm, prelude);
    let (lock, _) = local(&space, &[]);
    let (code, events) = space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(space.read("repro.lock"), lock);
    let told = warnings(&events);
    let left_out = told
        .iter()
        .filter(|w| w.contains("fail on the node n1: it is left out"));
    assert_eq!(left_out.count(), 1, "{told:?}");
    let (_, _) = (slurm, remote);
}

/// A job that asks for more than any node has is told, since it would wait for ever.
#[test]
fn what_no_node_has_is_told() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    space.edit(
        "pipeline.yaml",
        "    needs: {words",
        "    resources: {cpus: 500}\n    needs: {words",
    );
    let mut run = space.command(&["run", "--on", "lab"]);
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    for line in BufReader::new(run.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("takes its job as it is (PartitionConfig)") {
            space.ok(&["cancel"]);
        }
        told += &line;
    }
    assert_eq!(run.wait().unwrap().code(), Some(130), "{told}");
    assert!(told.contains("look at `resources` of its stage"), "{told}");
    assert!(
        told.contains("`repro cancel` ends the jobs of this run"),
        "{told}"
    );
    assert!(!told.contains("go on"), "{told}");
    let (_, _) = (slurm, remote);
}

/// Nobody waits: jobs that are chained behind the others take results and submit what follows.
#[test]
fn a_run_that_is_detached_is_finished_by_jobs() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    // Long enough that the run leaves before they end, on a fast machine too.
    let args = ["--set", "n=3", "--set", "wait=5"];
    let (lock, table) = local(&space, &args);
    let said = space.run(&[&["run", "--on", "lab", "--detach"][..], &args].concat());
    let said = said.expect(0, &["run"]).err;
    assert!(said.contains("takes their results and goes on"), "{said}");
    assert!(!said.contains("interrupted"), "{said}");
    let status = space.ok(&["status", "--set", "n=3", "--set", "wait=5"]);
    assert!(
        status.contains("submitted to `lab` (`repro jobs`)"),
        "{status}"
    );
    assert!(
        space
            .ok(&["jobs"])
            .contains("it takes the results of the others")
    );
    slurm.wait_for("the end of the study", |_| {
        space.exists("artifacts/table/table.txt")
    });
    slurm.wait_for("the end of all jobs", |slurm| slurm.jobs().is_empty());
    let status = space.ok(&["status", "--set", "n=3", "--set", "wait=5"]);
    assert!(!status.contains("submitted"), "{status}");
    assert_eq!(space.read("artifacts/table/table.txt"), table);
    assert_eq!(space.read("repro.lock"), lock);
    assert_eq!(space.executed(&args), Vec::<String>::new());
    is_clean(&slurm, &space, remote.path());
}

/// What runs on a node looks as if it ran here: its state, its log while it is written, and its use
/// of resources afterwards.
#[test]
fn what_runs_there_is_seen_here() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    space.write("go", "");
    let go = space.path("go");
    let script = format!(
        "echo it has begun >&2; while [ -e {} ]; do sleep 0.1; done; echo it goes on >&2; cat\n",
        go.display()
    );
    space.write("tool.sh", script);
    space.edit(
        "pipeline.yaml",
        "    needs: {base",
        "    sandbox: off\n    needs: {base",
    );
    let args = ["--set", "n=1"];
    let run = space.start(&[&["run", "--on", "lab"][..], &args].concat());
    let state = || {
        let states = space.json(&[&["status"][..], &args].concat());
        let all = states.as_array().unwrap().clone();
        let first = all.iter().find(|s| s["instance"] == "first[i=0]");
        first.unwrap()["state"].as_str().unwrap().to_owned()
    };
    slurm.wait_for("a stage that runs", |_| state() == "running");
    let follow = [&["logs", "-f", "first[i=0]"][..], &args].concat();
    let mut follow = space.command(&follow);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        if line.unwrap().contains("it has begun") {
            break;
        }
    }
    space.remove("go");
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert!(rest.iter().any(|l| l.contains("it goes on")), "{rest:?}");
    assert!(follow.wait().unwrap().success());
    assert!(wait(run).status.success());
    assert_eq!(state(), "cached");
    let shown = space.json(&[&["show", "first[i=0]"][..], &args].concat());
    let text = shown.to_string();
    assert!(
        text.contains("\"wall_s\"") && text.contains("\"max_rss_bytes\""),
        "{text}"
    );
    is_clean(&slurm, &space, remote.path());
}

/// A training on a node moves its bar here, and what it used is told and kept: seconds, memory,
/// energy.
#[test]
fn a_training_there_shows_how_far_it_is_and_what_it_used() {
    let Some(slurm) = slurm("") else { return };
    let (mut space, remote) = on(&slurm, "");
    space.set_env("REPRO_WATTS_PER_CORE", "7");
    space.write(
        "pipeline.yaml",
        "version: 1
stages:
  data: {uses: download, with: {dataset: shapes, train_limit: 2000}}
  fit:
    uses: train
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [50]}}
      seed: 1
      length: {epochs: 30}
      batch_size: 32
      optimizer: {sgd: {lr: 0.05}}
",
    );
    let (code, events) = space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(warnings(&events), Vec::<&str>::new());
    let of_fit = |what: &str| {
        let all = events.iter();
        let its = all.filter(|e| e["event"] == what && e["instance"] == "fit");
        its.cloned().collect::<Vec<_>>()
    };
    let mut progress = of_fit("progress");
    // It says where it runs before it says how far it is.
    progress.retain(|e| e["total"].is_u64());
    let is_part = |e: &serde_json::Value| e["done"].as_u64() <= e["total"].as_u64();
    assert!(
        !progress.is_empty() && progress.iter().all(is_part),
        "{events:#?}"
    );
    let finished = of_fit("finished");
    let [finished] = &finished[..] else {
        panic!("{events:#?}")
    };
    for used in ["wall_s", "cpu_s", "max_rss_bytes"] {
        assert!(finished[used].as_f64() > Some(0.0), "{used}: {finished}");
    }
    let energy = &finished["energy"];
    let is_stated = energy["method"] == "rapl" || energy["watts_per_core"] == 7.0;
    assert!(
        energy["joules"].as_f64() > Some(0.0) && is_stated,
        "{finished}"
    );
    let shown = space.json(&["show", "fit"]);
    assert!(shown.to_string().contains("energy"), "{shown}");
    is_clean(&slurm, &space, remote.path());
}

/// What GPUs of a node counted is told here.
#[test]
fn gpus_of_a_node_are_counted_there() {
    let (Some(slurm), Some(library)) = (slurm(""), library("nvml-node", &[])) else {
        return;
    };
    let (mut space, remote) = on(&slurm, "without = [\"gpus\"]");
    // Slurm gives its jobs the variables of whoever submits them.
    let gpu = format!("GPU-node-{}", std::process::id());
    space.write(&format!("counters/{gpu}"), "1000");
    let counters = space.path("counters").to_str().unwrap().to_owned();
    space.set_env("CUDA_VISIBLE_DEVICES", &gpu);
    space.set_env("LD_LIBRARY_PATH", library);
    space.set_env("NVML_STAND_IN", &counters);
    let text = "version: 1
stages:
  fit:
    run: 'echo 9000 > COUNTER; echo > ${outputs.o}'
    outputs: {o: o}
    sandbox: off
    resources: {gpus: 0.5}
";
    space.write(
        "pipeline.yaml",
        text.replace("COUNTER", &format!("{counters}/{gpu}")),
    );
    let (code, events) = space.events(&["--on", "lab"]);
    assert_eq!(code, 0, "{events:#?}");
    let mut finished = events.iter().filter(|e| e["event"] == "finished");
    let finished = finished.next().unwrap();
    assert_eq!(finished["energy"]["gpu_joules"], 4.0, "{finished}");
    let shown = space.ok(&["show", "fit"]);
    assert!(shown.contains("; of it 4.0 J counted by GPUs)"), "{shown}");
    is_clean(&slurm, &space, remote.path());
}

/// On which device a node computed is told here.
#[test]
fn the_device_of_a_node_is_recorded() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "without = [\"gpus\"]");
    let doctor = space.json(&["doctor"]);
    let mut devices = doctor["devices"].as_array().unwrap().iter();
    if !devices.any(|d| d["usable"] == true) {
        return skipped("no OpenCL device (apt install pocl-opencl-icd)");
    }
    space.write(
        "pipeline.yaml",
        "version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 100, test: 50, noise: 20}}}
  fit:
    uses: train
    needs: {train: data.train, test: data.test}
    resources: {gpus: 1}
    with:
      model: {mlp: {hidden: [9, 5]}}
      seed: 1
      length: {epochs: 1}
      batch_size: 32
      optimizer: {adam: {}}
",
    );
    space.ok(&["run", "--on", "lab"]);
    let shown = space.json(&["show", "fit"]);
    let observation = &shown["results"][0]["observation"];
    assert!(observation["device"].is_string(), "{observation}");
    is_clean(&slurm, &space, remote.path());
}

/// A job that is ended gives its stages their time to save.
#[test]
fn case_34_a_stage_saves_when_its_job_is_ended() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    let (saved, once) = (space.path("saved"), space.path("once"));
    let script = format!(
        "if [ ! -e {once} ]; then touch {once}; trap 'sleep 1; echo $1 > {saved}; exit 1' TERM; while :; do sleep 0.1; done; fi; cat\n",
        once = once.display(),
        saved = saved.display(),
    );
    space.write("tool.sh", script);
    // The command itself is told to end, and not a shell around it.
    space.edit(
        "pipeline.yaml",
        "sh ${needs.script}",
        "exec sh ${needs.script}",
    );
    space.edit(
        "pipeline.yaml",
        "    needs: {base",
        "    sandbox: off\n    grace: 4s\n    needs: {base",
    );
    let run = space.start(&["run", "--on", "lab", "--set", "n=1"]);
    slurm.wait_for("the stage", |_| once.exists());
    let jobs = slurm.jobs();
    let job = jobs.iter().find(|j| j.contains("RUNNING")).unwrap();
    slurm.call(&["scancel", job.split(' ').next().unwrap()]);
    slurm.wait_for("what it saved", |_| saved.exists());
    assert!(wait(run).status.success());
    let (_, _) = (slurm, remote);
}

/// Slurm ends a job that uses more memory than it asked for, and says only that it failed; its log
/// knows more.
#[test]
fn a_job_over_its_memory_gets_more() {
    let watching = "JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherParams=OverMemoryKill\n\
                    JobAcctGatherFrequency=task=1\nSelectTypeParameters=CR_Core_Memory\n";
    let Some(slurm) = slurm(watching) else { return };
    let more = "defaults = {memory = \"200MiB\"}\nretry = {times = 1, memory = 8.0}\n";
    let (space, remote) = on(&slurm, more);
    let hungry =
        "    run: \"python3 -c \\\"x = b'x' * (600 << 20); import time; time.sleep(4)\\\" && cat";
    space.edit(
        "pipeline.yaml",
        "    run: \"cat ${needs.words}",
        &format!("{hungry} ${{needs.words}}"),
    );
    let (code, events) = space.events(&["--on", "lab", "--set", "n=1"]);
    assert_eq!(code, 0, "{events:#?}");
    let told = warnings(&events);
    let words = "with 1.6 GiB of memory: its job used more memory than it asked for";
    assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    is_clean(&slurm, &space, remote.path());
}
