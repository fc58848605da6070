//! Any numbers at any place in memory: zeros of both signs, subnormal and huge ones, infinities and
//! NaN; odd sizes, strides, and slices that start anywhere. The laws are those of "Special values"
//! in `kernels/mod.rs`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::activation::Activation;
use super::super::layer::{Accumulate, Backward, Gradient};
use super::*;
use crate::shape::ConvShape;

/// Usual numbers, and one in four of another kind.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        12 => -3.0f32..3.0,
        1 => prop_oneof![Just(0.0f32), Just(-0.0)],
        1 => (1u32..0x0080_0000, any::<bool>()).prop_map(|(b, minus)| f32::from_bits(b | u32::from(minus) << 31)),
        1 => (0x7e80_0000u32..0x7f80_0000, any::<bool>()).prop_map(|(b, minus)| f32::from_bits(b | u32::from(minus) << 31)),
        1 => prop_oneof![8 => any::<u32>().prop_map(f32::from_bits), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::NAN)],
    ]
}

/// As [`number`], but with rare infinities and NaN, so that sums are not all NaN.
fn finite() -> impl Strategy<Value = f32> {
    number().prop_map(|v| if v.is_finite() { v } else { 1.0 })
}

/// Numbers of which one run in three holds no infinity and no NaN.
fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        vec(finite(), len),
        vec(number(), len),
        vec(
            prop_oneof![63 => finite().boxed(), 1 => number().boxed()],
            len
        )
    ]
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::Tanh),
        Just(Activation::Sigmoid)
    ]
}

/// A copy that starts `offset` numbers after the start of an allocation.
struct Placed(Vec<f32>, usize);

impl Placed {
    fn new(values: &[f32], offset: usize) -> Placed {
        let mut all = vec![f32::NAN; offset + values.len() + 16];
        all[offset..offset + values.len()].copy_from_slice(values);
        Placed(all, values.len())
    }

    fn get(&self) -> &[f32] {
        let end = self.0.len() - 16;
        &self.0[end - self.1..end]
    }

    fn get_mut(&mut self) -> &mut [f32] {
        let end = self.0.len() - 16;
        &mut self.0[end - self.1..end]
    }

    /// The values; nothing around them was touched.
    fn take(self) -> Vec<f32> {
        let (start, end) = (self.0.len() - 16 - self.1, self.0.len() - 16);
        let around = self.0[..start].iter().chain(&self.0[end..]);
        assert!(around.copied().all(f32::is_nan), "written beyond a slice");
        self.0[start..end].to_vec()
    }
}

/// Runs on every path with slices at several places: the bits must be the same, and are returned.
#[track_caller]
fn anywhere(run: impl Fn(Path, usize) -> Vec<f32>) -> Vec<f32> {
    let first = run(Path::PLAIN, 0);
    for path in Path::all() {
        for offset in [0, 1, 7, 12] {
            let got = run(path, offset);
            assert_eq!(bits(&first), bits(&got), "{} at {offset}", path.name());
        }
    }
    first
}

fn activate(activation: Activation, v: f32) -> f32 {
    use crate::exact::math;
    match activation {
        Activation::Identity => v,
        Activation::Relu => {
            if v <= 0.0 {
                0.0
            } else {
                v
            }
        }
        Activation::Tanh => math::tanh(v),
        Activation::Sigmoid => math::sigmoid(v),
    }
}

/// The operands of a layer and of its gradients.
#[derive(Debug, Clone)]
pub(super) struct Operands {
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub b: Vec<f32>,
    pub dy: Vec<f32>,
    /// What the gradients' buffers hold before: of the weight, the bias, the input.
    pub old: [Vec<f32>; 3],
    pub activation: Activation,
}

fn operands(x: usize, w: usize, b: usize, y: usize) -> impl Strategy<Value = Operands> {
    let old = (numbers(w), numbers(b), numbers(x));
    (
        numbers(x),
        numbers(w),
        numbers(b),
        numbers(y),
        old,
        activation(),
    )
        .prop_map(|(x, w, b, dy, old, activation)| Operands {
            x,
            w,
            b,
            dy,
            old: [old.0, old.1, old.2],
            activation,
        })
}

