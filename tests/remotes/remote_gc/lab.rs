//! A remote in memory whose clock the test holds, results to publish on it, and what must always be
//! true of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use repro_engine::digest::{Content, Digest, Domain};
use repro_engine::remote::backends::BucketBackend;
use repro_engine::remote::decoding::{Decoder, Limit};
use repro_engine::remote::head::Head;
use repro_engine::remote::layout::{Place, Scope};
use repro_engine::remote::link::Link;
use repro_engine::remote::pack::Packing;
use repro_engine::remote::publish::{Publication, publish};
use repro_engine::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading,
};
use repro_engine::store::{Listing, Record, Store};

pub const DAY: Duration = Duration::from_secs(86_400);

type Hook = Box<dyn FnOnce() + Send>;

/// What all clients of the remote share.
struct Shared {
    inner: BucketBackend,
    /// Seconds since 1970 by the storage's clock.
    clock_s: AtomicI64,
    stamps: Mutex<HashMap<Name, i64>>,
    calls_left: AtomicUsize,
    hook: Mutex<Option<(String, usize, Hook)>>,
}

struct Storage(Arc<Shared>);

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

impl Storage {
    fn call(&self) -> Result<(), BackendError> {
        let left = self
            .0
            .calls_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => Ok(()),
            Err(_) => Err(BackendError {
                cause: BackendFault::Refused,
                doing: "do",
                what: "anything".into(),
                why: "the process was killed".into(),
            }),
        }
    }

    fn stamps(&self) -> std::sync::MutexGuard<'_, HashMap<Name, i64>> {
        self.0.stamps.lock().unwrap()
    }

    fn now(&self) -> i64 {
        self.0.clock_s.load(Ordering::SeqCst)
    }
}

impl Backend for Storage {
    fn describe(&self) -> String {
        "memory".into()
    }
    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        self.call()?;
        self.0.inner.get(name, from)
    }
    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        self.call()?;
        let stamps = self.stamps();
        let mut entry = self.0.inner.head(name)?;
        entry.modified = at(stamps[name]);
        Ok(entry)
    }
    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        self.call()?;
        let mut stamps = self.stamps();
        let outcome = self.0.inner.put(name, body, mode)?;
        if outcome == PutOutcome::Written {
            stamps.insert(name.clone(), self.now());
        }
        Ok(outcome)
    }
    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.call()?;
        let hook = {
            let mut hook = self.0.hook.lock().unwrap();
            match &mut *hook {
                Some((word, count, _)) if prefix.as_str().contains(&**word) => {
                    *count -= 1;
                    if *count == 0 { hook.take() } else { None }
                }
                _ => None,
            }
        };
        if let Some((_, _, hook)) = hook {
            hook();
        }
        let stamps = self.stamps();
        self.0.inner.list(prefix, &mut |mut entry| {
            entry.modified = at(stamps[&entry.name]);
            each(entry)
        })
    }
    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        self.call()?;
        let mut stamps = self.stamps();
        self.0.inner.delete(name)?;
        stamps.remove(name);
        Ok(())
    }
    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        self.call()?;
        let mut stamps = self.stamps();
        self.0.inner.head(name)?;
        stamps.insert(name.clone(), self.now());
        Ok(())
    }
}

/// A result with its record.
pub struct Made {
    pub record: Record,
}

