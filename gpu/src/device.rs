//! Devices: which there are, and one that is open.

use std::sync::Arc;

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

impl Found {
    /// Compiles the kernels for it.
    ///
    /// # Errors
    /// It cannot give the CPU's bits, or its driver fails.
    pub fn open(&self) -> Result<Device, Fault> {
        if let Some(lacks) = &self.lacks {
            return Err(Fault::Unfit {
                device: self.name.clone(),
                lacks: lacks.clone(),
            });
        }
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
    driver: Box<dyn Driver>,
}

impl Device {
    /// As its maker calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes of its memory that can be had: what is left of it where the driver tells, else all.
    pub fn room(&self) -> u64 {
        self.0.driver.left().unwrap_or(self.0.memory)
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
