//! Ops of the chosen device that run on the GPU: each with the kernels of `repro_gpu`, in the order of
//! the CPU's.

use repro_gpu::{
    Fault, GroupNormGradients, GroupStatistics, LstmGate, LstmGateGradients, LstmGradients, Memory,
    NormGradients, RecurrentGradients,
};

use super::super::recycle;
use super::super::{
    Accumulate, Activation, ConvShape, DenseShape, DepthwiseShape, GATES, Gate, Gradient,
    GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward, Moments, Moving,
    NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
};
use super::values::Values;
use super::{Chosen, Gpu};

type Done = Result<(), Fault>;

/// A gradient on the GPU.
fn far(gradient: &mut Gradient<Chosen>) -> (&mut Memory, Accumulate) {
    (gradient.to.far_mut(), gradient.how)
}

/// The parameters of a gate, on the GPU.
fn far_gate<'a>(gate: Gate<'a, Chosen>) -> LstmGate<'a> {
    LstmGate {
        w: gate.w.far(),
        b: gate.b.far(),
        u: gate.u.far(),
    }
}

impl Gpu {
    /// A copy for the host.
    pub(super) fn read(&self, values: &Values) -> Result<recycle::Values, Fault> {
        let memory = values.far();
        let mut copy = recycle::Pool::default().take(memory.len());
        self.device.read(memory, &mut copy)?;
        Ok(copy)
    }

