//! The text that a device's compiler gets: one for all kernels, and with the constants of the CPU's
//! functions, so that both have the same polynomials.

use std::fmt::Write;

use repro_numerics::exact::{math, normal};

/// The words of the language, then what all use, then the ops.
const LANGUAGE: &str = include_str!("../kernels/language.h");
const EXACT: &str = include_str!("../kernels/exact.h");
const OPS: [&str; 12] = [
    include_str!("../kernels/product.h"),
    include_str!("../kernels/elementwise.h"),
    include_str!("../kernels/optim.h"),
    include_str!("../kernels/loss.h"),
    include_str!("../kernels/norm.h"),
    include_str!("../kernels/pool.h"),
    include_str!("../kernels/winograd.h"),
    include_str!("../kernels/depthwise.h"),
    include_str!("../kernels/group_norm.h"),
    include_str!("../kernels/gelu.h"),
    include_str!("../kernels/recurrent.h"),
    include_str!("../kernels/images.h"),
];

/// Items of a group that shares memory, on a GPU. A group of a CPU is one thread, so it has one item,
/// and its compiler gets `ITEMS=1`: items that wait for each other would each have a copy of all that
/// they know.
pub(crate) const ITEMS: usize = 256;

/// Neighbouring channels that an item of a CPU has, as in the text; an item of a GPU has one.
pub(crate) const LANES: usize = 8;

/// What NVIDIA's compiler is told: nothing is fused, flushed or approximated.
pub const CUDA_OPTIONS: &[&str] = &[
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
];

/// All kernels as NVIDIA's compiler made them for the oldest GPU that can run them; drivers compile
/// this for theirs. `tests/audit/made.rs` makes it, and sees that it is that of this text.
///
/// It ends with a zero, as drivers read it.
pub(crate) const PTX: &str = concat!(include_str!("../ptx/sm_70.ptx"), "\0");

/// All kernels, in OpenCL C and in CUDA C.
pub fn program() -> String {
    let mut text = String::from(LANGUAGE);
    text += &constants();
    text += EXACT;
    for op in OPS {
        text += op;
    }
    text
}

/// The constants and the series of [`math`] and [`normal`].
fn constants() -> String {
    let mut text = String::new();
    for (name, value) in [
        ("LOG2_E", std::f64::consts::LOG2_E),
        ("ROUND", math::ROUND),
        ("LN2_HIGH", math::LN2_HIGH),
        ("LN2_LOW", math::LN2_LOW),
        ("TANH_3", math::TANH[0]),
        ("TANH_5", math::TANH[1]),
        ("TANH_7", math::TANH[2]),
        ("NORMAL_FAR", normal::FAR),
        ("NORMAL_DENSITY", normal::DENSITY),
        ("TANH_SCALE", normal::TANH_SCALE),
        ("TANH_CUBE", normal::TANH_CUBE),
    ] {
        // The shortest decimal that is read as the same number; in parentheses for its sign.
        let _ = writeln!(text, "#define {name} ({value:e})");
    }
    for (name, bits) in [
        ("SQRT_HALF_BITS", math::SQRT_HALF),
        ("MANTISSA_BITS", math::MANTISSA),
        ("INFINITY_BITS", f64::INFINITY.to_bits()),
        ("NAN_BITS", f64::NAN.to_bits()),
    ] {
        let _ = writeln!(text, "#define {name} ((U64){bits:#X}UL)");
    }
    series(&mut text, "exp_series", &math::EXP);
    series(&mut text, "ln_series", &math::LN);
    series(&mut text, "mills_series", &normal::MILLS);
    text
}

/// A polynomial by Horner's rule, highest power first.
fn series(text: &mut String, name: &str, coefficients: &[f64]) {
    let _ = writeln!(text, "INLINE double {name}(double x)\n{{");
    for (i, c) in coefficients.iter().enumerate() {
        let _ = match i {
            0 => writeln!(text, "    double p = {c:e};"),
            _ => writeln!(text, "    p = p * x + {c:e};"),
        };
    }
    let _ = writeln!(text, "    return p;\n}}");
}
