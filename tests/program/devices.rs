//! `--device` and `repro doctor`: where a run computes is in no key and in no byte, and it is told.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

#[allow(dead_code, reason = "this program need not start again")]
#[path = "../../gpu/tests/ops/stand_in.rs"]
mod stand_in;

use crate::support::TestSpace;
use crate::support::processes::signal;
use crate::support::skipped::skipped;

const PIPELINE: &str = r#"
version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 100, test: 50, noise: 20}}}
  train:
    uses: train
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [9, 5]}}
      seed: 1
      length: {epochs: 1}
      batch_size: 32
      optimizer: {adam: {}}
  score: {uses: evaluate, needs: {model: train.model, data: data.test}}
"#;

/// A project whose workers keep compiled kernels where the next test finds them.
fn project() -> TestSpace {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/pocl");
    space.set_env("POCL_CACHE_DIR", cache);
    space
}

/// A project where no driver is installed.
fn without_driver() -> TestSpace {
    let mut space = project();
    space.set_env("OCL_ICD_VENDORS", "/nonexistent");
    space
}

/// Runs on a device, and is told these things, or nothing of it.
#[track_caller]
fn told(space: &TestSpace, code: i32, device: &str, what: &[&str]) {
    let args = ["run", "--device", device];
    let said = space.run(&args).expect(code, &args);
    assert!(
        what.iter().all(|what| said.err.contains(what)),
        "{what:?}: {}",
        said.err
    );
    assert!(
        !what.is_empty() || !said.err.contains("on the CPU"),
        "{}",
        said.err
    );
}

fn has_device(space: &TestSpace) -> bool {
    let doctor = space.json(&["doctor"]);
    let has = doctor["devices"]
        .as_array()
        .unwrap()
        .iter()
        .any(|d| d["usable"] == true);
    if !has {
        skipped("no OpenCL device (apt install pocl-opencl-icd)");
    }
    has
}