    pub(super) fn step<'a>(
        &self,
        rule: Rule,
        parameters: impl Iterator<Item = Moving<'a, Chosen>>,
    ) -> Done {
        for moving in parameters {
            let Moments { first, second } = moving.moments;
            self.device.step(
                rule,
                moving.weights.far_mut(),
                first.as_mut().map(Values::far_mut),
                second.as_mut().map(Values::far_mut),
                moving.gradient.far(),
                moving.mask.map(Values::far),
            )?;
        }
        Ok(())
    }

    pub(super) fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        let (sizes, b) = ((shape.inputs(), shape.outputs()), b.map(Values::far));
        self.device
            .dense_forward(sizes, x.far(), w.far(), b, activation, y.far_mut())
    }

    /// Gradients of a dense layer: of the sums, then of bias, weight and input.
    pub(super) fn dense_backward(
        &self,
        shape: DenseShape,
        from: LayerBackward<'_, Chosen>,
    ) -> Done {
        let (device, sizes) = (&self.device, (shape.inputs(), shape.outputs()));
        let dy = from.dy.far_mut();
        device.unactivate(from.activation, from.y.map(Values::far), dy)?;
        if let Some((db, how)) = from.db.map(far) {
            device.dense_bias_gradient(dy, db, how)?;
        }
        let (dw, how) = far(from.dw);
        device.dense_weight_gradient(sizes, from.x.far(), dy, dw, how)?;
        if let Some((dx, how)) = from.dx.map(far) {
            device.dense_input_gradient(sizes, from.w.far(), dy, dx, how)?;
        }
        Ok(())
    }

    pub(super) fn conv2d_forward(
        &self,
        shape: ConvShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        let (x, w, b, y) = (x.far(), w.far(), b.map(Values::far), y.far_mut());
        self.device
            .conv_forward(&self.pool, &shape, x, w, b, activation, y)
    }

    /// Gradients of a convolution, in the order of a dense layer's.
    pub(super) fn conv2d_backward(
        &self,
        shape: ConvShape,
        from: LayerBackward<'_, Chosen>,
    ) -> Done {
        let Gpu { device, pool, .. } = self;
        let dy = from.dy.far_mut();
        device.unactivate(from.activation, from.y.map(Values::far), dy)?;
        if let Some(db) = from.db.map(far) {
            device.conv_bias_gradient(pool, shape.output().positions(), dy, db)?;
        }
        device.conv_weight_gradient(pool, &shape, from.x.far(), dy, far(from.dw))?;
        if let Some(dx) = from.dx.map(far) {
            device.conv_input_gradient(pool, &shape, from.w.far(), dy, dx)?;
        }
        Ok(())
    }

    pub(super) fn depthwise_forward(
        &self,
        shape: DepthwiseShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        let (x, w, b, y) = (x.far(), w.far(), b.map(Values::far), y.far_mut());
        self.device.depthwise(&shape, x, w, b, activation, y)
    }

    /// Gradients of a depthwise convolution, in the order of a dense layer's.
    pub(super) fn depthwise_backward(
        &self,
        shape: DepthwiseShape,
        from: LayerBackward<'_, Chosen>,
    ) -> Done {
        let Gpu { device, pool, .. } = self;
        let dy = from.dy.far_mut();
        device.unactivate(from.activation, from.y.map(Values::far), dy)?;
        if let Some(db) = from.db.map(far) {
            device.conv_bias_gradient(pool, shape.output().positions(), dy, db)?;
        }
        device.depthwise_weight_gradient(pool, &shape, from.x.far(), dy, far(from.dw))?;
        if let Some(dx) = from.dx.map(far) {
            device.depthwise_input_gradient(&shape, from.w.far(), dy, dx)?;
        }
        Ok(())
    }

    pub(super) fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Values,
        dy: &Values,
        dx: &mut Gradient<Chosen>,
    ) -> Done {
        self.device
            .max_pool_gradient(&shape, x.far(), dy.far(), far(dx))
    }

    pub(super) fn avg_pool_backward(
        &self,
        shape: PoolShape,
        dy: &Values,
        dx: &mut Gradient<Chosen>,
    ) -> Done {
        self.device.avg_pool_gradient(&shape, dy.far(), far(dx))
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn normalize_forward(
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
        let of_channels = [mean, variance, gamma, beta].map(Values::far);
        self.device
            .normalize(shape, x.far(), of_channels, activation, y.far_mut())
    }

    pub(super) fn normalize_backward(
        &self,
        shape: NormShape,
        from: NormBackward<'_, Chosen>,
    ) -> Done {
        let gradients = NormGradients {
            through_stats: from.through_stats,
            x: from.x.far(),
            mean: from.mean.far(),
            variance: from.variance.far(),
            gamma: from.gamma.far(),
            y: from.y.map(Values::far),
            activation: from.activation,
            dy: from.dy.far_mut(),
            dgamma: far(from.dgamma),
            dbeta: far(from.dbeta),
        };
        self.device
            .normalize_gradients(&self.pool, shape, gradients)
    }

    pub(super) fn group_norm_backward(
        &self,
        shape: GroupNormShape,
        from: GroupNormBackward<'_, Chosen>,
    ) -> Done {
        let gradients = GroupNormGradients {
            x: from.x.far(),
            statistics: GroupStatistics {
                mean: from.mean.far(),
                inverse_deviation: from.inverse_deviation.far(),
            },
            gamma: from.gamma.far(),
            dy: from.dy.far_mut(),
            dgamma: far(from.dgamma),
            dbeta: far(from.dbeta),
        };
        self.device
            .group_norm_gradients(&self.pool, &shape, gradients)
    }

    pub(super) fn recurrent_backward(
        &self,
        shape: RecurrentShape,
        from: RecurrentBackward<'_, Chosen>,
    ) -> Done {
        let gradients = RecurrentGradients {
            x: from.x.far(),
            w_in: from.w_in.far(),
            w_rec: from.w_rec.far(),
            states: from.states.far(),
            dy: from.dy.far(),
            dw_in: far(from.dw_in),
            db: far(from.db),
            dw_rec: far(from.dw_rec),
            dx: from.dx.map(far),
        };
        self.device
            .recurrent_gradients(&self.pool, &shape, gradients)
    }

    pub(super) fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Values,
        gates: [Gate<'_, Chosen>; GATES],
        states: &mut Values,
        y: &mut Values,
    ) -> Done {
        let (gates, states) = (gates.map(far_gate), states.far_mut());
        self.device
            .lstm(&self.pool, &shape, x.far(), gates, states, y.far_mut())
    }

    pub(super) fn lstm_backward(
        &self,
        shape: RecurrentShape,
        from: LstmBackward<'_, Chosen>,
    ) -> Done {
        let to = from.to.each_mut().map(|gate| LstmGateGradients {
            dw: far(&mut gate.dw),
            db: far(&mut gate.db),
            du: far(&mut gate.du),
        });
        let gradients = LstmGradients {
            x: from.x.far(),
            gates: from.gates.map(far_gate),
            states: from.states.far(),
            dy: from.dy.far(),
            to,
            dx: from.dx.map(far),
        };
        self.device.lstm_gradients(&self.pool, &shape, gradients)
    }

    pub(super) fn activation_backward(
        &self,
        which: Activation,
        y: Option<&Values>,
        dy: &mut Values,
    ) -> Done {
        self.device
            .unactivate(which, y.map(Values::far), dy.far_mut())
    }

    pub(super) fn add_forward(
        &self,
        a: &Values,
        b: &Values,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        self.device
            .add_activated(a.far(), b.far(), activation, y.far_mut())
    }

    pub(super) fn count_correct(&self, logits: &Values, labels: &Labels) -> Result<usize, Fault> {
        let (logits, classes) = (logits.far(), labels.classes());
        self.device
            .count_correct(&self.pool, classes, logits, labels.of_rows())
    }

    pub(super) fn cross_entropy_forward(
        &self,
        logits: &Values,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Values,
    ) -> Result<f32, Fault> {
        self.device.cross_entropy(
            &self.pool,
            labels.classes(),
            logits.far(),
            labels.of_rows(),
            smoothing,
            probabilities.far_mut(),
        )
    }

    pub(super) fn cross_entropy_backward(
        &self,
        probabilities: &Values,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        self.device.cross_entropy_gradient(
            &self.pool,
            labels.classes(),
            probabilities.far(),
            labels.of_rows(),
            smoothing,
            dloss,
            far(dlogits),
        )
    }

    pub(super) fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        probabilities: &Values,
        targets: &Values,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        let (p, t) = (probabilities.far(), targets.far());
        self.device
            .soft_cross_entropy_gradient(classes, p, t, dloss, far(dlogits))
    }

    pub(super) fn squared_error_backward(
        &self,
        outputs: &Values,
        targets: &Values,
        dloss: f32,
        doutputs: &mut Gradient<Chosen>,
    ) -> Done {
        let (outputs, targets) = (outputs.far(), targets.far());
        self.device
            .squared_error_gradient(outputs, targets, dloss, far(doutputs))
    }
}
