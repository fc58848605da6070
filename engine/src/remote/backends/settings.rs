//! What an address alone does not tell of a storage.

/// What the address alone does not tell. Nothing in here is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The URL of the S3 (GCS, Azure) service, where it is not the provider's own.
    pub endpoint: Option<String>,
    /// S3: the region.
    pub region: Option<String>,
    /// S3: the profile of `~/.aws`; `AWS_PROFILE` when absent.
    pub profile: Option<String>,
    /// Azure: the storage account.
    pub account: Option<String>,
    /// S3: the bucket is part of the host name, not of the path.
    pub virtual_hosted: bool,
    /// Requests are not signed: a public bucket, read only.
    pub anonymous: bool,
    /// S3: what the bucket's owner demands of every write.
    pub encryption: Option<Encryption>,
    /// The storage was found to ignore conditional writes.
    pub no_conditional_put: bool,
}

/// How S3 is to encrypt what is written, where the bucket refuses writes that do not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// `AES256`: with keys of S3.
    Aes256,
    /// `aws:kms`: with a key of KMS, by its id or ARN; the account's own where none is named.
    Kms(Option<String>),
    /// `aws:kms:dsse`: twice.
    KmsTwice(Option<String>),
}

impl Encryption {
    /// As Amazon's tools write it, with the key.
    ///
    /// # Errors
    /// There is no such encryption, or it takes no key.
    pub fn parse(sse: &str, key: Option<&str>) -> Result<Encryption, String> {
        let key = key.map(str::to_owned);
        match (sse, key) {
            ("AES256", None) => Ok(Encryption::Aes256),
            ("AES256", Some(_)) => {
                Err("`AES256` takes no key; with a key write `aws:kms`".to_owned())
            }
            ("aws:kms", key) => Ok(Encryption::Kms(key)),
            ("aws:kms:dsse", key) => Ok(Encryption::KmsTwice(key)),
            (other, _) => Err(format!(
                "`{}` is not a way of encryption; write `AES256`, `aws:kms` or `aws:kms:dsse`",
                other.escape_debug()
            )),
        }
    }

    /// The word, and the key.
    pub fn words(&self) -> (&'static str, Option<&str>) {
        match self {
            Encryption::Aes256 => ("AES256", None),
            Encryption::Kms(key) => ("aws:kms", key.as_deref()),
            Encryption::KmsTwice(key) => ("aws:kms:dsse", key.as_deref()),
        }
    }
}

/// How variables of the environment are looked up; empty ones are none.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
