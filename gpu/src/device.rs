//! Devices: which there are, and one that is open.

use std::sync::Arc;

use crate::driver::Driver;
use crate::fault::Fault;
use crate::opencl::{self, OpenCl};

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
    listed: opencl::Listed,
}

/// The devices that drivers list, in their order.
///
/// # Errors
/// No driver is installed, or none answers.
pub fn found() -> Result<Vec<Found>, Fault> {
    let listed = opencl::list().map_err(|why| Fault::None { why })?;
    let found = listed.into_iter().map(|listed| Found {
        name: listed.name.clone(),
        driver: listed.driver.clone(),
        memory: listed.memory,
        lacks: listed.lacks.clone(),
        listed,
    });
    Ok(found.collect())
}

impl Found {
    /// Compiles the kernels for it.
    ///
    /// # Errors
    /// It cannot give the CPU's bits, or its driver fails.
    pub fn open(&self) -> Result<Device, Fault> {
        let driver = OpenCl::open(self.listed.clone())?;
        Ok(Device(Arc::new(Open {
            name: self.name.clone(),
            driver: Box::new(driver),
        })))
    }
}

/// An open device; clones are the same one.
#[derive(Debug, Clone)]
pub struct Device(Arc<Open>);

#[derive(Debug)]
struct Open {
    name: String,
    driver: Box<dyn Driver>,
}

impl Device {
    /// As its maker calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    pub(crate) fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
