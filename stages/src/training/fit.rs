//! The training loop, on any device: batches through the network, gradients through the optimizer,
//! what happened into rows and states.
//!
//! What a step computes is [`super::step`]'s business, what is told of it that of [`rows`].

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batches::Batches;
use super::failed::failed;
use super::length::{EvalEvery, Length};
use super::mask::Masks;
use super::measured::Measured;
use super::memory::{OptimizerMemory, same_step};
use super::pace::Pace;
use super::pass::{Besides, Images, Wanted};
use super::recipe::{Pause, Recipe, STEPS_BETWEEN_PAUSES};
use super::regularise::mix;
use super::room::Need;
use super::schedule::Clock;
use super::state::{Progress, State};
use super::step::Learner;
use super::subnetwork::Found;
use crate::data::Dataset;
use crate::failure::Failure;
use crate::nn::architecture::{Architecture, Head};
use crate::nn::network::StepKey;
use crate::ops::{Album, Backend};
use crate::weights::NamedTensors;

/// A state is written when this much work would be lost.
const STATE_INTERVAL: Duration = Duration::from_secs(10);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The data a training sees.
pub struct Sets<'a> {
    /// What it learns from.
    pub train: &'a Dataset,
    /// How many of these are visible from the start; the others join them as the recipe says.
    pub first: usize,
    /// What it is measured on.
    pub test: Option<&'a Dataset>,
    /// What it is measured on to choose by, such as when to stop.
    pub validation: Option<&'a Dataset>,
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
    /// Models kept on the way.
    pub checkpoints: BTreeMap<Pause, NamedTensors>,
    /// The optimizer's memory beside each, where the recipe keeps it.
    pub optimizers: BTreeMap<Pause, OptimizerMemory>,
    /// What a search for a subnetwork found, where the recipe says so.
    pub found: Option<Found>,
    /// Averages along the way, by name.
    pub averages: BTreeMap<String, NamedTensors>,
    /// The metrics.
    pub rows: Vec<Measured>,
    /// Images learnt from here, without what a state had done before.
    pub images: u64,
    /// Seconds spent learning.
    pub learning_s: f64,
    /// Seconds spent on data that it does not learn from.
    pub evaluating_s: f64,
}

/// Where a training starts.
pub enum Start {
    /// With these weights.
    Weights(NamedTensors),
    /// With these weights and what the optimizer remembered of them, where the recipe says.
    Memory(NamedTensors, OptimizerMemory),
    /// In the middle.
    State(Box<State>),
}

struct Training<'a, D: Backend, L> {
    recipe: &'a Recipe,
    sets: Sets<'a>,
    clock: Clock,
    outputs: Head,
    learner: Learner<D>,
    /// What it learns from, where the device shows that by itself.
    pictures: Option<D::Pictures>,
    /// Of the newest batch; one of the two is empty.
    labels: Vec<u32>,
    targets: Vec<f32>,
    checkpoints: BTreeMap<Pause, NamedTensors>,
    optimizers: BTreeMap<Pause, OptimizerMemory>,
    best: Option<NamedTensors>,
    at: Progress,
    listener: &'a mut L,
    last_state: Instant,
    last_progress: Option<Instant>,
    images: u64,
    evaluating: Duration,
}

/// Whether a training can fit into the memory of a device.
///
/// # Errors
/// It cannot: with the numbers, and what to do.
pub fn expect_room<D: Backend>(
    device: &D,
    recipe: &Recipe,
    architecture: &Architecture,
    sets: &Sets,
) -> Result<(), Failure> {
    let need = Need::of(architecture, &recipe.optimizer);
    need.check(device.room(), recipe.batch_size.min(sets.train.len()))?;
    let measured = [sets.test, sets.validation].into_iter().flatten();
    let measured = measured.map(Dataset::len).max().unwrap_or(0);
    need.check_measuring(device.room(), measured)
}

