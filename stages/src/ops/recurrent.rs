//! The Elman layer: a network that reads an image row by row (Elman 1990).

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{Backend, InputGradient, Matrix, Param, RecurrentBackward, RecurrentShape};

/// The parameters of a recurrent layer.
#[derive(Debug)]
pub struct RecurrentParams<'a, D: Backend> {
    /// Of the input, laid out `[inputs, units]`.
    pub w_in: &'a Param<D>,
    /// Of every step.
    pub b: &'a Param<D>,
    /// Of the earlier state, laid out `[units, units]`.
    pub w_rec: &'a Param<D>,
}

/// The last state of `h[t] = tanh(x[t]·w_in + b + h[t-1]·w_rec)` over the rows of images, from
/// `h = 0`: `[n, steps·inputs]` to `[n, units]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn recurrent<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    params: RecurrentParams<'_, D>,
    shape: RecurrentShape,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let RecurrentParams { w_in, b, w_rec } = params;
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("recurrent", &x, shape.features());
    super::assert_len("recurrent: input", w_in, shape.inputs() * shape.units());
    super::assert_len("recurrent: bias", b, shape.units());
    super::assert_len("recurrent: state", w_rec, shape.units() * shape.units());
    let (device, pool) = (x.device(), x.pool());
    let mut states = device.values(pool, shape.steps() * n * shape.units())?;
    let mut y = device.values(pool, n * shape.units())?;
    let [from_input, bias, from_state] = [w_in, b, w_rec].map(Param::values);
    device.recurrent_forward(
        shape,
        x.values(),
        from_input,
        bias,
        from_state,
        &mut states,
        &mut y,
    )?;
    let y = Matrix::new(device, pool, (n, shape.units()), y);
    if T::OWNS_TAPE {
        let (w_in, b, w_rec) = (w_in.clone(), b.clone(), w_rec.clone());
        let (y_slot, y_len) = (y.slot().clone(), y.len());
        record(&mut tape, &y, move |device, slots| {
            let dy = slots.take(&y_slot, y_len)?;
            let mut dw_in = slots.open_param(&w_in)?;
            let mut db = slots.open_param(&b)?;
            let mut dw_rec = slots.open_param(&w_rec)?;
            let mut dx = match input {
                InputGradient::Needed => Some(slots.open(x.slot(), x.len())?),
                InputGradient::Skip => None,
            };
            let from = RecurrentBackward {
                x: x.values(),
                w_in: w_in.values(),
                w_rec: w_rec.values(),
                states: &states,
                dy: &dy,
                dw_in: &mut dw_in,
                db: &mut db,
                dw_rec: &mut dw_rec,
                dx: dx.as_mut(),
            };
            device.recurrent_backward(shape, from)?;
            slots.close(w_in.slot(), dw_in)?;
            slots.close(b.slot(), db)?;
            slots.close(w_rec.slot(), dw_rec)?;
            match dx {
                Some(dx) => slots.close(x.slot(), dx),
                None => Ok(()),
            }
        });
    }
    Ok(y.put_tape(tape))
}
