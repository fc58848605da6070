//! Convolutions, one scalar at a time.

use super::*;
use crate::shape::ConvShape;

fn conv_shapes() -> Vec<(usize, ConvShape)> {
    let shape = |h, w, c, o, kernel, stride, padding| {
        ConvShape::new(image(h, w, c), o, kernel, stride, padding).unwrap()
    };
    vec![
        (3, shape(5, 7, 3, 17, (3, 3), 1, 1)),
        (2, shape(6, 5, 2, 3, (3, 3), 2, 1)),
        (2, shape(8, 8, 5, 20, (1, 1), 1, 0)),
        (2, shape(7, 7, 4, 4, (1, 1), 2, 0)),
        (1, shape(9, 11, 1, 2, (5, 4), 3, 2)),
        (2, shape(4, 4, 3, 16, (2, 2), 3, 0)),
        (67, shape(4, 5, 2, 5, (3, 3), 1, 1)),
        (4, shape(18, 18, 3, 8, (3, 3), 1, 1)),
        // Chains of several blocks, that end within a kernel row and at its end.
        (2, shape(5, 6, 24, 35, (3, 3), 1, 1)),
        (1, shape(4, 3, 64, 64, (3, 2), 2, 1)),
        (1, shape(3, 14, 130, 20, (1, 1), 1, 0)),
    ]
}

#[test]
fn convolutions_forward() {
    for (n, shape) in conv_shapes() {
        let (img, out, (kh_n, kw_n)) = (shape.input(), shape.output(), shape.kernel());
        let (c, o, s, p) = (img.channels, out.channels, shape.stride(), shape.padding());
        for harsh in [false, true] {
            let (x, w, b) = (
                values(n * img.features(), 1, harsh),
                values(shape.weights(), 2, harsh),
                values(o, 3, harsh),
            );
            let y = everywhere(|path| {
                let mut y = vec![7.0; n * out.features()];
                conv::forward(path, &shape, &x, &w, Some(&b), &mut y);
                y
            });
            let mut want = Vec::new();
            for at in 0..n * out.positions() {
                let (i, oy, ox) = (
                    at / out.positions(),
                    at / out.width % out.height,
                    at % out.width,
                );
                for q in 0..o {
                    let mut terms = Vec::new();
                    for (kh, kw, ch) in triples(kh_n, kw_n, c) {
                        terms.push((
                            pixel(&x, img, i, oy * s + kh, ox * s + kw, p, ch),
                            w[((kh * kw_n + kw) * c + ch) * o + q],
                        ));
                    }
                    want.push(in_blocks(64, b[q], terms.into_iter()));
                }
            }
            assert_eq!(bits(&y), bits(&want), "{shape:?}");
        }
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / c / b, i / c % b, i % c))
}

/// The value at (y, x) of the padded image.
fn pixel(
    values: &[f32],
    image: Image,
    i: usize,
    y: usize,
    x: usize,
    padding: usize,
    channel: usize,
) -> f32 {
    let inside = (padding..image.height + padding).contains(&y)
        && (padding..image.width + padding).contains(&x);
    if !inside {
        return 0.0;
    }
    values
        [((i * image.height + y - padding) * image.width + x - padding) * image.channels + channel]
}

#[test]
fn convolutions_backward() {
    for (n, shape) in conv_shapes() {
        let (img, out, (kh_n, kw_n)) = (shape.input(), shape.output(), shape.kernel());
        let (c, o, s, p) = (img.channels, out.channels, shape.stride(), shape.padding());
        for harsh in [false, true] {
            let (x, w, dy) = (
                values(n * img.features(), 1, harsh),
                values(shape.weights(), 2, harsh),
                values(n * out.features(), 4, harsh),
            );
            let old = values(x.len() + w.len() + o, 5, harsh);
            let all = everywhere(|path| {
                let mut to = old.clone();
                let (dx, rest) = to.split_at_mut(x.len());
                let (dw, db) = rest.split_at_mut(w.len());
                conv::input_gradient(path, &shape, &w, &dy, dx);
                conv::weight_gradient(path, &shape, &x, &dy, dw);
                conv::bias_gradient(path, out.positions(), &dy, db);
                to
            });
            let mut want = old.clone();
            for at in 0..n * img.positions() {
                let (i, iy, ix) = (
                    at / img.positions(),
                    at / img.width % img.height,
                    at % img.width,
                );
                for ch in 0..c {
                    let mut terms = Vec::new();
                    for kh in (0..kh_n).rev().filter(|k| (iy + p) % s == k % s) {
                        for kw in (0..kw_n).rev().filter(|k| (ix + p) % s == k % s) {
                            for q in 0..o {
                                let (oy, ox) = (
                                    (iy + p) as isize - kh as isize,
                                    (ix + p) as isize - kw as isize,
                                );
                                let (oy, ox) = (oy / s as isize, ox / s as isize);
                                let inside = (0..out.height as isize).contains(&oy)
                                    && (0..out.width as isize).contains(&ox);
                                let d = if inside {
                                    dy[(i * out.positions()
                                        + oy as usize * out.width
                                        + ox as usize)
                                        * o
                                        + q]
                                } else {
                                    0.0
                                };
                                terms.push((d, w[((kh * kw_n + kw) * c + ch) * o + q]));
                            }
                        }
                    }
                    want[at * c + ch] += in_blocks(64, 0.0, terms.into_iter());
                }
            }
            for (kh, kw, ch) in triples(kh_n, kw_n, c) {
                for q in 0..o {
                    let sum = grouped(n, out.positions(), |images| {
                        let mut terms = Vec::new();
                        for at in images.start * out.positions()..images.end * out.positions() {
                            let (i, oy, ox) = (
                                at / out.positions(),
                                at / out.width % out.height,
                                at % out.width,
                            );
                            terms.push((
                                pixel(&x, img, i, oy * s + kh, ox * s + kw, p, ch),
                                dy[at * o + q],
                            ));
                        }
                        chain(0.0, terms.into_iter())
                    });
                    want[x.len() + ((kh * kw_n + kw) * c + ch) * o + q] += sum;
                }
            }
            for q in 0..o {
                let sum = grouped(n, out.positions(), |images| {
                    of_rows(
                        images.start * out.positions()..images.end * out.positions(),
                        |sum, at| sum + dy[at * o + q],
                    )
                });
                want[x.len() + w.len() + q] += sum;
            }
            assert_eq!(bits(&all), bits(&want), "{shape:?}");
        }
    }
}
