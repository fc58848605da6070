//! `repro.trust.toml`: whose signatures count, and how many are asked for.
//!
//! The file is reviewed like code: who can change it on the branch you run decides whom you
//! believe. A person or machine is a table; several keys in it count once. Who is removed is
//! believed no more, from that commit on.
//!
//! ```toml
//! version = 1
//! require = "1 of ci or 2 of people"
//!
//! [signers.anna]
//! role = "people"
//! keys = ["ed25519:…"]
//!
//! [scopes."pr-*"]
//! require = "1 of any"
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::key::{KeyId, PublicKey};
use super::scope::ScopePattern;
use crate::handwritten;
use crate::remote::layout::Scope;

/// The file's name, beside the pipeline file.
pub const FILE_NAME: &str = "repro.trust.toml";
/// Format history. 1: first.
pub const FORMAT: u32 = 1;

/// A kind of signer: `ci`, `people`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(String);

/// Who signs: a person or a machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerName(String);

/// Why a text cannot stand where it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// No role.
    #[error(
        "`{0}` is not a role; a role begins with a lower-case letter and continues with `a-z`, `0-9`, `-` (not `any`, `of`, `or`)"
    )]
    Role(String),
    /// No name.
    #[error(
        "`{0}` is not the name of a signer; write 1 to 64 printable characters, no spaces at the ends"
    )]
    Name(String),
    /// No requirement.
    #[error(
        "`{0}` is not a requirement; write e.g. `1 of ci or 2 of people` (`any` stands for every role)"
    )]
    Requirement(String),
}

impl Role {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Role {
    type Err = BadPolicy;
    fn from_str(text: &str) -> Result<Role, BadPolicy> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if begins
            && text.len() <= 40
            && text.bytes().all(legal)
            && !matches!(text, "any" | "of" | "or")
        {
            Ok(Role(text.to_owned()))
        } else {
            Err(BadPolicy::Role(shown(text)))
        }
    }
}

impl FromStr for SignerName {
    type Err = BadPolicy;
    fn from_str(text: &str) -> Result<SignerName, BadPolicy> {
        let chars = text.chars().count();
        if (1..=64).contains(&chars) && text.trim() == text && !text.chars().any(char::is_control) {
            Ok(SignerName(text.to_owned()))
        } else {
            Err(BadPolicy::Name(shown(text)))
        }
    }
}

fn shown(text: &str) -> String {
    text.escape_debug().take(60).collect()
}

impl SignerName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of a file that lists one key, of a run, and asks for its signature.
pub fn of_one_key(key: &PublicKey) -> String {
    format!(
        "version = {FORMAT}\nrequire = \"1 of run\"\n\n[signers.run]\nrole = \"run\"\nkeys = [\"{key}\"]\n"
    )
}

/// `2 of people`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quorum {
    count: u32,
    /// `None`: any.
    role: Option<Role>,
}

/// `1 of ci or 2 of people`: one of these must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement(Vec<Quorum>);

impl FromStr for Requirement {
    type Err = BadPolicy;
    fn from_str(text: &str) -> Result<Requirement, BadPolicy> {
        let bad = || BadPolicy::Requirement(shown(text));
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut quorums = Vec::new();
        for part in words.split(|w| *w == "or") {
            let [count, "of", role] = part else {
                return Err(bad());
            };
            let count = count
                .parse()
                .ok()
                .filter(|n| (1..=1000).contains(n))
                .ok_or_else(bad)?;
            let role = match *role {
                "any" => None,
                role => Some(role.parse()?),
            };
            quorums.push(Quorum { count, role });
        }
        Ok(Requirement(quorums))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, quorum) in self.0.iter().enumerate() {
            let or = if i == 0 { "" } else { " or " };
            let role = quorum.role.as_ref().map_or("any", Role::as_str);
            write!(f, "{or}{} of {role}", quorum.count)?;
        }
        Ok(())
    }
}

macro_rules! deserialized_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                std::borrow::Cow::<str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
deserialized_from_text!(Role, SignerName, Requirement, ScopePattern);

/// One table under `[signers]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// What kind of signer.
    pub role: Role,
    /// Its keys; all count as one.
    pub keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeFile {
    require: Requirement,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    version: u32,
    require: Requirement,
    #[serde(default)]
    signers: BTreeMap<SignerName, Listed>,
    #[serde(default)]
    scopes: BTreeMap<ScopePattern, ScopeFile>,
}

/// The file, understood.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    require: Requirement,
    signers: BTreeMap<SignerName, Listed>,
    scopes: BTreeMap<ScopePattern, Requirement>,
    by_key: HashMap<KeyId, (SignerName, PublicKey)>,
}

impl TrustPolicy {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// With the line, where the text is wrong in itself.
    pub fn parse(text: &str) -> anyhow::Result<TrustPolicy> {
        let file: PolicyFile =
            toml::from_str(text).map_err(|e| anyhow::anyhow!("{}", handwritten::with_line(&e)))?;
        anyhow::ensure!(
            file.version == FORMAT,
            "it has format {}, this program knows {FORMAT}",
            file.version
        );
        let mut by_key = HashMap::new();
        for (name, listed) in &file.signers {
            for key in &listed.keys {
                let other = by_key.insert(key.id(), (name.clone(), key.clone()));
                if let Some((other, _)) = other
                    && other != *name
                {
                    anyhow::bail!(
                        "the key {key} is listed for `{}` and for `{}`; a key belongs to one signer",
                        other.as_str(),
                        name.as_str()
                    );
                }
            }
        }
        let scopes = file.scopes.into_iter();
        Ok(TrustPolicy {
            require: file.require,
            scopes: scopes
                .map(|(pattern, scope)| (pattern, scope.require))
                .collect(),
            signers: file.signers,
            by_key,
        })
    }

    /// Who is listed.
    pub fn signers(&self) -> &BTreeMap<SignerName, Listed> {
        &self.signers
    }

    /// What scopes ask for.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopePattern, &Requirement)> {
        self.scopes.iter()
    }

    /// Whose key this is.
    pub fn signer(&self, id: &KeyId) -> Option<(&SignerName, &PublicKey)> {
        self.by_key.get(id).map(|(name, key)| (name, key))
    }

    /// What is asked for where no scope is named.
    pub fn shared_requirement(&self) -> &Requirement {
        &self.require
    }

    /// What is asked for: by the closest pattern that fits the scope, else as outside of scopes.
    pub fn requirement(&self, scope: &Scope) -> &Requirement {
        let fitting = self.scopes.iter().filter(|(p, _)| p.fits(scope));
        fitting
            .max_by_key(|(p, _)| p.closeness())
            .map_or(&self.require, |(_, requirement)| requirement)
    }

    /// Whether these signers suffice.
    pub fn is_met(&self, requirement: &Requirement, by: &BTreeSet<SignerName>) -> bool {
        let has = |name: &SignerName, role: &Option<Role>| {
            let listed = self.signers.get(name);
            listed.is_some_and(|l| role.as_ref().is_none_or(|r| *r == l.role))
        };
        requirement.0.iter().any(|quorum| {
            by.iter().filter(|name| has(name, &quorum.role)).count() >= quorum.count as usize
        })
    }

    /// Whether all who are listed together would suffice: else nothing ever does.
    pub fn can_be_met(&self, requirement: &Requirement) -> bool {
        let with_keys = self.signers.iter().filter(|(_, l)| !l.keys.is_empty());
        self.is_met(
            requirement,
            &with_keys.map(|(name, _)| name.clone()).collect(),
        )
    }
}
