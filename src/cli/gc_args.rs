//! What `repro gc` can be told.

use clap::Args;
use repro_engine::collect::Mode;
use repro_engine::size;

/// Remove from the store, or from a remote, what no project needs.
///
/// gc keeps the results named by the repro.lock or the last runs of every project that used the
/// store, everything that is pinned or in use by a running process, and everything younger than
/// --keep-days. Results of earlier versions of a pipeline are removed; if they are needed again,
/// they are executed again. Without --yes, only the plan is shown.
///
/// With --budget, the store is brought below a size. Results that were not used for long and are
/// cheap to compute again for their size are removed first, even if a project needs them. Pinned
/// results and results in use by running processes stay. What was removed is executed again when it
/// is needed.
///
/// With --remote, results on a remote are collected. gc keeps what this project names (repro.lock,
/// also on every branch and tag of git), what other clones declared as needed when they last
/// pushed, for 90 days, and what was published within --keep-days (at least 12). One collection
/// marks what can go, and another removes it a day later, so a collection is safe while others
/// write. Run `repro gc --remote --yes` once a day, on any machine, to keep a remote clean.
#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Remove what the plan lists.
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Bring the store below this size (`20GB`, `500MiB`).
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with_all = ["remote", "forget_gone_projects"])]
    pub(super) budget: Option<u64>,
    /// Collect on a remote: the named one, or the default one.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(super) remote: Option<String>,
    /// With --remote: the scope, for results of untrusted writers.
    #[arg(long, value_name = "NAME", requires = "remote")]
    pub(super) scope: Option<String>,
    /// With --remote: pipeline file or its directory; by default the nearest pipeline.yaml in this
    /// directory or above.
    #[arg(short = 'C', long, value_name = "FILE", requires = "remote")]
    pub(super) file: Option<std::path::PathBuf>,
    /// Keep everything younger than N days, needed or not; by default 30, on a remote 14.
    #[arg(long, value_name = "N")]
    pub(super) keep_days: Option<u32>,
    /// Keep resumable states younger than N days.
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(super) keep_states_days: u32,
    /// Forget projects whose directories are gone, so that their results can be removed too.
    #[arg(long)]
    pub(super) forget_gone_projects: bool,
    /// Write one object: bytes_total, bytes_before, objects, trees, states, actions, recompute_s,
    /// done.
    #[arg(long)]
    pub(super) json: bool,
}

impl GcArgs {
    /// Set by `--yes`.
    pub(super) fn mode(&self) -> Mode {
        match self.yes {
            true => Mode::Do,
            false => Mode::Plan,
        }
    }
}

/// `20GB`, `1.5TiB`, `500M`: powers of 1000, with an `i` of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write for example 20GB or 500MiB");
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let factor = size::factor(unit).ok_or_else(wrong)?;
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("20GB", 20_000_000_000),
            ("1.5 KiB", 1536),
            ("7", 7),
            ("2m", 2_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "1XB", "-1GB", "1.2.3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
