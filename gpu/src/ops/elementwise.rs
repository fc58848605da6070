//! Activations, GELU, sums, masks, averages, dropout.

use repro_numerics::exact::rng::Stream;
use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::gelu::Gelu;

use super::{Done, SET, ZERO_PLUS, number, number_of_gelu};
use crate::device::Device;
use crate::memory::Memory;

impl Device {
    /// `y = activation(x)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn activate(&self, activation: Activation, x: &Memory, y: &mut Memory) -> Done {
        let n = y.len();
        self.kernel("activate")
            .reads(x, n)
            .writes(y, n)
            .int(n)
            .int(number(activation))
            .for_each(n)
    }

    /// [`Device::activate`] where the values are.
    ///
    /// # Errors
    /// The device's own.
    pub fn activate_in_place(&self, activation: Activation, y: &mut Memory) -> Done {
        let n = y.len();
        self.kernel("activate")
            .writes(y, n)
            .again()
            .int(n)
            .int(number(activation))
            .for_each(n)
    }

    /// Turns the gradient of activations `y` into that of the sums, as a value added to 0; no
    /// activation leaves it as it is.
    ///
    /// # Errors
    /// The device's own.
    pub fn unactivate(&self, activation: Activation, y: Option<&Memory>, dy: &mut Memory) -> Done {
        let (n, Some(y)) = (dy.len(), y) else {
            return Ok(());
        };
        self.kernel("unactivate")
            .reads(y, n)
            .writes(dy, n)
            .int(n)
            .int(number(activation))
            .for_each(n)
    }

    /// `y = gelu(x)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn gelu(&self, which: Gelu, x: &Memory, y: &mut Memory) -> Done {
        let n = y.len();
        self.kernel("gelu")
            .reads(x, n)
            .writes(y, n)
            .int(n)
            .int(number_of_gelu(which))
            .for_each(n)
    }

    /// Turns the gradient of [`Device::gelu`] into that of `x`, as a value added to 0.
    ///
    /// # Errors
    /// The device's own.
    pub fn gelu_gradient(&self, which: Gelu, x: &Memory, dy: &mut Memory) -> Done {
        let n = dy.len();
        self.kernel("gelu_gradient")
            .reads(x, n)
            .writes(dy, n)
            .int(n)
            .int(number_of_gelu(which))
            .for_each(n)
    }

    /// `y = activation(a + b)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn add_activated(
        &self,
        a: &Memory,
        b: &Memory,
        activation: Activation,
        y: &mut Memory,
    ) -> Done {
        let n = y.len();
        let launch = self
            .kernel("add_activated")
            .reads(a, n)
            .reads(b, n)
            .writes(y, n);
        launch.int(n).int(number(activation)).for_each(n)
    }

    /// `to += from`.
    ///
    /// # Errors
    /// The device's own.
    pub fn accumulate(&self, from: &Memory, to: &mut Memory) -> Done {
        let n = to.len();
        self.kernel("accumulate")
            .reads(from, n)
            .writes(to, n)
            .int(n)
            .for_each(n)
    }

    /// `y = fma(scale, x, keep·y)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn scaled_add(&self, scale: f32, x: &Memory, keep: f32, y: &mut Memory) -> Done {
        let n = y.len();
        self.kernel("scaled_add")
            .float(scale)
            .reads(x, n)
            .float(keep)
            .writes(y, n)
            .int(n)
            .for_each(n)
    }

    /// `average = fma(1 - decay, x - average, average)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn average(&self, decay: f32, x: &Memory, average: &mut Memory) -> Done {
        let n = average.len();
        self.kernel("average")
            .float(1.0 - decay)
            .reads(x, n)
            .writes(average, n)
            .int(n)
            .for_each(n)
    }

    /// `values = 0` where the mask is 0.
    ///
    /// # Errors
    /// The device's own.
    pub fn mask(&self, mask: &Memory, values: &mut Memory) -> Done {
        let n = values.len();
        self.kernel("apply_mask")
            .reads(mask, n)
            .writes(values, n)
            .int(n)
            .for_each(n)
    }

    /// `values = held` where the mask is 0.
    ///
    /// # Errors
    /// The device's own.
    pub fn hold(&self, mask: &Memory, held: &Memory, values: &mut Memory) -> Done {
        let n = values.len();
        self.kernel("hold")
            .reads(mask, n)
            .reads(held, n)
            .writes(values, n)
            .int(n)
            .for_each(n)
    }

    /// Zeroes elements with probability `rate`, scales the others by `1/(1 - rate)`.
    ///
    /// # Errors
    /// The device's own.
    pub fn dropout(&self, rate: f32, stream: &Stream, x: &Memory, y: &mut Memory) -> Done {
        let n = y.len();
        let launch = self.kernel("dropout").float(rate);
        let launch = named(launch, stream).reads(x, n).writes(y, n);
        launch.int(n).int(SET).for_each(n)
    }

    /// Turns the gradient of [`Device::dropout`]'s output into that of its input, as a value added
    /// to 0.
    ///
    /// # Errors
    /// The device's own.
    pub fn dropout_gradient(&self, rate: f32, stream: &Stream, dy: &mut Memory) -> Done {
        let n = dy.len();
        let launch = self.kernel("dropout").float(rate);
        let launch = named(launch, stream).writes(dy, n).again();
        launch.int(n).int(ZERO_PLUS).for_each(n)
    }
}

use crate::launch::Launch;

fn named<'a>(launch: Launch<'a>, stream: &Stream) -> Launch<'a> {
    let ([key0, key1], [lane0, lane1]) = stream.name();
    launch.word(key0).word(key1).word(lane0).word(lane1)
}
