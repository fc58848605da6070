//! Colours and the words for quantities. What a stream takes is decided in [`crate::terminal`].

pub use crate::terminal::Colour;

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
        // A sum of nothing is -0.0.
        assert_eq!(duration([0.0f64; 0].iter().sum()), "0 ms");
        assert_eq!(
            [0, 1023, 1024, 5 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]
        );
    }
}
