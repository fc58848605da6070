//! The energy of an execution, with the method that says it, and the CO₂e that goes with it.
//!
//! Where the counters of the processor can be read (RAPL, below `/sys/class/powercap`), it is what
//! packages and memory used meanwhile, times the share that the execution had of the busy processor
//! time of the whole machine. Elsewhere it is an estimate: processor seconds times a stated power.
//! GPUs that an execution was given have counters of their own (`gpus.rs`), and are added. CO₂e is
//! energy times a stated intensity; without one there is none. Nothing of this is part of a key or
//! of a result.

mod gpus;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::gpus::{GpuEnergy, Gpus};
use crate::store::{Fact, Observation};

/// Watts that a busy core is said to take.
pub const WATTS_PER_CORE: &str = "REPRO_WATTS_PER_CORE";
/// Grams of CO₂e that a kilowatt-hour is said to cause.
pub const GRAMS_PER_KWH: &str = "REPRO_CO2E_G_PER_KWH";
/// What the environment says of energy, on whatever machine something is executed.
pub const VARIABLES: [&str; 2] = [WATTS_PER_CORE, GRAMS_PER_KWH];
/// A round figure between a core of a laptop and one of a server.
const DEFAULT_WATTS: f64 = 10.0;
/// How often counters are read: at 1 kW the smallest of them (65 kJ) comes round in a minute.
const READ_EVERY: Duration = Duration::from_secs(20);
const JOULES_PER_KWH: f64 = 3.6e6;

/// What an execution used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules of the processor, and of the GPUs where they are counted.
    pub joules: f64,
    /// Those of the GPUs among them; absent where no GPU was given, or not all can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_joules: Option<f64>,
    /// GPUs were given, and are not counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gpus_uncounted: bool,
    /// Who says so of the processor.
    pub method: Method,
    /// Of an estimate: the watts of a busy core that it takes for granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts_per_core: Option<f64>,
    /// Grams of CO₂e, where an intensity is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co2e_g: Option<f64>,
    /// That intensity, in grams per kilowatt-hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub g_per_kwh: Option<f64>,
}

/// What several executions used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EnergySum {
    /// Joules.
    pub joules: f64,
    /// Those among them that are estimated.
    pub estimated_joules: f64,
    /// Those among them that GPUs counted, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_joules: Option<f64>,
    /// An execution among them had GPUs that are not counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gpus_uncounted: bool,
    /// Grams of CO₂e, of those executions for which an intensity was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co2e_g: Option<f64>,
}

impl EnergySum {
    /// One more.
    pub fn add(&mut self, energy: &Energy) {
        self.joules += energy.joules;
        if energy.method == Method::Estimate {
            self.estimated_joules += energy.joules - energy.gpu_joules.unwrap_or(0.0);
        }
        if let Some(joules) = energy.gpu_joules {
            *self.gpu_joules.get_or_insert(0.0) += joules;
        }
        self.gpus_uncounted |= energy.gpus_uncounted;
        if let Some(grams) = energy.co2e_g {
            *self.co2e_g.get_or_insert(0.0) += grams;
        }
    }
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The processor's own counters, shared out by processor time.
    Rapl,
    /// Processor seconds times a stated power.
    Estimate,
}

impl Energy {
    /// As an observation has it; strangers may have written that.
    pub fn of(observation: &Observation) -> Option<Energy> {
        let said = observation.get(Fact::Energy)?;
        let energy: Energy = serde_json::from_value(said.clone()).ok()?;
        let numbers = [
            Some(energy.joules),
            energy.gpu_joules,
            energy.watts_per_core,
            energy.co2e_g,
            energy.g_per_kwh,
        ];
        let mut numbers = numbers.into_iter().flatten();
        let is_part = energy.gpu_joules.is_none_or(|gpus| gpus <= energy.joules);
        (is_part && numbers.all(|n| (0.0..1e15).contains(&n))).then_some(energy)
    }

    /// The same with what GPUs used, where some were given.
    pub fn with_gpus(self, gpus: Option<GpuEnergy>) -> Energy {
        let (used, gpus_uncounted) = match gpus {
            None => return self,
            Some(GpuEnergy::Counted(joules)) => (Some(joules), false),
            Some(GpuEnergy::Uncounted) => (None, true),
        };
        let joules = self.joules + used.unwrap_or(0.0);
        Energy {
            joules,
            gpu_joules: used,
            gpus_uncounted,
            co2e_g: self.g_per_kwh.map(|grams| co2e_g(joules, grams)),
            ..self
        }
    }
}

impl Method {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Method::Rapl => "rapl",
            Method::Estimate => "estimate",
        }
    }
}

/// What is stated, and cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stated {
    watts_per_core: f64,
    g_per_kwh: Option<f64>,
}

impl Default for Stated {
    fn default() -> Stated {
        Stated {
            watts_per_core: DEFAULT_WATTS,
            g_per_kwh: None,
        }
    }
}

