//! `repro remote`: where results are shared.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, output};
use crate::ui::style::bytes;
use repro_engine::remote::Location;
use repro_engine::remote::backends::{Encryption, Settings};
use repro_engine::remote::config::{FILE, Remote, Remotes};
use repro_engine::remote::examine::examine;
use repro_engine::remote::probe::{Check, Outcome, Probe, SKEW_MAX};

/// Add, list, remove or examine the remotes on which results are shared.
///
/// Remotes are listed in repro.remotes.toml beside pipeline.yaml; commit it. Credentials are never
/// stored there: they come from where each service's own tools keep them.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// Pipeline file or its directory; by default the nearest pipeline.yaml in this directory or
    /// above.
    #[arg(short = 'C', long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: RemoteCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum RemoteCommand {
    Add(AddArgs),
    List(ListArgs),
    Remove(RemoveArgs),
    Doctor(DoctorArgs),
}

/// Add a remote, after testing what it can do.
///
/// URL is one of
///   s3://BUCKET/PREFIX     Amazon S3, or with --endpoint any server that speaks its protocol;
///                          AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile of ~/.aws, or
///                          a role
///   gs://BUCKET/PREFIX     Google Cloud Storage; GOOGLE_APPLICATION_CREDENTIALS, or what gcloud
///                          wrote
///   az://CONTAINER/PREFIX  Azure; AZURE_STORAGE_ACCOUNT_NAME (or --account) and
///                          AZURE_STORAGE_ACCOUNT_KEY, ...
///   https://HOST/PATH      WebDAV, or a server that takes PUT; ~/.netrc
///   sftp://[USER@]HOST[:PORT]/PATH
///                          what `ssh` reaches without a password (/~/PATH: below the home
///                          directory)
///   DIRECTORY              for example on a network file system
///
/// A few small objects are written, read, listed and removed there. The findings are written to
/// repro.remotes.toml.
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
struct AddArgs {
    /// Its name in this project.
    name: String,
    /// The URL or directory.
    url: String,
    /// The URL of the service, if it is not the provider's own.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// S3: the region.
    #[arg(long)]
    region: Option<String>,
    /// S3: the profile of ~/.aws that everybody uses; by default AWS_PROFILE.
    #[arg(long)]
    profile: Option<String>,
    /// Azure: the storage account.
    #[arg(long)]
    account: Option<String>,
    /// S3: the bucket is part of the host name, not of the path.
    #[arg(long)]
    virtual_hosted: bool,
    /// S3: tell the service with every write how to encrypt it, for buckets that demand this:
    /// AES256, aws:kms or aws:kms:dsse.
    #[arg(long, value_name = "HOW")]
    sse: Option<String>,
    /// S3: the KMS key, by its id or ARN; by default the account's own.
    #[arg(long, value_name = "KEY", requires = "sse")]
    sse_kms_key: Option<String>,
    /// Do not sign requests: a public bucket, read only. Implies --no-probe.
    #[arg(long)]
    anonymous: bool,
    /// Make it the default remote, for commands that name none.
    #[arg(long)]
    default: bool,
    /// Add it without testing it.
    #[arg(long)]
    no_probe: bool,
    /// Replace a remote with this name.
    #[arg(long)]
    replace: bool,
    /// Write one object: name, url, usable, checks, clock_ahead_s, request_s, bytes_per_s.
    #[arg(long)]
    json: bool,
}

/// List the remotes of this project.
#[derive(Debug, Clone, Args)]
struct ListArgs {
    /// Write an array of objects: name, url, kind, default, first_writer_wins, can_list.
    #[arg(long)]
    json: bool,
}

/// Forget a remote. Its contents stay.
#[derive(Debug, Clone, Args)]
struct RemoveArgs {
    /// Its name in this project.
    name: String,
}

