//! What the program itself needs of the stages: for the report intervals and tables of places, the
//! devices.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use repro_report::{Place, Tools};
use repro_stages::device;
pub use repro_stages::device::{Examination, Examined, WITHOUT_A_GPU, examine as examine_devices};
use repro_stages::frame::{self, Column};
use repro_stages::stats;

/// The hidden command that asks drivers for their devices.
pub const ASK_DRIVERS: &str = "ask-drivers-for-devices";

/// A driver that has not answered then will not.
const DRIVERS_TIMEOUT: Duration = Duration::from_secs(60);

/// Says on standard output why no GPU can be used, if none can.
pub fn ask_drivers() -> ExitCode {
    // A driver may hang, and whoever asked may be killed.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
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
/// crash or hang.
///
/// # Errors
/// There is no process to ask in.
pub fn expect_gpu() -> anyhow::Result<Result<(), String>> {
    let mut ask = Command::new(std::env::current_exe()?);
    ask.arg(ASK_DRIVERS);
    Ok(answered(ask, DRIVERS_TIMEOUT)?)
}

/// What a process that asks drivers says: nothing, or why no GPU can be used.
fn answered(mut ask: Command, patience: Duration) -> std::io::Result<Result<(), String>> {
    // The answer is a line, so it fits into the pipe, and nobody has to read along.
    let ask = ask.stdin(Stdio::null()).stderr(Stdio::null());
    let mut asked = ask.stdout(Stdio::piped()).spawn()?;
    let until = Instant::now() + patience;
    let status = loop {
        if let Some(status) = asked.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            asked.kill()?;
            asked.wait()?;
            let waited = patience.as_secs();
            let why = format!("no GPU can be used: drivers did not answer for {waited} s");
            return Ok(Err(why));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    if let Some(mut pipe) = asked.stdout.take() {
        pipe.read_to_string(&mut said)?;
    }
    Ok(match said.trim() {
        _ if status.success() => Ok(()),
        "" => Err(format!(
            "no GPU can be used: the process that asks drivers for one ended ({status})"
        )),
        why => Err(why.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_hang_or_crash_are_no_gpu() {
        let said = |script: &str, patience| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            answered(shell, patience).unwrap()
        };
        let minute = Duration::from_secs(60);
        assert_eq!(said("exit 0", minute), Ok(()));
        assert_eq!(
            said("echo there is none; exit 1", minute),
            Err("there is none".into())
        );
        let crashed = said("kill -SEGV $$", minute).unwrap_err();
        assert!(crashed.contains("ended (signal: 11"), "{crashed}");
        let hung = said("exec sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert!(hung.contains("did not answer"), "{hung}");
    }
}
