//! What comes through the channel of a run.

use crate::digest::{Content, Digest};
use crate::executor::{Heard, OrderId};
use crate::lookup::Answer;
use crate::plan::InstanceIndex;
use crate::remote::publish::Published;
use crate::remote::reading::Unread;
use crate::store::StoreError;

/// What comes through the channel.
pub(super) enum Message {
    Heard(OrderId, Heard),
    /// A recorded result is shown, unless something stood in the way.
    Shown(InstanceIndex, Option<StoreError>),
    Answered(InstanceIndex, Digest, Answer),
    Fetched(Vec<(Content, Result<(), Unread>)>),
    Published(Vec<Result<Published, String>>),
}
