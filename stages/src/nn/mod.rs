//! Networks: what a user writes, the layers it means, their first weights, their forward pass.

pub mod architecture;
pub mod init;
pub mod layout;
pub mod network;
pub mod spec;
