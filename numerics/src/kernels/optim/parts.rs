//! All parameters of a network in one call: who updates what.

use crate::kernels::parallel::{self, Halves};
use crate::kernels::shard::elements_per_piece;

/// One parameter, or a piece of it, in an optimizer's step.
#[derive(Debug)]
pub struct Part<'a> {
    /// The weights.
    pub w: &'a mut [f32],
    /// Momentum or mean of gradients; as long as `w`, or empty.
    pub first: &'a mut [f32],
    /// Mean of squares; as long as `w`, or empty.
    pub second: &'a mut [f32],
    /// As long as `w`.
    pub gradient: &'a [f32],
    /// Where it is 0, weights and memory become 0.
    pub mask: Option<&'a [f32]>,
}

impl Part<'_> {
    fn check(&self) {
        let len = self.w.len();
        let fits = |other: usize| other == len || other == 0;
        assert!(
            self.gradient.len() == len && self.mask.is_none_or(|m| m.len() == len),
            "optimizer: lengths"
        );
        assert!(
            fits(self.first.len()) && fits(self.second.len()),
            "optimizer: lengths"
        );
    }

    /// Shows the mask, if there is one, to weights and memory.
    pub(super) fn each_masked(&mut self, work: impl Fn(&[f32], &mut [f32])) {
        let Some(mask) = self.mask else {
            return;
        };
        for values in [&mut *self.w, self.first, self.second] {
            if !values.is_empty() {
                work(mask, values);
            }
        }
    }

    /// The same elements, for a shorter time.
    fn borrow(&mut self) -> Part<'_> {
        Part {
            w: self.w,
            first: self.first,
            second: self.second,
            gradient: self.gradient,
            mask: self.mask,
        }
    }
}

impl<'a> Part<'a> {
    /// The first half of the elements, and the rest.
    fn halve(self) -> [Part<'a>; 2] {
        fn cut(values: &mut [f32], at: usize) -> (&mut [f32], &mut [f32]) {
            let at = at.min(values.len());
            values.split_at_mut(at)
        }
        let at = self.w.len() / 2 / 16 * 16;
        let (w, first, second) = (
            self.w.split_at_mut(at),
            cut(self.first, at),
            cut(self.second, at),
        );
        let gradient = self.gradient.split_at(at);
        let mask = self.mask.map(|m| m.split_at(at));
        [
            Part {
                w: w.0,
                first: first.0,
                second: second.0,
                gradient: gradient.0,
                mask: mask.map(|m| m.0),
            },
            Part {
                w: w.1,
                first: first.1,
                second: second.1,
                gradient: gradient.1,
                mask: mask.map(|m| m.1),
            },
        ]
    }
}

/// Runs `work` on all parts, by several threads: small ones together, large ones in pieces.
pub(super) fn shared(parts: &mut [Part<'_>], work: &(impl Fn(&mut Part<'_>) + Sync)) {
    let len: usize = parts.iter().map(|p| p.w.len()).sum();
    parts.iter().for_each(Part::check);
    parallel::halves(Work::All(parts, len), &Work::cut, &|task| match task {
        Work::All(parts, _) => parts.iter_mut().for_each(work),
        Work::Piece(mut part) => work(&mut part),
    });
}

/// What is left to share out.
enum Work<'b, 'a> {
    /// Parameters, with so many elements in all.
    All(&'b mut [Part<'a>], usize),
    /// Some elements of one.
    Piece(Part<'b>),
}

impl<'b> Work<'b, '_> {
    fn cut(self) -> Halves<Self> {
        let (parts, len) = match self {
            Work::All(parts, len) if elements_per_piece(len) < len => (parts, len),
            Work::Piece(part) if elements_per_piece(part.w.len()) < part.w.len() => {
                return Work::pieces(part.halve());
            }
            task => return Halves::One(task),
        };
        if parts.len() == 1 {
            return Work::pieces(parts[0].borrow().halve());
        }
        let (mut before, mut count) = (0, 0);
        while count + 1 < parts.len() && (count == 0 || before + parts[count].w.len() <= len / 2) {
            before += parts[count].w.len();
            count += 1;
        }
        let (a, b) = parts.split_at_mut(count);
        Halves::Two(Work::All(a, before), Work::All(b, len - before))
    }

    fn pieces([a, b]: [Part<'b>; 2]) -> Halves<Self> {
        Halves::Two(Work::Piece(a), Work::Piece(b))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Adam, Decay, Sgd, adam_all, sgd_all};
    use super::*;
    use crate::kernels::Path;

    const LENGTHS: [usize; 8] = [3, 70_001, 1, 0, 200_000, 17, 65_536, 40];
    /// The parameter that has a mask.
    const MASKED: usize = 4;

    #[derive(Clone, Copy)]
    enum Rule {
        Plain,
        Momentum,
        Adam,
    }

    fn values(seed: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 7 + seed * 13) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// Weights and memories after a step; the parameters in one call, or one after the other.
    fn step(rule: Rule, threads: usize, together: bool) -> Vec<[Vec<f32>; 3]> {
        let memories = match rule {
            Rule::Plain => [0, 0],
            Rule::Momentum => [1, 0],
            Rule::Adam => [1, 1],
        };
        let start = |len: &usize| {
            [
                values(1, *len),
                vec![0.5; memories[0] * len],
                vec![0.25; memories[1] * len],
            ]
        };
        let mut states: Vec<[Vec<f32>; 3]> = LENGTHS.iter().map(start).collect();
        let gradients: Vec<Vec<f32>> = LENGTHS.iter().map(|l| values(2, *l)).collect();
        let mask: Vec<f32> = (0..LENGTHS[MASKED])
            .map(|i| f32::from(i % 3 != 0))
            .collect();
        let part = |(i, (state, gradient)): (usize, (_, _))| {
            let [w, first, second]: &mut [Vec<f32>; 3] = state;
            let gradient: &Vec<f32> = gradient;
            let mask = (i == MASKED).then_some(&mask[..]);
            Part {
                w,
                first,
                second,
                gradient,
                mask,
            }
        };
        let mut parts: Vec<Part> = states
            .iter_mut()
            .zip(&gradients)
            .enumerate()
            .map(part)
            .collect();
        let decay = Decay::L2(0.01);
        let run = |parts: &mut [Part<'_>]| match rule {
            Rule::Adam => {
                let rule = Adam {
                    lr: 0.1,
                    beta1: 0.9,
                    beta2: 0.99,
                    eps: 1e-8,
                    decay,
                    corrections: (0.1, 0.01),
                };
                adam_all(Path::current(), rule, parts);
            }
            _ => {
                let momentum = memories[0] as f32 * 0.9;
                sgd_all(
                    Path::current(),
                    Sgd {
                        lr: 0.1,
                        momentum,
                        nesterov: false,
                        decay,
                    },
                    parts,
                );
            }
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| match together {
            true => run(&mut parts),
            false => parts.chunks_mut(1).for_each(run),
        });
        drop(parts);
        states
    }

    #[test]
    fn parameters_together_are_updated_as_alone() {
        for rule in [Rule::Plain, Rule::Momentum, Rule::Adam] {
            let alone = step(rule, 1, false);
            let mut masked = alone[MASKED]
                .iter()
                .flat_map(|values| values.iter().step_by(3));
            assert!(masked.all(|v| v.to_bits() == 0));
            assert!(alone[MASKED][0][1] != 0.0);
            for threads in [1, 2, 3, 8] {
                assert!(step(rule, threads, true) == alone, "{threads} threads");
            }
        }
    }
}
