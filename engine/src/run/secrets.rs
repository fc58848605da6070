//! Secrets are asked for before the first stage starts: whoever forgot one hears of it now, and not
//! after an hour.

use super::{Reuse, RunOptions};
use crate::plan::InstanceIndex;
use crate::session::Session;
use crate::survey::{Standing, Survey};

/// Fails where an instance that has to be executed declares a secret that is not set. With a remote
/// to look at, what has to be executed is not known yet: then the stage itself says it.
///
/// # Errors
/// The first such instance, with its place.
pub fn check(
    session: &Session,
    targets: &[InstanceIndex],
    wanted: &[bool],
    options: &RunOptions,
) -> anyhow::Result<()> {
    let looks_elsewhere = options.sharing.as_ref().is_some_and(|s| s.pull.is_some());
    if options.dry_run || looks_elsewhere {
        return Ok(());
    }
    let is_unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    let mut lacking = Vec::new();
    for (i, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
        let index = InstanceIndex(i as u32);
        let secrets = &session.plan.instance(index).policy.secrets;
        lacking.extend(secrets.iter().find(|s| is_unset(s)).map(|s| (index, s)));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let those: Vec<InstanceIndex> = lacking.iter().map(|(index, _)| *index).collect();
    let survey = Survey::of(session, &those)?;
    for (index, name) in lacking {
        let seen = survey.get(index);
        // What is only foreseen may come otherwise.
        let is_cached = seen.is_some_and(|s| s.state == Standing::Cached && s.contents.is_some());
        let is_forced = options.reuse == Reuse::ForceTargets && targets.contains(&index);
        if is_forced || !is_cached {
            let instance = session.plan.instance(index);
            anyhow::bail!(
                "{}:{}:{}: stage `{}`: its secret `{name}` is not set; run with `{name}=... repro run`, or export it before",
                instance.place.file,
                instance.place.line,
                instance.place.column,
                instance.stage
            );
        }
    }
    Ok(())
}
