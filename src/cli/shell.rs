//! `repro shell`: looking around where a command runs or failed.

use clap::Args;

use super::{Context, Exit, PipelineArgs, completing};
use repro_engine::exec::WorkDir;
use repro_engine::survey::Survey;
use repro_engine::visit;

/// Open a shell where a command failed, or where it would run.
///
/// The directory is that of the last failure, if there is one. Otherwise it is a new directory with
/// the inputs, which is removed afterwards. The shell is the stage's own, with the environment, the
/// inputs and the sandbox of the stage. The text of its command is in $TMPDIR/command. Nothing is
/// recorded. After `--` a program of yours runs instead.
///
/// The exit code is 1 if the shell or the program ends with a code other than 0.
#[derive(Debug, Clone, Args)]
pub struct ShellArgs {
    /// The instance, or a stage that has only one.
    #[arg(value_name = "INSTANCE", add = completing::targets())]
    instance: String,
    /// The command to run instead of a shell, after `--`.
    #[arg(value_name = "COMMAND", last = true)]
    words: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Runs the command.
pub fn main(context: &Context, args: &ShellArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let targets = session.targets(std::slice::from_ref(&args.instance))?;
    let index = session.only(&args.instance, &targets)?;
    session.store.start_lease()?;
    let survey = Survey::of(&session, &targets)?;
    let instance = session.plan.instance(index);
    if let Some(why) = session.why_unknown(instance) {
        anyhow::bail!("`{}`: {why}", instance.id);
    }
    let Some(contents) = survey.get(index).and_then(|s| s.contents.as_ref()) else {
        anyhow::bail!(
            "the inputs of `{0}` do not exist yet; `repro run '{0}'` makes them (with -k if it fails)",
            instance.id
        );
    };
    // Ctrl-C is for whoever runs inside; this program waits.
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // rustix sets no dispositions. SAFETY: setting a disposition to SIG_IGN runs no code of
        // ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let status = visit::visit(
        &session,
        instance,
        contents,
        std::env::current_exe()?,
        &args.words,
        &mut |door| {
            let what = match (door.site, door.has_changed) {
                (WorkDir::Left, false) => "as its last failure left it",
                (WorkDir::Left, true) => {
                    "as its last failure left it; inputs or the stage have changed since, and the inputs are the current ones"
                }
                (WorkDir::Fresh, _) => {
                    "with its inputs; it has no failure, and this directory is removed when you leave"
                }
            };
            crate::say!("{}: {what}", door.work.display());
            crate::say!("its command: {}", door.how_to_run);
        },
    )?;
    Ok(match status.success() {
        true => Exit::Done,
        false => Exit::StageFailed,
    })
}
