//! Instances, made from the tied table.
//!
//! [`arrange`] sorts and numbers them, [`expand`] makes them one after the other, [`claims`] those
//! of claims; [`facts`] and [`idle`] look at what was made.

pub mod after;
pub mod arrange;
pub mod claims;
pub mod expand;
pub mod facts;
pub mod idle;
pub mod inputs;
pub mod known;
pub mod making;
pub mod order;
