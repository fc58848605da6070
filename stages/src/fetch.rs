//! Gets files from outside: which places are asked, in which order, and the message if none has the
//! file.
//!
//! A file is looked for in the mirrors first, then at its official addresses; the caller decides
//! whether what was found is the right thing, and nothing that it refuses is kept. Knows no data
//! format; [`http`] moves the bytes, [`checksum`] names them.

pub mod checksum;
pub mod http;
#[cfg(test)]
pub(crate) mod test_server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::task::Task;
use http::{Client, Limits};
use repro_protocol::job::Event;

/// A place where a file may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or directory of this machine.
    Local(PathBuf),
    /// An `http` or `https` address.
    Remote(String),
}

/// A file at hand.
pub struct Got<'a> {
    /// Where it lies.
    pub path: &'a Path,
    /// It was fetched for this job only: it may be moved away.
    pub ours: bool,
}

/// What is looked for.
pub struct Search<'a> {
    /// For messages: the file's name.
    pub file: &'a str,
    /// Where it belongs in a mirror, e.g. `mnist/train-images-idx3-ubyte.gz`.
    pub in_mirror: Option<&'a str>,
    /// Places to ask, in order.
    pub places: Vec<Place>,
    /// Bounds for what is fetched.
    pub limits: Limits,
}

impl Place {
    /// Understands a directory, a path, a `file://` or an `http(s)://` address.
    pub fn parse(text: &str) -> Place {
        match text.split_once("://") {
            Some(("http" | "https", _)) => Place::Remote(text.to_owned()),
            // The authority of a file address is empty or `localhost`.
            Some(("file", rest)) => Place::Local(percent_decoded(
                rest.strip_prefix("localhost").unwrap_or(rest),
            )),
            _ => Place::Local(PathBuf::from(text)),
        }
    }

    /// The place of `file` inside this one.
    pub fn join(&self, file: &str) -> Place {
        match self {
            Place::Local(path) => Place::Local(path.join(file)),
            Place::Remote(url) => Place::Remote(format!("{}/{file}", url.trim_end_matches('/'))),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Local(path) => write!(f, "{}", path.display()),
            Place::Remote(url) => f.write_str(url),
        }
    }
}

/// The mirrors of the job, as places.
pub fn mirrors(task: &Task) -> Vec<Place> {
    task.job.mirrors.iter().map(|m| Place::parse(m)).collect()
}

/// Asks the places of `search` in order until `accept` takes what one has, and returns its answer.
///
/// `accept` checks the bytes it uses; when it refuses, a fetched file is deleted, the user is
/// warned, and the next place is asked. A partial file of an earlier, killed job is resumed; when
/// the result is then refused it is fetched once more from its start.
///
/// # Errors
/// When no place had a file that was accepted: one [`Failure`] that says what each place answered.
pub fn first_good<T>(
    task: &mut Task,
    client: &Client,
    search: &Search,
    mut accept: impl FnMut(&mut Task, &Got) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut answers = Vec::new();
    for place in &search.places {
        let refusal = match place {
            Place::Local(path) if !path.exists() => "not there".to_owned(),
            Place::Local(path) => match accept(task, &Got { path, ours: false }) {
                Ok(answer) => return Ok(answer),
                Err(error) => warned(task, place, &error),
            },
            Place::Remote(_) if task.job.offline => {
                "not asked, because this run is offline".to_owned()
            }
            Place::Remote(url) => match fetched(task, client, url, search, &mut accept) {
                Ok(answer) => return Ok(answer),
                Err(error) => warned(task, place, &error),
            },
        };
        answers.push(format!("\n  {place}: {refusal}"));
    }
    let failure = Failure::new(format!("cannot get {}:{}", search.file, answers.concat()));
    Err(match search.in_mirror {
        Some(name) => failure.hint(format!(
            "put the file at DIR/{name} and set REPRO_MIRROR=DIR, or name DIR under `mirrors:`"
        )),
        None => failure.hint("check the address and the checksum under `with:`"),
    }
    .into())
}

fn warned(task: &mut Task, place: &Place, error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    task.send(&Event::Warning {
        text: format!("{place}: {text}"),
    });
    text
}

fn fetched<T>(
    task: &mut Task,
    client: &Client,
    url: &str,
    search: &Search,
    accept: &mut impl FnMut(&mut Task, &Got) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let part = task.job.scratch_dir.join(format!(
        "{}.part",
        &blake3::hash(url.as_bytes()).to_hex()[..24]
    ));
    loop {
        let resumed = part.exists();
        let mut last = Instant::now();
        let mut report = |done: u64, total: Option<u64>| {
            let due = last.elapsed() >= Duration::from_millis(200) || total == Some(done);
            if due {
                last = Instant::now();
                let text = format!("fetching {}", search.file);
                task.send(&Event::Progress {
                    done,
                    total,
                    unit: "bytes".into(),
                    text,
                });
            }
        };
        let bytes_fetched = client.download(url, &part, &search.limits, &mut report)?;
        *task.figures.entry("bytes_fetched".into()).or_default() += bytes_fetched as f64;
        let answer = accept(
            task,
            &Got {
                path: &part,
                ours: true,
            },
        );
        http::forget(&part);
        if answer.is_ok() || !resumed {
            return answer;
        }
    }
}

/// `%20` is a space; anything that is not a valid escape stays as it is.
fn percent_decoded(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match escape
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let local = |p: &str| Place::Local(PathBuf::from(p));
        assert_eq!(Place::parse("../data"), local("../data"));
        assert_eq!(Place::parse("file:///a%20b/%zz%"), local("/a b/%zz%"));
        assert_eq!(Place::parse("file://localhost/a"), local("/a"));
        assert_eq!(
            Place::parse("https://h/x/").join("y"),
            Place::Remote("https://h/x/y".into())
        );
    }
}
