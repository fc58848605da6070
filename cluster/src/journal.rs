//! What is kept of submissions, in the project: enough for another run to go on where this one
//! ended, however it ended. A name is durable before anything is submitted under it.
//!
//! ```text
//! .repro/cluster/<executor>/campaign     scope on the remote, remote
//! .repro/cluster/<executor>/key.pem      the key that nodes sign with; only its owner reads it
//! .repro/cluster/<executor>/waves/<name> one submission: its job, its elements
//! .repro/cluster/<executor>/closing      the job that takes results when nobody waits for them
//! .repro/cluster/<executor>/cancelled    somebody asked for the end of everything
//! ```
//! A campaign begins with the first submission and ends when nothing of it is under way.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use repro_engine::digest::Digest;
use repro_engine::regular::{self, Links};
use repro_engine::trust::{Passphrase, PublicKey, SecretKey, keep_key};
use repro_engine::whole;
use serde::{Deserialize, Serialize};

/// Bytes of the largest file that is read.
const BYTES_MAX: u64 = 256 << 20;

/// What is under way on one executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    /// The part of the remote that is its own.
    pub scope: String,
    /// The remote, by its name in the project.
    pub remote: String,
}

/// A submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// Its name, in the campaign.
    pub name: String,
    /// The name of its job.
    pub job_name: String,
    /// What the batch system calls its job; `None`: it may be submitted or not.
    pub job: Option<String>,
    /// When it was submitted, seconds since 1970.
    pub at: i64,
    /// Where the system writes what the job itself says.
    pub log: String,
    /// What each element executes: instance, and the key where it was known.
    pub elements: Vec<Items>,
    /// Elements that are over.
    #[serde(default)]
    pub over: Vec<u32>,
}

/// What an element executes: instances, with keys where they were known.
type Items = Vec<(Arc<str>, Option<Digest>)>;

impl Wave {
    /// Elements that may not be over, by number.
    pub fn living(&self) -> impl Iterator<Item = (u32, &Items)> {
        let all = (0u32..).zip(&self.elements);
        all.filter(|(number, _)| !self.over.contains(number))
    }
}

/// The variable by which a closing job knows its own name.
pub const CLOSING: &str = "REPRO_CLOSING";

/// A job that takes the results of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Its name.
    pub job_name: String,
    /// What the batch system calls it.
    pub job: Option<String>,
}

impl Closing {
    /// This process is that job.
    pub fn is_this_process(&self) -> bool {
        std::env::var(CLOSING).is_ok_and(|name| name == self.job_name)
    }
}

