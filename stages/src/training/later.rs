//! Which of the images that join a training later are visible in which epoch.
//!
//! Decides numbers and choices from the epoch and the seed alone, so that any epoch can be made
//! without those before it, and a longer training agrees with a shorter one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use repro_numerics::exact::rng::Stream;

/// How the images of the need `later` join those of `train`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Later {
    /// A portion joins every few epochs: replay, online learning.
    Portions(Portions),
    /// The share that is visible grows smoothly (Berariu et al. 2021): in epoch `n` (from 0) of
    /// `N`, it is `1 - gamma^(50 n / N)`.
    Sliding(Sliding),
}

/// See [`Later::Portions`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Portions {
    /// Epochs before the first portion joins.
    pub after: u64,
    /// Epochs from one portion to the next.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// The size of a portion as a share of all images of `later`, above 0 and at most 1. Either
    /// this or `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The size of a portion in images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub images: Option<u64>,
    /// What becomes of the portions before.
    #[serde(default)]
    pub draw: Draw,
}

/// What becomes of the portions before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// They stay: one portion is visible, then two, until all images are.
    #[default]
    Cumulative,
    /// They leave: each portion is drawn anew from all images of `later`.
    Fresh,
}

/// See [`Later::Sliding`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sliding {
    /// Above 0 and below 1; the paper has 0.1 to 0.9. The smaller, the sooner all is visible.
    pub gamma: f64,
    /// `N`.
    #[schemars(range(min = 1))]
    pub epochs: u64,
}

impl Later {
    /// What is wrong with the numbers: the field and the reason.
    pub fn problems(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut found = Vec::new();
        match self {
            Later::Portions(p) => {
                match (p.share, p.images) {
                    (None, None) | (Some(_), Some(_)) => found.push((
                        vec!["portions"],
                        "one of `share` and `images` says how large a portion is".to_owned(),
                    )),
                    (Some(share), None) if !(share > 0.0 && share <= 1.0) => found.push((
                        vec!["portions", "share"],
                        format!("must be above 0 and at most 1, got {share}"),
                    )),
                    (None, Some(0)) => {
                        found.push((vec!["portions", "images"], "must be at least 1".to_owned()));
                    }
                    _ => {}
                }
                if p.every == 0 {
                    found.push((vec!["portions", "every"], "must be at least 1".to_owned()));
                }
            }
            Later::Sliding(s) => {
                if !(s.gamma > 0.0 && s.gamma < 1.0) {
                    let text = format!("must be above 0 and below 1, got {}", s.gamma);
                    found.push((vec!["sliding", "gamma"], text));
                }
                if s.epochs == 0 {
                    found.push((vec!["sliding", "epochs"], "must be at least 1".to_owned()));
                }
            }
        }
        found
    }

    /// How many of `all` images are visible in an epoch (from 0).
    pub fn count(&self, epoch: u64, all: usize) -> usize {
        let nearest = |x: f64| ((x + 0.5) as usize).min(all);
        match self {
            Later::Portions(p) => {
                let portions = match (p.round(epoch), p.draw) {
                    (round, Draw::Cumulative) => round,
                    (round, Draw::Fresh) => round.min(1),
                };
                match (p.share, p.images) {
                    (Some(share), _) => nearest(share * portions as f64 * all as f64),
                    (None, images) => {
                        let images = images.unwrap_or(0).saturating_mul(portions);
                        usize::try_from(images).unwrap_or(all).min(all)
                    }
                }
            }
            Later::Sliding(s) => {
                let power = 50.0 * epoch as f64 / s.epochs as f64;
                nearest((1.0 - libm::pow(s.gamma, power)) * all as f64)
            }
        }
    }

    /// Whether any of `all` images is visible within so many epochs. Their number never falls.
    pub fn joins_within(&self, epochs: u64, all: usize) -> bool {
        epochs
            .checked_sub(1)
            .is_some_and(|last| self.count(last, all) > 0)
    }

    /// Which of `all` images are visible in an epoch, ascending. The choice is the beginning of a
    /// permutation of stream (seed, "later", r, 0); r is the number of the portion where each is
    /// drawn anew, else 0.
    pub fn visible(&self, epoch: u64, all: usize, seed: u64) -> Vec<u32> {
        let round = match self {
            Later::Portions(p) if p.draw == Draw::Fresh => p.round(epoch),
            _ => 0,
        };
        let mut chosen = Stream::new(seed, "later", round, 0).permutation(all as u32);
        chosen.truncate(self.count(epoch, all));
        chosen.sort_unstable();
        chosen
    }
}

