//! The squared error: the documented order, one scalar at a time, the gradient against differences,
//! special values.

use super::gradients::{buffer, differences, gradient};
use super::*;

#[test]
fn squared_errors_in_the_documented_order() {
    for (n, width) in [(1, 1), (5, 7), (300, 1), (4100, 3)] {
        let (y, t) = (values(n * width, 1, false), values(n * width, 2, false));
        let old = values(n * width, 3, false);
        for old in [None, Some(&old[..])] {
            let all = everywhere(|path| {
                let mean = squared_error::forward(path, width, &y, &t);
                let mut d = buffer(old, y.len());
                squared_error::backward(path, &y, &t, 0.7, gradient(&mut d, old));
                [vec![mean], d].concat()
            });
            let rows = y.chunks_exact(width).zip(t.chunks_exact(width));
            let error =
                |(y, t): (&[f32], &[f32])| chain(0.0, y.iter().zip(t).map(|(y, t)| (y - t, y - t)));
            let mean = rows.map(error).fold(0.0, |sum, e| sum + e) / (n * width) as f32;
            let scale = 2.0 * 0.7 / (n * width) as f32;
            let d = (0..y.len()).map(|i| old.map_or(0.0, |o| o[i]) + (y[i] - t[i]) * scale);
            let want: Vec<f32> = [mean].into_iter().chain(d).collect();
            assert_eq!(bits(&all), bits(&want), "{n} {width}");
        }
    }
}

#[test]
fn squared_error_gradient_against_differences() {
    let (n, width) = (4, 3);
    let (y, t) = (values(12, 1, false), values(12, 2, false));
    let mut d = vec![0.0; 12];
    squared_error::backward(Path::current(), &y, &t, 2.0, gradient(&mut d, None));
    let f = |v: &[Vec<f64>]| {
        let squares = v[0]
            .iter()
            .zip(&t)
            .map(|(y, t)| (y - f64::from(*t)).powi(2));
        vec![squares.sum::<f64>() / (n * width) as f64]
    };
    differences("squared error", &d, &[&y], 0, &[2.0], &f);
}

#[test]
fn absolute_errors_are_summed_without_rounding_differences_first() {
    // In f32 the difference is 16777216, and the sum of both 16777216 too.
    assert_eq!(
        squared_error::absolute(&[16_777_216.0, 1.0], &[-1.0, 0.5]),
        16_777_217.5
    );
}

#[test]
fn squared_errors_keep_nan_and_infinities() {
    let mean = |y: &[f32], t: &[f32]| everywhere(|p| vec![squared_error::forward(p, 2, y, t)])[0];
    assert!(mean(&[f32::NAN, 0.0], &[0.0, 0.0]).is_nan());
    assert_eq!(mean(&[3.0e38, 0.0], &[0.0, 0.0]), f32::INFINITY);
    assert_eq!(mean(&[-f32::INFINITY, 0.0], &[0.0, 0.0]), f32::INFINITY);
    assert!(mean(&[], &[]).is_nan(), "no rows");
    let (y, t) = (values(400, 1, true), values(400, 2, true));
    everywhere(|path| {
        let mut d = buffer(None, 400);
        squared_error::backward(path, &y, &t, 1.0, gradient(&mut d, None));
        [vec![squared_error::forward(path, 4, &y, &t)], d].concat()
    });
}
