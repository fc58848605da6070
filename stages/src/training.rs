//! Training: how long, how fast, in which order, what is kept fixed, and how to go on after a
//! break.

pub mod augment;
pub mod batches;
pub mod calibration;
pub mod clip;
pub mod evaluation;
mod failed;
pub mod fit;
pub mod gradients;
pub mod landscape;
pub mod later;
pub mod length;
pub mod mask;
pub mod measured;
pub mod memory;
pub mod optim;
pub mod pace;
pub mod pass;
pub mod patches;
pub mod patience;
pub mod recipe;
pub mod regularise;
mod room;
pub mod schedule;
pub mod state;
pub mod statistics;
pub mod step;
pub mod subnetwork;
pub mod trailing;
