//! What a machine has to give, and who holds it: cores, memory, GPUs, named locks.
//!
//! An action that wants more than there is in all still runs, alone: a wish is not a reason to
//! refuse work. GPUs are given out by name, and only those that no other run of the same user has;
//! shares of one are packed on as few as will hold them. Who declares `cpus` also gets as many
//! processors for itself, as far as this run and others leave them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::devices::{self, Claim};
use crate::exec::Grant;
use crate::machine::Machine;
use crate::plan::{ONE_GPU, Policy};

/// Nobody tells when another run gives something back.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is told when a stage waits for them.
pub const GPUS_ARE_TAKEN: &str = "waiting for GPUs: other runs on this machine have them";

/// Capacity and what of it is taken.
#[derive(Debug)]
pub struct Resources {
    cpus_total: u32,
    memory_total: u64,
    cpus: u32,
    memory: u64,
    cores: Vec<u32>,
    gpus: Vec<Device>,
    mutexes: HashSet<Arc<str>>,
    misses_gpus: bool,
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

impl Device {
    fn free(name: &Arc<str>) -> Device {
        Device {
            name: name.clone(),
            taken: 0,
            lock: None,
        }
    }
}

/// What an action holds.
#[derive(Debug)]
pub struct Taken {
    /// How it is run.
    pub policy: Arc<Policy>,
    /// What it is given.
    pub grant: Grant,
    /// Keep other runs off its processors.
    _locks: Vec<File>,
}

impl Resources {
    /// What a machine has, or `jobs` cores of it.
    pub fn of(machine: &Machine, jobs: Option<u32>) -> Resources {
        Resources {
            cpus_total: jobs.unwrap_or(machine.cpus).max(1),
            memory_total: machine.memory_bytes,
            cpus: 0,
            memory: 0,
            cores: machine.cores.clone(),
            gpus: machine.gpus.iter().map(Device::free).collect(),
            mutexes: HashSet::new(),
            misses_gpus: false,
        }
    }

    /// Cores in all.
    pub fn cpus_total(&self) -> u32 {
        self.cpus_total
    }

    /// Cores nobody holds.
    pub fn cpus_free(&self) -> u32 {
        self.cpus_total - self.cpus
    }

    /// No core is free, so nothing can start.
    pub fn full(&self) -> bool {
        self.cpus_free() == 0
    }

    /// Something could not be taken because another run has the GPUs.
    pub fn misses_gpus(&self) -> bool {
        self.misses_gpus
    }

    /// Takes what the policy asks for, or nothing. `declared` is the number of `cpus` the stage
    /// itself names.
    pub fn take(&mut self, policy: &Arc<Policy>, declared: Option<u32>) -> Option<Taken> {
        let want = self.clipped(policy);
        let fits = self.cpus + want.0 <= self.cpus_total
            && self.memory + want.1 <= self.memory_total
            && policy.mutexes.iter().all(|m| !self.mutexes.contains(m));
        if !fits {
            return None;
        }
        let gpus = self.own_gpus(policy)?;
        self.cpus += want.0;
        self.memory += want.1;
        self.mutexes.extend(policy.mutexes.iter().cloned());
        let threads = declared.map(|_| want.0);
        let (cores, locks) = threads.map_or_else(Default::default, |n| self.own_cores(n));
        Some(Taken {
            policy: policy.clone(),
            grant: Grant {
                threads,
                cores,
                gpus: (!self.gpus.is_empty()).then_some(gpus),
            },
            _locks: locks,
        })
    }

