//! Ops of the chosen device on the CPU, where no GPU was chosen.

use super::super::{
    Activation, Backend, ConvShape, DenseShape, DepthwiseShape, GATES, Gate, GateGradients,
    Gradient, GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward, Moments,
    Moving, NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
};
use super::values::{LentGradient, Values, lend};
use super::{Chosen, DeviceError, Done};
use dfdx::prelude::Cpu;

/// A step, all parameters in one call.
pub(super) fn step<'a>(
    on: &Chosen,
    rule: Rule,
    parameters: impl Iterator<Item = Moving<'a, Chosen>>,
) -> Done {
    let mut moments = Vec::new();
    let mut rest = Vec::new();
    for moving in parameters {
        let Moments { first, second } = moving.moments;
        let lift = |values: &mut Option<Values>| values.take().map(Values::into_near);
        moments.push(Moments::<Cpu> {
            first: lift(first),
            second: lift(second),
        });
        rest.push((
            moving.weights.near_mut(),
            (first, second),
            moving.gradient.near(),
            moving.mask,
        ));
    }
    let near = rest
        .iter_mut()
        .zip(&mut moments)
        .map(|((weights, _, gradient, mask), moments)| Moving {
            weights: &mut **weights,
            moments,
            gradient: *gradient,
            mask: mask.map(Values::near),
        });
    let done = on.cpu.step(rule, near);
    for ((_, (first, second), ..), near) in rest.into_iter().zip(moments) {
        *first = near.first.map(Values::Near);
        *second = near.second.map(Values::Near);
    }
    Ok(done?)
}

/// Layers with a weight.
macro_rules! layers {
    ($($shape:ty: $forward:ident, $backward:ident;)*) => {
        $(pub(super) fn $forward(on: &Chosen, shape: $shape, x: &Values, w: &Values, b: Option<&Values>, activation: Activation, y: &mut Values) -> Done {
            let (x, w, y) = (x.near(), w.near(), y.near_mut());
            let b = b.map(Values::near);
            on.cpu.$forward(shape, x, w, b, activation, y)?;
            Ok(())
        }
        pub(super) fn $backward(on: &Chosen, shape: $shape, from: LayerBackward<'_, Chosen>) -> Done {
            let (x, w) = (from.x.near(), from.w.near());
            let y = from.y.map(Values::near);
            let dy = from.dy.near_mut();
            let (mut dw, mut db, mut dx) = (lend(from.dw), from.db.map(lend), from.dx.map(lend));
            on.cpu.$backward(shape, LayerBackward {
                x,
                w,
                y,
                activation: from.activation,
                dy,
                dw: &mut dw.near,
                db: db.as_mut().map(|db| &mut db.near),
                dx: dx.as_mut().map(|dx| &mut dx.near),
            })?;
            for gradient in [Some(dw), db, dx].into_iter().flatten() {
                gradient.back();
            }
            Ok(())
        })*
    };
}

layers! {
    DenseShape: dense_forward, dense_backward;
    ConvShape: conv2d_forward, conv2d_backward;
    DepthwiseShape: depthwise_forward, depthwise_backward;
}

pub(super) fn max_pool_backward(
    on: &Chosen,
    shape: PoolShape,
    x: &Values,
    dy: &Values,
    dx: &mut Gradient<Chosen>,
) -> Done {
    let (x, dy, mut dx) = (x.near(), dy.near(), lend(dx));
    on.cpu.max_pool_backward(shape, x, dy, &mut dx.near)?;
    dx.back();
    Ok(())
}

pub(super) fn avg_pool_backward(
    on: &Chosen,
    shape: PoolShape,
    dy: &Values,
    dx: &mut Gradient<Chosen>,
) -> Done {
    let (dy, mut dx) = (dy.near(), lend(dx));
    on.cpu.avg_pool_backward(shape, dy, &mut dx.near)?;
    dx.back();
    Ok(())
}

