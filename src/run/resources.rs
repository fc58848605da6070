//! What a machine has to give, and who holds it: cores, memory, GPUs, named locks.
//!
//! An action that wants more than there is in all still runs, alone: a wish is not a reason to refuse work.

use std::collections::HashSet;
use std::sync::Arc;

use crate::plan::Policy;

/// Capacity and what of it is taken.
#[derive(Debug)]
pub struct Resources {
    cpus_total: u32,
    memory_total: u64,
    gpus_total: u32,
    cpus: u32,
    memory: u64,
    gpus: u32,
    mutexes: HashSet<Arc<str>>,
    running: u32,
}

impl Resources {
    /// A machine with this much.
    pub fn new(cpus: u32, memory_bytes: u64, gpus: u32) -> Resources {
        Resources {
            cpus_total: cpus.max(1),
            memory_total: memory_bytes,
            gpus_total: gpus,
            cpus: 0,
            memory: 0,
            gpus: 0,
            mutexes: HashSet::new(),
            running: 0,
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

    /// Takes what the policy asks for, or nothing.
    pub fn take(&mut self, policy: &Policy) -> bool {
        let want = self.clipped(policy);
        let fits = self.cpus + want.0 <= self.cpus_total
            && self.memory + want.1 <= self.memory_total
            && self.gpus + want.2 <= self.gpus_total
            && policy.mutexes.iter().all(|m| !self.mutexes.contains(m));
        if fits {
            self.cpus += want.0;
            self.memory += want.1;
            self.gpus += want.2;
            self.mutexes.extend(policy.mutexes.iter().cloned());
            self.running += 1;
        }
        fits
    }

    /// Gives back what [`Self::take`] took.
    pub fn give_back(&mut self, policy: &Policy) {
        let want = self.clipped(policy);
        self.cpus -= want.0;
        self.memory -= want.1;
        self.gpus -= want.2;
        for mutex in &policy.mutexes {
            self.mutexes.remove(mutex);
        }
        self.running -= 1;
    }

    /// Nothing is taken.
    pub fn idle(&self) -> bool {
        self.running == 0
    }

    fn clipped(&self, policy: &Policy) -> (u32, u64, u32) {
        (
            policy.threads().min(self.cpus_total),
            policy.memory_bytes.unwrap_or(0).min(self.memory_total),
            policy.gpus.min(self.gpus_total),
        )
    }
}

/// Memory of this machine in bytes; a huge number where it cannot be told.
pub fn memory_total() -> u64 {
    let kib = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find(|l| l.starts_with("MemTotal:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
    kib.map_or(u64::MAX / 2, |kib| kib * 1024)
}

/// NVIDIA GPUs the driver shows.
pub fn gpus_total() -> u32 {
    crate::dir::read("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.count() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Network, Sandbox, Scratch};

    fn policy(cpus: u32, memory: u64, mutex: Option<&str>) -> Policy {
        Policy {
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
        }
    }

    #[test]
    fn takes_no_more_than_there_is() {
        let mut machine = Resources::new(4, 100, 0);
        assert!(machine.take(&policy(3, 50, None)));
        assert!(!machine.take(&policy(2, 0, None)));
        assert!(!machine.take(&policy(1, 51, None)));
        assert!(machine.take(&policy(1, 50, Some("disk"))));
        machine.give_back(&policy(3, 50, None));
        assert!(!machine.take(&policy(1, 0, Some("disk"))));
        machine.give_back(&policy(1, 50, Some("disk")));
        assert!(machine.idle());
    }

    #[test]
    fn a_wish_beyond_the_machine_runs_alone() {
        let mut machine = Resources::new(2, 100, 0);
        assert!(machine.take(&policy(64, 1 << 40, None)));
        assert!(!machine.take(&policy(1, 0, None)));
    }
}
