//! Gradients of depthwise convolution, group and layer norm, GELU and soft labels.

use super::*;

#[test]
fn depthwise_gradients() {
    let shape = DepthwiseShape::new(
        Image {
            height: 4,
            width: 3,
            channels: 2,
        },
        (3, 2),
        2,
        1,
    )
    .unwrap();
    let (n, out) = (2, shape.output());
    let (xv, wv, bv) = (values(n * 24, 1), values(12, 2), values(2, 3));
    let cv = values(n * out.features(), 4);
    let (x, w, b) = (matrix(&xv, n), param(&wv), param(&bv));
    let (tanh, needed) = (Activation::Tanh, InputGradient::Needed);
    let y = depthwise_conv2d(x.clone().traced(), &w, Some(&b), shape, tanh, needed).unwrap();
    let mut g = weighted(y, &cv);
    let got = [
        gradient(&mut g, &x),
        gradient(&mut g, &w),
        gradient(&mut g, &b),
    ];
    check("depthwise", &[&xv, &wv, &bv], &got, &cv, |v| {
        let mut y = Vec::new();
        for i in 0..n {
            for at in 0..out.positions() {
                for c in 0..2 {
                    let mut sum = v[2][c];
                    for (kh, kw) in (0..3).flat_map(|kh| (0..2).map(move |kw| (kh, kw))) {
                        let row = (at / out.width * 2 + kh).checked_sub(1).filter(|r| *r < 4);
                        let column = (at % out.width * 2 + kw).checked_sub(1).filter(|r| *r < 3);
                        if let (Some(row), Some(column)) = (row, column) {
                            sum += v[0][i * 24 + (row * 3 + column) * 2 + c]
                                * v[1][(kh * 2 + kw) * 2 + c];
                        }
                    }
                    y.push(sum.tanh());
                }
            }
        }
        y
    });
}

#[test]
fn group_norm_gradients() {
    let image = Image {
        height: 2,
        width: 1,
        channels: 4,
    };
    let group = GroupNormShape::new(image, 2).unwrap();
    for shape in [group, GroupNormShape::layer(8).unwrap()] {
        let (n, c) = (3, shape.channels());
        let (xv, gv, bv, cv) = (
            values(n * 8, 1),
            values(c, 2),
            values(c, 3),
            values(n * 8, 4),
        );
        let (x, gamma, beta) = (matrix(&xv, n), param(&gv), param(&bv));
        let y = group_norm(x.clone().traced(), &gamma, &beta, shape).unwrap();
        let mut g = weighted(y, &cv);
        let got = [
            gradient(&mut g, &x),
            gradient(&mut g, &gamma),
            gradient(&mut g, &beta),
        ];
        check("group norm", &[&xv, &gv, &bv], &got, &cv, |v| {
            let size = c / shape.groups();
            let group = |e: usize| (e / 8, e % c / size);
            let mean = |e: usize, f: &dyn Fn(usize) -> f64| {
                let members: Vec<usize> = (0..n * 8).filter(|o| group(*o) == group(e)).collect();
                members.iter().map(|o| f(*o)).sum::<f64>() / members.len() as f64
            };
            let value = |e: usize| {
                let centre = mean(e, &|o| v[0][o]);
                let variance = mean(e, &|o| (v[0][o] - centre).powi(2));
                (v[0][e] - centre) / (variance + 1e-5).sqrt() * v[1][e % c] + v[2][e % c]
            };
            (0..n * 8).map(value).collect()
        });
    }
}

#[test]
fn gelu_gradients() {
    let (xv, cv) = (values(12, 1), values(12, 2));
    let x = matrix(&xv, 3);
    type Reference = fn(f64) -> f64;
    let exact: Reference = |x| x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
    let by_tanh: Reference = |x| {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    };
    for (which, reference) in [(Gelu::Exact, exact), (Gelu::Tanh, by_tanh)] {
        let y = gelu(x.clone().traced(), which).unwrap();
        let wide = xv.iter().map(|x| reference(f64::from(*x)));
        assert!(
            y.read()
                .iter()
                .zip(wide)
                .all(|(y, w)| (f64::from(*y) - w).abs() < 1e-7)
        );
        let got = [gradient(&mut weighted(y, &cv), &x)];
        check("gelu", &[&xv], &got, &cv, |v| {
            v[0].iter().map(|x| reference(*x)).collect()
        });
    }
}

#[test]
fn soft_labels_gradients() {
    let (xv, tv) = (
        values(12, 1),
        values(12, 2).iter().map(|t| t.abs()).collect::<Vec<_>>(),
    );
    let (x, targets) = (matrix(&xv, 3), matrix(&tv, 3));
    let loss = soft_cross_entropy(x.clone().traced(), &targets).unwrap();
    let got = [gradient(&mut loss.backward(), &x)];
    check("soft labels", &[&xv], &got, &[1.0], |v| {
        let rows = v[0].chunks(4).zip(tv.chunks(4));
        let loss = rows.map(|(row, t)| {
            let ln = row.iter().map(|l| l.exp()).sum::<f64>().ln();
            row.iter()
                .zip(t)
                .map(|(l, t)| f64::from(*t) * (ln - l))
                .sum::<f64>()
        });
        vec![loss.sum::<f64>() / 3.0]
    });
}

#[test]
fn squared_error_gradients() {
    let (xv, tv) = (values(12, 1), values(12, 2));
    let (x, targets) = (matrix(&xv, 3), matrix(&tv, 3));
    let absolute = absolute_error(&x, &targets).unwrap();
    let want: f64 = xv
        .iter()
        .zip(&tv)
        .map(|(x, t)| f64::from(*x) - f64::from(*t))
        .map(f64::abs)
        .sum();
    assert!((absolute - want).abs() < 1e-12, "{absolute} {want}");
    let loss = mean_squared_error(x.clone().traced(), &targets).unwrap();
    let got = [gradient(&mut loss.backward(), &x)];
    check("squared error", &[&xv], &got, &[1.0], |v| {
        let squares = v[0].iter().zip(&tv);
        let squares = squares.map(|(x, t)| (x - f64::from(*t)).powi(2));
        vec![squares.sum::<f64>() / 12.0]
    });
}
