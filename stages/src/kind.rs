//! What a kind is, and how the parameters of one are read. Knows no particular kind: those are in
//! [`crate::kinds`].

mod built_in;
mod check;
mod definition;
mod unlike;

pub use built_in::BuiltIn;
pub use check::{check, parse};
pub use definition::{Kind, Outputs, Place};
pub use repro_protocol::kind::{Checked, InputSpec, OutputSpec, ParamProblem, StatePoint};
pub(crate) use unlike::unlike;
