//! The rows of a table of metrics, as stages write them and `repro metrics` shows them.
//!
//! Long format: one row per value, so that every kind has the same columns. What does not apply to
//! a value is `None`. How a table lies in a file is the stages' affair.

/// Columns by which one table holds several runs. They are axes of these runs, beside those of the
/// table's producer.
pub const APART: [&str; 3] = ["run", "seed", "stage"];

/// One value.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Row {
    /// Which of several alike the row is about, e.g. `seed=1`: a cell of a summarised matrix.
    pub run: Option<String>,
    /// The stage or group the row is about.
    pub stage: Option<String>,
    /// The seed.
    pub seed: Option<i64>,
    /// Epochs done.
    pub epoch: Option<i64>,
    /// Optimizer steps done.
    pub step: Option<i64>,
    /// Part of the data: `train`, `test` ...
    pub split: Option<String>,
    /// What was measured: `loss`, `accuracy` (a fraction of 1) ...
    pub name: String,
    /// The value. NaN and infinities occur only in files that other programs wrote.
    pub value: f64,
}

/// A row of a table that holds the tables of many instances: `stage` and `run` name the instance,
/// and what its own table says of stages and runs follows in `run`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    /// The row.
    pub row: Row,
    /// Whose it is, word for word; older files do not say it.
    pub whose: Option<Whose>,
}

/// Whose table a gathered row comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    /// The instance, by its whole name.
    pub instance: String,
    /// Its output.
    pub output: String,
    /// The key of its result, as hexadecimal digits.
    pub key: Option<String>,
    /// The stage in its own table.
    pub stage: Option<String>,
    /// The run in its own table.
    pub run: Option<String>,
}
