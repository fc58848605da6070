//! The optimizers' steps, a launch for each parameter.

use repro_numerics::kernels::optim::Rule;

use super::Done;
use crate::device::Device;
use crate::memory::Memory;

impl Device {
    /// Moves a parameter, then sets to 0 what is masked. `first` and `second` are what the rule
    /// remembers; a rule without momentum may have none.
    ///
    /// # Errors
    /// The device's own.
    ///
    /// # Panics
    /// Adam without its means.
    pub fn step(
        &self,
        rule: Rule,
        w: &mut Memory,
        first: Option<&mut Memory>,
        second: Option<&mut Memory>,
        gradient: &Memory,
        mask: Option<&Memory>,
    ) -> Done {
        let n = w.len();
        match rule {
            Rule::Sgd(rule) => {
                let (l2, shrink) = rule.decay.parts(rule.lr);
                let launch = self.kernel("sgd").writes(w, n).writes_some(first, n);
                let launch = launch.reads(gradient, n).reads_some(mask, n).int(n);
                let launch = launch
                    .float(rule.lr)
                    .float(rule.momentum)
                    .int(usize::from(rule.nesterov));
                launch.float(l2).float(shrink).for_each(n)
            }
            Rule::Adam(rule) => {
                let (Some(first), Some(second)) = (first, second) else {
                    panic!("Adam remembers two numbers of each weight");
                };
                let ((l2, shrink), scales) = (rule.decay.parts(rule.lr), rule.scales());
                let launch = self
                    .kernel("adam")
                    .writes(w, n)
                    .writes(first, n)
                    .writes(second, n);
                let launch = launch.reads(gradient, n).reads_some(mask, n).int(n);
                let launch = launch.float(scales.step).float(scales.root).float(rule.eps);
                let launch = launch
                    .float(scales.keep1)
                    .float(scales.keep2)
                    .float(rule.beta2);
                launch.float(l2).float(shrink).for_each(n)
            }
        }
    }
}
