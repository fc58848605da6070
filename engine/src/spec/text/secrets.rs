//! Secrets of a stage: environment variables whose values are passed and enter nothing; and the
//! names of those that belong there.

use std::sync::Arc;

use super::decode::Field;
use super::problem::{Problem, Span};

/// Ends of names whose values are credentials.
const CREDENTIALS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "ACCESS_KEY_ID",
    "SECRET_KEY",
    "PRIVATE_KEY",
    "SIGNING_KEY",
    "AUTH_KEY",
    "ACCOUNT_KEY",
    "KAGGLE_KEY",
    // A personal access token, and what MySQL calls a password.
    "PAT",
    "PWD",
];
/// What a `TOKEN` of a text model is called.
const NO_CREDENTIALS: &[&str] = &[
    "EOS", "BOS", "PAD", "UNK", "MASK", "SEP", "CLS", "MAX", "MIN", "NUM", "PER", "START", "END",
    "STOP", "SPECIAL", "IMAGE", "PROMPT",
];

/// Variables of a `PWD` that say where somebody was.
const DIRECTORIES: &[&str] = &["PWD", "OLD_PWD", "ORIG_PWD", "START_PWD", "HOST_PWD"];

/// Whether a variable of this name and value is a credential, as far as these can tell.
pub fn is_credential(name: &str, value: &str) -> bool {
    is_name_of_credential(name) || holds_password(value)
}

/// An address with a password in it (`postgres://me:secret@host`, `jdbc:...?password=secret`), or
/// with a token for a user (`https://TOKEN@host`). `ssh://git@host` names a user and no secret.
fn holds_password(value: &str) -> bool {
    let in_authority = value.match_indices("://").any(|(at, mark)| {
        let rest = &value[at + mark.len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let Some((user, _)) = authority.rsplit_once('@') else {
            return false;
        };
        let scheme = value[..at].to_ascii_lowercase();
        match user.split_once(':') {
            Some((_, password)) => !password.is_empty(),
            None => !user.is_empty() && (scheme.ends_with("http") || scheme.ends_with("https")),
        }
    });
    let lower = value.to_ascii_lowercase();
    let in_settings = ["?password=", "&password=", ";password=", ";pwd="]
        .iter()
        .any(|mark| {
            let after = lower.split_once(mark).map(|(_, after)| after);
            after.is_some_and(|after| !after.is_empty() && !after.starts_with(['&', ';']))
        });
    in_authority || in_settings
}

fn is_name_of_credential(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = |end: &&str| {
        name.strip_suffix(*end)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    let is_word_of_a_model = name
        .strip_suffix("_TOKEN")
        .is_some_and(|before| NO_CREDENTIALS.contains(&before.rsplit('_').next().unwrap_or("")));
    // `PGPASSWORD` and its like have no `_`.
    name.ends_with("PASSWORD")
        || CREDENTIALS.iter().any(ends) && !is_word_of_a_model && !DIRECTORIES.contains(&&*name)
}

/// The value of such a name would enter a key.
pub fn advice(name: &str, written: &str, span: Span) -> Problem {
    Problem::new(
        span,
        format!(
            "`{written}` looks like a credential by its name or a password in its value, which would become part of the key: stored, shown and shared"
        ),
    )
    .help(format!(
        "write `secrets: [{name}]` instead: the command gets it, and it is never hashed, stored or logged"
    ))
}

/// What a variable of the environment may be called.
pub fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The names as written, checked; each once, sorted.
pub fn names(
    written: Option<&Field<Vec<Field<String>>>>,
    problems: &mut Vec<Problem>,
) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for field in written.iter().flat_map(|f| f.value.iter().flatten()) {
        let Some(name) = field.value.as_deref() else {
            continue;
        };
        if is_variable(name) {
            names.push(name.into());
        } else {
            problems.push(
                Problem::new(
                    field.span,
                    format!(
                        "`{}` cannot be the name of an environment variable",
                        name.escape_debug()
                    ),
                )
                .help("name the variable that holds the secret, never the secret itself"),
            );
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::is_credential;

    #[test]
    fn case_8_names_of_credentials() {
        for name in [
            "HF_TOKEN",
            "TOKEN",
            "github_token",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "WANDB_API_KEY",
            "PGPASSWORD",
            "DB_PASSWORD",
            "CLIENT_SECRET",
            "GH_PAT",
            "MYSQL_PWD",
        ] {
            assert!(is_credential(name, "x"), "{name}");
        }
        for name in [
            "PAD_TOKEN",
            "MAX_TOKEN",
            "MAX_TOKENS",
            "TOKENIZERS_PARALLELISM",
            "MONKEY",
            "KEY",
            "SECRETARY",
            "PATH",
            "PASSWORD_FILE",
            "PWD",
            "OLDPWD",
            "OLD_PWD",
            "PATTERN",
            "SPAT",
        ] {
            assert!(!is_credential(name, "x"), "{name}");
        }
    }

    #[test]
    fn case_8_addresses_with_a_password_in_them() {
        for value in [
            "postgres://me:secret@db/x",
            "postgresql+psycopg2://me:p%40ss@db:5432/x?sslmode=require",
            "redis://:secret@cache",
            "http://me:secret@proxy:80/",
            "https://ghp_0123@github.com/me/x",
            "jdbc:postgresql://db/x?user=me&password=secret",
            "Server=db;User Id=me;Password=secret;",
        ] {
            assert!(is_credential("DATABASE_URL", value), "{value}");
        }
        for value in [
            "postgres://db/x",
            "postgres://me@db/x",
            "postgres://me:@db/x",
            "ssh://git@host/x",
            "git@host:me/x",
            "http://proxy:80/a@b",
            "https://host/x?password=",
            "a:b@c",
        ] {
            assert!(!is_credential("DATABASE_URL", value), "{value}");
        }
    }
}
