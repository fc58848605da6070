//! An error of a device as the user is told it: what was computed, and what to do.

use crate::device;
use crate::failure::Failure;
use crate::ops::Backend;

/// For where the batch is what the user says.
pub const SMALLER_BATCH: &str = "a smaller `batch_size` needs less memory; ";

/// Says what was computed, and what to do where memory is short.
pub fn failed<D: Backend>(what: &'static str) -> impl Fn(D::Err) -> anyhow::Error + Copy {
    failed_but::<D>(what, "")
}

/// The same, where something else could be done first; it ends with `; `.
pub fn failed_but<D: Backend>(
    what: &'static str,
    first: &'static str,
) -> impl Fn(D::Err) -> anyhow::Error + Copy {
    move |error| {
        let failure = Failure::new(format!("{what}: {error}"));
        match D::is_short_of_memory(&error) {
            true => failure.hint(format!("{first}{}", instead())).into(),
            false => failure.into(),
        }
    }
}

/// What to do where a device has too little memory.
pub fn instead() -> String {
    let larger = match device::share() {
        None => "",
        Some(_) => "a larger share has more; ",
    };
    format!("{larger}the CPU computes the same bits (`--device cpu`, and no `gpus` at the stage)")
}
