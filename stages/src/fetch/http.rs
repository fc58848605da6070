//! Downloads one address into one file: retries, resumption, bounds. The caller decides whether the
//! bytes are right.
//!
//! A partial file `X.part` is continued with a `Range` request. If no checksum will be verified,
//! that needs an `If-Range` with the strong ETag of the first part (kept in `X.part.etag`), so that
//! two versions of a file are never mixed. Proxies are taken from the environment (`HTTPS_PROXY`,
//! `ALL_PROXY`, `NO_PROXY` ...). Bodies are taken as sent: a `.gz` stays a `.gz`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::StatusCode;

/// What a download may be.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Its exact size, where known.
    pub bytes_exact: Option<u64>,
    /// More than this is refused.
    pub bytes_max: Option<u64>,
    /// The caller verifies the content, so a partial file may be continued without further proof.
    pub verified: bool,
    /// An answer that calls itself a web page is not the file.
    pub no_page: bool,
}

/// An HTTP client with a policy for retries.
pub struct Client {
    agent: ureq::Agent,
    /// Attempts without any progress before giving up.
    attempts: u32,
    /// Wait after the first failure; doubled after each further one.
    first_wait: Duration,
}

/// However often there was progress, an address that fails this often is given up.
const ATTEMPTS_MAX: u32 = 100;

enum Trouble {
    /// Another attempt may succeed.
    Passing(String),
    /// The host could not be reached at all: worth one more attempt, not many.
    Unreachable(String),
    /// Another attempt would end the same way.
    Lasting(String),
}

impl Default for Client {
    /// Five attempts, waiting 0.5, 1, 2 and 4 s; 15 s to connect, 60 s of silence are a failure.
    fn default() -> Client {
        Client::new(5, Duration::from_millis(500), ureq::Proxy::try_from_env())
    }
}

impl Client {
    /// A client that gives up after `attempts` attempts without progress and waits `first_wait`
    /// after the first.
    pub fn new(attempts: u32, first_wait: Duration, proxy: Option<ureq::Proxy>) -> Client {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(proxy)
            .user_agent(concat!("repro/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Client {
            agent,
            attempts,
            first_wait,
        }
    }

    /// Downloads `url` to `part`, going on where an earlier download stopped; returns the bytes
    /// moved by this call.
    ///
    /// `report` hears of bytes done and in all.
    ///
    /// # Errors
    /// When the server has no such file, sends too much or too little, or stays out of reach. The
    /// partial file then remains, unless it is of no use.
    pub fn download(
        &self,
        url: &str,
        part: &Path,
        limits: &Limits,
        report: &mut dyn FnMut(u64, Option<u64>),
    ) -> anyhow::Result<u64> {
        let mut bytes_moved = 0;
        let mut failures = 0;
        let length = || std::fs::metadata(part).map_or(0, |meta| meta.len());
        let mut furthest = length();
        for attempt in 1.. {
            let trouble = match self.attempt(url, part, limits, report, &mut bytes_moved) {
                Ok(()) => return Ok(bytes_moved),
                Err(trouble) => trouble,
            };
            let text = match trouble {
                Trouble::Lasting(text) => anyhow::bail!(text),
                Trouble::Passing(text) => {
                    failures = if length() > furthest { 1 } else { failures + 1 };
                    furthest = furthest.max(length());
                    text
                }
                Trouble::Unreachable(text) => {
                    failures += self.attempts.div_ceil(2);
                    text
                }
            };
            if failures >= self.attempts || attempt >= ATTEMPTS_MAX {
                anyhow::bail!("{text} (gave up after {attempt} attempts)");
            }
            std::thread::sleep(self.first_wait * (1 << (failures - 1).min(6)));
        }
        unreachable!("the loop ends by returning")
    }

    fn attempt(
        &self,
        url: &str,
        part: &Path,
        limits: &Limits,
        report: &mut dyn FnMut(u64, Option<u64>),
        bytes_moved: &mut u64,
    ) -> Result<(), Trouble> {
        let etag = std::fs::read_to_string(etag_path(part)).ok();
        let have = match std::fs::metadata(part) {
            Ok(meta) if limits.verified || etag.is_some() => meta.len(),
            _ => 0,
        };
        // A job killed between download and use left a whole file.
        if have > 0 && limits.bytes_exact == Some(have) {
            return Ok(());
        }
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
            if let Some(etag) = &etag {
                request = request.header("If-Range", etag);
            }
        }
        let mut response = request.call().map_err(classified)?;
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT
                if have > 0 && range_start(header("content-range")) == Some(have) =>
            {
                have
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                forget(part);
                return Err(Trouble::Passing(format!(
                    "the server cannot go on from byte {have}"
                )));
            }
            status @ (StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS) => {
                return Err(Trouble::Passing(format!("the server answers {status}")));
            }
            status if status.is_server_error() => {
                return Err(Trouble::Passing(format!("the server answers {status}")));
            }
            status => return Err(Trouble::Lasting(format!("the server answers {status}"))),
        };
        let kind = header("content-type").unwrap_or_default();
        let is_page = ["text/html", "application/xhtml"]
            .iter()
            .any(|page| kind.starts_with(page));
        if is_page && limits.no_page {
            forget(part);
            return Err(Trouble::Lasting(format!(
                "the server answers with a web page ({kind}), such as a log-in or an error, not with the file"
            )));
        }
        let body_bytes: Option<u64> = header("content-length").and_then(|n| n.parse().ok());
        let total = body_bytes.map(|n| start + n);
        let limit = limits.bytes_exact.or(limits.bytes_max).unwrap_or(u64::MAX);
        if let Some(total) = total
            && (total > limit || limits.bytes_exact.is_some_and(|exact| exact != total))
        {
            forget(part);
            return Err(Trouble::Lasting(wrong_size(total, limits)));
        }
        if start == 0 {
            let strong = header("etag").filter(|tag| !tag.starts_with("W/"));
            match strong {
                Some(tag) => {
                    std::fs::write(etag_path(part), tag).map_err(|e| unwritable(part, &e))?;
                }
                None => drop(std::fs::remove_file(etag_path(part))),
            }
        }
        let file = if start == 0 {
            File::create(part)
        } else {
            OpenOptions::new().append(true).open(part)
        };
        let mut file = file.map_err(|e| unwritable(part, &e))?;
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut done = start;
        report(done, total);
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    return Err(Trouble::Passing(format!(
                        "the connection broke after {done} bytes: {e}"
                    )));
                }
            };
            if done + n as u64 > limit {
                drop(file);
                forget(part);
                return Err(Trouble::Lasting(wrong_size(done + n as u64, limits)));
            }
            file.write_all(&buffer[..n])
                .map_err(|e| unwritable(part, &e))?;
            done += n as u64;
            *bytes_moved += n as u64;
            report(done, total);
        }
        match total.or(limits.bytes_exact) {
            Some(total) if done < total => Err(Trouble::Passing(format!(
                "the connection ended after {done} of {total} bytes"
            ))),
            _ => Ok(()),
        }
    }
}

