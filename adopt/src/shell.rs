//! What the words of a command say about how it may be run.
//!
//! A command of DVC is run by the user's shell without flags, each line by a shell of its own. This
//! module decides when the default shell of `repro` (`bash -euo pipefail -c`) does the same, and
//! how several commands stand in one script. It reads quotes, and no more of a shell's grammar.

/// A script, and whether it needs a shell that does not stop inside of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// `shell: [bash, -uc]` is needed.
    pub lenient: bool,
}

/// Words that change the shell which runs them.
const CHANGES: [&str; 21] = [
    ".", "alias", "cd", "conda", "declare", "eval", "exec", "exit", "export", "module", "popd",
    "pushd", "read", "return", "set", "shopt", "source", "trap", "ulimit", "umask", "unset",
];

/// Puts the commands of a stage into one script: each in a shell of its own, the first that fails
/// ends it.
pub fn script(commands: &[String], dir: Option<&str>) -> Script {
    let outside: Vec<String> = commands.iter().map(|c| unquoted(c)).collect();
    let lenient = outside.iter().any(|c| {
        let pipes = c.replace("||", "  ");
        c.contains(';') || pipes.contains('|') || c.contains('\0')
    });
    let mut lines = Vec::new();
    if let Some(dir) = dir {
        let end = if lenient { " || exit" } else { "" };
        lines.push(format!("{dir}{end}"));
    }
    let alone = commands.len() == 1;
    for (i, (command, outside)) in commands.iter().zip(&outside).enumerate() {
        let first = outside.split_whitespace().next().unwrap_or("");
        let joined = outside.contains("&&") || outside.contains("||") || outside.contains('&');
        let changes = CHANGES.contains(&first) || first.contains('=');
        let own = !alone && (joined || changes || lenient);
        // A comment or an unfinished line at its end must not hide the bracket.
        let ends = outside.contains('#') || outside.ends_with('\\');
        let mut line = match (own, ends) {
            (true, false) => format!("({command})"),
            (true, true) => format!("({command}\n)"),
            (false, _) => command.clone(),
        };
        if lenient && i + 1 < commands.len() {
            line.push_str(" &&");
        }
        lines.push(line);
    }
    Script {
        text: lines.join("\n"),
        lenient,
    }
}

/// A command with a space for every character in quotes; a quote that does not end is a NUL.
pub fn unquoted(command: &str) -> String {
    let mut out = String::new();
    let mut quote: Option<char> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                out.push(' ');
                out.extend(chars.next().map_or(Some('\\'), |_| Some(' ')));
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                out.push(' ');
            }
            (Some(open), c) if open == c => {
                quote = None;
                out.push(' ');
            }
            (Some(_), _) => out.push(' '),
            (None, c) => out.push(c),
        }
    }
    out.extend(quote.map(|_| '\0'));
    out
}

/// What a command has without being given it.
const KNOWN: [&str; 12] = [
    "HOME",
    "IFS",
    "LANG",
    "OLDPWD",
    "PATH",
    "PPID",
    "PWD",
    "PYTHONUNBUFFERED",
    "RANDOM",
    "SECONDS",
    "TMPDIR",
    "TZ",
];

/// Variables of the environment that a command reads: those that it gives no value itself.
pub fn variables(command: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut single = false;
    let mut double = false;
    let mut rest = command;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' if !single => rest = rest.get(1..).unwrap_or(""),
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            '$' if !single => {
                let inner = rest.strip_prefix('{').unwrap_or(rest);
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
                let name = &inner[..end];
                // `${x:-1}` has a value in any case.
                let guarded = inner.len() < rest.len() && inner[end..].starts_with([':', '-']);
                let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                let given = ["", "export ", "for ", "read "].iter().any(|before| {
                    let end = if *before == "for " || *before == "read " {
                        ""
                    } else {
                        "="
                    };
                    command.contains(&format!("{before}{name}{end}"))
                        && !(before.is_empty() && end.is_empty())
                });
                let known = KNOWN.contains(&name) || found.iter().any(|f| f == name);
                if starts && !guarded && !given && !known {
                    found.push(name.to_owned());
                }
                rest = &inner[end..];
            }
            _ => {}
        }
    }
    found
}

/// Replaces a path where it stands as a word or after `=`; `None` where it does not.
pub fn replace_word(command: &str, path: &str, by: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = command;
    let mut found = false;
    while let Some(at) = rest.find(path) {
        let (before, after) = (&rest[..at], &rest[at + path.len()..]);
        let ends = |c: char| c.is_whitespace() || "=;|&<>()'\"".contains(c);
        let free = before
            .chars()
            .next_back()
            .or(out.chars().next_back())
            .is_none_or(ends)
            && after.chars().next().is_none_or(ends);
        out.push_str(before);
        out.push_str(if free { by } else { path });
        found |= free;
        rest = after;
    }
    out.push_str(rest);
    found.then_some(out)
}

/// A path as a word of a shell.
pub fn word(path: &str) -> String {
    if !path.is_empty()
        && !path.starts_with('-')
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b))
    {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(commands: &[&str]) -> (String, bool) {
        let commands: Vec<String> = commands.iter().map(|c| (*c).to_owned()).collect();
        let script = script(&commands, None);
        (script.text, script.lenient)
    }

    #[test]
    fn commands_stay_as_they_are_where_the_shell_does_the_same() {
        assert_eq!(of(&["python a.py"]), ("python a.py".into(), false));
        assert_eq!(of(&["a && b"]), ("a && b".into(), false));
        assert_eq!(
            of(&["a 'x; y' \"p|q\""]),
            ("a 'x; y' \"p|q\"".into(), false)
        );
        assert_eq!(of(&["a; b"]), ("a; b".into(), true));
        assert_eq!(of(&["a | b"]), ("a | b".into(), true));
        assert_eq!(of(&["a", "b"]), ("a\nb".into(), false));
        assert_eq!(
            of(&["cd x", "a && b", "c"]),
            ("(cd x)\n(a && b)\nc".into(), false)
        );
        assert_eq!(of(&["a | b", "c"]), ("(a | b) &&\n(c)".into(), true));
        assert_eq!(
            of(&["X=1 a # why", "b"]),
            ("(X=1 a # why\n)\nb".into(), false)
        );
    }

    #[test]
    fn variables_of_the_environment_are_found() {
        let of = |c: &str| variables(c).join(" ");
        assert_eq!(
            of("run $A ${B} \"$C\" '$D' \\$E ${F:-1} $1 $? $(g) $HOME $A"),
            "A B C"
        );
        assert_eq!(
            of("A=1; echo $A; for x in 1; do echo $x; done; awk '{print $NF}'"),
            ""
        );
        assert_eq!(of("echo ünï $Ä $Z$"), "Z");
    }

    #[test]
    fn paths_are_replaced_as_words() {
        let by = |c: &str| replace_word(c, "../x", "${needs.x}");
        assert_eq!(by("cat ../x > y").as_deref(), Some("cat ${needs.x} > y"));
        assert_eq!(by("cat --in=../x").as_deref(), Some("cat --in=${needs.x}"));
        assert_eq!(by("cat ../x/y ../xy ../../x"), None);
    }
}
