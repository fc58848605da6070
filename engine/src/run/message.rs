//! What comes through the channel of a run.

use super::committer::CommitResult;
use crate::digest::{Content, Digest};
use crate::executor::{Heard, OrderId};
use crate::lookup::Answer;
use crate::plan::InstanceIndex;
use crate::remote::publish::Published;
use crate::remote::reading::Unread;

/// What comes through the channel.
pub(super) enum Message {
    Heard(OrderId, Heard),
    Committed(CommitResult),
    Answered(InstanceIndex, Digest, Answer),
    Fetched(Vec<(Content, Result<(), Unread>)>),
    Published(Vec<Result<Published, String>>),
}
