//! Heads: a record and the signatures it was first published with, in one object, so that one
//! request answers a key. What is read here is hostile: it is taken apart within bounds, and only a
//! record about the key that was asked for comes out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::store::Record;

/// Format history. 1: first.
const FORMAT: u32 = 1;
/// Plain bytes of the largest record. Its pre-image grows with the number of inputs: enough for
/// some 100,000.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Plain bytes of the largest envelope.
pub const ENVELOPE_BYTES_MAX: u64 = 16 << 20;
/// Plain bytes of the largest head.
pub const HEAD_BYTES_MAX: u64 = 48 << 20;
/// Envelopes of the fullest head.
const ENVELOPES_MAX: usize = 16;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// What was published.
    pub record: Record,
    /// Who vouched for it then; DSSE.
    pub envelopes: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile<'a> {
    head: u32,
    result: Digest,
    #[serde(borrow)]
    record: Cow<'a, str>,
    #[serde(borrow)]
    envelopes: Vec<Cow<'a, str>>,
}

impl Head {
    /// The plain bytes. Envelopes that would make it too large are left out: they have objects of
    /// their own.
    ///
    /// # Errors
    /// The record cannot be written, or is too large.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let record = self.record.to_text()?;
        let mut room = HEAD_BYTES_MAX / 2;
        let envelopes = self.envelopes.iter().filter_map(|e| {
            room = room.checked_sub(e.len() as u64)?;
            Some(Cow::Borrowed(std::str::from_utf8(e).ok()?))
        });
        let file = HeadFile {
            head: FORMAT,
            result: self.record.result(),
            envelopes: envelopes.take(ENVELOPES_MAX).collect(),
            record: record.into(),
        };
        let bytes = serde_json::to_vec(&file).map_err(|e| e.to_string())?;
        if bytes.len() as u64 > HEAD_BYTES_MAX {
            return Err(format!("{} bytes are too many for a head", bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads plain bytes found under the head of `key`.
    ///
    /// # Errors
    /// Why it is no head of this key, in words.
    pub fn parse(bytes: &[u8], key: &Digest) -> Result<Head, String> {
        let file: HeadFile<'_> =
            serde_json::from_slice(bytes).map_err(|e| format!("it is not a head: {}", said(&e)))?;
        if file.head != FORMAT {
            return Err(format!("it has format {}, not {FORMAT}", file.head));
        }
        if file.envelopes.len() > ENVELOPES_MAX {
            return Err(format!("it holds {} signatures", file.envelopes.len()));
        }
        let record = Record::parse(file.record.as_bytes(), key, &file.result)?;
        Ok(Head {
            record,
            envelopes: file
                .envelopes
                .into_iter()
                .map(|e| e.into_owned().into_bytes())
                .collect(),
        })
    }
}

/// What a parser says of hostile text: it may quote it.
pub(super) fn said(error: &impl ToString) -> String {
    error
        .to_string()
        .chars()
        .flat_map(char::escape_debug)
        .take(120)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Content, Domain, Shape};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn head(envelopes: Vec<String>, name: &str) -> Head {
        let preimage = "{\"a\":\"ü\\n\"}".to_owned();
        let content = Content {
            shape: Shape::File,
            digest: Digest::of(name.as_bytes()),
            bytes_total: 7,
        };
        Head {
            record: Record {
                key: Digest::derive(Domain::Action, preimage.as_bytes()),
                preimage,
                outputs: BTreeMap::from([(name.to_owned(), content)]),
                observation: serde_json::json!({"wall_s": 1.5}).into(),
            },
            envelopes: envelopes.into_iter().map(String::into_bytes).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn reads_what_it_writes(envelopes in proptest::collection::vec(".{0,40}", 0..4), name in ".{1,9}") {
            let head = head(envelopes, &name);
            let bytes = head.to_bytes().unwrap();
            prop_assert_eq!(Head::parse(&bytes, &head.record.key).unwrap(), head.clone());
            let other = Digest::of(b"another key");
            prop_assert!(Head::parse(&bytes, &other).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The record inside has a checksum: altered, it is refused, and nothing else changes what
        /// it says.
        #[test]
        fn an_altered_head_is_refused_or_says_the_same(at in 0usize..2000, with in "[\\x00-\\x7f]{0,3}", cut in 0usize..4) {
            let head = head(vec!["{}".into(), "x".into()], "out");
            let bytes = head.to_bytes().unwrap();
            let at = at % bytes.len();
            let end = (at + cut).min(bytes.len());
            let altered = [&bytes[..at], with.as_bytes(), &bytes[end..]].concat();
            if let Ok(read) = Head::parse(&altered, &head.record.key) {
                prop_assert_eq!(read.record, head.record);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Head::parse(&bytes, &Digest::of(b"k")).is_err());
        }
    }

    #[test]
    fn large_envelopes_stay_outside() {
        let large = "x".repeat(10 << 20);
        let head = head(vec![large.clone(), large.clone(), large, "y".into()], "out");
        let bytes = head.to_bytes().unwrap();
        assert!((bytes.len() as u64) < HEAD_BYTES_MAX);
        let read = Head::parse(&bytes, &head.record.key).unwrap();
        assert_eq!(read.envelopes.len(), 3);
    }
}
