//! Answers of HTTP servers that are read as a whole (listings, errors, whatever is no object's
//! body): no more of them than any server has reason to send, and counted. `object_store` collects
//! such an answer in memory, however long it is.
//!
//! A request that a closing connection took no byte of is told as one that found no connection, so
//! that it is tried again: `object_store` does not know what `hyper` says of it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};

/// Bytes of the largest answer. A page of a bucket has a megabyte or two, a directory of 50,000
/// files some forty.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Connects as `object_store` does, and bounds what comes back.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounding {
    /// Bytes of such answers so far.
    received: Arc<AtomicU64>,
}

impl Bounding {
    /// Bytes received since the last call.
    pub fn take_received(&self) -> u64 {
        self.received.swap(0, Ordering::Relaxed)
    }
}

impl HttpConnector for Bounding {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Bounded {
            inner: ReqwestConnector::default().connect(options)?,
            received: self.received.clone(),
        }))
    }
}

#[derive(Debug)]
struct Bounded {
    inner: HttpClient,
    received: Arc<AtomicU64>,
}

/// A successful `GET` without these is an object, which is read in pieces.
const LISTING_WORDS: [&str; 3] = ["list-type=", "comp=list", "uploads"];

#[async_trait::async_trait]
impl HttpService for Bounded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_get = request.method().as_str() == "GET";
        let query = request.uri().query().unwrap_or_default();
        let lists = LISTING_WORDS.iter().any(|word| query.contains(word));
        let answer = self.inner.execute(request).await.map_err(unsent)?;
        if is_get && !lists && answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = HttpResponseBody::new(BoundedBody {
            inner: body,
            bytes_left: ANSWER_BYTES_MAX,
            received: self.received.clone(),
        });
        Ok(HttpResponse::from_parts(head, body))
    }
}

/// `error`, as one that may be tried again where nothing was sent.
fn unsent(error: HttpError) -> HttpError {
    let mut source = error.source();
    while let Some(e) = source {
        if e.downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return HttpError::new(HttpErrorKind::Connect, error);
        }
        source = e.source();
    }
    error
}

struct BoundedBody {
    inner: HttpResponseBody,
    bytes_left: u64,
    received: Arc<AtomicU64>,
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref().map(|data| data.len() as u64)
        {
            self.received.fetch_add(bytes, Ordering::Relaxed);
            if bytes > self.bytes_left {
                let why = format!(
                    "the answer has more than {} MiB, which no listing and no message has",
                    ANSWER_BYTES_MAX >> 20
                );
                let error = HttpError::new(HttpErrorKind::Decode, std::io::Error::other(why));
                return Poll::Ready(Some(Err(error)));
            }
            self.bytes_left -= bytes;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    /// What a server announces is not believed: memory would be taken for it at once.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;

    use super::*;

    #[derive(Debug)]
    struct Failing;

    /// As `reqwest` says it: what `hyper` met is the source of an error of its own.
    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Sending(#[source] hyper::Error);

    #[async_trait::async_trait]
    impl HttpService for Failing {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let (here, there) = tokio::io::duplex(64);
            let (mut sender, connection) = handshake(TokioIo::new(here)).await.unwrap();
            drop((connection, there));
            let request = HttpRequest::new(Vec::new().into());
            let error = sender.send_request(request).await.unwrap_err();
            Err(HttpError::new(HttpErrorKind::Unknown, Sending(error)))
        }
    }

    #[test]
    fn a_request_that_a_closing_connection_did_not_take_may_be_tried_again() {
        let bounded = Bounded {
            inner: HttpClient::new(Failing),
            received: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let request = HttpRequest::new(Vec::new().into());
        let answer = runtime.block_on(bounded.call(request));
        let error = answer.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Connect, "{error:?}");
    }
}
