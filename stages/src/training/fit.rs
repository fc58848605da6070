//! The training loop: batches through the network, gradients through the optimizer, what happened into rows and states.
//!
//! On the CPU device only the optimizer's step needs the weights as slices; everything else goes through [`crate::ops`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfdx::prelude::{
    AsArray as _, Backward as _, Cpu, Gradients, HasShape as _, PutTape as _, SplitTape as _,
    TensorFromVec as _, Trace as _,
};

use super::batches::Batches;
use super::evaluation;
use super::length::{Length, StopAt};
use super::mask::Masks;
use super::optim::{Memory, Stepper};
use super::recipe::{Pause, Recipe, STEPS_BETWEEN_PAUSES};
use super::schedule::Clock;
use super::state::{Measured, Progress, State};
use crate::data::Dataset;
use crate::kind::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::network::{Network, StepKey};
use crate::ops::view::view_mut;
use crate::ops::{self, Labels, Matrix};
use crate::weights::NamedTensors;

/// A state is written when this much work would be lost.
const STATE_INTERVAL: Duration = Duration::from_secs(10);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The data a training sees.
pub struct Sets<'a> {
    /// What it learns from.
    pub train: &'a Dataset,
    /// What it is measured on.
    pub test: Option<&'a Dataset>,
}

/// What a training tells while it runs.
pub trait Listener {
    /// Steps done, steps in all, a line for people.
    fn progress(&mut self, done: u64, total: u64, text: String);
    /// A place to write a state to, or none if states are not wanted.
    fn state_path(&mut self, pause: Pause) -> Option<std::path::PathBuf>;
    /// A state was written there.
    fn state(&mut self, pause: Pause, path: &Path);
    /// Something the user should know.
    fn warning(&mut self, text: String);
}

/// What came out.
pub struct Trained {
    /// The weights.
    pub model: NamedTensors,
    /// Models kept on the way, by epoch.
    pub checkpoints: BTreeMap<u64, NamedTensors>,
    /// The metrics.
    pub rows: Vec<Measured>,
    /// Images learnt from here, without what a state had done before.
    pub images: u64,
    /// Seconds spent learning.
    pub learning_s: f64,
    /// Seconds spent on the test set.
    pub evaluating_s: f64,
}

/// Where a training starts.
pub enum Start {
    /// With these weights.
    Weights(NamedTensors),
    /// In the middle.
    State(Box<State>),
}

struct Training<'a, L> {
    recipe: &'a Recipe,
    sets: Sets<'a>,
    masks: &'a Masks,
    clock: Clock,
    device: Cpu,
    network: Network<Cpu>,
    memory: Vec<Memory>,
    stepper: Stepper,
    checkpoints: BTreeMap<u64, NamedTensors>,
    at: Progress,
    listener: &'a mut L,
    last_state: Instant,
    last_progress: Option<Instant>,
    images: u64,
    evaluating: Duration,
}

/// Trains. The inputs must fit the architecture ([`evaluation::check_data`], [`super::mask::read`]).
///
/// # Errors
/// A loss or weights that are no longer finite; a state that cannot be written.
pub fn fit<'a, L: Listener>(
    recipe: &'a Recipe,
    architecture: &Arc<Architecture>,
    sets: Sets<'a>,
    masks: &'a Masks,
    start: Start,
    listener: &'a mut L,
) -> anyhow::Result<Trained> {
    let device = Cpu::default();
    let (weights, memory, checkpoints, at) = match start {
        Start::Weights(weights) => (weights, None, BTreeMap::new(), Progress::default()),
        Start::State(s) => (s.model, Some(s.memory), s.checkpoints, s.progress),
    };
    let network = Network::load(&device, Arc::clone(architecture), &weights);
    let fresh = || {
        network
            .tensors()
            .iter()
            .map(|t| Memory::new(&recipe.optimizer, t.shape().0))
            .collect()
    };
    let memory = match memory {
        Some(kept) => fill_untrained(kept, fresh()),
        None => fresh(),
    };
    let mut batches = Batches::new(sets.train, recipe.seed, recipe.batch_size, recipe.augment);
    let steps_per_epoch = batches.steps_per_epoch();
    let steps_total = recipe.length.steps_total(steps_per_epoch);
    let mut training = Training {
        recipe,
        sets,
        masks,
        clock: Clock {
            steps_per_epoch,
            steps_total,
        },
        device,
        network,
        memory,
        stepper: Stepper::after(recipe.optimizer, at.step),
        checkpoints,
        at,
        listener,
        last_state: Instant::now(),
        last_progress: None,
        images: 0,
        evaluating: Duration::ZERO,
    };
    let begun = Instant::now();
    training.mask_weights();
    training.run(&mut batches)?;
    let spent = begun.elapsed();
    let model = training.network.save();
    if let Some((name, _)) = model
        .iter()
        .find(|(_, t)| t.data.iter().any(|x| !x.is_finite()))
    {
        let text = format!(
            "the weights `{name}` are no longer finite after step {}",
            training.at.step
        );
        return Err(Failure::new(text)
            .hint("lower the learning rate or add a warm-up")
            .into());
    }
    Ok(Trained {
        model,
        checkpoints: training.checkpoints,
        rows: training.at.rows,
        images: training.images,
        learning_s: (spent - training.evaluating).as_secs_f64(),
        evaluating_s: training.evaluating.as_secs_f64(),
    })
}