/// Trains. The inputs must fit the architecture ([`super::evaluation::check_data`],
/// [`super::mask::read`]).
///
/// # Errors
/// A loss or weights that are no longer finite; a state that cannot be written; the device's.
pub fn fit<'a, D: Backend, L: Listener>(
    device: &D,
    recipe: &'a Recipe,
    architecture: &Arc<Architecture>,
    sets: Sets<'a>,
    masks: Masks,
    start: Start,
    listener: &'a mut L,
) -> anyhow::Result<Trained> {
    let mut batches = Batches::new(sets.train, recipe.seed, recipe.batch_size, recipe.augment);
    if recipe.drop_last == Some(true) {
        batches = batches.whole();
    }
    if let Some(later) = recipe.later {
        batches = batches.joined(sets.first, later);
    }
    let progress = recipe.starts_at.map_or_else(Progress::default, |at| {
        let per_epoch = batches.steps_per_epoch().max(1);
        let step = at.steps_total(per_epoch);
        Progress {
            epoch: step / per_epoch,
            step_in_epoch: step % per_epoch,
            step,
            ..Progress::default()
        }
    });
    let batch = recipe.batch_size.min(sets.train.len());
    expect_room(device, recipe, architecture, &sets)?;
    let need = Need::of(architecture, &recipe.optimizer);
    let fresh = |model, memory| State {
        model,
        memory,
        checkpoints: BTreeMap::new(),
        optimizers: BTreeMap::new(),
        beside: BTreeMap::new(),
        best: None,
        progress: progress.clone(),
    };
    let state = match start {
        Start::Weights(model) => fresh(model, Vec::new()),
        Start::Memory(model, memory) => {
            same_step(memory.steps, progress.step)?;
            fresh(model, memory.moments(architecture, &recipe.optimizer)?)
        }
        Start::State(state) => *state,
    };
    let mut learner = Learner::new(
        device,
        architecture,
        &state.model,
        recipe.optimizer,
        state.memory,
        state.progress.step,
        &masks.of(recipe.masked),
    )?
    .with(recipe.decays, recipe.clip_gradients)
    .paced(paces(recipe, architecture)?)
    .regularised(recipe.regularisers);
    if let Some(how) = recipe.subnetwork {
        let (seed, steps) = (recipe.seed, state.progress.step);
        learner = learner.searching(how, seed, steps, &state.beside)?;
    }
    learner = learner.trailing(&recipe.trailing, &state.beside)?;
    let (sizes, steps_total) = extent(recipe.length, &batches);
    let mut warnings = Vec::new();
    for images in sizes {
        warnings.extend(recipe.check_batches(architecture.norms_units(), images as u64)?);
    }
    if let Some(text) = warnings.into_iter().next() {
        listener.warning(text);
    }
    let steps_per_epoch = batches.steps_per_epoch();
    // Mixed images are made by the host.
    let may_keep = |album: &Album| {
        let beside = |room: u64| room.saturating_sub(album.bytes.len() as u64);
        recipe.regularisers.mixup.is_none() && need.check(device.room().map(beside), batch).is_ok()
    };
    let pictures = match batches.album().filter(may_keep) {
        Some(album) => device
            .keep(learner.pool(), album)
            .map_err(failed::<D>("the images"))?,
        None => None,
    };
    let mut training = Training {
        recipe,
        sets,
        clock: Clock {
            steps_per_epoch,
            steps_total,
        },
        outputs: architecture.identity.outputs,
        learner,
        pictures,
        labels: Vec::new(),
        targets: Vec::new(),
        checkpoints: state.checkpoints,
        optimizers: state.optimizers,
        best: state.best,
        at: state.progress,
        listener,
        last_state: Instant::now(),
        last_progress: None,
        images: 0,
        evaluating: Duration::ZERO,
    };
    let begun = Instant::now();
    training.run(&mut batches)?;
    let spent = begun.elapsed();
    let model = training.learner.network().save();
    let found = training.learner.found();
    let scores = found.iter().flat_map(|found| &found.scores);
    if let Some((name, _)) = model
        .iter()
        .chain(scores)
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
        model: training.best.unwrap_or(model),
        checkpoints: training.checkpoints,
        optimizers: training.optimizers,
        found,
        averages: training.learner.averages(),
        rows: training.at.rows,
        images: training.images,
        learning_s: (spent - training.evaluating).as_secs_f64(),
        evaluating_s: training.evaluating.as_secs_f64(),
    })
}

/// How fast each parameter learns.
fn paces(recipe: &Recipe, architecture: &Architecture) -> Result<Option<Vec<Pace>>, Failure> {
    let paces = recipe.paces.of(architecture);
    paces.map_err(|(at, failure)| failure.within(&format!("`{}`", at.join("."))))
}

/// The numbers of images that epochs have, and the steps of the whole training.
fn extent(length: Length, batches: &Batches) -> (BTreeSet<usize>, u64) {
    let mut sizes = BTreeSet::from([batches.visible(0)]);
    if !batches.grows() {
        return (sizes, length.steps_total(batches.steps_per_epoch()));
    }
    let (mut epoch, mut steps) = (0, 0u64);
    while match length {
        Length::Epochs(n) => epoch < n,
        Length::Steps(n) => steps < n && batches.steps_in(epoch) > 0,
    } {
        sizes.insert(batches.visible(epoch));
        steps = steps.saturating_add(batches.steps_in(epoch));
        epoch += 1;
    }
    match length {
        Length::Epochs(_) => (sizes, steps),
        Length::Steps(n) => (sizes, n),
    }
}

