//! `repro init`: a small pipeline to start from, or the one that another tool has.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Context, Exit, output};
use crate::ui::style::counted;
use repro_adopt::{Adopted, Note};
use repro_engine::project::PIPELINE_NAMES;

/// A study to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Shell commands: a matrix, and what is gathered of it.
    Shell,
    /// A Python program of your own, with seeds and a claim.
    Python,
    /// Does it help to start from what was learned before?
    WarmStart,
    /// Iterative magnitude pruning with rewinding.
    Lottery,
    /// Averages of weights along the way.
    Swa,
}

impl Template {
    fn pipeline(self) -> &'static str {
        match self {
            Template::Shell => include_str!("templates/shell.yaml"),
            Template::Python => include_str!("templates/python.yaml"),
            Template::WarmStart => include_str!("templates/warm-start.yaml"),
            Template::Lottery => include_str!("templates/lottery.yaml"),
            Template::Swa => include_str!("templates/swa.yaml"),
        }
    }

    /// The files that the pipeline names, by name.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Template::Python => &[
                ("train.py", include_str!("templates/train.py")),
                ("points.csv", include_str!("templates/points.csv")),
            ],
            Template::Shell | Template::WarmStart | Template::Lottery | Template::Swa => &[],
        }
    }
}

const IGNORED: [&str; 2] = ["/.repro/", "/artifacts/"];

/// Write a small pipeline.yaml to start from, and the lines that .gitignore needs.
///
/// Existing files are not overwritten. --template chooses what to start from. With --from-dvc the
/// pipeline is that of dvc.yaml: its stages, commands, dependencies and parameters. What could not
/// be kept is listed.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The directory; created if it does not exist.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// What to start from.
    #[arg(long, value_enum, default_value = "shell")]
    template: Template,
    /// Write the pipeline that dvc.yaml describes, and say what could not be kept.
    #[arg(long, conflicts_with = "template")]
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
    let write_new = |path: &Path, text: &str| {
        let written =
            std::fs::File::create_new(path).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(failed(path))
    };
    let pipeline = dir.join(PIPELINE_NAMES[0]);
    // The user's own files, where the template has one of that name.
    let mut kept = Vec::new();
    match &adopted {
        Some(adopted) => write_new(&pipeline, &adopted.pipeline)?,
        None => {
            for (name, text) in args.template.files() {
                match dir.join(name).symlink_metadata() {
                    Ok(_) => kept.push(format!("`{name}`")),
                    Err(_) => write_new(&dir.join(name), text)?,
                }
            }
            write_new(&pipeline, args.template.pipeline())?;
        }
    }
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
        None if kept.is_empty() => {
            output::text(&format!("wrote {}; next: repro run\n", pipeline.display()))?;
        }
        None => {
            let (names, is) = (
                kept.join(" and "),
                if kept.len() > 1 { "are" } else { "is" },
            );
            output::text(&format!(
                "wrote {}; {names} {is} there already: change `run:` to fit; next: repro run\n",
                pipeline.display()
            ))?;
        }
        Some(adopted) => output::text(&told(&adopted, &pipeline))?,
    }
    Ok(Exit::Done)
}

/// What was written, and what has to be known of it.
fn told(adopted: &Adopted, pipeline: &Path) -> String {
    let mut text = format!(
        "wrote {}: {}, {}, {}\n",
        pipeline.display(),
        counted(adopted.stages, "stage"),
        counted(adopted.instances, "instance"),
        counted(adopted.edges, "edge"),
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
