//! What a shell is told when it asks how a word goes on: commands and options from the parser, names
//! of stages, instances and claims from the pipeline. Nothing is executed, and what cannot be read
//! gives no names.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::Cli;
use repro_engine::catalog::Catalog;
use repro_engine::open::Opening;
use repro_engine::plan::Plan;

/// A shell that asks sets it to its name.
const VARIABLE: &str = "REPRO_COMPLETE";

/// The kinds, which the parser's functions are not given.
static CATALOG: OnceLock<fn() -> Catalog> = OnceLock::new();

/// Answers a shell, if one asks; then there is nothing else to do.
///
/// # Errors
/// A shell that is not known, or one that does not read the answer.
pub fn answered(catalog: fn() -> Catalog) -> clap::error::Result<bool> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(false);
    }
    CATALOG.get_or_init(|| catalog);
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), here.as_deref())
}

/// The script that makes a shell ask; `None` for a shell that is not known.
pub fn script(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell)?;
    shell
        .write_registration(VARIABLE, "repro", "repro", "repro", &mut script)
        .ok()?;
    String::from_utf8(script).ok()
}

/// Names of stages, then of their instances once `[` is typed, and of claims.
pub fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        named(word, |plan, with_axes| {
            let claims = plan.claims.iter().map(|c| c.name.to_string());
            match with_axes {
                true => plan.instances.iter().map(|i| i.id.to_string()).collect(),
                false => stages(plan).into_iter().chain(claims).collect(),
            }
        })
    })
}

/// Names of claims.
pub fn claims() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        named(word, |plan, _| {
            let claims = plan.claims.iter();
            claims.map(|claim| claim.name.to_string()).collect()
        })
    })
}

fn stages(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for instance in &plan.instances {
        // Verdicts are made by instances of their own, which nobody names.
        let is_new = names.last().is_none_or(|last| **last != *instance.stage);
        if is_new && !instance.stage.starts_with("claim:") {
            names.push(instance.stage.to_string());
        }
    }
    names
}

fn named(word: &OsStr, names: impl FnOnce(&Plan, bool) -> Vec<String>) -> Vec<CompletionCandidate> {
    let (Some(word), Some(plan)) = (word.to_str(), plan()) else {
        return Vec::new();
    };
    let names = names(&plan, word.contains('['));
    let fitting = names.into_iter().filter(|name| name.starts_with(word));
    fitting.map(CompletionCandidate::new).collect()
}

/// The plan of the pipeline that the line names, or of the one found from here.
fn plan() -> Option<Plan> {
    let catalog = CATALOG.get()?;
    let words: Vec<String> = std::env::args().skip_while(|word| word != "--").collect();
    let option = words.iter().position(|w| w == "-C" || w == "--file");
    let is_file = |word: &&String| word.ends_with(".yaml") || word.ends_with(".yml");
    let after = option.and_then(|at| words.get(at + 1));
    let opening = Opening {
        file: after
            .or_else(|| words.iter().find(is_file))
            .map(PathBuf::from),
        ..Opening::new(Arc::new(catalog()))
    };
    let project = opening.project().ok()?;
    opening.plan(&project).ok()
}
