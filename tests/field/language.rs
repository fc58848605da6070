//! What the pipeline file accepts, and what it says of mistakes before anything runs.
