//! What a storage can do, found by doing it: a few small objects are written, read, listed and
//! removed under a name of their own. Documentation cannot be asked: servers that speak the
//! protocol of S3 differ in just what matters here.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::config::Abilities;
use super::{Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading};

/// Writers of one name at once.
const WRITERS: usize = 4;
/// Bytes moved to measure the rate.
const RATE_BYTES: usize = 4 << 20;
/// A clock that differs more is told of.
pub const SKEW_MAX: Duration = Duration::from_secs(120);

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// An object can be written.
    Write,
    /// It is there at once, with its bytes.
    Read,
    /// A part of it can be read.
    Range,
    /// Of several writers one wins, and what it wrote stays.
    FirstWriterWins,
    /// What was written is listed at once.
    List,
    /// It can be made young.
    Freshen,
    /// It can be removed, and is gone at once.
    Remove,
}

impl Check {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Check::Write => "write",
            Check::Read => "read what was written",
            Check::Range => "read a part",
            Check::FirstWriterWins => "first writer wins",
            Check::List => "list",
            Check::Freshen => "freshen",
            Check::Remove => "remove",
        }
    }

    /// What cannot be done without it; `None` where nothing goes without.
    pub fn lost(self) -> Option<&'static str> {
        match self {
            Check::Write | Check::Read => None,
            Check::Range => Some("interrupted transfers start again"),
            Check::FirstWriterWins => Some(
                "two machines that publish one result at once may replace each other's entry: the results are right, but seen later",
            ),
            Check::List => Some("no `gc --remote`, no `fsck --remote`"),
            Check::Freshen => Some("no `gc --remote` beside writers"),
            Check::Remove => Some("no `gc --remote`"),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not, for this reason.
    Fails(String),
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Probe {
    /// In the order of trying. After a failed write there is nothing more.
    pub checks: Vec<(Check, Outcome)>,
    /// How far the storage's clock is ahead of ours, in seconds (negative: behind).
    pub clock_ahead_s: Option<f64>,
    /// Seconds a small request takes.
    pub request_s: Option<f64>,
    /// Bytes per second sent, and received.
    pub rates: Option<(f64, f64)>,
    /// The first failure of what everything needs.
    pub error: Option<BackendError>,
}

impl Probe {
    /// Whether it can be used at all.
    pub fn is_usable(&self) -> bool {
        self.error.is_none() && self.works(Check::Write) && self.works(Check::Read)
    }

    /// Whether this works.
    pub fn works(&self, check: Check) -> bool {
        self.checks.contains(&(check, Outcome::Works))
    }

    /// What is remembered.
    pub fn found(&self) -> Abilities {
        Abilities {
            first_writer_wins: self.works(Check::FirstWriterWins),
            can_list: self.works(Check::List),
        }
    }

    fn note(&mut self, check: Check, outcome: Result<(), String>) {
        let outcome = match outcome {
            Ok(()) => Outcome::Works,
            Err(why) => Outcome::Fails(why),
        };
        self.checks.push((check, outcome));
    }
}

/// As [`probe`], for as long as some call is answered within `patience`. The thread that waits for
/// one that is not stays behind.
pub fn probe_in_time(backend: Box<dyn Backend>, place: &Name, patience: Duration) -> Probe {
    let watched = Watched {
        inner: backend,
        answered: Arc::new(Mutex::new(Instant::now())),
    };
    let (answered, described) = (watched.answered.clone(), watched.describe());
    let (tell, told) = std::sync::mpsc::channel();
    let place_there = place.clone();
    let probing = std::thread::Builder::new()
        .name("probe".into())
        .spawn(move || drop(tell.send(probe(&watched, &place_there))));
    let failed = |why: String| Probe {
        error: Some(BackendError {
            cause: BackendFault::Unreachable,
            doing: "reach",
            what: described.clone(),
            why,
        }),
        ..Probe::default()
    };
    if let Err(e) = probing {
        return failed(format!("no thread can be started: {e}"));
    }
    loop {
        match told.recv_timeout(Duration::from_millis(50)) {
            Ok(probe) => return probe,
            Err(RecvTimeoutError::Disconnected) => {
                return failed("BUG: the probe ended without an answer".to_owned());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let idle = answered.lock().unwrap_or_else(|e| e.into_inner()).elapsed();
        if idle > patience {
            return failed(format!(
                "it takes connections and does not answer; {} s were waited (REPRO_REMOTE_PATIENCE=SECONDS changes that)",
                patience.as_secs()
            ));
        }
    }
}

/// Notes when a call was last answered, however.
struct Watched {
    inner: Box<dyn Backend>,
    answered: Arc<Mutex<Instant>>,
}

impl Watched {
    fn note<T>(&self, answer: Result<T, BackendError>) -> Result<T, BackendError> {
        *self.answered.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
        answer
    }
}

impl Backend for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        self.note(self.inner.get(name, from))
    }
    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        self.note(self.inner.head(name))
    }
    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        self.note(self.inner.put(name, body, mode))
    }
    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.note(self.inner.list(prefix, each))
    }
    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        self.note(self.inner.delete(name))
    }
    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        self.note(self.inner.freshen(name))
    }
}

