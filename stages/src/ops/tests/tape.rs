//! What the tape promises: gradients of what is used twice add up, none is made that nobody needs,
//! and memory comes back.

use super::*;

#[test]
fn an_input_used_twice_gets_both_gradients() {
    let x = matrix(&[1.0, -2.0, 3.0], 1);
    let traced = x.clone().traced();
    let none = Activation::Identity;
    let branch = relu(traced.branch()).unwrap();
    let mut g = weighted(
        add(add(traced.branch(), branch, none).unwrap(), traced, none).unwrap(),
        &[1.0, 10.0, 100.0],
    );
    assert_eq!(gradient(&mut g, &x), [3.0, 20.0, 300.0]);
    let traced = x.clone().traced();
    let mut g = weighted(
        add(traced.branch(), traced, none).unwrap(),
        &[1.0, 1.0, 1.0],
    );
    assert_eq!(gradient(&mut g, &x), [2.0; 3]);
}

#[test]
fn a_weight_used_twice_and_a_second_pass_accumulate() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let shape = DenseShape::new(1, 1).unwrap();
    let two = |g: Gradients<f32, Cpu>| {
        let y = dense(
            x.clone().traced_into(g),
            &w,
            None,
            shape,
            Activation::Identity,
            InputGradient::Skip,
        )
        .unwrap();
        weighted(
            dense(
                y,
                &w,
                None,
                shape,
                Activation::Identity,
                InputGradient::Needed,
            )
            .unwrap(),
            &[1.0],
        )
    };
    // y = w²x: dy/dw = 2wx = 12.
    let mut g = two(Gradients::leaky());
    assert_eq!(gradient(&mut g, &w), [12.0]);
    // A second pass over the same leaves adds to their gradients.
    let g = two(Gradients::leaky());
    assert_eq!(gradient(&mut two(g), &w), [24.0]);
}

#[test]
fn a_skipped_input_gradient_is_not_made() {
    let (w, x) = (param(&[2.0]), matrix(&[3.0], 1));
    let y = dense(
        x.clone().traced(),
        &w,
        None,
        DenseShape::new(1, 1).unwrap(),
        Activation::Identity,
        InputGradient::Skip,
    )
    .unwrap();
    assert_eq!(gradient(&mut weighted(y, &[1.0]), &w), [3.0]);
    let w4 = param(&[1.0; 9]);
    let shape = ConvShape::new(
        Image {
            height: 3,
            width: 3,
            channels: 1,
        },
        1,
        (3, 3),
        1,
        1,
    )
    .unwrap();
    let x = matrix(&[1.0; 9], 1);
    let mut g = weighted(
        conv2d(
            x.clone().traced(),
            &w4,
            None,
            shape,
            Activation::Identity,
            InputGradient::Skip,
        )
        .unwrap(),
        &[1.0; 9],
    );
    assert!(take_input_gradient(&mut g, &x).unwrap().is_none());
    assert_eq!(
        gradient(&mut g, &w4),
        [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]
    );
}

/// After a pass every buffer but the leaves' gradients is back in the pool.
#[test]
fn memory_comes_back() {
    let pool = Pool::default();
    let device = Cpu::default();
    let (w, shape) = (param(&values(12, 1)), DenseShape::new(4, 3).unwrap());
    let mut held = Vec::new();
    for _ in 0..3 {
        let x = Matrix::written(&device, &pool, (2, 4), |x| x.fill(1.0)).unwrap();
        let y = dense(
            x.traced(),
            &w,
            None,
            shape,
            Activation::Relu,
            InputGradient::Skip,
        )
        .unwrap();
        let y = dropout(y, 0.5, &Stream::new(1, "op test", 0, 0)).unwrap();
        let loss = softmax_cross_entropy(y, &Labels::new(&[0, 2], 3).unwrap(), 0.0).unwrap();
        let mut g = loss.backward();
        assert!(take_gradient(&device, &pool, &mut g, &w).unwrap().is_some());
        assert!(take_gradient(&device, &pool, &mut g, &w).unwrap().is_none());
        held.push(pool.held());
    }
    assert_eq!(held[0], held[2]);
}
