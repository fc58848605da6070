//! Trust: who vouches for a result, and whether the project believes them.
//!
//! A result is signed together with the key it is the result of ([`Signer`]); a result from
//! elsewhere is used when `repro.trust.toml` of the project says that its signers suffice
//! ([`Trust`]). How results travel is unknown here, and so is what a stage computes.

mod believer;
mod divergence;
mod dsse;
mod edit;
mod judge;
mod key;
mod own_key;
mod policy;
mod scope;
mod signer;
mod statement;
#[cfg(test)]
mod tests;

pub use believer::{Believer, accept};
pub use divergence::{Differing, Divergence};
pub use dsse::{ENVELOPE_BYTES_MAX, claimed_signer};
pub use edit::{Added, TrustText};
pub use judge::{ENVELOPES_MAX, Judgement, Reason, Trust};
pub use key::{BadPublicKey, BadSecretKey, KeyId, Passphrase, PublicKey, SecretKey};
pub use own_key::{make_key, public_key, shown_key};
pub use policy::{
    BadPolicy, FILE_NAME, Listed, Requirement, Role, SignerName, TrustPolicy, of_one_key,
};
pub use scope::{BadPattern, ScopePattern};
pub use signer::{Ask, KEY_VARIABLE, Signer, keep_key, key_path, known_passphrase};
pub use statement::{Facts, Mismatch, is_described, is_own, mark_origin, write as statement_text};
