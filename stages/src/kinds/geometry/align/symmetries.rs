//! Which units of a network can change places without changing what it computes.
//!
//! Units that must move together (the outputs of one layer and the inputs of the next; both
//! summands of a residual block) are one group. Does not know which order is wanted.

use crate::failure::Failure;
use crate::nn::architecture::Architecture;
use crate::nn::layer::Layer;

/// Units in an order that nothing may change: the values of the input, the outputs.
pub const FIXED: usize = 0;

/// One axis of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The group of its units.
    pub group: usize,
    /// Neighbouring positions of each unit: the pixels of a channel that a dense layer reads.
    pub each: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Symmetries {
    /// Units of each group.
    pub sizes: Vec<usize>,
    /// The first two axes of each parameter, by position in [`Architecture::parameters`]; none
    /// where an axis does not run over units.
    pub axes: Vec<[Option<Axis>; 2]>,
}

impl Symmetries {
    /// Of a network.
    ///
    /// # Errors
    /// A layer whose units cannot change places.
    pub fn of(architecture: &Architecture) -> Result<Symmetries, Failure> {
        let mut walk = Walk {
            architecture,
            parents: vec![FIXED],
            sizes: vec![0],
            axes: vec![[None; 2]; architecture.parameters.len()],
        };
        let last = walk.layers(&architecture.layers, FIXED)?;
        walk.join(FIXED, last);
        let roots: Vec<usize> = (0..walk.parents.len()).map(|g| walk.root(g)).collect();
        let mut axes = walk.axes;
        for axis in axes.iter_mut().flatten().flatten() {
            axis.group = roots[axis.group];
        }
        Ok(Symmetries {
            sizes: walk.sizes,
            axes,
        })
    }

    /// The groups that can be moved.
    pub fn movable(&self) -> Vec<usize> {
        let axes = self.axes.iter().flatten().flatten();
        let mut groups: Vec<usize> = axes.map(|a| a.group).filter(|g| *g != FIXED).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

struct Walk<'a> {
    architecture: &'a Architecture,
    /// Of each group the one that it was joined to, or itself.
    parents: Vec<usize>,
    sizes: Vec<usize>,
    axes: Vec<[Option<Axis>; 2]>,
}

impl Walk<'_> {
    fn group(&mut self, size: usize) -> usize {
        self.sizes.push(size);
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    fn root(&self, mut group: usize) -> usize {
        while self.parents[group] != group {
            group = self.parents[group];
        }
        group
    }

    /// The smaller number stays, so that what is joined to the fixed units is fixed.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
    }

    fn length(&self, parameter: usize, axis: usize) -> usize {
        let shape = &self.architecture.parameters[parameter].shape;
        shape.get(axis).copied().unwrap_or(1)
    }

    /// The outputs of a layer with a weight; its inputs are of the group `from`.
    fn outputs(&mut self, weight: usize, bias: Option<usize>, from: usize) -> usize {
        let to = self.group(self.length(weight, 0));
        let units = self.sizes[from];
        let each = self.length(weight, 1).checked_div(units).unwrap_or(1);
        self.axes[weight] = [
            Some(Axis { group: to, each: 1 }),
            Some(Axis { group: from, each }),
        ];
        self.along(bias, to);
        to
    }

    /// A parameter with an element, or neighbouring ones, for each unit.
    fn along(&mut self, parameter: impl IntoIterator<Item = usize>, group: usize) {
        for parameter in parameter {
            self.axes[parameter][0] = Some(Axis { group, each: 1 });
        }
    }

    fn layers(&mut self, layers: &[Layer], mut at: usize) -> Result<usize, Failure> {
        for layer in layers {
            match layer {
                Layer::Dense { weight, bias, .. } => at = self.outputs(*weight, Some(*bias), at),
                Layer::Conv { weight, bias, .. } => at = self.outputs(*weight, *bias, at),
                Layer::Depthwise { weight, bias, .. } => {
                    self.along([*weight], at);
                    self.along(*bias, at);
                }
                Layer::BatchNorm { first, .. } => self.along(*first..*first + 4, at),
                Layer::GroupNorm { shape, first } => {
                    if shape.groups() != 1 {
                        return Err(Failure::new(
                            "the channels of a group norm belong to their groups, and cannot change places",
                        )
                        .hint("only networks without `group_norm` can be aligned"));
                    }
                    self.along(*first..*first + 2, at);
                }
                Layer::Recurrent { .. } | Layer::Lstm { .. } => {
                    return Err(Failure::new("a recurrent network cannot be aligned")
                        .hint("perceptrons, convolutional and residual networks can"));
                }
                Layer::Residual { body, shortcut, .. } => {
                    let body = self.layers(body, at)?;
                    let beside = self.layers(shortcut, at)?;
                    self.join(body, beside);
                    at = body;
                }
                Layer::Activation(_)
                | Layer::Dropout { .. }
                | Layer::MaxPool(_)
                | Layer::AveragePool(_)
                | Layer::GlobalAverage(_) => {}
            }
        }
        Ok(at)
    }
}
