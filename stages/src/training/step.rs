//! One step of a training on the CPU: forward, backward, and every parameter moved once.
//!
//! Knows no data set, no schedule and no end. Asks the system for memory in the first step only.

use std::sync::Arc;

use dfdx::prelude::{AsArray as _, Backward as _, Cpu, CpuError, Gradients, HasShape as _};

use super::mask::Masks;
use super::optim::{Memory, Optimizer, Stepper};
use crate::kernels::parallel;
use crate::nn::architecture::Architecture;
use crate::nn::network::{Network, StepKey};
use crate::ops::recycle::Pool;
use crate::ops::view::view_mut;
use crate::ops::{self, Labels, Matrix};
use crate::weights::NamedTensors;

/// A network that learns.
pub struct Learner<'a> {
    device: Cpu,
    pool: Pool,
    network: Network<Cpu>,
    memory: Vec<Memory>,
    stepper: Stepper,
    masks: &'a Masks,
}

/// What a batch showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// The mean loss (cross-entropy in nats, or squared error), before the step.
    pub loss: f32,
    /// What else the outputs showed, in training mode.
    pub besides: Besides,
}

/// What is counted beside the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Besides {
    /// Images whose largest logit was at the label.
    Correct(usize),
    /// The sum over images and targets of the absolute errors.
    AbsoluteError(f64),
}

/// What a batch is to give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted<'a> {
    /// A class for each image.
    Labels {
        /// The classes.
        of_rows: &'a [u32],
        /// Share of the target spread evenly over all classes.
        smoothing: f32,
    },
    /// Numbers, `[rows, targets]`.
    Targets(&'a [f32]),
}

impl<'a> Learner<'a> {
    /// Weights that have passed [`Architecture::check`], in a training that has done `steps` steps; masked weights become 0.
    /// Memories that do not fit the optimizer are those of a fresh one.
    pub fn new(
        architecture: &Arc<Architecture>,
        weights: &NamedTensors,
        optimizer: Optimizer,
        memory: Vec<Memory>,
        steps: u64,
        masks: &'a Masks,
    ) -> Learner<'a> {
        let device = Cpu::default();
        let network = Network::load(&device, Arc::clone(architecture), weights);
        let fits = |k: &Memory, f: &Memory| {
            k.first.len() == f.first.len() && k.second.len() == f.second.len()
        };
        let mut kept = memory.into_iter();
        let memory = network
            .tensors()
            .iter()
            .map(|tensor| {
                let fresh = Memory::new(&optimizer, tensor.shape().0);
                kept.next()
                    .filter(|kept| fits(kept, &fresh))
                    .unwrap_or(fresh)
            })
            .collect();
        let mut learner = Learner {
            device,
            pool: Pool::default(),
            network,
            memory,
            stepper: Stepper::after(optimizer, steps),
            masks,
        };
        learner.mask_weights();
        learner
    }

    /// What it has learnt.
    pub fn network(&self) -> &Network<Cpu> {
        &self.network
    }

    /// The optimizer's, by position in [`Architecture::parameters`].
    pub fn memory(&self) -> &[Memory] {
        &self.memory
    }

    /// Where it computes.
    pub fn device(&self) -> &Cpu {
        &self.device
    }

    /// Where the memory of a step comes from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A step at learning rate `lr` on `rows` images, which `fill` writes as inputs of the network, and what they are to give. A
    /// loss that is not finite changes no parameter.
    ///
    /// # Errors
    /// A label that is no class; the device's.
    ///
    /// # Panics
    /// Targets of another number than the network's outputs.
    pub fn step(
        &mut self,
        rows: usize,
        fill: impl FnOnce(&mut [f32]) + Send,
        wanted: Wanted,
        lr: f64,
        key: StepKey,
    ) -> anyhow::Result<Learnt> {
        parallel::inside(|| self.step_here(rows, fill, wanted, lr, key))
    }

    fn step_here(
        &mut self,
        rows: usize,
        fill: impl FnOnce(&mut [f32]),
        wanted: Wanted,
        lr: f64,
        key: StepKey,
    ) -> anyhow::Result<Learnt> {
        let failed = |e: CpuError| anyhow::anyhow!("training step: {e}");
        let identity = &self.network.architecture().identity;
        let input = identity.input;
        let features = input.height * input.width * input.channels;
        let width = identity.outputs.width();
        let x =
            Matrix::written(&self.device, &self.pool, (rows, features), fill).map_err(failed)?;
        let outputs = self
            .network
            .forward_train(x.traced(), key)
            .map_err(failed)?;
        let (loss, besides) = match wanted {
            Wanted::Labels { of_rows, smoothing } => {
                let labels = Labels::new(of_rows, width)?;
                let correct = ops::count_correct(&outputs, &labels).map_err(failed)?;
                let loss = ops::softmax_cross_entropy(outputs, &labels, smoothing);
                (loss.map_err(failed)?, Besides::Correct(correct))
            }
            Wanted::Targets(numbers) => {
                let copied = |to: &mut [f32]| to.copy_from_slice(numbers);
                let targets = Matrix::written(&self.device, &self.pool, (rows, width), copied);
                let targets = targets.map_err(failed)?;
                let absolute = ops::absolute_error(&outputs, &targets).map_err(failed)?;
                let loss = ops::mean_squared_error(outputs, &targets).map_err(failed)?;
                (loss, Besides::AbsoluteError(absolute))
            }
        };
        let learnt = Learnt {
            loss: loss.array(),
            besides,
        };
        if learnt.loss.is_finite() {
            let gradients = loss.try_backward().map_err(failed)?;
            self.update(gradients, lr).map_err(failed)?;
        }
        Ok(learnt)
    }

    fn update(&mut self, mut gradients: Gradients<f32, Cpu>, lr: f64) -> Result<(), CpuError> {
        self.stepper.advance();
        let architecture = Arc::clone(self.network.architecture());
        let tensors = self.network.tensors_mut();
        let taken = (architecture.parameters.iter().zip(&*tensors))
            .map(|(parameter, tensor)| match parameter.role.is_trained() {
                true => ops::take_gradient(&mut gradients, tensor, &self.pool),
                false => Ok(None),
            })
            .collect::<Result<Vec<_>, CpuError>>()?;
        let states = self.memory.iter_mut().zip(&taken).enumerate();
        // a parameter without a gradient would be a layer that nothing reads: there is none
        let mut parts: Vec<_> = (tensors.iter_mut().zip(states))
            .filter_map(|(tensor, (i, (memory, gradient)))| {
                let gradient = gradient.as_ref()?;
                Some(memory.part(view_mut(tensor), gradient, self.masks.get(i)))
            })
            .collect();
        self.stepper.apply_all(lr, &mut parts);
        Ok(())
    }

    /// Sets masked weights and their memories to 0.
    fn mask_weights(&mut self) {
        for (i, tensor) in self.network.tensors_mut().iter_mut().enumerate() {
            let Some(mask) = self.masks.get(i) else {
                continue;
            };
            self.stepper
                .mask(mask, view_mut(tensor), &mut self.memory[i]);
        }
    }
}
