//! DSSE envelopes: a payload, its type, and signatures of both together.
//!
//! An envelope comes from a remote and is hostile: it is bounded in size and number of signatures
//! before anything is decoded, and its payload is handed out only together with the keys that
//! signed it. What the payload says is unknown here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{KeyId, PublicKey, SecretKey};

/// The type of the payloads we sign and believe.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Bytes of the largest envelope that is looked at. A statement holds the pre-image of a key, which
/// grows with the number of inputs: this is enough for some 50,000.
pub const ENVELOPE_BYTES_MAX: usize = 16 << 20;
/// Signatures of one envelope that are looked at.
const SIGNATURES_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
struct EnvelopeFile {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureFile>,
}

#[derive(Serialize, Deserialize)]
struct SignatureFile {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// An envelope whose signatures are not checked yet.
pub struct Envelope {
    payload: Vec<u8>,
    /// Only those with a key's name that could be one of ours.
    signatures: Vec<(KeyId, Vec<u8>)>,
}

/// Bytes that are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEnvelope(String);

/// What is signed: the type and the payload with their lengths, so that no two pairs have the same
/// bytes (PAE of DSSE 1).
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Signs a payload of [`PAYLOAD_TYPE`]: one line of JSON.
pub fn seal(key: &SecretKey, payload: &[u8]) -> Vec<u8> {
    let signature = key.sign(&pre_authentication(PAYLOAD_TYPE, payload));
    // Base64 and hex digits need no escape.
    let signature = format!(
        "{{\"keyid\":\"{}\",\"sig\":\"{}\"}}",
        key.public().id(),
        STANDARD.encode(signature)
    );
    write(payload, &signature)
}

/// The name of the key an envelope says it is signed with, to name it by. Proves nothing.
pub fn claimed_signer(bytes: &[u8]) -> Option<KeyId> {
    Envelope::parse(bytes).ok()?.claimed().next()
}

/// An envelope that nobody has signed.
pub fn unsigned(payload: &[u8]) -> Vec<u8> {
    write(payload, "")
}

fn write(payload: &[u8], signatures: &str) -> Vec<u8> {
    format!(
        "{{\"payload\":\"{}\",\"payloadType\":\"{PAYLOAD_TYPE}\",\"signatures\":[{signatures}]}}\n",
        STANDARD.encode(payload)
    )
    .into_bytes()
}

impl Envelope {
    /// Reads bytes from anywhere. Base64 has to be of the standard alphabet and canonical.
    ///
    /// # Errors
    /// Everything that is no envelope of [`PAYLOAD_TYPE`].
    pub fn parse(bytes: &[u8]) -> Result<Envelope, BadEnvelope> {
        let bad = |why: &str| BadEnvelope(why.to_owned());
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(BadEnvelope(format!(
                "it has {} bytes; no envelope is larger than {ENVELOPE_BYTES_MAX}",
                bytes.len()
            )));
        }
        let file: EnvelopeFile = serde_json::from_slice(bytes).map_err(|e| {
            // The message may quote what was read.
            let text: String = e.to_string().escape_debug().take(120).collect();
            BadEnvelope(format!("it is no DSSE envelope: {text}"))
        })?;
        if file.payload_type != PAYLOAD_TYPE {
            return Err(bad("its payload is not an in-toto statement"));
        }
        if file.signatures.len() > SIGNATURES_MAX {
            return Err(bad("it has too many signatures"));
        }
        let decode = |text: &str| STANDARD.decode(text).ok();
        let payload =
            decode(&file.payload).ok_or_else(|| bad("its payload is not canonical base64"))?;
        let mut signatures = Vec::new();
        for signature in &file.signatures {
            let bytes = decode(&signature.sig)
                .ok_or_else(|| bad("a signature in it is not canonical base64"))?;
            // A key of some other tool may have any name, and is none of ours.
            if let Ok(id) = signature.keyid.parse() {
                signatures.push((id, bytes));
            }
        }
        Ok(Envelope {
            payload,
            signatures,
        })
    }

    /// Names of the keys it claims to be signed with.
    pub fn claimed(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.signatures.iter().map(|(id, _)| *id)
    }

    /// Whether this key signed the payload. The name in the envelope only says which signature to
    /// try.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let id = key.id();
        let signed = pre_authentication(PAYLOAD_TYPE, &self.payload);
        self.signatures
            .iter()
            .any(|(claimed, signature)| *claimed == id && key.verifies(&signed, signature))
    }

    /// The payload, for whoever has checked a signature.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SecretKey {
        SecretKey::generate().unwrap()
    }

    /// The example of the DSSE protocol text.
    #[test]
    fn pre_authentication_is_that_of_the_protocol() {
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn sealed_is_signed() {
        let (key, other) = (key(), key());
        let bytes = seal(&key, b"{\"a\":1}");
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.payload(), b"{\"a\":1}");
        assert!(envelope.is_signed_by(&key.public()));
        assert!(!envelope.is_signed_by(&other.public()));
        assert_eq!(envelope.claimed().collect::<Vec<_>>(), [key.public().id()]);
    }

    fn altered(change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let mut value = serde_json::from_slice(&seal(&key(), b"payload")).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn what_is_not_strictly_an_envelope_is_refused() {
        let said = |bytes: &[u8]| Envelope::parse(bytes).err().map(|e| e.to_string());
        let cases = [
            ("type", altered(|v| v["payloadType"] = "text/plain".into())),
            // `cGF5bG9hZA==` is canonical; its last digit may carry bits that mean nothing.
            ("bits", altered(|v| v["payload"] = "cGF5bG9hZB==".into())),
            ("padding", altered(|v| v["payload"] = "cGF5bG9hZA".into())),
            ("alphabet", altered(|v| v["payload"] = "-_-_".into())),
            ("space", altered(|v| v["payload"] = "cGF5 bG9hZA==".into())),
            ("sig", altered(|v| v["signatures"][0]["sig"] = "!".into())),
            (
                "many",
                altered(|v| v["signatures"] = vec![v["signatures"][0].clone(); 17].into()),
            ),
            ("twice", b"{\"payload\":\"\",\"payload\":\"\"}".to_vec()),
            ("deep", vec![b'['; 100_000]),
            ("large", vec![b' '; ENVELOPE_BYTES_MAX + 1]),
            ("empty", Vec::new()),
        ];
        let said: Vec<String> = cases
            .iter()
            .map(|(name, bytes)| format!("{name}: {}", said(bytes).unwrap_or_default()))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(&bytes);
        }

        /// One byte changed anywhere: no envelope, or no signature, or (in white space, field names
        /// of the key) the same payload.
        #[test]
        fn an_altered_envelope_never_shows_another_payload(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let key = key();
            let mut bytes = seal(&key, b"the payload");
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(envelope) = Envelope::parse(&bytes)
                && envelope.is_signed_by(&key.public())
            {
                prop_assert_eq!(envelope.payload(), b"the payload");
            }
        }
    }
}
