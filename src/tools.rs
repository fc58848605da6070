//! What the program itself needs of the stages: for the report intervals and tables of places, the
//! devices.

use std::path::Path;

use repro_report::{Place, Tools};
pub use repro_stages::device::{
    Examination, Examined, WITHOUT_A_GPU, examine as examine_devices, expect_gpu,
};
use repro_stages::frame::{self, Column};
use repro_stages::stats;

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
