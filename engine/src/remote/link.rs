//! A link: one remote as a run uses it. It counts what is asked and moved, hears when nothing
//! answers any more, and then gives the remote up for the rest of the process: one warning, and the
//! work is done without it. Knows no result.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use super::backend::{
    Backend, BackendError, BackendFault, Body, Entry, PutMode, PutOutcome, Reading,
};
use super::backends;
use super::layout::Scope;
use super::name::Name;

/// Calls in a row that fail before the remote is given up. The storage has tried each several times
/// by then.
const FAILURES_MAX: u32 = 3;
/// The slowest upload that is not taken for hanging, bytes per second.
const SLOWEST: u64 = 50_000;
/// Warnings that are told in full.
const WARNINGS_TOLD: u64 = 4;
/// Bytes of what comes from and goes to the remote that are held in memory at once.
const MEMORY_BYTES: u64 = 192 << 20;

/// What was moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Calls to the storage.
    pub requests: u64,
    /// Bytes received, as stored.
    pub received: u64,
    /// Bytes sent, as stored.
    pub sent: u64,
    /// Things that were wrong with the remote.
    pub warnings: u64,
}

/// See the module. Shared by all threads that use the remote.
pub struct Link {
    backend: Box<dyn Backend>,
    name: String,
    /// Where is looked, in this order; what is written goes to the last.
    scopes: Vec<Scope>,
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    warnings: AtomicU64,
    failures: AtomicU32,
    since: Instant,
    /// Milliseconds from `since` until which silence is no reason to worry.
    patient_until: AtomicU64,
    silence: Duration,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
    freshened: Mutex<Vec<Name>>,
    down: OnceLock<String>,
    /// Calls that failed and were not told of: if the next ones fail too, the remote is given up,
    /// and that is said instead.
    doubts: Mutex<Vec<String>>,
    bad: Mutex<HashSet<Name>>,
    memory: Memory,
    warn: Box<dyn Fn(&str) + Send + Sync>,
}

