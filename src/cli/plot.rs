//! `repro plot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::from::FromArgs;
use super::{Context, Exit, PipelineArgs, output, report};
use repro_report::draw::Style;
use repro_report::paper::{self, Format};

/// Write the figures of the report as files for a paper, each with its numbers as CSV.
#[derive(Debug, Clone, Args)]
pub struct PlotArgs {
    /// Figures, by name; by default all. `--list` names them.
    #[arg(value_name = "FIGURES")]
    figures: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    from: FromArgs,
    /// The directory to write to.
    #[arg(short, long, value_name = "DIR", default_value = "figures")]
    output: PathBuf,
    /// The formats. Can be given several times.
    #[arg(long, value_enum, value_name = "FORMAT", default_values_t = [Written::Svg])]
    format: Vec<Written>,
    /// The width in points; a column of a paper has about 240, a page 480.
    #[arg(long, value_name = "POINTS", default_value_t = 480.0)]
    width: f64,
    /// The height in points.
    #[arg(long, value_name = "POINTS", default_value_t = 280.0)]
    height: f64,
    /// The size of words in points.
    #[arg(long, value_name = "POINTS", default_value_t = 9.0)]
    size: f64,
    /// Dots per inch of PNGs.
    #[arg(long, value_name = "DOTS", default_value_t = 200.0)]
    dpi: f64,
    /// The font of SVGs; PDFs have Helvetica, PNGs a font with its widths.
    #[arg(
        long,
        value_name = "FAMILY",
        default_value = "Helvetica, Arial, sans-serif"
    )]
    font: String,
    /// Name the figures, and write nothing.
    #[arg(long)]
    list: bool,
    /// Never use the network: what is only on a remote is left out.
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// For pages and for Inkscape.
    Svg,
    /// For LaTeX.
    Pdf,
    /// For slides.
    Png,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.format(0.0).ending())
    }
}

impl Written {
    fn format(self, dpi: f64) -> Format {
        match self {
            Written::Svg => Format::Svg,
            Written::Pdf => Format::Pdf,
            Written::Png => Format::Png { dpi },
        }
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &PlotArgs) -> anyhow::Result<Exit> {
    let fits = |v: f64, low: f64| (low..=20_000.0).contains(&v);
    if !fits(args.width, 100.0) || !fits(args.height, 80.0) || !fits(args.size, 3.0) {
        anyhow::bail!(
            "a figure is at least 100 points wide and 80 high, and its words have at least 3"
        );
    }
    if !(10.0..=2400.0).contains(&args.dpi) {
        anyhow::bail!("`--dpi` is from 10 to 2400");
    }
    let session = args.pipeline.opening(context).session()?;
    let study = report::study(&session, &context.tools, (&args.from, args.offline))?;
    if args.list {
        let lines = study
            .figures
            .iter()
            .map(|f| format!("{}  {}\n", f.name, f.title));
        output::text(&lines.collect::<String>())?;
        return Ok(Exit::Done);
    }
    for name in &args.figures {
        if let Some(undrawn) = study.undrawn.iter().find(|f| f.name == *name) {
            anyhow::bail!("{undrawn}");
        }
        if !study.figures.iter().any(|f| f.name == *name) {
            let all = study.figures.iter().map(|f| &*f.name);
            let hint = repro_engine::targets::nearest(name, all, "`repro plot --list` names them");
            anyhow::bail!("no figure is called `{name}`; {hint}");
        }
    }
    if args.figures.is_empty() {
        report::warn_of_undrawn(&study);
    }
    let is_wanted = |name: &String| args.figures.is_empty() || args.figures.contains(name);
    let figures: Vec<_> = study
        .figures
        .iter()
        .filter(|f| is_wanted(&f.name))
        .collect();
    let style = Style {
        width: args.width,
        height: args.height,
        size: args.size,
        font: args.font.clone(),
    };
    let formats: Vec<Format> = args.format.iter().map(|w| w.format(args.dpi)).collect();
    let files = paper::write(&figures, &args.output, &formats, &style)?;
    if files.is_empty() {
        crate::say!("nothing to draw yet: no stage has a table of metrics with a result");
    }
    let lines: String = files.iter().map(|f| format!("{}\n", f.display())).collect();
    output::text(&lines)?;
    Ok(Exit::Done)
}
