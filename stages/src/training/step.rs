//! One step of a training, on any device: forward, backward, and every parameter moved once.
//!
//! Knows no data set, no schedule and no end. Weights, the optimizer's memory and masks lie on the
//! device; the host has copies of them when it asks. Asks the system for memory in the first step
//! only.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clip::Clip;
use super::failed::{SMALLER_BATCH, failed, failed_but};
use super::gradients::{self, Objective};
use super::mask::{Masked, Masks};
use super::optim::{Decays, HostMoments, Optimizer, Stepper};
use super::pace::Pace;
use super::pass::{self, Images, Learnt, Wanted};
use super::regularise::{Adversarial, Regularisers};
use super::subnetwork::{Found, Search, Subnetwork};
use super::trailing::{Followers, Trailing};
use crate::nn::architecture::Architecture;
use crate::nn::network::{Mode, Network, Norms, StepKey};
use crate::ops::{self, Backend, Matrix, Moments, Moving, Rule};
use crate::weights::NamedTensors;

/// The scores of a search in a state.
const SCORES: &str = "scores";

/// A network that learns.
pub struct Learner<D: Backend> {
    pool: D::Pool,
    network: Network<D>,
    /// By position in [`Architecture::parameters`], as the masks.
    moments: Vec<Moments<D>>,
    masks: Vec<Option<D::Values>>,
    /// What masked weights are set to after every step; none where that is 0.
    held: Vec<Option<D::Values>>,
    stepper: Stepper,
    decays: Decays,
    clip: Option<Clip>,
    /// Of every parameter; none where all learn alike.
    paces: Option<Vec<Pace>>,
    regularisers: Regularisers,
    /// Weights stay, and their scores are learnt.
    search: Option<Search<D>>,
    followers: Option<Followers<D>>,
    /// Steps done.
    steps: u64,
}

