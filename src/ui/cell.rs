//! A cell of a table: what people read of it, and what programs get.

use std::cmp::Ordering;

/// Decimals of a number, at most: what is behind them is noise to a reader.
const DECIMALS: usize = 4;

/// How a cell is painted where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As text is.
    #[default]
    Plain,
    /// What was hoped for.
    Good,
    /// What was not.
    Bad,
    /// What is open.
    Open,
}

/// A value as programs get it.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// There is none.
    None,
    /// A text.
    Text(String),
    /// A count.
    Count(u64),
    /// A number, with all its digits.
    Number(f64),
}

impl Field {
    /// A number, where there is one.
    pub fn number(value: Option<f64>) -> Field {
        value.map_or(Field::None, Field::Number)
    }

    /// For CSV.
    pub fn plain(&self) -> String {
        match self {
            Field::None => String::new(),
            Field::Text(text) => text.clone(),
            Field::Count(count) => count.to_string(),
            // The shortest text that is read as the same number, as in JSON.
            Field::Number(value) => format!("{value:?}"),
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Field::None => None,
            // Values of axes are texts, also where they are numbers.
            Field::Text(text) => text.parse().ok().filter(|v: &f64| !v.is_nan()),
            Field::Count(count) => Some(*count as f64),
            Field::Number(value) => Some(*value),
        }
    }

    /// Numbers by size and before texts. `None` for a cell without a value: it comes last, whichever
    /// way is sorted.
    pub fn compare(&self, other: &Field) -> Option<Ordering> {
        if *self == Field::None || *other == Field::None {
            return None;
        }
        Some(match (self.as_number(), other.as_number()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => self.plain().cmp(&other.plain()),
        })
    }
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
enum What {
    Number(f64),
    Mean {
        mean: f64,
        band: Option<[f64; 2]>,
        n: u64,
        /// Of its row, which says it once for all its cells.
        of_row: u64,
    },
    Said {
        text: String,
        fields: Vec<Field>,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    what: What,
    /// How it is painted.
    pub tone: Tone,
}

impl From<What> for Cell {
    fn from(what: What) -> Cell {
        let tone = Tone::Plain;
        Cell { what, tone }
    }
}

impl Cell {
    /// Nothing.
    pub fn empty() -> Cell {
        Cell::said("", Vec::new())
    }

    /// A text, the same for people and programs.
    pub fn text(text: impl Into<String>) -> Cell {
        let text = text.into();
        let field = match text.is_empty() {
            true => Field::None,
            false => Field::Text(text.clone()),
        };
        Cell::said(text, vec![field])
    }

    /// A count.
    pub fn count(count: u64) -> Cell {
        Cell::said(count.to_string(), vec![Field::Count(count)])
    }

    /// A measured value: people see as many decimals as its column needs.
    pub fn number(value: f64) -> Cell {
        What::Number(value).into()
    }

    /// A mean with its interval, over `n` in a row that is about `of_row`. Programs get mean, both
    /// ends and n.
    pub fn mean(mean: f64, band: Option<[f64; 2]>, n: u64, of_row: u64) -> Cell {
        let what = What::Mean {
            mean,
            band,
            n,
            of_row,
        };
        what.into()
    }

    /// People read a text, programs get other values.
    pub fn said(text: impl Into<String>, fields: Vec<Field>) -> Cell {
        let text = text.into();
        What::Said { text, fields }.into()
    }

    /// Counts with their words, without those that are zero. Programs get all, in this order.
    pub fn counts(counts: &[(u64, &str)]) -> Cell {
        let some = counts.iter().filter(|(n, _)| *n > 0);
        let words: Vec<String> = some.map(|(n, word)| format!("{n} {word}")).collect();
        match words.is_empty() {
            true => Cell::empty(),
            false => {
                let fields = counts.iter().map(|(n, _)| Field::Count(*n));
                Cell::said(words.join(", "), fields.collect())
            }
        }
    }

    /// Painted so.
    pub fn toned(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }

    /// The values that programs get; missing ones are none.
    pub fn field(&self, i: usize) -> Field {
        match (&self.what, i) {
            (What::Number(value), 0) => Field::Number(*value),
            (What::Mean { mean, .. }, 0) => Field::Number(*mean),
            (What::Mean { band, .. }, 1 | 2) => Field::number(band.map(|b| b[i - 1])),
            (What::Mean { n, .. }, 3) => Field::Count(*n),
            (What::Said { fields, .. }, i) => fields.get(i).cloned().unwrap_or(Field::None),
            _ => Field::None,
        }
    }

