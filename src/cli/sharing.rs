//! What commands that use a remote have in common: which one is meant, the way to it, who signs, and how what was moved is
//! told.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::ui::style::{Colour, bytes};
use repro_engine::digest::{Content, Digest};
use repro_engine::plan::{Instance, InstanceIndex, Source};
use repro_engine::project::Project;
use repro_engine::record::elsewhere::WayBack;
use repro_engine::remote::config::Remotes;
use repro_engine::remote::fetch::fetch;
use repro_engine::remote::layout::Scope;
use repro_engine::remote::lease;
use repro_engine::remote::link::Link;
use repro_engine::session::Session;
use repro_engine::trust::{FILE_NAME, Signer, Trust};

/// Which remote.
#[derive(Debug, Clone, Default, Args)]
pub struct RemoteArgs {
    /// The remote, as `repro remote list` calls it; the default one when absent.
    #[arg(long, value_name = "NAME")]
    pub remote: Option<String>,
    /// Publish under this scope, which nobody reads who does not name it; for writers who are not trusted, such as pull
    /// requests. Read is what everybody reads, then the scope.
    #[arg(long, value_name = "NAME")]
    pub scope: Option<String>,
}

impl RemoteArgs {
    /// The scope that is meant.
    ///
    /// # Errors
    /// It is no name of one.
    pub fn scope(&self) -> anyhow::Result<Scope> {
        let Some(scope) = &self.scope else {
            return Ok(Scope::Shared);
        };
        let named = scope.parse().map_err(|_| {
            anyhow::anyhow!("`{scope}` is no scope; write `a-z`, `0-9`, `_`, `-`, e.g. `pr-12`")
        })?;
        Ok(Scope::Of(named))
    }
}

/// A remote, ready to be used.
pub struct Way {
    /// The way to it.
    pub link: Arc<Link>,
    /// What it warns of, until shown.
    pub warnings: Arc<Mutex<Vec<String>>>,
}

impl Way {
    /// To the remote that is meant. Nothing is sent yet.
    ///
    /// # Errors
    /// There is no such remote, or its credentials are plainly missing.
    pub fn to(project_root: &Path, args: &RemoteArgs) -> anyhow::Result<Way> {
        let remotes = Remotes::read(project_root)?;
        let (name, _) = remotes.get(args.remote.as_deref())?;
        let scope = args.scope()?;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = warnings.clone();
        let warn = move |text: &str| {
            let mut heard = heard.lock().unwrap_or_else(|e| e.into_inner());
            heard.push(text.to_owned());
        };
        let backend = remotes.open(args.remote.as_deref())?;
        let link = Arc::new(Link::new(backend, name, scope, warn));
        Ok(Way { link, warnings })
    }

    /// Shows what it warned of so far.
    pub fn show_warnings(&self) {
        self.link.tell_doubts();
        let warnings =
            std::mem::take(&mut *self.warnings.lock().unwrap_or_else(|e| e.into_inner()));
        let colour = Colour::of(&std::io::stderr());
        for text in warnings {
            crate::say!("{} {text}", colour.yellow("warning:"));
        }
    }

    /// Does `work` while a bar on the terminal shows what is moved; `bytes_total` is about how much that will be.
    pub fn watch<T: Send>(
        &self,
        bytes_total: u64,
        moved: fn(&Link) -> u64,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes_total), target);
        let template = "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        let before = moved(&self.link);
        let done = std::thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                bar.set_position((moved(&self.link) - before).min(bytes_total));
                std::thread::sleep(Duration::from_millis(5));
            }
            working.join()
        });
        bar.finish_and_clear();
        self.show_warnings();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `3.1 MiB received in 12 requests`, with what went wrong.
    pub fn said(&self) -> String {
        let moved = self.link.moved();
        let mut parts = Vec::new();
        for (count, word) in [(moved.received, "received"), (moved.sent, "sent")] {
            if count > 0 {
                parts.push(format!("{} {word}", bytes(count)));
            }
        }
        parts.push(format!("{} requests", moved.requests));
        if moved.warnings > 0 {
            parts.push(format!("{} warnings", moved.warnings));
        }
        parts.join(", ")
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let moved = self.link.moved();
        json!({
            "name": self.link.name(),
            "requests": moved.requests,
            "bytes_received": moved.received,
            "bytes_sent": moved.sent,
            "warnings": moved.warnings,
        })
    }
}

/// What a command may do to get bytes that are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Fetch them from the remote they are known from.
    Used,
    /// `--offline`.
    Off,
}

impl Network {
    /// By the flag.
    pub fn unless(offline: bool) -> Network {
        match offline {
            true => Network::Off,
            false => Network::Used,
        }
    }
}

/// To the remote that results known here came from, as far as they are not here.
///
/// # Errors
/// As [`Way::to`].
pub fn way_back(session: &Session) -> anyhow::Result<Way> {
    let root = &session.project.root;
    match session.elsewhere.way_back() {
        Some(WayBack { remote, scope }) => {
            // It may have been renamed or removed since.
            let remote = Remotes::read(root)?
                .get(Some(&remote))
                .is_ok()
                .then_some(remote);
            Way::to(root, &RemoteArgs { remote, scope })
        }
        None => Way::to(root, &RemoteArgs::default()),
    }
}

