//! Where a remote is: the address a user writes, parsed once.
//!
//! Addresses are kept in a file that is committed, so one that holds a password or a signature is
//! refused, and never repeated in an error. How the place is reached is decided in `backends/`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// A place that can hold results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine or of a network file system.
    Directory(PathBuf),
    /// `s3://bucket/prefix`, on Amazon or whatever speaks its protocol.
    S3(Bucket),
    /// `gs://bucket/prefix`.
    Gcs(Bucket),
    /// `az://container/prefix`.
    Azure(Bucket),
    /// A WebDAV server, or a plain one that takes PUT; `https://` or `http://`.
    Http(Url),
    /// `sftp://[user@]host[:port]/path`.
    Sftp(SftpPlace),
}

/// A bucket (Azure: a container) and the prefix of our names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Segments separated by `/`, none at the ends; empty for the whole bucket.
    pub prefix: String,
}

/// A directory that `ssh` leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpPlace {
    /// As in `~/.ssh/config`.
    pub host: String,
    /// `ssh` decides when absent.
    pub user: Option<String>,
    /// `ssh` decides when absent.
    pub port: Option<u16>,
    /// Absolute, or relative to the home directory there.
    pub path: String,
}

/// A text that is no address of a remote. What the user wrote is repeated only where it cannot hold
/// a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// `user:password@`, or a user where none is needed.
    #[error(
        "the address holds credentials, and addresses are committed to git; {0}, and give the address without them"
    )]
    Credentials(&'static str),
    /// `?signature=...`.
    #[error(
        "the address has a query (`?...`), which often is a credential, and addresses are committed to git; give it without"
    )]
    Query,
    /// A scheme that means nothing here.
    #[error(
        "`{0}://` is not a kind of remote; there are s3://, gs://, az://, https://, sftp:// and directories"
    )]
    Scheme(String),
    /// `host:path`, as scp writes it.
    #[error("`{0}` looks like an address of scp; write sftp://{1}")]
    Scp(String, String),
    /// Something is missing or illegal.
    #[error("{0}")]
    Malformed(String),
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Location, BadLocation> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return directory(text);
        };
        if rest.contains('?') {
            return Err(BadLocation::Query);
        }
        if rest.contains('#') || rest.chars().any(|c| c.is_control() || c == ' ') {
            return Err(malformed(
                "an address cannot contain `#`, spaces or control characters",
            ));
        }
        let user = rest
            .split('/')
            .next()
            .and_then(|host| host.rsplit_once('@'))
            .map(|(user, _)| user);
        match scheme {
            "s3" => {
                no_user(
                    user,
                    "keep them where the AWS tools do (environment, ~/.aws, roles)",
                )?;
                bucket(rest, "s3").map(Location::S3)
            }
            "gs" | "gcs" => {
                no_user(user, "keep them where gcloud does")?;
                bucket(rest, "gs").map(Location::Gcs)
            }
            "az" | "azure" | "abfs" | "abfss" => {
                no_user(
                    user,
                    "name the account by AZURE_STORAGE_ACCOUNT_NAME and its key in the environment",
                )?;
                bucket(rest, "az").map(Location::Azure)
            }
            "http" | "https" => http(text),
            "sftp" | "ssh" => {
                if user.is_some_and(|u| u.contains(':')) {
                    return Err(BadLocation::Credentials(
                        "let an ssh agent or ~/.ssh/config log in",
                    ));
                }
                sftp(rest)
            }
            "file" => directory(rest),
            other => Err(BadLocation::Scheme(other.chars().take(40).collect())),
        }
    }
}

fn malformed(why: impl Into<String>) -> BadLocation {
    BadLocation::Malformed(why.into())
}

fn no_user(user: Option<&str>, instead: &'static str) -> Result<(), BadLocation> {
    match user {
        Some(_) => Err(BadLocation::Credentials(instead)),
        None => Ok(()),
    }
}

fn directory(text: &str) -> Result<Location, BadLocation> {
    if text.is_empty() {
        return Err(malformed("the address is empty"));
    }
    if text.contains('\0') {
        return Err(malformed("a path cannot contain a NUL byte"));
    }
    if let Some((host, path)) = text.split_once(':')
        && !host.contains('/')
        && !Path::new(text).exists()
    {
        // `user:password@host` without a scheme must not be repeated either.
        return if host.is_empty() || path.contains('@') {
            Err(malformed(
                "this is neither a path nor an address; there are s3://, gs://, az://, https://, sftp:// and directories",
            ))
        } else {
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/~/{path}")
            };
            Err(BadLocation::Scp(text.to_owned(), format!("{host}{path}")))
        };
    }
    Ok(Location::Directory(PathBuf::from(text)))
}

