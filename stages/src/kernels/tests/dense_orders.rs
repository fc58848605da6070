//! Dense layers, one scalar at a time.

use super::*;

fn blocked(start: f32, terms: &[(f32, f32)]) -> f32 {
    let mut blocks = terms.chunks(dense::BLOCK);
    let first = chain(start, blocks.next().unwrap_or_default().iter().copied());
    blocks.fold(first, |sum, block| sum + chain(0.0, block.iter().copied()))
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
                want[r * i + k] += blocked(
                    0.0,
                    &(0..o)
                        .map(|c| (dy[r * o + c], w[k * o + c]))
                        .collect::<Vec<_>>(),
                );
            }
        }
        for k in 0..i {
            for c in 0..o {
                want[n * i + k * o + c] +=
                    chain(0.0, (0..n).map(|r| (x[r * i + k], dy[r * o + c])));
            }
        }
        for c in 0..o {
            want[n * i + i * o + c] += (0..n).fold(0.0, |sum, r| sum + dy[r * o + c]);
        }
        assert_eq!(bits(&all), bits(&want));
    }
}
