//! How much each weight counts: the criteria of `prune`, as one number per weight.
//!
//! Decides scores and how often they are computed anew; does not know how many weights go.

use std::sync::Arc;

use super::criterion::{Batchwise, Criterion, RandomCriterion};
use crate::data::Dataset;
use crate::device::{self, Device};
use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::network::{Network, Norms};
use crate::training::augment::Augment;
use crate::training::batches::Batches;
use crate::training::gradients::{Objective, of_batch};
use crate::training::landscape::{Batch, Landscape};
use crate::training::mask;
use crate::weights::NamedTensors;
use repro_numerics::exact::rng::Stream;

/// The rank of every weight of a tensor: the smallest go first.
pub type Ranks = Vec<u64>;

/// The criterion of one pruning.
pub struct Scorer<'a> {
    pub by: Criterion,
    pub architecture: &'a Architecture,
    pub tensors: &'a NamedTensors,
    /// The weights before the training, which some criteria compare with.
    pub first: Option<&'a NamedTensors>,
    /// What scores of gradients are measured on.
    pub data: Option<&'a Dataset>,
}

impl Scorer<'_> {
    /// How many times scores are computed, each time for the weights that are left then.
    pub fn rounds(&self) -> u32 {
        match self.by {
            Criterion::Synflow(flow) => flow.rounds,
            _ => 1,
        }
    }

    /// The ranks of all weight tensors, by position among them.
    ///
    /// # Errors
    /// A weight or a score that is no number.
    pub fn ranks(&self, masks: &NamedTensors) -> anyhow::Result<Vec<Ranks>> {
        let weights = self.architecture.parameters.iter().enumerate();
        let weights = weights.filter(|(_, p)| p.role.is_weight());
        if let Criterion::Random(RandomCriterion { seed }) = self.by {
            // A number per weight, not per survivor: a weight keeps its rank from round to round.
            let numbers = |(position, parameter): (usize, &crate::nn::layer::Parameter)| {
                let mut stream = Stream::new(seed, "prune", 0, position as u64);
                let len = self.tensors[&parameter.name].data.len();
                (0..len).map(|_| stream.next_u64()).collect()
            };
            return Ok(weights.map(numbers).collect());
        }
        let scores = match self.by {
            Criterion::Magnitude | Criterion::Random(_) => None,
            Criterion::SmallFinal => Some(self.compared(masks, |w, _, _| -w.abs())?),
            Criterion::LargeInit => Some(self.compared(masks, |_, first, _| first.abs())?),
            Criterion::SmallInit => Some(self.compared(masks, |_, first, _| -first.abs())?),
            Criterion::LargeInitLargeFinal => {
                let score = |w: f64, first: f64, alpha: f64| (alpha * w.abs()).min(first.abs());
                Some(self.compared(masks, score)?)
            }
            Criterion::SmallInitSmallFinal => {
                let score = |w: f64, first: f64, alpha: f64| -(alpha * w.abs()).max(first.abs());
                Some(self.compared(masks, score)?)
            }
            Criterion::MagnitudeIncrease => {
                Some(self.compared(masks, |w, first, _| w.abs() - first.abs())?)
            }
            Criterion::Movement => Some(self.compared(masks, |w, first, _| (w - first).abs())?),
            Criterion::LargeFinalSameSign => {
                Some(self.compared(masks, |w, first, _| (w * sign(first)).max(0.0))?)
            }
            Criterion::LargeFinalOtherSign => {
                Some(self.compared(masks, |w, first, _| (-w * sign(first)).max(0.0))?)
            }
            Criterion::Snip(batch) => Some(self.snip(batch, masks)?),
            Criterion::Grasp(batch) => Some(self.grasp(batch, masks)?),
            Criterion::Synflow(_) => Some(self.synflow(masks)?),
        };
        let mut ranks = Vec::new();
        for (_, parameter) in weights {
            let name = &parameter.name;
            let of = match &scores {
                Some(scores) => scores[name].data.iter().copied().map(in_order).collect(),
                None => {
                    let magnitudes = self.tensors[name].data.iter();
                    magnitudes.map(|w| u64::from(w.abs().to_bits())).collect()
                }
            };
            ranks.push(of);
        }
        Ok(ranks)
    }

    /// The weights as they are with these masks.
    fn masked(&self, masks: &NamedTensors) -> NamedTensors {
        let mut tensors = self.tensors.clone();
        mask::apply(&mut tensors, masks);
        tensors
    }

    /// Scores of `w`, the first weight `w₀` and `α = Σ|w₀| / Σ|w|` over what is left of a layer;
    /// all in f64, each rounded once.
    fn compared(
        &self,
        masks: &NamedTensors,
        score: impl Fn(f64, f64, f64) -> f64,
    ) -> anyhow::Result<NamedTensors> {
        let mut scores = self.masked(masks);
        let mut first = self.first.unwrap_or(self.tensors).clone();
        mask::apply(&mut first, masks);
        for (name, tensor) in &mut scores {
            let first = &first[name].data;
            let size = |of: &[f32]| of.iter().map(|w| f64::from(w.abs())).sum::<f64>();
            let alpha = match size(&tensor.data) {
                0.0 => 1.0,
                last => size(first) / last,
            };
            for (w, first) in tensor.data.iter_mut().zip(first) {
                *w = score(f64::from(*w), f64::from(*first), alpha) as f32;
            }
        }
        self.checked(scores)
    }

    /// The images that scores are measured on, at the weights that are left.
    fn on_a_batch(
        &self,
        batch: Batchwise,
        masks: &NamedTensors,
    ) -> anyhow::Result<(Landscape<Device>, Batch)> {
        let Some(data) = self.data else {
            return Err(
                Failure::new("this score is measured on data, and there are none")
                    .hint("add `needs: {data: data.train}`")
                    .into(),
            );
        };
        let architecture = Arc::new(self.architecture.clone());
        let (device, tensors) = (device::open()?, self.masked(masks));
        let landscape = Landscape::new(&device, &architecture, &tensors, Norms::OfBatch)?;
        let size = batch.images.clamp(1, data.len());
        let mut batches = Batches::new(data, batch.seed, size, Augment::default());
        Ok((landscape, Batch::of(&mut batches, 0, 0)))
    }

    /// `|w · ∂L/∂w|`.
    fn snip(&self, batch: Batchwise, masks: &NamedTensors) -> anyhow::Result<NamedTensors> {
        let (landscape, batch) = self.on_a_batch(batch, masks)?;
        let (_, gradient) = landscape.gradient(&batch)?;
        let slopes: Vec<Vec<f64>> = gradient
            .iter()
            .map(|of| of.iter().copied().map(f64::from).collect())
            .collect();
        self.times_weights(masks, &slopes, |product| product.abs() as f32)
    }

    /// `w · (H g)`: what the removal of a weight takes from the gradient's length.
    fn grasp(&self, batch: Batchwise, masks: &NamedTensors) -> anyhow::Result<NamedTensors> {
        let (mut landscape, batch) = self.on_a_batch(batch, masks)?;
        let (_, gradient) = landscape.gradient(&batch)?;
        let curved = landscape.hessian_times(&gradient, &batch, GRASP_STEP)?;
        self.times_weights(masks, &curved, |product| product as f32)
    }

    /// `|w| · ∂R/∂|w|`, where R is the sum of the outputs of the network with the magnitudes of its
    /// parameters on inputs that are all 1.
    fn synflow(&self, masks: &NamedTensors) -> anyhow::Result<NamedTensors> {
        let mut tensors = self.masked(masks);
        for tensor in tensors.values_mut() {
            tensor.data.iter_mut().for_each(|w| *w = w.abs());
        }
        let architecture = Arc::new(self.architecture.clone());
        let network = Network::load(&device::open()?, architecture, &tensors)?;
        let ones = vec![1.0; self.architecture.identity.outputs.width()];
        let slopes = of_batch(
            &network,
            &device::Pool::default(),
            1,
            |inputs| inputs.fill(1.0),
            Objective::Outputs(&ones),
            Norms::Running.into(),
        )?;
        let mut scores = slopes.save(&network);
        for (name, scores) in &mut scores {
            let weights = &tensors[name].data;
            for (score, w) in scores.data.iter_mut().zip(weights) {
                *score *= *w;
            }
        }
        self.checked(scores)
    }

    /// Products with the weights, of values in memory layout.
    fn times_weights(
        &self,
        masks: &NamedTensors,
        values: &[Vec<f64>],
        score: impl Fn(f64) -> f32,
    ) -> anyhow::Result<NamedTensors> {
        let mut scores = self.masked(masks);
        for (parameter, values) in self.architecture.parameters.iter().zip(values) {
            let Some(tensor) = scores.get_mut(&parameter.name) else {
                continue;
            };
            let weights = parameter.layout.to_memory(&tensor.data);
            let products = weights.iter().zip(values);
            let products: Vec<f32> = products.map(|(w, x)| score(f64::from(*w) * x)).collect();
            tensor.data = parameter.layout.to_file(&products);
        }
        self.checked(scores)
    }

    fn checked(&self, scores: NamedTensors) -> anyhow::Result<NamedTensors> {
        let mut weights = self.architecture.parameters.iter();
        let broken = weights.find(|p| {
            let scores = scores.get(&p.name).map(|t| &t.data);
            p.role.is_weight() && scores.is_some_and(|s| s.iter().any(|x| !x.is_finite()))
        });
        match broken {
            None => Ok(scores),
            Some(parameter) => Err(Failure::new(format!(
                "the scores of `{}` are too large for numbers of 32 bits",
                parameter.name
            ))
            .hint("scale the first weights down, or prune by another criterion")
            .into()),
        }
    }
}

