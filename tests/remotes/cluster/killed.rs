//! The submitting side is killed with -9 at random moments of a study on a real Slurm: nothing is
//! lost, nothing is executed twice, no job is left, and the lock file is that of a local run. A few
//! kills; fifty with `REPRO_EXHAUSTIVE=1`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::slurm::{is_clean, on, slurm};
use super::{local, record_executions};
use crate::support::TestSpace;
use crate::support::processes::kill_dead;

/// The moments follow from it.
const SEED: u64 = 15;
/// A run is killed so long after its beginning, at most. A study takes a little longer.
const LONGEST: Duration = Duration::from_secs(5);

/// SplitMix64: the same moments on every machine.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Runs until a run comes to its end; how many were killed before. No more are killed than `most`.
fn run_under_fire(space: &TestSpace, moments: &mut u64, most: u32) -> u32 {
    let mut kills = 0;
    loop {
        let mut run = space.start(&["run", "--on", "lab"]);
        if kills == most {
            assert!(run.wait().unwrap().success());
            return kills;
        }
        let moment = next(moments) % LONGEST.as_millis() as u64;
        std::thread::sleep(Duration::from_millis(moment));
        if let Some(status) = run.try_wait().unwrap() {
            assert!(status.success());
            return kills;
        }
        kill_dead(&mut run);
        kills += 1;
    }
}

/// How often each action was executed; `Err` names one that was executed twice at once.
fn executions(file: &Path) -> Result<BTreeMap<String, u32>, String> {
    let mut counts = BTreeMap::new();
    let mut running = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let (what, action) = line.split_once(' ').unwrap();
        let now: &mut i32 = running.entry(action.to_owned()).or_default();
        match what {
            "begin" => {
                *now += 1;
                *counts.entry(action.to_owned()).or_default() += 1;
            }
            _ => *now -= 1,
        }
        if *now > 1 {
            return Err(action.to_owned());
        }
    }
    Ok(counts)
}

#[test]
fn a_submitter_that_is_killed_at_any_moment_loses_nothing() {
    let Some(slurm) = slurm("") else { return };
    let (space, remote) = on(&slurm, "");
    let count = space.project.parent().unwrap().join("executions");
    record_executions(&space, &count);
    let wanted = match std::env::var_os("REPRO_EXHAUSTIVE") {
        Some(_) => 50,
        None => 4,
    };
    let mut moments = SEED;
    let (mut kills, mut studies) = (0, 0);
    while kills < wanted {
        studies += 1;
        space.write("words.txt", format!("study {studies}\n"));
        let _ = fs::remove_file(&count);
        kills += run_under_fire(&space, &mut moments, wanted - kills);
        let counts = executions(&count).expect("nothing is executed twice at once");
        let all: BTreeMap<String, u32> = (0..12).map(|i| (i.to_string(), 1)).collect();
        assert_eq!(counts, all, "study {studies}, after {kills} kills");
        is_clean(&slurm, &space, remote.path());
        assert_eq!(space.executed(&[]), Vec::<String>::new());
        let (lock, table) = local(&space, &[]);
        assert_eq!(space.read("repro.lock"), lock);
        assert_eq!(space.read("artifacts/table/table.txt"), table);
    }
    println!("{kills} kills in {studies} studies of 26 actions");
}
