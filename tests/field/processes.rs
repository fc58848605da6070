//! What was hashed is what was run: processes that outlive their stage, inputs that move, keys that leak.
