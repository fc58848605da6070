//! Where the elements of a parameter lie: in files as PyTorch has them, in memory as the kernels
//! want them.
//!
//! | parameter | file (PyTorch) | memory |
//! |---|---|---|
//! | dense weight | `[out, in]` | `[in, out]` |
//! | dense weight on a flattened image | `[out, c·h·w]`, inputs in (c, y, x) order | `[h·w·c, out]`, inputs in (y, x, c) order |
//! | convolution weight | `[out, in, kh, kw]` | `[kh, kw, in, out]` |
//! | anything else | one axis | the same |
//!
//! Converting moves numbers and computes nothing, so a round trip is the identity bit for bit.

/// How one parameter lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The same in files and in memory.
    Plain,
    /// A dense weight whose inputs are `positions` pixels of `channels` each (1 pixel where the
    /// input is no image).
    Dense {
        /// Output units.
        outputs: usize,
        /// Pixels of the input.
        positions: usize,
        /// Channels of every pixel.
        channels: usize,
    },
    /// A convolution weight.
    Conv {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
        /// kh · kw.
        taps: usize,
    },
}

impl Layout {
    /// Calls `visit(file index, memory index)` for every element.
    fn pairs(self, len: usize, mut visit: impl FnMut(usize, usize)) {
        match self {
            Layout::Plain => (0..len).for_each(|i| visit(i, i)),
            Layout::Dense {
                outputs,
                positions,
                channels,
            } => {
                for o in 0..outputs {
                    for c in 0..channels {
                        for p in 0..positions {
                            visit(
                                (o * channels + c) * positions + p,
                                (p * channels + c) * outputs + o,
                            );
                        }
                    }
                }
            }
            Layout::Conv {
                outputs,
                inputs,
                taps,
            } => {
                for o in 0..outputs {
                    for c in 0..inputs {
                        for t in 0..taps {
                            visit((o * inputs + c) * taps + t, (t * inputs + c) * outputs + o);
                        }
                    }
                }
            }
        }
    }

    /// From file order to memory order. Panics if the length is not the layout's: callers check
    /// shapes first.
    pub fn to_memory(self, file: &[f32]) -> Vec<f32> {
        let mut memory = vec![0.0; file.len()];
        self.pairs(file.len(), |f, m| memory[m] = file[f]);
        memory
    }

    /// From memory order to file order.
    pub fn to_file(self, memory: &[f32]) -> Vec<f32> {
        let mut file = vec![0.0; memory.len()];
        self.pairs(memory.len(), |f, m| file[f] = memory[m]);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn orders() {
        // two outputs, an image of two pixels with three channels; file value = 100 o + 10 c + p
        let layout = Layout::Dense {
            outputs: 2,
            positions: 2,
            channels: 3,
        };
        let file = [
            0., 1., 10., 11., 20., 21., 100., 101., 110., 111., 120., 121.,
        ];
        let memory = [
            0., 100., 10., 110., 20., 120., 1., 101., 11., 111., 21., 121.,
        ];
        assert_eq!(layout.to_memory(&file), memory);
        // one output, two inputs, two taps; file value = 10 c + t
        let layout = Layout::Conv {
            outputs: 1,
            inputs: 2,
            taps: 2,
        };
        assert_eq!(layout.to_memory(&[0., 1., 10., 11.]), [0., 10., 1., 11.]);
    }

    proptest! {
        #[test]
        fn round_trip(outputs in 1usize..5, positions in 1usize..6, channels in 1usize..5) {
            let file: Vec<f32> = (0..outputs * positions * channels).map(|i| i as f32).collect();
            for layout in [
                Layout::Plain,
                Layout::Dense { outputs, positions, channels },
                Layout::Conv { outputs, inputs: channels, taps: positions },
            ] {
                prop_assert_eq!(&layout.to_file(&layout.to_memory(&file)), &file);
            }
        }
    }
}
