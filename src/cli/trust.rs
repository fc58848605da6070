//! `repro trust`: the user's key, and whose results the project trusts.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Exit, PipelineArgs, output};
use crate::terminal::ask_passphrase;
use repro_engine::project::Project;
use repro_engine::targets::nearest;
use repro_engine::trust::{
    Added, FILE_NAME, KEY_VARIABLE, Passphrase, PublicKey, Requirement, Role, SecretKey,
    SignerName, Trust, TrustText, key_path, known_passphrase, make_key, public_key, shown_key,
};

/// Say whose results from remotes this project trusts, and make the key that signs your results.
///
/// Results from a remote are used only if enough of the signers in repro.trust.toml have signed
/// them. Commit that file, and review changes of it as you review code. Private keys never leave
/// the machine that made them: people send each other the public key that `repro trust show`
/// prints.
///
/// The private key is ~/.config/repro/signing-key.pem (PKCS#8, encrypted with a passphrase;
/// REPRO_SIGNING_KEY_FILE names another file), or the text in REPRO_SIGNING_KEY (for CI). The
/// passphrase comes from REPRO_KEY_PASSPHRASE or the file REPRO_KEY_PASSPHRASE_FILE; otherwise
/// `repro` asks for it. With REPRO_TRUST_FILE, commands use another trust file than the project's.
#[derive(Debug, Clone, Args)]
pub struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum TrustCommand {
    Init(InitArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Make your key, unless you have one, and list it in repro.trust.toml, which is created if
/// missing.
///
/// With --ci, make a key for a machine instead, list its public half, and write the private half to
/// standard output. Store it as the secret REPRO_SIGNING_KEY and nowhere else:
/// `repro trust init --ci buildbot | gh secret set REPRO_SIGNING_KEY`.
#[derive(Debug, Clone, Args)]
struct InitArgs {
    /// Your name in the file; by default the login name.
    #[arg(long, value_name = "NAME", conflicts_with = "ci")]
    name: Option<SignerName>,
    /// The role of the key in the file; by default `people`, or `ci` with --ci.
    #[arg(long)]
    role: Option<Role>,
    /// What a new file requires, e.g. `1 of ci or 2 of people`.
    #[arg(long, value_name = "TEXT", default_value = "1 of any")]
    require: Requirement,
    /// Make a key for the machine with this name.
    #[arg(long, value_name = "NAME")]
    ci: Option<SignerName>,
    /// Do not encrypt the private key: for disks that are encrypted, and machines without people.
    #[arg(long)]
    no_passphrase: bool,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Trust somebody: list a public key.
#[derive(Debug, Clone, Args)]
struct AddArgs {
    /// The signer's name. Another key of a listed name counts as the same signer.
    name: SignerName,
    /// `ed25519:…` (what `repro trust show` prints there), or a file that holds this or a public
    /// key in PEM; `-` is standard input.
    key: String,
    /// The role of the signer, for `require`.
    #[arg(long, default_value = "people")]
    role: Role,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Stop trusting somebody: remove a signer, or one of several keys, from the file.
///
/// From then on, what only they have signed is treated as missing. Earlier commits of the file
/// still trust them.
#[derive(Debug, Clone, Args)]
struct RemoveArgs {
    /// A name, or a key (`ed25519:…`).
    who: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Show who is trusted, and what is required.
#[derive(Debug, Clone, Args)]
struct ListArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write one object.
    #[arg(long)]
    json: bool,
}

/// Show your public key, for others to add to their file.
#[derive(Debug, Clone, Args)]
struct ShowArgs {
    /// Write one object: key, id, place.
    #[arg(long)]
    json: bool,
}

fn env(name: &str) -> Option<String> {
    repro_engine::credentials::var(name)
}

/// Runs the command.
pub fn main(context: &Context, args: &TrustArgs) -> anyhow::Result<Exit> {
    match &args.command {
        TrustCommand::Init(args) => init(context, args),
        TrustCommand::Add(args) => add(context, args),
        TrustCommand::Remove(args) => remove(context, args),
        TrustCommand::List(args) => list(context, args),
        TrustCommand::Show(args) => show(args),
    }
    .map(|()| Exit::Done)
}

fn init(context: &Context, args: &InitArgs) -> anyhow::Result<()> {
    let project = args.pipeline.opening(context).project()?;
    let path = project.root.join(FILE_NAME);
    let role = |otherwise: &str| -> anyhow::Result<Role> {
        Ok(match &args.role {
            Some(role) => role.clone(),
            None => otherwise.parse()?,
        })
    };
    let mut text = match TrustText::read(&path)? {
        Some(text) => text,
        None => TrustText::new(&args.require)?,
    };
    if let Some(name) = &args.ci {
        let key = SecretKey::generate()?;
        text.add(name, &role("ci")?, &key.public())?;
        text.write(&path)?;
        // Standard output holds the secret and nothing else.
        output::text(&key.to_pem(None)?)?;
        crate::say!(
            "listed `{}` in {FILE_NAME}; keep the private key as the secret {KEY_VARIABLE} of that machine, and nowhere else",
            name.as_str()
        );
        return Ok(());
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => env("USER")
            .or_else(|| env("LOGNAME"))
            .filter(|name| !name.is_empty())
            .context("what is your name? (neither USER nor LOGNAME is set); give it with --name")?
            .parse()?,
    };
    let role = role("people")?;
    let (key, made) = match public_key(&mut ask_passphrase)? {
        Some(key) => (key, None),
        None => {
            let path = key_path(&env)?;
            let passphrase = match args.no_passphrase {
                true => None,
                false => Some(new_passphrase(&path)?),
            };
            (make_key(&path, passphrase.as_ref())?, Some(path))
        }
    };
    if let Some(path) = made {
        output::text(&format!("made the key {}\n", path.display()))?;
    }
    let added = text.add(&name, &role, &key)?;
    text.write(&path)?;
    let name = name.as_str();
    output::text(&match added {
        Added::WasThere => format!("`{name}` is listed in {FILE_NAME} already\n"),
        _ => format!("listed `{name}` in {FILE_NAME}; commit it\n{key}\n"),
    })
}

fn new_passphrase(path: &Path) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = known_passphrase(&env)? {
        return Ok(passphrase);
    }
    let ask = |question: &str| -> anyhow::Result<Passphrase> {
        ask_passphrase(question)?.context(
            "there is no terminal to ask for a passphrase; set REPRO_KEY_PASSPHRASE, or use --no-passphrase",
        )
    };
    let passphrase = ask(&format!("New passphrase for {}: ", path.display()))?;
    anyhow::ensure!(
        !passphrase.is_empty(),
        "an empty passphrase protects nothing; if that is intended, use --no-passphrase"
    );
    anyhow::ensure!(
        ask("Repeat the passphrase: ")?.equals(&passphrase),
        "the two passphrases differ; no key was made"
    );
    Ok(passphrase)
}

fn existing(project: &Project) -> anyhow::Result<(PathBuf, TrustText)> {
    let path = project.root.join(FILE_NAME);
    let text = TrustText::read(&path)?.with_context(|| {
        format!(
            "{} does not exist; `repro trust init` makes it",
            path.display()
        )
    })?;
    Ok((path, text))
}

fn add(context: &Context, args: &AddArgs) -> anyhow::Result<()> {
    let (path, mut text) = existing(&args.pipeline.opening(context).project()?)?;
    let given = match args.key.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().take(64 << 10).read_to_string(&mut text)?;
            text
        }
        word if word.starts_with("ed25519:") => word.to_owned(),
        file if Path::new(file).is_file() => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{file}`"))?
        }
        word => word.to_owned(),
    };
    let key: PublicKey = given.parse()?;
    let name = args.name.as_str();
    let said = match text.add(&args.name, &args.role, &key)? {
        Added::Signer => format!("listed `{name}` ({}) in {FILE_NAME}", args.role.as_str()),
        Added::Key => format!("`{name}` now has a further key; all its keys count as one signer"),
        Added::WasThere => format!("`{name}` is listed with this key already"),
    };
    text.write(&path)?;
    output::text(&(said + "\n"))
}

fn remove(context: &Context, args: &RemoveArgs) -> anyhow::Result<()> {
    let project = args.pipeline.opening(context).project()?;
    let (path, mut text) = existing(&project)?;
    let removed = match args.who.parse::<PublicKey>() {
        Ok(key) => text.remove_key(&key.id())?,
        Err(_) => text.remove_signer(&args.who.parse()?)?,
    };
    if !removed {
        let trust = Trust::read_file(&path)?;
        let names = trust.policy().into_iter().flat_map(|p| p.signers().keys());
        let hint = nearest(
            &args.who,
            names.map(SignerName::as_str),
            "`repro trust list` lists all",
        );
        anyhow::bail!("`{}` is not listed in {FILE_NAME}; {hint}", args.who);
    }
    text.write(&path)?;
    output::text(&format!(
        "`{}` is no longer trusted once {FILE_NAME} is committed\n",
        args.who
    ))?;
    let trust = Trust::read_file(&path)?;
    warn_if_hopeless(&trust);
    Ok(())
}

fn warn_if_hopeless(trust: &Trust) {
    if let Some(policy) = trust.policy() {
        let require = policy.shared_requirement();
        if !policy.can_be_met(require) {
            crate::say!(
                "warning: {FILE_NAME} requires `{require}` and does not list that many signers: no result will be trusted"
            );
        }
    }
}

fn list(context: &Context, args: &ListArgs) -> anyhow::Result<()> {
    let project = args.pipeline.opening(context).project()?;
    let trust = Trust::read(&project.root)?;
    let policy = trust.policy().with_context(|| {
        format!("the project has no {FILE_NAME}, so no result from a remote is trusted; `repro trust init` makes one")
    })?;
    // A key that cannot be read without a passphrase is not worth asking for here.
    let mine = key_path(&env).ok().and_then(|path| shown_key(&path));
    if args.json {
        let signers: Vec<_> = policy
            .signers()
            .iter()
            .map(|(name, listed)| {
                let keys: Vec<_> = listed
                    .keys
                    .iter()
                    .map(|k| json!({"key": k.to_string(), "id": k.id().to_string()}))
                    .collect();
                json!({"name": name.as_str(), "role": listed.role.as_str(), "keys": keys})
            })
            .collect();
        let scopes: serde_json::Map<_, _> = policy
            .scopes()
            .map(|(pattern, require)| (pattern.to_string(), require.to_string().into()))
            .collect();
        let require = policy.shared_requirement();
        return output::json(
            &json!({"require": require.to_string(), "can_be_met": policy.can_be_met(require), "signers": signers, "scopes": scopes}),
        );
    }
    let mut text = format!("a result is trusted with {}\n", policy.shared_requirement());
    for (pattern, require) in policy.scopes() {
        text += &format!("in scope {pattern} with {require}\n");
    }
    let roles: BTreeSet<&Role> = policy.signers().values().map(|l| &l.role).collect();
    for role in roles {
        text += &format!("{}\n", role.as_str());
        for (name, listed) in policy.signers().iter().filter(|(_, l)| l.role == *role) {
            for key in &listed.keys {
                let you = if mine.as_ref() == Some(key) {
                    "  (you)"
                } else {
                    ""
                };
                text += &format!("  {}  {key}{you}\n", name.as_str());
            }
        }
    }
    output::text(&text)?;
    warn_if_hopeless(&trust);
    Ok(())
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let key = public_key(&mut ask_passphrase)?
        .context("you have no key; `repro trust init` makes one")?;
    let place = match env(KEY_VARIABLE).filter(|v| !v.trim().is_empty()) {
        Some(_) => KEY_VARIABLE.to_owned(),
        None => key_path(&env)?.display().to_string(),
    };
    if args.json {
        return output::json(
            &json!({"key": key.to_string(), "id": key.id().to_string(), "place": place}),
        );
    }
    output::text(&format!("{key}\n"))
}
