//! Adds layers one by one, each fitted to what the last puts out, and names their parameters.

use super::architecture::{Layer, Parameter, Role};
use super::layout::Layout;
use super::spec::{BatchNormSpec, Padding, PoolSpec};
use crate::ops::{ConvShape, DenseShape, Image, NormShape, PoolShape};

/// Layers so far, and what they put out.
pub(super) struct Builder {
    pub(super) layers: Vec<Layer>,
    pub(super) parameters: Vec<Parameter>,
    /// The image at this point, or one position with as many channels as units.
    pub(super) image: Image,
    convs: usize,
    norms: usize,
    denses: usize,
    dropouts: usize,
}

impl Builder {
    /// No layers yet.
    pub(super) fn new(image: Image) -> Builder {
        Builder {
            layers: Vec::new(),
            parameters: Vec::new(),
            image,
            convs: 0,
            norms: 0,
            denses: 0,
            dropouts: 0,
        }
    }

    fn add(&mut self, name: String, shape: Vec<usize>, role: Role, layout: Layout) -> usize {
        self.parameters.push(Parameter {
            name,
            shape,
            role,
            layout,
        });
        self.parameters.len() - 1
    }

    pub(super) fn dense(&mut self, outputs: usize) -> Result<(), String> {
        let inputs = self.image.features();
        let shape = DenseShape::new(inputs, outputs).map_err(|e| e.to_string())?;
        self.denses += 1;
        let name = format!("fc{}", self.denses);
        let layout = Layout::Dense {
            outputs,
            positions: self.image.positions(),
            channels: self.image.channels,
        };
        let weight = self.add(
            format!("{name}.weight"),
            vec![outputs, inputs],
            Role::Weight {
                fan_in: inputs,
                fan_out: outputs,
            },
            layout,
        );
        let bias = self.add(
            format!("{name}.bias"),
            vec![outputs],
            Role::Bias { fan_in: inputs },
            Layout::Plain,
        );
        self.layers.push(Layer::Dense {
            shape,
            weight,
            bias,
        });
        self.image = Image {
            height: 1,
            width: 1,
            channels: outputs,
        };
        Ok(())
    }

    pub(super) fn conv(
        &mut self,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<(), String> {
        let padding = match padding {
            Padding::Same if kernel % 2 == 1 => (kernel - 1) / 2,
            Padding::Same => {
                return Err(format!("padding `same` needs an odd kernel, got {kernel}"));
            }
            Padding::Valid => 0,
            Padding::Pixels(n) => n,
        };
        let inputs = self.image.channels;
        let shape = ConvShape::new(self.image, outputs, (kernel, kernel), stride, padding)
            .map_err(|e| e.to_string())?;
        self.convs += 1;
        let name = format!("conv{}", self.convs);
        let taps = kernel * kernel;
        let role = Role::Weight {
            fan_in: taps * inputs,
            fan_out: taps * outputs,
        };
        let weight = self.add(
            format!("{name}.weight"),
            vec![outputs, inputs, kernel, kernel],
            role,
            Layout::Conv {
                outputs,
                inputs,
                taps,
            },
        );
        let bias = self.add(
            format!("{name}.bias"),
            vec![outputs],
            Role::Bias {
                fan_in: taps * inputs,
            },
            Layout::Plain,
        );
        self.layers.push(Layer::Conv {
            shape,
            weight,
            bias,
        });
        self.image = shape.output();
        Ok(())
    }

    pub(super) fn batch_norm(&mut self, BatchNormSpec {}: &BatchNormSpec) {
        let channels = self.image.channels;
        self.norms += 1;
        let name = format!("bn{}", self.norms);
        let mut add = |suffix: &str, role| {
            self.add(
                format!("{name}.{suffix}"),
                vec![channels],
                role,
                Layout::Plain,
            )
        };
        let first = add("weight", Role::Gain);
        add("bias", Role::Shift);
        add("running_mean", Role::RunningMean);
        add("running_var", Role::RunningVariance);
        self.layers.push(Layer::BatchNorm {
            shape: NormShape::new(channels, self.image.positions()),
            first,
        });
    }

    pub(super) fn dropout(&mut self, rate: f64) -> Result<(), String> {
        if !(0.0..1.0).contains(&rate) {
            return Err(format!(
                "dropout must be at least 0 and below 1, got {rate}"
            ));
        }
        if rate > 0.0 {
            self.layers.push(Layer::Dropout {
                rate: rate as f32,
                ordinal: self.dropouts,
            });
            self.dropouts += 1;
        }
        Ok(())
    }

    pub(super) fn pool(&mut self, pool: PoolSpec) -> Result<(), String> {
        match pool {
            PoolSpec::Max(n) | PoolSpec::Average(n) => {
                let shape = PoolShape::new(self.image, n, n).map_err(|e| e.to_string())?;
                self.layers.push(if matches!(pool, PoolSpec::Max(_)) {
                    Layer::MaxPool(shape)
                } else {
                    Layer::AveragePool(shape)
                });
                self.image = shape.output();
            }
            PoolSpec::GlobalAverage => {
                self.layers.push(Layer::GlobalAverage(self.image));
                self.image = Image {
                    height: 1,
                    width: 1,
                    channels: self.image.channels,
                };
            }
        }
        Ok(())
    }
}
