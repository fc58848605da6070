//! Commits in the project of a test, with no settings of the machine's own.

use std::path::Path;
use std::process::Command;

/// When commits are made whose time does not matter.
const ANY_TIME: &str = "2026-01-01T00:00:00Z";

/// Runs git in a directory, and says whether that worked; `false` as well where there is no git.
pub fn git(dir: &Path, args: &[&str]) -> bool {
    git_at(dir, args, ANY_TIME)
}

/// As [`git`]; a commit is made at this time.
pub fn git_at(dir: &Path, args: &[&str], time: &str) -> bool {
    let settings = ["user.name=a", "user.email=a@b", "commit.gpgsign=false"];
    let done = Command::new("git")
        .current_dir(dir)
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", time)
        .env("GIT_AUTHOR_DATE", time)
        .output();
    done.is_ok_and(|output| output.status.success())
}
