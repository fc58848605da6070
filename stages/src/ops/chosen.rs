//! The device that is chosen when the program runs: the CPU, or a GPU whose kernels give the same
//! bits (`repro_gpu`).
//!
//! An op for which a GPU has no kernel yet runs on the CPU, on copies of its operands, and is
//! [told](Chosen::not_there). Nothing else depends on the choice.

mod values;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dfdx::prelude::{Cpu, CpuError};
use repro_gpu::{Fault, Memory, NormGradients};

use self::values::{LentGradient, Seen, Taken};
pub use self::values::{Pools, Values};
use super::{
    Activation, Backend, Buffer, ConvShape, DenseShape, DepthwiseShape, GATES, Gate, GateGradients,
    Gelu, Gradient, GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward,
    Moments, Moving, NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
};
use repro_numerics::exact::numerics::Numerics;
use repro_numerics::exact::rng::Stream;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    cpu: Cpu,
    gpu: Option<Arc<Gpu>>,
}

/// A GPU, and what is between two steps of a backward pass.
#[derive(Debug)]
struct Gpu {
    device: repro_gpu::Device,
    /// Of losses and labels.
    pool: repro_gpu::Pool,
    parked: Mutex<Parked>,
    /// On its way through the tape.
    fault: Mutex<Option<Fault>>,
    /// Ops that ran on the CPU.
    not_there: Mutex<BTreeSet<&'static str>>,
}

/// Gradients that dfdx holds the numbers of.
#[derive(Debug, Default)]
struct Parked {
    values: BTreeMap<u32, Memory>,
    next: u32,
}

/// An error of the device that was chosen.
#[derive(Debug)]
pub enum DeviceError {
    /// The CPU, or dfdx's tape.
    Cpu(CpuError),
    /// The GPU.
    Gpu(Fault),
}

impl Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceError::Cpu(error) => write!(f, "{error}"),
            DeviceError::Gpu(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for DeviceError {}

impl From<CpuError> for DeviceError {
    fn from(error: CpuError) -> DeviceError {
        DeviceError::Cpu(error)
    }
}

impl From<Fault> for DeviceError {
    fn from(fault: Fault) -> DeviceError {
        DeviceError::Gpu(fault)
    }
}

type Done = Result<(), DeviceError>;

/// The lock; a panic elsewhere leaves what it guards whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chosen {
    /// This GPU.
    pub fn gpu(device: repro_gpu::Device) -> Chosen {
        let gpu = Gpu {
            device,
            pool: Default::default(),
            parked: Mutex::default(),
            fault: Mutex::default(),
            not_there: Mutex::default(),
        };
        Chosen {
            cpu: Cpu::default(),
            gpu: Some(Arc::new(gpu)),
        }
    }

    /// What the GPU is called, if one was chosen.
    pub fn gpu_name(&self) -> Option<&str> {
        self.gpu.as_ref().map(|gpu| gpu.device.name())
    }

    /// The ops that ran on the CPU because the GPU has no kernel for them.
    pub fn not_there(&self) -> Vec<&'static str> {
        let of = |gpu: &Arc<Gpu>| lock(&gpu.not_there).iter().copied().collect();
        self.gpu.as_ref().map(of).unwrap_or_default()
    }

    /// Remembers that an op runs on the CPU.
    fn without(&self, op: &'static str) {
        if let Some(gpu) = &self.gpu {
            lock(&gpu.not_there).insert(op);
        }
    }

    fn see<'a>(&self, values: &'a Values) -> Result<Seen<'a>, DeviceError> {
        Seen::of(self.gpu.as_deref(), values)
    }

    fn borrow<'a>(&'a self, values: &'a mut Values) -> Result<Taken<'a>, DeviceError> {
        Taken::of(self.gpu.as_deref(), values)
    }

    fn lend<'a>(
        &'a self,
        gradient: &'a mut Gradient<Chosen>,
    ) -> Result<LentGradient<'a>, DeviceError> {
        LentGradient::of(self.gpu.as_deref(), gradient)
    }

    fn lend_some<'a>(
        &'a self,
        gradient: Option<&'a mut Gradient<Chosen>>,
    ) -> Result<Option<LentGradient<'a>>, DeviceError> {
        gradient.map(|gradient| self.lend(gradient)).transpose()
    }
}

/// A gradient on the GPU.
fn far(gradient: &mut Gradient<Chosen>) -> (&mut Memory, super::Accumulate) {
    (gradient.to.far_mut(), gradient.how)
}

