//! Every study under `studies/` runs: its profile `smoke` goes through all stages and claims on
//! drawn images.
//!
//! What a study finds is decided by its full run, whose results are committed beside it; here it
//! only has to be whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{TestSpace, events_to_the_end};
use serde_json::Value;

/// The directories of studies, by name.
pub fn studies() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("studies");
    let entries = std::fs::read_dir(root).unwrap().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.join("pipeline.yaml").exists())
        .collect();
    found.sort();
    found
}

pub fn name(study: &Path) -> String {
    study.file_name().unwrap().to_string_lossy().into_owned()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_study_runs_on_drawn_images() {
    let space = TestSpace::new();
    for study in studies() {
        space.write("pipeline.yaml", read(&study.join("pipeline.yaml")));
        let mut command = space.command(&["run", "--json", "--offline", "--profile", "smoke"]);
        let events = events_to_the_end(&mut command);
        let summary = events.last().unwrap();
        let all = (&summary["failed"], &summary["skipped"]);
        assert_eq!(all, (&0.into(), &0.into()), "{}: {summary:#}", name(&study));
        let decided: BTreeSet<&str> = summary["claims"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        let readme = read(&study.join("README.md"));
        let owes_results = readme.contains("No results yet");
        for claim in decided.iter().filter(|_| !owes_results) {
            let is_named = readme.contains(&format!("`{claim}`"));
            let study = name(&study);
            assert!(is_named, "{study}: the README says nothing of `{claim}`");
        }
        let again = space.executed(&["--offline", "--profile", "smoke"]);
        assert_eq!(again, Vec::<String>::new(), "{}", name(&study));
    }
}

#[test]
fn the_front_door_names_every_study_and_its_results_are_there() {
    let door = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("studies/README.md"));
    for study in studies() {
        let name = name(&study);
        assert!(
            door.contains(&format!("({name}/README.md)")),
            "no row for {name}"
        );
        let readme = read(&study.join("README.md"));
        let lock = std::fs::read_to_string(study.join("repro.lock")).unwrap_or_default();
        let decided = lock.contains("\"verdict\" = ");
        let owes_results = readme.contains("No results yet");
        assert_ne!(
            decided, owes_results,
            "{name}: README and repro.lock disagree"
        );
    }
}

#[test]
fn committed_results_are_tables_of_metrics() {
    let space = TestSpace::new();
    for study in studies() {
        let results = study.join("results.parquet");
        if !results.exists() {
            continue;
        }
        std::fs::copy(&results, space.path("results.parquet")).unwrap();
        let read = "version: 1\nstages:\n  read: {run: 'cp ${needs.table} ${outputs.metrics}', needs: {table: {file: results.parquet}}, outputs: {metrics: m.parquet}}\n";
        space.write("pipeline.yaml", read);
        space.ok(&["run"]);
        let rows = space.json(&["metrics", "--all"]);
        let rows: &Vec<Value> = rows.as_array().unwrap();
        let is_there = |row: &&Value| row["value"].is_number() && row["stage"].is_string();
        assert!(rows.len() > 20, "{}: {} rows", name(&study), rows.len());
        assert_eq!(rows.iter().filter(is_there).count(), rows.len());
    }
}
