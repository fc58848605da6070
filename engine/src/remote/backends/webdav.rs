//! HTTP servers: WebDAV (Apache, nginx, Nextcloud, rclone serve), or plain ones that take PUT and
//! DELETE.
//!
//! Small bodies go through `object_store`. A large one is streamed from its file by a request of
//! our own, because there it would have to be in memory as a whole. What a server without WebDAV
//! cannot do (list) is [`BackendFault::Unsupported`].

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, HeaderMap, HeaderValue};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, IF_NONE_MATCH};
use tokio::io::AsyncReadExt;
use url::Url;

use super::again::write_again;
use super::answers::Bounding;
use super::bucket::{BucketBackend, Creating, Touch, Traits};
use super::netrc::{self, Login};
use super::patience::{self, PART_BYTES, with_patience};
use super::runtime::Runtime;
use super::{Env, failure};
use crate::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading,
};

/// A large body that travels slower than this (bytes per second) is given up.
const SLOWEST: u64 = 100_000;

/// See the module.
pub struct WebDavBackend {
    small: BucketBackend,
    runtime: Runtime,
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    directories: Mutex<Directories>,
}

/// Directories (WebDAV: collections) that names are in. Most servers want them made first, some
/// make them themselves.
#[derive(Default)]
struct Directories {
    /// A write failed for want of one, so they are made before every write.
    are_wanted: bool,
    /// Known to be there.
    made: HashSet<String>,
}

