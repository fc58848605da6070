//! What an executor has to give, and what of it is taken: cores, memory, named locks.
//!
//! An action that wants more than there is in all still runs, alone: a wish is not a reason to
//! refuse work. Devices are the executor's business.

use std::collections::HashSet;
use std::sync::Arc;

use crate::executor::Capacity;
use crate::plan::Policy;

/// Capacity and what of it is taken.
#[derive(Debug)]
pub struct Resources {
    cpus_total: u32,
    memory_total: u64,
    cpus: u32,
    memory: u64,
    mutexes: HashSet<Arc<str>>,
    /// Only mutexes keep anything waiting.
    is_elastic: bool,
}

impl Resources {
    /// What an executor has, or `jobs` cores of it.
    pub fn of(capacity: &Capacity, jobs: Option<u32>) -> Resources {
        Resources {
            cpus_total: jobs.unwrap_or(capacity.cpus).max(1),
            memory_total: capacity.memory_bytes,
            cpus: 0,
            memory: 0,
            mutexes: HashSet::new(),
            is_elastic: capacity.is_elastic,
        }
    }

    /// Cores in all.
    pub fn cpus_total(&self) -> u32 {
        self.cpus_total
    }

    /// Cores nobody holds.
    pub fn cpus_free(&self) -> u32 {
        // Where there is room for everything, nothing has to share.
        match self.is_elastic {
            true => 1,
            false => self.cpus_total - self.cpus,
        }
    }

    /// No core is free, so nothing can start.
    pub fn full(&self) -> bool {
        self.cpus_free() == 0
    }

    /// There is room for what the policy asks for.
    pub fn fits(&self, policy: &Policy) -> bool {
        let want = self.clipped(policy);
        self.cpus + want.0 <= self.cpus_total
            && self.memory + want.1 <= self.memory_total
            && policy.mutexes.iter().all(|m| !self.mutexes.contains(m))
    }

    /// Takes what the policy asks for; it [fits](Self::fits).
    pub fn take(&mut self, policy: &Policy) {
        let want = self.clipped(policy);
        self.cpus += want.0;
        self.memory += want.1;
        self.mutexes.extend(policy.mutexes.iter().cloned());
    }

    /// Gives back what [`Self::take`] took.
    pub fn give_back(&mut self, policy: &Policy) {
        let want = self.clipped(policy);
        self.cpus -= want.0;
        self.memory -= want.1;
        for mutex in &policy.mutexes {
            self.mutexes.remove(mutex);
        }
    }

    fn clipped(&self, policy: &Policy) -> (u32, u64) {
        if self.is_elastic {
            return (0, 0);
        }
        (
            policy.threads().min(self.cpus_total),
            policy.memory_bytes.unwrap_or(0).min(self.memory_total),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(jobs: u32) -> Resources {
        let capacity = Capacity {
            is_elastic: false,
            cpus: 8,
            memory_bytes: 100,
            gpus: 0,
        };
        Resources::of(&capacity, Some(jobs))
    }

    fn policy(cpus: u32, memory: u64, mutex: Option<&str>) -> Policy {
        Policy {
            cpus: Some(cpus),
            memory_bytes: Some(memory),
            mutexes: mutex.map(Arc::from).into_iter().collect(),
            ..Policy::default()
        }
    }

    #[test]
    fn takes_no_more_than_there_is() {
        let mut resources = resources(4);
        let (first, second) = (policy(3, 50, None), policy(1, 50, Some("disk")));
        resources.take(&first);
        assert!(!resources.fits(&policy(2, 0, None)));
        assert!(!resources.fits(&policy(1, 51, None)));
        assert!(resources.fits(&second));
        resources.take(&second);
        resources.give_back(&first);
        assert!(!resources.fits(&policy(1, 0, Some("disk"))));
        resources.give_back(&second);
        assert_eq!(resources.cpus_free(), resources.cpus_total());
    }

    #[test]
    fn a_wish_beyond_the_machine_runs_alone() {
        let mut resources = resources(2);
        let huge = policy(64, 1 << 40, None);
        assert!(resources.fits(&huge));
        resources.take(&huge);
        assert!(!resources.fits(&policy(1, 0, None)));
    }

    #[test]
    fn where_there_is_room_for_everything_only_mutexes_wait() {
        let capacity = Capacity {
            is_elastic: true,
            cpus: 1,
            memory_bytes: 1,
            gpus: 0,
        };
        let mut resources = Resources::of(&capacity, None);
        for _ in 0..1000 {
            let any = policy(64, 1 << 40, None);
            assert!(!resources.full() && resources.fits(&any));
            resources.take(&any);
        }
        let alone = policy(1, 0, Some("disk"));
        resources.take(&alone);
        assert!(!resources.fits(&alone));
        resources.give_back(&alone);
        assert!(resources.fits(&alone));
    }
}
