//! Runs what a page tells its reader to do, in a temporary project, and compares what is said.
//!
//! - `console`: lines that begin with `$ ` are run by `sh`; every other line must be found in what
//!   the command said. `...` stands for anything.
//! - any block with `file=PATH` is written to that path; one that begins with `#!` becomes
//!   executable.
//! - `yaml`: a whole pipeline; must fit the schema and load (`repro run -n`). `yaml run` is run.
//!   `yaml fragment` is skipped.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::markdown::Block;
use super::schema::Schema;
use crate::support::TestSpace;

/// Runs the blocks of one project in order.
pub fn run(page: &str, blocks: &[&Block], schema: &Schema) {
    let space = TestSpace::new();
    for block in blocks {
        let place = format!("{page}:{}", block.line);
        if let Some(path) = block.file() {
            space.write(path, &block.text);
            if block.text.starts_with("#!") {
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(space.path(path), mode).expect("a mode");
            }
            if path.ends_with("pipeline.yaml") {
                schema.accepts(&place, &block.text);
            }
        } else if block.says("console") {
            console(&place, &block.text, &space);
        } else if block.says("yaml") && !block.says("fragment") {
            schema.accepts(&place, &block.text);
            space.write("pipeline.yaml", &block.text);
            let args: &[&str] = if block.says("run") {
                &["run"]
            } else {
                &["run", "-n"]
            };
            let said = space.run(args);
            assert_eq!(
                said.code, 0,
                "{place}: repro {args:?}\n{}{}",
                said.out, said.err
            );
        }
    }
}

fn console(place: &str, text: &str, space: &TestSpace) {
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command, Vec::new())),
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => panic!("{place}: `{line}` stands before any command"),
        }
    }
    for (command, expected) in steps {
        let said = space.run_command(shell(command, space));
        let all = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, 0, "{place}: $ {command}\n{all}");
        for line in expected.into_iter().filter(|l| !l.trim().is_empty()) {
            let found = all.lines().any(|l| fits(line.trim_end(), l.trim_end()));
            assert!(
                found,
                "{place}: $ {command}\ndid not say: {line}\nbut:\n{all}"
            );
        }
    }
}

/// `sh` with the environment of the program, which is found in `PATH`.
fn shell(command: &str, space: &TestSpace) -> Command {
    let program = space.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", command])
        .current_dir(&space.project)
        .env_clear();
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_repro"))
        .parent()
        .expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", bin.display()));
    shell.stdin(std::process::Stdio::null());
    shell
}

/// Whether a line is what is expected, `...` standing for anything.
fn fits(expected: &str, line: &str) -> bool {
    let pieces: Vec<&str> = expected.split("...").collect();
    let [first, middle @ .., last] = pieces.as_slice() else {
        return expected == line;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn dots_stand_for_anything() {
    assert!(fits("done ... in ... s", "done x[seed=0] in 0.1 s"));
    assert!(fits("same", "same") && !fits("same", "same too") && !fits("a...c", "ab"));
    assert!(fits("...b", "ab") && fits("a...", "ab") && !fits("...bb", "b"));
}
