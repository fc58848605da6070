//! The GPUs and processors of this machine, and what of them an order has.
//!
//! GPUs are given out by name, and only those that no other run of the same user has; shares of one
//! are packed on as few as will hold them. Who declares `cpus` also gets as many processors for
//! itself, as far as this run and others leave them. Knows no queue.

use std::cmp::Reverse;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Reserved;
use super::claims::{self, Claim};
use crate::exec::Grant;
use crate::machine::{Machine, Maker};
use crate::plan::{ONE_GPU, Policy};

/// Nobody tells when another run gives something back.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct Devices {
    cores: Vec<u32>,
    gpus: Vec<Device>,
    maker: Maker,
}

/// A GPU, and what of it is taken in this run.
#[derive(Debug)]
struct Device {
    name: Arc<str>,
    /// In thousandths.
    taken: u32,
    /// Keeps other runs off while anything is taken.
    lock: Option<File>,
}

/// What an order has.
#[derive(Debug)]
pub struct Granted {
    /// What its processes are told.
    pub grant: Grant,
    /// What it takes of each GPU, in thousandths.
    of_each_gpu: u32,
    /// Keep other runs off its devices.
    _locks: Vec<File>,
}

impl Devices {
    /// All of a machine's.
    pub fn of(machine: &Machine) -> Devices {
        let free = |name: &Arc<str>| Device {
            name: name.clone(),
            taken: 0,
            lock: None,
        };
        Devices {
            cores: machine.cores.clone(),
            gpus: machine.gpus.iter().map(free).collect(),
            maker: machine.maker,
        }
    }

    /// Takes the GPUs that the policy asks for, or nothing; and processors for so many `threads`.
    ///
    /// # Errors
    /// Why it has to wait.
    pub fn take(&mut self, policy: &Policy, threads: Option<u32>) -> Result<Granted, Reserved> {
        let gpus = self.own_gpus(policy)?;
        let (cores, locks) = threads.map_or_else(Default::default, |n| self.own_cores(n));
        Ok(Granted {
            grant: Grant {
                threads,
                cores,
                gpus: (!self.gpus.is_empty()).then_some(gpus),
                maker: self.maker,
            },
            of_each_gpu: policy.of_each_gpu(),
            _locks: locks,
        })
    }

    /// All GPUs of a wish, or none: who keeps one while waiting for another keeps a third from
    /// both.
    fn own_gpus(&mut self, policy: &Policy) -> Result<Vec<Arc<str>>, Reserved> {
        let count = (policy.gpus_seen() as usize).min(self.gpus.len());
        let amount = policy.of_each_gpu();
        let fits = |gpu: &&mut Device| gpu.taken + amount <= ONE_GPU;
        let mut fitting: Vec<&mut Device> = self.gpus.iter_mut().filter(fits).collect();
        if fitting.len() < count {
            return Err(Reserved::ByThisRun);
        }
        // The fullest first: whole ones stay free for whoever asks for them.
        fitting.sort_by_key(|gpu| Reverse(gpu.taken));
        let mut own: Vec<(&mut Device, Option<File>)> = Vec::with_capacity(count);
        for gpu in fitting {
            if own.len() == count {
                break;
            }
            if gpu.taken > 0 {
                own.push((gpu, None));
                continue;
            }
            match claims::claim_gpu(&gpu.name) {
                Claim::Held(file) => own.push((gpu, Some(file))),
                Claim::Unknown => own.push((gpu, None)),
                Claim::Taken => {}
            }
        }
        if own.len() < count {
            return Err(Reserved::ByOthers);
        }
        let take = |(gpu, lock): (&mut Device, Option<File>)| {
            gpu.taken += amount;
            gpu.lock = gpu.lock.take().or(lock);
            gpu.name.clone()
        };
        Ok(own.into_iter().map(take).collect())
    }

    /// So many processors that nobody else was given; none where there are not enough.
    fn own_cores(&mut self, count: u32) -> (Vec<u32>, Vec<File>) {
        let (mut own, mut locks) = (Vec::new(), Vec::new());
        for core in &self.cores {
            if own.len() == count as usize {
                break;
            }
            if let Claim::Held(file) = claims::claim_processor(*core) {
                own.push(*core);
                locks.push(file);
            }
        }
        if own.len() < count as usize {
            return (Vec::new(), Vec::new());
        }
        self.cores.retain(|core| !own.contains(core));
        (own, locks)
    }

    /// Gives back what [`Self::take`] took.
    pub fn give_back(&mut self, granted: Granted) {
        self.cores.extend(granted.grant.cores);
        self.cores.sort_unstable();
        let amount = granted.of_each_gpu;
        for name in granted.grant.gpus.iter().flatten() {
            let is_it = |gpu: &&mut Device| gpu.name == *name && gpu.taken >= amount;
            if let Some(gpu) = self.gpus.iter_mut().find(is_it) {
                gpu.taken -= amount;
                if gpu.taken == 0 {
                    gpu.lock = None;
                }
            }
        }
    }
}

