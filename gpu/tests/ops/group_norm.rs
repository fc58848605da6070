//! Group norm and layer norm: groups of one channel and of more than sums are added up in, blocks of
//! positions with a tail, batches with several shards.

use repro_gpu::{GroupNormGradients, GroupStatistics};
use repro_numerics::kernels::layer::{Accumulate, Gradient};
use repro_numerics::kernels::{Path, group_norm};
use repro_numerics::shape::{GroupNormShape, Image};

use super::*;

const EPS: f32 = 1e-5;

fn shapes() -> Vec<(usize, GroupNormShape)> {
    let of = |height, width, channels, groups| {
        let image = Image {
            height,
            width,
            channels,
        };
        GroupNormShape::new(image, groups).unwrap()
    };
    let layer = |features| GroupNormShape::layer(features).unwrap();
    vec![
        (1, of(1, 1, 1, 1)),
        (7, of(3, 5, 6, 2)),
        (70, of(5, 4, 3, 3)),
        (3, of(7, 11, 34, 2)),
        (2, of(9, 9, 20, 1)),
        (5, layer(1)),
        (33, layer(37)),
        (2, layer(256)),
    ]
}

#[test]
fn there_and_back() {
    let path = Path::current();
    everywhere(|on| {
        for (which, (images, shape)) in shapes().into_iter().enumerate() {
            let name = format!("{images} of {shape:?}");
            let (n, c) = (images * shape.features(), shape.channels());
            let (x, dy) = (values(n, 1, false), values(n, 2, which % 3 == 1));
            let [gamma, beta] = [3, 4].map(|seed| values(c, seed, false));
            let far_x = on.there(&x);
            let [far_gamma, far_beta] = [&gamma, &beta].map(|values| on.there(values));
            let [mut mean, mut r] = [0; 2].map(|_| vec![0.0; images * shape.groups()]);
            let (mut far_mean, mut far_r) = (on.there(&mean), on.there(&r));
            let (mut y, mut far_y) = (vec![0.0; n], on.there(&x));
            let to = group_norm::StatisticsMut {
                mean: &mut mean,
                inverse_deviation: &mut r,
            };
            group_norm::forward(path, &shape, EPS, &x, &gamma, &beta, &mut y, to);
            let to = GroupStatistics {
                mean: &mut far_mean,
                inverse_deviation: &mut far_r,
            };
            let of_channels = [&far_gamma, &far_beta];
            on.device
                .group_norm(&on.pool, &shape, EPS, &far_x, of_channels, to, &mut far_y)
                .unwrap();
            same(&format!("{name}: mean"), &on.here(&far_mean), &mean);
            same(&format!("{name}: deviation"), &on.here(&far_r), &r);
            same(&name, &on.here(&far_y), &y);

            for how in [Accumulate::First, Accumulate::Add] {
                let [mut dgamma, mut dbeta] = [5, 6].map(|seed| values(c, seed, false));
                let (mut far_dgamma, mut far_dbeta) = (on.there(&dgamma), on.there(&dbeta));
                let (mut here, mut far) = (dy.clone(), on.there(&dy));
                let of = |to| Gradient { to, how };
                let from = group_norm::Backward {
                    x: &x,
                    statistics: group_norm::Statistics {
                        mean: &mean,
                        inverse_deviation: &r,
                    },
                    gamma: &gamma,
                    dy: &mut here,
                    dgamma: of(&mut dgamma),
                    dbeta: of(&mut dbeta),
                };
                group_norm::backward(path, &shape, from);
                let from = GroupNormGradients {
                    x: &far_x,
                    statistics: GroupStatistics {
                        mean: &far_mean,
                        inverse_deviation: &far_r,
                    },
                    gamma: &far_gamma,
                    dy: &mut far,
                    dgamma: (&mut far_dgamma, how),
                    dbeta: (&mut far_dbeta, how),
                };
                on.device
                    .group_norm_gradients(&on.pool, &shape, from)
                    .unwrap();
                same(&format!("{name}: gradient"), &on.here(&far), &here);
                same(&format!("{name}: gamma"), &on.here(&far_dgamma), &dgamma);
                same(&format!("{name}: beta"), &on.here(&far_dbeta), &dbeta);
            }
        }
    });
}
