//! On which device a built-in kind computes where both are open to it: the one that ends first, by
//! what was recorded of the same work on this machine.
//!
//! The bits are the same on both, so this is in no key. Nothing is executed only to find out: where
//! no time of a GPU is known one is tried, and where none of the CPU is known the GPU stays.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical;
use crate::catalog::{Kind, Program};
use crate::digest::{Content, Digest, Domain};
use crate::plan::{Instance, Work};
use crate::store::{Fact, Observation};

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// The processor.
    Cpu,
    /// Any GPU.
    Gpu,
}

/// Seconds that the same work took, the median of each device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recorded {
    /// On the CPU, where that is known.
    pub cpu_s: Option<f64>,
    /// On a GPU.
    pub gpu_s: Option<f64>,
}

/// How long a GPU is waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    /// One can be had, or none is given out.
    Nothing,
    /// Those that have them end after so many seconds.
    For(f64),
    /// Nobody knows when those that have them end.
    Unknown,
}

/// A decision, with the seconds that it was made by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Where it computes.
    pub on: On,
    /// What the same work took on the CPU.
    pub cpu_s: f64,
    /// What it took on a GPU.
    pub gpu_s: f64,
    /// When a GPU would have been free, where it would have been waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_free_in_s: Option<f64>,
}

/// The device that ends first; nothing where the times do not say.
pub fn place(recorded: Recorded, wait: Wait) -> Option<Placement> {
    let (cpu_s, gpu_s) = (recorded.cpu_s?, recorded.gpu_s?);
    let (waits_s, gpu_free_in_s) = match wait {
        Wait::Nothing => (0.0, None),
        Wait::For(seconds) => (seconds, Some(seconds)),
        // It may be free at once.
        Wait::Unknown => (0.0, None),
    };
    let on = match cpu_s < gpu_s + waits_s {
        true => On::Cpu,
        false => On::Gpu,
    };
    Some(Placement {
        on,
        cpu_s,
        gpu_s,
        gpu_free_in_s,
    })
}

impl Placement {
    /// As an observation has it; strangers may have written that.
    pub fn of(observation: &Observation) -> Option<Placement> {
        let placed: Placement =
            serde_json::from_value(observation.get(Fact::Placed)?.clone()).ok()?;
        let seconds = [Some(placed.cpu_s), Some(placed.gpu_s), placed.gpu_free_in_s];
        let mut seconds = seconds.into_iter().flatten();
        seconds.all(|s| (0.0..1e15).contains(&s)).then_some(placed)
    }
}

/// What an instance can compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// The CPU, or a GPU.
    Both,
    /// The CPU only.
    Cpu,
    /// What its own program takes.
    Own,
}

/// What an instance can compute on.
pub fn devices(instance: &Instance) -> Devices {
    match &instance.work {
        Work::Kind { kind, .. } if matches!(kind.program, Program::BuiltIn) => {
            match computes(instance) {
                Some(_) => Devices::Both,
                None => Devices::Cpu,
            }
        }
        _ => Devices::Own,
    }
}

fn computes(instance: &Instance) -> Option<(&Kind, &Value)> {
    match &instance.work {
        Work::Kind { kind, params } if matches!(kind.program, Program::BuiltIn) => {
            let on_gpu = kind.on_gpu.as_ref()?;
            on_gpu(params).then_some((kind, params))
        }
        _ => None,
    }
}

/// What an instance does, where that may be on a GPU: its kind and parameters but for seeds, and the
/// sizes of its inputs, roughly. Two instances that do the same take about as long.
pub fn work(instance: &Instance, contents: &[Vec<Content>]) -> Option<Digest> {
    let (kind, params) = computes(instance)?;
    let size = |contents: &Vec<Content>| {
        let bytes: u64 = contents.iter().map(|content| content.bytes_total).sum();
        [contents.len() as u64, u64::from(bytes.max(1).ilog2())]
    };
    let sizes: Vec<[u64; 2]> = contents.iter().map(size).collect();
    let what = json!({
        "kind": kind.name,
        "revision": kind.revision,
        "params": without_seeds(params),
        "inputs": sizes,
    });
    let mut text = String::new();
    canonical::write(&what, &mut text);
    Some(Digest::derive(Domain::Work, text.as_bytes()))
}

fn without_seeds(params: &Value) -> Value {
    match params {
        Value::Object(fields) => {
            let rest = fields.iter().filter(|(name, _)| *name != "seed");
            let rest = rest.map(|(name, value)| (name.clone(), without_seeds(value)));
            Value::Object(rest.collect())
        }
        Value::Array(items) => items.iter().map(without_seeds).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_first_is_taken_and_nothing_is_run_to_find_out() {
        use On::{Cpu, Gpu};
        use Wait::{For, Nothing, Unknown};
        let (some, none) = (Some, None::<f64>);
        for (cpu_s, gpu_s, wait, on) in [
            // Nothing is known, or too little: as without times.
            (none, none, Nothing, None),
            (some(3.0), none, Nothing, None),
            (none, some(3.0), Nothing, None),
            (some(3.0), none, For(1e6), None),
            (none, some(3.0), For(1e6), None),
            (none, none, Unknown, None),
            // The smaller wins, and a GPU wins a draw.
            (some(3.0), some(41.0), Nothing, Some(Cpu)),
            (some(41.0), some(3.0), Nothing, Some(Gpu)),
            (some(3.0), some(3.0), Nothing, Some(Gpu)),
            // Waiting counts.
            (some(41.0), some(3.0), For(37.0), Some(Gpu)),
            (some(41.0), some(3.0), For(38.0), Some(Gpu)),
            (some(41.0), some(3.0), For(38.5), Some(Cpu)),
            (some(3.0), some(41.0), For(0.0), Some(Cpu)),
            // Only if somebody knows how long.
            (some(41.0), some(3.0), Unknown, Some(Gpu)),
            (some(3.0), some(41.0), Unknown, Some(Cpu)),
        ] {
            let placed = place(Recorded { cpu_s, gpu_s }, wait);
            assert_eq!(placed.map(|p| p.on), on, "{cpu_s:?} {gpu_s:?} {wait:?}");
            let free = placed.and_then(|p| p.gpu_free_in_s);
            assert_eq!(free.is_some(), placed.is_some() && matches!(wait, For(_)));
        }
    }

    #[test]
    fn seeds_are_no_part_of_a_work() {
        let one = json!({"seed": 1, "lr": 0.1, "model": {"seed": 2, "units": [3, {"seed": 4}]}});
        let other = json!({"seed": 7, "lr": 0.1, "model": {"units": [3, {"seed": 5}]}});
        assert_eq!(without_seeds(&one), without_seeds(&other));
        let slower = json!({"seed": 1, "lr": 0.1, "model": {"units": [4, {}]}});
        assert_ne!(without_seeds(&one), without_seeds(&slower));
    }
}
