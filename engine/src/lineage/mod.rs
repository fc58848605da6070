//! Which gathered inputs come from one another.

mod kin;

pub use kin::{Kin, Lineage, kin, of};
