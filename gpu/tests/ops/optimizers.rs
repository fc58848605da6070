//! Steps of the optimizers, with masks.

use repro_numerics::kernels::Path;
use repro_numerics::kernels::optim::{Adam, Decay, Part, Rule, Sgd, step};

use super::*;

#[test]
fn steps() {
    let path = Path::current();
    let decays = [Decay::NONE, Decay::L2(0.01), Decay::Decoupled(0.02)];
    let sgd = decays.into_iter().flat_map(|decay| {
        [(0.0, false), (0.9, false), (0.9, true)].map(|(momentum, nesterov)| {
            Rule::Sgd(Sgd {
                lr: 0.1,
                momentum,
                nesterov,
                decay,
            })
        })
    });
    let adam = decays.into_iter().map(|decay| {
        Rule::Adam(Adam {
            lr: 0.001,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decay,
            corrections: (0.1, 0.001),
        })
    });
    let rules: Vec<Rule> = sgd.chain(adam).collect();
    everywhere(|on| {
        for (rule, n) in rules.iter().zip([1, 257, 300, 5, 1031].into_iter().cycle()) {
            for masked in [false, true] {
                let [mut w, mut first] = [1, 2].map(|seed| values(n, seed, true));
                let mut second: Vec<f32> = values(n, 3, false).iter().map(|v| v * v).collect();
                let gradient = values(n, 4, true);
                let mask: Vec<f32> = (0..n).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
                // A velocity that nobody needs is not kept.
                if matches!(rule, Rule::Sgd(sgd) if sgd.momentum == 0.0) {
                    first.clear();
                }
                let (mut far_w, mut far_first, mut far_second) =
                    (on.there(&w), on.there(&first), on.there(&second));
                let mut part = Part {
                    w: &mut w,
                    first: &mut first,
                    second: &mut second,
                    gradient: &gradient,
                    mask: masked.then_some(&mask),
                };
                if matches!(rule, Rule::Sgd(_)) {
                    part.second = &mut [];
                }
                step(path, *rule, &mut [part]);
                let far_mask = masked.then(|| on.there(&mask));
                let remembered = (!far_first.is_empty()).then_some(&mut far_first);
                let gradient = on.there(&gradient);
                on.device
                    .step(
                        *rule,
                        &mut far_w,
                        remembered,
                        Some(&mut far_second),
                        &gradient,
                        far_mask.as_ref(),
                    )
                    .unwrap();
                same(&format!("{rule:?}: weights"), &on.here(&far_w), &w);
                same(&format!("{rule:?}: first"), &on.here(&far_first), &first);
                same(&format!("{rule:?}: second"), &on.here(&far_second), &second);
            }
        }
    });
}
