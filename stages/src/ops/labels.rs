//! The classes that a batch's rows are known to have: checked once, so that no op meets another.

use std::sync::Arc;

/// The classes of a batch's rows, each known to be below `classes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    classes: usize,
    of_rows: Arc<[u32]>,
}

/// A label that is no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {label} of row {row} is not below the number of classes ({classes})")]
pub struct BadLabel {
    /// Position in the batch.
    pub row: usize,
    /// What was given.
    pub label: u32,
    /// How many classes there are.
    pub classes: usize,
}

impl Labels {
    /// # Errors
    /// A label that is not below `classes`.
    pub fn new(of_rows: &[u32], classes: usize) -> Result<Labels, BadLabel> {
        match of_rows.iter().position(|l| *l as usize >= classes) {
            Some(row) => Err(BadLabel {
                row,
                label: of_rows[row],
                classes,
            }),
            None => Ok(Labels {
                classes,
                of_rows: of_rows.into(),
            }),
        }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of every row.
    pub fn of_rows(&self) -> &[u32] {
        &self.of_rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_class_is_refused() {
        assert!(Labels::new(&[0, 9], 10).is_ok());
        assert_eq!(
            Labels::new(&[0, 10], 10),
            Err(BadLabel {
                row: 1,
                label: 10,
                classes: 10
            })
        );
    }
}
