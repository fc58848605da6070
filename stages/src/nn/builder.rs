//! Adds layers one by one, each fitted to what the last puts out, and names their parameters.

use super::layer::{Layer, Parameter, Role};
use super::layout::Layout;
use super::parts::{
    Activation, ConvLayerSpec, DepthwiseLayerSpec, LayerSpec, Padding, PoolSpec, PoolWindowSpec,
    Shortcut,
};
use crate::failure::Failure;
use crate::ops::{
    BadShape, ConvShape, DenseShape, DepthwiseShape, GroupNormShape, Image, NormShape, PoolShape,
    RecurrentShape,
};

/// Layers so far, and what they put out.
pub(super) struct Builder {
    pub(super) layers: Vec<Layer>,
    pub(super) parameters: Vec<Parameter>,
    /// The image at this point, or one position with as many channels as units.
    pub(super) image: Image,
    names: Names,
    dropouts: usize,
}

/// Names layers per sort in order of appearance: `conv1`, `bn1`, `conv2` ...; in a residual block
/// behind the block's name.
#[derive(Default)]
struct Names {
    /// Ends with a dot, or is empty.
    prefix: String,
    used: Vec<(&'static str, usize)>,
}

impl Names {
    fn next(&mut self, sort: &'static str) -> String {
        let at = self.used.iter().position(|(s, _)| *s == sort);
        let at = at.unwrap_or_else(|| {
            self.used.push((sort, 0));
            self.used.len() - 1
        });
        self.used[at].1 += 1;
        format!("{}{sort}{}", self.prefix, self.used[at].1)
    }
}

impl Builder {
    /// No layers yet.
    pub(super) fn new(image: Image) -> Builder {
        Builder {
            layers: Vec::new(),
            parameters: Vec::new(),
            image,
            names: Names::default(),
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

    /// A layer as the user wrote it.
    pub(super) fn layer(&mut self, layer: &LayerSpec) -> Result<(), Failure> {
        match layer {
            LayerSpec::Conv(c) => self.conv(c),
            LayerSpec::Depthwise(d) => self.depthwise(d),
            LayerSpec::BatchNorm(_) => {
                self.batch_norm();
                Ok(())
            }
            LayerSpec::LayerNorm(_) => self.layer_norm(),
            LayerSpec::GroupNorm(g) => self.group_norm(g.groups),
            LayerSpec::Activation(a) => {
                self.layers.push(Layer::Activation(*a));
                Ok(())
            }
            LayerSpec::Pool(p) => self.pool(*p),
            LayerSpec::Dropout(rate) => self.dropout(*rate),
            LayerSpec::Dense(n) => self.dense(*n),
            LayerSpec::Residual(r) => {
                let name = self.names.next("block");
                self.residual(&name, r.shortcut, r.activation, |b| {
                    for (i, layer) in r.layers.iter().enumerate() {
                        let before = b.image;
                        b.layer(layer).map_err(|e: Failure| {
                            e.within(&format!("its layer {} (input {before})", i + 1))
                        })?;
                    }
                    Ok(())
                })
            }
        }
    }

    pub(super) fn dense(&mut self, outputs: usize) -> Result<(), Failure> {
        let name = self.names.next("fc");
        self.named_dense(&name, outputs)
    }

    pub(super) fn named_dense(&mut self, name: &str, outputs: usize) -> Result<(), Failure> {
        let inputs = self.image.features();
        let shape = DenseShape::new(inputs, outputs)?;
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
        let bias = self.bias(name, outputs, inputs);
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

    /// Reads the rows of the image.
    pub(super) fn recurrent(&mut self, units: usize) -> Result<(), Failure> {
        let name = self.names.next("rnn");
        let shape = RecurrentShape::new(self.image, units)?;
        let row = (self.image.width, self.image.channels);
        let weight = self.recurrent_weight(&format!("{name}.input"), units, row);
        let recurrent = self.recurrent_weight(&format!("{name}.recurrent"), units, (1, units));
        let bias = self.bias(&format!("{name}.input"), units, shape.inputs());
        self.layers.push(Layer::Recurrent {
            shape,
            weight,
            bias,
            recurrent,
        });
        self.image = Image {
            height: 1,
            width: 1,
            channels: units,
        };
        Ok(())
    }

    /// Reads the rows of the image, with a memory.
    pub(super) fn lstm(&mut self, units: usize) -> Result<(), Failure> {
        let name = self.names.next("lstm");
        let shape = RecurrentShape::new(self.image, units)?;
        let row = (self.image.width, self.image.channels);
        let first = self.parameters.len();
        for gate in ["input", "forget", "cell", "output"] {
            let name = format!("{name}.{gate}");
            self.recurrent_weight(&format!("{name}.input"), units, row);
            self.bias(&name, units, shape.inputs());
            self.recurrent_weight(&format!("{name}.recurrent"), units, (1, units));
        }
        self.layers.push(Layer::Lstm { shape, first });
        self.image = Image {
            height: 1,
            width: 1,
            channels: units,
        };
        Ok(())
    }

    /// A weight that multiplies `positions` pixels of `channels` values, or a state.
    fn recurrent_weight(
        &mut self,
        name: &str,
        units: usize,
        (positions, channels): (usize, usize),
    ) -> usize {
        let inputs = positions * channels;
        let role = Role::Weight {
            fan_in: inputs,
            fan_out: units,
        };
        let layout = Layout::Dense {
            outputs: units,
            positions,
            channels,
        };
        self.add(format!("{name}.weight"), vec![units, inputs], role, layout)
    }

    fn bias(&mut self, layer: &str, outputs: usize, fan_in: usize) -> usize {
        let role = Role::Bias { fan_in };
        self.add(format!("{layer}.bias"), vec![outputs], role, Layout::Plain)
    }

    pub(super) fn conv(&mut self, conv: &ConvLayerSpec) -> Result<(), Failure> {
        let name = self.names.next("conv");
        self.named_conv(&name, conv)
    }

    fn named_conv(&mut self, name: &str, conv: &ConvLayerSpec) -> Result<(), Failure> {
        let (outputs, inputs, kernel) = (conv.channels, self.image.channels, conv.kernel);
        let padding = pixels(conv.padding, kernel)?;
        let shape = ConvShape::new(self.image, outputs, (kernel, kernel), conv.stride, padding)?;
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
        let bias = conv.bias.then(|| self.bias(name, outputs, taps * inputs));
        self.layers.push(Layer::Conv {
            shape,
            weight,
            bias,
        });
        self.image = shape.output();
        Ok(())
    }

    fn depthwise(&mut self, conv: &DepthwiseLayerSpec) -> Result<(), Failure> {
        let (channels, kernel) = (self.image.channels, conv.kernel);
        let padding = pixels(conv.padding, kernel)?;
        let shape = DepthwiseShape::new(self.image, (kernel, kernel), conv.stride, padding)?;
        // To PyTorch it is a `Conv2d`, and `_calculate_fan_in_and_fan_out` knows no groups.
        let name = self.names.next("conv");
        let taps = kernel * kernel;
        let role = Role::Weight {
            fan_in: taps,
            fan_out: taps * channels,
        };
        let weight = self.add(
            format!("{name}.weight"),
            vec![channels, 1, kernel, kernel],
            role,
            Layout::Conv {
                outputs: channels,
                inputs: 1,
                taps,
            },
        );
        let bias = conv.bias.then(|| self.bias(&name, channels, taps));
        self.layers.push(Layer::Depthwise {
            shape,
            weight,
            bias,
        });
        self.image = shape.output();
        Ok(())
    }

    pub(super) fn batch_norm(&mut self) {
        let name = self.names.next("bn");
        self.named_batch_norm(&name);
    }

    fn named_batch_norm(&mut self, name: &str) {
        let channels = self.image.channels;
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

    fn layer_norm(&mut self) -> Result<(), Failure> {
        let image = self.image;
        let shape = GroupNormShape::layer(image.features())?;
        let name = self.names.next("ln");
        let (sizes, layout) = if image.positions() == 1 {
            (vec![image.channels], Layout::Plain)
        } else {
            // As the inputs of one dense unit: (channel, row, column) in files, (row, column,
            // channel) in memory.
            let layout = Layout::Dense {
                outputs: 1,
                positions: image.positions(),
                channels: image.channels,
            };
            (vec![image.channels, image.height, image.width], layout)
        };
        self.gain_and_shift(&name, shape, sizes, layout);
        Ok(())
    }

    fn group_norm(&mut self, groups: usize) -> Result<(), Failure> {
        let shape = GroupNormShape::new(self.image, groups)?;
        let name = self.names.next("gn");
        self.gain_and_shift(&name, shape, vec![shape.channels()], Layout::Plain);
        Ok(())
    }

    fn gain_and_shift(
        &mut self,
        name: &str,
        shape: GroupNormShape,
        sizes: Vec<usize>,
        layout: Layout,
    ) {
        let first = self.add(format!("{name}.weight"), sizes.clone(), Role::Gain, layout);
        self.add(format!("{name}.bias"), sizes, Role::Shift, layout);
        self.layers.push(Layer::GroupNorm { shape, first });
    }

    /// A residual block of the layers that `body` adds; names within it begin with `name`.
    pub(super) fn residual(
        &mut self,
        name: &str,
        shortcut: Shortcut,
        activation: Option<Activation>,
        body: impl FnOnce(&mut Builder) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let names = Names {
            prefix: format!("{name}."),
            used: Vec::new(),
        };
        let outer = std::mem::replace(&mut self.names, names);
        let before = std::mem::take(&mut self.layers);
        let input = self.image;
        body(self)?;
        let output = self.image;
        let body = std::mem::take(&mut self.layers);
        match shortcut {
            Shortcut::Auto | Shortcut::Identity if input == output => {}
            Shortcut::Identity => {
                return Err(Failure::new(format!(
                    "its layers make {output} of {input}, which cannot be added"
                ))
                .hint("keep the size, or leave out `shortcut: identity`"));
            }
            Shortcut::Auto | Shortcut::Projection => {
                self.project(name, input, output)?;
                self.named_batch_norm(&format!("{name}.downsample.1"));
            }
            Shortcut::Convolution => self.project(name, input, output)?,
        }
        let shortcut = std::mem::replace(&mut self.layers, before);
        self.layers.push(Layer::Residual {
            body,
            shortcut,
            activation,
        });
        self.names = outer;
        Ok(())
    }

    /// The convolution that makes an image of `output`'s size of one of `input`'s: the first layer
    /// of torchvision's `downsample`.
    fn project(&mut self, block: &str, input: Image, output: Image) -> Result<(), Failure> {
        self.image = input;
        let conv = ConvLayerSpec {
            channels: output.channels,
            kernel: 1,
            stride: input.height.div_ceil(output.height),
            padding: Padding::Valid,
            bias: false,
        };
        self.named_conv(&format!("{block}.downsample.0"), &conv)?;
        if self.image != output {
            return Err(Failure::new(format!(
                "its layers make {output} of {input}, which no strided 1x1 convolution does"
            )));
        }
        Ok(())
    }

    pub(super) fn dropout(&mut self, rate: f64) -> Result<(), Failure> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Failure::new(format!(
                "dropout must be at least 0 and below 1, got {rate}"
            )));
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

    pub(super) fn pool(&mut self, pool: PoolSpec) -> Result<(), Failure> {
        let side_by_side = |n| PoolShape::new(self.image, n, n);
        let windows =
            |w: PoolWindowSpec| PoolShape::padded(self.image, w.kernel, w.stride, w.padding);
        let mut fitted = |shape: Result<PoolShape, BadShape>,
                          layer: fn(PoolShape) -> Layer|
         -> Result<Image, Failure> {
            let shape = shape?;
            self.layers.push(layer(shape));
            Ok(shape.output())
        };
        self.image = match pool {
            PoolSpec::Max(n) => fitted(side_by_side(n), Layer::MaxPool)?,
            PoolSpec::Average(n) => fitted(side_by_side(n), Layer::AveragePool)?,
            PoolSpec::MaxWindows(w) => fitted(windows(w), Layer::MaxPool)?,
            PoolSpec::AverageWindows(w) => fitted(windows(w), Layer::AveragePool)?,
            PoolSpec::GlobalAverage => {
                self.layers.push(Layer::GlobalAverage(self.image));
                Image {
                    height: 1,
                    width: 1,
                    channels: self.image.channels,
                }
            }
        };
        Ok(())
    }
}

/// How many zeros a side gets.
impl From<BadShape> for Failure {
    fn from(shape: BadShape) -> Failure {
        let failure = Failure::new(shape.to_string());
        match shape {
            BadShape::TooSmall { .. } => failure.hint(
                "images shrink with every pooling and unpadded convolution; see the guide to `train`",
            ),
            BadShape::Groups { channels, .. } => {
                let fitting = (1..=channels).filter(|n| channels.is_multiple_of(*n));
                let fitting: Vec<String> = fitting.map(|n| n.to_string()).collect();
                failure.hint(format!("give one of {}", fitting.join(", ")))
            }
            _ => failure,
        }
    }
}

fn pixels(padding: Padding, kernel: usize) -> Result<usize, Failure> {
    match padding {
        Padding::Same if kernel % 2 == 1 => Ok((kernel - 1) / 2),
        Padding::Same => Err(Failure::new(format!(
            "padding `same` needs an odd kernel, got {kernel}"
        ))),
        Padding::Valid => Ok(0),
        Padding::Pixels(n) => Ok(n),
    }
}