fn bucket(rest: &str, scheme: &str) -> Result<Bucket, BadLocation> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(legal) {
        return Err(malformed(format!(
            "`{scheme}://` must be followed by the name of a bucket: letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(Bucket {
        name: name.to_owned(),
        prefix: segments(prefix)?,
    })
}

/// Without empty segments; those that mean something to servers are refused.
fn segments(path: &str) -> Result<String, BadLocation> {
    let parts: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    if parts.iter().any(|s| matches!(*s, "." | "..")) {
        return Err(malformed("a prefix cannot contain `.` or `..`"));
    }
    Ok(parts.join("/"))
}

fn http(text: &str) -> Result<Location, BadLocation> {
    let mut url = Url::parse(text).map_err(|e| malformed(format!("this is no URL: {e}")))?;
    // Of what is parsed: by the rules for URLs more slashes, and backslashes, may stand before the
    // host.
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    no_user(
        (!is_anonymous).then_some(url.username()),
        "put them in ~/.netrc",
    )?;
    let host = url
        .host_str()
        .ok_or_else(|| malformed("the URL names no host"))?
        .to_owned();
    for (end, instead) in [
        (".blob.core.windows.net", "az://CONTAINER/PREFIX"),
        (".amazonaws.com", "s3://BUCKET/PREFIX"),
        ("storage.googleapis.com", "gs://BUCKET/PREFIX"),
    ] {
        if host.ends_with(end) {
            return Err(malformed(format!(
                "`{host}` does not speak WebDAV; write {instead}"
            )));
        }
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(Location::Http(url))
}

fn sftp(rest: &str) -> Result<Location, BadLocation> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.trim_start_matches(':'))),
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let port = match port {
        Some(port) => Some(
            port.parse()
                .map_err(|_| malformed("the port of sftp:// is not a number"))?,
        ),
        None => None,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '%');
    // A leading dash would be an option of ssh.
    let safe = |s: &str| !s.is_empty() && !s.starts_with('-') && s.chars().all(legal);
    if !safe(host) {
        return Err(malformed(
            "sftp:// must be followed by a host, as in sftp://user@host/path",
        ));
    }
    if user.is_some_and(|u| !safe(u)) {
        return Err(malformed(
            "the user of sftp:// has letters, digits, `-`, `_` and `.`",
        ));
    }
    // More slashes mean nothing, here as between other segments.
    let path = match path.trim_start_matches('/').strip_prefix("~/") {
        Some(home) => segments(home)?,
        None => format!("/{}", segments(path)?),
    };
    if path.trim_matches('/').is_empty() {
        return Err(malformed(
            "sftp:// needs a directory: sftp://host/path, or sftp://host/~/path below the home directory",
        ));
    }
    Ok(Location::Sftp(SftpPlace {
        host: host.to_owned(),
        user: user.map(str::to_owned),
        port,
        path,
    }))
}

impl Location {
    /// What kind it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Location::Directory(_) => "directory",
            Location::S3(_) => "S3",
            Location::Gcs(_) => "GCS",
            Location::Azure(_) => "Azure",
            Location::Http(_) => "WebDAV",
            Location::Sftp(_) => "SFTP",
        }
    }
}

impl fmt::Display for Location {
    /// The normal form; parses to the same location.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_bucket = |f: &mut fmt::Formatter<'_>, scheme: &str, bucket: &Bucket| {
            write!(f, "{scheme}://{}", bucket.name)?;
            if bucket.prefix.is_empty() {
                Ok(())
            } else {
                write!(f, "/{}", bucket.prefix)
            }
        };
        match self {
            Location::Directory(path) => write!(f, "{}", path.display()),
            Location::S3(bucket) => in_bucket(f, "s3", bucket),
            Location::Gcs(bucket) => in_bucket(f, "gs", bucket),
            Location::Azure(bucket) => in_bucket(f, "az", bucket),
            Location::Http(url) => f.write_str(url.as_str()),
            Location::Sftp(place) => {
                f.write_str("sftp://")?;
                if let Some(user) = &place.user {
                    write!(f, "{user}@")?;
                }
                if place.host.contains(':') {
                    write!(f, "[{}]", place.host)?;
                } else {
                    f.write_str(&place.host)?;
                }
                if let Some(port) = place.port {
                    write!(f, ":{port}")?;
                }
                if place.path.starts_with('/') {
                    f.write_str(&place.path)
                } else {
                    write!(f, "/~/{}", place.path)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Location, String> {
        text.parse().map_err(|e: BadLocation| e.to_string())
    }

    #[test]
    fn addresses_have_a_normal_form() {
        for (text, normal) in [
            ("s3://b/p//q/", "s3://b/p/q"),
            ("s3://b", "s3://b"),
            ("gcs://b/x", "gs://b/x"),
            ("az://c/x", "az://c/x"),
            ("https://h:8443/dav/", "https://h:8443/dav"),
            ("sftp://me@h:22/~/x", "sftp://me@h:22/~/x"),
            ("sftp://h//~//x", "sftp://h/~/x"),
            ("sftp://h/srv/x/", "sftp://h/srv/x"),
            ("sftp://[::1]:2222/x", "sftp://[::1]:2222/x"),
            ("/mnt/lab", "/mnt/lab"),
            ("file:///mnt/lab", "/mnt/lab"),
            ("../lab", "../lab"),
        ] {
            assert_eq!(
                parsed(text).map(|l| l.to_string()).as_deref(),
                Ok(normal),
                "{text}"
            );
        }
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        for text in [
            "s3://AKIA:secret@bucket/x",
            "https://me:secret@host/x",
            "https://me@host/x",
            "https:////me:secret@host/x",
            "https://\\me:secret@host/x",
            "sftp://me:secret@host/x",
            "az://key:secret@c/x",
            "https://host/x?sig=secret",
            "s3://b/x?token=secret",
            "me:secret@host",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        let said: Vec<String> = [
            "",
            "ftp://host/x",
            "s3://",
            "s3:///x",
            "s3://b/../x",
            "sftp://-oProxyCommand=x/y",
            "sftp://host",
            "sftp://host:port/x",
            "lab@host:shared",
            "https://acct.blob.core.windows.net/c",
        ]
        .iter()
        .map(|text| format!("{text:?}: {}", parsed(text).unwrap_err()))
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    proptest! {
        #[test]
        fn printed_and_parsed_is_the_same(text in "(s3|gs|az|http|sftp)://[a-z@:\\[\\]0-9.-]{1,12}(/[a-z~. %]{0,4}){0,3}") {
            if let Ok(location) = text.parse::<Location>() {
                prop_assert_eq!(location.to_string().parse::<Location>(), Ok(location));
            }
        }
    }
}
