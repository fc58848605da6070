//! Networks: what a user writes, the layers it means, their first weights, their forward pass,
//! their file.

pub mod architecture;
mod builder;
mod foreign;
pub mod init;
pub mod layer;
pub mod layout;
pub mod model;
mod named;
pub mod network;
pub(crate) mod parts;
mod resnet;
pub mod spec;
pub mod transfer;
