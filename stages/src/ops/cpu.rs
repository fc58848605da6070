//! dfdx's CPU as a [`Backend`]: recycled memory as slices, arithmetic by [`repro_numerics::kernels`].

use std::borrow::Cow;
use std::convert::Infallible;

use dfdx::prelude::{Cpu, CpuError};

use super::recycle::{Pool, Values};
use super::{
    Activation, Album, Backend, Buffer, ConvShape, DenseShape, DepthwiseShape, Frame, Gate, Gelu,
    Gradient, GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward, Moving,
    NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
};
use repro_numerics::exact::numerics::Numerics;
use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::{
    Path, activation, conv, dense, depthwise, elementwise, gelu, group_norm, layer, loss, lstm,
    norm, optim, parallel, pool, recurrent, soft_loss, squared_error,
};

/// Added to the variances of group norm and layer norm, as in PyTorch.
pub(super) const GROUP_NORM_EPS: f32 = 1e-5;

impl<'a> From<Gate<'a, Cpu>> for lstm::Gate<'a> {
    fn from(Gate { w, b, u }: Gate<'a, Cpu>) -> lstm::Gate<'a> {
        lstm::Gate { w, b, u }
    }
}

type Done = Result<(), CpuError>;

impl<'a> From<&'a mut Gradient<Cpu>> for layer::Gradient<'a> {
    fn from(gradient: &'a mut Gradient<Cpu>) -> layer::Gradient<'a> {
        layer::Gradient {
            to: &mut gradient.to,
            how: gradient.how,
        }
    }
}

impl<'a> From<LayerBackward<'a, Cpu>> for layer::Backward<'a> {
    fn from(from: LayerBackward<'a, Cpu>) -> layer::Backward<'a> {
        layer::Backward {
            x: from.x,
            w: from.w,
            y: from.y.map_or(&[], |y| y),
            activation: from.activation,
            dy: from.dy,
            dw: from.dw.into(),
            db: from.db.map(Into::into),
            dx: from.dx.map(Into::into),
        }
    }
}