/// See the module.
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Of an executor, by its name.
    pub fn of(state: &Path, executor: &str) -> Journal {
        Journal {
            dir: state.join("cluster").join(executor),
        }
    }

    /// All executors of a project that something was submitted to.
    pub fn all(state: &Path) -> Vec<String> {
        let dirs = fs::read_dir(state.join("cluster"))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = dirs
            .filter_map(|d| d.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn campaign_path(&self) -> PathBuf {
        self.dir.join("campaign")
    }

    fn waves_dir(&self) -> PathBuf {
        self.dir.join("waves")
    }

    fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
        match regular::read_text(path, Links::Refuse, BYTES_MAX) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| {
                format!(
                    "`{}` is damaged; `repro cancel` ends what it is about, then remove it",
                    path.display()
                )
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    fn write(&self, path: &Path, what: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(what)?;
        whole::write_lasting(path, text.as_bytes())
            .with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// The campaign under way, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn campaign(&self) -> anyhow::Result<Option<Campaign>> {
        Journal::read(&self.campaign_path())
    }

    /// Begins a campaign, with a key of its own.
    ///
    /// # Errors
    /// The disk; there are no random numbers.
    pub fn begin(&self, remote: &str) -> anyhow::Result<Campaign> {
        let waves = self.waves_dir();
        fs::create_dir_all(&waves).with_context(|| format!("cannot make `{}`", waves.display()))?;
        let mut random = [0; 6];
        getrandom::fill(&mut random)
            .map_err(|e| anyhow::anyhow!("the system gives no random numbers: {e}"))?;
        let scope: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let key = self.key_path();
        let _ = fs::remove_file(&key);
        keep_key(&key, &SecretKey::generate()?.to_pem(None::<&Passphrase>)?)?;
        let campaign = Campaign {
            scope: format!("run-{scope}"),
            remote: remote.to_owned(),
        };
        self.write(&self.campaign_path(), &campaign)?;
        Ok(campaign)
    }

    fn key_path(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    /// The key that nodes sign with: its text, and its public half.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn key(&self) -> anyhow::Result<(String, PublicKey)> {
        let path = self.key_path();
        let text = regular::read_text(&path, Links::Refuse, 1 << 16)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let key =
            SecretKey::from_pem(&text, None).with_context(|| format!("`{}`", path.display()))?;
        Ok((text, key.public()))
    }

    /// Ends the campaign: nothing of it is under way.
    pub fn end(&self) {
        // The campaign goes last: while it is there, the rest is looked after.
        let _ = fs::remove_dir_all(self.waves_dir());
        let _ = fs::remove_file(self.key_path());
        let _ = fs::remove_file(self.campaign_path());
        let _ = fs::remove_file(self.cancelled_path());
        let _ = fs::remove_file(self.closing_path());
        let _ = fs::remove_dir(&self.dir);
    }

    /// All submissions of the campaign that may be under way.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn waves(&self) -> anyhow::Result<Vec<Wave>> {
        let mut waves = Vec::new();
        for entry in fs::read_dir(self.waves_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            // What a kill left half written has another kind of name.
            let is_wave = entry
                .file_name()
                .to_str()
                .is_some_and(|n| n.starts_with('w'));
            if is_wave {
                waves.extend(Journal::read(&entry.path())?);
            }
        }
        waves.sort_by(|a: &Wave, b: &Wave| a.name.cmp(&b.name));
        Ok(waves)
    }

    /// Writes a submission down, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn note(&self, wave: &Wave) -> anyhow::Result<()> {
        self.write(&self.waves_dir().join(&wave.name), wave)
    }

    /// A submission is over.
    pub fn forget(&self, wave: &str) {
        let _ = fs::remove_file(self.waves_dir().join(wave));
    }

    fn closing_path(&self) -> PathBuf {
        self.dir.join("closing")
    }

    /// The job that comes for results, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn closing(&self) -> anyhow::Result<Option<Closing>> {
        Journal::read(&self.closing_path())
    }

    /// Writes it down, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn note_closing(&self, closing: &Closing) -> anyhow::Result<()> {
        self.write(&self.closing_path(), closing)
    }

    fn cancelled_path(&self) -> PathBuf {
        self.dir.join("cancelled")
    }

    /// Asks whoever runs to end everything.
    ///
    /// # Errors
    /// The disk.
    pub fn ask_to_cancel(&self) -> anyhow::Result<()> {
        let path = self.cancelled_path();
        fs::write(&path, "").with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Somebody asked for the end of everything, or has brought it about: then the campaign is gone,
    /// and what asked for it as well.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled_path().exists() || !self.campaign_path().exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::of(dir.path(), "lab");
        assert_eq!(journal.campaign().unwrap(), None);
        let campaign = journal.begin("dir").unwrap();
        assert_eq!(journal.campaign().unwrap(), Some(campaign.clone()));
        journal.key().unwrap();
        let mut wave = Wave {
            name: "w0001".into(),
            job_name: "repro-x".into(),
            job: None,
            at: 1,
            log: "log".into(),
            elements: vec![vec![("train[seed=1]".into(), None)]],
            over: vec![],
        };
        journal.note(&wave).unwrap();
        wave.job = Some("12".into());
        journal.note(&wave).unwrap();
        assert_eq!(journal.waves().unwrap(), [wave]);
        assert_eq!(Journal::all(dir.path()), ["lab"]);
        journal.ask_to_cancel().unwrap();
        assert!(journal.is_cancelled());
        journal.end();
        assert!(
            journal.is_cancelled(),
            "who asked is gone, and so is what it is about"
        );
        assert_eq!(journal.campaign().unwrap(), None);
        assert_ne!(journal.begin("dir").unwrap().scope, campaign.scope);
        assert!(!journal.is_cancelled());
        fs::write(dir.path().join("cluster/lab/waves/w1"), "{").unwrap();
        assert!(format!("{:#}", journal.waves().unwrap_err()).contains("damaged"));
    }
}