/// Ops whose arguments are numbers, values that are read and values that are written: on the CPU.
macro_rules! near {
    ($(fn $name:ident([$($number:ident: $type:ty),*], [$($from:ident),*], [$($to:ident),*]) -> $result:ty;)*) => {
        $(fn $name(&self, $($number: $type,)* $($from: &Values,)* $($to: &mut Values,)*) -> Result<$result, DeviceError> {
            self.without(stringify!($name));
            $(let $from = self.see($from)?;)*
            $(let mut $to = self.borrow($to)?;)*
            let result = self.cpu.$name($($number,)* $(&$from,)* $(&mut $to,)*)?;
            $($to.back()?;)*
            Ok(result)
        })*
    };
}

/// The same for ops of which a GPU has a kernel.
macro_rules! both {
    ($(fn $name:ident([$($number:ident: $type:ty),*], [$($from:ident),*], [$($to:ident),*]) -> $result:ty = $gpu:ident => $far:expr;)*) => {
        $(fn $name(&self, $($number: $type,)* $($from: &Values,)* $($to: &mut Values,)*) -> Result<$result, DeviceError> {
            Ok(match &self.gpu {
                Some($gpu) => {
                    $(let $from = $from.far();)*
                    $(let $to = $to.far_mut();)*
                    $far?
                }
                None => self.cpu.$name($($number,)* $($from.near(),)* $($to.near_mut(),)*)?,
            })
        })*
    };
}