impl Portions {
    /// How many portions have been drawn by an epoch.
    fn round(&self, epoch: u64) -> u64 {
        match epoch.checked_sub(self.after) {
            Some(since) => since / self.every.max(1) + 1,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(json: serde_json::Value) -> Later {
        serde_json::from_value(json).unwrap()
    }

    fn counts(later: Later, epochs: u64, all: usize) -> Vec<usize> {
        (0..epochs).map(|epoch| later.count(epoch, all)).collect()
    }

    #[test]
    fn portions_join_and_stay_or_leave() {
        let by_share = |draw: &str| {
            later(
                serde_json::json!({"portions": {"after": 2, "every": 3, "share": 0.3, "draw": draw}}),
            )
        };
        let (stay, leave) = (by_share("cumulative"), by_share("fresh"));
        assert_eq!(
            counts(stay, 13, 20),
            [0, 0, 6, 6, 6, 12, 12, 12, 18, 18, 18, 20, 20]
        );
        assert_eq!(counts(leave, 8, 20), [0, 0, 6, 6, 6, 6, 6, 6]);
        let images = later(serde_json::json!({"portions": {"after": 0, "every": 2, "images": 7}}));
        assert_eq!(counts(images, 7, 20), [7, 7, 14, 14, 20, 20, 20]);
        let of = |l: Later, epoch| l.visible(epoch, 20, 4);
        assert_eq!(of(stay, 2), of(stay, 4));
        assert!(of(stay, 2).iter().all(|i| of(stay, 5).contains(i)));
        assert_eq!(of(leave, 2), of(leave, 4), "a portion stays for its epochs");
        assert_ne!(of(leave, 2), of(leave, 5), "and is then another one");
        assert_eq!(of(stay, 11), Vec::from_iter(0..20));
        assert_ne!(of(stay, 2), stay.visible(2, 20, 5), "the seed decides");
    }

    #[test]
    fn what_joins_within_some_epochs_is_known_before() {
        let portions =
            later(serde_json::json!({"portions": {"after": 2, "every": 3, "share": 0.04}}));
        assert!(!portions.joins_within(0, 20) && !portions.joins_within(2, 20));
        assert!(portions.joins_within(3, 20), "0.8 images are one");
        assert!(!portions.joins_within(3, 10), "0.4 images are none");
        assert!(portions.joins_within(6, 10), "two portions of them are one");
        let sliding = later(serde_json::json!({"sliding": {"gamma": 0.5, "epochs": 100}}));
        assert!(!sliding.joins_within(1, 20) && sliding.joins_within(2, 20));
    }

    /// 1 - γ^(50 n / N), computed with Python:
    /// `[round((1 - .5**(50*n/100))*1000) for n in (0, 1, 2, 10, 100)]`.
    #[test]
    fn sliding_follows_its_formula() {
        let half = later(serde_json::json!({"sliding": {"gamma": 0.5, "epochs": 100}}));
        let at = [0, 1, 2, 10, 100].map(|epoch| half.count(epoch, 1000));
        assert_eq!(at, [0, 293, 500, 969, 1000]);
        assert!(counts(half, 100, 777).is_sorted());
        assert!(
            half.visible(1, 50, 1)
                .iter()
                .all(|i| half.visible(3, 50, 1).contains(i))
        );
    }

    #[test]
    fn impossible_numbers_are_named() {
        let wrong = |json| {
            later(json)
                .problems()
                .into_iter()
                .map(|(at, _)| at.join("."))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            wrong(serde_json::json!({"portions": {"after": 0, "every": 0}})),
            ["portions", "portions.every"]
        );
        assert_eq!(
            wrong(serde_json::json!({"portions": {"after": 0, "every": 1, "share": 1.5}})),
            ["portions.share"]
        );
        assert_eq!(
            wrong(serde_json::json!({"sliding": {"gamma": 1.0, "epochs": 0}})),
            ["sliding.gamma", "sliding.epochs"]
        );
    }
}
