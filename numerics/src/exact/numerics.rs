//! Which contract arithmetic keeps. Results of different classes never stand for one another.

/// A numerics class. Its name is part of every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numerics {
    /// Every output is one sequence of IEEE operations in f32, which depends on shapes alone: the
    /// same bits on every device and any number of threads.
    ExactF32,
}

impl Numerics {
    /// As in keys.
    pub const fn name(self) -> &'static str {
        match self {
            Numerics::ExactF32 => "exact-f32-v1",
        }
    }
}
