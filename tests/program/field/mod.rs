//! What people of this field hit with other tools, and with this one: each test is named by the fault it holds off, and every module
//! holds one family of faults. A number in a test's name is the line of the collected cases it was made from.

mod commands;
mod data;
mod durability;
mod language;
mod locks;
mod ordering;
mod placing;
mod processes;
mod sharing;
mod statistics;
mod terminal;
