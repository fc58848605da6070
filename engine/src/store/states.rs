//! States: places where a computation can be resumed, by state key. A mere saving of time: anything
//! doubtful is a miss.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{Content, Digest, Shape};
use crate::regular::{self, Links};

use super::actions::{checked, with_checksum};
use super::error::{StoreError, at};
use super::objects::Class;
use super::{Store, with_parent};

/// What `states/ab/<key>` holds, followed by a checksum as in a record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateFile {
    version: u32,
    key: Digest,
    preimage: String,
    pub content: Content,
}

const VERSION: u32 = 1;
/// A larger state file is none of ours; the state itself is an object.
pub(super) const STATE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn decode(text: &[u8], key: &Digest) -> Result<StateFile, String> {
    let state: StateFile = serde_json::from_str(checked(text)?).map_err(|e| e.to_string())?;
    if state.version != VERSION || state.key != *key || state.content.shape != Shape::File {
        return Err("it is not the state of this key".into());
    }
    Ok(state)
}

impl Store {
    /// Takes the file at `path` in as the state of that key. It is durable and gone from `path`
    /// when this returns.
    pub fn put_state(
        &self,
        key: &Digest,
        path: &Path,
        preimage: &str,
    ) -> Result<Content, StoreError> {
        if path.is_dir() {
            return Err(StoreError::refused(
                path,
                "this is a directory; a state is one file",
            ));
        }
        let (content, staged) = self.absorb(path)?;
        self.keep(&content, staged)?;
        let state = StateFile {
            version: VERSION,
            key: *key,
            preimage: preimage.to_owned(),
            content,
        };
        let name = self.named("states", key);
        let json = serde_json::to_string(&state).map_err(|e| {
            StoreError::refused(&name, format!("the state cannot be recorded: {e}"))
        })?;
        let tmp = self
            .scratch()?
            .write_fresh(with_checksum(&json).as_bytes())?;
        with_parent(&name, || fs::rename(&tmp, &name)).map_err(at(&name, "publish the state"))?;
        Ok(content)
    }

    /// Where the state of that key is, made sure of. Read-only.
    pub fn get_state(&self, key: &Digest) -> Option<PathBuf> {
        let _gc_held_off = self.lease.get().and_then(|_| self.hold_gc_off().ok());
        let name = self.named("states", key);
        let text = regular::read(&name, Links::Refuse, STATE_BYTES_MAX).ok()?;
        let state = match decode(&text, key) {
            Ok(state) => state,
            Err(why) => {
                let aside = self.quarantine_path(&format!("state-{key}"));
                let _ = fs::rename(&name, &aside);
                self.warning(&format!("state {key} is corrupt: {why}; it is not used"));
                return None;
            }
        };
        let path = self.check(Class::Object, &state.content.digest).ok()?;
        self.use_root(super::Root::Content(Shape::File, state.content.digest));
        Some(path)
    }
}