impl<D: Backend> Learner<D> {
    /// Weights that have passed [`Architecture::check`], in a training that has done `steps` steps;
    /// masked weights become 0, or stay as they are given. Memories that do not fit the optimizer are those of a fresh one.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        device: &D,
        architecture: &Arc<Architecture>,
        weights: &NamedTensors,
        optimizer: Optimizer,
        memory: Vec<HostMoments>,
        steps: u64,
        masks: &Masks,
    ) -> anyhow::Result<Learner<D>> {
        let failed = failed::<D>("the memory of a training");
        let pool = D::Pool::default();
        let put = |values: &[f32]| {
            let there = device.written(&pool, values.len(), |to| to.copy_from_slice(values));
            there.map_err(failed)
        };
        let kept = |values: &[f32]| (!values.is_empty()).then(|| put(values)).transpose();
        let fits = |k: &HostMoments, f: &HostMoments| {
            k.first.len() == f.first.len() && k.second.len() == f.second.len()
        };
        let mut memory = memory.into_iter();
        let mut moments = Vec::new();
        for parameter in &architecture.parameters {
            let fresh = HostMoments::new(&optimizer, parameter.shape.iter().product());
            let given = memory.next().filter(|given| fits(given, &fresh));
            let memory = given.unwrap_or(fresh);
            moments.push(Moments {
                first: kept(&memory.first)?,
                second: kept(&memory.second)?,
            });
        }
        let of_mask = |i| masks.get(i).map(put).transpose();
        let on_device: Vec<_> = (0..architecture.parameters.len())
            .map(of_mask)
            .collect::<anyhow::Result<_>>()?;
        let network = Network::load(device, Arc::clone(architecture), weights)?;
        let is_held = masks.masked() == Masked::Frozen;
        let held = (network.tensors().iter().zip(&on_device)).map(|(tensor, mask)| {
            let held = mask.as_ref().filter(|_| is_held);
            held.map(|_| device.copy(tensor.values(), &pool))
                .transpose()
        });
        let held = held.collect::<Result<_, _>>().map_err(failed)?;
        let mut learner = Learner {
            network,
            moments,
            masks: on_device,
            held,
            stepper: Stepper::after(optimizer, steps),
            decays: Decays::All,
            clip: None,
            paces: None,
            regularisers: Regularisers::default(),
            search: None,
            followers: None,
            steps,
            pool: pool.clone(),
        };
        learner.mask_weights().map_err(failed)?;
        Ok(learner)
    }

    /// The same with weight decay on these parameters only, and gradients cut so.
    pub fn with(self, decays: Decays, clip: Option<Clip>) -> Learner<D> {
        Learner {
            decays,
            clip,
            ..self
        }
    }

    /// The same with a pace for each parameter, by position in [`Architecture::parameters`].
    pub fn paced(self, paces: Option<Vec<Pace>>) -> Learner<D> {
        Learner { paces, ..self }
    }

    /// The same with what is asked for beside the loss; images that are mixed come mixed.
    pub fn regularised(self, regularisers: Regularisers) -> Learner<D> {
        Learner {
            regularisers,
            ..self
        }
    }

    /// The same where weights stay and a network is looked for in them, after so many steps, with
    /// the scores of a state or with fresh ones. What has no scores (biases, gains and shifts of
    /// norms) stays too.
    ///
    /// # Errors
    /// Scores of another network; the device's.
    pub fn searching(
        mut self,
        how: Subnetwork,
        seed: u64,
        steps: u64,
        beside: &BTreeMap<String, NamedTensors>,
    ) -> anyhow::Result<Learner<D>> {
        let scores = beside.get(SCORES);
        let search = Search::new(&mut self.network, &self.pool, how, seed, steps, scores)?;
        self.search = Some(search);
        Ok(self)
    }

    /// The same with weights that follow, from the beginning or from what a state has of them.
    ///
    /// # Errors
    /// The device's.
    pub fn trailing(
        mut self,
        trailing: &Trailing,
        beside: &BTreeMap<String, NamedTensors>,
    ) -> anyhow::Result<Learner<D>> {
        if *trailing != Trailing::default() {
            let followers = Followers::new(&self.network, &self.pool, trailing.clone(), beside);
            self.followers = Some(followers.map_err(failed::<D>("averages"))?);
        }
        Ok(self)
    }

    /// The averages along the way, by name.
    pub fn averages(&self) -> BTreeMap<String, NamedTensors> {
        let averages = self.followers.as_ref().map(|f| f.averages(&self.network));
        averages.unwrap_or_default()
    }

    /// The weights that a training goes on with, and what it needs beside them.
    pub fn kept(&self) -> (NamedTensors, BTreeMap<String, NamedTensors>) {
        let followers = self.followers.as_ref().map(|f| f.beside(&self.network));
        let mut beside = followers.unwrap_or_default();
        match self.found() {
            None => (self.network.save(), beside),
            Some(found) => {
                beside.insert(SCORES.to_owned(), found.scores);
                (found.weights, beside)
            }
        }
    }

    /// What a search has found so far.
    pub fn found(&self) -> Option<Found> {
        let search = self.search.as_ref()?;
        Some(search.found(&self.network))
    }

    /// The share of the weights that computes, where one is looked for.
    pub fn share_kept(&self) -> Option<f64> {
        self.search.as_ref().map(Search::share_kept)
    }

    /// What it has learnt.
    pub fn network(&self) -> &Network<D> {
        &self.network
    }

    /// A copy of the optimizer's memory, by position in [`Architecture::parameters`].
    pub fn memory(&self) -> Vec<HostMoments> {
        let device = self.network.device();
        let read = |values: &Option<D::Values>| {
            let values = values.as_ref().map(|v| device.read(v).into_owned());
            values.unwrap_or_default()
        };
        let memory = |m: &Moments<D>| HostMoments {
            first: read(&m.first),
            second: read(&m.second),
        };
        self.moments.iter().map(memory).collect()
    }

    /// Where the memory of a step comes from.
    pub fn pool(&self) -> &D::Pool {
        &self.pool
    }

    /// A step at learning rate `lr` on `rows` images, and what they are to give. A loss that is not
    /// finite changes no parameter.
    ///
    /// # Errors
    /// A label that is no class; the device's.
    ///
    /// # Panics
    /// Targets of another number than the network's outputs.
    pub fn step(
        &mut self,
        rows: usize,
        images: Images<'_, D, impl FnOnce(&mut [f32]) + Send>,
        wanted: Wanted,
        lr: f64,
        key: StepKey,
    ) -> anyhow::Result<Learnt> {
        let device = self.network.device().clone();
        device.together(|| self.step_here(&device, rows, images, wanted, lr, key))
    }

    fn step_here(
        &mut self,
        device: &D,
        rows: usize,
        images: Images<'_, D, impl FnOnce(&mut [f32])>,
        wanted: Wanted,
        lr: f64,
        key: StepKey,
    ) -> anyhow::Result<Learnt> {
        let failed = failed_but::<D>("training step", SMALLER_BATCH);
        let x = images
            .inputs(&self.network, &self.pool, rows)
            .map_err(failed)?;
        let Regularisers {
            confidence_penalty,
            adversarial,
            ..
        } = self.regularisers;
        let images = adversarial.map(|adversarial| (adversarial, x.clone()));
        let outputs = match images {
            None => self.network.forward_train(x.traced(), key),
            Some(_) => self.network.forward_train_through(x.traced(), key),
        };
        let mut outputs = outputs.map_err(failed)?;
        if confidence_penalty > 0.0 {
            outputs = ops::with_confidence_penalty(outputs, confidence_penalty).map_err(failed)?;
        }
        let (loss, learnt) = pass::loss(outputs, wanted)?;
        if learnt.loss.is_finite() {
            let mut tape = ops::backward(device, loss).map_err(failed)?;
            let gradients = self.network.take_gradients(&self.pool, &mut tape);
            let mut gradients = gradients.map_err(failed)?;
            if let Some((how, images)) = images {
                let slopes = ops::take_input_gradient(&mut tape, &images).map_err(failed)?;
                self.adversarial(device, how, &images, slopes, wanted, key, &mut gradients)?;
            }
            self.update(device, gradients, lr).map_err(failed)?;
            self.steps += 1;
            if let Some(followers) = &mut self.followers {
                let followed = followers.follow(&mut self.network, &self.pool, self.steps);
                followed.map_err(failed)?;
            }
        }
        Ok(learnt)
    }

    /// Adds the gradients of images that were moved by `epsilon` along the signs of `slopes`: batch
    /// norm takes its statistics of them, and the running ones do not see them; dropout is the
    /// same. `gradients = fma(weight, theirs, gradients)`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a step's own values, taken apart"
    )]
    fn adversarial(
        &self,
        device: &D,
        how: Adversarial,
        images: &Matrix<D>,
        slopes: Option<D::Values>,
        wanted: Wanted,
        key: StepKey,
        gradients: &mut [Option<D::Values>],
    ) -> anyhow::Result<()> {
        let failed = failed_but::<D>("training step", SMALLER_BATCH);
        let Some(slopes) = slopes else {
            return Ok(());
        };
        let epsilon = how.epsilon as f32;
        let slopes = device.read(&slopes);
        let moved = |(x, slope): (&f32, &f32)| match slope {
            s if *s > 0.0 => x + epsilon,
            s if *s < 0.0 => x - epsilon,
            _ => *x,
        };
        let moved: Vec<f32> = images.read().iter().zip(&*slopes).map(moved).collect();
        let mode = Mode {
            norms: Norms::OfBatch,
            dropout: Some(key),
        };
        let theirs = gradients::of_batch(
            &self.network,
            &self.pool,
            images.shape().0,
            |to| to.copy_from_slice(&moved),
            Objective::Loss(wanted),
            mode,
        )?;
        for (own, theirs) in gradients.iter_mut().zip(&theirs.by_parameter) {
            if let (Some(own), Some(theirs)) = (own, theirs) {
                let weight = how.weight as f32;
                device
                    .scaled_add(weight, theirs, 1.0, own)
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        device: &D,
        mut gradients: Vec<Option<D::Values>>,
        lr: f64,
    ) -> Result<(), D::Err> {
        let rule = self.stepper.advance(lr);
        if let Some(search) = &self.search {
            search.slopes(device, &self.pool, &mut gradients)?;
        }
        let paces = self.paces.as_deref().unwrap_or_default();
        for (gradient, _) in gradients
            .iter_mut()
            .zip(paces)
            .filter(|(_, p)| **p == Pace::Frozen)
        {
            *gradient = None;
        }
        if let Some(clip) = self.clip {
            clip.apply(device, &self.pool, &mut gradients)?;
        }
        let architecture = Arc::clone(self.network.architecture());
        let states = (self.moments.iter_mut().zip(&self.masks)).zip(&gradients);
        let roles = architecture.parameters.iter().map(|p| p.role.is_weight());
        let states = states.zip(roles);
        let how = How {
            rule,
            lr,
            decays: self.decays,
            paces,
        };
        match &mut self.search {
            None => {
                let tensors = self.network.tensors_mut().iter_mut();
                how.step(device, tensors.map(|t| Some(t.values_mut())).zip(states))?;
                self.hold_weights()
            }
            Some(search) => {
                how.step(device, search.scores_mut().zip(states))?;
                search.advance(&mut self.network, &self.pool)
            }
        }
    }

    /// Sets masked weights that are held back to what they are.
    fn hold_weights(&mut self) -> Result<(), D::Err> {
        let device = self.network.device().clone();
        let states = self.masks.iter().zip(&self.held);
        for (tensor, state) in self.network.tensors_mut().iter_mut().zip(states) {
            if let (Some(mask), Some(held)) = state {
                device.hold(mask, held, tensor.values_mut())?;
            }
        }
        Ok(())
    }

    /// Sets masked weights that are not held, and the moments of all that are masked, to 0.
    fn mask_weights(&mut self) -> Result<(), D::Err> {
        let device = self.network.device().clone();
        let states = self.moments.iter_mut().zip(&self.masks).zip(&self.held);
        for (tensor, ((moments, mask), held)) in self.network.tensors_mut().iter_mut().zip(states) {
            let Some(mask) = mask else {
                continue;
            };
            if held.is_none() {
                device.mask(mask, tensor.values_mut())?;
            }
            for values in [&mut moments.first, &mut moments.second]
                .into_iter()
                .flatten()
            {
                device.mask(mask, values)?;
            }
        }
        Ok(())
    }
}

/// How parameters move in a step.
struct How<'a> {
    rule: Rule,
    lr: f64,
    decays: Decays,
    /// Of every parameter; empty where all learn alike.
    paces: &'a [Pace],
}

