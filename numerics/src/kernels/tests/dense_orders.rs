//! Dense layers, one scalar at a time.

use super::*;

/// The parts of a sum: one chain up to 256 products, else parts of 512 in blocks of 32.
fn parts(start: f32, terms: &[(f32, f32)]) -> Vec<f32> {
    let block = if terms.len() <= 256 { 256 } else { 32 };
    let part = |(i, part): (usize, &[(f32, f32)])| {
        in_blocks(
            block,
            if i == 0 { start } else { 0.0 },
            part.iter().copied(),
        )
    };
    terms.chunks(512).enumerate().map(part).collect()
}

fn blocked(start: f32, terms: &[(f32, f32)]) -> f32 {
    let sum = parts(start, terms)
        .into_iter()
        .reduce(|sum, part| sum + part);
    sum.unwrap_or(start)
}

#[test]
fn dense_layers() {
    for (n, i, o, harsh) in [
        (1, 1, 1, false),
        (7, 13, 17, true),
        (5, 513, 3, false),
        (33, 40, 50, true),
        (65, 1100, 33, false),
        (3, 9, 700, false),
        (5, 256, 256, true),
        (15, 257, 20, true),
        (129, 30, 1500, true),
        (3, 4200, 40, false),
    ] {
        let (x, w, b) = (
            values(n * i, 1, harsh),
            values(i * o, 2, harsh),
            values(o, 3, harsh),
        );
        let (dy, old) = (values(n * o, 4, harsh), values(n * i + i * o + o, 5, harsh));
        let y = everywhere(|path| {
            let mut y = vec![7.0; n * o];
            dense::forward(path, i, o, &x, &w, Some(&b), &mut y);
            y
        });
        let want = |r: usize, c: usize| {
            blocked(
                b[c],
                &(0..i)
                    .map(|k| (x[r * i + k], w[k * o + c]))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            bits(&y),
            bits(&(0..n * o).map(|e| want(e / o, e % o)).collect::<Vec<_>>())
        );

        let all = everywhere(|path| {
            let mut to = old.clone();
            let (dx, rest) = to.split_at_mut(n * i);
            let (dw, db) = rest.split_at_mut(i * o);
            dense::input_gradient(path, i, o, &w, &dy, dx);
            dense::weight_gradient(path, i, o, &x, &dy, dw);
            dense::bias_gradient(path, &dy, db);
            to
        });
        let mut want = old.clone();
        for r in 0..n {
            for k in 0..i {
                let terms: Vec<_> = (0..o).map(|c| (dy[r * o + c], w[k * o + c])).collect();
                for part in parts(0.0, &terms) {
                    want[r * i + k] += part;
                }
            }
        }
        for k in 0..i {
            for c in 0..o {
                want[n * i + k * o + c] +=
                    chain(0.0, (0..n).map(|r| (x[r * i + k], dy[r * o + c])));
            }
        }
        for c in 0..o {
            let rows: Vec<f32> = (0..n).map(|r| dy[r * o + c]).collect();
            let block = if n <= 64 { 64 } else { 16 };
            want[n * i + i * o + c] += rows.chunks(block).fold(0.0, |sum, block| {
                sum + block.iter().fold(0.0, |sum, d| sum + d)
            });
        }
        assert_eq!(bits(&all), bits(&want));
    }
}
