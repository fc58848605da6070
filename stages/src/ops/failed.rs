//! An error of a device as the user is told it.

use super::Backend;
use crate::failure::Failure;

/// Says of an error what was computed, and what to do if the device knows.
pub fn failed<D: Backend>(what: &'static str) -> impl Fn(D::Err) -> anyhow::Error + Copy {
    move |error| {
        let failure = Failure {
            message: format!("{what}: {error}"),
            hint: D::remedy(&error).map(str::to_owned),
        };
        failure.into()
    }
}