#[allow(clippy::too_many_arguments)]
pub(super) fn normalize_forward(
    on: &Chosen,
    shape: NormShape,
    x: &Values,
    mean: &Values,
    variance: &Values,
    gamma: &Values,
    beta: &Values,
    activation: Activation,
    y: &mut Values,
) -> Done {
    let (x, mean, variance) = (x.near(), mean.near(), variance.near());
    let (gamma, beta, y) = (gamma.near(), beta.near(), y.near_mut());
    on.cpu
        .normalize_forward(shape, x, mean, variance, gamma, beta, activation, y)?;
    Ok(())
}

pub(super) fn normalize_backward(
    on: &Chosen,
    shape: NormShape,
    from: NormBackward<'_, Chosen>,
) -> Done {
    let (x, mean) = (from.x.near(), from.mean.near());
    let (variance, gamma) = (from.variance.near(), from.gamma.near());
    let y = from.y.map(Values::near);
    let dy = from.dy.near_mut();
    let (mut dgamma, mut dbeta) = (lend(from.dgamma), lend(from.dbeta));
    on.cpu.normalize_backward(
        shape,
        NormBackward {
            through_stats: from.through_stats,
            x,
            mean,
            variance,
            gamma,
            y,
            activation: from.activation,
            dy,
            dgamma: &mut dgamma.near,
            dbeta: &mut dbeta.near,
        },
    )?;
    dgamma.back();
    dbeta.back();
    Ok(())
}

pub(super) fn group_norm_backward(
    on: &Chosen,
    shape: GroupNormShape,
    from: GroupNormBackward<'_, Chosen>,
) -> Done {
    let (x, mean) = (from.x.near(), from.mean.near());
    let (inverse_deviation, gamma) = (from.inverse_deviation.near(), from.gamma.near());
    let dy = from.dy.near_mut();
    let (mut dgamma, mut dbeta) = (lend(from.dgamma), lend(from.dbeta));
    on.cpu.group_norm_backward(
        shape,
        GroupNormBackward {
            x,
            mean,
            inverse_deviation,
            gamma,
            dy,
            dgamma: &mut dgamma.near,
            dbeta: &mut dbeta.near,
        },
    )?;
    dgamma.back();
    dbeta.back();
    Ok(())
}

pub(super) fn recurrent_backward(
    on: &Chosen,
    shape: RecurrentShape,
    from: RecurrentBackward<'_, Chosen>,
) -> Done {
    let (x, w_in, w_rec) = (from.x.near(), from.w_in.near(), from.w_rec.near());
    let (states, dy) = (from.states.near(), from.dy.near());
    let (mut dw_in, mut db) = (lend(from.dw_in), lend(from.db));
    let (mut dw_rec, mut dx) = (lend(from.dw_rec), from.dx.map(lend));
    on.cpu.recurrent_backward(
        shape,
        RecurrentBackward {
            x,
            w_in,
            w_rec,
            states,
            dy,
            dw_in: &mut dw_in.near,
            db: &mut db.near,
            dw_rec: &mut dw_rec.near,
            dx: dx.as_mut().map(|dx| &mut dx.near),
        },
    )?;
    let lent = [Some(dw_in), Some(db), Some(dw_rec), dx];
    for gradient in lent.into_iter().flatten() {
        gradient.back();
    }
    Ok(())
}

