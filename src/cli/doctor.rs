//! `repro doctor`: what this machine has to compute on.

use clap::Args;
use serde_json::json;

use super::{Exit, output};
use crate::tools::{self, Examination, Examined};
use crate::ui::style::{bytes, counted};
use repro_engine::machine::Machine;

/// Try the devices of this machine, and say what each would give.
///
/// Processors and memory are those that a run may use. Of every GPU and other device that
/// CUDA's or OpenCL's driver lists, the kernels are compiled and a step of training is computed; the
/// device can be used if that has the CPU's bits. Without a driver there is nothing to set up:
/// everything runs on the CPU.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Write an object: cores, memory_bytes, gpus, devices (name, driver, memory_bytes, usable,
    /// seconds, why), absent (why a driver lists none).
    #[arg(long)]
    json: bool,
}

/// Runs `repro doctor`.
pub fn main(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let (machine, Examination { devices, absent }) = (Machine::here(), tools::examine_devices());
    if args.json {
        let device = |d: &Examined| {
            json!({
                "name": d.name, "driver": d.driver, "memory_bytes": d.memory, "usable": d.test.is_ok(),
                "seconds": d.test.as_ref().ok(), "why": d.test.as_ref().err(),
            })
        };
        output::json(&json!({
            "cores": machine.cpus, "memory_bytes": machine.memory_bytes, "gpus": machine.gpus,
            "devices": devices.iter().map(device).collect::<Vec<_>>(), "absent": absent,
        }))?;
        return Ok(Exit::Done);
    }
    let memory = match machine.memory_bytes {
        // A huge number where it cannot be told.
        known if known < 1 << 60 => format!(", {}", bytes(known)),
        _ => String::new(),
    };
    let cores = counted(machine.cpus as usize, "core");
    let mut lines = vec![format!("cpu: {cores}{memory}")];
    lines.extend(
        machine
            .gpus
            .iter()
            .map(|gpu| format!("gpu {gpu}: can be given to stages (`resources: {{gpus: 1}}`)")),
    );
    let is_usable = devices.iter().any(|device| device.test.is_ok());
    for Examined {
        name,
        driver,
        memory,
        test,
    } in devices
    {
        lines.push(format!("device {name}: {driver}, {}", bytes(memory)));
        lines.push(match test {
            Ok(seconds) => format!(
                "    gives the CPU's bits (compiled and compared in {seconds:.1} s): `--device gpu`"
            ),
            Err(why) => format!("    cannot be used: {why}"),
        });
    }
    lines.extend(absent.iter().map(|why| format!("no device: {why}")));
    if !is_usable {
        lines.push("everything computes on the CPU".to_owned());
    }
    output::text(&(lines.join("\n") + "\n"))?;
    Ok(Exit::Done)
}
