//! What is written, tied to what it means: stages and their rows, references to producers,
//! commands, claims.
//!
//! [`stages`] and [`matrix`] say which instances there are, since a name stands for rows;
//! [`needs`], [`after`] and [`refs`] tie names to them, [`work`] says what a stage does. No
//! instance is made here.

pub mod after;
pub mod axis;
pub mod claims;
pub mod command;
pub mod config;
pub mod consumer;
pub mod declared;
pub mod existing;
pub mod figures;
pub mod filling;
pub mod globs;
pub mod matrix;
pub mod needs;
pub mod number;
pub mod outside;
pub mod policy;
pub mod preparing;
pub mod refs;
pub mod selector;
pub mod sources;
pub mod stages;
pub mod surroundings;
pub mod tie;
pub mod values;
pub mod work;
