//! Weights that follow the weights: exponential moving averages, and the slow weights of Lookahead.
//!
//! Decides how they follow after a step; what the step does is of [`super::step`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nn::architecture::Architecture;
use crate::nn::network::Network;
use crate::ops::Backend;
use crate::weights::NamedTensors;

/// Averages of all weights along the way, batch norm's running statistics included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Averages {
    /// Decays `d` of exponential moving averages, each at least 0 and below 1: `a ← a + (1 - d)(w -
    /// a)`. The first time `a` is `w`, as in PyTorch's `AveragedModel`.
    pub ema: Vec<f64>,
    /// Steps from one update to the next.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub every: u64,
}

/// Lookahead (Zhang, Lucas, Hinton & Ba 2019): slow weights that begin where the training does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookahead {
    /// After so many steps the slow weights move, and the others start again from them. The paper:
    /// 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1))]
    pub every: u64,
    /// How far they move to the others, above 0 and at most 1: `s ← s + alpha·(w - s)`. The paper:
    /// 0.5; the default of the authors' code is 0.8.
    #[serde(default = "half")]
    pub alpha: f64,
}

fn one() -> u64 {
    1
}

fn five() -> u64 {
    5
}

fn half() -> f64 {
    0.5
}

/// What follows the weights of a training. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trailing {
    /// Averages along the way.
    pub averages: Option<Averages>,
    /// Slow weights.
    pub lookahead: Option<Lookahead>,
}

impl Trailing {
    /// Mistakes: the parameter of `train`, and what is wrong with it.
    pub fn problems(&self) -> Vec<(&'static [&'static str], String)> {
        let mut found: Vec<(&'static [&'static str], String)> = Vec::new();
        if let Some(Averages { ema, every }) = &self.averages {
            if ema.is_empty() {
                found.push((&["averages", "ema"], "no decay is named".into()));
            }
            for (i, decay) in ema.iter().enumerate() {
                if !(0.0..1.0).contains(decay) {
                    let text = format!("must be at least 0 and below 1, got {decay}");
                    found.push((&["averages", "ema"], text));
                }
                if ema[..i].contains(decay) {
                    found.push((&["averages", "ema"], format!("{decay} is named twice")));
                }
            }
            if *every == 0 {
                found.push((&["averages", "every"], "must be at least 1".into()));
            }
        }
        if let Some(Lookahead { every, alpha }) = self.lookahead {
            if every == 0 {
                found.push((&["lookahead", "every"], "must be at least 1".into()));
            }
            if !(alpha > 0.0 && alpha <= 1.0) {
                let text = format!("must be above 0 and at most 1, got {alpha}");
                found.push((&["lookahead", "alpha"], text));
            }
        }
        found
    }
}

/// The name of an average, in states and as the file of an artifact.
pub fn name_of(decay: f64) -> String {
    format!("ema-{decay}")
}

/// The slow weights in a state.
const SLOW: &str = "slow";

/// Weights that follow those of a training.
pub(super) struct Followers<D: Backend> {
    trailing: Trailing,
    /// By decay; none before the first update.
    averages: Vec<Option<Vec<D::Values>>>,
    /// By position in [`Architecture::parameters`]; none of what is not trained.
    slow: Vec<Option<D::Values>>,
}