pub(super) fn lstm_forward(
    on: &Chosen,
    shape: RecurrentShape,
    x: &Values,
    gates: [Gate<'_, Chosen>; GATES],
    states: &mut Values,
    y: &mut Values,
) -> Done {
    let (x, gates) = (x.near(), near_gates(gates));
    let (states, y) = (states.near_mut(), y.near_mut());
    on.cpu.lstm_forward(shape, x, gates, states, y)?;
    Ok(())
}

pub(super) fn lstm_backward(
    on: &Chosen,
    shape: RecurrentShape,
    from: LstmBackward<'_, Chosen>,
) -> Done {
    let (x, gates) = (from.x.near(), near_gates(from.gates));
    let (states, dy) = (from.states.near(), from.dy.near());
    let mut dx = from.dx.map(lend);
    let mut lent = Vec::with_capacity(GATES);
    for GateGradients { dw, db, du } in from.to {
        lent.push([lend(dw), lend(db), lend(du)]);
    }
    let mut to = std::array::from_fn(|gate| {
        let [dw, db, du] = &mut lent[gate];
        let [dw, db, du] = [dw, db, du].map(LentGradient::lift);
        GateGradients { dw, db, du }
    });
    on.cpu.lstm_backward(
        shape,
        LstmBackward {
            x,
            gates,
            states,
            dy,
            to: &mut to,
            dx: dx.as_mut().map(|dx| &mut dx.near),
        },
    )?;
    for (lent, GateGradients { dw, db, du }) in lent.into_iter().zip(to) {
        for (mut lent, near) in lent.into_iter().zip([dw, db, du]) {
            lent.near = near;
            lent.back();
        }
    }
    if let Some(dx) = dx {
        dx.back();
    }
    Ok(())
}

fn near_gates(gates: [Gate<'_, Chosen>; GATES]) -> [Gate<'_, Cpu>; GATES] {
    gates.map(|Gate { w, b, u }| Gate {
        w: w.near(),
        b: b.near(),
        u: u.near(),
    })
}

pub(super) fn activation_backward(
    on: &Chosen,
    which: Activation,
    y: Option<&Values>,
    dy: &mut Values,
) -> Done {
    Ok(on
        .cpu
        .activation_backward(which, y.map(Values::near), dy.near_mut())?)
}

pub(super) fn add_forward(
    on: &Chosen,
    a: &Values,
    b: &Values,
    activation: Activation,
    y: &mut Values,
) -> Done {
    Ok(on
        .cpu
        .add_forward(a.near(), b.near(), activation, y.near_mut())?)
}

pub(super) fn cross_entropy_forward(
    on: &Chosen,
    logits: &Values,
    labels: &Labels,
    smoothing: f32,
    probabilities: &mut Values,
) -> Result<f32, DeviceError> {
    let (logits, probabilities) = (logits.near(), probabilities.near_mut());
    Ok(on
        .cpu
        .cross_entropy_forward(logits, labels, smoothing, probabilities)?)
}

pub(super) fn count_correct(
    on: &Chosen,
    logits: &Values,
    labels: &Labels,
) -> Result<usize, DeviceError> {
    Ok(on.cpu.count_correct(logits.near(), labels)?)
}

pub(super) fn cross_entropy_backward(
    on: &Chosen,
    probabilities: &Values,
    labels: &Labels,
    smoothing: f32,
    dloss: f32,
    dlogits: &mut Gradient<Chosen>,
) -> Done {
    let (p, mut to) = (probabilities.near(), lend(dlogits));
    on.cpu
        .cross_entropy_backward(p, labels, smoothing, dloss, &mut to.near)?;
    to.back();
    Ok(())
}

pub(super) fn soft_cross_entropy_backward(
    on: &Chosen,
    classes: usize,
    probabilities: &Values,
    targets: &Values,
    dloss: f32,
    dlogits: &mut Gradient<Chosen>,
) -> Done {
    let (p, t, mut to) = (probabilities.near(), targets.near(), lend(dlogits));
    on.cpu
        .soft_cross_entropy_backward(classes, p, t, dloss, &mut to.near)?;
    to.back();
    Ok(())
}

pub(super) fn squared_error_backward(
    on: &Chosen,
    outputs: &Values,
    targets: &Values,
    dloss: f32,
    doutputs: &mut Gradient<Chosen>,
) -> Done {
    let (outputs, targets, mut to) = (outputs.near(), targets.near(), lend(doutputs));
    on.cpu
        .squared_error_backward(outputs, targets, dloss, &mut to.near)?;
    to.back();
    Ok(())
}
