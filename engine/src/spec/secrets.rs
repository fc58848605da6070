//! Secrets of a stage: environment variables whose values are passed and enter nothing; and the names of those that belong there.

use std::sync::Arc;

use super::decode::Field;
use super::diagnostic::{Problem, Span};

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
];
/// What a `TOKEN` of a text model is called.
const NO_CREDENTIALS: &[&str] = &[
    "EOS", "BOS", "PAD", "UNK", "MASK", "SEP", "CLS", "MAX", "MIN", "NUM", "PER", "START", "END",
    "STOP", "SPECIAL", "IMAGE", "PROMPT",
];

/// Whether the value of a variable of this name is a credential, as far as a name can tell.
pub fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = |end: &&str| {
        name.strip_suffix(*end)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    let is_word_of_a_model = name
        .strip_suffix("_TOKEN")
        .is_some_and(|before| NO_CREDENTIALS.contains(&before.rsplit('_').next().unwrap_or("")));
    // `PGPASSWORD` and its like have no `_`.
    name.ends_with("PASSWORD") || CREDENTIALS.iter().any(ends) && !is_word_of_a_model
}

/// The value of such a name would enter a key.
pub fn advice(name: &str, written: &str, span: Span) -> Problem {
    Problem::new(
        span,
        format!(
            "`{written}` looks like a credential, and its value would become part of the key: stored, shown and shared"
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
        ] {
            assert!(is_credential(name), "{name}");
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
        ] {
            assert!(!is_credential(name), "{name}");
        }
    }
}
