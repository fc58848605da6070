//! `repro clean`: takes files out of artifacts/ that the store can bring back, and nothing else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Exit, PipelineArgs, output};
use crate::ui::style::bytes;
use repro_engine::artifacts;
use repro_engine::digest::{Content, Shape};
use repro_engine::exec;
use repro_engine::run;
use repro_engine::session::Session;
use repro_protocol::relpath::RelPath;

/// Remove files under artifacts/ that the store can bring back.
///
/// Without --all only what no stage of the pipeline has as an output any more. A file goes only if the store holds its
/// very bytes: files you put there or changed stay, and are named. `repro run` puts current outputs back.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only outputs of stages and instances that are no longer in the pipeline (the default).
    #[arg(long, conflicts_with = "all")]
    stale: bool,
    /// All outputs.
    #[arg(long)]
    all: bool,
    /// Instead, what has piled up under .repro: directories that failures left, scratch directories of stages, and records
    /// of results on a remote that no run wants any more.
    #[arg(long, conflicts_with_all = ["all", "stale", "yes"])]
    failed: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

struct Candidate {
    path: RelPath,
    bytes: u64,
}

/// Runs the command.
pub fn main(context: &Context, args: &CleanArgs) -> anyhow::Result<Exit> {
    if args.failed {
        return failed(&args.pipeline.opening(context).project()?.state());
    }
    let session = args.pipeline.opening(context).session()?;
    let current: HashSet<RelPath> = if args.all {
        HashSet::new()
    } else {
        let outputs = session.plan.instances.iter().flat_map(|i| {
            i.outputs
                .iter()
                .filter_map(move |o| artifacts::path_of(i, o).ok())
        });
        outputs.collect()
    };
    let (mut known, mut foreign) = (Vec::new(), Vec::new());
    look(&session, &current, &mut known, &mut foreign)?;
    let bytes_total: u64 = known.iter().map(|c| c.bytes).sum();
    if known.is_empty() {
        output::text("nothing to clean\n")?;
    } else if args.yes
        || output::confirmed(&format!(
            "remove {} files ({}) from artifacts/?",
            known.len(),
            bytes(bytes_total)
        ))?
    {
        for candidate in &known {
            let path = candidate.path.under(&session.project.root);
            std::fs::remove_file(&path)
                .map_err(|e| anyhow::anyhow!("cannot remove `{}`: {e}", path.display()))?;
            remove_empty_parents(&path, &session.project.artifacts());
        }
        output::text(&format!(
            "removed {} files ({})\n",
            known.len(),
            bytes(bytes_total)
        ))?;
    } else {
        let mut text = format!(
            "would remove {} files ({}):\n",
            known.len(),
            bytes(bytes_total)
        );
        known
            .iter()
            .for_each(|c| text.push_str(&format!("  {}\n", c.path)));
        text.push_str("add --yes to do it\n");
        output::text(&text)?;
    }
    for path in &foreign {
        crate::say!("kept {}: its bytes are not in the store", path.display());
    }
    Ok(Exit::Done)
}

/// Nobody needs these but who looks at a failure, or lets a stage go on from where it stopped.
fn failed(state: &Path) -> anyhow::Result<Exit> {
    let failures = run::sweep_failed(state, std::time::Duration::ZERO);
    let mut scratch = 0;
    for entry in repro_engine::dir::read(state.join("scratch"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path();
        exec::discard(&path)
            .map_err(|e| anyhow::anyhow!("cannot remove `{}`: {e}", path.display()))?;
        scratch += 1;
    }
    let elsewhere = super::gc::sweep_elsewhere(state);
    output::text(&format!(
        "removed {failures} directories of failures, {scratch} scratch directories and {elsewhere} records of results elsewhere\n"
    ))?;
    Ok(Exit::Done)
}

/// Sorts the files in the directories of artifacts/. Files right in it, links and hidden files are never ours.
fn look(
    session: &Session,
    current: &HashSet<RelPath>,
    known: &mut Vec<Candidate>,
    foreign: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let root = &session.project.root;
    let mut open = vec![(session.project.artifacts(), true)];
    while let Some((dir, is_top)) = open.pop() {
        let entries = match repro_engine::dir::read(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => anyhow::bail!("cannot list `{}`: {e}", dir.display()),
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let relative = path
                .strip_prefix(root)
                .ok()
                .and_then(|p| RelPath::new(p.to_str()?).ok());
            let Some(relative) = relative else {
                foreign.push(path);
                continue;
            };
            if current.contains(&relative) {
                continue;
            }
            if kind.is_dir() {
                open.push((path, false));
            } else if is_top || kind.is_symlink() || relative.name().starts_with('.') {
                if !is_top {
                    foreign.push(path);
                }
            } else {
                let content = session.stats.digest_path(&relative)?;
                match session.store.has(&Content {
                    shape: Shape::File,
                    ..content
                })? {
                    true => known.push(Candidate {
                        path: relative,
                        bytes: content.bytes_total,
                    }),
                    false => foreign.push(path),
                }
            }
        }
    }
    known.sort_by(|a, b| a.path.cmp(&b.path));
    foreign.sort();
    Ok(())
}

fn remove_empty_parents(path: &Path, top: &Path) {
    for dir in path.ancestors().skip(1).take_while(|dir| *dir != top) {
        // One that is not empty ends it.
        if std::fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
