//! Which weights go, of the scores that they have: how many of each group, and in which order.

use super::score::Scorer;
use super::{Params, Scope, rates};
use crate::failure::Failure;
use crate::weights::{NamedTensor, NamedTensors};
use repro_numerics::exact::math;

/// The new masks, one per weight tensor, in file layout.
pub(super) fn prune(
    p: &Params,
    scorer: &Scorer,
    before: &NamedTensors,
) -> anyhow::Result<NamedTensors> {
    let architecture = scorer.architecture;
    let shares = rates::shares(p, architecture)
        .map_err(|(path, why)| why.within(&format!("`{}`", path.join("."))))?;
    let mut masks = NamedTensors::new();
    let mut layers = Vec::new();
    let parameters = architecture.parameters.iter().enumerate();
    for (position, parameter) in parameters.filter(|(_, p)| p.role.is_weight()) {
        let name = &parameter.name;
        let weights = &scorer.tensors[name];
        if let Some(i) = weights.data.iter().position(|x| x.is_nan()) {
            let text = format!("`{name}` holds NaN at position {i}: nothing to rank");
            return Err(Failure::new(text).into());
        }
        let mask = before
            .get(name)
            .map_or_else(|| vec![1.0; weights.data.len()], |m| m.data.clone());
        layers.push((name, shares[position]));
        let shape = weights.shape.clone();
        masks.insert(name.clone(), NamedTensor { shape, data: mask });
    }
    // Of each group that is ranked together: its tensors, and the share that goes.
    let groups: Vec<(Vec<usize>, f64)> = match p.scope {
        Scope::Layerwise => layers
            .iter()
            .enumerate()
            .map(|(tensor, (_, fraction))| (vec![tensor], *fraction))
            .collect(),
        Scope::Global => vec![((0..layers.len()).collect(), p.fraction)],
    };
    let alive = |masks: &NamedTensors, tensors: &[usize]| -> usize {
        let of = |tensor: &usize| masks[layers[*tensor].0].data.iter();
        tensors.iter().flat_map(of).filter(|m| **m != 0.0).count()
    };
    let at_first: Vec<usize> = groups.iter().map(|(of, _)| alive(&masks, of)).collect();
    let rounds = scorer.rounds();
    for round in 1..=rounds {
        let ranks = scorer.ranks(&masks)?;
        for ((tensors, fraction), at_first) in groups.iter().zip(&at_first) {
            let gone = at_first - alive(&masks, tensors);
            let wanted = removed(*at_first, so_far(*fraction, round, rounds));
            let remove = wanted.saturating_sub(gone);
            if remove == 0 {
                continue;
            }
            let mut candidates: Vec<Candidate> = Vec::with_capacity(at_first - gone);
            for &tensor in tensors {
                let mask = &masks[layers[tensor].0].data;
                let left = (0..mask.len()).filter(|&i| mask[i] != 0.0);
                candidates.extend(left.map(|i| (ranks[tensor][i], tensor, i)));
            }
            // All candidates differ in (tensor, index), so the set of the smallest is unique.
            candidates.select_nth_unstable(remove - 1);
            for &(_, tensor, index) in &candidates[..remove] {
                if let Some(mask) = masks.get_mut(layers[tensor].0) {
                    mask.data[index] = 0.0;
                }
            }
        }
    }
    Ok(masks)
}

/// The share that is gone after a round, if every round removes the same share of what is left.
fn so_far(fraction: f64, round: u32, rounds: u32) -> f64 {
    match round == rounds {
        true => fraction,
        false => 1.0 - math::pow_f64(1.0 - fraction, f64::from(round) / f64::from(rounds)),
    }
}

/// Rank, tensor, index: the smallest go first; ties go by tensor, then index.
type Candidate = (u64, usize, usize);

/// How many of `survivors` go: the nearest whole number; halves are rounded up.
fn removed(survivors: usize, fraction: f64) -> usize {
    ((survivors as f64 * fraction).round() as usize).min(survivors)
}

#[cfg(test)]
mod tests {
    use super::super::{Criterion, RandomCriterion, SynflowCriterion, Values};
    use super::*;
    use crate::nn::architecture::Architecture;
    use crate::nn::architecture::tests::architecture;
    use crate::nn::init::{Init, fresh};
    use crate::training::mask::Masked;
    use proptest::prelude::*;

    fn masks_of(
        p: &Params,
        architecture: &Architecture,
        tensors: &NamedTensors,
        before: &NamedTensors,
    ) -> NamedTensors {
        let scorer = Scorer {
            by: p.by,
            architecture,
            tensors,
            first: None,
            data: None,
        };
        prune(p, &scorer, before).unwrap()
    }

