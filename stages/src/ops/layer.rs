//! What dense layers and convolutions have in common: weight, bias, activation, and the backward step.

use dfdx::prelude::Tape;

use super::slots::Slots;
use super::{Activation, Backend, InputGradient, LayerBackward, Matrix, Param};

/// Leaves on `tape` the backward step of `y = activation(x·w + b)`, which `run` computes.
#[allow(clippy::too_many_arguments)]
pub(super) fn record<D: Backend, T: Tape<f32, D>>(
    tape: &mut T,
    x: Matrix<D>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    activation: Activation,
    input: InputGradient,
    y: &Matrix<D>,
    run: impl FnOnce(&D, LayerBackward<'_, D>) -> Result<(), D::Err> + 'static,
) {
    if !T::OWNS_TAPE {
        return;
    }
    let (w, b) = (w.clone(), b.cloned());
    let (y_slot, y_len) = (y.slot().clone(), y.len());
    let y = (activation != Activation::Identity).then(|| y.clone());
    tape.add_backward_op(move |gradients| {
        let mut slots = Slots::new(gradients, x.device(), x.pool());
        let mut dy = slots.take(&y_slot, y_len)?;
        let mut dw = slots.open_param(&w)?;
        let mut db = b.as_ref().map(|b| slots.open_param(b)).transpose()?;
        let mut dx = match input {
            InputGradient::Needed => Some(slots.open(x.slot(), x.len())?),
            InputGradient::Skip => None,
        };
        let from = LayerBackward {
            x: x.values(),
            w: &w,
            y: y.as_ref().map(Matrix::values),
            activation,
            dy: &mut dy,
            dw: &mut dw,
            db: db.as_mut(),
            dx: dx.as_mut(),
        };
        run(x.device(), from)?;
        slots.close(w.slot(), dw)?;
        if let (Some(b), Some(db)) = (&b, db) {
            slots.close(b.slot(), db)?;
        }
        match dx {
            Some(dx) => slots.close(x.slot(), dx),
            None => Ok(()),
        }
    });
}