/// See the module.
pub struct Lab {
    shared: Arc<Shared>,
    pub store: Arc<Store>,
    made: Mutex<HashMap<(u64, u64), Record>>,
    _dir: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let shared = Shared {
            inner: BucketBackend::in_memory().unwrap(),
            clock_s: AtomicI64::new(1_800_000_000),
            stamps: Mutex::default(),
            calls_left: AtomicUsize::new(usize::MAX),
            hook: Mutex::new(None),
        };
        Lab {
            shared: Arc::new(shared),
            store: Arc::new(store),
            made: Mutex::default(),
            _dir: dir,
        }
    }

    pub fn link(&self) -> Arc<Link> {
        self.link_with_clock(0)
    }

    /// A client whose clock is ahead.
    pub fn link_with_clock(&self, days: i64) -> Arc<Link> {
        let shared = self.shared.clone();
        let clock = move || at(shared.clock_s.load(Ordering::SeqCst) + days * 86_400);
        let link = Link::new(
            Box::new(Storage(self.shared.clone())),
            "lab",
            Scope::Shared,
            |_| {},
        );
        let link = link.with_clock(clock).with_silence(Duration::from_secs(20));
        Arc::new(link)
    }

    pub fn pass(&self, time: Duration) {
        self.shared
            .clock_s
            .fetch_add(time.as_secs() as i64, Ordering::SeqCst);
    }

    /// From now on only so many calls are answered.
    pub fn stop_after(&self, calls: usize) {
        self.shared.calls_left.store(calls, Ordering::SeqCst);
    }

    /// Does something when names with this word are listed for the nth time.
    pub fn on_list(&self, word: &str, nth: usize, hook: impl FnOnce() + Send + 'static) {
        *self.shared.hook.lock().unwrap() = Some((word.to_owned(), nth, Box::new(hook)));
    }

    fn record(&self, key: Digest, outputs: BTreeMap<String, Content>) -> Record {
        Record {
            key,
            preimage: format!("{{\"key\":\"{}\"}}", key.short()),
            outputs,
            observation: serde_json::json!({"wall_s": 7.5}).into(),
        }
    }

    /// A result in the store: a file and a tree of `files` small files and a large one.
    pub fn result(&self, what: &str, files: usize) -> Made {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        for i in 0..files {
            std::fs::write(tree.join(format!("{i}")), format!("{what} {i}")).unwrap();
        }
        let large: Vec<u8> = what.bytes().cycle().take(150_000).collect();
        std::fs::write(tree.join("large"), &large).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, format!("file of {what}")).unwrap();
        let mut outputs = BTreeMap::new();
        for (name, path) in [("tree", &tree), ("file", &file)] {
            let (content, staged) = self.store.absorb(path).unwrap();
            self.store.keep(&content, staged).unwrap();
            outputs.insert(name.to_owned(), content);
        }
        let key = Digest::derive(Domain::Action, what.as_bytes());
        Made {
            record: self.record(key, outputs),
        }
    }

    /// Another action with the same outputs.
    pub fn same_outputs(&self, what: &str, of: &Made) -> Made {
        let key = Digest::derive(Domain::Action, what.as_bytes());
        Made {
            record: self.record(key, of.record.outputs.clone()),
        }
    }

    /// The result of one of few actions with one of few contents; always the same.
    pub fn shared(&self, action: u64, content: u64) -> Made {
        // One result per action: content follows from it.
        let content = (action + content % 2) % 12;
        let mut made = self.made.lock().unwrap();
        let record = made.entry((action, content)).or_insert_with(|| {
            let of = self.result(&format!("shared {content}"), 2);
            self.same_outputs(&format!("action {action} {content}"), &of)
                .record
        });
        Made {
            record: record.clone(),
        }
    }

    /// Publishes it; bytes sent.
    pub fn publish(&self, link: &Arc<Link>, made: &Made) -> u64 {
        let before = link.moved().sent;
        let publication = Publication {
            record: made.record.clone(),
            signatures: vec![("5e".parse().unwrap(), b"{}".to_vec())],
        };
        for outcome in publish(link, &self.store, vec![publication]) {
            outcome.unwrap();
        }
        link.moved().sent - before
    }

    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.shared
            .inner
            .list(&"v1".parse().unwrap(), &mut |entry| {
                names.insert(entry.name.to_string());
                ControlFlow::Continue(())
            })
            .unwrap();
        names
    }

    fn overwrite(&self, name: &Name, bytes: &[u8]) {
        let body = Body::Bytes(bytes);
        self.shared
            .inner
            .put(name, body, PutMode::Overwrite)
            .unwrap();
    }

    fn named(&self, part: &str) -> Vec<Name> {
        let names = self.names().into_iter();
        names
            .filter(|n| n.contains(part))
            .map(|n| n.parse().unwrap())
            .collect()
    }

    /// Changes the last byte of everything whose name holds this.
    pub fn alter(&self, part: &str) {
        for name in self.named(part) {
            let mut bytes = self.raw(&name).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            self.overwrite(&name, &bytes);
        }
    }

    /// Puts something else of ours in the place of everything whose name holds this.
    pub fn swap(&self, part: &str) {
        let other = self
            .names()
            .into_iter()
            .find(|n| !n.contains(part) && n != "v1/format")
            .unwrap();
        let other = self.raw(&other.parse().unwrap()).unwrap();
        for name in self.named(part) {
            self.overwrite(&name, &other);
        }
    }

    /// Removes everything whose name holds this.
    pub fn remove(&self, part: &str) {
        for name in self.named(part) {
            self.shared.inner.delete(&name).unwrap();
        }
    }

    /// Cuts everything whose name holds this.
    pub fn damage(&self, part: &str) {
        for name in self.names().into_iter().filter(|n| n.contains(part)) {
            let name: Name = name.parse().unwrap();
            let bytes = self.raw(&name).unwrap();
            let cut = Body::Bytes(&bytes[..bytes.len() - 3]);
            self.shared
                .inner
                .put(&name, cut, PutMode::Overwrite)
                .unwrap();
        }
    }

    fn raw(&self, name: &Name) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let reading = self.shared.inner.get(name, 0).ok()?;
        std::io::Read::read_to_end(&mut { reading.body }, &mut bytes).unwrap();
        Some(bytes)
    }

    fn plain(&self, place: &Place) -> Option<Vec<u8>> {
        let raw = self.raw(&Scope::Shared.name(place))?;
        let mut bytes = Vec::new();
        let mut decoder = Decoder::new(&raw[..], Limit::AtMost(1 << 30)).unwrap();
        std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
        Some(bytes)
    }

    /// What of a content is missing.
    fn missing(&self, content: &Content) -> Option<String> {
        use repro_engine::digest::Shape;
        if content.shape == Shape::File {
            return match self.plain(&Place::Object(content.digest)) {
                Some(bytes) if Digest::of(&bytes) == content.digest => None,
                _ => Some(content.to_string()),
            };
        }
        let Some(bytes) = self.plain(&Place::Tree(content.digest)) else {
            return Some(content.to_string());
        };
        let packing = Packing::of(&Listing::parse(&bytes).unwrap()).unwrap();
        for part in 0..packing.parts.len() as u32 {
            let place = Place::Pack {
                tree: content.digest,
                part,
            };
            if self.plain(&place).is_none() {
                return Some(format!("part {part} of {content}"));
            }
        }
        let loose = packing.loose.iter();
        loose
            .filter(|(digest, _)| self.plain(&Place::Object(*digest)).is_none())
            .map(|(digest, _)| format!("file {digest} of {content}"))
            .next()
    }

    fn lacks(&self, record: &Record) -> Option<String> {
        record.outputs.values().find_map(|c| self.missing(c))
    }

    #[track_caller]
    pub fn expect_whole(&self, link: &Arc<Link>, made: &Made) {
        self.expect_published(link, made);
        assert_eq!(self.lacks(&made.record), None);
    }

    /// Record and a head (this one's or another result's of its key).
    #[track_caller]
    pub fn expect_published(&self, _: &Arc<Link>, made: &Made) {
        let (key, result) = (made.record.key, made.record.result());
        assert!(
            self.plain(&Place::Record { key, result }).is_some(),
            "no record of {key}"
        );
        let head = self.plain(&Place::Head(key)).expect("a head");
        Head::parse(&head, &key).unwrap();
    }

    /// Nobody leased it, so it may be gone; but not by halves, once everybody has seen it.
    #[track_caller]
    pub fn expect_whole_if_published(&self, _: &Arc<Link>, made: &Made) {
        // Just published: within the grace, whatever a collector does.
        assert_eq!(self.lacks(&made.record), None);
    }

    #[track_caller]
    pub fn expect_gone(&self, _: &Arc<Link>, made: &Made) {
        let hex = made.record.key.hex();
        let left: Vec<String> = self
            .names()
            .into_iter()
            .filter(|n| n.contains(&hex[2..]))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Whatever is there points only at what is there.
    #[track_caller]
    pub fn expect_nothing_dangles(&self) {
        for name in self.names() {
            let name: Name = name.parse().unwrap();
            let record = match Place::of(&name) {
                Some((_, Place::Head(key))) => {
                    let head = self.plain(&Place::Head(key)).unwrap();
                    Head::parse(&head, &key).unwrap().record
                }
                Some((_, Place::Record { key, result })) => {
                    let text = self.plain(&Place::Record { key, result }).unwrap();
                    Record::parse(&text, &key, &result).unwrap()
                }
                _ => continue,
            };
            assert_eq!(self.lacks(&record), None, "`{name}` dangles");
        }
    }
}

/// Who is busy since when: so that a test can let time pass between, not within, what clients do.
pub struct Clients {
    begun: Vec<AtomicUsize>,
}

pub struct Work<'a>(&'a AtomicUsize);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clients {
    pub fn new(n: usize) -> Clients {
        Clients {
            begun: (0..n).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    pub fn begin(&self, me: usize) -> Work<'_> {
        Work(&self.begun[me])
    }

    /// Waits until everybody has ended something; `false` when somebody's thread has ended.
    pub fn wait_for_all<T>(&self, threads: &[JoinHandle<T>]) -> bool {
        let before: Vec<usize> = self
            .begun
            .iter()
            .map(|b| b.load(Ordering::SeqCst))
            .collect();
        let started = Instant::now();
        loop {
            let ended = |(b, before): (&AtomicUsize, &usize)| b.load(Ordering::SeqCst) > *before;
            if self.begun.iter().zip(&before).all(ended) {
                return true;
            }
            if threads.iter().any(JoinHandle::is_finished) {
                return false;
            }
            assert!(
                started.elapsed() < Duration::from_secs(100),
                "somebody hangs"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
