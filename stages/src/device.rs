//! The device that built-in kinds compute on. A kind names neither a device nor its arithmetic: which
//! one it is, the job says, and the bits are the same on each.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{bail, ensure};
use repro_gpu::{Fault, Found, Search};
use repro_protocol::job::Device as Wish;

use crate::failure::Failure;
use crate::ops::{Backend, Chosen};
use repro_numerics::exact::numerics::Numerics;

/// What kinds compute on.
pub type Device = Chosen;

/// Its memory between two steps.
pub type Pool = <Device as Backend>::Pool;

/// The class of its arithmetic: part of the key of every kind that computes on it.
pub const NUMERICS: Numerics = Device::NUMERICS;

/// What this process was told by its one job: where, and its share of a GPU.
static WISH: OnceLock<(Wish, Option<f64>)> = OnceLock::new();
/// What came of it, once a kind has asked.
static OPEN: Mutex<Option<Opened>> = Mutex::new(None);

struct Opened {
    device: Device,
    /// Why it is not what was wished for.
    why: Option<String>,
}

fn opened() -> MutexGuard<'static, Option<Opened>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says where this process computes, and what it has of a GPU. Nothing is opened before a kind asks.
///
/// # Errors
/// The share is none.
pub fn wish(wish: Option<Wish>, share: Option<f64>) -> anyhow::Result<()> {
    if let Some(share) = share {
        ensure!(
            share > 0.0 && share < 1.0,
            "the job gives {share} of a GPU; a share is above 0 and below 1"
        );
    }
    if let Some(wish) = wish {
        // The first job of a process decides; there is no second.
        let _ = WISH.set((wish, share));
    }
    Ok(())
}

/// The share of a GPU's memory that this process has, where it has one and not all of it.
pub fn share() -> Option<f64> {
    WISH.get().and_then(|(_, share)| *share)
}

/// The device, ready to compute. The first call opens it.
///
/// # Errors
/// A GPU was wished for, and there is none that gives the CPU's bits.
pub fn open() -> anyhow::Result<Device> {
    let mut opened = opened();
    if let Some(opened) = &*opened {
        return Ok(opened.device.clone());
    }
    let chosen = choose(WISH.get().map_or(Wish::Cpu, |(wish, _)| *wish))?;
    Ok(opened.insert(chosen).device.clone())
}

/// The device, if it has room for what is to be computed. Where the run leaves the choice open
/// (`auto`), the CPU is taken in its place.
///
/// # Errors
/// As of [`open`], and those of the check.
pub fn open_with(has_room: impl Fn(&Device) -> Result<(), Failure>) -> anyhow::Result<Device> {
    let device = open()?;
    let Err(short) = has_room(&device) else {
        return Ok(device);
    };
    if !matches!(WISH.get(), Some((Wish::Auto, _))) {
        return Err(short.into());
    }
    let cpu = Device::default();
    *opened() = Some(Opened {
        device: cpu.clone(),
        why: Some(short.message),
    });
    Ok(cpu)
}

fn choose(wish: Wish) -> anyhow::Result<Opened> {
    let cpu = |why| Opened {
        device: Device::default(),
        why,
    };
    if wish == Wish::Cpu {
        return Ok(cpu(None));
    }
    // The first device that gives the CPU's bits.
    match (first(|found| tried(found, share())), wish) {
        (Ok(device), _) => Ok(Opened {
            device: Chosen::gpu(device),
            why: None,
        }),
        (Err(why), Wish::Auto) => Ok(cpu(Some(why.to_string()))),
        (Err(why), _) => bail!(Failure::new(no_gpu(&why)).hint(WITHOUT_A_GPU)),
    }
}

/// What to do where no GPU can be used.
pub const WITHOUT_A_GPU: &str =
    "`repro doctor` tries all devices; `--device auto` takes the CPU where there is no GPU";

fn no_gpu(why: &Fault) -> String {
    format!("no GPU can be used: {why}")
}

/// Whether a driver lists a GPU that could give the CPU's bits, by what it says of itself. None is
/// opened, which takes a while: a run that cannot compute on one says so before it begins.
///
/// # Errors
/// Why none can be used.
pub fn expect_gpu() -> Result<(), String> {
    first(Found::fits).map_err(|why| no_gpu(&why))
}

/// What the first device gives that stands a test, or why none does.
fn first<T>(test: impl Fn(&Found) -> Result<T, Fault>) -> Result<T, Fault> {
    let mut why = Fault::None {
        why: "no driver lists one".to_owned(),
    };
    for found in repro_gpu::found()? {
        match test(&found) {
            Ok(stands) => return Ok(stands),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

fn tried(found: &Found, share: Option<f64>) -> Result<repro_gpu::Device, Fault> {
    let limit = share.map(|share| found.part(share));
    let device = found.open_within(limit)?;
    repro_gpu::check(&device)?;
    Ok(device)
}

/// The GPU that was computed on, for the run record; none where it was the CPU.
pub fn used() -> Option<String> {
    opened().as_ref()?.device.gpu_name().map(str::to_owned)
}

/// What the user should know of where was computed.
pub fn note() -> Option<String> {
    let opened = opened();
    let why = opened.as_ref()?.why.as_ref()?;
    Some(format!("computed on the CPU: {why}"))
}

/// A device that a driver lists, and what came of trying it.
#[derive(Debug, Clone)]
pub struct Examined {
    /// As its maker calls it.
    pub name: String,
    /// The way to it, and versions.
    pub driver: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Seconds until it had given the CPU's bits, or why it cannot be used.
    pub test: Result<f64, String>,
}

/// What came of trying all devices.
#[derive(Debug, Clone)]
pub struct Examination {
    /// Those that drivers list.
    pub devices: Vec<Examined>,
    /// Why a driver lists none.
    pub absent: Vec<String>,
}

/// Compiles the kernels for every device and compares what it computes with the CPU.
pub fn examine() -> Examination {
    let Search { found, absent } = repro_gpu::search();
    let examined = found.into_iter().map(|found| {
        let begun = Instant::now();
        let test = tried(&found, None).map_err(|fault| fault.to_string());
        Examined {
            test: test.map(|_| begun.elapsed().as_secs_f64()),
            name: found.name,
            driver: found.driver,
            memory: found.memory,
        }
    });
    Examination {
        devices: examined.collect(),
        absent,
    }
}
