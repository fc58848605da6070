//! How long works took on this machine, on the CPU and on GPUs.
//!
//! Only a memory of the project, read when it is first asked: without it nothing is known. The
//! machine is part of it, as a project can lie where many machines see it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::turn::Turn;
use crate::damaged;
use crate::digest::Digest;
use crate::placement::{On, Recorded};
use crate::regular::{self, Links};
use crate::store::host_name;
use crate::whole;

const FORMAT: u32 = 1;
/// Of each work on each device: the newest.
const KEPT_OF_EACH: usize = 9;
/// In all: the newest.
const KEPT: usize = 10_000;
const BYTES_MAX: u64 = 16 << 20;

/// One execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Took {
    work: Digest,
    on: On,
    host: String,
    wall_s: f64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    format: u32,
    took: Vec<Took>,
}

/// See the module.
#[derive(Debug)]
pub struct Times {
    state: PathBuf,
    /// What the file said and was learnt since; nothing before it is asked for.
    known: Option<Known>,
    /// What was learnt and is not in the file.
    own: Vec<Took>,
}

/// Seconds, by work and device.
type Known = HashMap<(Digest, On), Vec<f64>>;

fn note(known: &mut Known, took: &Took) {
    let all = known.entry((took.work, took.on)).or_default();
    all.push(took.wall_s);
}

impl Times {
    /// Of a project whose state is in this directory. Reads nothing.
    pub fn of(state: &Path) -> Times {
        Times {
            state: state.to_owned(),
            known: None,
            own: Vec::new(),
        }
    }

    /// What is known of a work.
    pub fn recorded(&mut self, work: &Digest) -> Recorded {
        let known = self.known.get_or_insert_with(|| {
            let (mut known, host) = (Known::new(), host_name());
            let before = read(&self.state).into_iter().filter(|t| t.host == host);
            for took in before.chain(self.own.iter().cloned()) {
                note(&mut known, &took);
            }
            known
        });
        let of = |on: On| median(known.get(&(*work, on)).cloned().unwrap_or_default());
        Recorded {
            cpu_s: of(On::Cpu),
            gpu_s: of(On::Gpu),
        }
    }

    /// A work took so long here.
    pub fn learn(&mut self, work: Digest, on: On, wall_s: f64) {
        let host = host_name();
        let took = Took {
            work,
            on,
            host,
            wall_s,
        };
        if let Some(known) = &mut self.known {
            note(known, &took);
        }
        self.own.push(took);
    }

    /// Keeps what was learnt, beside what other processes learnt meanwhile.
    ///
    /// # Errors
    /// Of the disk.
    pub fn save(&mut self) -> std::io::Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        let _alone = Turn::take(&self.state);
        let mut took = read(&self.state);
        took.append(&mut self.own);
        self.known = None;
        let mut seen: HashMap<(Digest, On, String), usize> = HashMap::new();
        took.reverse();
        took.retain(|took| {
            let seen = seen.entry((took.work, took.on, took.host.clone()));
            let seen = seen.or_default();
            *seen += 1;
            *seen <= KEPT_OF_EACH
        });
        took.truncate(KEPT);
        took.reverse();
        let format = FORMAT;
        let text = serde_json::to_vec(&File { format, took })?;
        whole::write(&file(&self.state), &self.state, &text)
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("times")
}

fn read(state: &Path) -> Vec<Took> {
    let path = file(state);
    let read = match regular::read(&path, Links::Refuse, BYTES_MAX) {
        Ok(bytes) => serde_json::from_slice::<File>(&bytes).map_err(|e| e.to_string()),
        Err(e) if damaged::is_damage(&e) => Err(e.to_string()),
        // Missing, or the disk's fault.
        Err(_) => return Vec::new(),
    };
    match read {
        Ok(File { format, mut took }) => {
            took.retain(|took| format == FORMAT && (0.0..1e15).contains(&took.wall_s));
            took
        }
        Err(why) => {
            damaged::set_aside(&path, &why);
            Vec::new()
        }
    }
}

fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_unstable_by(f64::total_cmp);
    let n = all.len();
    let upper = *all.get(n / 2)?;
    Some(match n % 2 {
        1 => upper,
        _ => (all[n / 2 - 1] + upper) / 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_beside_those_of_others_and_the_newest_count() {
        let dir = tempfile::tempdir().unwrap();
        let [mut a, mut b] = [(); 2].map(|()| Times::of(dir.path()));
        let (work, other) = (Digest::of(b"work"), Digest::of(b"other"));
        assert_eq!(a.recorded(&work), Recorded::default());
        a.learn(work, On::Cpu, 1.0);
        b.learn(work, On::Cpu, 4.0);
        b.learn(work, On::Gpu, 7.0);
        b.learn(other, On::Gpu, 70.0);
        assert_eq!(a.recorded(&work).cpu_s, Some(1.0));
        a.save().unwrap();
        b.save().unwrap();
        let mut all = Times::of(dir.path());
        let recorded = all.recorded(&work);
        assert_eq!((recorded.cpu_s, recorded.gpu_s), (Some(2.5), Some(7.0)));
        for _ in 0..KEPT_OF_EACH {
            all.learn(work, On::Cpu, 30.0);
        }
        all.save().unwrap();
        // The old ones are gone, and those of other works are not.
        assert_eq!(all.recorded(&work).cpu_s, Some(30.0));
        assert_eq!(read(dir.path()).len(), KEPT_OF_EACH + 2);
        assert_eq!(all.recorded(&other).gpu_s, Some(70.0));
    }

    #[test]
    fn times_of_other_machines_and_damaged_ones_are_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let work = Digest::of(b"work");
        let took = vec![Took {
            work,
            on: On::Cpu,
            host: "elsewhere\n".to_owned(),
            wall_s: 1.0,
        }];
        let format = FORMAT;
        let text = serde_json::to_vec(&File { format, took }).unwrap();
        std::fs::write(file(dir.path()), text).unwrap();
        let mut times = Times::of(dir.path());
        assert_eq!(times.recorded(&work), Recorded::default());
        times.learn(work, On::Cpu, 2.0);
        times.save().unwrap();
        // They stay for their machine.
        assert_eq!(read(dir.path()).len(), 2);
        std::fs::write(file(dir.path()), "garbage").unwrap();
        assert_eq!(Times::of(dir.path()).recorded(&work), Recorded::default());
    }
}
