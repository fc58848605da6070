//! The device that is chosen when the program runs: the CPU, or a GPU whose kernels give the same
//! bits (`repro_gpu`).
//!
//! Every op of training runs where it was chosen. What the host asks for as one number (an absolute
//! error), it computes. Nothing else depends on the choice.

mod error;
mod far;
mod near;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dfdx::prelude::{Cpu, CpuError};
use repro_gpu::{Fault, GroupStatistics, Memory, Pictures};

pub use self::error::DeviceError;
use self::error::Done;
pub use self::values::{Pools, Values};
use super::cpu::GROUP_NORM_EPS;
use super::{
    Activation, Album, Backend, Buffer, ConvShape, DenseShape, DepthwiseShape, Frame, GATES, Gate,
    Gelu, Gradient, GroupNormBackward, GroupNormShape, Labels, LayerBackward, LstmBackward, Moving,
    NormBackward, NormShape, PoolShape, RecurrentBackward, RecurrentShape, Rule,
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
}

/// Gradients that dfdx holds the numbers of.
#[derive(Debug, Default)]
struct Parked {
    values: BTreeMap<u32, Memory>,
    next: u32,
}

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
}

/// Ops whose arguments are numbers, values that are read and values that are written.
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

/// An op of the CPU or of the GPU, which have it by the same name.
macro_rules! either {
    ($self:ident, $op:ident($($argument:expr),*)) => {
        match &$self.gpu {
            Some(gpu) => Ok(gpu.$op($($argument),*)?),
            None => near::$op($self, $($argument),*),
        }
    };
}

impl Backend for Chosen {
    const NUMERICS: Numerics = Numerics::ExactF32;
    type Err = DeviceError;
    type Pool = Pools;
    type Values = Values;
    type Pictures = Pictures;

