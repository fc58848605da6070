//! Judgement: whether a result that comes from elsewhere is believed, and if not, why not.
//!
//! Everything that is judged is hostile; the only thing that is not is `repro.trust.toml` of the
//! project. A signature counts when a listed key made it over a statement about exactly this
//! record. Nothing here touches a network or a store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::dsse::{BadEnvelope, Envelope};
use super::key::{KeyId, PublicKey};
use super::policy::{self, FILE_NAME, Requirement, SignerName, TrustPolicy};
use super::statement::{self, Mismatch};
use crate::digest::Digest;
use crate::remote::layout::Scope;
use crate::store::Record;

/// Envelopes of one result that are looked at.
pub const ENVELOPES_MAX: usize = 64;
/// Bytes of the largest trust file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a project believes; by default nobody.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// `None`: there is no file.
    policy: Option<TrustPolicy>,
    /// Of the file's text.
    stamp: Option<Digest>,
}

/// The answer about a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It may be used.
    Believed {
        /// Who vouches for it.
        signers: Vec<SignerName>,
    },
    /// It counts as not there.
    Disbelieved {
        /// Why, in one sentence.
        reason: Reason,
    },
}

/// Why a result is not believed. Of several reasons the most alarming one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing is asked for, so nothing suffices.
    #[error(
        "the project has no {FILE_NAME}, which says who is trusted; `repro trust init` makes one"
    )]
    NoPolicy,
    /// The record lies about itself.
    #[error("its key is not the digest of its description")]
    WrongDescription,
    /// A signature under the name of a listed key is not of that key.
    #[error("the signature in the name of `{}` is forged or damaged", .0.as_str())]
    Forged(SignerName),
    /// A listed signer's true signature, moved here from elsewhere.
    #[error("what `{}` signed is not this result: {why}", .signer.as_str())]
    Moved {
        /// Who signed.
        signer: SignerName,
        /// What was signed.
        why: Mismatch,
    },
    /// Some signatures count, but too few.
    #[error("it is signed by {}, and `{require}` is required", names(.signers))]
    TooFew {
        /// Who signed.
        signers: Vec<SignerName>,
        /// What is asked for.
        require: String,
    },
    /// Only signed with keys that are not listed.
    #[error("it is signed with a key that {FILE_NAME} does not list (any more), {}", .0.short())]
    Unlisted(KeyId),
    /// What should be an envelope is none.
    #[error("its signature cannot be read: {0}")]
    Unreadable(BadEnvelope),
    /// There is no signature.
    #[error("it is not signed")]
    Unsigned,
    /// Who is believed cannot be known.
    #[error("{0}")]
    UnreadablePolicy(String),
    /// Nothing that could be signed would suffice.
    #[error("{FILE_NAME} requires `{0}`, and does not list that many signers")]
    CannotBeMet(String),
}

fn names(signers: &[SignerName]) -> String {
    let all: Vec<String> = signers
        .iter()
        .map(|s| format!("`{}`", s.as_str()))
        .collect();
    all.join(", ")
}

impl Reason {
    /// Somebody may be at work: worth more than a line among others.
    pub fn is_alarming(&self) -> bool {
        matches!(
            self,
            Reason::WrongDescription | Reason::Forged(_) | Reason::Moved { .. }
        )
    }

    /// The lower, the more it is worth telling.
    fn rank(&self) -> u8 {
        match self {
            Reason::NoPolicy | Reason::UnreadablePolicy(_) => 0,
            Reason::WrongDescription => 1,
            Reason::Forged(_) => 2,
            Reason::Moved { .. } => 3,
            Reason::CannotBeMet(_) => 4,
            Reason::TooFew { .. } => 5,
            Reason::Unlisted(_) => 6,
            Reason::Unreadable(_) => 7,
            Reason::Unsigned => 8,
        }
    }
}

impl Trust {
    /// Reads `repro.trust.toml` of a project; `REPRO_TRUST_FILE` names another file, which is how
    /// CI judges the code of strangers by the file of the main branch. No file is no error: nothing
    /// is believed then.
    ///
    /// # Errors
    /// A file that cannot be read or is wrong, with the place.
    pub fn read(project_root: &Path) -> anyhow::Result<Trust> {
        match std::env::var_os("REPRO_TRUST_FILE").filter(|v| !v.is_empty()) {
            Some(file) => {
                let path = PathBuf::from(file);
                let trust = Trust::read_file(&path)?;
                anyhow::ensure!(
                    trust.policy.is_some(),
                    "REPRO_TRUST_FILE names {}, which does not exist",
                    path.display()
                );
                Ok(trust)
            }
            None => Trust::read_file(&project_root.join(FILE_NAME)),
        }
    }

