//! Early stopping: whether a value measured on validation data has stopped getting better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measured::Measured;

/// Ends a training when a value has not got better for some epochs (Prechelt 1998), as Keras'
/// `EarlyStopping` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patience {
    /// The value, of the need `validation`.
    pub of: Watched,
    /// Epochs since the best value after which the training ends.
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Which model is the result.
    #[serde(default)]
    pub keep: Keep,
}

/// A value measured on validation data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// The lower, the better.
    ValidationLoss,
    /// The higher, the better.
    ValidationAccuracy,
    /// Where numbers are learnt; the lower, the better.
    ValidationMse,
    /// Where numbers are learnt; the lower, the better.
    ValidationMae,
}

/// Which model is the result of a training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// That of the last step.
    #[default]
    Last,
    /// That with the best value; of equal ones the first.
    Best,
}

impl Watched {
    /// What it is called among the measured values.
    pub fn name(self) -> &'static str {
        match self {
            Watched::ValidationLoss => "loss",
            Watched::ValidationAccuracy => "accuracy",
            Watched::ValidationMse => "mse",
            Watched::ValidationMae => "mae",
        }
    }

    /// Only classes have it; else only numbers.
    pub fn is_of_classes(self) -> bool {
        matches!(self, Watched::ValidationLoss | Watched::ValidationAccuracy)
    }

    fn is_better(self, value: f64, than: f64) -> bool {
        match self {
            Watched::ValidationAccuracy => value > than,
            _ => value < than,
        }
    }
}

impl Patience {
    /// The best value so far and the newest.
    fn best_and_newest<'a>(&self, rows: &'a [Measured]) -> Option<(&'a Measured, &'a Measured)> {
        let name = self.of.name();
        let mut found: Option<(&Measured, &Measured)> = None;
        for row in rows {
            if row.split.as_deref() != Some("validation") || row.name != name {
                continue;
            }
            found = Some(match found {
                Some((best, _)) if !self.of.is_better(row.value, best.value) => (best, row),
                _ => (row, row),
            });
        }
        found
    }

    /// Whether the value has not got better for long enough.
    pub fn is_over(&self, rows: &[Measured]) -> bool {
        let found = self.best_and_newest(rows);
        found.is_some_and(|(best, newest)| newest.epoch - best.epoch >= self.epochs)
    }

    /// Whether the newest value is the best, and its model to be kept.
    pub fn keeps_newest(&self, rows: &[Measured]) -> bool {
        let found = self.best_and_newest(rows);
        self.keep == Keep::Best && found.is_some_and(|(best, newest)| best.step == newest.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(split: &str, name: &str, values: &[f64]) -> Vec<Measured> {
        let row = |(i, value): (usize, &f64)| Measured {
            epoch: i as u64 + 1,
            step: 10 * (i as u64 + 1),
            split: Some(split.to_owned()),
            name: name.to_owned(),
            value: *value,
        };
        values.iter().enumerate().map(row).collect()
    }

    /// By the documentation of Keras' `EarlyStopping("val_loss", patience=2)`: it stops in the
    /// epoch in which the second value in a row is not better than the best.
    #[test]
    fn training_ends_when_patience_does() {
        let patience = |of| Patience {
            of,
            epochs: 2,
            keep: Keep::Best,
        };
        let loss = patience(Watched::ValidationLoss);
        let ends = |p: Patience, name: &str, values: &[f64]| {
            (1..=values.len()).find(|n| p.is_over(&rows("validation", name, &values[..*n])))
        };
        let values = [1.0, 0.8, 0.9, 0.7, 0.7, 0.75, 0.6];
        assert_eq!(ends(loss, "loss", &values), Some(6), "equal is not better");
        assert_eq!(ends(loss, "loss", &values[..5]), None);
        assert_eq!(ends(loss, "accuracy", &values), None, "another value");
        let accuracy = patience(Watched::ValidationAccuracy);
        assert_eq!(ends(accuracy, "accuracy", &values), Some(3));
        let of_test = rows("test", "loss", &values);
        assert!(!loss.is_over(&of_test), "never the test set");
        let kept = |n: usize| loss.keeps_newest(&rows("validation", "loss", &values[..n]));
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(kept),
            [true, true, false, true, false, false]
        );
    }
}
