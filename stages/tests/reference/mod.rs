//! Reads what the scripts beside this file recorded, and draws the inputs they drew.

#![allow(dead_code)] // every test file uses its own part

pub mod small;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A fixture below `stages/tests/reference`.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reference")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `drawn.unit`: multiples of 2^-23 in [-1, 1), named by the fixture.
pub fn unit(name: &str, len: usize) -> Vec<f32> {
    let key = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |key, byte| {
        (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let draw = |i: u64| {
        let mut z = key.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..len as u64).map(draw).collect()
}

/// The recorded cases of one subject.
#[derive(Deserialize)]
pub struct Cases {
    pub cases: Vec<Case>,
}

/// An op on given inputs.
#[derive(Deserialize)]
pub struct Case {
    /// Names its draws.
    pub case: String,
    pub op: String,
    pub options: Value,
    /// Shapes as PyTorch has them.
    pub inputs: BTreeMap<String, Vec<usize>>,
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
struct Output {
    shape: Vec<usize>,
    f64: Vec<f64>,
    /// How far PyTorch's f32 is from that at most.
    f32_error: f64,
}

impl Case {
    /// A drawn input, or the weight `d<output>` of the sum whose gradients were recorded.
    pub fn draw(&self, name: &str) -> Vec<f32> {
        let output = name.strip_prefix('d').and_then(|o| self.outputs.get(o));
        let shape = self
            .inputs
            .get(name)
            .or(output.map(|o| &o.shape))
            .unwrap_or_else(|| panic!("{}: no `{name}`", self.case));
        unit(&format!("{}/{name}", self.case), shape.iter().product())
    }

    /// The shape of an input.
    pub fn shape<const N: usize>(&self, name: &str) -> [usize; N] {
        self.inputs[name][..].try_into().unwrap()
    }

    /// An option that is a count.
    pub fn count(&self, option: &str) -> usize {
        self.options[option].as_u64().unwrap() as usize
    }

    /// Values in PyTorch's order are about as near to f64 as PyTorch's f32: at most twice as far,
    /// and four units in the last place of the largest element. The largest of some tens of
    /// rounding errors is a matter of luck, and the longest sums here, of 150 terms, are one chain
    /// with us and eight or more with PyTorch. A wrong formula is off by far more; how accurate the
    /// sums of real layers are is measured by examples/accuracy.rs.
    #[track_caller]
    pub fn assert_near(&self, name: &str, got: &[f32]) {
        let want = &self.outputs[name];
        let scale = want.f64.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let bound = 2.0 * want.f32_error + 4.0 * scale * f64::from(f32::EPSILON);
        assert_eq!(got.len(), want.f64.len(), "{} {name}", self.case);
        for (i, (got, want)) in got.iter().zip(&want.f64).enumerate() {
            let error = (f64::from(*got) - want).abs();
            // written so that NaN fails
            assert!(
                error <= bound,
                "{} {} {}: {name}[{i}] is {got}, in f64 {want}: off by {error:e}, more than {bound:e}",
                self.case,
                self.op,
                self.options
            );
        }
    }
}

/// `[n, c, h, w]` to `[n, h, w, c]`.
pub fn to_nhwc([_, c, h, w]: [usize; 4], nchw: &[f32]) -> Vec<f32> {
    let image = |image: &[f32]| -> Vec<f32> {
        (0..h * w * c)
            .map(|i| image[i % c * h * w + i / c])
            .collect()
    };
    nchw.chunks_exact(c * h * w).flat_map(image).collect()
}

/// `[n, h, w, c]` to `[n, c, h, w]`.
pub fn to_nchw([_, c, h, w]: [usize; 4], nhwc: &[f32]) -> Vec<f32> {
    let image = |image: &[f32]| -> Vec<f32> {
        (0..h * w * c)
            .map(|i| image[i % (h * w) * c + i / (h * w)])
            .collect()
    };
    nhwc.chunks_exact(c * h * w).flat_map(image).collect()
}