    /// Reads this file.
    ///
    /// # Errors
    /// As [`Trust::read`].
    pub fn read_file(path: &Path) -> anyhow::Result<Trust> {
        let cannot = || format!("cannot read {}", path.display());
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Trust::default());
            }
            Err(e) => return Err(e).with_context(cannot),
            Ok(meta) => anyhow::ensure!(
                meta.len() <= FILE_BYTES_MAX,
                "{}: {} bytes are too many for a trust file",
                path.display(),
                meta.len()
            ),
        }
        let text = std::fs::read_to_string(path).with_context(cannot)?;
        let policy = TrustPolicy::parse(&text)
            .map_err(|e| anyhow::anyhow!("{}: {}", path.display(), e.to_string().trim_end()))?;
        Ok(Trust {
            policy: Some(policy),
            stamp: Some(Digest::of(text.as_bytes())),
        })
    }

    /// Believes whoever has this key, and nobody else.
    pub fn of_key(key: &PublicKey) -> Trust {
        let text = policy::of_one_key(key);
        Trust {
            policy: TrustPolicy::parse(&text).ok(),
            stamp: Some(Digest::of(text.as_bytes())),
        }
    }

    /// What the file says; `None` where there is none.
    pub fn policy(&self) -> Option<&TrustPolicy> {
        self.policy.as_ref()
    }

    /// Another one for every other trust file.
    pub fn stamp(&self) -> Digest {
        self.stamp.unwrap_or_else(|| Digest::of(b""))
    }

    /// Whether a record from a remote is believed, given the envelopes found beside it.
    pub fn judge(&self, record: &Record, envelopes: &[Vec<u8>]) -> Judgement {
        self.judge_in(&Scope::Shared, record, envelopes)
    }

    /// As [`Trust::judge`], for a record found in a scope.
    pub fn judge_in(&self, scope: &Scope, record: &Record, envelopes: &[Vec<u8>]) -> Judgement {
        match self.weigh(scope, record, envelopes) {
            Ok(signers) => Judgement::Believed { signers },
            Err(reason) => Judgement::Disbelieved { reason },
        }
    }

    fn weigh(
        &self,
        scope: &Scope,
        record: &Record,
        envelopes: &[Vec<u8>],
    ) -> Result<Vec<SignerName>, Reason> {
        let policy = self.policy.as_ref().ok_or(Reason::NoPolicy)?;
        if !statement::is_described(record) {
            return Err(Reason::WrongDescription);
        }
        let require = policy.requirement(scope);
        let mut signers = BTreeSet::new();
        let mut reasons = vec![Reason::Unsigned];
        for bytes in envelopes.iter().take(ENVELOPES_MAX) {
            match vouchers(policy, record, bytes) {
                Ok(names) => signers.extend(names),
                Err(reason) => reasons.push(reason),
            }
        }
        if policy.is_met(require, &signers) {
            return Ok(signers.into_iter().collect());
        }
        if !signers.is_empty() {
            reasons.push(too_few(policy, require, signers));
        }
        // `reasons` begins with one.
        Err(reasons
            .into_iter()
            .min_by_key(Reason::rank)
            .unwrap_or(Reason::Unsigned))
    }

    /// Who of those listed signed this record, and what is wrong with the other envelopes: for
    /// showing.
    pub fn signers(
        &self,
        record: &Record,
        envelopes: &[Vec<u8>],
    ) -> (BTreeSet<SignerName>, Vec<Reason>) {
        let (mut signers, mut reasons) = (BTreeSet::new(), Vec::new());
        let Some(policy) = &self.policy else {
            return (signers, vec![Reason::NoPolicy]);
        };
        for bytes in envelopes.iter().take(ENVELOPES_MAX) {
            match vouchers(policy, record, bytes) {
                Ok(names) => signers.extend(names),
                Err(reason) => reasons.push(reason),
            }
        }
        (signers, reasons)
    }
}

fn too_few(policy: &TrustPolicy, require: &Requirement, signers: BTreeSet<SignerName>) -> Reason {
    if policy.can_be_met(require) {
        Reason::TooFew {
            signers: signers.into_iter().collect(),
            require: require.to_string(),
        }
    } else {
        Reason::CannotBeMet(require.to_string())
    }
}

/// The listed signers whose signature in this envelope counts for this record; never none.
fn vouchers(
    policy: &TrustPolicy,
    record: &Record,
    bytes: &[u8],
) -> Result<Vec<SignerName>, Reason> {
    let envelope = Envelope::parse(bytes).map_err(Reason::Unreadable)?;
    let mut signers = Vec::new();
    let mut unlisted = None;
    for id in envelope.claimed() {
        match policy.signer(&id) {
            // Only a signature that is true makes the payload worth reading.
            Some((name, key)) if envelope.is_signed_by(key) => signers.push(name.clone()),
            Some((name, _)) => return Err(Reason::Forged(name.clone())),
            None => unlisted = unlisted.or(Some(id)),
        }
    }
    let Some(signer) = signers.first() else {
        return Err(unlisted.map_or(Reason::Unsigned, Reason::Unlisted));
    };
    statement::check(envelope.payload(), record).map_err(|why| Reason::Moved {
        signer: signer.clone(),
        why,
    })?;
    Ok(signers)
}
