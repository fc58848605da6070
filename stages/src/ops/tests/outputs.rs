//! What ops put out: literals, dropout, and an activation taken along.

use super::*;

#[test]
fn dropout_scales_what_it_keeps_and_masks_the_gradient_alike() {
    let x = matrix(&[1.0; 4000], 4);
    let stream = Stream::new(1, "dropout test", 0, 0);
    let y = dropout(x.clone().traced(), 0.25, &stream).unwrap();
    let kept = y.read().to_vec();
    let zeros = kept.iter().filter(|v| **v == 0.0).count();
    assert!((900..1100).contains(&zeros), "{zeros}");
    assert!(kept.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
    assert_eq!(gradient(&mut weighted(y, &[1.0; 4000]), &x), kept);
}

/// Worked out by hand.
#[test]
fn literals() {
    // [1 2; 3 4]·[1 0 2; -1 1 3] + [10 20 30]
    let shape = DenseShape::new(2, 3).unwrap();
    let y = dense(
        matrix(&[1.0, 2.0, 3.0, 4.0], 2),
        &param(&[1.0, 0.0, 2.0, -1.0, 1.0, 3.0]),
        Some(&param(&[10.0, 20.0, 30.0])),
        shape,
        Activation::Identity,
        InputGradient::Skip,
    );
    assert_eq!(*y.unwrap().read(), [9.0, 22.0, 38.0, 9.0, 24.0, 48.0]);
    // A 2x3 image under a 2x2 window, no padding, bias 1: 1·1 + 2·2 + 4·3 + 5·4 + 1, 2·1 + 3·2 +
    // 5·3 + 6·4 + 1.
    let shape = ConvShape::new(
        Image {
            height: 2,
            width: 3,
            channels: 1,
        },
        1,
        (2, 2),
        1,
        0,
    )
    .unwrap();
    let y = conv2d(
        matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1),
        &param(&[1.0, 2.0, 3.0, 4.0]),
        Some(&param(&[1.0])),
        shape,
        Activation::Identity,
        InputGradient::Skip,
    );
    assert_eq!(*y.unwrap().read(), [38.0, 48.0]);
    // The mean of 1, 3 is 2, the biased variance 1: ±1/√(1 + 1e-5); running: 0.9·0 + 0.1·2, 0.9·1 +
    // 0.1·2 (unbiased).
    let (y, stats) = batch_norm_train(
        matrix(&[1.0, 3.0], 2),
        &param(&[2.0]),
        &param(&[0.5]),
        NormShape::new(1, 1),
        Activation::Identity,
    )
    .unwrap();
    close(
        "norm",
        y.values(),
        &[0.5 - 2.0 * 0.999_995, 0.5 + 2.0 * 0.999_995],
    );
    let (mut mean, mut variance) = (param(&[0.0]), param(&[1.0]));
    let device = Cpu::default();
    stats
        .update_running(&device, 0.1, &mut mean, &mut variance)
        .unwrap();
    close(
        "running",
        &[mean.values()[0], variance.values()[0]],
        &[0.2, 1.1],
    );
    // A value alone has no variance: it moves nothing.
    let (_, stats) = batch_norm_train(
        matrix(&[9.0], 1),
        &param(&[2.0]),
        &param(&[0.5]),
        NormShape::new(1, 1),
        Activation::Identity,
    )
    .unwrap();
    let device = Cpu::default();
    stats
        .update_running(&device, 0.1, &mut mean, &mut variance)
        .unwrap();
    close(
        "running",
        &[mean.values()[0], variance.values()[0]],
        &[0.2, 1.1],
    );
    // Two equal logits: ln 2.
    let loss =
        softmax_cross_entropy(matrix(&[5.0, 5.0], 1), &Labels::new(&[1], 2).unwrap(), 0.0).unwrap();
    assert_eq!(loss.array(), std::f32::consts::LN_2);
    let y = global_avg_pool(
        matrix(&[1.0, 10.0, 3.0, 20.0], 1),
        Image {
            height: 1,
            width: 2,
            channels: 2,
        },
    )
    .unwrap();
    assert_eq!(**y.values(), [2.0, 15.0]);
}

/// An activation taken along has the bits of one behind, forward and backward.
#[test]
fn a_fused_activation_is_the_one_behind() {
    let img = Image {
        height: 4,
        width: 4,
        channels: 3,
    };
    let n = 5;
    let shape = ConvShape::new(img, 6, (3, 3), 1, 1).unwrap();
    let flat = DenseShape::new(img.features(), 7).unwrap();
    let norm = NormShape::new(3, 16);
    let xv = values(n * img.features(), 1);
    let (cw, cb) = (param(&values(shape.weights(), 2)), param(&values(6, 3)));
    let (dw, db) = (param(&values(flat.weights(), 4)), param(&values(7, 5)));
    let (gamma, beta) = (param(&values(3, 6)), param(&values(3, 7)));
    let (mean, variance) = (param(&values(3, 8)), param(&[0.5, 1.0, 2.0]));
    let needed = InputGradient::Needed;
    for activation in [Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        type Layer<'a> = &'a dyn Fn(Taped, Activation) -> Taped;
        let layers: [(Layer, [&Param<Cpu>; 2]); 5] = [
            (
                &|x, a| conv2d(x, &cw, Some(&cb), shape, a, needed).unwrap(),
                [&cw, &cb],
            ),
            (
                &|x, a| dense(x, &dw, Some(&db), flat, a, needed).unwrap(),
                [&dw, &db],
            ),
            (
                &|x, a| batch_norm_train(x, &gamma, &beta, norm, a).unwrap().0,
                [&gamma, &beta],
            ),
            (
                &|x, a| batch_norm_eval(x, &gamma, &beta, &mean, &variance, norm, a).unwrap(),
                [&gamma, &beta],
            ),
            (
                &|x, a| add(x.branch(), tanh(x).unwrap(), a).unwrap(),
                [&gamma, &beta],
            ),
        ];
        for (i, (layer, params)) in layers.iter().enumerate() {
            let run = |fused: bool| {
                let x = matrix(&xv, n);
                let y = match fused {
                    true => layer(x.clone().traced(), activation),
                    false => activate(layer(x.clone().traced(), Activation::Identity), activation)
                        .unwrap(),
                };
                let value = y.read().to_vec();
                let mut g = weighted(y, &values(value.len(), 9));
                let [a, b] = params.map(|p| gradient(&mut g, p));
                [value, gradient(&mut g, &x), a, b]
            };
            let bits =
                |all: [Vec<f32>; 4]| all.map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            assert_eq!(
                bits(run(true)),
                bits(run(false)),
                "layer {i}, {activation:?}"
            );
        }
    }
}
