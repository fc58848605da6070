//! Ops of the chosen device on the CPU, where no GPU was chosen.

use super::super::{
    Activation, Backend, ConvShape, DenseShape, DepthwiseShape, GATES, Gate, GateGradients,
    Gradient, GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward, Moments,
    Moving, NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
};
use super::values::{LentGradient, Seen, Values};
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
            let (x, w, mut y) = (on.see(x)?, on.see(w)?, on.borrow(y)?);
            let b = b.map(|b| on.see(b)).transpose()?;
            on.cpu.$forward(shape, &x, &w, b.as_deref(), activation, &mut y)?;
            y.back()
        }
        pub(super) fn $backward(on: &Chosen, shape: $shape, from: LayerBackward<'_, Chosen>) -> Done {
            let (x, w) = (on.see(from.x)?, on.see(from.w)?);
            let y = from.y.map(|y| on.see(y)).transpose()?;
            let mut dy = on.borrow(from.dy)?;
            let (mut dw, mut db, mut dx) = (on.lend(from.dw)?, on.lend_some(from.db)?, on.lend_some(from.dx)?);
            on.cpu.$backward(shape, LayerBackward {
                x: &x,
                w: &w,
                y: y.as_deref(),
                activation: from.activation,
                dy: &mut dy,
                dw: &mut dw.near,
                db: db.as_mut().map(|db| &mut db.near),
                dx: dx.as_mut().map(|dx| &mut dx.near),
            })?;
            dy.back()?;
            for gradient in [Some(dw), db, dx].into_iter().flatten() {
                gradient.back()?;
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
    let (x, dy, mut dx) = (on.see(x)?, on.see(dy)?, on.lend(dx)?);
    on.cpu.max_pool_backward(shape, &x, &dy, &mut dx.near)?;
    dx.back()
}

pub(super) fn avg_pool_backward(
    on: &Chosen,
    shape: PoolShape,
    dy: &Values,
    dx: &mut Gradient<Chosen>,
) -> Done {
    let (dy, mut dx) = (on.see(dy)?, on.lend(dx)?);
    on.cpu.avg_pool_backward(shape, &dy, &mut dx.near)?;
    dx.back()
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
    let (x, mean, variance) = (on.see(x)?, on.see(mean)?, on.see(variance)?);
    let (gamma, beta, mut y) = (on.see(gamma)?, on.see(beta)?, on.borrow(y)?);
    on.cpu.normalize_forward(
        shape, &x, &mean, &variance, &gamma, &beta, activation, &mut y,
    )?;
    y.back()
}

pub(super) fn normalize_backward(
    on: &Chosen,
    shape: NormShape,
    from: NormBackward<'_, Chosen>,
) -> Done {
    let (x, mean) = (on.see(from.x)?, on.see(from.mean)?);
    let (variance, gamma) = (on.see(from.variance)?, on.see(from.gamma)?);
    let y = from.y.map(|y| on.see(y)).transpose()?;
    let mut dy = on.borrow(from.dy)?;
    let (mut dgamma, mut dbeta) = (on.lend(from.dgamma)?, on.lend(from.dbeta)?);
    on.cpu.normalize_backward(
        shape,
        NormBackward {
            through_stats: from.through_stats,
            x: &x,
            mean: &mean,
            variance: &variance,
            gamma: &gamma,
            y: y.as_deref(),
            activation: from.activation,
            dy: &mut dy,
            dgamma: &mut dgamma.near,
            dbeta: &mut dbeta.near,
        },
    )?;
    dy.back()?;
    dgamma.back()?;
    dbeta.back()
}

pub(super) fn group_norm_backward(
    on: &Chosen,
    shape: GroupNormShape,
    from: GroupNormBackward<'_, Chosen>,
) -> Done {
    let (x, mean) = (on.see(from.x)?, on.see(from.mean)?);
    let (inverse_deviation, gamma) = (on.see(from.inverse_deviation)?, on.see(from.gamma)?);
    let mut dy = on.borrow(from.dy)?;
    let (mut dgamma, mut dbeta) = (on.lend(from.dgamma)?, on.lend(from.dbeta)?);
    on.cpu.group_norm_backward(
        shape,
        GroupNormBackward {
            x: &x,
            mean: &mean,
            inverse_deviation: &inverse_deviation,
            gamma: &gamma,
            dy: &mut dy,
            dgamma: &mut dgamma.near,
            dbeta: &mut dbeta.near,
        },
    )?;
    dy.back()?;
    dgamma.back()?;
    dbeta.back()
}

pub(super) fn recurrent_backward(
    on: &Chosen,
    shape: RecurrentShape,
    from: RecurrentBackward<'_, Chosen>,
) -> Done {
    let (x, w_in, w_rec) = (on.see(from.x)?, on.see(from.w_in)?, on.see(from.w_rec)?);
    let (states, dy) = (on.see(from.states)?, on.see(from.dy)?);
    let (mut dw_in, mut db) = (on.lend(from.dw_in)?, on.lend(from.db)?);
    let (mut dw_rec, mut dx) = (on.lend(from.dw_rec)?, on.lend_some(from.dx)?);
    on.cpu.recurrent_backward(
        shape,
        RecurrentBackward {
            x: &x,
            w_in: &w_in,
            w_rec: &w_rec,
            states: &states,
            dy: &dy,
            dw_in: &mut dw_in.near,
            db: &mut db.near,
            dw_rec: &mut dw_rec.near,
            dx: dx.as_mut().map(|dx| &mut dx.near),
        },
    )?;
    let lent = [Some(dw_in), Some(db), Some(dw_rec), dx];
    for gradient in lent.into_iter().flatten() {
        gradient.back()?;
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
    let (x, seen) = (on.see(x)?, see_gates(on, gates)?);
    let (mut states, mut y) = (on.borrow(states)?, on.borrow(y)?);
    on.cpu
        .lstm_forward(shape, &x, near_gates(&seen), &mut states, &mut y)?;
    states.back()?;
    y.back()
}

pub(super) fn lstm_backward(
    on: &Chosen,
    shape: RecurrentShape,
    from: LstmBackward<'_, Chosen>,
) -> Done {
    let (x, seen) = (on.see(from.x)?, see_gates(on, from.gates)?);
    let (states, dy) = (on.see(from.states)?, on.see(from.dy)?);
    let mut dx = on.lend_some(from.dx)?;
    let mut lent = Vec::with_capacity(GATES);
    for GateGradients { dw, db, du } in from.to {
        lent.push([on.lend(dw)?, on.lend(db)?, on.lend(du)?]);
    }
    let mut to = std::array::from_fn(|gate| {
        let [dw, db, du] = &mut lent[gate];
        let [dw, db, du] = [dw, db, du].map(LentGradient::lift);
        GateGradients { dw, db, du }
    });
    on.cpu.lstm_backward(
        shape,
        LstmBackward {
            x: &x,
            gates: near_gates(&seen),
            states: &states,
            dy: &dy,
            to: &mut to,
            dx: dx.as_mut().map(|dx| &mut dx.near),
        },
    )?;
    for (lent, GateGradients { dw, db, du }) in lent.into_iter().zip(to) {
        for (mut lent, near) in lent.into_iter().zip([dw, db, du]) {
            lent.near = near;
            lent.back()?;
        }
    }
    dx.map_or(Ok(()), LentGradient::back)
}

/// The parameters of a gate, as the CPU sees them.
type SeenGate<'a> = [Seen<'a>; 3];

fn see_gates<'a>(
    on: &Chosen,
    gates: [Gate<'a, Chosen>; GATES],
) -> Result<Vec<SeenGate<'a>>, DeviceError> {
    let see = |Gate { w, b, u }: Gate<'a, Chosen>| Ok([on.see(w)?, on.see(b)?, on.see(u)?]);
    gates.into_iter().map(see).collect()
}

