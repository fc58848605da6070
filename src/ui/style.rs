//! Colours and the words for quantities. What a stream takes is decided in [`crate::terminal`].

pub use crate::terminal::Colour;
use repro_engine::energy::{Energy, EnergySum};

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

/// A duration as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    // A sum of nothing is -0.0.
    let seconds = seconds + 0.0;
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.01 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        _ if whole < 60 => format!("{whole} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A size in binary units: `512 B`, `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// Energy: `0.4 J`, `36.0 kJ`, `1.50 kWh`.
pub fn energy(joules: f64) -> String {
    match joules {
        j if j < 1e3 => format!("{j:.1} J"),
        j if j < 3.6e6 => format!("{:.1} kJ", j / 1e3),
        j => format!("{:.2} kWh", j / 3.6e6),
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
    format!("{}{how}{grams}", energy(sum.joules))
}

/// What an execution used, and who says so.
pub fn energy_used(used: &Energy) -> String {
    let how = match used.watts_per_core {
        Some(watts) => format!("estimate: {watts} W a busy core"),
        None => format!("measured: {}", used.method.word()),
    };
    let grams = match (used.co2e_g, used.g_per_kwh) {
        (Some(g), Some(intensity)) => format!(", {} at {intensity} g/kWh", co2e(g)),
        _ => String::new(),
    };
    format!("{} ({how}){grams}", energy(used.joules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        let said: Vec<String> = [0.0004, 0.35, 9.96, 59.4, 59.6, 200.0, 7500.0]
            .map(duration)
            .into();
        assert_eq!(
            said,
            [
                "0 ms",
                "0.3 s",
                "10 s",
                "59 s",
                "1 min 0 s",
                "3 min 20 s",
                "2 h 5 min"
            ]
        );
        assert_eq!(
            [0.44, 999.0, 36e3, 5.4e6].map(energy),
            ["0.4 J", "999.0 J", "36.0 kJ", "1.50 kWh"]
        );
        assert_eq!(
            [0.0123, 34.0, 1200.0].map(co2e),
            ["0.012 g CO₂e", "34.0 g CO₂e", "1.20 kg CO₂e"]
        );
        // A sum of nothing is -0.0.
        assert_eq!(duration([0.0f64; 0].iter().sum()), "0 ms");
        assert_eq!(
            [0, 1023, 1024, 5 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]
        );
    }
}