/// What belongs to a parameter in a step: the optimizer's memory, the mask, the gradient, and
/// whether it is the weight of a layer.
type Beside<'a, D> = (
    (
        (&'a mut Moments<D>, &'a Option<<D as Backend>::Values>),
        &'a Option<<D as Backend>::Values>,
    ),
    bool,
);

impl How<'_> {
    /// Moves all parameters that have a gradient.
    fn step<'a, D: Backend>(
        &self,
        device: &D,
        parameters: impl Iterator<Item = (Option<&'a mut D::Values>, Beside<'a, D>)>,
    ) -> Result<(), D::Err> {
        // a parameter without a gradient would be a layer that nothing reads: there is none
        let parameters = parameters.enumerate().filter_map(
            |(i, (weights, (((moments, mask), gradient), is_weight)))| {
                let moving = Moving {
                    weights: weights?,
                    moments,
                    gradient: gradient.as_ref()?,
                    mask: mask.as_ref(),
                };
                let decays = self.decays == Decays::All || is_weight;
                let factor = match self.paces.get(i) {
                    Some(Pace::Times(factor)) => *factor,
                    _ => 1.0,
                };
                Some(((decays, factor), moving))
            },
        );
        if self.decays == Decays::All && self.paces.is_empty() {
            return device.step(self.rule, parameters.map(|(_, moving)| moving));
        }
        // Parameters of one rule together, so that they share the threads.
        let mut parts: Vec<((bool, f64), Vec<_>)> = Vec::new();
        for (how, moving) in parameters {
            match parts.iter_mut().find(|(other, _)| *other == how) {
                Some((_, part)) => part.push(moving),
                None => parts.push((how, vec![moving])),
            }
        }
        for ((decays, factor), part) in parts {
            let rule = match decays {
                true => self.rule,
                false => self.rule.without_decay(),
            };
            let rule = match factor == 1.0 {
                true => rule,
                false => rule.at((self.lr * factor) as f32),
            };
            device.step(rule, part.into_iter())?;
        }
        Ok(())
    }
}
