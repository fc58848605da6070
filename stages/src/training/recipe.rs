//! A training as a function: everything that decides its result but the data and the first weights.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::augment::Augment;
use super::clip::Clip;
use super::later::Later;
use super::length::{EvalEvery, Length, StopAt};
use super::mask::Masked;
use super::optim::{Decays, Optimizer};
use super::pace::Paces;
use super::regularise::Regularisers;
use super::schedule::Schedule;
use super::subnetwork::Subnetwork;
use super::trailing::Trailing;
use crate::failure::Failure;

/// See the parameters of the kind `train`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Of all random numbers.
    pub seed: u64,
    /// When it ends.
    pub length: Length,
    /// When it ends sooner.
    pub stop_at: Option<StopAt>,
    /// Images per step.
    pub batch_size: usize,
    /// The rule.
    pub optimizer: Optimizer,
    /// What masked weights are.
    #[serde(default)]
    pub masked: Masked,
    /// What its weight decay applies to.
    #[serde(default)]
    pub decays: Decays,
    /// How large gradients may become.
    pub clip_gradients: Option<Clip>,
    /// How fast single layers learn beside the others.
    #[serde(default)]
    pub paces: Paces,
    /// Of the learning rate.
    pub schedule: Schedule,
    /// How images that are not visible from the start join the others.
    pub later: Option<Later>,
    /// Changes of images.
    pub augment: Augment,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// What is asked for beside the loss.
    #[serde(default)]
    pub regularisers: Regularisers,
    /// How often it is measured on data that it does not learn from.
    pub eval_every: EvalEvery,
    /// Epochs between checkpoints.
    pub checkpoint_every: Option<u64>,
    /// Steps between checkpoints.
    pub checkpoint_every_steps: Option<u64>,
    /// The optimizer's memory is kept beside checkpoints.
    #[serde(default)]
    pub keep_optimizer: bool,
    /// What counts as done before the first step.
    #[serde(default)]
    pub starts_at: Option<Length>,
    /// Weights stay, and a network is looked for in them.
    #[serde(default)]
    pub subnetwork: Option<Subnetwork>,
    /// What follows the weights.
    #[serde(default)]
    pub trailing: Trailing,
    /// An epoch's last batch is left out where it is incomplete; where nobody said, it is kept.
    pub drop_last: Option<bool>,
}

/// A place where a training can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pause {
    /// After so many whole epochs.
    Epoch(u64),
    /// After so many steps.
    Step(u64),
}

/// Trainings counted in steps can be resumed at multiples of this (their plan does not know how
/// many steps an epoch has).
pub const STEPS_BETWEEN_PAUSES: u64 = 1000;

impl Pause {
    /// `epoch 3`, `step 2000`.
    pub fn label(self) -> String {
        match self {
            Pause::Epoch(n) => format!("epoch {n}"),
            Pause::Step(n) => format!("step {n}"),
        }
    }
}

impl Recipe {
    /// Whether batches of so many images teach what they seem to; where they teach less, that.
    /// `norms_units` as in [`crate::nn::architecture::Architecture::norms_units`].
    ///
    /// # Errors
    /// They teach nothing, or nobody said what becomes of the last one.
    pub fn check_batches(&self, norms_units: bool, images: u64) -> Result<Option<String>, Failure> {
        let size = self.batch_size as u64;
        if self.drop_last == Some(true) && images < size {
            let text = format!(
                "`drop_last` leaves no batch: there are {images} images for batches of {size}"
            );
            return Err(Failure::new(text).hint("lower `batch_size`"));
        }
        if !norms_units {
            return Ok(None);
        }
        if size == 1 || images == 1 {
            let text = "every batch has one image, and batch norm turns the only value of a unit into the same for every image: \
                        nothing can be learnt";
            let more = match images {
                1 => "train on 2 images or more",
                _ => "raise `batch_size` to 2 or more",
            };
            return Err(
                Failure::new(text).hint(format!("{more}, or take layers without batch norm"))
            );
        }
        if images % size.max(1) != 1 {
            return Ok(None);
        }
        let what = format!(
            "the last batch of an epoch has one image ({images} images in batches of {size})"
        );
        match self.drop_last {
            Some(true) => Ok(None),
            Some(false) => Ok(Some(format!(
                "{what}: batch norm leaves it out of its running statistics, and the layers before it learn nothing from it; \
                 `drop_last: true` leaves it out altogether"
            ))),
            // Not foreseen when the parameters were read, so neither choice is in the key.
            None => Err(Failure::new(format!(
                "{what}, and batch norm needs two or more values of a unit"
            ))
            .hint("say `drop_last: true` to leave that batch out, or `drop_last: false` to learn from it without its statistics")),
        }
    }