/// Memories are written only where they hold something; the others are those of a fresh optimizer.
fn fill_untrained(kept: Vec<Memory>, fresh: Vec<Memory>) -> Vec<Memory> {
    let fits =
        |k: &Memory, f: &Memory| k.first.len() == f.first.len() && k.second.len() == f.second.len();
    kept.into_iter()
        .zip(fresh)
        .map(|(k, f)| if fits(&k, &f) { k } else { f })
        .collect()
}

impl<L: Listener> Training<'_, L> {
    fn run(&mut self, batches: &mut Batches) -> anyhow::Result<()> {
        let mut stopped = self.stop_reached();
        while !stopped && self.at.step < self.clock.steps_total {
            let lr =
                self.recipe.optimizer.lr() * self.recipe.schedule.factor(self.at.step, self.clock);
            self.step(batches, lr)?;
            let epoch_ends = self.at.step_in_epoch == self.clock.steps_per_epoch;
            if epoch_ends {
                self.end_epoch(lr)?;
                stopped = self.stop_reached();
            }
            let last = stopped || self.at.step == self.clock.steps_total;
            self.offer_state(epoch_ends, last)?;
            self.tell(last);
        }
        self.finish(stopped)
    }

    /// One optimizer step.
    fn step(&mut self, batches: &mut Batches, lr: f64) -> anyhow::Result<()> {
        let batch = batches.batch(self.at.epoch, self.at.step_in_epoch);
        let rows = batch.labels.len();
        let identity = &self.network.architecture().identity;
        let labels = Labels::new(&batch.labels, identity.classes)?;
        let features = self.sets.train.features();
        let failed = |e| anyhow::anyhow!("training step: {e:?}");
        let x: Matrix<Cpu> = self.device.tensor_from_vec(batch.inputs, (rows, features));
        let key = StepKey {
            seed: self.recipe.seed,
            epoch: self.at.epoch,
            step: self.at.step,
        };
        let logits = self
            .network
            .forward_train(x.leaky_trace(), key)
            .map_err(failed)?;
        let (logits, tape) = logits.split_tape();
        let correct = ops::count_correct(&logits, &labels).map_err(failed)?;
        let loss = ops::softmax_cross_entropy(
            logits.put_tape(tape),
            &labels,
            self.recipe.label_smoothing as f32,
        )
        .map_err(failed)?;
        let value = loss.array();
        if !value.is_finite() {
            let text = format!(
                "the loss became {value} in epoch {}, step {} of it (step {} in all, learning rate {lr})",
                self.at.epoch + 1,
                self.at.step_in_epoch + 1,
                self.at.step + 1
            );
            return Err(Failure::new(text).hint("lower the learning rate, add a warm-up (`schedule: {warmup: {epochs: 1}}`) or check the data").into());
        }
        let gradients = loss.backward();
        self.update(gradients, lr);
        self.at.loss_sum += f64::from(value) * rows as f64;
        self.at.correct += correct as u64;
        self.at.seen += rows as u64;
        self.images += rows as u64;
        self.at.step_in_epoch += 1;
        self.at.step += 1;
        Ok(())
    }

    fn update(&mut self, mut gradients: Gradients<f32, Cpu>, lr: f64) {
        self.stepper.advance();
        let architecture = Arc::clone(self.network.architecture());
        for (i, _) in architecture
            .parameters
            .iter()
            .enumerate()
            .filter(|(_, p)| p.role.is_trained())
        {
            let tensor = &mut self.network.tensors_mut()[i];
            // a parameter without a gradient would be a layer that nothing reads: there is none
            let Ok(gradient) = gradients.get_or_alloc_mut(tensor) else {
                continue;
            };
            self.stepper
                .apply(lr, view_mut(tensor), gradient, &mut self.memory[i]);
        }
        self.mask_weights();
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

    fn end_epoch(&mut self, lr: f64) -> anyhow::Result<()> {
        self.train_rows(lr);
        self.at.last_accuracy = Some(self.at.correct as f64 / self.at.seen as f64);
        self.at.epoch += 1;
        (
            self.at.step_in_epoch,
            self.at.loss_sum,
            self.at.correct,
            self.at.seen,
        ) = (0, 0.0, 0, 0);
        if self.at.epoch.is_multiple_of(self.recipe.eval_every) {
            self.evaluate(self.at.epoch)?;
        }
        if self
            .recipe
            .checkpoint_every
            .is_some_and(|every| self.at.epoch.is_multiple_of(every))
        {
            self.checkpoints.insert(self.at.epoch, self.network.save());
        }
        Ok(())
    }

    /// The running means of the epoch begun.
    fn train_rows(&mut self, lr: f64) {
        let seen = self.at.seen as f64;
        let (loss, accuracy) = (self.at.loss_sum / seen, self.at.correct as f64 / seen);
        let epoch = self.at.epoch + 1;
        self.measure(epoch, Some("train"), "loss", loss);
        self.measure(epoch, Some("train"), "accuracy", accuracy);
        self.measure(epoch, None, "learning_rate", lr);
    }

    fn measure(&mut self, epoch: u64, split: Option<&str>, name: &str, value: f64) {
        let split = split.map(str::to_owned);
        self.at.rows.push(Measured {
            epoch,
            step: self.at.step,
            split,
            name: name.to_owned(),
            value,
        });
    }

    fn evaluate(&mut self, epoch: u64) -> anyhow::Result<()> {
        let Some(test) = self.sets.test else {
            return Ok(());
        };
        let begun = Instant::now();
        let score = evaluation::score(&self.device, &self.network, test)?;
        self.evaluating += begun.elapsed();
        if score.loss.is_nan() {
            let text = format!(
                "the test loss is not a number after epoch {epoch}, step {}",
                self.at.step
            );
            return Err(Failure::new(text)
                .hint("lower the learning rate or add a warm-up")
                .into());
        }
        self.measure(epoch, Some("test"), "loss", score.loss);
        self.measure(epoch, Some("test"), "accuracy", score.accuracy);
        Ok(())
    }

    fn stop_reached(&self) -> bool {
        match (self.recipe.stop_at, self.at.last_accuracy) {
            (Some(StopAt::TrainAccuracy(goal)), Some(accuracy)) => accuracy >= goal,
            _ => false,
        }
    }

    /// Rows that only the end of a training has: they are in no state, so a longer training can go on from it.
    fn finish(&mut self, stopped: bool) -> anyhow::Result<()> {
        let mut epoch = self.at.epoch;
        if self.at.seen > 0 {
            let lr = self.recipe.optimizer.lr()
                * self
                    .recipe
                    .schedule
                    .factor(self.at.step.saturating_sub(1), self.clock);
            self.train_rows(lr);
            epoch += 1;
        }
        let measured = |r: &Measured| r.step == self.at.step && r.split.as_deref() == Some("test");
        if !self.at.rows.iter().any(measured) {
            self.evaluate(epoch)?;
        }
        if let (Some(StopAt::TrainAccuracy(goal)), false) = (self.recipe.stop_at, stopped) {
            let reached = self
                .at
                .last_accuracy
                .map_or("no whole epoch".into(), |a| format!("{:.2} %", a * 100.0));
            self.listener.warning(format!(
                "the train accuracy of {:.2} % was not reached within the length (last epoch: {reached})", goal * 100.0
            ));
        }
        Ok(())
    }

    fn offer_state(&mut self, epoch_ends: bool, last: bool) -> anyhow::Result<()> {
        let pause = match self.recipe.length {
            Length::Epochs(_) if epoch_ends => Pause::Epoch(self.at.epoch),
            Length::Steps(n)
                if self.at.step == n || self.at.step.is_multiple_of(STEPS_BETWEEN_PAUSES) =>
            {
                Pause::Step(self.at.step)
            }
            _ => return Ok(()),
        };
        if !last && self.last_state.elapsed() < STATE_INTERVAL {
            return Ok(());
        }
        let Some(path) = self.listener.state_path(pause) else {
            return Ok(());
        };
        let state = State {
            model: self.network.save(),
            memory: self.memory.clone(),
            checkpoints: self.checkpoints.clone(),
            progress: self.at.clone(),
        };
        state.write(&path, self.network.architecture())?;
        self.listener.state(pause, &path);
        self.last_state = Instant::now();
        Ok(())
    }

    fn tell(&mut self, last: bool) {
        if !last
            && self
                .last_progress
                .is_some_and(|t| t.elapsed() < PROGRESS_INTERVAL)
        {
            return;
        }
        self.last_progress = Some(Instant::now());
        let epoch = self.at.epoch + u64::from(self.at.seen > 0);
        let of = match self.recipe.length {
            Length::Epochs(n) => format!("/{n}"),
            Length::Steps(_) => String::new(),
        };
        let value = |name: &str| {
            self.at
                .rows
                .iter()
                .rev()
                .find(|r| r.name == name && r.split.as_deref() == Some("train"))
                .map(|r| r.value)
        };
        let (loss, accuracy) = match self.at.seen {
            0 => (
                value("loss").unwrap_or_default(),
                value("accuracy").unwrap_or_default(),
            ),
            n => (
                self.at.loss_sum / n as f64,
                self.at.correct as f64 / n as f64,
            ),
        };
        let text = format!(
            "epoch {epoch}{of} loss {loss:.3} acc {:.1} %",
            accuracy * 100.0
        );
        self.listener
            .progress(self.at.step, self.clock.steps_total, text);
    }
}