fn near_gates<'a>(seen: &'a [SeenGate<'_>]) -> [Gate<'a, Cpu>; GATES] {
    std::array::from_fn(|gate| {
        let [w, b, u] = &seen[gate];
        let [w, b, u] = [w, b, u].map(|seen| &**seen);
        Gate { w, b, u }
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
    let (p, mut to) = (probabilities.near(), on.lend(dlogits)?);
    on.cpu
        .cross_entropy_backward(p, labels, smoothing, dloss, &mut to.near)?;
    to.back()
}

pub(super) fn soft_cross_entropy_backward(
    on: &Chosen,
    classes: usize,
    probabilities: &Values,
    targets: &Values,
    dloss: f32,
    dlogits: &mut Gradient<Chosen>,
) -> Done {
    let (p, t, mut to) = (probabilities.near(), targets.near(), on.lend(dlogits)?);
    on.cpu
        .soft_cross_entropy_backward(classes, p, t, dloss, &mut to.near)?;
    to.back()
}

pub(super) fn squared_error_backward(
    on: &Chosen,
    outputs: &Values,
    targets: &Values,
    dloss: f32,
    doutputs: &mut Gradient<Chosen>,
) -> Done {
    let (outputs, targets, mut to) = (outputs.near(), targets.near(), on.lend(doutputs)?);
    on.cpu
        .squared_error_backward(outputs, targets, dloss, &mut to.near)?;
    to.back()
}