/// The step of the difference that stands for second derivatives, in parts of the weights' length.
const GRASP_STEP: f64 = 1e-3;

/// -1, 0 or 1.
fn sign(x: f64) -> f64 {
    match x {
        x if x > 0.0 => 1.0,
        x if x < 0.0 => -1.0,
        _ => 0.0,
    }
}

/// Whole numbers in the order of the scores; -0 and 0 are equal.
fn in_order(score: f32) -> u64 {
    let bits = (score + 0.0).to_bits();
    u64::from(match bits >> 31 {
        0 => bits | 1 << 31,
        _ => !bits,
    })
}

#[cfg(test)]
mod tests {
    use super::super::SynflowCriterion;
    use super::*;
    use crate::data::{ImageShape, Info};
    use crate::nn::architecture::tests::architecture;
    use crate::nn::init::{Init, fresh};

    fn data() -> Dataset {
        let shape = ImageShape {
            height: 2,
            width: 3,
            channels: 1,
        };
        let info = Info {
            name: "noise".into(),
            shape,
            classes: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            mean: vec![0.5],
            std: vec![0.3],
            columns: Vec::new(),
            targets: Vec::new(),
        };
        let mut stream = Stream::new(1, "test data", 0, 0);
        let images: Vec<u8> = (0..60 * 6).map(|_| stream.below(256) as u8).collect();
        let labels: Vec<u8> = (0..60).map(|i| (i % 4) as u8).collect();
        Dataset::new(info, images, labels, (0..60).collect()).unwrap()
    }

