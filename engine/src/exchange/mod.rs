//! Exchange: results that go to a remote and come from one, outside of a run.
//!
//! [`way`] says which remote is meant and leads there, [`push()`] and [`pull()`] move results,
//! [`bring()`] gets what a use case is about to read, [`in_run()`] decides what a run does with a
//! remote, [`needed`] says there what this clone needs.

mod bring;
mod in_run;
pub mod needed;
mod pull;
mod push;
mod vouching;
pub mod way;

pub use bring::{Network, bring, bring_inputs, made_inputs};
pub use in_run::{Wishes, in_run};
pub use pull::{Pulled, pull};
pub use push::{Pushed, push};
pub use vouching::{NotMoved, signer, trust};
pub use way::{Way, Which};
