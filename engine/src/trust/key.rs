//! Keys: what a signature is made and checked with, and how both halves are written.
//!
//! Ed25519. A public key is one word (`ed25519:<base64>`), so that it can be sent by chat and stand
//! in a reviewed file; a private key is PKCS#8 in PEM, as OpenSSL reads and writes it. Where keys
//! lie is unknown here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use pkcs8::LineEnding;
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;

const PREFIX: &str = "ed25519:";
const ENCRYPTED_LABEL: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// The name of a key: the BLAKE3 digest of its 32 public bytes. Text form: 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = crate::digest::NotADigest;
    fn from_str(text: &str) -> Result<KeyId, Self::Err> {
        text.parse().map(KeyId)
    }
}

/// The public half. Never one of the few keys for which anybody can make signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Why a text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPublicKey {
    /// Neither of the two forms.
    #[error(
        "`{0}` is not a public key; a public key looks like `ed25519:` and 44 more characters (`repro trust show` prints yours), \
         or is the PEM text of an Ed25519 public key"
    )]
    Form(String),
    /// A private key was given.
    #[error(
        "this is a private key, which nobody else may see; the public one is what `repro trust show` prints"
    )]
    Private,
    /// It would verify forged signatures.
    #[error("this key is weak: anybody can make signatures that match it")]
    Weak,
}

impl PublicKey {
    /// Its name.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.0.as_bytes()))
    }

    /// Whether `signature` is this key's, of exactly these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|s| self.0.verify_strict(bytes, &s).is_ok())
    }

    fn of_bytes(bytes: &[u8; 32]) -> Option<Result<PublicKey, BadPublicKey>> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        Some(if key.is_weak() {
            Err(BadPublicKey::Weak)
        } else {
            Ok(PublicKey(key))
        })
    }
}

impl FromStr for PublicKey {
    type Err = BadPublicKey;
    fn from_str(text: &str) -> Result<PublicKey, BadPublicKey> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(BadPublicKey::Private);
        }
        let form = || BadPublicKey::Form(text.chars().take(60).collect());
        let bytes: [u8; 32] = match text.strip_prefix(PREFIX) {
            Some(word) => STANDARD
                .decode(word)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(form)?,
            None => VerifyingKey::from_public_key_pem(text)
                .map_err(|_| form())?
                .to_bytes(),
        };
        PublicKey::of_bytes(&bytes).unwrap_or_else(|| Err(form()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<PublicKey, D::Error> {
        std::borrow::Cow::<str>::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// What a private key is encrypted with. Has no text form, so it cannot reach a message.
pub struct Passphrase(String);

impl Passphrase {
    /// Without the line's end that files and prompts leave.
    pub fn new(text: &str) -> Passphrase {
        Passphrase(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both are the same.
    pub fn equals(&self, other: &Passphrase) -> bool {
        self.0 == other.0
    }
}

/// The private half. Has no text form but [`SecretKey::to_pem`].
pub struct SecretKey(SigningKey);

/// Why a text is no private key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecretKey {
    /// It is encrypted and the passphrase is another one.
    #[error("the passphrase is wrong, or the key is damaged")]
    Passphrase,
    /// Not the PEM text of an Ed25519 private key.
    #[error("this is not the PEM text of an Ed25519 private key (PKCS#8)")]
    Form,
}

impl SecretKey {
    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> anyhow::Result<SecretKey> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?;
        Ok(SecretKey(SigningKey::from_bytes(&bytes)))
    }

    /// Whether a passphrase is needed to read this PEM text.
    pub fn is_encrypted(pem: &str) -> bool {
        pem.contains(ENCRYPTED_LABEL)
    }

    /// Reads PEM.
    ///
    /// # Errors
    /// See [`BadSecretKey`].
    pub fn from_pem(pem: &str, passphrase: Option<&Passphrase>) -> Result<SecretKey, BadSecretKey> {
        let pair = match (SecretKey::is_encrypted(pem), passphrase) {
            (true, Some(passphrase)) => {
                KeypairBytes::from_pkcs8_encrypted_pem(pem.trim_start(), &passphrase.0)
                    .map_err(|_| BadSecretKey::Passphrase)?
            }
            (true, None) => return Err(BadSecretKey::Passphrase),
            (false, _) => {
                KeypairBytes::from_pkcs8_pem(pem.trim_start()).map_err(|_| BadSecretKey::Form)?
            }
        };
        Ok(SecretKey(SigningKey::from_bytes(&pair.secret_key)))
    }

    /// The PEM text; encrypted (scrypt, AES-256) where there is a passphrase.
    ///
    /// # Errors
    /// The encryption failed.
    pub fn to_pem(&self, passphrase: Option<&Passphrase>) -> anyhow::Result<String> {
        // The first version of PKCS#8, without the public half: what older OpenSSL reads.
        let pair = KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        };
        let pem = match passphrase {
            Some(passphrase) => pair.to_pkcs8_encrypted_pem(&passphrase.0, LineEnding::LF),
            None => pair.to_pkcs8_pem(LineEnding::LF),
        };
        Ok(pem
            .map_err(|e| anyhow::anyhow!("the key cannot be written: {e}"))?
            .to_string())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The signature of these bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_halves_read_back() {
        let key = SecretKey::generate().unwrap();
        let passphrase = Passphrase::new("correct horse\n");
        for passphrase in [None, Some(&passphrase)] {
            let pem = key.to_pem(passphrase).unwrap();
            assert_eq!(SecretKey::is_encrypted(&pem), passphrase.is_some());
            let back = SecretKey::from_pem(&pem, passphrase).unwrap();
            assert_eq!(back.public(), key.public());
        }
        let text = key.public().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), key.public());
        assert_eq!(text.len(), 8 + 44);
    }

    #[test]
    fn a_wrong_passphrase_opens_nothing() {
        let pem = SecretKey::generate()
            .unwrap()
            .to_pem(Some(&Passphrase::new("one")))
            .unwrap();
        let read = |p: Option<&Passphrase>| SecretKey::from_pem(&pem, p).err();
        assert_eq!(
            read(Some(&Passphrase::new("two"))),
            Some(BadSecretKey::Passphrase)
        );
        assert_eq!(read(None), Some(BadSecretKey::Passphrase));
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signs_as_the_standard_says() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let secret = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = hex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        let key = SecretKey(SigningKey::from_bytes(&secret.try_into().unwrap()));
        assert_eq!(key.public().0.as_bytes()[..], public);
        assert_eq!(key.sign(&[0x72])[..], signature);
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
        assert!(!key.public().verifies(&[0x72], &signature[..63]));
    }

    #[test]
    fn weak_and_private_keys_are_no_public_keys() {
        let weak = format!("{PREFIX}{}", STANDARD.encode([0u8; 32]));
        assert_eq!(weak.parse::<PublicKey>(), Err(BadPublicKey::Weak));
        let pem = SecretKey::generate().unwrap().to_pem(None).unwrap();
        assert_eq!(pem.parse::<PublicKey>(), Err(BadPublicKey::Private));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text in "(ed25519:)?[A-Za-z0-9+/=\\n -]{0,60}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text.trim());
            }
            let _ = SecretKey::from_pem(&text, None);
        }
    }
}
