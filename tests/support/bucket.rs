//! A remote in memory that does what a test tells it: fail at the n-th call, cut a body, answer
//! with other bytes.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use repro_engine::remote::{
    Backend, BackendError, BackendFault, Body, Entry, Name, PutMode, PutOutcome, Reading,
};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails before anything is done.
    Before(BackendFault),
    /// It is done, and the answer is lost.
    After(BackendFault),
    /// The body ends after so many bytes.
    Cut(usize),
    /// No answer, ever.
    Hang,
}

type Faults = dyn Fn(u64, &'static str, &Name) -> Fault + Send + Sync;

/// See the module. Clones share the contents.
#[derive(Clone)]
pub struct Bucket {
    pub contents: Arc<Mutex<BTreeMap<Name, (Vec<u8>, SystemTime)>>>,
    calls: Arc<Mutex<Vec<(&'static str, Name)>>>,
    faults: Arc<Faults>,
    can_list: bool,
    /// Follows whatever is read.
    endless: bool,
}

impl Bucket {
    pub fn new() -> Bucket {
        Bucket {
            contents: Arc::default(),
            calls: Arc::default(),
            faults: Arc::new(|_, _, _| Fault::None),
            can_list: true,
            endless: false,
        }
    }

    /// The same contents, with these faults and calls counted anew.
    pub fn with_faults(
        &self,
        faults: impl Fn(u64, &'static str, &Name) -> Fault + Send + Sync + 'static,
    ) -> Bucket {
        Bucket {
            faults: Arc::new(faults),
            calls: Arc::default(),
            ..self.clone()
        }
    }

    /// The same contents, and every body goes on for ever.
    pub fn endless(&self) -> Bucket {
        Bucket {
            endless: true,
            ..self.clone()
        }
    }

    pub fn without_list(&self) -> Bucket {
        Bucket {
            can_list: false,
            ..self.clone()
        }
    }

    /// A copy of the contents.
    pub fn copy(&self) -> Bucket {
        let contents = self.contents.lock().unwrap().clone();
        Bucket {
            contents: Arc::new(Mutex::new(contents)),
            calls: Arc::default(),
            ..self.clone()
        }
    }

    pub fn names(&self) -> Vec<Name> {
        self.contents.lock().unwrap().keys().cloned().collect()
    }

    pub fn bytes(&self, name: &Name) -> Vec<u8> {
        self.contents.lock().unwrap()[name].0.clone()
    }

    pub fn set(&self, name: &Name, bytes: Vec<u8>) {
        let mut contents = self.contents.lock().unwrap();
        contents.insert(name.clone(), (bytes, SystemTime::now()));
    }

    pub fn remove(&self, name: &Name) {
        self.contents.lock().unwrap().remove(name);
    }

    /// Makes everything as old as this.
    pub fn age(&self, by: Duration) {
        for (_, modified) in self.contents.lock().unwrap().values_mut() {
            *modified -= by;
        }
    }

    pub fn calls(&self) -> Vec<(&'static str, Name)> {
        self.calls.lock().unwrap().clone()
    }

    fn fault(&self, doing: &'static str, name: &Name) -> Result<Fault, BackendError> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((doing, name.clone()));
            calls.len() as u64 - 1
        };
        match (self.faults)(number, doing, name) {
            Fault::Before(cause) => Err(error(cause, doing, name)),
            Fault::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            fault => Ok(fault),
        }
    }
}

fn error(cause: BackendFault, doing: &'static str, name: &Name) -> BackendError {
    BackendError {
        cause,
        doing,
        what: name.to_string(),
        why: format!("a test says so ({cause:?})"),
    }
}

fn lost(fault: Fault, doing: &'static str, name: &Name) -> Result<(), BackendError> {
    match fault {
        Fault::After(cause) => Err(error(cause, doing, name)),
        _ => Ok(()),
    }
}

impl Backend for Bucket {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        let fault = self.fault("get", name)?;
        let bytes = {
            let contents = self.contents.lock().unwrap();
            let found = contents.get(name).map(|(bytes, _)| bytes.clone());
            found.ok_or_else(|| error(BackendFault::NotFound, "get", name))?
        };
        lost(fault, "get", name)?;
        let bytes_total = if self.endless {
            u64::MAX
        } else {
            bytes.len() as u64
        };
        let mut rest = bytes.get(from as usize..).unwrap_or_default().to_vec();
        if let Fault::Cut(at) = fault {
            rest.truncate(at);
        }
        let body: Box<dyn Read + Send> = match (self.endless, fault) {
            (_, Fault::Cut(_)) => Box::new(Cursor::new(rest).chain(Broken)),
            (true, _) => Box::new(Cursor::new(rest).chain(std::io::repeat(0))),
            (false, _) => Box::new(Cursor::new(rest)),
        };
        Ok(Reading { bytes_total, body })
    }

    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        let fault = self.fault("head", name)?;
        lost(fault, "head", name)?;
        let contents = self.contents.lock().unwrap();
        let (bytes, modified) = contents
            .get(name)
            .ok_or_else(|| error(BackendFault::NotFound, "head", name))?;
        Ok(Entry {
            name: name.clone(),
            bytes_total: bytes.len() as u64,
            modified: *modified,
        })
    }

    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let fault = self.fault("put", name)?;
        let mut bytes = Vec::new();
        body.open()
            .and_then(|mut b| b.read_to_end(&mut bytes))
            .map_err(|_| error(BackendFault::Local, "put", name))?;
        let outcome = {
            let mut contents = self.contents.lock().unwrap();
            if mode == PutMode::Create && contents.contains_key(name) {
                PutOutcome::WasThere
            } else {
                contents.insert(name.clone(), (bytes, SystemTime::now()));
                PutOutcome::Written
            }
        };
        lost(fault, "put", name)?;
        Ok(outcome)
    }

    fn list(
        &self,
        prefix: &Name,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let fault = self.fault("list", prefix)?;
        lost(fault, "list", prefix)?;
        if !self.can_list {
            return Err(error(BackendFault::Unsupported, "list", prefix));
        }
        let below = format!("{prefix}/");
        let entries: Vec<Entry> = {
            let contents = self.contents.lock().unwrap();
            let below = contents
                .iter()
                .filter(|(name, _)| name.as_str().starts_with(&below));
            below
                .map(|(name, (bytes, modified))| Entry {
                    name: name.clone(),
                    bytes_total: bytes.len() as u64,
                    modified: *modified,
                })
                .collect()
        };
        for entry in entries {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        self.fault("delete", name)?;
        self.remove(name);
        Ok(())
    }

    fn freshen(&self, name: &Name) -> Result<(), BackendError> {
        let fault = self.fault("freshen", name)?;
        match self.contents.lock().unwrap().get_mut(name) {
            Some((_, modified)) => *modified = SystemTime::now(),
            None => return Err(error(BackendFault::NotFound, "freshen", name)),
        }
        lost(fault, "freshen", name)
    }
}

/// A connection that is gone.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}
