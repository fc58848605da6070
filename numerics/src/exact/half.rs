//! Short floats as f32, exactly: IEEE 754's half precision and bfloat16.

/// The f32 of an f16's bits; every f16 is one.
pub fn from_f16(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction / 16_777_216.0,
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0f32.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The f32 of a bfloat16's bits: its first half.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What NumPy (`np.float16`) and PyTorch (`torch.bfloat16`) make of these bits.
    #[test]
    fn known_values() {
        for (bits, want) in [
            (0x3c00, 1.0),
            (0xc500, -5.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x7bff, 65504.0),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), want, "{bits:04x}");
        }
        assert!(from_f16(0x7e00).is_nan() && from_f16(0x8000).is_sign_negative());
        for (bits, want) in [(0x3f80, 1.0), (0xc0a0, -5.0), (0x7f7f, 3.389_531_4e38)] {
            assert_eq!(from_bf16(bits), want, "{bits:04x}");
        }
        assert!(from_bf16(0x7fc0).is_nan());
    }
}