/// Tries everything below `place`, a name nobody else uses, and removes what it wrote.
pub fn probe(backend: &dyn Backend, place: &Name) -> Probe {
    let mut probe = Probe::default();
    let made = Made {
        backend,
        names: Mutex::new(Vec::new()),
    };
    if let Err(e) = made.run(place, &mut probe) {
        probe.error = Some(e);
    }
    probe
}

/// Removes what was written, whatever happens.
struct Made<'a> {
    backend: &'a dyn Backend,
    names: Mutex<Vec<Name>>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for name in self
            .names
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .drain(..)
        {
            let _ = self.backend.delete(&name);
        }
    }
}

impl Made<'_> {
    fn put(&self, name: &Name, bytes: &[u8], mode: PutMode) -> Result<PutOutcome, BackendError> {
        self.names
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(name.clone());
        self.backend.put(name, Body::Bytes(bytes), mode)
    }

    fn get(&self, name: &Name, from: u64) -> Result<Vec<u8>, BackendError> {
        let reading = self.backend.get(name, from)?;
        let mut bytes = Vec::new();
        reading
            .body
            .take(RATE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| BackendError {
                cause: BackendFault::Unreachable,
                doing: "read",
                what: name.to_string(),
                why: e.to_string(),
            })?;
        Ok(bytes)
    }

    fn run(&self, place: &Name, probe: &mut Probe) -> Result<(), BackendError> {
        let below = |last: &str| {
            place.join(last).map_err(|e| BackendError {
                cause: BackendFault::Other,
                doing: "write",
                what: place.to_string(),
                why: e.to_string(),
            })
        };
        let (one, raced, large) = (below("one")?, below("raced")?, below("large")?);
        let text = b"written by `repro remote` to see what this storage can do\n";
        self.put(&one, text, PutMode::Overwrite)?;
        probe.note(Check::Write, Ok(()));
        let begun = Instant::now();
        let read = self.get(&one, 0)?;
        probe.request_s = Some(begun.elapsed().as_secs_f64());
        if read != text {
            probe.note(
                Check::Read,
                Err("other bytes came back than were written".to_owned()),
            );
            return Ok(());
        }
        probe.note(Check::Read, Ok(()));
        probe.note(
            Check::Range,
            match self.get(&one, 8) {
                Ok(part) if part == text[8..] => Ok(()),
                Ok(_) => Err("other bytes came back than were asked for".to_owned()),
                Err(e) => Err(e.why),
            },
        );
        probe.note(Check::FirstWriterWins, self.race(&one, &raced));
        let mut listed = false;
        let listing = self.backend.list(place, &mut |entry| {
            listed |= entry.name == one;
            if listed {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        probe.note(
            Check::List,
            match listing {
                Ok(()) if listed => Ok(()),
                Ok(()) => Err("what was just written is not in the list".to_owned()),
                Err(e) => Err(e.why),
            },
        );
        let before = SystemTime::now();
        let freshened = self.backend.freshen(&one);
        let stamped = self.backend.head(&one)?.modified;
        probe.note(Check::Freshen, freshened.map_err(|e| e.why));
        probe.clock_ahead_s = Some(ahead_s(stamped, before, SystemTime::now()));
        probe.rates = Some(self.rates(&large)?);
        probe.note(
            Check::Remove,
            match self.backend.delete(&one) {
                Ok(()) => match self.backend.head(&one) {
                    Err(e) if e.cause == BackendFault::NotFound => Ok(()),
                    Err(e) => Err(e.why),
                    Ok(_) => Err("what was removed is still there".to_owned()),
                },
                Err(e) => Err(e.why),
            },
        );
        Ok(())
    }

    fn race(&self, taken: &Name, free: &Name) -> Result<(), String> {
        match self.put(taken, b"second", PutMode::Create) {
            Ok(PutOutcome::WasThere) => {}
            Ok(PutOutcome::Written) => {
                return Err("a second writer replaced what was there".to_owned());
            }
            Err(e) => return Err(e.why),
        }
        let barrier = Barrier::new(WRITERS);
        let outcomes: Vec<Result<PutOutcome, BackendError>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|i| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        self.put(free, format!("writer {i}").as_bytes(), PutMode::Create)
                    })
                })
                .collect();
            writers.into_iter().filter_map(|w| w.join().ok()).collect()
        });
        let mut wrote = 0;
        for outcome in outcomes {
            match outcome {
                Ok(PutOutcome::Written) => wrote += 1,
                Ok(PutOutcome::WasThere) => {}
                Err(e) => return Err(e.why),
            }
        }
        match wrote {
            1 => Ok(()),
            wrote => Err(format!(
                "{wrote} of {WRITERS} writers at once were told they were the first"
            )),
        }
    }

    fn rates(&self, name: &Name) -> Result<(f64, f64), BackendError> {
        // Incompressible, should something on the way compress.
        let bytes: Vec<u8> = (0..RATE_BYTES as u64 / 8)
            .flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let begun = Instant::now();
        self.put(name, &bytes, PutMode::Overwrite)?;
        let up = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        self.get(name, 0)?;
        let down = begun.elapsed().as_secs_f64();
        let rate = |seconds: f64| RATE_BYTES as f64 / seconds.max(1e-6);
        Ok((rate(up), rate(down)))
    }
}