/// Test what a remote can do, and say what is wrong with it.
///
/// The exit code is 5 if it cannot be used.
#[derive(Debug, Clone, Args)]
struct DoctorArgs {
    /// The remote; by default all.
    name: Option<String>,
    /// Write an array of objects: name, url, usable, error, checks, clock_ahead_s, request_s,
    /// bytes_per_s.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &RemoteArgs) -> anyhow::Result<Exit> {
    let project = context.opening(args.file.as_deref()).project()?;
    let mut remotes = Remotes::read(&project.root)?;
    match &args.command {
        RemoteCommand::Add(args) => add(&project.root, &mut remotes, args),
        RemoteCommand::List(args) => list(&remotes, args),
        RemoteCommand::Remove(args) => {
            remotes.remove(&args.name)?;
            remotes.write()?;
            output::text(&format!("removed `{}`; its contents stay\n", args.name))?;
            Ok(Exit::Done)
        }
        RemoteCommand::Doctor(args) => doctor(&project.root, &remotes, args),
    }
}

fn add(root: &std::path::Path, remotes: &mut Remotes, args: &AddArgs) -> anyhow::Result<Exit> {
    if !args.replace && remotes.iter().any(|(name, _)| name == args.name) {
        anyhow::bail!(
            "there is a remote `{}` already; `--replace` replaces it",
            args.name
        );
    }
    let mut location: Location = args.url.parse()?;
    if let Location::Directory(path) = &location {
        // From another directory, a relative path would mean something else later.
        let here = std::env::current_dir()?;
        let absolute = std::path::absolute(path)?;
        make_directory(&absolute)?;
        if path.is_relative() && here != root {
            location = Location::Directory(absolute);
        }
    }
    let settings = Settings {
        endpoint: args.endpoint.clone(),
        region: args.region.clone(),
        profile: args.profile.clone(),
        account: args.account.clone(),
        virtual_hosted: args.virtual_hosted,
        anonymous: args.anonymous,
        encryption: match &args.sse {
            Some(sse) => Some(
                Encryption::parse(sse, args.sse_kms_key.as_deref())
                    .map_err(|why| anyhow::anyhow!("--sse: {why}"))?,
            ),
            None => None,
        },
        no_conditional_put: false,
    };
    let mut remote = Remote::at(&location, &settings);
    // Everything that can be wrong without asking the remote.
    remote.resolve(root)?;
    remotes.set(&args.name, remote.clone(), args.default)?;
    let mut text = String::new();
    let mut said = json!({"name": args.name, "url": remote.url});
    if !args.no_probe && !args.anonymous {
        let probe = examine(root, &remote)?;
        if let Some(e) = probe.error {
            return Err(anyhow::Error::new(e).context(format!(
                "`{}` cannot be used, and was not added (`--no-probe` adds it anyway)",
                remote.url
            )));
        }
        if !probe.is_usable() {
            anyhow::bail!(
                "`{}` cannot be used, and was not added:\n{}",
                remote.url,
                report(&probe)
            );
        }
        remote.found = Some(probe.found());
        remotes.set(&args.name, remote.clone(), args.default)?;
        text = report(&probe);
        said = as_json(&args.name, &remote, &probe);
    }
    remotes.write()?;
    if args.json {
        output::json(&said)?;
    } else {
        output::text(&format!("{text}added `{}`; commit {FILE}\n", args.name))?;
    }
    Ok(Exit::Done)
}

/// A new remote may be a new directory. Its parent directory must exist, or something is not
/// mounted.
fn make_directory(path: &std::path::Path) -> anyhow::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => anyhow::bail!(
            "cannot make the directory `{}`: {e}; is the file system mounted?",
            path.display()
        ),
    }
}

