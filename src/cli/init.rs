//! `repro init`: a small pipeline to start from, or the one that another tool has.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Exit, output};
use repro_adopt::{Adopted, Note};
use repro_engine::project::PIPELINE_NAMES;

const PIPELINE: &str = "\
# yaml-language-server: $schema=./pipeline.schema.json
# `repro schema > pipeline.schema.json` writes the schema; with it an editor completes and checks this file.
version: 1
name: my-study

# Values the stages below use; `repro run --set words=5` overrides one.
vars:
  words: 3

stages:
  # A command sees its declared inputs and writes its declared outputs, in a directory of its own.
  numbers:
    run: \"seq 1 ${vars.words} > ${outputs.list}\"
    outputs: {list: numbers.txt}

  # One instance per value of `by`; each needs the output of another stage.
  scaled:
    matrix: {by: [2, 10]}
    needs: {list: numbers.list}
    run: \"awk '{print $1 * ${matrix.by}}' ${needs.list} > ${outputs.list}\"
    outputs: {list: scaled.txt}

  # `[*]` gathers all instances.
  total:
    needs: {lists: \"scaled[*].list\"}
    run: \"cat ${needs.lists} | awk '{s += $1} END {print s}' > ${outputs.sum}\"
    outputs: {sum: total.txt}

# `repro kinds` lists the built-in kinds, for `uses:` in place of `run:`.
";

const IGNORED: [&str; 2] = ["/.repro/", "/artifacts/"];

/// Write a small pipeline.yaml to start from, and the lines that .gitignore needs.
///
/// Existing files are not overwritten. With --from-dvc the pipeline is that of dvc.yaml: its stages,
/// commands, dependencies and parameters. What could not be kept is listed.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The directory; created if it does not exist.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Write the pipeline that dvc.yaml describes, and say what could not be kept.
    #[arg(long)]
    from_dvc: bool,
}

/// Runs the command.
pub fn main(_context: &Context, args: &InitArgs) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    if let Some(name) = PIPELINE_NAMES
        .iter()
        .find(|n| dir.join(n).symlink_metadata().is_ok())
    {
        anyhow::bail!("`{}` exists; it is left as it is", dir.join(name).display());
    }
    let adopted = match args.from_dvc {
        true => Some(repro_adopt::dvc::read(dir)?),
        false => None,
    };
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| anyhow::anyhow!("cannot write `{path}`: {e}")
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let pipeline = dir.join(PIPELINE_NAMES[0]);
    let mut file = std::fs::File::create_new(&pipeline).map_err(failed(&pipeline))?;
    let text = adopted.as_ref().map_or(PIPELINE, |a| &a.pipeline);
    file.write_all(text.as_bytes()).map_err(failed(&pipeline))?;
    let ignore = dir.join(".gitignore");
    let old = match std::fs::read_to_string(&ignore) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => anyhow::bail!("cannot read `{}`: {e}", ignore.display()),
    };
    let bare = |line: &str| line.trim().trim_matches('/').to_owned();
    let missing: Vec<&str> = IGNORED
        .into_iter()
        .filter(|wanted| !old.lines().any(|line| bare(line) == bare(wanted)))
        .collect();
    if !missing.is_empty() {
        let newline = if old.is_empty() || old.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ignore)
            .map_err(failed(&ignore))?;
        file.write_all(format!("{newline}{}\n", missing.join("\n")).as_bytes())
            .map_err(failed(&ignore))?;
    }
    match adopted {
        None => output::text(&format!("wrote {}; next: repro run\n", pipeline.display()))?,
        Some(adopted) => output::text(&told(&adopted, &pipeline))?,
    }
    Ok(Exit::Done)
}

/// What was written, and what has to be known of it.
fn told(adopted: &Adopted, pipeline: &Path) -> String {
    let count = |n: usize, one: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    let mut text = format!(
        "wrote {}: {}, {}, {}\n",
        pipeline.display(),
        count(adopted.stages, "stage"),
        count(adopted.instances, "instance"),
        count(adopted.edges, "edge"),
    );
    let (of_stages, of_all): (Vec<&Note>, Vec<&Note>) =
        adopted.notes.iter().partition(|n| n.stage.is_some());
    if !of_stages.is_empty() {
        text.push_str("\nto look at, by stage of dvc.yaml:\n");
    }
    for note in of_stages {
        let stage = note.stage.as_deref().unwrap_or_default();
        text.push_str(&format!("  {stage}: {}\n", note.text));
    }
    if !of_all.is_empty() {
        text.push_str("\nto know:\n");
    }
    for note in of_all {
        text.push_str(&format!("  {}\n", note.text));
    }
    text.push_str("\nnext: repro run -n\n");
    text
}
