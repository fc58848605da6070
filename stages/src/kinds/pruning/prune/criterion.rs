//! By what `prune` can choose the weights that go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The smallest weights in absolute value.
    #[default]
    Magnitude,
    /// The largest weights in absolute value.
    SmallFinal,
    /// The smallest first weights (the need `first`) in absolute value.
    LargeInit,
    /// The largest first weights in absolute value.
    SmallInit,
    /// The smallest `min(α|w|, |w₀|)`, with the first weight `w₀` and `α = Σ|w₀| / Σ|w|` of the
    /// layer.
    LargeInitLargeFinal,
    /// The largest `max(α|w|, |w₀|)`.
    SmallInitSmallFinal,
    /// The smallest `|w| - |w₀|`.
    MagnitudeIncrease,
    /// The smallest `|w - w₀|`.
    Movement,
    /// The smallest `max(0, w·sign(w₀))`: who changed its sign goes first.
    LargeFinalSameSign,
    /// The smallest `max(0, -w·sign(w₀))`: who kept its sign goes first.
    LargeFinalOtherSign,
    /// Weights chosen at random.
    Random(RandomCriterion),
    /// The smallest |w · ∂L/∂w| on a batch of the need `data` (Lee et al. 2019).
    Snip(Batchwise),
    /// The smallest w · (H g) on a batch of the need `data`, with the gradient g and the second
    /// derivatives H of the loss (Wang et al. 2020).
    Grasp(Batchwise),
    /// The smallest |w| · ∂R/∂|w|, computed anew in each of many rounds; R is the sum of the
    /// outputs of the network with the magnitudes of its parameters on inputs of 1 (Tanaka et al.
    /// 2020).
    Synflow(SynflowCriterion),
}

/// See [`Criterion::Snip`] and [`Criterion::Grasp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batchwise {
    /// Seed of the choice of images.
    pub seed: u64,
    /// How many images, or all where there are fewer.
    #[serde(default = "images")]
    #[schemars(range(min = 1))]
    pub images: usize,
}

/// See [`Criterion::Synflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SynflowCriterion {
    /// Rounds; each removes the same share of what is left. The paper: 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10000))]
    pub rounds: u32,
}

fn images() -> usize {
    128
}

fn hundred() -> u32 {
    100
}

impl Criterion {
    pub(super) fn is_on_data(self) -> bool {
        matches!(self, Criterion::Snip(_) | Criterion::Grasp(_))
    }

    /// It compares with the weights of before the training.
    pub(super) fn is_of_first(self) -> bool {
        use Criterion::{
            LargeFinalOtherSign, LargeFinalSameSign, LargeInit, LargeInitLargeFinal,
            MagnitudeIncrease, Movement, SmallInit, SmallInitSmallFinal,
        };
        matches!(
            self,
            LargeInit
                | SmallInit
                | LargeInitLargeFinal
                | SmallInitSmallFinal
                | MagnitudeIncrease
                | Movement
                | LargeFinalSameSign
                | LargeFinalOtherSign
        )
    }
}

/// See [`Criterion::Random`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RandomCriterion {
    /// Seed of the choice.
    pub seed: u64,
}
