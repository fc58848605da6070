//! What people bring along, as data sets: images in class folders, arrays, tables.
//!
//! Every format gives [`raw::Raw`] parts; [`assemble`] makes data sets of them. All of it is a function of the bytes and the
//! options alone.

pub mod array;
pub mod assemble;
pub mod columns;
mod decode;
pub mod folder;
mod one_size;
mod picture;
pub mod pixels;
pub mod raw;
pub mod resample;
pub mod sheet;
