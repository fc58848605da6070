//! `repro.remotes.toml`: which remotes a project has. It lies beside pipeline.yaml and is
//! committed, so that a clone knows them; it says where they are and what was found out about them,
//! never how to log in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::backends::{self, Encryption, Settings};
use super::{Backend, Location};
use crate::handwritten;
use crate::regular::{self, Links};

/// The name of the file.
pub const FILE: &str = "repro.remotes.toml";
/// Bytes of the largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

const HEAD: &str = "\
# Where results are shared; written by `repro remote`, read by everybody who clones this repository.
# Credentials do not belong here: they stay where each service's own tools keep them.

";

/// One remote, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// The address; see [`Location`].
    pub url: String,
    /// See [`Settings::endpoint`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// See [`Settings::region`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// See [`Settings::profile`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// See [`Settings::account`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// See [`Settings::virtual_hosted`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub virtual_hosted: bool,
    /// See [`Settings::anonymous`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub anonymous: bool,
    /// See [`Settings::encryption`]: `AES256`, `aws:kms` or `aws:kms:dsse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sse: Option<String>,
    /// The key of KMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sse_kms_key: Option<String>,
    /// What `repro remote add` found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Abilities>,
}

/// What a storage can do, found by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abilities {
    /// Of many writers of one name the first wins.
    pub first_writer_wins: bool,
    /// What is there can be listed, so that gc and fsck are possible.
    pub can_list: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    remote: BTreeMap<String, Remote>,
}

/// The remotes of a project.
#[derive(Debug, Clone)]
pub struct Remotes {
    root: PathBuf,
    document: Document,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Whether a remote may be called so.
fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    !text.is_empty() && text.len() <= 40 && !text.starts_with(['-', '.']) && text.bytes().all(legal)
}

/// An endpoint must be a plain URL of a server.
fn check_endpoint(text: &str) -> anyhow::Result<()> {
    let url =
        url::Url::parse(text).map_err(|e| anyhow::anyhow!("the endpoint is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        anyhow::bail!("the endpoint must be an http:// or https:// URL");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        anyhow::bail!(
            "the endpoint holds credentials, and {FILE} is committed to git; keep them where the service's own tools do"
        );
    }
    Ok(())
}

impl Remote {
    /// One at this address, with nothing else known.
    pub fn at(location: &Location, settings: &Settings) -> Remote {
        Remote {
            url: location.to_string(),
            endpoint: settings.endpoint.clone(),
            region: settings.region.clone(),
            profile: settings.profile.clone(),
            account: settings.account.clone(),
            virtual_hosted: settings.virtual_hosted,
            anonymous: settings.anonymous,
            sse: settings.encryption.as_ref().map(|e| e.words().0.to_owned()),
            sse_kms_key: settings
                .encryption
                .as_ref()
                .and_then(|e| Some(e.words().1?.to_owned())),
            found: None,
        }
    }

    /// Where it is, and how it is reached. A relative directory is meant from `root`.
    ///
    /// # Errors
    /// The address or the endpoint is none.
    pub fn resolve(&self, root: &Path) -> anyhow::Result<(Location, Settings)> {
        let location = match self.url.parse::<Location>()? {
            Location::Directory(path) => Location::Directory(root.join(path)),
            other => other,
        };
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        let settings = Settings {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            profile: self.profile.clone(),
            account: self.account.clone(),
            virtual_hosted: self.virtual_hosted,
            anonymous: self.anonymous,
            encryption: self.encryption(&location)?,
            no_conditional_put: self.found.is_some_and(|f| !f.first_writer_wins),
        };
        Ok((location, settings))
    }

    fn encryption(&self, location: &Location) -> anyhow::Result<Option<Encryption>> {
        let Some(sse) = &self.sse else {
            anyhow::ensure!(
                self.sse_kms_key.is_none(),
                "`sse_kms_key` is the key of `sse = \"aws:kms\"`, which is missing"
            );
            return Ok(None);
        };
        anyhow::ensure!(
            matches!(location, Location::S3(_)),
            "`sse` is for s3:// addresses; other services encrypt without being asked"
        );
        let encryption = Encryption::parse(sse, self.sse_kms_key.as_deref());
        Ok(Some(
            encryption.map_err(|why| anyhow::anyhow!("`sse`: {why}"))?,
        ))
    }

    /// Gets ready to use it.
    ///
    /// # Errors
    /// The address is none; credentials are missing.
    pub fn open(&self, root: &Path) -> anyhow::Result<Box<dyn Backend>> {
        let (location, settings) = self.resolve(root)?;
        Ok(backends::open(
            &location,
            &settings,
            &backends::process_env,
        )?)
    }
}

