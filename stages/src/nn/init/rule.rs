//! The rules by name. What each does is in its family's file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::by_fan::{Distribution, InverseRoot, VarianceScaling, average, fan_in};
use super::draws::Draws;
use super::fixed::{NormalInit, RangeInit, UniformInit};
use super::fixup::Fixup;
use super::hadamard::Hadamard;
use super::identity::Identity;
use super::keras::Keras;
use super::orthogonal::{Gain, Orthogonal};
use super::sparse::SparseInit;
use super::torch::Torch;
use super::weight::Fills;

/// How weights start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// What `torch.nn.Linear` and `Conv2d` do: weights and biases U(-1/√fan_in, 1/√fan_in).
    #[default]
    Pytorch,
    /// He et al. 2015: U(-√(6/fan_in), √(6/fan_in)).
    KaimingUniform,
    /// He et al. 2015: N(0, 2/fan_in), not truncated (as PyTorch; Keras' `he_normal` is truncated,
    /// see `variance_scaling`).
    KaimingNormal,
    /// Glorot & Bengio 2010: U(±√(6/(fan_in+fan_out))). Keras' default.
    GlorotUniform,
    /// Glorot & Bengio 2010: N(0, 2/(fan_in+fan_out)), not truncated (as PyTorch).
    GlorotNormal,
    /// LeCun et al. 1998: U(±√(3/fan_in)).
    LecunUniform,
    /// LeCun et al. 1998: N(0, 1/fan_in), not truncated.
    LecunNormal,
    /// Keras' general rule; its `he_normal` is `{scale: 2, fan: in, distribution:
    /// truncated_normal}`.
    VarianceScaling(VarianceScaling),
    /// U(-limit, limit).
    Uniform(UniformInit),
    /// N(0, std²), not truncated.
    Normal(NormalInit),
    /// All weights this value.
    Constant(f64),
    /// Keras' `he_uniform`: U(±√(6/fan_in)).
    HeUniform,
    /// Keras' `he_normal`: variance 2/fan_in, truncated; `kaiming_normal` is not truncated.
    HeNormal,
    /// The textbooks' U(±√(1/m)) of `m` inputs (Goodfellow et al. 2016, eq. 8.22): the weights of
    /// `pytorch` with biases of 0.
    FanInUniform,
    /// U(low, high).
    UniformRange(RangeInit),
    /// Saxe et al. 2014: `[out, in·kh·kw]` has orthonormal rows (columns, where there are fewer),
    /// times `gain`. As `orthogonal_`, by an exact QR decomposition.
    Orthogonal(Gain),
    /// 1s times `gain` from input i to output i, in the middle of kernels: PyTorch's `eye_` and
    /// `dirac_` in one.
    Identity(Gain),
    /// Martens 2010: every *unit* has exactly so many incoming weights N(0, std²), the others are
    /// 0. PyTorch's `sparse_` (`{torch: {sparse_: ..}}`) thins out columns, which are inputs.
    Sparse(SparseInit),
    /// ZerO (Zhao et al. 2022), which draws nothing. Of m outputs and n inputs: the identity where
    /// m ≤ n, else the upper left part of the Hadamard matrix of p ≥ m rows (a power of 2) over √p,
    /// as in the authors' notebook; in the middle of kernels.
    Hadamard,
    /// Fixup (Zhang et al. 2019), for residual networks without normalisation. Of L blocks of m
    /// weights: a block's last weight and the classifier are 0, its others N(0,
    /// 2/fan_out)·L^(-1/(2m-2)), all others N(0, 2/fan_out), among them the convolutions of
    /// shortcuts where the width changes. The scalar biases and multipliers of the paper are no
    /// layers here: convolutions' own biases stand for the former, the latter are left out. A
    /// network without residual blocks, or with norms, is filled too, with a warning.
    Fixup,
    /// By Keras' own names; its normal ones by fans are truncated.
    Keras(Keras),
    /// By PyTorch's own names; its normal ones by fans are not truncated.
    Torch(Torch),
}

impl Init {
    /// What is wrong with the numbers, if anything.
    pub fn problem(self) -> Option<String> {
        match self {
            Init::Constant(c) if !c.is_finite() => {
                Some(format!("the constant must be finite, got {c}"))
            }
            _ => self.rule().problem(),
        }
    }

    pub(super) fn rule(self) -> Box<dyn Fills> {
        use Distribution::{Normal, TruncatedNormal, Uniform};
        match self {
            Init::Pytorch | Init::FanInUniform => Box::new(InverseRoot),
            Init::KaimingUniform | Init::HeUniform => Box::new(fan_in(2.0, Uniform)),
            Init::KaimingNormal => Box::new(fan_in(2.0, Normal)),
            Init::HeNormal => Box::new(fan_in(2.0, TruncatedNormal)),
            Init::GlorotUniform => Box::new(average(1.0, Uniform)),
            Init::GlorotNormal => Box::new(average(1.0, Normal)),
            Init::LecunUniform => Box::new(fan_in(1.0, Uniform)),
            Init::LecunNormal => Box::new(fan_in(1.0, Normal)),
            Init::VarianceScaling(v) => Box::new(v),
            Init::Uniform(u) => Box::new(u),
            Init::Normal(n) => Box::new(n),
            Init::Constant(c) => Box::new(Draws::Constant(c as f32)),
            Init::UniformRange(range) => Box::new(range),
            Init::Orthogonal(gain) => Box::new(Orthogonal(gain)),
            Init::Identity(gain) => Box::new(Identity(gain)),
            Init::Sparse(sparse) => Box::new(sparse),
            Init::Hadamard => Box::new(Hadamard),
            Init::Fixup => Box::new(Fixup),
            Init::Keras(keras) => keras.rule(),
            Init::Torch(torch) => torch.rule(),
        }
    }
}
