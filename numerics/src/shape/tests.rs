//! Sizes against PyTorch's, and refusals.

use super::*;

const RGB: Image = Image {
    height: 32,
    width: 32,
    channels: 3,
};

#[test]
fn sizes_are_those_of_pytorch() {
    let out = |k, s, p| ConvShape::new(RGB, 8, (k, k), s, p).unwrap().output();
    assert_eq!(
        out(3, 1, 1),
        Image {
            height: 32,
            width: 32,
            channels: 8
        }
    );
    assert_eq!(out(3, 2, 1).height, 16);
    assert_eq!(out(5, 1, 0).height, 28);
    assert_eq!(out(1, 2, 0).height, 16);
    assert_eq!(PoolShape::new(RGB, 3, 2).unwrap().output().width, 15);
    assert_eq!(PoolShape::padded(RGB, 3, 2, 1).unwrap().output().width, 16);
    assert_eq!(PoolShape::global(RGB).unwrap().output().features(), 3);
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(
        ConvShape::new(RGB, 0, (3, 3), 1, 1),
        Err(BadShape::Zero("outputs"))
    );
    assert_eq!(
        ConvShape::new(RGB, 1, (3, 3), 0, 1),
        Err(BadShape::Zero("stride"))
    );
    assert!(matches!(
        ConvShape::new(RGB, 1, (33, 3), 1, 0),
        Err(BadShape::TooSmall { .. })
    ));
    assert!(matches!(
        ConvShape::new(RGB, 1, (3, 3), 1, 3),
        Err(BadShape::PaddingTooLarge { .. })
    ));
    assert_eq!(
        ConvShape::new(RGB, usize::MAX, (3, 3), 1, 1),
        Err(BadShape::TooLarge)
    );
    assert_eq!(
        ConvShape::new(RGB, 1, (3, 3), 1, usize::MAX),
        Err(BadShape::TooLarge)
    );
    assert!(matches!(
        PoolShape::padded(RGB, 3, 2, 2),
        Err(BadShape::PoolPadding { .. })
    ));
    assert!(matches!(
        GroupNormShape::new(RGB, 2),
        Err(BadShape::Groups { .. })
    ));
    assert_eq!(DenseShape::new(0, 4), Err(BadShape::Zero("inputs")));
    assert_eq!(DenseShape::new(1 << 40, 1 << 40), Err(BadShape::TooLarge));
}