/// Outputs, then all gradients, wherever the operands lie; once into buffers that hold something
/// and once into fresh ones, which must be as if zeros had been there.
pub(super) fn layer(
    all: &Operands,
    forward: impl Fn(Path, &Operands, &[f32], &[f32], &[f32], &mut [f32]),
    backward: impl Fn(Path, Backward<'_>),
) -> Vec<f32> {
    let y = anywhere(|path, at| {
        let (x, w, b) = (
            Placed::new(&all.x, at),
            Placed::new(&all.w, at),
            Placed::new(&all.b, at),
        );
        let mut y = Placed::new(&all.dy, at);
        forward(path, all, x.get(), w.get(), b.get(), y.get_mut());
        y.take()
    });
    let gradients = |how: Accumulate, old: &[Vec<f32>; 3]| {
        anywhere(|path, at| {
            let (x, w, y) = (
                Placed::new(&all.x, at),
                Placed::new(&all.w, at),
                Placed::new(&y, at),
            );
            let mut dy = Placed::new(&all.dy, at);
            let [mut dw, mut db, mut dx] = old.each_ref().map(|old| Placed::new(old, at));
            let gradient = |to| Gradient { to, how };
            backward(
                path,
                Backward {
                    x: x.get(),
                    w: w.get(),
                    y: y.get(),
                    activation: all.activation,
                    dy: dy.get_mut(),
                    dw: gradient(dw.get_mut()),
                    db: Some(gradient(db.get_mut())),
                    dx: Some(gradient(dx.get_mut())),
                },
            );
            dy.take();
            [dw.take(), db.take(), dx.take()].concat()
        })
    };
    gradients(Accumulate::Add, &all.old);
    let zeros = all.old.each_ref().map(|old| vec![0.0; old.len()]);
    let fresh = gradients(Accumulate::First, &all.old);
    assert_eq!(bits(&fresh), bits(&gradients(Accumulate::Add, &zeros)));
    y
}

fn dense_case() -> impl Strategy<Value = (usize, usize, Operands)> {
    (1usize..20, 1usize..40, 1usize..70)
        .prop_flat_map(|(n, i, o)| (Just(i), Just(o), operands(n * i, i * o, o, n * o)))
}

fn conv_case() -> impl Strategy<Value = (ConvShape, Operands)> {
    let sizes = (1usize..4, 3usize..9, 3usize..9, 1usize..6, 1usize..20);
    let kernel = (1usize..4, 1usize..4, 1usize..4, 0usize..3);
    (sizes, kernel).prop_flat_map(|((n, h, w, c, o), (kh, kw, stride, padding))| {
        let shape = ConvShape::new(
            image(h, w, c),
            o,
            (kh, kw),
            stride,
            padding.min(kh - 1).min(kw - 1),
        )
        .unwrap();
        let (x, y) = (n * shape.input().features(), n * shape.output().features());
        (Just(shape), operands(x, shape.weights(), o, y))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dense_layers_anywhere((inputs, outputs, all) in dense_case()) {
        let y = layer(
            &all,
            |path, all, x, w, b, y| dense::layer_forward(path, inputs, outputs, x, w, Some(b), all.activation, y),
            |path, from| dense::layer_backward(path, inputs, outputs, from),
        );
        // Fewer inputs than a block: one chain.
        let want: Vec<f32> = (0..y.len())
            .map(|at| {
                let row = &all.x[at / outputs * inputs..][..inputs];
                let terms = row.iter().enumerate().map(|(i, v)| (*v, all.w[i * outputs + at % outputs]));
                activate(all.activation, chain(all.b[at % outputs], terms))
            })
            .collect();
        prop_assert_eq!(bits(&y), bits(&want));
        // No NaN is lost on the way.
        for (r, row) in all.x.chunks(inputs).enumerate() {
            if row.iter().any(|v| v.is_nan()) {
                prop_assert!(y[r * outputs..][..outputs].iter().all(|v| v.is_nan()));
            }
        }
    }

    #[test]
    fn convolutions_anywhere((shape, all) in conv_case()) {
        let y = layer(
            &all,
            |path, all, x, w, b, y| conv::layer_forward(path, &shape, x, w, Some(b), all.activation, y),
            |path, from| conv::layer_backward(path, &shape, from),
        );
        let (img, out, (kh_n, kw_n), o) = (shape.input(), shape.output(), shape.kernel(), shape.output().channels);
        let want: Vec<f32> = (0..y.len())
            .map(|at| {
                let (position, q) = (at / o % out.positions(), at % o);
                let (oy, ox) = (position / out.width, position % out.width);
                let terms = (0..kh_n * kw_n * img.channels).map(|t| {
                    let (kh, kw, ch) = (t / img.channels / kw_n, t / img.channels % kw_n, t % img.channels);
                    let (py, px) = (oy * shape.stride() + kh, ox * shape.stride() + kw);
                    let inside = |p: usize, size: usize| p.checked_sub(shape.padding()).filter(|p| *p < size);
                    let value = match (inside(py, img.height), inside(px, img.width)) {
                        (Some(py), Some(px)) => {
                            let first = at / out.features() * img.features();
                            all.x[first + (py * img.width + px) * img.channels + ch]
                        }
                        // Padding is a zero that is multiplied: an infinite weight makes a NaN of
                        // it.
                        _ => 0.0,
                    };
                    (value, all.w[t * o + q])
                });
                activate(all.activation, in_blocks(64, all.b[q], terms))
            })
            .collect();
        prop_assert_eq!(bits(&y), bits(&want));
    }

    #[test]
    fn elementwise_anywhere((x, dy, old) in (0usize..100).prop_flat_map(|n| (numbers(n), numbers(n), numbers(n)))) {
        type Unary = (fn(Path, &[f32], &mut [f32]), Activation);
        let unary: [Unary; 3] = [
            (activation::relu, Activation::Relu),
            (activation::tanh, Activation::Tanh),
            (activation::sigmoid, Activation::Sigmoid),
        ];
        for (kernel, activation) in unary {
            let y = anywhere(|path, at| {
                let mut y = Placed::new(&old, at);
                kernel(path, Placed::new(&x, at).get(), y.get_mut());
                y.take()
            });
            let want: Vec<f32> = x.iter().map(|v| activate(activation, *v)).collect();
            prop_assert_eq!(bits(&y), bits(&want));
            prop_assert!(y.iter().zip(&x).all(|(y, x)| y.is_nan() == x.is_nan()));
        }
        type Binary = (fn(Path, &[f32], &[f32], &mut [f32]), fn(f32, f32, f32) -> f32);
        let binary: [Binary; 4] = [
            (activation::relu_backward, |y, dy, dx| dx + if y <= 0.0 { 0.0 } else { dy }),
            (activation::tanh_backward, |y, dy, dx| dx + dy * ((1.0 - y) * (1.0 + y))),
            (activation::sigmoid_backward, |y, dy, dx| dx + dy * (y * (1.0 - y))),
            (elementwise::add, |a, b, _| a + b),
        ];
        for (kernel, want) in binary {
            let got = anywhere(|path, at| {
                let mut to = Placed::new(&old, at);
                kernel(path, Placed::new(&x, at).get(), Placed::new(&dy, at).get(), to.get_mut());
                to.take()
            });
            let want: Vec<f32> = (0..x.len()).map(|i| want(x[i], dy[i], old[i])).collect();
            prop_assert_eq!(bits(&got), bits(&want));
        }
    }

    /// Softmax and cross-entropy: a NaN or `+∞` among the logits makes all of its row NaN; classes
    /// at `-∞` have probability 0, and the right one among them costs `∞`.
    #[test]
    fn losses_anywhere((classes, logits) in (1usize..20).prop_flat_map(|k| (Just(k), numbers(k)))) {
        let label = [classes as u32 / 2];
        let all = anywhere(|path, at| {
            let mut p = Placed::new(&logits, at);
            let loss = loss::forward(path, classes, Placed::new(&logits, at).get(), &label, 0.0, p.get_mut());
            let mut d = Placed::new(&vec![0.0; classes], at);
            loss::backward(path, classes, p.get(), &label, 0.0, 1.0, d.get_mut());
            [vec![loss], p.take(), d.take()].concat()
        });
        let p = &all[1..=classes];
        let lost = logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) || logits.iter().all(|l| *l == f32::NEG_INFINITY);
        if lost {
            prop_assert!(all.iter().all(|v| v.is_nan()));
        } else {
            prop_assert!(all.iter().all(|v| !v.is_nan()));
            prop_assert!(logits.iter().zip(p).all(|(l, p)| *l != f32::NEG_INFINITY || *p == 0.0));
            let of_label = logits[label[0] as usize];
            prop_assert!(all[0] >= 0.0 && (of_label != f32::NEG_INFINITY || all[0] == f32::INFINITY));
        }
    }
}

/// Nothing is flushed to zero: subnormal operands and results count, on every path and in every
/// thread of a pool.
#[test]
fn subnormal_numbers_are_kept() {
    let tiny = f32::from_bits(1);
    let sum = everywhere(|path| {
        let mut y = vec![0.0; 100_000];
        elementwise::add(
            path,
            &vec![tiny; y.len()],
            &vec![2.0 * tiny; y.len()],
            &mut y,
        );
        y
    });
    assert!(sum.iter().all(|v| *v == 3.0 * tiny));
    let product = everywhere(|path| {
        let mut y = vec![0.0; 64 * 40];
        let small = 1.5f32 * f32::MIN_POSITIVE;
        dense::forward(path, 3, 40, &[small; 64 * 3], &[0.25; 3 * 40], None, &mut y);
        y
    });
    // 3 · ¼ · 1.5 · 2^-126.
    assert!(product.iter().all(|v| *v == 1.125 * f32::MIN_POSITIVE));
    let small = anywhere(|path, _| {
        let mut y = vec![0.0; 20];
        dense::forward(path, 1, 1, &[f32::MIN_POSITIVE; 20], &[0.25], None, &mut y);
        y
    });
    assert!(small.iter().all(|v| v.to_bits() == 1 << 21));
}
