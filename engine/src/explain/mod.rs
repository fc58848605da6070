//! Explanations: why an instance is cached or will be executed, and what changed relative to which
//! earlier result.
//!
//! [`crate::change::changes`] works on the stored text of two keys and nothing else, so it explains
//! results of other machines as well. On it stands [`Explainer`], which asks the survey, the
//! journals and the trust file, and answers with data.

mod account;
mod explainer;
mod relative;
mod upstream;

pub use account::{Explanation, LastExecution, Made, OtherBits, ResultLine};
pub use explainer::Explainer;
pub use relative::{Relative, Resumption};
pub use upstream::Link;