    fn network() -> (Architecture, NamedTensors) {
        let model = serde_json::json!({"mlp": {"hidden": [5], "activation": "tanh"}});
        let architecture = architecture(model, (2, 3, 1), 4);
        let tensors = fresh(&architecture, Init::Pytorch, 3, "init").unwrap();
        (architecture, tensors)
    }

    #[test]
    fn ranks_are_in_the_order_of_scores() {
        let scores = [f32::MIN, -1.5, -1e-40, 0.0, 1e-40, 2.0, f32::MAX];
        assert!(
            scores
                .map(in_order)
                .windows(2)
                .all(|pair| pair[0] < pair[1])
        );
        assert_eq!(in_order(-0.0), in_order(0.0));
    }

    /// Scores are slopes: of the loss (SNIP) and of half the gradient's squared length (GraSP),
    /// when a weight is multiplied by a number near 1.
    #[test]
    fn scores_are_the_slopes_that_their_papers_say() {
        let ((architecture, tensors), data) = (network(), data());
        let batch = Batchwise {
            seed: 1,
            images: 60,
        };
        let scorer = Scorer {
            by: Criterion::Snip(batch),
            architecture: &architecture,
            tensors: &tensors,
            first: None,
            data: Some(&data),
        };
        let none = NamedTensors::new();
        let (snip, grasp) = (
            scorer.snip(batch, &none).unwrap(),
            scorer.grasp(batch, &none).unwrap(),
        );
        let (mut landscape, images) = scorer.on_a_batch(batch, &none).unwrap();
        let at = landscape.values();
        let share = 1e-2;
        for (position, parameter) in architecture.parameters.iter().enumerate() {
            if !parameter.role.is_weight() {
                continue;
            }
            let snip = parameter.layout.to_memory(&snip[&parameter.name].data);
            let grasp = parameter.layout.to_memory(&grasp[&parameter.name].data);
            for i in [0, 7, 13] {
                let mut near = |factor: f32| {
                    let mut there = at.clone();
                    there[position][i] *= factor;
                    landscape.set(&there).unwrap();
                    let (loss, gradient) = landscape.gradient(&images).unwrap();
                    let squares = gradient.iter().flatten().map(|g| f64::from(*g).powi(2));
                    (loss, squares.sum::<f64>() / 2.0)
                };
                let (more, less) = (near(1.0 + share as f32), near(1.0 - share as f32));
                let slope = (more.0 - less.0) / (2.0 * share);
                let name = &parameter.name;
                let loose = |a: f64, b: f64| (a - b).abs() < 2e-4 + 0.02 * b.abs();
                assert!(
                    loose(slope.abs(), snip[i].into()),
                    "{name} {i}: {slope} {}",
                    snip[i]
                );
                let slope = (more.1 - less.1) / (2.0 * share);
                assert!(
                    loose(slope, grasp[i].into()),
                    "{name} {i}: {slope} {}",
                    grasp[i]
                );
            }
        }
        assert!(grasp.values().flat_map(|t| &t.data).any(|s| *s < 0.0));
    }

    /// What flows into a layer flows out of it: without biases the scores of every layer have one
    /// sum (Tanaka et al. 2020, theorem 2).
    #[test]
    fn synaptic_flow_is_conserved() {
        let model = serde_json::json!({"mlp": {"hidden": [5, 7]}});
        let architecture = architecture(model, (2, 3, 1), 4);
        let mut tensors = fresh(&architecture, Init::Pytorch, 4, "init").unwrap();
        for (name, tensor) in &mut tensors {
            if name.ends_with(".bias") {
                tensor.data.fill(0.0);
            }
        }
        let scorer = Scorer {
            by: Criterion::Synflow(SynflowCriterion { rounds: 1 }),
            architecture: &architecture,
            tensors: &tensors,
            first: None,
            data: None,
        };
        let scores = scorer.synflow(&NamedTensors::new()).unwrap();
        let sums = ["fc1.weight", "fc2.weight", "fc3.weight"].map(|name| {
            scores[name]
                .data
                .iter()
                .copied()
                .map(f64::from)
                .sum::<f64>()
        });
        assert!(sums[0] > 0.1);
        assert!(
            sums.iter()
                .all(|sum| (sum - sums[0]).abs() < 1e-5 * sums[0]),
            "{sums:?}"
        );
    }
}
