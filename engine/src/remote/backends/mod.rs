//! The kinds of storage, each behind [`super::backend::Backend`]. What is stored is unknown here;
//! so is why.
//!
//! | file | storage |
//! |---|---|
//! | `bucket.rs` | whatever `object_store` reaches: S3, GCS, Azure, memory |
//! | `ranges.rs` | large objects of buckets, over several connections |
//! | `providers.rs`, `aws.rs` | how each provider is reached, and where its credentials are |
//! | `webdav.rs`, `netrc.rs` | HTTP servers |
//! | `directory.rs` | directories |
//! | `sftp.rs`, `sftp_connection.rs`, `ssh.rs` | what `ssh` reaches |
//! | `runtime.rs`, `patience.rs`, `failure.rs` | async under a blocking seam; how long and how often; what went wrong |
//! | `answers.rs`, `listing.rs` | how long an answer may be that is read as a whole; how long a listing |

mod again;
mod answers;
mod aws;
mod bucket;
mod directory;
mod failure;
mod listing;
mod netrc;
mod open;
mod patience;
mod providers;
mod ranges;
mod runtime;
mod settings;
mod sftp;
mod sftp_connection;
mod ssh;
mod webdav;

pub use bucket::BucketBackend;
pub use directory::DirectoryBackend;
pub use open::{open, silence, unique_word};
pub use settings::{Encryption, Env, Settings, process_env};
pub use sftp::SftpBackend;
pub use webdav::WebDavBackend;