impl<D: Backend> Followers<D> {
    /// Of a network, from the beginning or from what a state has of them.
    ///
    /// # Errors
    /// The device's.
    pub(super) fn new(
        network: &Network<D>,
        pool: &D::Pool,
        trailing: Trailing,
        beside: &BTreeMap<String, NamedTensors>,
    ) -> Result<Followers<D>, D::Err> {
        let device = network.device();
        let architecture = network.architecture();
        let put = |tensors: &NamedTensors| {
            let parameters = architecture.parameters.iter();
            let values = parameters.map(|p| {
                let tensor = tensors.get(&p.name);
                let values = tensor.map(|t| p.layout.to_memory(&t.data));
                values.map(|values| {
                    device.written(pool, values.len(), |to| to.copy_from_slice(&values))
                })
            });
            values.map(Option::transpose).collect::<Result<Vec<_>, _>>()
        };
        let mut averages = Vec::new();
        for decay in trailing.averages.iter().flat_map(|a| &a.ema) {
            let kept = beside.get(&name_of(*decay)).map(&put).transpose()?;
            averages.push(kept.map(|values| values.into_iter().flatten().collect()));
        }
        let slow = match (trailing.lookahead, beside.get(SLOW)) {
            (None, _) => Vec::new(),
            (Some(_), Some(slow)) => put(slow)?,
            (Some(_), None) => {
                let parameters = architecture.parameters.iter().zip(network.tensors());
                let begin = parameters.map(|(p, tensor)| match p.role.is_trained() {
                    true => device.copy(tensor.values(), pool).map(Some),
                    false => Ok(None),
                });
                begin.collect::<Result<_, _>>()?
            }
        };
        Ok(Followers {
            trailing,
            averages,
            slow,
        })
    }

    /// After so many steps: whoever is due follows. Averages see what Lookahead made of the
    /// weights.
    pub(super) fn follow(
        &mut self,
        network: &mut Network<D>,
        pool: &D::Pool,
        steps: u64,
    ) -> Result<(), D::Err> {
        let device = network.device().clone();
        if let Some(Lookahead { every, alpha }) = self.trailing.lookahead
            && steps.is_multiple_of(every)
        {
            for (slow, tensor) in self.slow.iter_mut().zip(network.tensors_mut()) {
                if let Some(slow) = slow {
                    device.average((1.0 - alpha) as f32, tensor.values(), slow)?;
                    *tensor.values_mut() = device.copy(slow, pool)?;
                }
            }
        }
        let Some(Averages { ema, every }) = &self.trailing.averages else {
            return Ok(());
        };
        if !steps.is_multiple_of(*every) {
            return Ok(());
        }
        for (decay, average) in ema.iter().zip(&mut self.averages) {
            let tensors = network.tensors().iter();
            match average {
                Some(average) => {
                    for (average, tensor) in average.iter_mut().zip(tensors) {
                        device.average(*decay as f32, tensor.values(), average)?;
                    }
                }
                none => {
                    let copies = tensors.map(|tensor| device.copy(tensor.values(), pool));
                    *none = Some(copies.collect::<Result<_, _>>()?);
                }
            }
        }
        Ok(())
    }

    /// The averages by name; one that has not begun is the network.
    pub(super) fn averages(&self, network: &Network<D>) -> BTreeMap<String, NamedTensors> {
        let decays = self.trailing.averages.iter().flat_map(|a| &a.ema);
        let named = decays.zip(&self.averages).map(|(decay, average)| {
            let tensors = match average {
                Some(average) => network.named(|i| average.get(i)),
                None => network.save(),
            };
            (name_of(*decay), tensors)
        });
        named.collect()
    }

    /// What a state keeps.
    pub(super) fn beside(&self, network: &Network<D>) -> BTreeMap<String, NamedTensors> {
        let mut all = self.averages(network);
        let begun = |name: &String| {
            let decays = self.trailing.averages.iter().flat_map(|a| &a.ema);
            let mut averages = decays.zip(&self.averages);
            averages.any(|(decay, average)| name_of(*decay) == *name && average.is_some())
        };
        all.retain(|name, _| begun(name));
        if self.trailing.lookahead.is_some() {
            let slow = network.named(|i| self.slow.get(i)?.as_ref());
            all.insert(SLOW.to_owned(), slow);
        }
        all
    }
}

/// Whether what a state has beside the weights belongs to them.
pub(super) fn fits(architecture: &Architecture, beside: &NamedTensors) -> bool {
    beside.iter().all(|(name, tensor)| {
        let mut parameters = architecture.parameters.iter();
        parameters.any(|p| p.name == *name && p.shape == tensor.shape)
    })
}
