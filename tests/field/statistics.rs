//! One action is one observation: counts, intervals and the training that they stand on.