/// For an action that runs by itself: what it declares, and no processors of its own. Where other
/// runs have the GPUs, it waits as long as `on_wait`, called now and then, says `Continue`, and
/// then shares theirs.
pub fn alone(policy: &Policy, mut on_wait: impl FnMut() -> ControlFlow<()>) -> Granted {
    let Machine { gpus, maker, .. } = Machine::here();
    let count = (policy.gpus_seen() as usize).min(gpus.len());
    let (mut own, mut locks) = free_gpus(&gpus, count);
    while own.len() < count && on_wait().is_continue() {
        drop(locks);
        std::thread::sleep(LOOK_AGAIN);
        (own, locks) = free_gpus(&gpus, count);
    }
    let others: Vec<_> = gpus.iter().filter(|g| !own.contains(g)).cloned().collect();
    own.extend(others.into_iter().take(count - own.len()));
    Granted {
        grant: Grant {
            threads: policy.cpus,
            cores: Vec::new(),
            gpus: (!gpus.is_empty()).then_some(own),
            maker,
        },
        of_each_gpu: policy.of_each_gpu(),
        _locks: locks,
    }
}

/// At most so many of these that no other run has, with what keeps them.
fn free_gpus(among: &[Arc<str>], count: usize) -> (Vec<Arc<str>>, Vec<File>) {
    let (mut free, mut locks) = (Vec::new(), Vec::new());
    for gpu in among {
        if free.len() == count {
            break;
        }
        match claims::claim_gpu(gpu) {
            Claim::Held(file) => {
                free.push(gpu.clone());
                locks.push(file);
            }
            Claim::Unknown => free.push(gpu.clone()),
            Claim::Taken => {}
        }
    }
    (free, locks)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn devices() -> Devices {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        Devices::of(&Machine {
            cpus: 8,
            cores: (0..8).collect(),
            memory_bytes: 100,
            // Nobody else's: other tests run beside this one.
            gpus: ["a", "b", "c"]
                .map(|name| format!("{name}-{}-{number}", std::process::id()).into())
                .to_vec(),
            maker: Maker::default(),
        })
    }

    fn wants(gpus: u32) -> Policy {
        Policy {
            gpus,
            ..Policy::default()
        }
    }

    fn names(granted: &Granted) -> Vec<String> {
        let gpus = granted.grant.gpus.clone().unwrap();
        let name = |g: &Arc<str>| g.split('-').next().unwrap().to_owned();
        gpus.iter().map(name).collect()
    }

    #[test]
    fn case_24_two_actions_never_share_a_gpu() {
        let mut devices = devices();
        let none = devices.take(&wants(0), None).unwrap();
        assert!(names(&none).is_empty());
        let one = devices.take(&wants(1000), None).unwrap();
        let two = devices.take(&wants(2000), None).unwrap();
        let mut all = names(&one);
        all.extend(names(&two));
        all.sort();
        assert_eq!(all, ["a", "b", "c"]);
        let full = devices.take(&wants(1000), None).unwrap_err();
        assert_eq!(full, Reserved::ByThisRun);
        devices.give_back(two);
        assert!(devices.take(&wants(9000), None).is_err());
        devices.give_back(one);
        assert_eq!(names(&devices.take(&wants(9000), None).unwrap()).len(), 3);
    }

    #[test]
    fn shares_of_a_gpu_are_packed_and_a_whole_one_is_whole() {
        let mut devices = devices();
        let mut take = |number| {
            let granted = devices.take(&wants(number), None).ok();
            granted.map(|granted| (names(&granted).concat(), granted))
        };
        // Three thirds fit on one, and nothing more.
        let thirds: Vec<_> = (0..3).map(|_| take(333).unwrap()).collect();
        assert!(thirds.iter().all(|(gpu, _)| gpu == "a"));
        let (gpu, thousandth) = take(1).unwrap();
        assert_eq!(gpu, "a");
        let (gpu, other) = take(1).unwrap();
        assert_eq!(gpu, "b");
        // On the fullest that holds it.
        let (gpu, most) = take(999).unwrap();
        assert_eq!(gpu, "b");
        let (gpu, whole) = take(1000).unwrap();
        assert_eq!(gpu, "c");
        assert!(take(1).is_none() && take(1000).is_none());
        devices.give_back(most);
        assert!(
            devices.take(&wants(1000), None).is_err(),
            "one has a share of it"
        );
        devices.give_back(other);
        assert_eq!(names(&devices.take(&wants(1000), None).unwrap()), ["b"]);
        devices.give_back(thousandth);
        for (_, third) in thirds {
            devices.give_back(third);
        }
        devices.give_back(whole);
        assert_eq!(names(&devices.take(&wants(2000), None).unwrap()).len(), 2);
    }

    #[test]
    fn what_another_run_has_is_waited_for() {
        let mut devices = devices();
        let Claim::Held(theirs) = claims::claim_gpu(&devices.gpus[0].name) else {
            panic!("nobody else knows of it");
        };
        assert_eq!(
            devices.take(&wants(3000), None).unwrap_err(),
            Reserved::ByOthers
        );
        drop(theirs);
        // A process that another test just starts may hold the claim for a moment.
        let mut takes = std::iter::repeat_with(|| devices.take(&wants(3000), None));
        assert_eq!(names(&takes.find_map(Result::ok).unwrap()).len(), 3);
    }

    #[test]
    fn case_24_declared_processors_are_an_actions_own() {
        let mut devices = devices();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let granted = devices.take(&wants(0), Some(2)).unwrap();
            assert_eq!(granted.grant.threads, Some(2));
            // None where another run of this machine holds them.
            assert!(matches!(granted.grant.cores.len(), 0 | 2));
            seen.extend(granted.grant.cores.clone());
            std::mem::forget(granted);
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
        let granted = self::devices().take(&wants(0), None).unwrap();
        assert!(granted.grant.threads.is_none() && granted.grant.cores.is_empty());
    }
}