    /// The GPUs of a wish, or nothing: who keeps one while waiting for another keeps a third from
    /// both.
    fn own_gpus(&mut self, policy: &Policy) -> Option<Vec<Arc<str>>> {
        let count = (policy.gpus_seen() as usize).min(self.gpus.len());
        let amount = policy.of_each_gpu();
        let fits = |gpu: &&mut Device| gpu.taken + amount <= ONE_GPU;
        let mut fitting: Vec<&mut Device> = self.gpus.iter_mut().filter(fits).collect();
        if fitting.len() < count {
            return None;
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
            match devices::claim_gpu(&gpu.name) {
                Claim::Held(file) => own.push((gpu, Some(file))),
                Claim::Unknown => own.push((gpu, None)),
                Claim::Taken => {}
            }
        }
        if own.len() < count {
            self.misses_gpus = true;
            return None;
        }
        let take = |(gpu, lock): (&mut Device, Option<File>)| {
            gpu.taken += amount;
            gpu.lock = gpu.lock.take().or(lock);
            gpu.name.clone()
        };
        Some(own.into_iter().map(take).collect())
    }

    /// So many processors that nobody else was given; none where there are not enough.
    fn own_cores(&mut self, count: u32) -> (Vec<u32>, Vec<File>) {
        let (mut own, mut locks) = (Vec::new(), Vec::new());
        for core in &self.cores {
            if own.len() == count as usize {
                break;
            }
            if let Claim::Held(file) = devices::claim_processor(*core) {
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
    pub fn give_back(&mut self, taken: Taken) {
        let want = self.clipped(&taken.policy);
        self.cpus -= want.0;
        self.memory -= want.1;
        self.cores.extend(taken.grant.cores);
        self.cores.sort_unstable();
        let amount = taken.policy.of_each_gpu();
        for name in taken.grant.gpus.iter().flatten() {
            let is_it = |gpu: &&mut Device| gpu.name == *name && gpu.taken >= amount;
            if let Some(gpu) = self.gpus.iter_mut().find(is_it) {
                gpu.taken -= amount;
                if gpu.taken == 0 {
                    gpu.lock = None;
                }
            }
        }
        for mutex in &taken.policy.mutexes {
            self.mutexes.remove(mutex);
        }
    }

    fn clipped(&self, policy: &Policy) -> (u32, u64) {
        (
            policy.threads().min(self.cpus_total),
            policy.memory_bytes.unwrap_or(0).min(self.memory_total),
        )
    }
}

/// At most so many of these that no other run has, with what keeps them.
fn free_gpus(among: &[Arc<str>], count: usize) -> (Vec<Arc<str>>, Vec<File>) {
    let (mut free, mut locks) = (Vec::new(), Vec::new());
    for gpu in among {
        if free.len() == count {
            break;
        }
        match devices::claim_gpu(gpu) {
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

/// For an action that runs by itself: what it declares, and no processors of its own. Where other
/// runs have the GPUs, it waits as long as `on_wait`, called now and then, says `Continue`, and
/// then shares theirs.
pub fn alone(policy: &Policy, mut on_wait: impl FnMut() -> ControlFlow<()>) -> (Grant, Vec<File>) {
    let gpus = Machine::here().gpus;
    let count = (policy.gpus_seen() as usize).min(gpus.len());
    let (mut own, mut locks) = free_gpus(&gpus, count);
    while own.len() < count && on_wait().is_continue() {
        drop(locks);
        std::thread::sleep(LOOK_AGAIN);
        (own, locks) = free_gpus(&gpus, count);
    }
    let others: Vec<_> = gpus.iter().filter(|g| !own.contains(g)).cloned().collect();
    own.extend(others.into_iter().take(count - own.len()));
    let grant = Grant {
        threads: policy.cpus,
        cores: Vec::new(),
        gpus: (!gpus.is_empty()).then_some(own),
    };
    (grant, locks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Network, Sandbox, Scratch};

    fn machine(memory_bytes: u64) -> Machine {
        Machine {
            cpus: 8,
            cores: (0..8).collect(),
            memory_bytes,
            // Nobody else's: other tests run beside this one.
            gpus: ["a", "b", "c"]
                .map(|name| format!("{name}-{}", std::process::id()).into())
                .to_vec(),
        }
    }

    fn policy(cpus: u32, memory: u64, mutex: Option<&str>) -> Arc<Policy> {
        Arc::new(Policy {
            cpus: Some(cpus),
            memory_bytes: Some(memory),
            gpus: 0,
            mutexes: mutex.map(Arc::from).into_iter().collect(),
            timeout_s: None,
            grace_s: 30.0,
            retries: 0,
            sandbox: Sandbox::On,
            network: Network::On,
            scratch: Scratch::None,
            secrets: Vec::new(),
        })
    }

    #[test]
    fn takes_no_more_than_there_is() {
        let mut machine = Resources::of(&machine(100), Some(4));
        let first = machine.take(&policy(3, 50, None), None).unwrap();
        assert!(machine.take(&policy(2, 0, None), None).is_none());
        assert!(machine.take(&policy(1, 51, None), None).is_none());
        let second = machine.take(&policy(1, 50, Some("disk")), None).unwrap();
        machine.give_back(first);
        assert!(machine.take(&policy(1, 0, Some("disk")), None).is_none());
        machine.give_back(second);
        assert_eq!(machine.cpus_free(), machine.cpus_total());
    }

    #[test]
    fn a_wish_beyond_the_machine_runs_alone() {
        let mut machine = Resources::of(&machine(100), Some(2));
        assert!(machine.take(&policy(64, 1 << 40, None), None).is_some());
        assert!(machine.take(&policy(1, 0, None), None).is_none());
    }

    #[test]
    fn case_24_two_actions_never_share_a_gpu() {
        let mut machine = Resources::of(&machine(100), Some(8));
        let none = machine.take(&wants(0), None).unwrap();
        assert!(names(&none).is_empty());
        let one = machine.take(&wants(1000), None).unwrap();
        let two = machine.take(&wants(2000), None).unwrap();
        let mut all = names(&one);
        all.extend(names(&two));
        all.sort();
        assert_eq!(all, ["a", "b", "c"]);
        assert!(machine.take(&wants(1000), None).is_none());
        machine.give_back(two);
        assert!(machine.take(&wants(9000), None).is_none());
        machine.give_back(one);
        assert_eq!(names(&machine.take(&wants(9000), None).unwrap()).len(), 3);
    }

    #[test]
    fn shares_of_a_gpu_are_packed_and_a_whole_one_is_whole() {
        let mut machine = Resources::of(&machine(100), Some(20));
        let mut take = |number| {
            let taken = machine.take(&wants(number), None);
            taken.map(|taken| (names(&taken).concat(), taken))
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
        machine.give_back(most);
        assert!(
            machine.take(&wants(1000), None).is_none(),
            "one has a share of it"
        );
        machine.give_back(other);
        assert_eq!(names(&machine.take(&wants(1000), None).unwrap()), ["b"]);
        machine.give_back(thousandth);
        for (_, third) in thirds {
            machine.give_back(third);
        }
        machine.give_back(whole);
        assert_eq!(names(&machine.take(&wants(2000), None).unwrap()).len(), 2);
    }

    fn wants(gpus: u32) -> Arc<Policy> {
        let mut policy = Arc::unwrap_or_clone(policy(1, 0, None));
        policy.gpus = gpus;
        Arc::new(policy)
    }

    fn names(taken: &Taken) -> Vec<String> {
        let gpus = taken.grant.gpus.clone().unwrap();
        let name = |g: &Arc<str>| g.split('-').next().unwrap().to_owned();
        gpus.iter().map(name).collect()
    }

    #[test]
    fn case_24_declared_processors_are_an_actions_own() {
        let mut machine = Resources::of(&machine(100), Some(4));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let taken = machine.take(&policy(2, 0, None), Some(2)).unwrap();
            assert_eq!(taken.grant.threads, Some(2));
            // None where another run of this machine holds them.
            assert!(matches!(taken.grant.cores.len(), 0 | 2));
            seen.extend(taken.grant.cores.clone());
            std::mem::forget(taken);
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
        let mut machine = Resources::of(&self::machine(100), Some(4));
        let taken = machine.take(&policy(2, 0, None), None).unwrap();
        assert!(taken.grant.threads.is_none() && taken.grant.cores.is_empty());
    }
}
