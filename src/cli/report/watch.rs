//! `repro report --watch`: the page on a port of this machine, made anew when something changed.
//!
//! Decides who is answered and when the page is made again. What the page says, and how it takes
//! over what is new, is the report's.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use repro_engine::digest::Digest;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// The page, and what it was made of.
pub struct Watched<F> {
    make: F,
    /// Files and directories that change when a run goes on, or the study.
    of: Vec<PathBuf>,
    made: Option<Made>,
}

struct Made {
    from: Stamp,
    page: Result<String, String>,
    etag: String,
}

/// Names, sizes and times of the files that are watched.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl<F: FnMut() -> anyhow::Result<String>> Watched<F> {
    /// A page that `make` makes, again whenever one of these files changes, or one of the files in
    /// these directories.
    pub fn new(of: Vec<PathBuf>, make: F) -> Watched<F> {
        Watched {
            make,
            of,
            made: None,
        }
    }

    /// Answers until the program is ended; `told` gets the address before.
    ///
    /// # Errors
    /// The port is taken.
    pub fn serve(self, port: u16, told: impl FnOnce(SocketAddr)) -> anyhow::Result<()>
    where
        F: 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let watched = Rc::new(RefCell::new(self));
        LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .await
                .with_context(|| {
                    format!(
                        "port {port} of this machine cannot be used; `--port` takes another one"
                    )
                })?;
            told(listener.local_addr()?);
            loop {
                // A browser that went away before it was answered is no error of ours.
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let watched = Rc::clone(&watched);
                tokio::task::spawn_local(async move {
                    let answer = service_fn(|request: Request<Incoming>| {
                        let answer = watched.borrow_mut().answer(
                            request.method(),
                            request.uri().path(),
                            request.headers(),
                        );
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let connection = http1::Builder::new();
                    let _ = connection
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        })
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        // A page of somebody else's that has its name point here must not read the report.
        if !is_here(headers) {
            return said(StatusCode::FORBIDDEN, "this page is for this machine");
        }
        if method != Method::GET {
            return said(
                StatusCode::METHOD_NOT_ALLOWED,
                "there is nothing to change here",
            );
        }
        if path != "/" {
            return said(StatusCode::NOT_FOUND, "the report is at /");
        }
        let from = stamp(&self.of);
        let made = match self.made.take().filter(|made| made.from == from) {
            Some(made) => made,
            None => {
                let page = (self.make)().map_err(|e| format!("{e:#}"));
                let text = match &page {
                    Ok(text) | Err(text) => text,
                };
                let etag = format!("\"{}\"", Digest::of(text.as_bytes()).hex());
                Made { from, page, etag }
            }
        };
        let made = self.made.insert(made);
        let is_known = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|known| known == made.etag.as_str());
        let (status, kind, body) = match &made.page {
            _ if is_known => (StatusCode::NOT_MODIFIED, "text/html", String::new()),
            Ok(page) => (StatusCode::OK, "text/html", page.clone()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", why.clone()),
        };
        let mut response = said(status, body);
        let headers = response.headers_mut();
        let kind = format!("{kind}; charset=utf-8");
        for (name, value) in [
            (header::CONTENT_TYPE, kind.as_str()),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, made.etag.as_str()),
        ] {
            // All of them are ASCII.
            if let Ok(value) = value.parse() {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn said(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// Whether the request was made to this machine by a name that is only its own.
fn is_here(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    matches!(name, Some("127.0.0.1" | "localhost"))
}

fn stamp(of: &[PathBuf]) -> Stamp {
    let look = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((path.to_owned(), metadata.len(), metadata.modified().ok()))
    };
    let mut stamp = Stamp::new();
    for path in of {
        stamp.extend(look(path));
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        stamp.extend(entries.filter_map(|entry| look(&entry.path())));
    }
    stamp.sort();
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, host.parse().unwrap())])
    }

    #[test]
    fn the_page_is_made_once_until_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = 0;
        let mut watched = Watched::new(vec![dir.path().to_owned()], || {
            made += 1;
            Ok(format!("page {made}"))
        });
        let mut ask = |headers: &HeaderMap| watched.answer(&Method::GET, "/", headers);
        let first = ask(&headers("127.0.0.1:8000"));
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[header::ETAG].clone();
        let mut again = headers("localhost:8000");
        again.insert(header::IF_NONE_MATCH, etag);
        assert_eq!(ask(&again).status(), StatusCode::NOT_MODIFIED);
        std::fs::write(dir.path().join("new"), "x").unwrap();
        assert_eq!(ask(&again).status(), StatusCode::OK);
        drop(watched);
        assert_eq!(made, 2);
    }

    #[test]
    fn others_are_told_nothing() {
        let mut watched = Watched::new(Vec::new(), || anyhow::bail!("no page"));
        let here = headers("localhost:1");
        for (method, path, headers, status) in [
            (
                Method::GET,
                "/",
                headers("evil.example:1"),
                StatusCode::FORBIDDEN,
            ),
            (Method::GET, "/", HeaderMap::new(), StatusCode::FORBIDDEN),
            (
                Method::POST,
                "/",
                here.clone(),
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            (Method::GET, "/x", here.clone(), StatusCode::NOT_FOUND),
            (Method::GET, "/", here, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            assert_eq!(watched.answer(&method, path, &headers).status(), status);
        }
    }
}
