//! The energy of GPUs: what their counters say goes to the stages that have them, by their share, and
//! GPUs that cannot be read are told wherever energy is. NVML is a stand-in, whose counters
//! are files that the stages of these tests move.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::nvml::library;
use crate::support::{TestSpace, space};

/// A project with these stages and these GPUs, which the library there knows by files. `HERE` stands
/// for their folder.
fn counted(stages: &str, gpus: &[&str], library: &Path) -> TestSpace {
    let mut space = space(stages);
    // Nobody else's, also where this test runs twice at once.
    let names: Vec<String> = gpus.iter().map(|gpu| named(gpu)).collect();
    for name in &names {
        space.write(&format!("counters/{name}"), "1000");
    }
    let here = space.path("counters").to_str().unwrap().to_owned();
    let text = space.read("pipeline.yaml").replace("HERE", &here);
    space.write("pipeline.yaml", text);
    space.set_env("CUDA_VISIBLE_DEVICES", names.join(","));
    space.set_env("NVML_STAND_IN", here);
    space.set_env("LD_LIBRARY_PATH", library);
    space.set_env("REPRO_WATTS_PER_CORE", "10");
    space
}

fn named(gpu: &str) -> String {
    format!("GPU-{gpu}-{}", std::process::id())
}

/// What each instance of a run used, by name.
fn used(space: &TestSpace) -> impl Fn(&str) -> Value {
    let (code, events) = space.events(&[]);
    assert_eq!(code, 0, "{events:#?}");
    move |instance| {
        let mut all = events.iter();
        let finished = all.find(|e| e["event"] == "finished" && e["instance"] == instance);
        finished.unwrap_or_else(|| panic!("{instance}: {events:#?}"))["energy"].clone()
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

const MOVES: &str = r#"for g in $(echo $CUDA_VISIBLE_DEVICES | tr , ' '); do echo 43500 > HERE/$g; done; echo > ${outputs.o}"#;

#[test]
fn joules_of_gpus_are_shared_out() {
    let Some(library) = library("nvml", &[]) else {
        return;
    };
    let stages = format!(
        r#"
  whole: {{run: "{MOVES}", outputs: {{o: o}}, sandbox: off, resources: {{gpus: 1}}}}
"#
    );
    let whole = counted(&stages, &["w"], &library);
    let energy = used(&whole)("whole");
    // 42,500 mJ, and what the processor used beside them.
    assert_eq!(energy["gpu_joules"], json!(42.5), "{energy}");
    assert!(number(&energy["joules"]) > 42.5 && energy.get("gpus_uncounted").is_none());
    let shown = whole.ok(&["show", "whole"]);
    assert!(shown.contains("; of it 42.5 J counted by GPUs)"), "{shown}");
    let costs = whole.ok(&["metrics", "--costs"]);
    assert!(costs.contains(", and GPUs"), "{costs}");

    let quarter = counted(&stages.replace("gpus: 1", "gpus: 0.25"), &["q"], &library);
    assert_eq!(used(&quarter)("whole")["gpu_joules"], json!(10.625));
    let two = counted(&stages.replace("gpus: 1", "gpus: 2"), &["a", "b"], &library);
    assert_eq!(used(&two)("whole")["gpu_joules"], json!(85.0));
    // The results are the same, and nobody is told of GPUs where none was given.
    assert_eq!(
        quarter.read("artifacts/whole/o"),
        two.read("artifacts/whole/o")
    );
    let none = counted(
        r#"none: {run: "echo > ${outputs.o}", outputs: {o: o}}"#,
        &["n"],
        &library,
    );
    let energy = used(&none)("none");
    assert!(energy.get("gpu_joules").is_none() && energy.get("gpus_uncounted").is_none());
    assert!(
        !none.exists("counters/opened"),
        "the library was opened for nothing"
    );
    assert!(whole.exists("counters/opened"));
}

/// The counter is lost midway, the library lacks the function, there is none, or another maker made
/// the GPU: what the processor used is told, and that GPUs are not in it.
#[test]
fn gpus_that_cannot_be_read_are_not_counted_and_it_is_told() {
    let (Some(whole), Some(lacking)) = (
        library("nvml", &[]),
        library("nvml-old", &["-DWITHOUT_ENERGY"]),
    ) else {
        return;
    };
    let moves = format!(
        r#"
  a: {{run: "{MOVES}", outputs: {{o: o}}, sandbox: off, resources: {{gpus: 1}}}}
"#
    );
    let loses = moves.replace("echo 43500 > HERE/$g", "rm HERE/$g");
    let back = moves.replace("43500", "3");
    for (case, stages, library) in [
        ("lost", &*loses, &*whole),
        ("began again", &back, &whole),
        ("old", &moves, &lacking),
        ("no library", &moves, Path::new("/nonexistent")),
    ] {
        let mut space = counted(stages, &["u"], library);
        space.set_env("REPRO_CO2E_G_PER_KWH", "500");
        let energy = used(&space)("a");
        assert_eq!(energy["gpus_uncounted"], json!(true), "{case}: {energy}");
        assert!(energy.get("gpu_joules").is_none(), "{case}: {energy}");
        assert!(number(&energy["joules"]) < 42.5, "{case}: {energy}");
        let shown = space.ok(&["show", "a"]);
        assert!(shown.contains("; GPUs not counted)"), "{case}: {shown}");
        let costs = space.ok(&["metrics", "--costs"]);
        assert!(costs.contains(", GPUs not counted"), "{case}: {costs}");
        assert!(costs.contains(", some GPUs not counted"), "{case}: {costs}");
        space.ok(&["report", "-o", "page.html"]);
        let page = space.read("page.html");
        assert!(page.contains("without GPUs that are not counted"), "{case}");
        space.write(&format!("counters/{}", named("u")), "1000");
        let said = space.run(&["run", "-f"]).err;
        assert!(said.contains(", some GPUs not counted, "), "{case}: {said}");
    }
}
