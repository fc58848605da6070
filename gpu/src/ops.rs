//! The ops: what each kernel is given. Their order of operations is that of the module of the same
//! name in `repro_numerics::kernels`.

mod conv;
mod dense;
mod depthwise;
mod elementwise;
mod group_norm;
mod loss;
mod lstm;
mod norm;
mod optim;
mod order;
mod pictures;
mod pool;
mod product;
mod recurrent;
mod sums;
mod winograd;

pub use group_norm::{GroupNormGradients, GroupStatistics};
pub use lstm::{LstmGate, LstmGateGradients, LstmGradients};
pub use norm::NormGradients;
pub use pictures::{Frame, Pictures};
pub use recurrent::RecurrentGradients;

use repro_numerics::kernels::activation::Activation;
use repro_numerics::kernels::gelu::Gelu;
use repro_numerics::kernels::layer::Accumulate;

use crate::fault::Fault;

/// An op that gives nothing back.
pub type Done = Result<(), Fault>;

/// As kernels number them (`kernels/language.h`).
fn number(activation: Activation) -> usize {
    match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Tanh => 2,
        Activation::Sigmoid => 3,
    }
}

/// As kernels number them (`kernels/gelu.h`).
fn number_of_gelu(which: Gelu) -> usize {
    match which {
        Gelu::Exact => 0,
        Gelu::Tanh => 1,
    }
}

/// The value is written.
const SET: usize = 0;
/// 0 is added, and it is written.
const ZERO_PLUS: usize = 1;
/// It is added to what is there.
const ADD: usize = 2;

fn store(how: Accumulate) -> usize {
    match how {
        Accumulate::First => ZERO_PLUS,
        Accumulate::Add => ADD,
    }
}
