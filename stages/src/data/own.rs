//! Data sets made of people's own files: images in class folders, arrays, tables.
//!
//! Every format gives [`raw::Raw`] parts; [`assemble`] makes data sets of them. The result depends
//! on the bytes and the options alone.

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