fn list(remotes: &Remotes, args: &ListArgs) -> anyhow::Result<Exit> {
    let default = remotes.default_name();
    let kind = |remote: &Remote| {
        remote
            .url
            .parse::<Location>()
            .map_or("unknown", |location| location.kind())
    };
    if args.json {
        let all: Vec<_> = remotes
            .iter()
            .map(|(name, remote)| {
                json!({
                    "name": name, "url": remote.url, "kind": kind(remote), "default": default == Some(name),
                    "first_writer_wins": remote.found.map(|f| f.first_writer_wins),
                    "can_list": remote.found.map(|f| f.can_list),
                })
            })
            .collect();
        output::json(&all)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for (name, remote) in remotes.iter() {
        let mark = if default == Some(name) { "*" } else { " " };
        text += &format!("{mark} {name}  {}\n", remote.url);
    }
    if text.is_empty() {
        text = "no remotes; `repro remote add NAME URL` adds one\n".to_owned();
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

fn doctor(root: &std::path::Path, remotes: &Remotes, args: &DoctorArgs) -> anyhow::Result<Exit> {
    let chosen: Vec<(&str, &Remote)> = match &args.name {
        Some(name) => vec![remotes.get(Some(name))?],
        None => {
            remotes.get(remotes.iter().next().map(|(name, _)| name))?;
            remotes.iter().collect()
        }
    };
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for (name, remote) in chosen {
        let probe = examine(root, remote)?;
        if !probe.is_usable() {
            exit = Exit::StoreBroken;
        }
        if args.json {
            all.push(as_json(name, remote, &probe));
            continue;
        }
        let mut text = format!("{name}  {}\n{}", remote.url, report(&probe));
        let found = probe.found();
        if probe.is_usable() && remote.found.is_some_and(|before| before != found) {
            text += &format!(
                "  {FILE} does not say so; `repro remote add --replace {name} {}` corrects it\n",
                remote.url
            );
        }
        output::text(&text)?;
    }
    if args.json {
        output::json(&all)?;
    }
    Ok(exit)
}

fn report(probe: &Probe) -> String {
    let mut text = String::new();
    for (check, outcome) in &probe.checks {
        text += &match outcome {
            Outcome::Works => format!("  {:22} yes\n", check.words()),
            Outcome::Fails(why) => format!(
                "  {:22} no: {why}{}\n",
                check.words(),
                check.lost().map(|l| format!(" ({l})")).unwrap_or_default()
            ),
        };
    }
    if let Some(ahead_s) = probe.clock_ahead_s {
        let way = if ahead_s > 0.0 { "ahead of" } else { "behind" };
        text += &if ahead_s.abs() > SKEW_MAX.as_secs_f64() {
            format!(
                "  {:22} {} {way} this machine's: set one of them right\n",
                "clock",
                crate::ui::style::duration(ahead_s.abs())
            )
        } else {
            format!("  {:22} agrees with this machine's\n", "clock")
        };
    }
    if let (Some(request_s), Some((up, down))) = (probe.request_s, probe.rates) {
        text += &format!(
            "  {:22} {:.0} ms a request, {}/s up, {}/s down\n",
            "speed",
            request_s * 1e3,
            bytes(up as u64),
            bytes(down as u64)
        );
    }
    if let Some(e) = &probe.error {
        text += &format!("  {e}\n");
    }
    text
}

fn as_json(name: &str, remote: &Remote, probe: &Probe) -> serde_json::Value {
    let checks: serde_json::Map<String, serde_json::Value> = probe
        .checks
        .iter()
        .map(|(check, outcome)| (key(*check).to_owned(), json!(*outcome == Outcome::Works)))
        .collect();
    json!({
        "name": name, "url": remote.url, "usable": probe.is_usable(), "checks": checks,
        "error": probe.error.as_ref().map(ToString::to_string),
        "clock_ahead_s": probe.clock_ahead_s, "request_s": probe.request_s,
        "bytes_per_s": probe.rates.map(|(up, down)| json!({"up": up, "down": down})),
    })
}

fn key(check: Check) -> &'static str {
    match check {
        Check::Write => "write",
        Check::Read => "read",
        Check::Range => "range",
        Check::FirstWriterWins => "first_writer_wins",
        Check::List => "list",
        Check::Freshen => "freshen",
        Check::Remove => "remove",
    }
}