    /// The places where this training can be interrupted, last first.
    pub fn pauses(&self) -> Vec<Pause> {
        match self.length {
            Length::Epochs(n) => (1..=n).rev().map(Pause::Epoch).collect(),
            Length::Steps(n) => {
                let multiples = (1..=n / STEPS_BETWEEN_PAUSES).map(|i| i * STEPS_BETWEEN_PAUSES);
                let mut all: Vec<u64> = multiples.chain([n]).collect();
                all.dedup();
                all.into_iter().rev().map(Pause::Step).collect()
            }
        }
    }

    /// What of the recipe influenced a state at this place: equal values mean equal states on equal
    /// inputs.
    ///
    /// The length is left out but where the schedule spans it; milestones to come are left out. Of
    /// a training counted in steps the schedule counts whole, because the plan cannot tell which
    /// epochs it has passed. `stop_at` counts: a state past the place where another training would
    /// have stopped must not serve it.
    pub fn prefix(&self, pause: Pause) -> Value {
        let epochs = match pause {
            Pause::Epoch(n) => n,
            Pause::Step(_) => u64::MAX,
        };
        // All fields by name: a new one that nobody thinks of here is an error.
        let Recipe {
            seed,
            length,
            stop_at,
            batch_size,
            optimizer,
            masked,
            decays,
            clip_gradients,
            paces,
            schedule,
            later,
            augment,
            label_smoothing,
            regularisers,
            eval_every,
            checkpoint_every,
            checkpoint_every_steps,
            keep_optimizer,
            starts_at,
            subnetwork,
            trailing,
            drop_last,
        } = self;
        let mut prefix = json!({
            "at": pause.label(),
            "seed": seed,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "schedule": schedule.prefix(epochs, *length),
            "augment": augment,
            "label_smoothing": label_smoothing,
            "stop_at": stop_at,
            "eval_every": eval_every,
            "checkpoint_every": checkpoint_every.filter(|&every| every <= epochs),
        });
        // What came later counts where it is said: states of before stay good.
        if let Some(every) = checkpoint_every_steps {
            prefix["checkpoint_every_steps"] = (*every).into();
        }
        if let Some(dropped) = drop_last {
            prefix["drop_last"] = (*dropped).into();
        }
        if !masked.is_zero() {
            prefix["masked"] = json!(masked);
        }
        if *decays != Decays::All {
            prefix["decays"] = json!(decays);
        }
        if let Some(clip) = clip_gradients {
            prefix["clip_gradients"] = json!(clip);
        }
        if !paces.is_even() {
            prefix["paces"] = json!(paces);
        }
        let kept = checkpoint_every.is_some_and(|every| every <= epochs);
        if *keep_optimizer && (kept || checkpoint_every_steps.is_some()) {
            prefix["keep_optimizer"] = true.into();
        }
        if *regularisers != Regularisers::default() {
            prefix["regularisers"] = json!(regularisers);
        }
        if let Some(starts_at) = starts_at {
            prefix["starts_at"] = json!(starts_at);
        }
        if let Some(subnetwork) = subnetwork {
            prefix["subnetwork"] = json!(subnetwork);
        }
        if *trailing != Trailing::default() {
            prefix["trailing"] = json!(trailing);
        }
        if let Some(later) = later {
            prefix["later"] = json!(later);
        }
        prefix
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::optim::Sgd;
    use super::super::schedule::{Ramp, StepDecay, Warmup};
    use super::*;

    pub(crate) fn recipe(length: Length) -> Recipe {
        Recipe {
            seed: 1,
            length,
            stop_at: None,
            batch_size: 16,
            optimizer: Optimizer::Sgd(Sgd {
                lr: 0.1,
                momentum: 0.9,
                nesterov: false,
                weight_decay: Default::default(),
            }),
            masked: Masked::Zero,
            decays: Decays::All,
            clip_gradients: None,
            paces: Paces::default(),
            schedule: Schedule::Constant,
            later: None,
            augment: Augment::default(),
            label_smoothing: 0.0,
            regularisers: Regularisers::default(),
            eval_every: EvalEvery::Epochs(1),
            checkpoint_every: None,
            checkpoint_every_steps: None,
            keep_optimizer: false,
            starts_at: None,
            subnetwork: None,
            trailing: Trailing::default(),
            drop_last: None,
        }
    }

    fn prefixes(r: &Recipe) -> Vec<Value> {
        r.pauses().into_iter().rev().map(|p| r.prefix(p)).collect()
    }

    #[test]
    fn a_longer_training_shares_the_states_of_a_shorter_one() {
        let (short, long) = (
            prefixes(&recipe(Length::Epochs(3))),
            prefixes(&recipe(Length::Epochs(5))),
        );
        assert_eq!((short.len(), &short[..]), (3, &long[..3]));
        let cosine = |n| Recipe {
            schedule: Schedule::Cosine(Ramp {
                to: 0.0,
                warmup: Warmup::default(),
            }),
            ..recipe(Length::Epochs(n))
        };
        assert!(
            prefixes(&cosine(3))
                .iter()
                .all(|p| !prefixes(&cosine(5)).contains(p)),
            "a cosine over another length is another training"
        );
        let step = |milestones: &[u64]| Recipe {
            schedule: Schedule::Step(StepDecay {
                milestones: milestones.to_vec(),
                factor: 0.1,
                warmup: Warmup::default(),
            }),
            ..recipe(Length::Epochs(5))
        };
        let (a, b) = (prefixes(&step(&[2, 3])), prefixes(&step(&[2, 4])));
        assert_eq!(a[..3], b[..3]);
        assert_ne!(a[3], b[3], "epoch 4 is where they part");
        assert_eq!(a[..2], prefixes(&recipe(Length::Epochs(5)))[..2]);
    }

    #[test]
    fn paces_matter_from_the_start() {
        let paced = Recipe {
            paces: Paces {
                frozen: vec!["fc1".into()],
                ..Paces::default()
            },
            ..recipe(Length::Epochs(3))
        };
        let plain = prefixes(&recipe(Length::Epochs(3)));
        assert!(prefixes(&paced).iter().all(|p| !plain.contains(p)));
    }

    #[test]
    fn checkpoints_matter_once_there_is_one() {
        let with = prefixes(&Recipe {
            checkpoint_every: Some(3),
            ..recipe(Length::Epochs(4))
        });
        let without = prefixes(&recipe(Length::Epochs(4)));
        assert_eq!(with[..2], without[..2]);
        assert_ne!(with[2], without[2]);
    }

    #[test]
    fn steps_pause_at_round_numbers_and_the_end() {
        assert_eq!(
            recipe(Length::Steps(2500)).pauses(),
            [2500, 2000, 1000].map(Pause::Step)
        );
        assert_eq!(
            recipe(Length::Steps(2000)).pauses(),
            [2000, 1000].map(Pause::Step)
        );
        assert_eq!(recipe(Length::Steps(7)).pauses(), [Pause::Step(7)]);
    }
}
