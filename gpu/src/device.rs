//! Devices: which there are, and one that is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cuda::{self, Cuda};
use crate::driver::{Driver, Listed};
use crate::fault::Fault;
use crate::opencl::{self, OpenCl};
use crate::text;

/// A device that a driver lists.
#[derive(Debug, Clone)]
pub struct Found {
    /// As its maker calls it.
    pub name: String,
    /// The way to it, and versions.
    pub driver: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Why it cannot give the CPU's bits, by what it says of itself.
    pub lacks: Option<String>,
    units: usize,
    items: usize,
    cache: u64,
    way: Way,
}

/// Its name to the driver that lists it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Cuda(cuda::Ordinal),
    OpenCl(opencl::Id),
}

/// What came of asking every driver.
#[derive(Debug, Clone)]
pub struct Search {
    /// CUDA's devices, then OpenCL's, each in the order of their driver. One GPU may be both.
    pub found: Vec<Found>,
    /// Why a driver lists none.
    pub absent: Vec<String>,
}

/// Asks every driver for its devices.
pub fn search() -> Search {
    let mut search = Search {
        found: Vec::new(),
        absent: Vec::new(),
    };
    search.take(cuda::list(), Way::Cuda);
    search.take(opencl::list(), Way::OpenCl);
    search
}

impl Search {
    fn take<I>(&mut self, listed: Result<Vec<Listed<I>>, String>, way: impl Fn(I) -> Way) {
        let found = |listed: Listed<I>| Found {
            name: listed.name,
            driver: listed.driver,
            memory: listed.memory,
            lacks: listed.lacks,
            units: listed.units,
            items: listed.items,
            cache: listed.cache,
            way: way(listed.id),
        };
        match listed {
            Ok(listed) => self.found.extend(listed.into_iter().map(found)),
            Err(why) => self.absent.push(why),
        }
    }
}

/// The devices that drivers list.
///
/// # Errors
/// No driver is installed, or none answers.
pub fn found() -> Result<Vec<Found>, Fault> {
    let Search { found, absent } = search();
    if found.is_empty() && !absent.is_empty() {
        let why = absent.join("; ");
        return Err(Fault::None { why });
    }
    Ok(found)
}

/// What a driver takes of a GPU's memory for itself in every process that uses it, at most.
const OF_THE_DRIVER: u64 = 512 << 20;

/// Bytes that a process may have of so much memory if it has a share of it.
fn part(memory: u64, share: f64) -> u64 {
    let whole = (memory as f64 * share) as u64;
    whole - OF_THE_DRIVER.min(whole / 4)
}

impl Found {
    /// Bytes that a process may have of its memory with a share of it, above 0 and at most 1: what the
    /// driver takes for the process is part of the share, but no more than a quarter of it.
    pub fn part(&self, share: f64) -> u64 {
        part(self.memory, share)
    }

    /// Whether it could give the CPU's bits, by what it says of itself.
    ///
    /// # Errors
    /// It lacks something.
    pub fn fits(&self) -> Result<(), Fault> {
        match &self.lacks {
            None => Ok(()),
            Some(lacks) => Err(Fault::Unfit {
                device: self.name.clone(),
                lacks: lacks.clone(),
            }),
        }
    }

    /// Compiles the kernels for it.
    ///
    /// # Errors
    /// It cannot give the CPU's bits, or its driver fails.
    pub fn open(&self) -> Result<Device, Fault> {
        self.open_within(None)
    }

    /// As [`Found::open`], and of its memory no more than this is ever taken at once.
    ///
    /// # Errors
    /// As there.
    pub fn open_within(&self, limit: Option<u64>) -> Result<Device, Fault> {
        self.fits()?;
        let driver: Box<dyn Driver> = match self.way {
            Way::Cuda(ordinal) => Box::new(Cuda::open(&self.name, ordinal)?),
            Way::OpenCl(id) => Box::new(OpenCl::open(&self.name, self.memory, self.items, id)?),
        };
        Ok(Device(Arc::new(Open {
            name: self.name.clone(),
            memory: self.memory,
            units: self.units,
            items: self.items,
            cache: self.cache,
            limit,
            taken: AtomicU64::new(0),
            driver,
        })))
    }
}

/// An open device; clones are the same one.
#[derive(Debug, Clone)]
pub struct Device(Arc<Open>);

#[derive(Debug)]
struct Open {
    name: String,
    memory: u64,
    units: usize,
    items: usize,
    cache: u64,
    /// Bytes that may be taken at once.
    limit: Option<u64>,
    /// Bytes that are.
    taken: AtomicU64,
    driver: Box<dyn Driver>,
}

impl Device {
    /// As its maker calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes of its memory that can be had: what is left of it where the driver tells, else all; and
    /// no more than is left of what may be taken.
    pub fn room(&self) -> u64 {
        let left = self.0.driver.left().unwrap_or(self.0.memory);
        let taken = self.0.taken.load(Ordering::Relaxed);
        let of_limit = self.0.limit.map(|limit| limit.saturating_sub(taken));
        of_limit.map_or(left, |of_limit| of_limit.min(left))
    }

    /// Counts bytes that are about to be taken.
    ///
    /// # Errors
    /// They are more than may be taken.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), Fault> {
        let limit = self.0.limit.unwrap_or(u64::MAX);
        let with = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        let order = Ordering::Relaxed;
        let taken = self.0.taken.fetch_update(order, order, with);
        taken.map(drop).map_err(|taken| Fault::Memory {
            device: self.0.name.clone(),
            asked: bytes,
            free: Some(limit.saturating_sub(taken)),
            total: self.0.memory,
            share: self.0.limit,
        })
    }

    /// Bytes that were taken are free.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.0.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Its multiprocessors, or what it has in their place.
    pub(crate) fn units(&self) -> usize {
        self.0.units
    }

    /// Neighbouring channels of an item.
    pub(crate) fn lanes(&self) -> usize {
        match self.0.items {
            1 => text::LANES,
            _ => 1,
        }
    }

    /// Bytes of the cache that all units share.
    pub(crate) fn cache(&self) -> u64 {
        self.0.cache
    }

    /// Items of a group that shares memory.
    pub(crate) fn items(&self) -> usize {
        self.0.items
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    pub(crate) fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_leaves_the_driver_its_own_and_parts_fill_no_more_than_all() {
        const GIB: u64 = 1 << 30;
        assert_eq!(part(80 * GIB, 0.25), 20 * GIB - (512 << 20));
        // Of a small share the driver is left a quarter.
        assert_eq!(part(8 * GIB, 0.125), 768 << 20);
        assert_eq!(part(1000, 0.5), 375);
        assert_eq!(part(0, 0.5), 0);
        for thousandths in [1_u64, 3, 250, 333, 999] {
            let count = 1000 / thousandths;
            let all = count * part(24 * GIB, thousandths as f64 / 1e3);
            assert!(all <= 24 * GIB, "{thousandths}");
        }
    }
}
