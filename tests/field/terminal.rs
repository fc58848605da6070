//! What is said, how much of it, and how wide.