impl Remotes {
    /// Reads the file of a project; no file is no remotes.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub fn read(project_root: &Path) -> anyhow::Result<Remotes> {
        let path = project_root.join(FILE);
        let document = match regular::read_text(&path, Links::Follow, BYTES_MAX) {
            Ok(text) => toml::from_str(&text)
                .map_err(|e| anyhow::anyhow!("{}", handwritten::without_lines(&e, &text)))
                .with_context(|| format!("cannot understand `{}`", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Document::default(),
            Err(e) => anyhow::bail!("cannot read `{}`: {e}", path.display()),
        };
        let remotes = Remotes {
            root: project_root.to_owned(),
            document,
        };
        if let Some(name) = remotes.document.remote.keys().find(|name| !is_name(name)) {
            anyhow::bail!(
                "`{}`: `{}` is not a name for a remote: letters, digits, `-`, `_` and `.`",
                path.display(),
                name.escape_debug()
            );
        }
        if let Some(default) = &remotes.document.default
            && !remotes.document.remote.contains_key(default)
        {
            anyhow::bail!(
                "`{}`: the default remote `{}` does not exist",
                path.display(),
                default.escape_debug()
            );
        }
        Ok(remotes)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Remote)> {
        self.document
            .remote
            .iter()
            .map(|(name, remote)| (name.as_str(), remote))
    }

    /// The name of the remote that is meant where none is named: the default, or the only one.
    pub fn default_name(&self) -> Option<&str> {
        let only = || match self.document.remote.len() {
            1 => self.document.remote.keys().next(),
            _ => None,
        };
        self.document
            .default
            .as_ref()
            .or_else(only)
            .map(String::as_str)
    }

    /// A remote by its name, or the default one.
    ///
    /// # Errors
    /// There is none of that name, or none at all, or no default among several.
    pub fn get(&self, name: Option<&str>) -> anyhow::Result<(&str, &Remote)> {
        let known = || {
            let names: Vec<String> = self.iter().map(|(name, _)| format!("`{name}`")).collect();
            names.join(", ")
        };
        let Some(wanted) = name.or_else(|| self.default_name()) else {
            if self.document.remote.is_empty() {
                anyhow::bail!("this project has no remote; `repro remote add NAME URL` adds one");
            }
            anyhow::bail!(
                "name a remote ({}), or write `default = \"...\"` in {FILE}",
                known()
            );
        };
        match self.document.remote.get_key_value(wanted) {
            Some((name, remote)) => Ok((name, remote)),
            None if self.document.remote.is_empty() => anyhow::bail!(
                "no remote is called `{wanted}`; `repro remote add {wanted} URL` adds it"
            ),
            None => anyhow::bail!("no remote is called `{wanted}`; there is {}", known()),
        }
    }

    /// Gets ready to use a remote.
    ///
    /// # Errors
    /// See [`Remotes::get`] and [`Remote::open`].
    pub fn open(&self, name: Option<&str>) -> anyhow::Result<Box<dyn Backend>> {
        let (name, remote) = self.get(name)?;
        remote
            .open(&self.root)
            .with_context(|| format!("the remote `{name}`"))
    }

    /// Adds or replaces a remote; the first one, and one that is asked for, becomes the default.
    ///
    /// # Errors
    /// The name is none.
    pub fn set(&mut self, name: &str, remote: Remote, is_default: bool) -> anyhow::Result<()> {
        if !is_name(name) {
            anyhow::bail!(
                "`{}` is not a name for a remote: up to 40 letters, digits, `-`, `_` and `.`",
                name.escape_debug()
            );
        }
        if is_default || self.document.remote.is_empty() {
            self.document.default = Some(name.to_owned());
        }
        self.document.remote.insert(name.to_owned(), remote);
        Ok(())
    }

    /// Removes a remote; what lies there stays.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.get(Some(name))?;
        self.document.remote.remove(name);
        if self.document.default.as_deref() == Some(name) {
            self.document.default = None;
        }
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written; then it stands as it was.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = self.root.join(FILE);
        let text = HEAD.to_owned() + &toml::to_string(&self.document)?;
        crate::whole::write_lasting(&path, text.as_bytes())
            .with_context(|| format!("cannot write `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        dir
    }

    #[test]
    fn written_and_read_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut remotes = Remotes::read(dir.path()).unwrap();
        assert!(remotes.get(None).is_err());
        let settings = Settings {
            endpoint: Some("https://s3.example.org".to_owned()),
            region: Some("garage".to_owned()),
            ..Settings::default()
        };
        let mut lab = Remote::at(&"s3://lab/x".parse().unwrap(), &settings);
        lab.found = Some(Abilities {
            first_writer_wins: false,
            can_list: true,
        });
        remotes.set("lab", lab.clone(), false).unwrap();
        let nfs = Remote::at(&"../nfs".parse().unwrap(), &Settings::default());
        remotes.set("nfs", nfs, false).unwrap();
        remotes.write().unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(dir.path().join(FILE)).unwrap());
        let mut again = Remotes::read(dir.path()).unwrap();
        assert_eq!(again.get(None).unwrap(), ("lab", &lab));
        assert!(lab.resolve(dir.path()).unwrap().1.no_conditional_put);
        let (location, _) = again
            .get(Some("nfs"))
            .unwrap()
            .1
            .resolve(dir.path())
            .unwrap();
        assert_eq!(location, Location::Directory(dir.path().join("../nfs")));
        again.remove("lab").unwrap();
        assert_eq!(again.get(None).unwrap().0, "nfs");
        again.remove("nfs").unwrap();
        again.write().unwrap();
        assert_eq!(Remotes::read(dir.path()).unwrap().iter().count(), 0);
    }

    #[test]
    fn mistakes_are_explained() {
        let two = "[remote.a]\nurl = \"/a\"\n[remote.b]\nurl = \"/b\"\n";
        let read = |text: &str| {
            let dir = project(text);
            let error = Remotes::read(dir.path()).and_then(|r| r.open(None).map(|_| ()));
            let text = format!("{:#}", error.unwrap_err());
            text.replace(&*dir.path().to_string_lossy(), "DIR")
        };
        let said = [
            read("default = \"none\"\n"),
            read("[remote.a]\nurl = \"/a\"\npassword = \"secret\"\n"),
            read("[remote.\"a b\"]\nurl = \"/a\"\n"),
            read(two),
            read("[remote.a]\nurl = \"s3://k:secret@b\"\n"),
            read("[remote.a]\nurl = \"s3://b\"\nendpoint = \"https://k:secret@h\"\n"),
            read(""),
        ];
        assert!(said.iter().all(|s| !s.contains("secret")), "{said:#?}");
        insta::assert_snapshot!(said.join("\n"));
    }
}
