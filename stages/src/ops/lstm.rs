//! The LSTM layer: a network that reads an image row by row and decides what it keeps (Hochreiter &
//! Schmidhuber 1997).

use dfdx::prelude::{Cpu, Tape};

use super::slots::record;
use super::{
    Backend, GATES, Gate, GateGradients, InputGradient, LstmBackward, Matrix, Param, RecurrentShape,
};
use repro_numerics::kernels::lstm::BLOCKS;

/// The parameters of a gate.
#[derive(Debug)]
pub struct GateParams<'a, D: Backend> {
    /// Of the row, laid out `[inputs, units]`.
    pub w: &'a Param<D>,
    /// Of the sum.
    pub b: &'a Param<D>,
    /// Of the earlier output, laid out `[units, units]`.
    pub u: &'a Param<D>,
}

/// The last output of [`repro_numerics::kernels::lstm`] over the rows of images, with the gates in its
/// order: `[n, steps·inputs]` to `[n, units]`.
///
/// # Errors
/// The device's.
///
/// # Panics
/// Sizes that disagree with `shape`.
pub fn lstm<D: Backend, T: Tape<f32, Cpu>>(
    x: Matrix<D, T>,
    params: [GateParams<'_, D>; GATES],
    shape: RecurrentShape,
    input: InputGradient,
) -> Result<Matrix<D, T>, D::Err> {
    let (x, mut tape) = x.split_tape();
    let n = super::rows_of("lstm", &x, shape.features());
    for GateParams { w, b, u } in &params {
        super::assert_len("lstm: input", w, shape.inputs() * shape.units());
        super::assert_len("lstm: bias", b, shape.units());
        super::assert_len("lstm: state", u, shape.units() * shape.units());
    }
    let (device, pool) = (x.device(), x.pool());
    let mut states = device.values(pool, BLOCKS * shape.steps() * n * shape.units())?;
    let mut y = device.values(pool, n * shape.units())?;
    let gates = params.each_ref().map(|GateParams { w, b, u }| Gate {
        w: w.values(),
        b: b.values(),
        u: u.values(),
    });
    device.lstm_forward(shape, x.values(), gates, &mut states, &mut y)?;
    let y = Matrix::new(device, pool, (n, shape.units()), y);
    if T::OWNS_TAPE {
        let params = params.map(|GateParams { w, b, u }| [w.clone(), b.clone(), u.clone()]);
        let (y_slot, y_len) = (y.slot().clone(), y.len());
        record(&mut tape, &y, move |device, slots| {
            let dy = slots.take(&y_slot, y_len)?;
            let mut opened = Vec::with_capacity(GATES);
            for [w, b, u] in &params {
                opened.push(GateGradients {
                    dw: slots.open_param(w)?,
                    db: slots.open_param(b)?,
                    du: slots.open_param(u)?,
                });
            }
            let Ok(mut to) = <[GateGradients<D>; GATES]>::try_from(opened) else {
                unreachable!("every gate's gradients were opened");
            };
            let mut dx = match input {
                InputGradient::Needed => Some(slots.open(x.slot(), x.len())?),
                InputGradient::Skip => None,
            };
            let gates = params.each_ref().map(|[w, b, u]| Gate {
                w: w.values(),
                b: b.values(),
                u: u.values(),
            });
            let from = LstmBackward {
                x: x.values(),
                gates,
                states: &states,
                dy: &dy,
                to: &mut to,
                dx: dx.as_mut(),
            };
            device.lstm_backward(shape, from)?;
            for ([w, b, u], GateGradients { dw, db, du }) in params.iter().zip(to) {
                slots.close(w.slot(), dw)?;
                slots.close(b.slot(), db)?;
                slots.close(u.slot(), du)?;
            }
            match dx {
                Some(dx) => slots.close(x.slot(), dx),
                None => Ok(()),
            }
        });
    }
    Ok(y.put_tape(tape))
}