/// Deletes a partial file and what is known about it.
pub fn forget(part: &Path) {
    for path in [part, &etag_path(part)] {
        // It may not exist, or was moved away: both are what is wanted.
        let _ = std::fs::remove_file(path);
    }
}

fn etag_path(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".etag");
    name.into()
}

/// `bytes 100-199/200` starts at 100.
fn range_start(content_range: Option<String>) -> Option<u64> {
    content_range?
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

fn wrong_size(got: u64, limits: &Limits) -> String {
    match limits.bytes_exact {
        Some(exact) => format!(
            "the file has the wrong size: expected {exact} bytes, got {}{got}",
            if got > exact { "at least " } else { "" }
        ),
        None => format!(
            "the file is too large: at most {} bytes were expected",
            limits.bytes_max.unwrap_or(u64::MAX)
        ),
    }
}

fn unwritable(part: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Lasting(format!("cannot write {}: {error}", part.display()))
}

fn classified(error: ureq::Error) -> Trouble {
    let text = error.to_string();
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Trouble::Unreachable(text),
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            Trouble::Unreachable(text)
        }
        // Certificates that do not verify arrive as invalid data.
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => Trouble::Lasting(text),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => {
            Trouble::Passing(text)
        }
        _ => Trouble::Lasting(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Answer, Server};
    use super::*;

    /// Does not wait and asks no proxy.
    fn client() -> Client {
        Client::new(4, Duration::from_millis(1), None)
    }

    fn file() -> Vec<u8> {
        (0..300_000u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect()
    }

    struct Case {
        server: Server,
        dir: tempfile::TempDir,
        limits: Limits,
    }

    impl Case {
        fn new(etag: Option<&str>, answers: Vec<Answer>) -> Case {
            let limits = Limits {
                bytes_exact: Some(300_000),
                bytes_max: None,
                verified: true,
                ..Limits::default()
            };
            Case {
                server: Server::start(&file(), etag, answers),
                dir: tempfile::tempdir().unwrap(),
                limits,
            }
        }

        fn part(&self) -> PathBuf {
            self.dir.path().join("x.part")
        }

        fn run(&self) -> Result<u64, String> {
            let url = format!("{}/x", self.server.url);
            let moved = client()
                .download(&url, &self.part(), &self.limits, &mut |_, _| {})
                .map_err(|e| e.to_string())?;
            assert_eq!(std::fs::read(self.part()).unwrap(), file());
            Ok(moved)
        }
    }

    #[test]
    fn a_cut_connection_is_resumed() {
        let case = Case::new(
            None,
            vec![
                Answer::CutAfter(100_000),
                Answer::CutAfter(50_000),
                Answer::Good,
            ],
        );
        assert_eq!(case.run(), Ok(300_000));
        assert_eq!(
            case.server.requests(),
            ["/x", "/x from 100000", "/x from 150000"]
        );
    }

    #[test]
    fn a_part_of_a_killed_job_is_resumed_and_a_whole_one_not_fetched_again() {
        let case = Case::new(None, vec![Answer::Good]);
        std::fs::write(case.part(), &file()[..200_000]).unwrap();
        assert_eq!(case.run(), Ok(100_000));
        assert_eq!(case.run(), Ok(0));
        assert_eq!(case.server.requests(), ["/x from 200000"]);
    }

    #[test]
    fn a_server_that_ignores_ranges_starts_again() {
        let case = Case::new(None, vec![Answer::CutAfter(100_000), Answer::IgnoreRange]);
        assert_eq!(case.run(), Ok(400_000));
    }

    #[test]
    fn without_a_checksum_only_the_same_version_is_continued() {
        let mut case = Case::new(
            Some("\"v2\""),
            vec![Answer::CutAfter(100_000), Answer::Good],
        );
        case.limits = Limits::default();
        // A part of unknown version is not continued.
        std::fs::write(case.part(), [7; 1000]).unwrap();
        assert_eq!(case.run(), Ok(300_000));
        assert_eq!(case.server.requests(), ["/x", "/x from 100000"]);
        // A part of another version is answered with the whole file.
        std::fs::write(case.part(), [7; 1000]).unwrap();
        std::fs::write(etag_path(&case.part()), "\"v1\"").unwrap();
        case.run().unwrap();
        assert_eq!(case.server.requests()[2..], ["/x"]);
    }

    #[test]
    fn passing_errors_are_retried_and_lasting_ones_not() {
        let case = Case::new(
            None,
            vec![Answer::Status(500), Answer::Status(503), Answer::Good],
        );
        assert_eq!(case.run(), Ok(300_000));
        let case = Case::new(None, vec![Answer::Status(404)]);
        assert!(
            case.run()
                .unwrap_err()
                .starts_with("the server answers 404")
        );
        assert_eq!(case.server.requests().len(), 1);
        let case = Case::new(None, vec![Answer::Status(500)]);
        let error = case.run().unwrap_err();
        assert!(
            error.starts_with("the server answers 500")
                && error.ends_with("(gave up after 4 attempts)"),
            "{error}"
        );
        let case = Case::new(None, vec![Answer::CutAfter(0)]);
        assert!(
            case.run()
                .unwrap_err()
                .ends_with("(gave up after 4 attempts)")
        );
    }

    #[test]
    fn a_part_that_is_too_long_is_dropped() {
        let case = Case::new(None, vec![Answer::Good]);
        std::fs::write(case.part(), [1; 300_001]).unwrap();
        assert_eq!(case.run(), Ok(300_000));
    }

    #[test]
    fn sizes_are_bounded() {
        let mut case = Case::new(None, vec![Answer::Good]);
        case.limits.bytes_exact = Some(1000);
        assert_eq!(
            case.run().unwrap_err(),
            "the file has the wrong size: expected 1000 bytes, got at least 300000"
        );
        assert!(!case.part().exists());
        case.limits = Limits {
            bytes_exact: None,
            bytes_max: Some(1000),
            verified: false,
            ..Limits::default()
        };
        assert_eq!(
            case.run().unwrap_err(),
            "the file is too large: at most 1000 bytes were expected"
        );
    }

    #[test]
    fn redirects_are_followed() {
        let target = Case::new(None, vec![Answer::Good]);
        let case = Case::new(
            None,
            vec![Answer::Redirect(format!("{}/y", target.server.url))],
        );
        assert_eq!(case.run(), Ok(300_000));
        assert_eq!(target.server.requests(), ["/y"]);
        let looping = Case::new(None, vec![Answer::Redirect("/again".into())]);
        assert!(looping.run().is_err());
    }

    #[test]
    fn nobody_listening_is_an_error_soon() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = tempfile::tempdir().unwrap();
        let result = client().download(
            &format!("http://127.0.0.1:{port}/x"),
            &dir.path().join("p"),
            &Limits::default(),
            &mut |_, _| {},
        );
        assert!(
            result
                .unwrap_err()
                .to_string()
                .ends_with("(gave up after 2 attempts)")
        );
    }
}