/// Gets what of these contents is known and not here, for a command that looks at them; for those it could not get, why not. What is
/// moved is told on standard error.
///
/// # Errors
/// The store cannot be read or written.
pub fn bring(
    session: &Session,
    contents: Vec<Content>,
    network: Network,
) -> anyhow::Result<BTreeMap<Content, String>> {
    let absent = session.absent(&contents)?;
    if absent.is_empty() {
        return Ok(BTreeMap::new());
    }
    let none_of_it = |why: &str| -> BTreeMap<Content, String> {
        absent.iter().map(|c| (*c, why.to_owned())).collect()
    };
    if network == Network::Off {
        return Ok(none_of_it("--offline"));
    }
    let way = match way_back(session) {
        Ok(way) => way,
        Err(e) => return Ok(none_of_it(&format!("{e:#}"))),
    };
    session.store.start_lease()?;
    let bytes_total = absent.iter().map(|c| c.bytes_total).sum();
    let outcomes = way.watch(
        bytes_total,
        |link| link.moved().received,
        || fetch(&way.link, &session.store, &absent),
    )?;
    let failed: BTreeMap<Content, String> = absent
        .iter()
        .zip(outcomes)
        .filter_map(|(content, outcome)| Some((*content, outcome.err()?.to_string())))
        .collect();
    let got = absent.len() - failed.len();
    if got > 0 {
        crate::say!(
            "got {got} artifacts from `{}` ({})",
            way.link.name(),
            way.said()
        );
    }
    Ok(failed)
}

/// Makes sure that the inputs of an instance are here that other stages made.
///
/// # Errors
/// One of them is not to be had: what, why, and the command that gets it.
pub fn bring_inputs(
    session: &Session,
    instance: &Instance,
    contents: &[Vec<Content>],
    network: Network,
) -> anyhow::Result<()> {
    let items = instance.needs.iter().zip(contents);
    let produced = items.flat_map(|(need, contents)| need.items.iter().zip(contents));
    let made: Vec<(InstanceIndex, Content)> = produced
        .filter_map(|(item, content)| match item.source {
            Source::Output { instance, .. } => Some((instance, *content)),
            Source::Files(_) => None,
        })
        .collect();
    let failed = bring(session, made.iter().map(|(_, c)| *c).collect(), network)?;
    match made.iter().find_map(|(by, c)| Some((by, failed.get(c)?))) {
        Some((by, why)) => {
            let by = &session.plan.instance(*by).id;
            anyhow::bail!(
                "`{}` needs the output of `{by}`, which is on the remote only ({why}); `repro run --pull '{by}'` gets it or \
                 makes it again",
                instance.id
            )
        }
        None => Ok(()),
    }
}

/// A lease that says the same is not written again sooner.
const LEASE_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Says on the remote what this clone needs (its lock file, its last runs, and `more`), so that a collection started elsewhere
/// spares it. Where that fails, results may be collected when they are old: a warning.
pub fn announce(link: &Arc<Link>, project: &Project, more: &[Digest]) {
    let mut keys: Vec<Digest> = match super::gc_remote::known_keys(project) {
        Ok(keys) => keys.into_iter().chain(more.iter().copied()).collect(),
        Err(e) => return link.warning(&format!("nothing is said of what this clone needs: {e:#}")),
    };
    keys.sort_unstable();
    keys.dedup();
    let all: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
    let said = format!("{} {}\n", Digest::of(&all), link.describe());
    let stamp = project.state().join("leases").join(link.name());
    let is_recent = std::fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < LEASE_AGE_MAX));
    if link.given_up().is_some()
        || is_recent && std::fs::read_to_string(&stamp).is_ok_and(|text| text == said)
    {
        return;
    }
    match lease::begin(link, &lease::client(&project.root), keys) {
        Ok(()) => {
            // Only spares a request.
            let _ = stamp.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(&stamp, said);
        }
        Err(_) if link.given_up().is_some() => {}
        Err(e) => link.warning(&format!("what this clone needs could not be said: {e}")),
    }
}

/// Whom the project believes.
///
/// # Errors
/// Nobody: there is no trust file; or it is wrong.
pub fn trust(project_root: &Path) -> anyhow::Result<Arc<Trust>> {
    let trust = Trust::read(project_root)?;
    anyhow::ensure!(
        trust.policy().is_some(),
        "the project has no {FILE_NAME}, so nothing of a remote is believed; `repro trust init` makes one"
    );
    Ok(Arc::new(trust))
}

/// The user's key.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn signer() -> anyhow::Result<Arc<Signer>> {
    let signer = Signer::of_user(&mut crate::terminal::ask_passphrase)?;
    let signer = signer.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no key to sign results with, and nobody believes unsigned ones; `repro trust init` makes a key, and CI \
             finds it in REPRO_SIGNING_KEY"
        )
    })?;
    Ok(Arc::new(signer))
}