impl<D: Backend, L: Listener> Training<'_, D, L> {
    fn run(&mut self, batches: &mut Batches) -> anyhow::Result<()> {
        let mut stopped = self.stop_reached();
        while !stopped && self.at.step < self.clock.steps_total {
            let lr =
                self.recipe.optimizer.lr() * self.recipe.schedule.factor(self.at.step, self.clock);
            self.step(batches, lr)?;
            let epoch_ends = self.at.step_in_epoch == batches.steps_in(self.at.epoch);
            if epoch_ends {
                self.end_epoch(lr)?;
                stopped = self.stop_reached();
            }
            if let EvalEvery::Steps(every) = self.recipe.eval_every
                && self.at.step.is_multiple_of(every)
            {
                self.evaluate(self.at.epoch + u64::from(self.at.seen > 0))?;
            }
            let last = stopped || self.at.step == self.clock.steps_total;
            self.offer_state(epoch_ends, last)?;
            self.tell(last);
        }
        self.finish(stopped)
    }

    /// One optimizer step.
    fn step(&mut self, batches: &mut Batches, lr: f64) -> anyhow::Result<()> {
        let inputs = batches.prepare(self.at.epoch, self.at.step_in_epoch, &mut self.labels);
        let key = StepKey {
            seed: self.recipe.seed,
            epoch: self.at.epoch,
            step: self.at.step,
        };
        let rows = inputs.rows();
        inputs.targets(&mut self.targets);
        let smoothing = self.recipe.label_smoothing as f32;
        let mixup = self.recipe.regularisers.mixup;
        let share = mixup.map(|mixup| mixup.share(key.seed, key.epoch, key.step));
        let wanted = match (self.outputs, share) {
            (Head::Classes(_), None) => Wanted::Labels {
                of_rows: &self.labels,
                smoothing,
            },
            (Head::Classes(_), Some(share)) => Wanted::Mixed {
                of_rows: &self.labels,
                share,
                smoothing,
            },
            (Head::Targets(_), _) => Wanted::Targets(&self.targets),
        };
        let fill = |to: &mut [f32]| {
            inputs.write(to);
            if let Some(share) = share {
                mix(share, to.len() / rows, to);
            }
        };
        let frames;
        let images = match (&self.pictures, share) {
            (Some(pictures), None) => {
                frames = inputs.frames();
                Images::Shown(pictures, &frames)
            }
            _ => Images::Written(fill),
        };
        let learnt = self.learner.step(rows, images, wanted, lr, key)?;
        let value = learnt.loss;
        if !value.is_finite() {
            let text = format!(
                "the loss became {value} in epoch {}, step {} of it (step {} in all, learning rate {lr})",
                self.at.epoch + 1,
                self.at.step_in_epoch + 1,
                self.at.step + 1
            );
            let hint = match self.outputs {
                Head::Classes(_) => {
                    "lower the learning rate, add a warm-up (`schedule: {warmup: {epochs: 1}}`) or check the data"
                }
                Head::Targets(_) => {
                    "lower the learning rate, or bring the targets nearer to 1: errors grow with their square"
                }
            };
            return Err(Failure::new(text).hint(hint).into());
        }
        self.at.loss_sum += f64::from(value) * rows as f64;
        match learnt.besides {
            Besides::Correct(n) => self.at.correct += n as u64,
            Besides::AbsoluteError(sum) => self.at.absolute_error += sum,
        }
        self.at.seen += rows as u64;
        self.images += rows as u64;
        self.at.step_in_epoch += 1;
        self.at.step += 1;
        if self
            .recipe
            .checkpoint_every_steps
            .is_some_and(|every| self.at.step.is_multiple_of(every))
        {
            self.keep(Pause::Step(self.at.step));
        }
        Ok(())
    }

    /// Keeps the model, and the optimizer's memory where the recipe says.
    fn keep(&mut self, at: Pause) {
        let network = self.learner.network();
        self.checkpoints.insert(at, network.save());
        if self.recipe.keep_optimizer {
            let (memory, step) = (self.learner.memory(), self.at.step);
            let memory = OptimizerMemory::of(network.architecture(), &memory, step);
            self.optimizers.insert(at, memory);
        }
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
        let (model, beside) = self.learner.kept();
        let state = State {
            model,
            memory: self.learner.memory(),
            checkpoints: self.checkpoints.clone(),
            optimizers: self.optimizers.clone(),
            beside,
            best: self.best.clone(),
            progress: self.at.clone(),
        };
        state.write(&path, self.learner.network().architecture())?;
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
        let of_last = |name: &str| {
            let row = |r: &&Measured| r.name == name && r.split.as_deref() == Some("train");
            let last = self.at.rows.iter().rev().find(row);
            last.map_or(0.0, |r| r.value)
        };
        let [first, second] = match self.at.seen {
            0 => self.running().map(|(name, _)| of_last(name)),
            _ => self.running().map(|(_, value)| value),
        };
        let text = match self.outputs {
            Head::Classes(_) => format!(
                "epoch {epoch}{of} loss {first:.3} acc {:.1} %",
                second * 100.0
            ),
            Head::Targets(_) => format!("epoch {epoch}{of} mse {first:.3e} mae {second:.3e}"),
        };
        self.listener
            .progress(self.at.step, self.clock.steps_total, text);
    }
}