#[test]
fn a_gpu_gives_the_same_lock_file() {
    let (here, there) = (project(), project());
    if !has_device(&there) {
        return;
    }
    here.ok(&["run"]);
    told(&there, 0, "gpu", &[]);
    assert_eq!(here.read("repro.lock"), there.read("repro.lock"));

    // What was computed there is a result here, too, and says where it was computed.
    assert_eq!(there.executed(&["--device", "cpu"]), [""; 0]);
    let of = |space: &TestSpace| space.json(&["show", "train"]).to_string();
    assert!(of(&there).contains(r#""device":"#), "{}", of(&there));
    assert!(!of(&here).contains(r#""device":"#));
    there.ok(&["verify", "train"]);
}

/// A GPU is hidden from stages that were given none, so `--device` gives each one.
#[test]
fn a_gpu_that_is_given_out_is_given_to_who_is_sent_there() {
    let (here, mut there) = (project(), without_driver());
    let Some(driver) = stand_in::folder() else {
        return skipped("no C++ compiler of this processor for the stand-in of a CUDA driver");
    };
    there.set_env("LD_LIBRARY_PATH", driver);
    there.set_env(
        "CUDA_VISIBLE_DEVICES",
        format!("GPU-sent-{}", std::process::id()),
    );
    here.ok(&["run"]);
    told(&there, 0, "gpu", &[]);
    assert_eq!(here.read("repro.lock"), there.read("repro.lock"));
    let costs = there.ok(&["metrics", "--costs"]);
    let of = |stage: &str| costs.lines().find(|line| line.contains(stage)).unwrap();
    assert!(of("train").ends_with("Stand-in"), "{costs}");
    // What never computes on a GPU has none.
    assert!(of("train").contains("GPUs not counted"), "{costs}");
    assert!(!of("data").contains("GPUs"), "{costs}");
    assert!(!here.ok(&["metrics", "--costs"]).contains("device"));
    let report = |space: &TestSpace| {
        let path = space.ok(&["report"]);
        std::fs::read_to_string(path.trim()).unwrap()
    };
    assert!(report(&there).contains(">Stand-in</td>"));
    assert!(!report(&here).contains(">device</th>"));
}

/// Seeds of the same training on both devices, then one that takes the faster of them.
#[test]
fn auto_takes_what_was_faster() {
    let space = project();
    if !has_device(&space) {
        return;
    }
    space.edit(
        "pipeline.yaml",
        "    uses: train\n",
        "    uses: train\n    matrix: {n: [1, 2, 3, 4]}\n",
    );
    space.edit("pipeline.yaml", "seed: 1", "seed: ${matrix.n}");
    space.edit(
        "pipeline.yaml",
        "needs: {model: train.model",
        "needs: {model: \"train[n=1].model\"",
    );
    let run = |n: u32, device: &str| {
        let train = format!("train[n={n}]");
        let (code, events) = space.events(&["--device", device, &train]);
        assert_eq!(code, 0, "{events:#?}");
        let its = |e: &&Value| e["event"] == "started" && e["instance"] == *train;
        let placed = events.iter().find(its).unwrap()["placed"].clone();
        let result = &space.json(&["show", &train])["results"][0]["observation"];
        assert_eq!(result["placed"], placed, "it is recorded as it was told");
        (result.clone(), placed)
    };
    // Nothing is known: a GPU is tried, also where the CPU's time alone is known.
    let (gpu, placed) = run(1, "auto");
    assert!(gpu["device"].is_string() && placed.is_null(), "{gpu}");
    let (cpu, placed) = run(2, "cpu");
    assert!(cpu["device"].is_null() && placed.is_null(), "{cpu}");
    // POCL computes on the same processor, and what it is given is compiled first.
    let [cpu_s, gpu_s] = [cpu, gpu].map(|result| result["wall_s"].as_f64().unwrap());
    let is_faster = cpu_s < gpu_s;
    let (auto, placed) = run(3, "auto");
    assert_eq!(
        auto["device"].is_null(),
        is_faster,
        "{cpu_s} {gpu_s}: {auto}"
    );
    assert_eq!(placed["on"], if is_faster { "cpu" } else { "gpu" });
    let [told_cpu, told_gpu] = ["cpu_s", "gpu_s"].map(|s| placed[s].as_f64().unwrap());
    assert_eq!((told_cpu, told_gpu), (cpu_s, gpu_s));
    let shown = space.ok(&["show", "train[n=3]"]);
    assert!(
        shown.contains("placed: on ") && shown.contains(" (recorded: "),
        "{shown}"
    );
    // Whoever says where it computes is obeyed.
    let (gpu, placed) = run(4, "gpu");
    assert!(gpu["device"].is_string() && placed.is_null(), "{gpu}");

    // The device is in no key: another clone that computes elsewhere writes the same.
    let other = project();
    other.write("pipeline.yaml", space.read("pipeline.yaml"));
    space.ok(&["run"]);
    other.ok(&["run", "--device", "cpu"]);
    assert_eq!(space.read("repro.lock"), other.read("repro.lock"));
    // What was learnt is only a memory.
    space.write(".repro/times", "garbage");
    let said = space.run(&["run", "--device", "auto", "-f", "train[n=2]"]);
    assert!(
        said.code == 0 && said.err.contains("times.damaged"),
        "{}",
        said.err
    );
}

/// A stage that ends first on the CPU takes no GPU: a command that has the only one waits for it. A
/// training of another size has no times, and gets the GPU.
#[test]
fn what_is_faster_on_the_cpu_waits_for_no_gpu() {
    let mut space = project();
    if !has_device(&space) {
        return;
    }
    space.edit(
        "pipeline.yaml",
        "    uses: train\n",
        "    uses: train\n    matrix: {n: [1, 2, 3]}\n    resources: {gpus: 1}\n",
    );
    space.edit("pipeline.yaml", "seed: 1", "seed: ${matrix.n}");
    space.edit(
        "pipeline.yaml",
        "needs: {model: train.model",
        "needs: {model: \"train[n=1].model\"",
    );
    let name = format!("GPU-auto-{}", std::process::id());
    space.set_env("CUDA_VISIBLE_DEVICES", &name);
    let with =
        |device: &str, n: u32| space.ok(&["run", "--device", device, &format!("train[n={n}]")]);
    with("gpu", 1);
    with("cpu", 2);
    let took = |n: u32| {
        let shown = space.json(&["show", &format!("train[n={n}]")]);
        shown["results"][0]["observation"]["wall_s"]
            .as_f64()
            .unwrap()
    };
    if took(2) >= took(1) {
        return skipped("the CPU was not faster than POCL");
    }
    let text = space.read("pipeline.yaml");
    let here = space.path("").to_str().unwrap().to_owned();
    let holds = "  hold:
    run: 'touch HERE/held; while [ ! -e HERE/artifacts/train/n=3 ]; do sleep 0.05; done; echo > ${outputs.o}'
    outputs: {o: o}
    resources: {gpus: 1}
    sandbox: off
    timeout: 100s
".replace("HERE", &here);
    // The training begins when the GPU is held.
    let gate = "  gate: {run: 'while [ ! -e HERE/held ]; do sleep 0.05; done; echo > ${outputs.o}', outputs: {o: o}, sandbox: off}\n".replace("HERE", &here);
    let text = text.replace(
        "    resources: {gpus: 1}\n",
        "    resources: {gpus: 1}\n    after: [gate]\n",
    );
    space.write("pipeline.yaml", text + &holds + &gate);
    let (code, events) = space.events(&["-j3", "hold", "train[n=3]"]);
    assert_eq!(code, 0, "{events:#?}");
    let ended: Vec<&str> = events
        .iter()
        .filter(|e| e["event"] == "finished")
        .map(|e| e["instance"].as_str().unwrap())
        .collect();
    assert_eq!(ended, ["gate", "train[n=3]", "hold"]);
    let shown = space.json(&["show", "train[n=3]"]);
    let result = &shown["results"][0]["observation"];
    assert_eq!(result["placed"]["on"], "cpu", "{result}");
    assert!(result["device"].is_null(), "{result}");
    // Another training has no times, and is tried on the GPU.
    space.edit("pipeline.yaml", "[9, 5]", "[9, 6]");
    space.ok(&["run", "train[n=3]"]);
    let shown = space.json(&["show", "train[n=3]"]);
    let result = &shown["results"][0]["observation"];
    assert!(
        result["device"].is_string() && result["placed"].is_null(),
        "{result}"
    );
}

/// A training with a share of a GPU has that share of its memory: one that needs more ends before
/// its first step, with the batch that could fit, and one that fits gives what it gives without.
#[test]
fn a_share_of_a_gpu_is_a_share_of_its_memory() {
    let (whole, shared) = (project(), project());
    if !has_device(&shared) {
        return;
    }
    let with = |share: &str| {
        let gpus = format!("    uses: train\n    resources: {{gpus: {share}}}\n");
        let text = whole
            .read("pipeline.yaml")
            .replace("    uses: train\n", &gpus);
        shared.write("pipeline.yaml", text);
    };
    with("0.25");
    whole.ok(&["run"]);
    let said = shared.run(&["run", "--device", "gpu"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(whole.read("repro.lock"), shared.read("repro.lock"));

    let devices = shared.json(&["doctor"])["devices"].clone();
    let mut devices = devices.as_array().unwrap().iter();
    let device = devices.find(|d| d["usable"] == true).unwrap();
    let memory = device["memory_bytes"].as_u64().unwrap();
    // The smallest share there is, of which the driver has a quarter or half a gigabyte.
    let share = memory / 1000;
    let limit = share - (share / 4).min(512 << 20);
    // The backward pass reads the inputs of three layers.
    let images = limit / (4 * (16 * 16 + 100 + 100)) + 100;
    whole.edit("pipeline.yaml", "[9, 5]", "[100, 100]");
    whole.edit("pipeline.yaml", "train: 100", &format!("train: {images}"));
    whole.edit(
        "pipeline.yaml",
        "batch_size: 32",
        &format!("batch_size: {images}"),
    );
    with("0.001");
    let said = shared.run(&["run", "--device", "gpu"]);
    assert_eq!(said.code, 1, "{}", said.err);
    for told in [
        "of memory left of its share (0.001 of the GPU, `gpus`)",
        "the most that could fit; begin with ",
        "; a larger share has more; the CPU computes the same bits (`--device cpu`",
    ] {
        assert!(said.err.contains(told), "{told}: {}", said.err);
    }
    let most = said.err.split("a `batch_size` of ").nth(1).unwrap();
    let most: String = most.chars().take_while(char::is_ascii_digit).collect();
    let most: u64 = most.parse().unwrap();
    assert!(most < images && most > 0);
    // Whoever leaves the choice open gets the CPU.
    let args = ["run", "--device", "auto"];
    let said = shared.run(&args).expect(0, &args).err;
    assert!(
        said.contains("computed on the CPU: the device has "),
        "{said}"
    );
    // What was counted has room, and all of it does not.
    let with_batch = |from: u64, to: u64| {
        let [from, to] = [from, to].map(|n| format!("batch_size: {n}"));
        whole.edit("pipeline.yaml", &from, &to);
        with("0.001");
        shared.run(&["run", "--device", "gpu"])
    };
    let said = with_batch(images, most).expect(1, &["run"]).err;
    for told in ["training step: ", "no memory for", "smaller `batch_size`"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    // Well within it.
    with_batch(most, most / 4).expect(0, &["run"]);

    // One image after the other is learnt, and 256 are measured at once.
    let channels = limit / (4 * 16 * 16 * 256) + 1;
    let conv = format!(
        "conv: {{layers: [{{conv: {{channels: {channels}}}}}, {{activation: relu}}, {{pool: {{max: 16}}}}]}}"
    );
    for (from, to) in [
        ("mlp: {hidden: [100, 100]}", &*conv),
        ("test: 50", "test: 300"),
        (&format!("train: {images}"), "train: 10"),
        (&format!("batch_size: {}", most / 4), "batch_size: 1"),
    ] {
        whole.edit("pipeline.yaml", from, to);
    }
    with("0.001");
    let said = shared.run(&["run", "--device", "gpu"]);
    let said = said.expect(1, &["run"]).err;
    let told = "256 images that are measured at once need at least";
    assert!(
        said.contains(told) && !said.contains("evaluation: "),
        "{said}"
    );
}

#[test]
fn recurrent_networks_give_the_same_lock_file() {
    for network in ["rnn: {units: 3}", "rnn: {units: 3, cell: lstm}"] {
        let (here, there) = (project(), project());
        if !has_device(&there) {
            return;
        }
        for space in [&here, &there] {
            space.edit("pipeline.yaml", "mlp: {hidden: [9, 5]}", network);
        }
        here.ok(&["run"]);
        told(&there, 0, "gpu", &[]);
        assert_eq!(here.read("repro.lock"), there.read("repro.lock"));
    }
}

#[test]
fn without_a_driver_a_gpu_is_an_error_and_auto_is_the_cpu() {
    let space = without_driver();
    let doctor = space.ok(&["doctor"]);
    assert!(
        doctor.contains("no device: CUDA's driver cannot be opened: libcuda.so.1")
            && doctor.contains("no device: OpenCL"),
        "{doctor}"
    );
    let why = ["no GPU can be used: there is no device", "repro doctor"];
    told(&space, 2, "gpu", &why);
    let args = ["run", "-n", "--device", "gpu"];
    space.run(&args).expect(2, &args);
    // Nothing was begun.
    assert!(!space.path("artifacts").exists());
    told(&space, 0, "auto", &[why[0], "compute on the CPU"]);
    told(&space, 2, "tpu", &["possible values: cpu, gpu, auto"]);
}

/// Drivers set handlers of signals: POCL's compiler ends its process at Ctrl-C.
#[test]
fn a_run_on_a_gpu_is_interrupted_as_any_other() {
    let space = project();
    if !has_device(&space) {
        return;
    }
    space.edit("pipeline.yaml", "epochs: 1", "epochs: 100000");
    for device in ["gpu", "auto"] {
        let mut run = space.command(&["run", "--device", device]);
        let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(run.stderr.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        for said in ["run  train", "interrupted: waiting for running stages"] {
            let found = lines.find(|line| line.contains(said));
            assert!(found.is_some(), "{device}: {said}");
            signal(run.id() as i32, libc::SIGINT);
        }
        let rest = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(run.wait().unwrap().code(), Some(130), "{rest}");
    }
}

/// Who computes anew computes all of it: a state of another device would make every comparison pass.
/// What goes on from a state says so.
#[test]
fn what_is_forced_goes_on_from_no_state() {
    let space = project();
    let resumed = |arguments: &[&str]| {
        let (code, events) = space.events(arguments);
        assert_eq!(code, 0, "{events:#?}");
        let its = |e: &&Value| e["event"] == "finished" && e["instance"] == "train";
        events.iter().find(its).unwrap()["resumed_from"].clone()
    };
    let record = || space.json(&["show", "train"])["results"][0]["observation"].clone();
    assert!(resumed(&["train"]).is_null());
    assert!(record()["resumed_from"].is_null());
    space.edit("pipeline.yaml", "epochs: 1", "epochs: 2");
    assert_eq!(resumed(&["train"]), "epoch 1");
    assert_eq!(record()["resumed_from"], "epoch 1");
    assert!(resumed(&["-f", "train"]).is_null());
}

/// POCL says no more than that it failed.
#[test]
fn a_driver_that_cannot_keep_what_it_compiles_is_told_with_its_cache() {
    let mut space = project();
    if !has_device(&space) {
        return;
    }
    let devices = space.json(&["doctor"])["devices"].to_string();
    if devices.matches("\"driver\"").count() > 1 || !devices.contains("PoCL") {
        return skipped("POCL is not the only device");
    }
    space.write("file", "no folder");
    let path = space.path("file");
    space.set_env("POCL_CACHE_DIR", path);
    let said = space.ok(&["doctor"]);
    let told = "cannot be used: ";
    assert!(
        said.contains(told) && said.contains("POCL_CACHE_DIR"),
        "{said}"
    );
    let said = space.run(&["run", "--device", "gpu"]).expect(1, &[]).err;
    assert!(said.contains("POCL_CACHE_DIR"), "{said}");
}

/// Another library is not opened in the place of one that was named, and what OpenCL lacks is said.
#[test]
fn a_library_that_cannot_be_opened_is_named() {
    let mut space = project();
    space.write("text.so", "no library");
    let path = space.path("text.so").display().to_string();
    space.set_env("OPENCL_DYLIB_PATH", &path);
    let said = space.run(&["doctor"]);
    let told =
        format!("OPENCL_DYLIB_PATH is `{path}`, which cannot be opened: {path}: file too short");
    assert!((said.out + &said.err).contains(&told), "{told}");
    let said = space.run(&["run", "--device", "gpu"]).err;
    assert!(said.contains("OPENCL_DYLIB_PATH is"), "{said}");
}
