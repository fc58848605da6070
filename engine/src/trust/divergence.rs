//! Divergence: accounts of an execution that gave other bits than a recorded one.
//!
//! An account is a signed statement like a result's, of a type of its own, so that it never passes
//! for one. Without a key it is kept unsigned, for its own machine. Accounts may come from a
//! remote: what they say is shown as said by them, and decides nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dsse::{self, Envelope};
use super::judge::Trust;
use super::policy::SignerName;
use super::signer::Signer;
use super::statement::{Facts, TYPE, digest_set};
use crate::canonical;
use crate::difference::Difference;
use crate::digest::{Content, Digest};

const PREDICATE_TYPE: &str = "urn:repro:divergence:v1";
/// Characters of a text from elsewhere that are shown.
const SHOWN_MAX: usize = 300;

/// One output that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// Its name.
    pub output: String,
    /// `file:<hex>` or `tree:<hex>`.
    pub recorded: String,
    /// The same, of the second execution; absent where nothing was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Where the difference begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Difference>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    /// The action.
    pub action_key: Digest,
    /// The recorded result.
    pub recorded_result: Digest,
    /// What differs.
    pub differing: Vec<Differing>,
    /// The machine that got other bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// With which version of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[derive(Deserialize)]
struct StatementFile {
    #[serde(rename = "_type")]
    type_: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Divergence,
}

impl Divergence {
    /// With what is known of the second execution.
    pub fn with_facts(mut self, facts: &Facts) -> Divergence {
        self.host.clone_from(&facts.host);
        self.finished.clone_from(&facts.finished);
        self.version.clone_from(&facts.version);
        self
    }

    /// An envelope with the account; `found` are the outputs of the second execution.
    pub fn seal(&self, found: &BTreeMap<String, Content>, signer: Option<&Signer>) -> Vec<u8> {
        let subjects: Vec<_> = found
            .iter()
            .map(|(name, content)| json!({"name": name, "digest": digest_set(content.shape, &content.digest.hex())}))
            .collect();
        let statement = canonical::text(&json!({
            "_type": TYPE,
            "subject": subjects,
            "predicateType": PREDICATE_TYPE,
            "predicate": self,
        }));
        match signer {
            Some(signer) => signer.seal(statement.as_bytes()),
            None => dsse::unsigned(statement.as_bytes()),
        }
    }

    /// Reads an account of this action, and who of those listed signed it. `None` for anything
    /// else.
    pub fn open(
        bytes: &[u8],
        key: &Digest,
        trust: &Trust,
    ) -> Option<(Divergence, Option<SignerName>)> {
        let envelope = Envelope::parse(bytes).ok()?;
        let file: StatementFile = serde_json::from_slice(envelope.payload()).ok()?;
        if file.type_ != TYPE
            || file.predicate_type != PREDICATE_TYPE
            || file.predicate.action_key != *key
        {
            return None;
        }
        let signer = trust.policy().and_then(|policy| {
            let (name, _) = envelope.claimed().find_map(|id| {
                let (name, key) = policy.signer(&id)?;
                envelope.is_signed_by(key).then_some((name, key))
            })?;
            Some(name.clone())
        });
        Some((file.predicate, signer))
    }

    /// One line for each output, for people.
    pub fn lines(&self) -> Vec<String> {
        let line = |d: &Differing| {
            let why = match (&d.found, &d.first) {
                (None, _) => "it was not made".to_owned(),
                (_, Some(first)) => first.to_string(),
                (Some(found), None) => format!("{} recorded, {found} made", d.recorded),
            };
            shown(&format!("output `{}` {why}", d.output))
        };
        self.differing.iter().map(line).collect()
    }

    /// Where and when, for people.
    pub fn origin(&self) -> String {
        let host = self.host.as_deref().unwrap_or("an unnamed machine");
        match &self.finished {
            Some(at) => shown(&format!("{host}, {at}")),
            None => shown(host),
        }
    }
}

/// Text from elsewhere must not move the cursor of who reads it.
fn shown(text: &str) -> String {
    let clean = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    clean.take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account() -> Divergence {
        Divergence {
            action_key: Digest::of(b"key"),
            recorded_result: Digest::of(b"result"),
            differing: vec![Differing {
                output: "model".into(),
                recorded: format!("file:{}", Digest::of(b"a")),
                found: Some(format!("file:{}", Digest::of(b"b"))),
                first: Some(Difference {
                    path: None,
                    offset: Some(12),
                    what: "\u{1b}[2Jtensor `w`".into(),
                }),
            }],
            host: Some("box".into()),
            finished: None,
            version: None,
        }
    }

    fn nobody() -> Trust {
        Trust::read_file(std::path::Path::new("/nonexistent/trust")).unwrap()
    }

    #[test]
    fn an_account_reads_back_and_is_of_one_action() {
        let bytes = account().seal(&BTreeMap::new(), None);
        let open = |key: &Digest| Divergence::open(&bytes, key, &nobody());
        assert_eq!(open(&Digest::of(b"key")), Some((account(), None)));
        assert_eq!(open(&Digest::of(b"other")), None);
        assert_eq!(
            account().lines(),
            ["output `model` from byte 12 on: \u{fffd}[2Jtensor `w`"]
        );
    }

    proptest! {
        #[test]
        fn any_payload_is_refused_or_read(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Divergence::open(&dsse::unsigned(&payload), &Digest::of(b"key"), &nobody()).is_none());
        }
    }
}
