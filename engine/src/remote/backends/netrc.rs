//! Log-ins for HTTP servers from `~/.netrc` (or `$NETRC`), as curl and git read it.

use std::path::PathBuf;

/// A user and a password. Never printed.
pub(super) struct Login {
    pub user: String,
    pub password: String,
}

/// The log-in for a host; no file or no entry is none.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn login(
    host: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Login>, String> {
    let path = env("NETRC")
        .map(PathBuf::from)
        .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".netrc")));
    let Some(path) = path else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(find(&text, host)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read `{}`: {e}", path.display())),
    }
}

/// The first entry for the host, or `default`.
fn find(text: &str, host: &str) -> Option<Login> {
    let mut words = without_macros(text).into_iter();
    let (mut user, mut password, mut is_ours) = (None, None, false);
    loop {
        let word = words.next();
        let ends = matches!(word, None | Some("machine" | "default"));
        if ends && is_ours && (user.is_some() || password.is_some()) {
            return Some(Login {
                user: user.unwrap_or_default(),
                password: password.unwrap_or_default(),
            });
        }
        match word? {
            "machine" => (user, password, is_ours) = (None, None, words.next()? == host),
            "default" => (user, password, is_ours) = (None, None, true),
            "login" => user = words.next().map(str::to_owned),
            "password" => password = words.next().map(str::to_owned),
            "account" => drop(words.next()),
            _ => {}
        }
    }
}

/// A macro lasts to the next empty line; a comment to the end of its own.
fn without_macros(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            is_macro = false;
        }
        if is_macro || line.trim_start().starts_with('#') {
            continue;
        }
        for word in line.split_whitespace() {
            if word == "macdef" {
                is_macro = true;
                break;
            }
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, host: &str) -> Option<(String, String)> {
        find(text, host).map(|l| (l.user, l.password))
    }

    #[test]
    fn entries_are_found_as_curl_does() {
        let text = "# mine\nmachine a.org login me password p1\nmachine b.org\n  login you\n  account x\n  password p#2\n\
                    macdef init\nmachine c.org login evil\n\nmachine d.org password only\ndefault login anonymous password -\n";
        let some = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(found(text, "a.org"), some("me", "p1"));
        assert_eq!(found(text, "b.org"), some("you", "p#2"));
        assert_eq!(found(text, "c.org"), some("anonymous", "-"));
        assert_eq!(found(text, "d.org"), some("", "only"));
        assert_eq!(found("machine a.org login", "a.org"), None);
        assert_eq!(found("machine", "a.org"), None);
        assert_eq!(found("", "a.org"), None);
    }
}