    fn together<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.gpu {
            Some(_) => work(),
            None => self.cpu.together(work),
        }
    }

    fn room(&self) -> Option<u64> {
        self.gpu.as_ref().map(|gpu| gpu.device.room())
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

    fn is_short_of_memory(error: &DeviceError) -> bool {
        let fault = match error {
            DeviceError::Gpu(fault) => fault,
            DeviceError::Cpu(_) => return false,
        };
        matches!(
            fault,
            Fault::Memory { .. } | Fault::Count { .. } | Fault::Piece { .. }
        )
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

    fn keep(&self, pool: &Pools, album: Album<'_>) -> Result<Option<Pictures>, DeviceError> {
        let Some(gpu) = &self.gpu else {
            return Ok(None);
        };
        let Album {
            bytes,
            meanings,
            image,
        } = album;
        Ok(gpu.device.pictures(&pool.far, bytes, meanings, image)?)
    }

    /// # Panics
    /// Pictures that no device keeps.
    fn show(
        &self,
        pool: &Pools,
        pictures: &Pictures,
        frames: &[Frame],
    ) -> Result<Values, DeviceError> {
        let Some(gpu) = &self.gpu else {
            panic!("pictures are of the device that was chosen");
        };
        let mut inputs = gpu
            .device
            .values(&pool.far, frames.len() * pictures.features())?;
        gpu.device.show(&pool.far, pictures, frames, &mut inputs)?;
        Ok(Values::Far(inputs))
    }

    /// # Panics
    /// A GPU that is lost: its values are, too.
    fn read<'a>(&self, values: &'a Values) -> Cow<'a, [f32]> {
        let Some(gpu) = &self.gpu else {
            return Cow::Borrowed(values.near());
        };
        match gpu.read(values) {
            Ok(copy) => Cow::Owned(copy.to_vec()),
            Err(fault) => panic!("values cannot be read from the device: {fault}"),
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
        either!(self, step(rule, parameters))
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
        either!(self, dense_forward(shape, x, w, b, activation, y))
    }

    fn dense_backward(&self, shape: DenseShape, from: LayerBackward<'_, Chosen>) -> Done {
        either!(self, dense_backward(shape, from))
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
        either!(self, conv2d_forward(shape, x, w, b, activation, y))
    }

    fn conv2d_backward(&self, shape: ConvShape, from: LayerBackward<'_, Chosen>) -> Done {
        either!(self, conv2d_backward(shape, from))
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
        either!(self, depthwise_forward(shape, x, w, b, activation, y))
    }

    fn depthwise_backward(&self, shape: DepthwiseShape, from: LayerBackward<'_, Chosen>) -> Done {
        either!(self, depthwise_backward(shape, from))
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
        fn group_norm_forward([shape: GroupNormShape], [x, gamma, beta], [mean, inverse_deviation, y]) -> ()
            = gpu => gpu.device.group_norm(&gpu.pool, &shape, GROUP_NORM_EPS, x, [gamma, beta], GroupStatistics { mean, inverse_deviation }, y);
        fn gelu_forward([which: Gelu], [x], [y]) -> () = gpu => gpu.device.gelu(which, x, y);
        fn gelu_backward([which: Gelu], [x], [dy]) -> () = gpu => gpu.device.gelu_gradient(which, x, dy);
        fn recurrent_forward([shape: RecurrentShape], [x, w_in, b, w_rec], [states, y]) -> ()
            = gpu => gpu.device.recurrent(&gpu.pool, &shape, x, [w_in, b, w_rec], states, y);
        fn squared_error_forward([width: usize], [outputs, targets], []) -> f32
            = gpu => gpu.device.squared_error(&gpu.pool, width, outputs, targets);
    }

    fn max_pool_backward(
        &self,
        shape: PoolShape,
        x: &Values,
        dy: &Values,
        dx: &mut Gradient<Chosen>,
    ) -> Done {
        either!(self, max_pool_backward(shape, x, dy, dx))
    }

    fn avg_pool_backward(&self, shape: PoolShape, dy: &Values, dx: &mut Gradient<Chosen>) -> Done {
        either!(self, avg_pool_backward(shape, dy, dx))
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
        either!(
            self,
            normalize_forward(shape, x, mean, variance, gamma, beta, activation, y)
        )
    }

    fn normalize_backward(&self, shape: NormShape, from: NormBackward<'_, Chosen>) -> Done {
        either!(self, normalize_backward(shape, from))
    }

    fn group_norm_backward(
        &self,
        shape: GroupNormShape,
        from: GroupNormBackward<'_, Chosen>,
    ) -> Done {
        either!(self, group_norm_backward(shape, from))
    }

    fn recurrent_backward(
        &self,
        shape: RecurrentShape,
        from: RecurrentBackward<'_, Chosen>,
    ) -> Done {
        either!(self, recurrent_backward(shape, from))
    }

    fn lstm_forward(
        &self,
        shape: RecurrentShape,
        x: &Values,
        gates: [Gate<'_, Chosen>; GATES],
        states: &mut Values,
        y: &mut Values,
    ) -> Done {
        either!(self, lstm_forward(shape, x, gates, states, y))
    }

    fn lstm_backward(&self, shape: RecurrentShape, from: LstmBackward<'_, Chosen>) -> Done {
        either!(self, lstm_backward(shape, from))
    }

    fn activation_backward(&self, which: Activation, y: Option<&Values>, dy: &mut Values) -> Done {
        either!(self, activation_backward(which, y, dy))
    }

    fn add_forward(&self, a: &Values, b: &Values, activation: Activation, y: &mut Values) -> Done {
        either!(self, add_forward(a, b, activation, y))
    }

    fn cross_entropy_forward(
        &self,
        logits: &Values,
        labels: &Labels,
        smoothing: f32,
        probabilities: &mut Values,
    ) -> Result<f32, DeviceError> {
        either!(
            self,
            cross_entropy_forward(logits, labels, smoothing, probabilities)
        )
    }

    fn cross_entropy_backward(
        &self,
        probabilities: &Values,
        labels: &Labels,
        smoothing: f32,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        either!(
            self,
            cross_entropy_backward(probabilities, labels, smoothing, dloss, dlogits)
        )
    }

    fn soft_cross_entropy_backward(
        &self,
        classes: usize,
        probabilities: &Values,
        targets: &Values,
        dloss: f32,
        dlogits: &mut Gradient<Chosen>,
    ) -> Done {
        either!(
            self,
            soft_cross_entropy_backward(classes, probabilities, targets, dloss, dlogits)
        )
    }

    fn squared_error_backward(
        &self,
        outputs: &Values,
        targets: &Values,
        dloss: f32,
        doutputs: &mut Gradient<Chosen>,
    ) -> Done {
        either!(
            self,
            squared_error_backward(outputs, targets, dloss, doutputs)
        )
    }

    // What the host asks for, it computes: one number of what it would read anyway.

    fn absolute_error(&self, outputs: &Values, targets: &Values) -> Result<f64, DeviceError> {
        let Some(gpu) = &self.gpu else {
            return Ok(self.cpu.absolute_error(outputs.near(), targets.near())?);
        };
        let (outputs, targets) = (gpu.read(outputs)?, gpu.read(targets)?);
        Ok(self.cpu.absolute_error(&outputs, &targets)?)
    }

    fn count_correct(&self, logits: &Values, labels: &Labels) -> Result<usize, DeviceError> {
        either!(self, count_correct(logits, labels))
    }
}
