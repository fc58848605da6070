//! Stands in until remotes are configured for real: directories only.
#![allow(missing_docs)]
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::{Backend, BackendError, Body, Cause, Entry, Name, PutMode, PutOutcome, Reading};

pub struct Remotes(PathBuf);
impl Remotes {
    pub fn read(root: &Path) -> anyhow::Result<Remotes> {
        let text = std::fs::read_to_string(root.join("repro.remotes.toml"))?;
        let value: toml::Table = toml::from_str(&text)?;
        let url = value["remotes"]["lab"]["url"].as_str().unwrap_or_default();
        Ok(Remotes(root.join(url)))
    }
    pub fn get(&self, _: Option<&str>) -> anyhow::Result<(&str, ())> {
        Ok(("lab", ()))
    }
    pub fn open(&self, _: Option<&str>) -> anyhow::Result<Box<dyn Backend>> {
        Ok(Box::new(Directory(self.0.clone())))
    }
}

struct Directory(PathBuf);
fn error(e: std::io::Error, name: &Name) -> BackendError {
    BackendError {
        cause: match e.kind() {
            std::io::ErrorKind::NotFound => Cause::NotFound,
            _ => Cause::Other,
        },
        doing: "use",
        what: name.to_string(),
        why: e.to_string(),
    }
}
impl Backend for Directory {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }
    fn get(&self, name: &Name, from: u64) -> Result<Reading, BackendError> {
        use std::io::Seek;
        let mut file =
            std::fs::File::open(self.0.join(name.as_str())).map_err(|e| error(e, name))?;
        let bytes_total = file.metadata().map_err(|e| error(e, name))?.len();
        file.seek(std::io::SeekFrom::Start(from))
            .map_err(|e| error(e, name))?;
        Ok(Reading {
            bytes_total,
            body: Box::new(file),
        })
    }
    fn head(&self, name: &Name) -> Result<Entry, BackendError> {
        let meta = std::fs::metadata(self.0.join(name.as_str())).map_err(|e| error(e, name))?;
        Ok(Entry {
            name: name.clone(),
            bytes_total: meta.len(),
            modified: meta.modified().map_err(|e| error(e, name))?,
        })
    }
    fn put(&self, name: &Name, body: Body<'_>, mode: PutMode) -> Result<PutOutcome, BackendError> {
        let path = self.0.join(name.as_str());
        if mode == PutMode::Create && path.exists() {
            return Ok(PutOutcome::WasThere);
        }
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            std::io::copy(&mut body.open()?, &mut file)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        write().map_err(|e| error(e, name))?;
        Ok(PutOutcome::Written)
    }
    fn list(
        &self,
        prefix: &Name,
        _: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        Err(error(std::io::ErrorKind::Unsupported.into(), prefix))
    }
    fn delete(&self, name: &Name) -> Result<(), BackendError> {
        std::fs::remove_file(self.0.join(name.as_str())).map_err(|e| error(e, name))
    }
    fn freshen(&self, _: &Name) -> Result<(), BackendError> {
        Ok(())
    }
}
