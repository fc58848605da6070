//! Softmax cross-entropy over integer labels, and the count of right answers; the squared error of numbers.

use std::sync::Arc;

use dfdx::prelude::{PutTape, Tape};

use super::slots::Slots;
use super::{Backend, Matrix, Scalar};

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

fn assert_fits<D: Backend, T>(logits: &Matrix<D, T>, labels: &Labels) {
    assert_eq!(
        logits.shape(),
        (labels.of_rows.len(), labels.classes),
        "logits and labels"
    );
}

/// The mean cross-entropy of the batch in nats; the target gives `1 - smoothing` to the label and spreads `smoothing`
/// evenly over all classes (Szegedy et al. 2016, as in PyTorch). `.backward()` of the result gives the gradients.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Logits whose shape is not (labels, classes); smoothing outside `[0, 1]`.
pub fn softmax_cross_entropy<D: Backend, T: Tape<f32, D>>(
    logits: Matrix<D, T>,
    labels: &Labels,
    smoothing: f32,
) -> Result<Scalar<D, T>, D::Err> {
    assert!(
        (0.0..=1.0).contains(&smoothing),
        "label smoothing {smoothing}"
    );
    let (logits, mut tape) = logits.split_tape();
    assert_fits(&logits, labels);
    let (device, pool, len) = (logits.device().clone(), logits.pool().clone(), logits.len());
    let mut probabilities = device.values(&pool, len)?;
    let mut loss: Scalar<D> = device.try_zeros_like(&())?;
    device.cross_entropy_forward(
        logits.values(),
        labels,
        smoothing,
        &mut probabilities,
        &mut loss,
    )?;
    if T::OWNS_TAPE {
        let (logits, dloss, labels) = (logits.slot().clone(), loss.clone(), labels.clone());
        tape.add_backward_op(move |gradients| {
            let mut dlogits = Slots::new(gradients, &device, &pool).open(&logits, len)?;
            let dloss = gradients.get_or_alloc_mut(&dloss)?;
            device.cross_entropy_backward(
                &probabilities,
                &labels,
                smoothing,
                dloss,
                &mut dlogits,
            )?;
            Slots::new(gradients, &device, &pool).close(&logits, dlogits)
        });
    }
    Ok(loss.put_tape(tape))
}

/// The mean cross-entropy of the batch in nats against a distribution over the classes per row, as PyTorch's
/// `CrossEntropyLoss` with class probabilities; targets get no gradient.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Logits and targets of different shapes.
pub fn soft_cross_entropy<D: Backend, T: Tape<f32, D>>(
    logits: Matrix<D, T>,
    targets: &Matrix<D>,
) -> Result<Scalar<D, T>, D::Err> {
    let (logits, mut tape) = logits.split_tape();
    assert_eq!(logits.shape(), targets.shape(), "logits and targets");
    let (device, pool, len) = (logits.device().clone(), logits.pool().clone(), logits.len());
    let classes = logits.shape().1;
    let mut probabilities = device.values(&pool, len)?;
    let mut loss: Scalar<D> = device.try_zeros_like(&())?;
    let values = targets.values();
    device.soft_cross_entropy_forward(
        classes,
        logits.values(),
        values,
        &mut probabilities,
        &mut loss,
    )?;
    if T::OWNS_TAPE {
        let (logits, dloss, targets) = (logits.slot().clone(), loss.clone(), targets.clone());
        tape.add_backward_op(move |gradients| {
            let mut dlogits = Slots::new(gradients, &device, &pool).open(&logits, len)?;
            let dloss = gradients.get_or_alloc_mut(&dloss)?;
            device.soft_cross_entropy_backward(
                classes,
                &probabilities,
                targets.values(),
                dloss,
                &mut dlogits,
            )?;
            Slots::new(gradients, &device, &pool).close(&logits, dlogits)
        });
    }
    Ok(loss.put_tape(tape))
}

/// The mean over rows and targets of the squared errors, as PyTorch's `MSELoss`; targets get no gradient.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Outputs and targets of different shapes.
pub fn mean_squared_error<D: Backend, T: Tape<f32, D>>(
    outputs: Matrix<D, T>,
    targets: &Matrix<D>,
) -> Result<Scalar<D, T>, D::Err> {
    let (outputs, mut tape) = outputs.split_tape();
    assert_eq!(outputs.shape(), targets.shape(), "outputs and targets");
    let (device, pool, len) = (
        outputs.device().clone(),
        outputs.pool().clone(),
        outputs.len(),
    );
    let mut loss: Scalar<D> = device.try_zeros_like(&())?;
    let width = outputs.shape().1;
    device.squared_error_forward(width, outputs.values(), targets.values(), &mut loss)?;
    if T::OWNS_TAPE {
        let (dloss, targets) = (loss.clone(), targets.clone());
        tape.add_backward_op(move |gradients| {
            let mut to = Slots::new(gradients, &device, &pool).open(outputs.slot(), len)?;
            let dloss = gradients.get_or_alloc_mut(&dloss)?;
            device.squared_error_backward(outputs.values(), targets.values(), dloss, &mut to)?;
            Slots::new(gradients, &device, &pool).close(outputs.slot(), to)
        });
    }
    Ok(loss.put_tape(tape))
}

/// The sum over rows and targets of the absolute errors, in f64 and in order.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Outputs and targets of different shapes.
pub fn absolute_error<D: Backend, T>(
    outputs: &Matrix<D, T>,
    targets: &Matrix<D>,
) -> Result<f64, D::Err> {
    assert_eq!(outputs.shape(), targets.shape(), "outputs and targets");
    let device = outputs.device();
    device.absolute_error(outputs.values(), targets.values())
}

/// Rows whose largest logit is at the label; of equal ones the first counts.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Logits whose shape is not (labels, classes).
pub fn count_correct<D: Backend, T>(
    logits: &Matrix<D, T>,
    labels: &Labels,
) -> Result<usize, D::Err> {
    assert_fits(logits, labels);
    logits.device().count_correct(logits.values(), labels)
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
