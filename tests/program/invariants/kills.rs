//! I5: whatever dies, the next run needs no help.

use super::*;

/// A generator with a printed seed: which process is killed when.
struct Dice(u64);

impl Dice {
    fn from_clock() -> Dice {
        let given = std::env::var("REPRO_TEST_SEED")
            .ok()
            .and_then(|s| s.parse().ok());
        let clock = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64);
        let seed = given.unwrap_or(clock % 1_000_000_007);
        println!("REPRO_TEST_SEED={seed}");
        Dice(seed)
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    /// The program.
    Repro,
    /// Any process of a stage: a shell or what it started.
    Child,
    /// The keeper: it guards against the death of others, but nothing may hang on it.
    Keeper,
}

/// I5: fifty times something dies at a random moment, on a store that is fresh, half full or full.
/// After each, a plain `run` ends with what an undisturbed one makes, with no process left, no lock
/// held, and a clean store.
#[test]
fn fifty_kills_at_random_moments_change_nothing() {
    let wanted = undisturbed();
    let mut dice = Dice::from_clock();
    let mut space = study();
    let mut hit = 0;
    let mut round = 0;
    while hit < 50 {
        round += 1;
        assert!(round < 300, "the delays miss: {hit} hits");
        // A new store most of the time; else the run continues what the last kill interrupted, or
        // repeats with the artifacts gone.
        let longest_us = match dice.below(5) {
            0..3 => {
                space = study();
                400_000
            }
            3 => {
                // Not there before the first round.
                let _ = fs::remove_dir_all(space.path("artifacts"));
                20_000
            }
            _ => {
                space.write("in.txt", format!("{}\n", dice.next()));
                400_000
            }
        };
        let victim = [
            Victim::Repro,
            Victim::Repro,
            Victim::Child,
            Victim::Child,
            Victim::Keeper,
        ][dice.below(5) as usize];
        let delay = Duration::from_micros(dice.below(longest_us));
        let mut run = space.start(&["run"]);
        let begun = Instant::now();
        while begun.elapsed() < delay && run.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_micros(500));
        }
        let what = format!("round {round}: {victim:?} after {delay:?}");
        match victim {
            Victim::Repro => {
                hit += i32::from(run.try_wait().expect("a child").is_none());
                kill_dead(&mut run);
                // What it started goes with it, at once, not only at the next run.
                space.expect_no_processes();
            }
            Victim::Child | Victim::Keeper => {
                let me = run.id() as i32;
                let is_victim = |p: &crate::support::processes::Process| {
                    p.pid != me && p.args.contains(" keeper") == (victim == Victim::Keeper)
                };
                let victims: Vec<_> = space.processes().into_iter().filter(is_victim).collect();
                if !victims.is_empty() {
                    hit += 1;
                    signal(
                        victims[dice.below(victims.len() as u64) as usize].pid,
                        libc::SIGKILL,
                    );
                }
                let said = crate::support::wait(run);
                let code = said.status.code();
                assert!(
                    matches!(code, Some(0 | 1)),
                    "{what}: a killed child is a failed stage, never a dead run: {code:?}"
                );
                assert!(
                    code == Some(0) || victim == Victim::Child,
                    "{what}: the keeper's death fails nothing"
                );
            }
        }
        space.write("in.txt", "the end\n");
        let ran = space.ran(&[]);
        assert_eq!(ran.code, 0, "{what}: {ran:#?}");
        assert!(
            results(&space) == wanted,
            "{what}: other results: {:?}",
            space.artifacts().keys()
        );
        assert!(!ran.talk().contains("corrupt"), "{what}: {ran:#?}");
        space.ran(&[]).executes(&[]);
        space.expect_no_processes();
        expect_clean_store(&space);
        space.ok(&["fsck"]);
        // The next run that executes anything sweeps what the dead left in the store.
        space.ran(&["-f", "source"]).executes(&["source"]);
        let left: Vec<_> = fs::read_dir(space.store.join("tmp"))
            .expect("the store")
            .flatten()
            .map(|e| e.path())
            .collect();
        assert!(
            left.is_empty(),
            "{what}: private directories are left: {left:?}"
        );
    }
    println!("{hit} of {round} kills hit a living process");
}

/// I5: a stage that puts work into the background does not outlive its own end or the run.
#[test]
fn what_a_stage_leaves_in_the_background_goes_with_it() {
    let yaml = "version: 1\nstages:\n  a: {run: '(sleep 1000 > /dev/null 2>&1 &) ; echo x > ${outputs.out}', outputs: {out: a.txt}}\n";
    let space = TestSpace::with_pipeline(yaml);
    space.ran(&[]).executes(&["a"]);
    space.expect_no_processes();
}