impl Backend for Cpu {
    const NUMERICS: Numerics = Numerics::ExactF32;
    type Err = CpuError;
    type Pool = Pool;
    type Values = Values;
    type Pictures = Infallible;

    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        parallel::inside(work)
    }

    fn on_tape(&self, error: CpuError) -> CpuError {
        error
    }

    fn off_tape(&self, error: CpuError) -> CpuError {
        error
    }

    fn values(&self, pool: &Pool, len: usize) -> Result<Values, CpuError> {
        Ok(pool.take(len))
    }

    fn written(
        &self,
        pool: &Pool,
        len: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Values, CpuError> {
        let mut values = pool.take(len);
        fill(&mut values);
        Ok(values)
    }

    fn keep(&self, _: &Pool, _: Album<'_>) -> Result<Option<Infallible>, CpuError> {
        Ok(None)
    }

    fn show(&self, _: &Pool, pictures: &Infallible, _: &[Frame]) -> Result<Values, CpuError> {
        match *pictures {}
    }

    fn read<'a>(&self, values: &'a Values) -> Cow<'a, [f32]> {
        Cow::Borrowed(values)
    }

    fn take(&self, buffer: &mut Buffer, len: usize, pool: &Pool) -> Option<Values> {
        let data = std::mem::take(&mut **buffer);
        (!data.is_empty()).then(|| Values::from_raw(data, len, pool))
    }

    fn put(&self, buffer: &mut Buffer, values: Values) {
        **buffer = values.into_raw();
    }

    fn copy(&self, values: &Values, pool: &Pool) -> Result<Values, CpuError> {
        self.written(pool, values.len(), |to| elementwise::copy(values, to))
    }

    fn scaled_add(&self, scale: f32, x: &Values, keep: f32, y: &mut Values) -> Done {
        optim::scaled_add(Path::current(), scale, x, keep, y);
        Ok(())
    }

    fn average(&self, decay: f32, x: &Values, average: &mut Values) -> Done {
        optim::ema(Path::current(), decay, x, average);
        Ok(())
    }

    fn mask(&self, mask: &Values, values: &mut Values) -> Done {
        optim::apply_mask(Path::current(), mask, values);
        Ok(())
    }

    fn hold(&self, mask: &Values, held: &Values, values: &mut Values) -> Done {
        optim::hold(Path::current(), mask, held, values);
        Ok(())
    }

    fn step<'a>(&self, rule: Rule, parameters: impl Iterator<Item = Moving<'a, Cpu>>) -> Done {
        let part = |p: Moving<'a, Cpu>| optim::Part {
            w: p.weights,
            first: p.moments.first.as_deref_mut().unwrap_or_default(),
            second: p.moments.second.as_deref_mut().unwrap_or_default(),
            gradient: p.gradient,
            mask: p.mask.map(|mask| &**mask),
        };
        let mut parts: Vec<_> = parameters.map(part).collect();
        optim::step(Path::current(), rule, &mut parts);
        Ok(())
    }

    fn accumulate(&self, from: &Values, to: &mut Values) -> Done {
        elementwise::add_into(Path::current(), from, to);
        Ok(())
    }

    fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        dense::layer_forward(
            Path::current(),
            shape.inputs(),
            shape.outputs(),
            x,
            w,
            b.map(|b| &**b),
            activation,
            y,
        );
        Ok(())
    }

    fn dense_backward(&self, shape: DenseShape, from: LayerBackward<'_, Cpu>) -> Done {
        dense::layer_backward(
            Path::current(),
            shape.inputs(),
            shape.outputs(),
            from.into(),
        );
        Ok(())
    }

    fn conv2d_forward(
        &self,
        shape: ConvShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        conv::layer_forward(
            Path::current(),
            &shape,
            x,
            w,
            b.map(|b| &**b),
            activation,
            y,
        );
        Ok(())
    }

    fn conv2d_backward(&self, shape: ConvShape, from: LayerBackward<'_, Cpu>) -> Done {
        conv::layer_backward(Path::current(), &shape, from.into());
        Ok(())
    }

    fn depthwise_forward(
        &self,
        shape: DepthwiseShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        depthwise::layer_forward(
            Path::current(),
            &shape,
            x,
            w,
            b.map(|b| &**b),
            activation,
            y,
        );
        Ok(())
    }

    fn depthwise_backward(&self, shape: DepthwiseShape, from: LayerBackward<'_, Cpu>) -> Done {
        depthwise::layer_backward(Path::current(), &shape, from.into());
        Ok(())
    }

    fn max_pool_forward(&self, shape: PoolShape, x: &Values, y: &mut Values) -> Done {
        pool::max_forward(Path::current(), &shape, x, y);
        Ok(())
    }

    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Values,
        dy: &Values,
        dx: &mut Gradient<Cpu>,
    ) -> Done {
        pool::max_backward(Path::current(), &shape, x, dy, dx.into());
        Ok(())
    }

    fn avg_pool_forward(&self, shape: PoolShape, x: &Values, y: &mut Values) -> Done {
        pool::avg_forward(Path::current(), &shape, x, y);
        Ok(())
    }

    fn avg_pool_backward(&self, shape: PoolShape, dy: &Values, dx: &mut Gradient<Cpu>) -> Done {
        pool::avg_backward(Path::current(), &shape, dy, dx.into());
        Ok(())
    }

    fn channel_stats(
        &self,
        shape: NormShape,
        x: &Values,
        mean: &mut Values,
        variance: &mut Values,
    ) -> Done {
        norm::stats(Path::current(), shape.positions, x, mean, variance);
        Ok(())
    }

    fn normalize_forward(
        &self,
        shape: NormShape,
        x: &Values,
        mean: &Values,
        variance: &Values,
        gamma: &Values,
        beta: &Values,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        norm::forward(
            Path::current(),
            shape.eps,
            x,
            mean,
            variance,
            gamma,
            beta,
            activation,
            y,
        );
        Ok(())
    }

    fn normalize_backward(&self, shape: NormShape, from: NormBackward<'_, Cpu>) -> Done {
        let kernel = norm::Backward {
            positions: shape.positions,
            eps: shape.eps,
            through_stats: from.through_stats,
            x: from.x,
            mean: from.mean,
            variance: from.variance,
            gamma: from.gamma,
            y: from.y.map_or(&[], |y| y),
            activation: from.activation,
            dy: from.dy,
            dgamma: from.dgamma.into(),
            dbeta: from.dbeta.into(),
        };
        norm::backward(Path::current(), kernel);
        Ok(())
    }

    fn group_norm_forward(
        &self,
        shape: GroupNormShape,
        x: &Values,
        gamma: &Values,
        beta: &Values,
        mean: &mut Values,
        inverse_deviation: &mut Values,
        y: &mut Values,
    ) -> Done {
        group_norm::forward(
            Path::current(),
            &shape,
            GROUP_NORM_EPS,
            x,
            gamma,
            beta,
            y,
            group_norm::StatisticsMut {
                mean,
                inverse_deviation,
            },
        );
        Ok(())
    }

    fn group_norm_backward(&self, shape: GroupNormShape, from: GroupNormBackward<'_, Cpu>) -> Done {
        let kernel = group_norm::Backward {
            x: from.x,
            statistics: group_norm::Statistics {
                mean: from.mean,
                inverse_deviation: from.inverse_deviation,
            },
            gamma: from.gamma,
            dy: from.dy,
            dgamma: from.dgamma.into(),
            dbeta: from.dbeta.into(),
        };
        group_norm::backward(Path::current(), &shape, kernel);
        Ok(())
    }

    fn recurrent_forward(
        &self,
        shape: RecurrentShape,
        x: &Values,
        w_in: &Values,
        b: &Values,
        w_rec: &Values,
        states: &mut Values,
        y: &mut Values,
    ) -> Done {
        recurrent::forward(Path::current(), &shape, x, w_in, b, w_rec, states, y);
        Ok(())
    }

    fn recurrent_backward(&self, shape: RecurrentShape, from: RecurrentBackward<'_, Cpu>) -> Done {
        let kernel = recurrent::Backward {
            x: from.x,
            w_in: from.w_in,
            w_rec: from.w_rec,
            states: from.states,
            dy: from.dy,
            dw_in: from.dw_in.into(),
            db: from.db.into(),
            dw_rec: from.dw_rec.into(),
            dx: from.dx.map(Into::into),
        };
        recurrent::backward(Path::current(), &shape, kernel);
        Ok(())
    }

    fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Values,
        gates: [Gate<'_, Cpu>; lstm::GATES],
        states: &mut Values,
        y: &mut Values,
    ) -> Done {
        lstm::forward(Path::current(), &shape, x, gates.map(Into::into), states, y);
        Ok(())
    }

    fn lstm_backward(&self, shape: RecurrentShape, from: LstmBackward<'_, Cpu>) -> Done {
        let kernel = lstm::Backward {
            x: from.x,
            gates: from.gates.map(Into::into),
            states: from.states,
            dy: from.dy,
            to: from.to.each_mut().map(|to| lstm::GateGradients {
                dw: (&mut to.dw).into(),
                db: (&mut to.db).into(),
                du: (&mut to.du).into(),
            }),
            dx: from.dx.map(Into::into),
        };
        lstm::backward(Path::current(), &shape, kernel);
        Ok(())
    }

    fn activation_forward(&self, which: Activation, x: &Values, y: &mut Values) -> Done {
        which.forward(Path::current(), x, y);
        Ok(())
    }

    fn activation_in_place(&self, which: Activation, y: &mut Values) -> Done {
        which.apply(Path::current(), y);
        Ok(())
    }

    fn activation_backward(&self, which: Activation, y: Option<&Values>, dy: &mut Values) -> Done {
        which.unapply(Path::current(), y.map_or(&[], |y| y), dy);
        Ok(())
    }

    fn gelu_forward(&self, which: Gelu, x: &Values, y: &mut Values) -> Done {
        gelu::forward(Path::current(), which, x, y);
        Ok(())
    }

    fn gelu_backward(&self, which: Gelu, x: &Values, dy: &mut Values) -> Done {
        gelu::backward(Path::current(), which, x, dy);
        Ok(())
    }

    fn dropout_forward(&self, rate: f32, stream: &Stream, x: &Values, y: &mut Values) -> Done {
        elementwise::dropout(Path::current(), rate, stream, x, y);
        Ok(())
    }

    fn dropout_backward(&self, rate: f32, stream: &Stream, dy: &mut Values) -> Done {
        elementwise::dropout_gradient(Path::current(), rate, stream, dy);
        Ok(())
    }

    fn add_forward(&self, a: &Values, b: &Values, activation: Activation, y: &mut Values) -> Done {
        activation::add_activated(Path::current(), a, b, activation, y);
        Ok(())
    }

    fn cross_entropy_forward(
        &self,
        logits: &Values,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Values,
    ) -> Result<f32, CpuError> {
        Ok(loss::forward(
            Path::current(),
            labels.classes(),
            logits,
            labels.of_rows(),
            smoothing,
            probabilities,
        ))
    }

    fn cross_entropy_backward(
        &self,
        probabilities: &Values,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        dlogits: &mut Gradient<Cpu>,
    ) -> Done {
        loss::gradient(
            Path::current(),
            labels.classes(),
            probabilities,
            labels.of_rows(),
            smoothing,
            dloss,
            dlogits.into(),
        );
        Ok(())
    }

    fn soft_cross_entropy_forward(
        &self,
        classes: usize,
        logits: &Values,
        targets: &Values,
        probabilities: &mut Values,
    ) -> Result<f32, CpuError> {
        let path = Path::current();
        Ok(soft_loss::forward(
            path,
            classes,
            logits,
            targets,
            probabilities,
        ))
    }

    fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        probabilities: &Values,
        targets: &Values,
        dloss: f32,
        dlogits: &mut Gradient<Cpu>,
    ) -> Done {
        soft_loss::backward(
            Path::current(),
            classes,
            probabilities,
            targets,
            dloss,
            dlogits.into(),
        );
        Ok(())
    }

    fn squared_error_forward(
        &self,
        width: usize,
        outputs: &Values,
        targets: &Values,
    ) -> Result<f32, CpuError> {
        let path = Path::current();
        Ok(squared_error::forward(path, width, outputs, targets))
    }

    fn squared_error_backward(
        &self,
        outputs: &Values,
        targets: &Values,
        dloss: f32,
        doutputs: &mut Gradient<Cpu>,
    ) -> Done {
        let to = doutputs.into();
        squared_error::backward(Path::current(), outputs, targets, dloss, to);
        Ok(())
    }

    fn absolute_error(&self, outputs: &Values, targets: &Values) -> Result<f64, CpuError> {
        Ok(squared_error::absolute(outputs, targets))
    }

    fn count_correct(&self, logits: &Values, labels: &Labels) -> Result<usize, CpuError> {
        Ok(loss::count_correct(
            labels.classes(),
            logits,
            labels.of_rows(),
        ))
    }
}
