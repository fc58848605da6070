//! What the program itself needs of the stages: for the report intervals and tables of places, the
//! devices.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;

use repro_report::{Place, Tools};
use repro_stages::device;
pub use repro_stages::device::{Examination, Examined, WITHOUT_A_GPU, examine as examine_devices};
use repro_stages::frame::{self, Column};
use repro_stages::stats;

/// The hidden command that asks drivers for their devices.
pub const DEVICES: &str = "devices";

/// Says on standard output why no GPU can be used, if none can.
pub fn devices() -> ExitCode {
    match device::expect_gpu() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Whoever asked has gone.
            let _ = writeln!(std::io::stdout(), "{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a driver lists a GPU that could be used. Drivers are asked in a process of their own:
/// they set handlers of signals (POCL's compiler ends the process at Ctrl-C), start threads, and may
/// crash.
///
/// # Errors
/// Why none can be used.
pub fn expect_gpu() -> anyhow::Result<Result<(), String>> {
    let mut ask = Command::new(std::env::current_exe()?);
    let ask = ask.arg(DEVICES).stdin(Stdio::null()).stderr(Stdio::null());
    let asked = ask.output().context("drivers of devices cannot be asked")?;
    let why = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    Ok(match asked.status.success() {
        true => Ok(()),
        false if why.is_empty() => Err(format!(
            "no GPU can be used: the process that asks drivers for one ended ({})",
            asked.status
        )),
        false => Err(why),
    })
}

/// For [`repro_report::collect`].
pub const TOOLS: Tools = Tools { mean, places };

fn mean(values: &[f64]) -> (f64, Option<[f64; 2]>) {
    let interval = stats::summarise(values, 0.95).and_then(|summary| summary.interval);
    (stats::mean(values), interval.map(|i| [i.low, i.high]))
}

/// A table of `x, y, split, name, value`; `y` and `split` may be missing.
fn places(path: &Path) -> anyhow::Result<Vec<Place>> {
    let frame = frame::read(path)?;
    let column = |name: &str| {
        frame
            .columns
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, c)| c)
    };
    let numbers = |name: &str| match column(name) {
        Some(Column::Numbers(numbers)) => Some(numbers),
        _ => None,
    };
    let texts = |name: &str| match column(name) {
        Some(Column::Texts(texts)) => Some(texts),
        _ => None,
    };
    let (Some(x), Some(values), Some(names)) = (numbers("x"), numbers("value"), texts("name"))
    else {
        anyhow::bail!("it has no columns `x`, `name` and `value`");
    };
    let (y, split) = (numbers("y"), texts("split"));
    let place = |row: usize| -> Option<Place> {
        let name = names[row].as_deref()?;
        let split = split.and_then(|s| s[row].as_deref());
        Some(Place {
            x: x[row]?,
            y: y.and_then(|y| y[row]),
            name: split.map_or_else(|| name.to_owned(), |split| format!("{split}_{name}")),
            value: values[row].filter(|v| v.is_finite())?,
        })
    };
    Ok((0..frame.rows).filter_map(place).collect())
}