impl WebDavBackend {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// `~/.netrc` cannot be read.
    pub fn new(url: &Url, env: Env<'_>) -> Result<WebDavBackend, BackendError> {
        let refused = |why: String| failure::error(BackendFault::Refused, "use", url.as_str(), why);
        let mut headers = HeaderMap::new();
        if let Some(login) =
            netrc::login(url.host_str().unwrap_or_default(), env).map_err(refused)?
        {
            headers.insert(
                AUTHORIZATION,
                basic(&login).ok_or_else(|| {
                    refused("the log-in in ~/.netrc has characters no request can carry".to_owned())
                })?,
            );
        }
        let runtime = Runtime::new()?;
        // Names in listings begin at the root of the server, so the path of the address is the
        // prefix.
        let mut root = url.clone();
        root.set_path("");
        let answers = Bounding::default();
        let build = |headers: HeaderMap| {
            let options: ClientOptions = patience::client()
                .with_allow_http(true)
                .with_default_headers(headers);
            HttpBuilder::new()
                .with_url(root.as_str())
                .with_client_options(options)
                .with_retry(patience::retry())
                .with_http_connector(answers.clone())
                .build()
                .map_err(|e| failure::of_store("use", url.as_str(), &e))
        };
        let mut guarded = headers.clone();
        guarded.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let traits = Traits {
            touch: Touch::Rewrite,
            creating: Creating::LookFirstAnd(Arc::new(build(guarded)?)),
            takes_parts: false,
            lists_directories: true,
        };
        let prefix = percent_decoded(url.path());
        let small = BucketBackend::new(
            runtime.clone(),
            Arc::new(build(headers.clone())?),
            prefix.trim_matches('/'),
            traits,
            url.to_string(),
            answers.clone(),
        )?;
        let client = reqwest::Client::builder()
            .connect_timeout(patience::connect())
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| {
                failure::error(
                    BackendFault::Other,
                    "use",
                    url.as_str(),
                    e.without_url().to_string(),
                )
            })?;
        Ok(WebDavBackend {
            small,
            runtime,
            client,
            url: url.clone(),
            headers,
            directories: Mutex::default(),
        })
    }

    fn stream(&self, name: &Name, body: &Body<'_>, bytes_total: u64) -> Result<(), BackendError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", self.url.path().trim_end_matches('/')));
        let patience = patience::silence() + Duration::from_secs(bytes_total / SLOWEST);
        let answered = self.runtime.wait(async {
            let body = streamed(body).await.map_err(Trouble::Local)?;
            let sent = self
                .client
                .put(url)
                .headers(self.headers.clone())
                .header(CONTENT_LENGTH, bytes_total)
                .timeout(patience)
                .body(body)
                .send()
                .await
                .map_err(Trouble::Transport)?;
            let status = sent.status();
            if status.is_success() {
                return Ok(());
            }
            Err(Trouble::Status(status))
        });
        let what = name.as_str();
        answered.map_err(|trouble| match trouble {
            Trouble::Local(e) => failure::local("read what was to be sent to", what, &e),
            Trouble::Transport(e) => told(e, name),
            Trouble::Status(status) => {
                let reason = status.canonical_reason().unwrap_or_default();
                let (cause, why) = failure::of_status(status.as_u16(), reason, "");
                failure::error(cause, "write", what, why)
            }
        })
    }

    /// Makes the directories above a name.
    fn make_directories(&self, name: &Name) -> Result<(), BackendError> {
        let mut directories = self.directories.lock().unwrap_or_else(|e| e.into_inner());
        directories.are_wanted = true;
        let path = format!("{}/{name}", self.url.path().trim_end_matches('/'));
        let Some((parent, _)) = path.rsplit_once('/') else {
            return Ok(());
        };
        self.make_directory(parent, name, &mut directories.made)
    }

    fn make_directory(
        &self,
        path: &str,
        name: &Name,
        made: &mut HashSet<String>,
    ) -> Result<(), BackendError> {
        if path.is_empty() || made.contains(path) {
            return Ok(());
        }
        let mut status = self.request_directory(path, name)?;
        // Of its own parent it says 409; some servers say 404.
        if matches!(status, 404 | 409)
            && let Some((parent, _)) = path.rsplit_once('/')
        {
            self.make_directory(parent, name, made)?;
            status = self.request_directory(path, name)?;
        }
        // 405: it is there.
        if matches!(status, 200..=299 | 405) {
            made.insert(path.to_owned());
            return Ok(());
        }
        let (cause, why) = failure::of_status(status, "on making a directory", "");
        Err(failure::error(cause, "write", name.as_str(), why))
    }

    fn request_directory(&self, path: &str, name: &Name) -> Result<u16, BackendError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{path}/"));
        let method = reqwest::Method::from_bytes(b"MKCOL").map_err(|e| {
            failure::error(BackendFault::Other, "write", name.as_str(), e.to_string())
        })?;
        let request = self
            .client
            .request(method, url)
            .headers(self.headers.clone())
            .timeout(patience::silence());
        with_patience(|_| {
            let request = request.try_clone().ok_or_else(|| {
                failure::error(
                    BackendFault::Other,
                    "write",
                    name.as_str(),
                    "a request cannot be repeated",
                )
            })?;
            match self.runtime.wait(async { request.send().await }) {
                Ok(answer) => Ok(answer.status().as_u16()),
                Err(e) => Err(told(e, name)),
            }
        })
    }

    fn put_once(
        &self,
        name: &Name,
        body: &Body<'_>,
        mode: PutMode,
    ) -> Result<PutOutcome, BackendError> {
        let bytes_total = body
            .bytes_total()
            .map_err(|e| failure::local("read what was to be sent to", name.as_str(), &e))?;
        if bytes_total <= PART_BYTES {
            return self.small.put(name, *body, mode);
        }
        if mode == PutMode::Create {
            match self.head(name) {
                Ok(_) => return Ok(PutOutcome::WasThere),
                Err(e) if e.cause == BackendFault::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        with_patience(|_| self.stream(name, body, bytes_total))?;
        Ok(PutOutcome::Written)
    }
}

/// A request that was not answered.
fn told(e: reqwest::Error, name: &Name) -> BackendError {
    let e = e.without_url();
    let mut innermost: &dyn std::error::Error = &e;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let why = failure::clean(&innermost.to_string());
    failure::error(BackendFault::Unreachable, "write", name.as_str(), why)
}

/// The bytes of a body, read as they are sent.
async fn streamed(body: &Body<'_>) -> std::io::Result<reqwest::Body> {
    let (head, path) = match *body {
        Body::Bytes(bytes) => return Ok(bytes.to_vec().into()),
        Body::File(path) => (&[][..], path),
        Body::Headed(head, path) => (head, path),
    };
    let file = tokio::fs::File::open(path).await?;
    let head = Bytes::copy_from_slice(head);
    let pieces = futures_util::stream::try_unfold((head, file), |(head, mut file)| async move {
        if !head.is_empty() {
            return Ok(Some((head, (Bytes::new(), file))));
        }
        let mut piece = vec![0; 256 << 10];
        let bytes = file.read(&mut piece).await?;
        piece.truncate(bytes);
        let more = bytes > 0;
        Ok::<_, std::io::Error>(more.then(|| (piece.into(), (Bytes::new(), file))))
    });
    Ok(reqwest::Body::wrap_stream(pieces))
}

enum Trouble {
    Local(std::io::Error),
    Transport(reqwest::Error),
    Status(reqwest::StatusCode),
}

fn basic(login: &Login) -> Option<HeaderValue> {
    use base64::Engine;
    let both = format!("{}:{}", login.user, login.password);
    let text = base64::engine::general_purpose::STANDARD.encode(both);
    let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn percent_decoded(path: &str) -> String {
    percent_encoding::percent_decode_str(path)
        .decode_utf8_lossy()
        .into_owned()
}

impl Backend for WebDavBackend {
    fn describe(&self) -> String {
        self.small.describe()
    }

    fn take_listed_bytes(&self) -> u64 {
        self.small.take_listed_bytes()
    }

    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        self.small.get(name, from)
    }

    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        self.small.head(name)
    }

    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let are_wanted = self
            .directories
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .are_wanted;
        if are_wanted {
            self.make_directories(name)?;
            return self.put_once(name, &body, mode);
        }
        match self.put_once(name, &body, mode) {
            // How servers say that a directory is missing: 409 by the book, 404, nginx 500.
            Err(e)
                if matches!(
                    e.cause,
                    BackendFault::NotFound | BackendFault::Unreachable | BackendFault::Other
                ) =>
            {
                if self.make_directories(name).is_err() {
                    return Err(e);
                }
                self.put_once(name, &body, mode)
            }
            other => other,
        }
    }

    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.small.list(prefix, each)
    }

    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        self.small.delete(name)
    }

    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        // Not the small one's: a large body must not be written from memory.
        write_again(self, name)
    }
}
