//! What dense layers and convolutions have in common: weight, bias, activation, the forward call
//! and the backward step.

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{Activation, Backend, InputGradient, LayerBackward, Matrix, Param};

/// Numbers a layer has.
pub(super) struct Sizes {
    /// In a row of its input.
    pub inputs: usize,
    /// In its weight.
    pub weights: usize,
    /// In its bias.
    pub channels: usize,
    /// In a row of its output.
    pub outputs: usize,
}

/// `activation(x·w + b)`, which `forward` computes from the values of `x` into those of the output;
/// its gradients are left to `backward` on the tape of `x`. `op` names the layer where sizes
/// disagree.
#[allow(clippy::too_many_arguments)]
pub(super) fn layer<D: Backend, T: Tape<f32, Cpu>>(
    op: &str,
    sizes: Sizes,
    x: Matrix<D, T>,
    w: &Param<D>,
    b: Option<&Param<D>>,
    activation: Activation,
    input: InputGradient,
    forward: impl FnOnce(&D, &D::Values, &mut D::Values) -> Result<(), D::Err>,
    backward: impl FnOnce(&D, LayerBackward<'_, D>) -> Result<(), D::Err> + 'static,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of(op, &x, sizes.inputs);
    super::assert_len(op, w, sizes.weights);
    if let Some(b) = b {
        super::assert_len(op, b, sizes.channels);
    }
    let mut y = x.device().values(x.pool(), n * sizes.outputs)?;
    forward(x.device(), x.values(), &mut y)?;
    let y = Matrix::new(x.device(), x.pool(), (n, sizes.outputs), y);
    if T::OWNS_TAPE {
        let (w, b) = (w.clone(), b.cloned());
        let (y_slot, y_len) = (y.slot().clone(), y.len());
        let kept = (activation != Activation::Identity).then(|| y.clone());
        record(&mut tape, &y, move |device, slots| {
            let mut dy = slots.take(&y_slot, y_len)?;
            let mut dw = slots.open_param(&w)?;
            let mut db = b.as_ref().map(|b| slots.open_param(b)).transpose()?;
            let mut dx = match input {
                InputGradient::Needed => Some(slots.open(x.slot(), x.len())?),
                InputGradient::Skip => None,
            };
            let from = LayerBackward {
                x: x.values(),
                w: w.values(),
                y: kept.as_ref().map(Matrix::values),
                activation,
                dy: &mut dy,
                dw: &mut dw,
                db: db.as_mut(),
                dx: dx.as_mut(),
            };
            backward(device, from)?;
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
    Ok(y.put_tape(tape))
}