impl Link {
    /// A link to a remote that people call `name`, which publishes in `scope` and reads there what
    /// everybody does not have. Warnings go to `warn`.
    pub fn new(
        backend: Box<dyn Backend>,
        name: &str,
        scope: Scope,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Link {
        Link {
            backend,
            name: name.to_owned(),
            scopes: match scope {
                Scope::Shared => vec![Scope::Shared],
                scope => vec![Scope::Shared, scope],
            },
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            warnings: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            since: Instant::now(),
            patient_until: AtomicU64::new(0),
            // No call answers and no byte moves for so long: it hangs.
            silence: backends::silence() * 3 / 4,
            clock: Box::new(SystemTime::now),
            freshened: Mutex::default(),
            down: OnceLock::new(),
            doubts: Mutex::default(),
            bad: Mutex::new(HashSet::new()),
            memory: Memory::default(),
            warn: Box::new(warn),
        }
    }

    /// Takes another time of silence for hanging.
    pub fn with_silence(mut self, silence: Duration) -> Link {
        self.silence = silence;
        self
    }

    /// Takes another clock for this machine's.
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Link {
        self.clock = Box::new(clock);
        self
    }

    /// By the clock of this machine.
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    pub(super) fn silence(&self) -> Duration {
        self.silence
    }

    /// What was made young since the last call.
    pub(super) fn take_freshened(&self) -> Vec<Name> {
        std::mem::take(&mut *self.freshened.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Whether this was made young by this link, since it was last asked.
    pub(super) fn was_made_young(&self, name: &Name) -> bool {
        let mut freshened = self.freshened.lock().unwrap_or_else(|e| e.into_inner());
        let before = freshened.len();
        freshened.retain(|n| n != name);
        freshened.len() < before
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, without credentials.
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Which part of the remote is written.
    pub fn scope(&self) -> &Scope {
        // Never empty.
        self.scopes.last().unwrap_or(&Scope::Shared)
    }

    /// Which parts are read, in this order.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// What was moved so far.
    pub fn moved(&self) -> Moved {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Moved {
            requests: of(&self.requests),
            received: of(&self.received),
            sent: of(&self.sent),
            warnings: of(&self.warnings),
        }
    }

    /// Why it was given up, if it was.
    pub fn given_up(&self) -> Option<&str> {
        self.down.get().map(String::as_str)
    }

    /// Uses the remote no more.
    pub fn give_up(&self, why: &str) {
        if self.down.set(why.to_owned()).is_ok() {
            self.warnings.fetch_add(1, Ordering::Relaxed);
            (self.warn)(&format!(
                "remote `{}` ({}): {why}; going on without it (`repro remote doctor` looks into it)",
                self.name,
                self.backend.describe()
            ));
        }
    }

    /// Something on the remote is wrong: told, the first few times, and counted.
    pub fn warning(&self, text: &str) {
        let told = self.warnings.fetch_add(1, Ordering::Relaxed);
        if told < WARNINGS_TOLD {
            (self.warn)(&format!("remote `{}`: {text}", self.name));
        } else if told == WARNINGS_TOLD {
            (self.warn)(&format!(
                "remote `{}`: further errors are only counted from here on",
                self.name
            ));
        }
    }

    /// A call failed for good: told of when the remote answers again, or with
    /// [`Link::tell_doubts`].
    pub fn doubt(&self, text: &str) {
        if self.given_up().is_none() {
            let mut doubts = self.doubts.lock().unwrap_or_else(|e| e.into_inner());
            doubts.push(text.to_owned());
        }
    }

    /// Nothing more is asked for now: tells of the calls that failed last.
    pub fn tell_doubts(&self) {
        let doubts = std::mem::take(&mut *self.doubts.lock().unwrap_or_else(|e| e.into_inner()));
        match &doubts[..] {
            [] => {}
            _ if self.given_up().is_some() => {}
            [only] => self.warning(only),
            [first, rest @ ..] => self.warning(&format!("{first} (and {} more)", rest.len())),
        }
    }

    /// Remembers that what has this name is bad, so that it is replaced instead of found.
    pub fn note_bad(&self, name: &Name) {
        let mut bad = self.bad.lock().unwrap_or_else(|e| e.into_inner());
        bad.insert(name.clone());
    }

    /// Whether it was found to be bad.
    pub fn is_bad(&self, name: &Name) -> bool {
        let bad = self.bad.lock().unwrap_or_else(|e| e.into_inner());
        bad.contains(name)
    }

    /// Waits until so many bytes may be held in memory.
    pub(super) fn memory(&self, bytes: u64) -> Held<'_> {
        self.memory.take(bytes.min(MEMORY_BYTES))
    }

    /// How long an answer may take that others wait for.
    pub(crate) fn patience(&self) -> Duration {
        self.silence / 2
    }

    /// Nothing was heard for too long.
    pub(super) fn hangs(&self) -> bool {
        self.now_ms() > self.patient_until.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// Patience for another while, and as long as it takes to send so many bytes.
    pub(super) fn be_patient(&self, bytes: u64) {
        let until =
            self.now_ms() + self.silence.as_millis() as u64 + bytes.saturating_mul(1000) / SLOWEST;
        self.patient_until.fetch_max(until, Ordering::Relaxed);
    }

    fn call<T>(
        &self,
        doing: &'static str,
        name: &Name,
        bytes: u64,
        call: impl FnOnce(&dyn Backend) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if let Some(why) = self.given_up() {
            return Err(BackendError {
                cause: BackendFault::Unreachable,
                doing,
                what: name.to_string(),
                why: format!("the remote was given up: {why}"),
            });
        }
        self.be_patient(bytes);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = call(&*self.backend);
        self.be_patient(0);
        match &answer {
            Err(e) if !matches!(e.cause, BackendFault::NotFound | BackendFault::Unsupported) => {
                self.failed(e);
            }
            _ => {
                if self.failures.swap(0, Ordering::Relaxed) > 0 {
                    self.tell_doubts();
                }
            }
        }
        answer
    }

    fn failed(&self, error: &BackendError) {
        match error.cause {
            // Answers like any other; or none of the remote's.
            BackendFault::NotFound | BackendFault::Unsupported | BackendFault::Local => {}
            BackendFault::Refused => self.give_up(&error.to_string()),
            BackendFault::Unreachable | BackendFault::Throttled | BackendFault::Other => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
                    self.give_up(&error.to_string());
                }
            }
        }
    }

    /// See [`Backend::get`]; the bytes are counted as they are read.
    pub(super) fn get(self: &Arc<Link>, name: &Name, from: u64) -> Result<Reading, BackendError> {
        let reading = self.call("read", name, 0, |b| b.get(name, from))?;
        Ok(Reading {
            bytes_total: reading.bytes_total,
            body: Box::new(Counted {
                link: self.clone(),
                body: reading.body,
            }),
        })
    }

    pub(super) fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        self.call("look at", name, 0, |b| b.head(name))
    }

    pub(super) fn put(
        &self,
        name: &Name,
        body: Body<'_>,
        mode: PutMode,
    ) -> Result<PutOutcome, BackendError> {
        let bytes = body.bytes_total().map_err(|e| BackendError {
            cause: BackendFault::Local,
            doing: "write",
            what: name.to_string(),
            why: e.to_string(),
        })?;
        let outcome = self.call("write", name, bytes, |b| b.put(name, body, mode))?;
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(outcome)
    }

    pub(crate) fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let listed = self.call("list", prefix, 0, |b| b.list(prefix, each));
        let bytes = self.backend.take_listed_bytes();
        self.received.fetch_add(bytes, Ordering::Relaxed);
        listed
    }

    pub(super) fn delete(&self, name: &Name) -> Result<(), BackendError> {
        self.call("remove", name, 0, |b| b.delete(name))
    }

    pub(super) fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        self.call("freshen", name, 0, |b| b.freshen(name))?;
        let mut freshened = self.freshened.lock().unwrap_or_else(|e| e.into_inner());
        freshened.push(name.clone());
        Ok(())
    }
}

struct Counted {
    link: Arc<Link>,
    body: Box<dyn std::io::Read + Send>,
}

impl std::io::Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.body.read(out)?;
        self.link.received.fetch_add(n as u64, Ordering::Relaxed);
        self.link.be_patient(0);
        Ok(n)
    }
}

/// Memory that threads share.
#[derive(Default)]
struct Memory {
    taken: Mutex<u64>,
    freed: Condvar,
}

impl Memory {
    fn take(&self, bytes: u64) -> Held<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        while *taken > 0 && *taken + bytes > MEMORY_BYTES {
            taken = self.freed.wait(taken).unwrap_or_else(|e| e.into_inner());
        }
        *taken += bytes;
        Held {
            memory: self,
            bytes,
        }
    }
}

/// Given back when dropped.
pub(super) struct Held<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut taken = self.memory.taken.lock().unwrap_or_else(|e| e.into_inner());
        *taken -= self.bytes;
        self.memory.freed.notify_all();
    }
}
