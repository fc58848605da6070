//! Softmax cross-entropy over integer labels, and the count of right answers; the squared error of
//! numbers.

use dfdx::prelude::{Cpu, PutTape, Tape, ZerosTensor};

use super::matrix::names;
use super::slots::record;
use super::{Accumulate, Backend, Gradient, Labels, Matrix, Scalar};
use repro_numerics::exact::math::{exp_f64, ln_f64};

fn assert_fits<D: Backend, T>(logits: &Matrix<D, T>, labels: &Labels) {
    assert_eq!(
        logits.shape(),
        (labels.of_rows().len(), labels.classes()),
        "logits and labels"
    );
}

/// The mean cross-entropy of the batch in nats; the target gives `1 - smoothing` to the label and
/// spreads `smoothing` evenly over all classes (Szegedy et al. 2016, as in PyTorch).
/// [`super::backward`] of the result gives the gradients.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Logits whose shape is not (labels, classes); smoothing outside `[0, 1]`.
pub fn softmax_cross_entropy<D: Backend, T: Tape<f32, Cpu>>(
    logits: Matrix<D, T>,
    labels: &Labels,
    smoothing: f32,
) -> Result<Scalar<T>, D::Err> {
    assert!(
        (0.0..=1.0).contains(&smoothing),
        "label smoothing {smoothing}"
    );
    let (logits, tape) = logits.split_tape();
    assert_fits(&logits, labels);
    let device = logits.device();
    let mut probabilities = device.values(logits.pool(), logits.len())?;
    let values = logits.values();
    let mean = device.cross_entropy_forward(values, labels, smoothing, &mut probabilities)?;
    let labels = labels.clone();
    Ok(scalar(tape, &logits, mean, move |device, dloss, to| {
        device.cross_entropy_backward(&probabilities, &labels, smoothing, dloss, to)
    }))
}

/// The mean cross-entropy of the batch in nats against a distribution over the classes per row, as
/// PyTorch's `CrossEntropyLoss` with class probabilities; targets get no gradient.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Logits and targets of different shapes.
pub fn soft_cross_entropy<D: Backend, T: Tape<f32, Cpu>>(
    logits: Matrix<D, T>,
    targets: &Matrix<D>,
) -> Result<Scalar<T>, D::Err> {
    let (logits, tape) = logits.split_tape();
    assert_eq!(logits.shape(), targets.shape(), "logits and targets");
    let (device, classes) = (logits.device(), logits.shape().1);
    let mut probabilities = device.values(logits.pool(), logits.len())?;
    let (values, wanted) = (logits.values(), targets.values());
    let mean = device.soft_cross_entropy_forward(classes, values, wanted, &mut probabilities)?;
    let targets = targets.clone();
    Ok(scalar(tape, &logits, mean, move |device, dloss, to| {
        let wanted = targets.values();
        device.soft_cross_entropy_backward(classes, &probabilities, wanted, dloss, to)
    }))
}

/// The mean over rows and targets of the squared errors, as PyTorch's `MSELoss`; targets get no
/// gradient.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Outputs and targets of different shapes.
pub fn mean_squared_error<D: Backend, T: Tape<f32, Cpu>>(
    outputs: Matrix<D, T>,
    targets: &Matrix<D>,
) -> Result<Scalar<T>, D::Err> {
    let (outputs, tape) = outputs.split_tape();
    assert_eq!(outputs.shape(), targets.shape(), "outputs and targets");
    let (device, width) = (outputs.device(), outputs.shape().1);
    let mean = device.squared_error_forward(width, outputs.values(), targets.values())?;
    let (kept, targets) = (outputs.clone(), targets.clone());
    Ok(scalar(tape, &outputs, mean, move |device, dloss, to| {
        device.squared_error_backward(kept.values(), targets.values(), dloss, to)
    }))
}

/// `Σ weights·outputs`: its gradient with respect to the outputs is `weights`, which get none. The
/// value is summed in f64, in order, and rounded.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Outputs and weights of different shapes.
pub fn weighted_sum<D: Backend, T: Tape<f32, Cpu>>(
    outputs: Matrix<D, T>,
    weights: &Matrix<D>,
) -> Result<Scalar<T>, D::Err> {
    let (outputs, tape) = outputs.split_tape();
    assert_eq!(outputs.shape(), weights.shape(), "outputs and weights");
    let (y, w) = (outputs.read(), weights.read());
    let terms = y
        .iter()
        .zip(&*w)
        .map(|(y, w)| f64::from(*y) * f64::from(*w));
    let sum = terms.sum::<f64>() as f32;
    let weights = weights.clone();
    Ok(scalar(tape, &outputs, sum, move |device, dloss, to| {
        if to.how == Accumulate::First {
            to.to = device.copy(weights.values(), weights.pool())?;
            return device.scaled_add(0.0, weights.values(), dloss, &mut to.to);
        }
        device.scaled_add(dloss, weights.values(), 1.0, &mut to.to)
    }))
}

/// A loss of the outputs `of`, and on its tape the step that makes their gradient from the loss's.
fn scalar<D: Backend, T: Tape<f32, Cpu>>(
    mut tape: T,
    of: &Matrix<D>,
    value: f32,
    gradient: impl FnOnce(&D, f32, &mut Gradient<D>) -> Result<(), D::Err> + 'static,
) -> Scalar<T> {
    let mut loss: Scalar = names().zeros();
    loss[[]] = value;
    if T::OWNS_TAPE {
        let (slot, len, of_loss) = (of.slot().clone(), of.len(), loss.clone());
        record(&mut tape, of, move |device, slots| {
            let mut to = slots.open(&slot, len)?;
            gradient(device, slots.of_loss(&of_loss)?, &mut to)?;
            slots.close(&slot, to)
        });
    }
    loss.put_tape(tape)
}

/// The same logits, whose gradient also has that of `-penalty·H`, the mean over rows of the entropy
/// `H = -Σ p ln p` of their softmax in nats (Pereyra et al. 2017, equation 3): per element
/// `penalty/n · p·(ln p + H)` in f64, rounded once. It belongs to a loss that counts 1.
///
/// # Errors
/// The device's.
pub fn with_confidence_penalty<D: Backend, T: Tape<f32, Cpu>>(
    logits: Matrix<D, T>,
    penalty: f64,
) -> Result<Matrix<D, T>, D::Err> {
    let (logits, mut tape) = logits.split_tape();
    if T::OWNS_TAPE {
        let (n, classes) = logits.shape();
        let mut slopes = Vec::with_capacity(n * classes);
        for row in logits.read().chunks_exact(classes) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let lower: Vec<f64> = row
                .iter()
                .map(|z| f64::from(*z) - f64::from(largest))
                .collect();
            let sum = lower.iter().map(|z| exp_f64(*z)).sum::<f64>();
            let ln_p = |z: &f64| z - ln_f64(sum);
            let p = |z: &f64| exp_f64(*z) / sum;
            let entropy = -lower.iter().map(|z| p(z) * ln_p(z)).sum::<f64>();
            let slope = |z: &f64| (penalty / n as f64 * (p(z) * (ln_p(z) + entropy))) as f32;
            slopes.extend(lower.iter().map(slope));
        }
        let (slot, len) = (logits.slot().clone(), logits.len());
        let fill = |to: &mut [f32]| to.copy_from_slice(&slopes);
        let slopes = logits.device().written(logits.pool(), len, fill)?;
        // The step of the loss comes behind on the tape, and so goes first.
        record(&mut tape, &logits, move |_, slots| {
            slots.add(&slot, len, slopes)
        });
    }
    Ok(logits.put_tape(tape))
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
