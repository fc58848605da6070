//! Colours and the words for quantities. What a stream takes is decided in [`crate::terminal`].

pub use crate::terminal::Colour;
use repro_engine::energy::{Energy, EnergySum};
use repro_engine::placement::{On, Placement};
pub use repro_report::number::{bytes, duration, energy};

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Colour::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Colour::Off => text.to_owned(),
        }
    }

    /// Success.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Failure.
    pub fn red(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    /// Warning.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Secondary.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Names.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// CO₂e: `0.012 g`, `34 g`, `1.2 kg`.
pub fn co2e(grams: f64) -> String {
    match grams {
        g if g < 1.0 => format!("{g:.3} g CO₂e"),
        g if g < 1e3 => format!("{g:.1} g CO₂e"),
        g => format!("{:.2} kg CO₂e", g / 1e3),
    }
}

/// Where something computes, and the times that say so.
pub fn placement(placed: &Placement) -> String {
    let [cpu, gpu] = [placed.cpu_s, placed.gpu_s].map(duration);
    let free = placed.gpu_free_in_s.map_or_else(String::new, |seconds| {
        format!(", and none is free for {}", duration(seconds))
    });
    match placed.on {
        On::Cpu => format!("on the CPU (recorded: {cpu}; on a GPU {gpu}{free})"),
        On::Gpu => format!("on a GPU (recorded: {gpu}; on the CPU {cpu})"),
    }
}

/// What was used in all; an estimate is called one.
pub fn energy_sum(sum: &EnergySum) -> String {
    let how = match (sum.joules, sum.estimated_joules) {
        (_, 0.0) => "",
        (all, estimated) if all == estimated => " (estimate)",
        _ => " (estimated in part)",
    };
    let grams = sum
        .co2e_g
        .map_or_else(String::new, |g| format!(", {}", co2e(g)));
    let gpus = match sum.gpus_uncounted {
        true => ", some GPUs not counted",
        false => "",
    };
    format!("{}{how}{gpus}{grams}", energy(sum.joules))
}

/// Who says what an execution used, in a word or a few.
pub fn energy_by(used: &Energy) -> String {
    let gpus = match (used.gpu_joules, used.gpus_uncounted) {
        (Some(_), _) => ", and GPUs",
        (None, true) => ", GPUs not counted",
        (None, false) => "",
    };
    format!("{}{gpus}", used.method.word())
}

/// What an execution used, and who says so.
pub fn energy_used(used: &Energy) -> String {
    let how = match used.watts_per_core {
        Some(watts) => format!("estimate: {watts} W a busy core"),
        None => format!("measured: {}", used.method.word()),
    };
    let gpus = match (used.gpu_joules, used.gpus_uncounted) {
        (Some(joules), _) => format!("; of it {} counted by GPUs", energy(joules)),
        (None, true) => "; GPUs not counted".to_owned(),
        (None, false) => String::new(),
    };
    let grams = match (used.co2e_g, used.g_per_kwh) {
        (Some(g), Some(intensity)) => format!(", {} at {intensity} g/kWh", co2e(g)),
        _ => String::new(),
    };
    format!("{} ({how}{gpus}){grams}", energy(used.joules))
}

/// `no change`, `1 change`, `2 changes`: of a word whose plural has an s.
pub fn counted(n: usize, one: &str) -> String {
    match n {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!(
            [0.0123, 34.0, 1200.0].map(co2e),
            ["0.012 g CO₂e", "34.0 g CO₂e", "1.20 kg CO₂e"]
        );
    }
}