    fn small() -> Architecture {
        architecture(
            serde_json::json!({"mlp": {"hidden": [5], "batch_norm": {}}}),
            (2, 3, 1),
            4,
        )
    }

    fn count(masks: &NamedTensors, name: &str) -> usize {
        masks[name].data.iter().filter(|x| **x == 1.0).count()
    }

    #[test]
    fn only_weights_are_masked_and_ties_go_in_order() {
        let a = small();
        let tensors = fresh(&a, Init::Constant(0.5), 0, "init").unwrap();
        let p = Params {
            fraction: 0.1,
            by: Criterion::Magnitude,
            scope: Scope::Layerwise,
            output_layer_fraction: Some(0.05),
            rates: None,
            values: Values::AsTheyAre,
            masked: Masked::Zero,
            network: None,
        };
        let masks = masks_of(&p, &a, &tensors, &NamedTensors::new());
        assert_eq!(
            masks.keys().collect::<Vec<_>>(),
            ["fc1.weight", "fc2.weight"]
        );
        assert_eq!(masks["fc1.weight"].data[..4], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(masks["fc2.weight"].data[..2], [0.0, 1.0]);
        let global = masks_of(
            &Params {
                scope: Scope::Global,
                output_layer_fraction: None,
                ..p.clone()
            },
            &a,
            &tensors,
            &NamedTensors::new(),
        );
        assert_eq!(
            (count(&global, "fc1.weight"), count(&global, "fc2.weight")),
            (25, 20)
        );
    }

    /// LeNet-300-100 with 20 % a round and 10 % of the classifier: the remaining shares on the
    /// paper's axes.
    #[test]
    fn the_ladder_of_the_lottery_ticket_paper() {
        let mut left = [235_200usize, 30_000, 1_000];
        for round in 1..=20 {
            for (layer, n) in left.iter_mut().enumerate() {
                *n -= removed(*n, if layer == 2 { 0.1 } else { 0.2 });
            }
            let percent = 100.0 * left.iter().sum::<usize>() as f64 / 266_200.0;
            let known = [
                (3, 51.28),
                (7, 21.07),
                (9, 13.52),
                (12, 6.95),
                (15, 3.58),
                (18, 1.85),
                (20, 1.19),
            ];
            if let Some((_, want)) = known.iter().find(|(r, _)| *r == round) {
                assert!((percent - want).abs() < 0.01, "round {round}: {percent}");
            }
        }
    }

    /// Every criterion on one layer of four weights, by hand; 1 stays.
    #[test]
    fn criteria_of_supermasks_by_hand() {
        let a = architecture(serde_json::json!({"mlp": {"hidden": []}}), (1, 2, 1), 2);
        let tensors = |data: [f32; 4]| {
            let mut tensors = fresh(&a, Init::Constant(0.0), 0, "init").unwrap();
            tensors.get_mut("fc1.weight").unwrap().data = data.to_vec();
            tensors
        };
        // |w|: 4 1 2 3, |w0|: 1 4 3 2, the signs of the second and third differ; α is 1
        let (last, first) = (
            tensors([4.0, -1.0, 2.0, 3.0]),
            tensors([1.0, 4.0, -3.0, 2.0]),
        );
        for (by, keeps) in [
            (Criterion::Magnitude, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::SmallFinal, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::LargeInit, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::SmallInit, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::LargeInitLargeFinal, [0.0, 0.0, 1.0, 1.0]),
            (Criterion::SmallInitSmallFinal, [0.0, 0.0, 1.0, 1.0]),
            (Criterion::MagnitudeIncrease, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::Movement, [0.0, 1.0, 1.0, 0.0]),
            (Criterion::LargeFinalSameSign, [1.0, 0.0, 0.0, 1.0]),
            (Criterion::LargeFinalOtherSign, [0.0, 1.0, 1.0, 0.0]),
        ] {
            let scorer = Scorer {
                by,
                architecture: &a,
                tensors: &last,
                first: Some(&first),
                data: None,
            };
            let p = Params {
                fraction: 0.5,
                by,
                scope: Scope::Layerwise,
                output_layer_fraction: None,
                rates: None,
                values: Values::AsTheyAre,
                masked: Masked::Zero,
                network: None,
            };
            let masks = prune(&p, &scorer, &NamedTensors::new()).unwrap();
            assert_eq!(masks["fc1.weight"].data, keeps, "{by:?}");
        }
    }

    fn params() -> impl Strategy<Value = Params> {
        (0.0..=1.0f64, any::<bool>(), any::<bool>(), 0u64..100).prop_map(
            |(fraction, random, global, seed)| Params {
                fraction,
                by: if random {
                    Criterion::Random(RandomCriterion { seed })
                } else {
                    Criterion::Magnitude
                },
                scope: if global {
                    Scope::Global
                } else {
                    Scope::Layerwise
                },
                output_layer_fraction: None,
                rates: None,
                values: Values::AsTheyAre,
                masked: Masked::Zero,
                network: None,
            },
        )
    }

    /// Without a hidden layer and at one round, the flow through a weight is its magnitude.
    #[test]
    fn synflow_of_one_layer_is_magnitude_and_counts_stay_exact() {
        let a = architecture(serde_json::json!({"mlp": {"hidden": []}}), (2, 3, 1), 4);
        let tensors = fresh(&a, Init::Pytorch, 5, "init").unwrap();
        let by = |by: Criterion, fraction: f64| {
            let p = Params {
                fraction,
                by,
                scope: Scope::Global,
                output_layer_fraction: None,
                rates: None,
                values: Values::AsTheyAre,
                masked: Masked::Zero,
                network: None,
            };
            masks_of(&p, &a, &tensors, &NamedTensors::new())
        };
        for rounds in [1, 7, 100] {
            let flow = Criterion::Synflow(SynflowCriterion { rounds });
            for fraction in [0.0, 0.1, 0.5, 0.9, 1.0] {
                let masks = by(flow, fraction);
                assert_eq!(masks, by(Criterion::Magnitude, fraction));
                assert_eq!(count(&masks, "fc1.weight"), 24 - removed(24, fraction));
            }
        }
    }

    /// The classifier at half the rate of dense layers: exactly so many of each layer stay, round
    /// after round, and nobody comes back.
    #[test]
    fn rates_leave_exact_counts_and_masks_nest() {
        let model =
            serde_json::json!({"conv": {"layers": [{"conv": {"channels": 4}}, {"dense": 9}]}});
        let a = architecture(model, (4, 4, 2), 5);
        let tensors = fresh(&a, Init::Pytorch, 5, "init").unwrap();
        let p: Params = serde_json::from_value(serde_json::json!({"fraction": 0.9,
            "output_layer_fraction": 0.1, "rates": {"conv": 0.1, "dense": 0.2}}))
        .unwrap();
        let (mut masks, mut left) = (NamedTensors::new(), [72usize, 576, 45]);
        for round in 0..6 {
            let next = masks_of(&p, &a, &tensors, &masks);
            let names = ["conv1.weight", "fc1.weight", "fc2.weight"];
            for ((name, left), rate) in names.iter().zip(&mut left).zip([0.1, 0.2, 0.1]) {
                *left -= removed(*left, rate);
                assert_eq!(count(&next, name), *left, "{name}, round {round}");
                if let Some(before) = masks.get(*name) {
                    let pairs = next[*name].data.iter().zip(&before.data);
                    assert!(pairs.into_iter().all(|(new, old)| new <= old));
                }
            }
            masks = next;
        }
        assert_eq!(left, [38, 151, 23]);
    }

    proptest! {
        #[test]
        fn masks_are_nested_counts_exact_and_the_smallest_go(p in params(), q in params(), seed in 0u64..100) {
            let a = small();
            let tensors = fresh(&a, Init::Pytorch, seed, "init").unwrap();
            let first = masks_of(&p, &a, &tensors, &NamedTensors::new());
            let second = masks_of(&q, &a, &tensors, &first);
            for (name, mask) in &second {
                for (new, old) in mask.data.iter().zip(&first[name].data) {
                    prop_assert!(new <= old);
                }
            }
            if p.scope == Scope::Layerwise {
                prop_assert_eq!(count(&first, "fc1.weight"), 30 - removed(30, p.fraction));
                prop_assert_eq!(count(&first, "fc2.weight"), 20 - removed(20, p.fraction));
            } else {
                prop_assert_eq!(count(&first, "fc1.weight") + count(&first, "fc2.weight"), 50 - removed(50, p.fraction));
            }
            if p.by == Criterion::Magnitude && p.scope == Scope::Layerwise {
                for (name, mask) in &first {
                    let side = |kept: f32| mask.data.iter().zip(&tensors[name].data).filter(move |(m, _)| **m == kept).map(|(_, w)| w.abs());
                    let (gone, kept) = (side(0.0).fold(0.0, f32::max), side(1.0).fold(f32::INFINITY, f32::min));
                    prop_assert!(gone <= kept);
                }
            }
        }
    }
}