/// Layers with a weight, on the CPU.
macro_rules! layers {
    ($($shape:ty: $forward:ident $near_forward:ident, $backward:ident $near_backward:ident;)*) => {
        $(fn $near_forward(&self, shape: $shape, x: &Values, w: &Values, b: Option<&Values>, activation: Activation, y: &mut Values) -> Done {
            self.without(stringify!($forward));
            let (x, w, mut y) = (self.see(x)?, self.see(w)?, self.borrow(y)?);
            let b = b.map(|b| self.see(b)).transpose()?;
            self.cpu.$forward(shape, &x, &w, b.as_deref(), activation, &mut y)?;
            y.back()
        }
        fn $near_backward(&self, shape: $shape, from: LayerBackward<'_, Chosen>) -> Done {
            self.without(stringify!($backward));
            let (x, w) = (self.see(from.x)?, self.see(from.w)?);
            let y = from.y.map(|y| self.see(y)).transpose()?;
            let mut dy = self.borrow(from.dy)?;
            let (mut dw, mut db, mut dx) = (self.lend(from.dw)?, self.lend_some(from.db)?, self.lend_some(from.dx)?);
            self.cpu.$backward(shape, LayerBackward {
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

impl Chosen {
    layers! {
        DenseShape: dense_forward near_dense_forward, dense_backward near_dense_backward;
        ConvShape: conv2d_forward near_conv2d_forward, conv2d_backward near_conv2d_backward;
        DepthwiseShape: depthwise_forward near_depthwise_forward, depthwise_backward near_depthwise_backward;
    }

    /// Gradients of a dense layer on the GPU: of the sums, then of bias, weight and input.
    fn far_dense_backward(
        gpu: &Gpu,
        shape: DenseShape,
        from: LayerBackward<'_, Chosen>,
    ) -> Result<(), Fault> {
        let (device, sizes) = (&gpu.device, (shape.inputs(), shape.outputs()));
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
}

impl Chosen {
    /// Gradients of a convolution on the GPU, in the same order.
    fn far_conv2d_backward(
        gpu: &Gpu,
        shape: ConvShape,
        from: LayerBackward<'_, Chosen>,
    ) -> Result<(), Fault> {
        let Gpu { device, pool, .. } = gpu;
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
}

impl Backend for Chosen {
    const NUMERICS: Numerics = Numerics::ExactF32;
    type Err = DeviceError;
    type Pool = Pools;
    type Values = Values;

    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.gpu {
            Some(_) => work(),
            None => self.cpu.together(work),
        }
    }

    fn on_tape(&self, error: DeviceError) -> CpuError {
        match (error, &self.gpu) {
            (DeviceError::Gpu(fault), Some(gpu)) => {
                *lock(&gpu.fault) = Some(fault);
                CpuError::OutOfMemory
            }
            (DeviceError::Gpu(_), None) => CpuError::OutOfMemory,
            (DeviceError::Cpu(error), _) => error,
        }
    }

    fn off_tape(&self, error: CpuError) -> DeviceError {
        let own = self.gpu.as_ref().and_then(|gpu| lock(&gpu.fault).take());
        own.map_or(DeviceError::Cpu(error), DeviceError::Gpu)
    }

    fn values(&self, pool: &Pools, len: usize) -> Result<Values, DeviceError> {
        Ok(match &self.gpu {
            Some(gpu) => Values::Far(gpu.device.values(&pool.far, len)?),
            None => Values::Near(pool.near.take(len)),
        })
    }

    fn written(
        &self,
        pool: &Pools,
        len: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> Result<Values, DeviceError> {
        let near = self.cpu.written(&pool.near, len, fill)?;
        Ok(match &self.gpu {
            Some(gpu) => Values::Far(gpu.device.upload(&pool.far, &near)?),
            None => Values::Near(near),
        })
    }

    /// # Panics
    /// A GPU that is lost: its values are, too.
    fn read<'a>(&self, values: &'a Values) -> Cow<'a, [f32]> {
        match self.see(values) {
            Ok(Seen::Here(near)) => Cow::Borrowed(near),
            Ok(Seen::Copy(copy)) => Cow::Owned(copy.to_vec()),
            Err(error) => panic!("values cannot be read from the device: {error}"),
        }
    }

    fn take(&self, buffer: &mut Buffer, len: usize, pool: &Pools) -> Option<Values> {
        match &self.gpu {
            Some(gpu) => {
                let number = buffer.pop()?.to_bits();
                lock(&gpu.parked).values.remove(&number).map(Values::Far)
            }
            None => Backend::take(&self.cpu, buffer, len, &pool.near).map(Values::Near),
        }
    }

    fn put(&self, buffer: &mut Buffer, values: Values) {
        match (&self.gpu, values) {
            (Some(gpu), Values::Far(values)) => {
                let mut parked = lock(&gpu.parked);
                let number = parked.next;
                parked.next = number.wrapping_add(1);
                parked.values.insert(number, values);
                buffer.push(f32::from_bits(number));
            }
            (_, values) => self.cpu.put(buffer, values.into_near()),
        }
    }

    fn copy(&self, values: &Values, pool: &Pools) -> Result<Values, DeviceError> {
        Ok(match &self.gpu {
            Some(gpu) => Values::Far(gpu.device.copy(values.far(), &pool.far)?),
            None => Values::Near(self.cpu.copy(values.near(), &pool.near)?),
        })
    }

    fn scaled_add(&self, scale: f32, x: &Values, keep: f32, y: &mut Values) -> Done {
        match &self.gpu {
            Some(gpu) => gpu.device.scaled_add(scale, x.far(), keep, y.far_mut())?,
            None => self.cpu.scaled_add(scale, x.near(), keep, y.near_mut())?,
        }
        Ok(())
    }

    fn step<'a>(&self, rule: Rule, parameters: impl Iterator<Item = Moving<'a, Chosen>>) -> Done {
        let Some(gpu) = &self.gpu else {
            return self.near_step(rule, parameters);
        };
        for moving in parameters {
            let Moments { first, second } = moving.moments;
            gpu.device.step(
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

    fn dense_forward(
        &self,
        shape: DenseShape,
        x: &Values,
        w: &Values,
        b: Option<&Values>,
        activation: Activation,
        y: &mut Values,
    ) -> Done {
        let Some(gpu) = &self.gpu else {
            return self.near_dense_forward(shape, x, w, b, activation, y);
        };
        let (sizes, b) = ((shape.inputs(), shape.outputs()), b.map(Values::far));
        gpu.device
            .dense_forward(sizes, x.far(), w.far(), b, activation, y.far_mut())?;
        Ok(())
    }

    fn dense_backward(&self, shape: DenseShape, from: LayerBackward<'_, Chosen>) -> Done {
        match &self.gpu {
            Some(gpu) => Ok(Chosen::far_dense_backward(gpu, shape, from)?),
            None => self.near_dense_backward(shape, from),
        }
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
        let Some(gpu) = &self.gpu else {
            return self.near_conv2d_forward(shape, x, w, b, activation, y);
        };
        let (x, w, b, y) = (x.far(), w.far(), b.map(Values::far), y.far_mut());
        gpu.device
            .conv_forward(&gpu.pool, &shape, x, w, b, activation, y)?;
        Ok(())
    }

    fn conv2d_backward(&self, shape: ConvShape, from: LayerBackward<'_, Chosen>) -> Done {
        match &self.gpu {
            Some(gpu) => Ok(Chosen::far_conv2d_backward(gpu, shape, from)?),
            None => self.near_conv2d_backward(shape, from),
        }
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
        self.near_depthwise_forward(shape, x, w, b, activation, y)
    }

    fn depthwise_backward(&self, shape: DepthwiseShape, from: LayerBackward<'_, Chosen>) -> Done {
        self.near_depthwise_backward(shape, from)
    }

    both! {
        fn average([decay: f32], [x], [average]) -> () = gpu => gpu.device.average(decay, x, average);
        fn mask([], [mask], [values]) -> () = gpu => gpu.device.mask(mask, values);
        fn hold([], [mask, held], [values]) -> () = gpu => gpu.device.hold(mask, held, values);
        fn accumulate([], [from], [to]) -> () = gpu => gpu.device.accumulate(from, to);
        fn activation_forward([which: Activation], [x], [y]) -> () = gpu => gpu.device.activate(which, x, y);
        fn activation_in_place([which: Activation], [], [y]) -> () = gpu => gpu.device.activate_in_place(which, y);
        fn dropout_forward([rate: f32, stream: &Stream], [x], [y]) -> () = gpu => gpu.device.dropout(rate, stream, x, y);
        fn dropout_backward([rate: f32, stream: &Stream], [], [dy]) -> () = gpu => gpu.device.dropout_gradient(rate, stream, dy);
        fn soft_cross_entropy_forward([classes: usize], [logits, targets], [probabilities]) -> f32
            = gpu => gpu.device.soft_cross_entropy(&gpu.pool, classes, logits, targets, probabilities);
        fn max_pool_forward([shape: PoolShape], [x], [y]) -> () = gpu => gpu.device.max_pool(&shape, x, y);
        fn avg_pool_forward([shape: PoolShape], [x], [y]) -> () = gpu => gpu.device.avg_pool(&shape, x, y);
        fn channel_stats([shape: NormShape], [x], [mean, variance]) -> ()
            = gpu => gpu.device.channel_stats(&gpu.pool, shape, x, mean, variance);
        fn squared_error_forward([width: usize], [outputs, targets], []) -> f32
            = gpu => gpu.device.squared_error(&gpu.pool, width, outputs, targets);
    }

    near! {
        fn group_norm_forward([shape: GroupNormShape], [x, gamma, beta], [mean, inverse_deviation, y]) -> ();
        fn recurrent_forward([shape: RecurrentShape], [x, w_in, b, w_rec], [states, y]) -> ();
        fn gelu_forward([which: Gelu], [x], [y]) -> ();
        fn gelu_backward([which: Gelu], [x], [dy]) -> ();
    }

    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Values,
        dy: &Values,
        dx: &mut Gradient<Chosen>,
    ) -> Done {
        if let Some(gpu) = &self.gpu {
            let (x, dy) = (x.far(), dy.far());
            return Ok(gpu.device.max_pool_gradient(&shape, x, dy, far(dx))?);
        }
        let (x, dy, mut dx) = (self.see(x)?, self.see(dy)?, self.lend(dx)?);
        self.cpu.max_pool_backward(shape, &x, &dy, &mut dx.near)?;
        dx.back()
    }

    fn avg_pool_backward(&self, shape: PoolShape, dy: &Values, dx: &mut Gradient<Chosen>) -> Done {
        if let Some(gpu) = &self.gpu {
            return Ok(gpu.device.avg_pool_gradient(&shape, dy.far(), far(dx))?);
        }
        let (dy, mut dx) = (self.see(dy)?, self.lend(dx)?);
        self.cpu.avg_pool_backward(shape, &dy, &mut dx.near)?;
        dx.back()
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
        let Some(gpu) = &self.gpu else {
            let [x, mean, variance, gamma, beta] =
                [x, mean, variance, gamma, beta].map(Values::near);
            let (cpu, y) = (&self.cpu, y.near_mut());
            return Ok(cpu.normalize_forward(shape, x, mean, variance, gamma, beta, activation, y)?);
        };
        let of_channels = [mean, variance, gamma, beta].map(Values::far);
        gpu.device
            .normalize(shape, x.far(), of_channels, activation, y.far_mut())?;
        Ok(())
    }

    fn normalize_backward(&self, shape: NormShape, from: NormBackward<'_, Chosen>) -> Done {
        if let Some(gpu) = &self.gpu {
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
            let Gpu { device, pool, .. } = &**gpu;
            return Ok(device.normalize_gradients(pool, shape, gradients)?);
        }
        let (x, mean, variance) = (
            self.see(from.x)?,
            self.see(from.mean)?,
            self.see(from.variance)?,
        );
        let gamma = self.see(from.gamma)?;
        let y = from.y.map(|y| self.see(y)).transpose()?;
        let mut dy = self.borrow(from.dy)?;
        let (mut dgamma, mut dbeta) = (self.lend(from.dgamma)?, self.lend(from.dbeta)?);
        self.cpu.normalize_backward(
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

    fn group_norm_backward(
        &self,
        shape: GroupNormShape,
        from: GroupNormBackward<'_, Chosen>,
    ) -> Done {
        self.without("group_norm_backward");
        let (x, mean) = (self.see(from.x)?, self.see(from.mean)?);
        let (inverse_deviation, gamma) = (self.see(from.inverse_deviation)?, self.see(from.gamma)?);
        let mut dy = self.borrow(from.dy)?;
        let (mut dgamma, mut dbeta) = (self.lend(from.dgamma)?, self.lend(from.dbeta)?);
        self.cpu.group_norm_backward(
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

    fn recurrent_backward(
        &self,
        shape: RecurrentShape,
        from: RecurrentBackward<'_, Chosen>,
    ) -> Done {
        self.without("recurrent_backward");
        let (x, w_in, w_rec) = (
            self.see(from.x)?,
            self.see(from.w_in)?,
            self.see(from.w_rec)?,
        );
        let (states, dy) = (self.see(from.states)?, self.see(from.dy)?);
        let (mut dw_in, mut db) = (self.lend(from.dw_in)?, self.lend(from.db)?);
        let (mut dw_rec, mut dx) = (self.lend(from.dw_rec)?, self.lend_some(from.dx)?);
        self.cpu.recurrent_backward(
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
        for gradient in [Some(dw_in), Some(db), Some(dw_rec), dx]
            .into_iter()
            .flatten()
        {
            gradient.back()?;
        }
        Ok(())
    }

    fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Values,
        gates: [Gate<'_, Chosen>; GATES],
        states: &mut Values,
        y: &mut Values,
    ) -> Done {
        self.without("lstm_forward");
        let (x, seen) = (self.see(x)?, self.see_gates(gates)?);
        let (mut states, mut y) = (self.borrow(states)?, self.borrow(y)?);
        self.cpu
            .lstm_forward(shape, &x, near_gates(&seen), &mut states, &mut y)?;
        states.back()?;
        y.back()
    }

    fn lstm_backward(&self, shape: RecurrentShape, from: LstmBackward<'_, Chosen>) -> Done {
        self.without("lstm_backward");
        let (x, seen) = (self.see(from.x)?, self.see_gates(from.gates)?);
        let (states, dy) = (self.see(from.states)?, self.see(from.dy)?);
        let mut dx = self.lend_some(from.dx)?;
        let mut lent = Vec::with_capacity(GATES);
        for GateGradients { dw, db, du } in from.to {
            lent.push([self.lend(dw)?, self.lend(db)?, self.lend(du)?]);
        }
        let mut to = std::array::from_fn(|gate| {
            let [dw, db, du] = &mut lent[gate];
            let [dw, db, du] = [dw, db, du].map(LentGradient::lift);
            GateGradients { dw, db, du }
        });
        self.cpu.lstm_backward(
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

    fn activation_backward(&self, which: Activation, y: Option<&Values>, dy: &mut Values) -> Done {
        match &self.gpu {
            Some(gpu) => gpu
                .device
                .unactivate(which, y.map(Values::far), dy.far_mut())?,
            None => self
                .cpu
                .activation_backward(which, y.map(Values::near), dy.near_mut())?,
        }
        Ok(())
    }

    fn add_forward(&self, a: &Values, b: &Values, activation: Activation, y: &mut Values) -> Done {
        match &self.gpu {
            Some(gpu) => gpu
                .device
                .add_activated(a.far(), b.far(), activation, y.far_mut())?,
            None => self
                .cpu
                .add_forward(a.near(), b.near(), activation, y.near_mut())?,
        }
        Ok(())
    }

    fn cross_entropy_forward(
        &self,
        logits: &Values,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Values,
    ) -> Result<f32, DeviceError> {
        let Some(gpu) = &self.gpu else {
            let (logits, probabilities) = (logits.near(), probabilities.near_mut());
            let loss = self
                .cpu
                .cross_entropy_forward(logits, labels, smoothing, probabilities);
            return Ok(loss?);
        };
        Ok(gpu.device.cross_entropy(
            &gpu.pool,
            labels.classes(),
            logits.far(),
            labels.of_rows(),
            smoothing,
            probabilities.far_mut(),
        )?)
    }

    fn cross_entropy_backward(
        &self,
        probabilities: &Values,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        let Some(gpu) = &self.gpu else {
            let (p, mut to) = (probabilities.near(), self.lend(dlogits)?);
            self.cpu
                .cross_entropy_backward(p, labels, smoothing, dloss, &mut to.near)?;
            return to.back();
        };
        gpu.device.cross_entropy_gradient(
            &gpu.pool,
            labels.classes(),
            probabilities.far(),
            labels.of_rows(),
            smoothing,
            dloss,
            far(dlogits),
        )?;
        Ok(())
    }

    fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        probabilities: &Values,
        targets: &Values,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        let Some(gpu) = &self.gpu else {
            let (p, t, mut to) = (probabilities.near(), targets.near(), self.lend(dlogits)?);
            self.cpu
                .soft_cross_entropy_backward(classes, p, t, dloss, &mut to.near)?;
            return to.back();
        };
        let (p, t) = (probabilities.far(), targets.far());
        gpu.device
            .soft_cross_entropy_gradient(classes, p, t, dloss, far(dlogits))?;
        Ok(())
    }

    fn squared_error_backward(
        &self,
        outputs: &Values,
        targets: &Values,
        dloss: f32,
        doutputs: &mut Gradient<Chosen>,
    ) -> Done {
        let Some(gpu) = &self.gpu else {
            let mut to = self.lend(doutputs)?;
            let (outputs, targets) = (outputs.near(), targets.near());
            self.cpu
                .squared_error_backward(outputs, targets, dloss, &mut to.near)?;
            return to.back();
        };
        let (outputs, targets) = (outputs.far(), targets.far());
        gpu.device
            .squared_error_gradient(outputs, targets, dloss, far(doutputs))?;
        Ok(())
    }

    // What the host asks for, it computes: one number of what it would read anyway.

    fn absolute_error(&self, outputs: &Values, targets: &Values) -> Result<f64, DeviceError> {
        let (outputs, targets) = (self.see(outputs)?, self.see(targets)?);
        Ok(self.cpu.absolute_error(&outputs, &targets)?)
    }

    fn count_correct(&self, logits: &Values, labels: &Labels) -> Result<usize, DeviceError> {
        Ok(self.cpu.count_correct(&*self.see(logits)?, labels)?)
    }
}

/// The parameters of a gate, as the CPU sees them.
type SeenGate<'a> = [Seen<'a>; 3];

fn near_gates<'a>(seen: &'a [SeenGate<'_>]) -> [Gate<'a, Cpu>; GATES] {
    std::array::from_fn(|gate| {
        let [w, b, u] = &seen[gate];
        let [w, b, u] = [w, b, u].map(|seen| &**seen);
        Gate { w, b, u }
    })
}

impl Chosen {
    fn see_gates<'a>(
        &self,
        gates: [Gate<'a, Chosen>; GATES],
    ) -> Result<Vec<SeenGate<'a>>, DeviceError> {
        let see =
            |Gate { w, b, u }: Gate<'a, Chosen>| Ok([self.see(w)?, self.see(b)?, self.see(u)?]);
        gates.into_iter().map(see).collect()
    }

    /// A step where the values are the CPU's, all parameters in one call.
    fn near_step<'a>(
        &self,
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
        let near =
            rest.iter_mut()
                .zip(&mut moments)
                .map(|((weights, _, gradient, mask), moments)| Moving {
                    weights: &mut **weights,
                    moments,
                    gradient: *gradient,
                    mask: mask.map(Values::near),
                });
        let done = self.cpu.step(rule, near);
        for ((_, (first, second), ..), near) in rest.into_iter().zip(moments) {
            *first = near.first.map(Values::Near);
            *second = near.second.map(Values::Near);
        }
        Ok(done?)
    }
}
