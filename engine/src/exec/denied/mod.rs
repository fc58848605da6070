//! Which undeclared file or environment a failed command wanted: a guess from its log, and the line
//! that declares it.

mod environment;
mod scene;
mod wanted;

pub use environment::line as environment_line;
pub use scene::{Scene, yaml};
pub use wanted::wanted;
