//! What went wrong, in the words of [`BackendError`]: a cause to act on, and a text for people.
//!
//! Nothing of a request is repeated (a URL may be signed), and of an answer only its status, its
//! code and its message, bounded and without control characters: the other side may be hostile.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use crate::remote::{BackendError, BackendFault};

/// Bytes of the other side's words that are shown.
const WORDS: usize = 200;

pub(super) fn error(
    cause: BackendFault,
    doing: &'static str,
    what: impl Into<String>,
    why: impl Into<String>,
) -> BackendError {
    BackendError {
        cause,
        doing,
        what: what.into(),
        why: why.into(),
    }
}

/// A file of this machine.
pub(super) fn local(doing: &'static str, what: impl Into<String>, e: &io::Error) -> BackendError {
    error(BackendFault::Local, doing, what, e.to_string())
}

/// What `object_store` says.
pub(super) fn of_store(
    doing: &'static str,
    what: impl Into<String>,
    e: &object_store::Error,
) -> BackendError {
    let (cause, why) = explain(e);
    error(cause, doing, what, why)
}

/// The same in the middle of a body.
pub(super) fn of_reading(e: &object_store::Error) -> io::Error {
    let (cause, why) = explain(e);
    let kind = match cause {
        BackendFault::Unreachable => io::ErrorKind::ConnectionAborted,
        BackendFault::Refused => io::ErrorKind::PermissionDenied,
        BackendFault::NotFound => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}

/// An answer of a WebDAV server to a request of our own.
pub(super) fn of_status(status: u16, reason: &str, body: &str) -> (BackendFault, String) {
    from_answer(status, &format!("{status} {reason}"), body)
}

fn explain(e: &object_store::Error) -> (BackendFault, String) {
    use object_store::Error as E;
    let mut chain: Vec<&(dyn Error + 'static)> = vec![e];
    while let Some(source) = chain.last().copied().and_then(Error::source) {
        chain.push(source);
    }
    let innermost = chain.last().map(|e| e.to_string()).unwrap_or_default();
    // The type that holds the status is private; its text is documented by tests here.
    if let Some((_, answer)) = innermost.split_once("status code: ") {
        let (line, body) = answer.split_once(": ").unwrap_or((answer, ""));
        let status = line
            .split(' ')
            .next()
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        return from_answer(status, line, body);
    }
    if let Some((_, body)) = innermost.split_once("error response: ") {
        return from_answer(200, "an error", body);
    }
    if innermost.contains("redirect without LOCATION") {
        return (
            BackendFault::Other,
            "the bucket is in another region; give it with --region".to_owned(),
        );
    }
    let transport = chain.iter().find_map(|e| e.downcast_ref::<HttpError>());
    if let Some(http) = transport {
        return match http.kind() {
            HttpErrorKind::Timeout => (BackendFault::Unreachable, "no answer in time".to_owned()),
            HttpErrorKind::Connect => (
                BackendFault::Unreachable,
                format!("no connection: {}", clean(&innermost)),
            ),
            HttpErrorKind::Request | HttpErrorKind::Interrupted => (
                BackendFault::Unreachable,
                format!("the connection was cut: {}", clean(&innermost)),
            ),
            _ if is_broken_connection(&chain) => (
                BackendFault::Unreachable,
                format!("the connection was cut: {}", clean(&innermost)),
            ),
            _ => (BackendFault::Other, clean(&innermost)),
        };
    }
    let cause = match e {
        E::NotFound { .. } => BackendFault::NotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => BackendFault::Refused,
        E::NotSupported { .. } | E::NotImplemented { .. } => BackendFault::Unsupported,
        _ => BackendFault::Other,
    };
    (cause, clean(&innermost))
}

/// A body that ends before its announced length, or a peer that speaks nonsense: the same call may
/// succeed in a moment.
fn is_broken_connection(chain: &[&(dyn Error + 'static)]) -> bool {
    chain.iter().any(|e| {
        let text = e.to_string();
        text.contains("error reading a body from connection")
            || text.contains("error decoding response body")
            || text.contains("end of file before message length reached")
    })
}

/// `line` is the status in words, `body` what came with it: XML with a code and a message, or
/// anything.
fn from_answer(status: u16, line: &str, body: &str) -> (BackendFault, String) {
    let code = between(body, "<Code>", "</Code>")
        .or_else(|| between(body, "<code>", "</code>"))
        .unwrap_or_default();
    let message = between(body, "<Message>", "</Message>")
        .or_else(|| between(body, "<message>", "</message>"));
    let said = match (code.is_empty(), message) {
        (false, Some(message)) => format!("{}: {code}: {message}", clean(line)),
        (false, None) => format!("{}: {code}", clean(line)),
        _ => clean(line),
    };
    let (cause, remedy) = match (status, code.as_str()) {
        (_, "NoSuchBucket" | "ContainerNotFound") => (
            BackendFault::Other,
            "; there is no such bucket: make it first, or correct the address",
        ),
        (_, "SlowDown" | "ServerBusy") | (429 | 503, _) => (BackendFault::Throttled, ""),
        (_, "InvalidAccessKeyId") => (
            BackendFault::Refused,
            "; this access key is unknown there: check the environment or the profile it comes from",
        ),
        (_, "SignatureDoesNotMatch") => (
            BackendFault::Refused,
            "; the secret key (or the region) is wrong: check the environment or the profile it comes from",
        ),
        (_, "RequestTimeTooSkewed") => (
            BackendFault::Refused,
            "; the clock of this machine is wrong: set it",
        ),
        (401, _) => (BackendFault::Refused, "; credentials are missing or wrong"),
        (403, _) => (
            BackendFault::Refused,
            "; the credentials do not suffice for this, or are wrong",
        ),
        (404, _) => (BackendFault::NotFound, ""),
        (408 | 500 | 502 | 504, _) => (BackendFault::Unreachable, ""),
        (405 | 501, _) => (BackendFault::Unsupported, ""),
        (413, _) => (
            BackendFault::Other,
            "; the server refuses bodies of this size (nginx: client_max_body_size)",
        ),
        (507, _) => (BackendFault::Other, "; the storage is full"),
        (301 | 302 | 307 | 308, _) => (
            BackendFault::Other,
            "; the address leads elsewhere: give the final one (S3: the right --region)",
        ),
        _ => (BackendFault::Other, ""),
    };
    (cause, said + remedy)
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    let (inner, _) = rest.split_once(end)?;
    Some(clean(inner))
}

/// One line of bounded length without control characters.
pub(super) fn clean(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS)
        .collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let xml = |code: &str| {
            format!(
                "<?xml?><Error><Code>{code}</Code><Message>As it says.</Message><StringToSign>AWS4</StringToSign></Error>"
            )
        };
        let said: Vec<String> = [
            (403, "403 Forbidden", xml("InvalidAccessKeyId")),
            (403, "403 Forbidden", xml("SignatureDoesNotMatch")),
            (403, "403 Forbidden", String::new()),
            (404, "404 Not Found", xml("NoSuchBucket")),
            (404, "404 Not Found", xml("NoSuchKey")),
            (503, "503 Service Unavailable", xml("SlowDown")),
            (502, "502 Bad Gateway", "<html>\x1b[31m</html>".to_owned()),
            (413, "413 Payload Too Large", String::new()),
            (418, "418 I'm\x1b[31m a teapot", "x".repeat(10_000)),
        ]
        .into_iter()
        .map(|(status, line, body)| {
            let (cause, why) = from_answer(status, line, &body);
            format!("{cause:?}: {why}")
        })
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