    /// Decimals that its numbers need to look as they do with all of them.
    pub fn decimals(&self) -> usize {
        match &self.what {
            What::Number(value) => decimals(*value),
            What::Mean { mean, band, .. } => {
                let half = half(*band).map_or(0, decimals);
                decimals(*mean).max(half)
            }
            What::Said { .. } => 0,
        }
    }

    /// What people read, in a column of so many decimals.
    pub fn shown(&self, decimals: usize) -> String {
        match &self.what {
            What::Number(value) => number(*value, decimals),
            What::Mean {
                mean,
                band,
                n,
                of_row,
            } => {
                let mut text = number(*mean, decimals);
                if let Some(half) = half(*band) {
                    text.push_str(&format!(" ± {}", number(half, decimals)));
                }
                if n != of_row {
                    text.push_str(&format!(" (n {n})"));
                }
                text
            }
            What::Said { text, .. } => text.clone(),
        }
    }
}

/// Half of an interval; `None` for one that says nothing: all values were the same.
fn half(band: Option<[f64; 2]>) -> Option<f64> {
    let [low, high] = band?;
    (high > low).then_some((high - low) / 2.0)
}

/// Whether a number is written without a power of ten.
fn is_usual(value: f64) -> bool {
    let is_whole = value.fract() == 0.0 && value.abs() < 1e12;
    is_whole || (1e-3..1e6).contains(&value.abs())
}

fn decimals(value: f64) -> usize {
    match is_usual(value) {
        true => {
            let text = format!("{value:.DECIMALS$}");
            let digits = text.trim_end_matches('0').split_once('.');
            digits.map_or(0, |(_, digits)| digits.len())
        }
        false => 0,
    }
}

/// A number with so many decimals; very small and very large ones with a power of ten.
pub fn number(value: f64, decimals: usize) -> String {
    if is_usual(value) {
        // What rounds to nothing lies on neither side of it.
        return format!("{:.decimals$}", value + 0.0);
    }
    let text = format!("{value:.DECIMALS$e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            format!("{digits}e{power}")
        }
        None => text,
    }
}

/// Four decimals with their sign. What rounds to nothing lies on neither side of it.
pub fn signed(x: f64) -> String {
    let text = format!("{x:+.DECIMALS$}");
    match text.as_str() {
        "-0.0000" => "+0.0000".to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_nothing_has_one_sign() {
        let shown = [-2.5e-17, 0.0, -0.00006, 0.25].map(signed);
        assert_eq!(shown, ["+0.0000", "+0.0000", "-0.0001", "+0.2500"]);
    }

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        for (value, needs, text) in [
            (5.0, 0, "5"),
            (0.001, 3, "0.001"),
            (0.81, 2, "0.81"),
            (0.810_06, 4, "0.8101"),
            (1e-4, 0, "1e-4"),
            (1_234_567.0, 0, "1234567"),
            (1_234_567.5, 0, "1.2346e6"),
            (f64::NAN, 0, "NaN"),
            (-0.0, 0, "0"),
        ] {
            assert_eq!(decimals(value), needs, "{value}");
            assert_eq!(number(value, needs), text);
        }
    }

    #[test]
    fn values_that_are_missing_are_neither_less_nor_more() {
        let text = |t: &str| Field::Text(t.into());
        assert_eq!(Field::None.compare(&text("a")), None);
        assert_eq!(text("10").compare(&text("9")), Some(Ordering::Greater));
        assert_eq!(text("10").compare(&text("b")), Some(Ordering::Less));
        assert_eq!(Field::Number(0.1).plain(), "0.1");
        assert_eq!(Field::Number(1e300).plain(), "1e300");
    }

    #[test]
    fn an_interval_without_width_is_not_shown() {
        let mean = |band| Cell::mean(0.5, band, 3, 3).shown(4);
        assert_eq!(mean(Some([0.25, 0.75])), "0.5000 ± 0.2500");
        assert_eq!(mean(Some([0.5, 0.5])), "0.5000");
        assert_eq!(mean(None), "0.5000");
        assert_eq!(Cell::mean(0.5, None, 2, 3).shown(1), "0.5 (n 2)");
    }
}
