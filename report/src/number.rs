//! Numbers as people read them, the same on every machine.

use bytesize::ByteSize;

/// Four significant digits, without trailing zeros; powers of ten where it is very large or small.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            v if v.is_nan() => "–".to_owned(),
            v if v > 0.0 => "∞".to_owned(),
            _ => "−∞".to_owned(),
        };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    let text = match magnitude {
        m if (1e-3..1e5).contains(&m) => {
            let before = m.log10().floor() as i32;
            let digits = (3 - before).clamp(0, 6) as usize;
            let text = format!("{magnitude:.digits$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
        _ => format!("{magnitude:.2e}"),
    };
    match value < 0.0 {
        true => format!("−{text}"),
        false => text,
    }
}

/// The same with its sign.
pub fn signed(value: f64) -> String {
    match value > 0.0 {
        true => format!("+{}", short(value)),
        false => short(value),
    }
}

/// A mean with half of its interval: `0.8101 ± 0.0122`.
pub fn with_band(mean: f64, band: Option<[f64; 2]>) -> String {
    match band {
        Some([low, high]) => format!("{} ± {}", short(mean), short((high - low) / 2.0)),
        None => short(mean),
    }
}

/// A number for programs: five significant digits.
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "null".to_owned();
    }
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    format!("{rounded}")
}

/// A coordinate on a sheet: tenths are enough.
pub fn coordinate(value: f64) -> String {
    let tenths = (value * 10.0).round() / 10.0 + 0.0;
    format!("{tenths}")
}

/// A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    // A sum of nothing is -0.0.
    let seconds = seconds.max(0.0) + 0.0;
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
    ByteSize(count).to_string()
}

/// Energy: `0.4 J`, `36.0 kJ`, `1.50 kWh`.
pub fn energy(joules: f64) -> String {
    match joules {
        j if j < 1e3 => format!("{j:.1} J"),
        j if j < 3.6e6 => format!("{:.1} kJ", j / 1e3),
        j => format!("{:.2} kWh", j / 3.6e6),
    }
}

/// A number that can be a key: numbers sort by value, with -0 before 0.
#[derive(Debug, Clone, Copy)]
pub struct Ordered(pub f64);

impl PartialEq for Ordered {
    fn eq(&self, other: &Ordered) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Ordered) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Ordered) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Round numbers that divide a range into about `about` parts.
pub fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let rough = span / about.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|s| s * power)
        .find(|s| *s >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last.min(first + 50))
        .map(|i| i as f64 * step)
        .collect()
}

/// Powers of ten in a range, with 2 and 5 between them where there are few.
pub fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let every: &[f64] = match last - first {
        0..=2 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let stride = ((last - first) / 8 + 1) as usize;
    let powers = (first..=last).step_by(stride);
    let all = powers.flat_map(|p| every.iter().map(move |m| m * 10f64.powi(p)));
    all.filter(|t| *t >= low * 0.999_999 && *t <= high * 1.000_001)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        let cases = [
            (0.0, "0"),
            (0.0702, "0.0702"),
            (-0.01, "−0.01"),
            (12.0, "12"),
            (100.0, "100"),
            (12_345.6, "12346"),
            (1e-5, "1.00e-5"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(plain(0.123_456_789), "0.12346");
        assert_eq!(coordinate(-0.01), "0");
    }

    #[test]
    fn quantities_read_well() {
        assert_eq!(
            [0.0004, 0.35, 9.96, 59.4, 59.6, 200.0, 7500.0].map(duration),
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
        // A sum of nothing is -0.0.
        assert_eq!(duration([0.0f64; 0].iter().sum()), "0 ms");
        assert_eq!(
            [0, 1023, 1024, 5 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]
        );
    }

    #[test]
    fn numbers_sort_by_value() {
        let mut values = [0.5, -1.0, 2.0, -0.5].map(Ordered);
        values.sort();
        assert_eq!(values.map(|v| v.0), [-1.0, -0.5, 0.5, 2.0]);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            ticks(0.0, 1.0, 5),
            [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]
        );
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
        assert_eq!(log_ticks(0.5, 200.0), [1.0, 10.0, 100.0]);
        assert!(log_ticks(1e-30, 1e30).len() < 12);
    }
}