/// How far a stamp made between two moments lies outside of them.
fn ahead_s(stamped: SystemTime, before: SystemTime, after: SystemTime) -> f64 {
    if let Ok(ahead) = stamped.duration_since(after) {
        return ahead.as_secs_f64();
    }
    // Many stamps have whole seconds only.
    match (before - Duration::from_secs(1)).duration_since(stamped) {
        Ok(behind) => -behind.as_secs_f64(),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::backends::BucketBackend;
    use super::*;

    /// A storage with one fault.
    struct Faulty {
        inner: BucketBackend,
        fault: Fault,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        ReplacesWhatIsThere,
        CannotList,
        ListsLate,
        ReadOnly,
        Garbles,
        ClockBehind,
    }

    fn refused(doing: &'static str, cause: BackendFault) -> BackendError {
        BackendError {
            cause,
            doing,
            what: "it".to_owned(),
            why: "no".to_owned(),
        }
    }

    impl Backend for Faulty {
        fn describe(&self) -> String {
            String::new()
        }
        fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
            let reading = self.inner.get(name, from)?;
            if self.fault == Fault::Garbles {
                return Ok(Reading {
                    bytes_total: reading.bytes_total,
                    body: Box::new(std::io::repeat(0).take(reading.bytes_total)),
                });
            }
            Ok(reading)
        }
        fn head(&self, name: &Name) -> Result<Entry, BackendError> {
            let mut entry = self.inner.head(name)?;
            if self.fault == Fault::ClockBehind {
                entry.modified -= Duration::from_secs(86_400);
            }
            Ok(entry)
        }
        fn put(
            &self,
            name: &Name,
            body: Body<'_>,
            mode: PutMode,
        ) -> Result<PutOutcome, BackendError> {
            match self.fault {
                Fault::ReadOnly => Err(refused("write", BackendFault::Refused)),
                Fault::ReplacesWhatIsThere => self.inner.put(name, body, PutMode::Overwrite),
                _ => self.inner.put(name, body, mode),
            }
        }
        fn list(
            &self,
            prefix: &Name,
            each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        ) -> Result<(), BackendError> {
            match self.fault {
                Fault::CannotList => Err(refused("list", BackendFault::Unsupported)),
                Fault::ListsLate => Ok(()),
                _ => self.inner.list(prefix, each),
            }
        }
        fn delete(&self, name: &Name) -> Result<(), BackendError> {
            self.inner.delete(name)
        }
        fn freshen(&self, name: &Name) -> Result<(), BackendError> {
            self.inner.freshen(name)
        }
    }

    fn probed(fault: Fault) -> Probe {
        let faulty = Faulty {
            inner: BucketBackend::in_memory().unwrap(),
            fault,
        };
        let found = probe(&faulty, &"v1/gc/probe/x".parse().unwrap());
        let mut left = 0;
        faulty
            .inner
            .list(&"v1".parse().unwrap(), &mut |_| {
                left += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(left, 0, "something was left");
        found
    }

    #[test]
    fn faults_are_found() {
        let fine = probed(Fault::None);
        assert!(
            fine.is_usable() && fine.checks.iter().all(|c| c.1 == Outcome::Works),
            "{fine:?}"
        );
        assert_eq!(fine.checks.len(), 7);
        for (fault, check) in [
            (Fault::ReplacesWhatIsThere, Check::FirstWriterWins),
            (Fault::CannotList, Check::List),
            (Fault::ListsLate, Check::List),
        ] {
            let found = probed(fault);
            let failed: Vec<Check> = found
                .checks
                .iter()
                .filter(|c| c.1 != Outcome::Works)
                .map(|c| c.0)
                .collect();
            assert_eq!(failed, [check]);
            assert!(found.is_usable());
        }
        assert_eq!(
            probed(Fault::ReadOnly).error.unwrap().cause,
            BackendFault::Refused
        );
        assert!(!probed(Fault::Garbles).is_usable());
        let behind = probed(Fault::ClockBehind).clock_ahead_s.unwrap();
        assert!((-86_500.0..-86_300.0).contains(&behind), "{behind}");
        assert_eq!(fine.clock_ahead_s, Some(0.0));
    }
}
