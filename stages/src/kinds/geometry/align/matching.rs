//! The order of a network's units in which its weights are most like another's (weight matching:
//! Ainsworth, Hayase & Srinivasa 2023, Algorithm 1).
//!
//! Decides which order is best; `symmetries.rs` says which orders there are.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::symmetries::{Axis, FIXED, Symmetries};
use crate::nn::architecture::Architecture;
use crate::weights::NamedTensors;
use repro_numerics::exact::rng::Stream;

/// The unit of the moved network that comes to each place, by group.
pub type Orders = Vec<Vec<usize>>;

/// What was found.
#[derive(Debug)]
pub struct Matched {
    /// The best orders.
    pub orders: Orders,
    /// How often all groups were gone through.
    pub sweeps: usize,
}

/// A sweep that gains less than this stops the search, as in the authors' code.
const LEAST_GAIN: f64 = 1e-12;
/// Products are rounded to this part of the largest one before they are assigned: whole numbers
/// have one best assignment on every machine.
const STEPS: f64 = (1u64 << 40) as f64;

/// Groups in a random order, each assigned as well as the others allow, until none gains.
pub fn matched(
    architecture: &Architecture,
    symmetries: &Symmetries,
    [moved, like]: [&NamedTensors; 2],
    seed: u64,
    sweeps: usize,
) -> Matched {
    let sizes = symmetries.sizes.iter();
    let mut orders: Orders = sizes.map(|&size| (0..size).collect()).collect();
    let groups = symmetries.movable();
    for sweep in 0..sweeps {
        let mut gained = false;
        let order = Stream::new(seed, "matching", sweep as u64, 0).permutation(groups.len() as u32);
        for group in order.into_iter().map(|at| groups[at as usize]) {
            let alike = likeness(architecture, symmetries, [moved, like], &orders, group);
            let best = assigned(&alike);
            let value = |order: &[usize]| -> f64 {
                order.iter().zip(&alike).map(|(from, row)| row[*from]).sum()
            };
            if value(&best) > value(&orders[group]) + LEAST_GAIN {
                orders[group] = best;
                gained = true;
            }
        }
        if !gained {
            return Matched {
                orders,
                sweeps: sweep + 1,
            };
        }
    }
    Matched { orders, sweeps }
}

/// For each place of a group and each unit of the moved network: the sum of products of their
/// weights, the other groups being where they are now.
fn likeness(
    architecture: &Architecture,
    symmetries: &Symmetries,
    [moved, like]: [&NamedTensors; 2],
    orders: &Orders,
    group: usize,
) -> Vec<Vec<f64>> {
    let size = symmetries.sizes[group];
    let mut sums = vec![vec![0.0; size]; size];
    for (parameter, axes) in architecture.parameters.iter().zip(&symmetries.axes) {
        if !parameter.role.is_trained() {
            continue;
        }
        for (at, axis) in axes.iter().enumerate() {
            let Some(axis) = axis.filter(|axis| axis.group == group) else {
                continue;
            };
            let (moved, like) = (&moved[&parameter.name].data, &like[&parameter.name].data);
            let mut others = *axes;
            others[at] = None;
            let moved = ordered(&parameter.shape, moved, &others, orders);
            let units = |data: &[f32]| by_unit(&parameter.shape, data, at, axis, size);
            let (moved, like) = (units(&moved), units(like));
            for (sums, like) in sums.iter_mut().zip(&like) {
                for (sum, moved) in sums.iter_mut().zip(&moved) {
                    let products = like.iter().zip(moved);
                    *sum += products
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum::<f64>();
                }
            }
        }
    }
    sums
}

/// The weights of each unit along an axis.
fn by_unit(shape: &[usize], data: &[f32], at: usize, axis: Axis, size: usize) -> Vec<Vec<f32>> {
    let rest: usize = shape.iter().skip(at + 1).product();
    let (block, row) = (axis.each * rest, shape[at] * rest);
    let unit = |unit: usize| {
        let rows = data.chunks(row.max(1));
        rows.flat_map(|row| &row[unit * block..][..block])
            .copied()
            .collect()
    };
    (0..size).map(unit).collect()
}

/// The assignment of units to places with the largest sum (Kuhn 1955, Munkres 1957).
fn assigned(alike: &[Vec<f64>]) -> Vec<usize> {
    let all = alike.iter().flatten();
    let largest = all.fold(0.0f64, |most, x| most.max(x.abs()));
    if largest == 0.0 {
        return (0..alike.len()).collect();
    }
    let whole = |x: &f64| (x / largest * STEPS).round() as i64;
    let weights = alike.iter().flatten().map(whole).collect();
    match Matrix::from_vec(alike.len(), alike.len(), weights) {
        Ok(weights) => kuhn_munkres(&weights).1,
        Err(_) => (0..alike.len()).collect(),
    }
}

/// A tensor whose units are in these orders.
pub fn ordered(
    shape: &[usize],
    data: &[f32],
    axes: &[Option<Axis>; 2],
    orders: &Orders,
) -> Vec<f32> {
    let mut data = data.to_vec();
    for (at, axis) in axes.iter().enumerate() {
        let Some(axis) = axis.filter(|axis| axis.group != FIXED) else {
            continue;
        };
        let order = &orders[axis.group];
        let rest: usize = shape.iter().skip(at + 1).product();
        let (block, row) = (axis.each * rest, shape[at] * rest);
        let blocks = data.chunks(row.max(1)).flat_map(|row| {
            let place = move |unit: &usize| &row[unit * block..][..block];
            order.iter().flat_map(place)
        });
        data = blocks.copied().collect();
    }
    data
}
