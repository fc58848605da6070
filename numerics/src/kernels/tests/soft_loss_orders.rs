//! Soft labels: the documented orders, one scalar at a time, the gradient against differences, and
//! hard labels.

use super::gradients::{buffer, differences, gradient};
use super::*;

fn distributions(rows: usize, classes: usize, seed: u64) -> Vec<f32> {
    let mut all: Vec<f32> = values(rows * classes, seed, false)
        .iter()
        .map(|v| v.abs())
        .collect();
    for row in all.chunks_exact_mut(classes) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|v| *v /= sum);
    }
    all
}

#[test]
fn soft_labels_in_the_documented_order() {
    use crate::exact::math;
    for (n, classes) in [(1, 1), (5, 7), (300, 10), (129, 100)] {
        let logits = values(n * classes, 1, false);
        let t = distributions(n, classes, 2);
        let old = values(n * classes, 3, false);
        for old in [None, Some(&old[..])] {
            let all = everywhere(|path| {
                let mut p = vec![7.0; logits.len()];
                let mean = soft_loss::forward(path, classes, &logits, &t, &mut p);
                let mut d = buffer(old, logits.len());
                soft_loss::backward(path, classes, &p, &t, 0.7, gradient(&mut d, old));
                [vec![mean], p, d].concat()
            });
            let (mut loss, mut p, mut d) = (0.0, Vec::new(), Vec::new());
            for (i, row) in logits.chunks_exact(classes).enumerate() {
                let t = &t[i * classes..][..classes];
                let largest = row.iter().copied().fold(f32::MIN, f32::max);
                let sum = row.iter().fold(0.0, |s, l| s + math::exp(l - largest));
                let minus_log = |l: f32| -((l - largest) - math::ln(sum));
                loss += row
                    .iter()
                    .zip(t)
                    .fold(0.0f32, |s, (l, t)| t.mul_add(minus_log(*l), s));
                let mass = t.iter().fold(0.0, |s, t| s + t);
                for (k, l) in row.iter().enumerate() {
                    let value = math::exp(l - largest) / sum;
                    p.push(value);
                    let before = old.map_or(0.0, |o| o[i * classes + k]);
                    d.push(before + (value * mass - t[k]) * (0.7 / n as f32));
                }
            }
            let want = [vec![loss / n as f32], p, d].concat();
            assert_eq!(bits(&all), bits(&want), "{n} {classes}");
        }
    }
}

#[test]
fn soft_labels_gradient_against_differences() {
    let (n, classes) = (4, 5);
    let logits = values(n * classes, 1, false);
    // not normalised: the gradient must know
    let t: Vec<f32> = distributions(n, classes, 2)
        .iter()
        .map(|t| t * 1.5)
        .collect();
    let (mut p, mut d) = (vec![0.0; 20], vec![0.0; 20]);
    let path = Path::current();
    soft_loss::forward(path, classes, &logits, &t, &mut p);
    soft_loss::backward(path, classes, &p, &t, 2.0, gradient(&mut d, None));
    let f = |v: &[Vec<f64>]| {
        let rows = v[0].chunks_exact(classes).zip(t.chunks_exact(classes));
        let loss: f64 = rows
            .map(|(row, t)| {
                let ln = row.iter().map(|l| l.exp()).sum::<f64>().ln();
                row.iter()
                    .zip(t)
                    .map(|(l, t)| f64::from(*t) * (ln - l))
                    .sum::<f64>()
            })
            .sum();
        vec![loss / n as f64]
    };
    differences("soft labels", &d, &[&logits], 0, &[2.0], &f);
}

/// A one-hot target is a label: the same loss but for the rounding of the other classes' zeros.
#[test]
fn soft_labels_that_are_hard() {
    let logits = values(6 * 10, 1, false);
    let labels = [3, 1, 4, 1, 5, 9];
    let mut t = vec![0.0; 60];
    for (i, label) in labels.iter().enumerate() {
        t[i * 10 + *label as usize] = 1.0;
    }
    let path = Path::current();
    let (mut p, mut q) = (vec![0.0; 60], vec![0.0; 60]);
    let (mut d, mut e) = (vec![0.0; 60], vec![0.0; 60]);
    let soft = soft_loss::forward(path, 10, &logits, &t, &mut p);
    let hard = loss::forward(path, 10, &logits, &labels, 0.0, &mut q);
    assert_eq!((soft, &p), (hard, &q));
    soft_loss::backward(path, 10, &p, &t, 1.0, gradient(&mut d, None));
    loss::backward(path, 10, &q, &labels, 0.0, 1.0, &mut e);
    assert_eq!(d, e);
}
