//! What people of this field hit with other tools, and with this one: each test is named by the
//! fault it holds off, and every module holds one family of faults. A number in a test's name is
//! the line of the collected cases it was made from.

mod changing;
mod commands;
mod confinement;
mod data;
mod durability;
mod environments;
mod gpus;
mod language;
mod locks;
mod mistakes;
mod ordering;
mod outside;
mod placing;
mod processes;
mod secrets;
mod servers;
mod sharing;
mod statistics;
mod streams;
mod terminal;
mod trainings;
