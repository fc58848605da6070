//! What is committed of the studies shows their results without running anything: verdicts follow
//! from `results.parquet`, and every study has a report.

use std::collections::BTreeMap;
use std::path::Path;

use crate::smoke::{name, read, studies};
use crate::support::TestSpace;
use crate::support::skipped::skipped;
use serde_json::Value;

const VERDICTS: [&str; 3] = ["holds", "refuted", "inconclusive"];

/// The verdicts in the table of a README, by claim.
fn verdicts(readme: &str) -> BTreeMap<String, String> {
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    let verdict = |row: &str| {
        let cells: Vec<&str> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('*'))
            .collect();
        let said = cells.iter().find(|cell| VERDICTS.contains(cell))?;
        let claim = cells.get(1)?.trim_matches('`').replace('\\', "");
        Some((claim, (*said).to_owned()))
    };
    rows.filter_map(verdict).collect()
}

/// A clone of a study: what is committed, and no store.
fn clone_of(study: &Path) -> TestSpace {
    let space = TestSpace::new();
    for file in ["pipeline.yaml", "repro.lock", "results.parquet"] {
        std::fs::copy(study.join(file), space.path(file)).unwrap();
    }
    space
}

/// The figures behind every verdict lie in a small file, and the verdict follows from them byte for
/// byte.
#[test]
fn verdicts_follow_from_what_is_committed() {
    for study in studies() {
        let name = name(&study);
        let space = clone_of(&study);
        let args = ["claims", "--json", "--from", "results.parquet"];
        let said = space.run(&args).expect(0, &args);
        if said.err.contains("has changed since") {
            // A kind has another revision than when the study ran: its keys and bits are others.
            skipped(format_args!("in part: {name} ran before this revision"));
            continue;
        }
        let claims: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        let report = verdicts(&read(&study.join("report/README.md")));
        let readme = verdicts(&read(&study.join("README.md")));
        for claim in &claims {
            let of = claim["name"].as_str().unwrap();
            let verdict = claim["verdict"].as_str();
            assert!(verdict.is_some(), "{name}: {of} is open");
            let told = report.get(of).map(String::as_str);
            assert_eq!(told, verdict, "{name}: {of} in its report");
            // One README tells its claims by other words.
            if name != "fashion-mnist" {
                let told = readme.get(of).map(String::as_str);
                assert_eq!(told, verdict, "{name}: {of} in its README");
            }
        }
        let recorded = format!(
            "{} verdicts are computed from it, byte for byte",
            claims.len()
        );
        assert!(said.err.contains(&recorded), "{name}: {}", said.err);
    }
}

/// The front door counts what the reports say.
#[test]
fn every_study_has_a_report_with_its_verdicts() {
    let door = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("studies/README.md"));
    for study in studies() {
        let name = name(&study);
        let report = read(&study.join("report/README.md"));
        for picture in report
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
        {
            let file = study.join("report").join(picture.0);
            assert!(
                file.is_file(),
                "{name}: its report shows {}",
                file.display()
            );
        }
        let all = verdicts(&report);
        let count = |verdict: &str| all.values().filter(|v| *v == verdict).count();
        let counts = VERDICTS.map(|v| count(v).to_string()).join(", ");
        let row = door
            .lines()
            .find(|l| l.contains(&format!("({name}/README.md)")));
        let row = row.unwrap_or_else(|| panic!("no row for {name}"));
        assert!(
            row.contains(&format!("| {counts} |")),
            "{name}: {counts}, and {row}"
        );
    }
}
