//! The course of a number that a running action reports about itself, as a small line of blocks.
//!
//! What the number means is unknown: it is the first one in the text that has a point, such as the
//! `0.43` of `loss 0.43`. Counts have none.

/// Blocks that are drawn, at most.
const WIDTH: usize = 10;
/// From low to high.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Means of so many values each, but for the last.
    values: Vec<f64>,
    /// Reports that one value stands for.
    per_value: u32,
    /// Sum and number of those that are no value yet.
    open: (f64, u32),
}

impl Course {
    /// One more report.
    pub fn take(&mut self, text: &str) {
        let Some(value) = number(text) else {
            return;
        };
        self.open = (self.open.0 + value, self.open.1 + 1);
        if self.open.1 < self.per_value.max(1) {
            return;
        }
        self.values.push(self.open.0 / f64::from(self.open.1));
        self.open = (0.0, 0);
        // The whole course stays in view: two values become one.
        if self.values.len() >= 2 * WIDTH {
            self.values = self.values.chunks(2).map(mean).collect();
            self.per_value = self.per_value.max(1) * 2;
        }
    }

    /// The line; empty where there is no course yet.
    pub fn line(&self) -> String {
        if self.values.len() < 2 {
            return String::new();
        }
        let many = self.values.len().div_ceil(WIDTH);
        let shown: Vec<f64> = self.values.chunks(many).map(mean).collect();
        let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
        let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let last = (BLOCKS.len() - 1) as f64;
        let block = |value: &f64| match high > low {
            true => BLOCKS[((value - low) / (high - low) * last).round() as usize],
            false => BLOCKS[0],
        };
        shown.iter().map(block).collect()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn number(text: &str) -> Option<f64> {
    let words = text.split([' ', ',', '=', ':', '(', ')', '%']);
    let mut numbers = words.filter(|word| word.contains('.'));
    numbers.find_map(|word| word.parse().ok().filter(|v: &f64| v.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: impl Iterator<Item = f64>) -> Course {
        let mut course = Course::default();
        values.for_each(|v| course.take(&format!("epoch 3, loss {v:.4}")));
        course
    }

    #[test]
    fn a_course_is_drawn_from_low_to_high() {
        assert_eq!(course([1.0].into_iter()).line(), "");
        assert_eq!(course([1.0, 0.5, 0.0].into_iter()).line(), "█▅▁");
        assert_eq!(course([0.5, 0.5].into_iter()).line(), "▁▁");
        let mut other = Course::default();
        for text in ["step 3 of 7", "loss NaN", "v1.2.3", ""] {
            other.take(text);
        }
        assert_eq!(other.line(), "");
    }

    #[test]
    fn a_long_course_stays_short() {
        for n in [20, 100, 5000] {
            let line = course((0..n).map(|i| f64::from(n - i))).line();
            assert!((2..=WIDTH).contains(&line.chars().count()), "{n} {line}");
            assert!(line.starts_with('█') && line.ends_with('▁'), "{n} {line}");
        }
    }
}