impl Stated {
    /// As the environment says.
    ///
    /// # Errors
    /// A value that is no such number.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Stated> {
        let number = |name: &str, unit: &str| {
            let Some(text) = variable(name).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
                _ => Err(anyhow::anyhow!(
                    "{name} is `{}`; it has to be a number of {unit}, 0 or more",
                    text.escape_debug()
                )),
            }
        };
        Ok(Stated {
            watts_per_core: number(WATTS_PER_CORE, "watts")?.unwrap_or(DEFAULT_WATTS),
            g_per_kwh: number(GRAMS_PER_KWH, "grams per kilowatt-hour")?,
        })
    }
}

/// The counters of this machine, added up over all their rounds.
#[derive(Debug)]
pub struct Meter {
    stated: Stated,
    /// Busy processor time of the machine.
    stat: PathBuf,
    counters: Mutex<Vec<Counter>>,
}

/// A counter that begins again at 0 after its largest value.
#[derive(Debug)]
struct Counter {
    file: PathBuf,
    /// Its largest value.
    range: u64,
    last: u64,
    total: u64,
}

/// What counters said at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Microjoules since the meter began, and processor seconds since the machine began; none where
    /// one of them cannot be read.
    counted: Option<(u64, f64)>,
}

impl Meter {
    /// Of this machine.
    pub fn here(stated: Stated) -> Arc<Meter> {
        let (powercap, stat) = ("/sys/class/powercap", "/proc/stat");
        let meter = Arc::new(Meter::at(Path::new(powercap), Path::new(stat), stated));
        if !meter.lock().is_empty() {
            // A counter that came round twice between two readings would say too little.
            let weak = Arc::downgrade(&meter);
            let reader = std::thread::Builder::new().name("energy".into());
            // Without it, only long executions say too little.
            let _ = reader.spawn(move || {
                while let Some(meter) = weak.upgrade() {
                    meter.read();
                    drop(meter);
                    std::thread::sleep(READ_EVERY);
                }
            });
        }
        meter
    }

    /// Of the counters below one directory, and the processor times in one file.
    pub fn at(powercap: &Path, stat: &Path, stated: Stated) -> Meter {
        let mut counters = Vec::new();
        let zones = fs::read_dir(powercap).into_iter().flatten().flatten();
        for zone in zones.map(|entry| entry.path()) {
            let is_zone = zone
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("intel-rapl:"));
            let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
            // Cores and graphics are parts of a package; `psys` holds the packages.
            let counts = name.trim().starts_with("package-") || name.trim() == "dram";
            if !(is_zone && counts) {
                continue;
            }
            let number = |file: &str| number_in(&zone.join(file));
            match (number("energy_uj"), number("max_energy_range_uj")) {
                (Some(last), Some(range)) => counters.push(Counter {
                    file: zone.join("energy_uj"),
                    range,
                    last,
                    total: 0,
                }),
                // Half of the truth is none.
                _ => {
                    counters.clear();
                    break;
                }
            }
        }
        Meter {
            stated,
            stat: stat.to_owned(),
            counters: Mutex::new(counters),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counters say now.
    pub fn read(&self) -> Reading {
        let mut counters = self.lock();
        let is_whole = !counters.is_empty() && counters.iter_mut().all(Counter::read);
        let energy: u64 = counters.iter().map(|counter| counter.total).sum();
        drop(counters);
        let counted = is_whole.then(|| Some((energy, busy_s(&self.stat)?)));
        Reading {
            counted: counted.flatten(),
        }
    }

    /// What an execution used that began at a reading, ends now, and took so many processor
    /// seconds.
    pub fn since(&self, begin: Reading, cpu_s: f64) -> Energy {
        let measured = || {
            let ((from, busy_from), (to, busy_to)) = (begin.counted?, self.read().counted?);
            let busy = busy_to - busy_from;
            // The kernel counts in hundredths of a second: of less, no share can be told.
            let share = (busy >= 0.1).then(|| (cpu_s / busy).min(1.0))?;
            Some((to - from) as f64 / 1e6 * share)
        };
        let (joules, method) = match measured() {
            Some(joules) => (joules, Method::Rapl),
            None => (cpu_s * self.stated.watts_per_core, Method::Estimate),
        };
        let intensity = self.stated.g_per_kwh;
        Energy {
            joules,
            gpu_joules: None,
            gpus_uncounted: false,
            method,
            watts_per_core: (method == Method::Estimate).then_some(self.stated.watts_per_core),
            co2e_g: intensity.map(|grams| co2e_g(joules, grams)),
            g_per_kwh: intensity,
        }
    }
}

impl Counter {
    /// Whether it could be read.
    fn read(&mut self) -> bool {
        let Some(now) = number_in(&self.file) else {
            return false;
        };
        let passed = match now.checked_sub(self.last) {
            Some(passed) => passed,
            // It began again: from the last value to its largest one, and from 0.
            None => self.range.saturating_sub(self.last).saturating_add(now),
        };
        self.total = self.total.saturating_add(passed);
        self.last = now;
        true
    }
}

fn co2e_g(joules: f64, g_per_kwh: f64) -> f64 {
    joules / JOULES_PER_KWH * g_per_kwh
}

fn number_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Busy seconds of all processors: user, nice, system, irq and softirq, in hundredths.
fn busy_s(stat: &Path) -> Option<f64> {
    let text = fs::read_to_string(stat).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line
        .split_whitespace()
        .map_while(|time| time.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| times.get(*at));
    (times.len() >= 7).then(|| busy.sum::<u64>() as f64 / 100.0)
}
