//! `repro init`: a small pipeline to start from.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Exit, output};
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
/// Existing files are not overwritten.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The directory; created if it does not exist.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
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
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| anyhow::anyhow!("cannot write `{path}`: {e}")
    };
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let pipeline = dir.join(PIPELINE_NAMES[0]);
    let mut file = std::fs::File::create_new(&pipeline).map_err(failed(&pipeline))?;
    file.write_all(PIPELINE.as_bytes())
        .map_err(failed(&pipeline))?;
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
    output::text(&format!("wrote {}; next: repro run\n", pipeline.display()))?;
    Ok(Exit::Done)
}
