//! What a command sees of its inputs, and what it can reach beside them.
