//! What is known of outputs before anything runs, and the answers of kinds, remembered.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

/// What is known of the outputs of an instance, in their order.
pub type Outputs = Arc<[Option<Arc<Value>>]>;

/// By parameters, facts, files and axes of inputs, as places in memory: they are shared by
/// instances that are alike.
pub type Memory = HashMap<(usize, Vec<usize>), Remembered>;

/// An answer, and where what it complains of stands among all problems and warnings.
pub struct Remembered {
    pub(super) outputs: Outputs,
    pub(super) problems: Range<usize>,
    pub(super) warnings: Range<usize>,
}

/// Nothing is known.
pub fn nothing() -> Outputs {
    Arc::from([])
}
