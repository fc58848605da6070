//! Chains of fused multiply-adds side by side: how many, and what their steps read. Knows not how a
//! step is computed.

/// Chains side by side in a run.
pub const WIDTH: usize = 16;

/// What [`Fma::run`](super::fma::Fma::run) reads.
#[derive(Debug, Clone, Copy)]
pub struct Run<const P: usize> {
    /// One value per row and step, at `offsets` plus steps.
    pub values: *const f32,
    /// Each row's first value.
    pub offsets: [usize; P],
    /// From one step's value to the next.
    pub step: usize,
    /// One line of [`WIDTH`] per step.
    pub weights: *const f32,
    /// From one line to the next.
    pub line: usize,
    /// Steps.
    pub len: usize,
    /// Chains of each row that are wanted, at most [`WIDTH`].
    pub used: usize,
    /// No step of these chains can overflow, meet an infinity or a NaN, or round a subnormal
    /// number.
    pub ordinary: bool,
}
