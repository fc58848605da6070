//! Machines and users that a test is not on: a file system that can little, and users of one group.

use std::ffi::OsStr;
use std::process::Command;

use super::skipped::skipped;
use super::{Said, TestSpace};

/// A file system that refuses second names, renames without replacing, locks and permissions, as
/// FAT and many a FUSE, SMB or NFS mount do.
pub fn on_a_poor_file_system(space: &TestSpace, args: &[&str]) -> Option<Said> {
    let has = Command::new("strace").arg("--version").output();
    if !has.is_ok_and(|o| o.status.success()) {
        skipped("strace is not installed");
        return None;
    }
    let plain = space.command(args);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    for inject in [
        "renameat2:error=EINVAL",
        "link,linkat:error=EPERM",
        "flock:error=ENOLCK",
        "chmod,fchmod,fchmodat:error=EPERM",
    ] {
        command.args(["-e", &format!("inject={inject}")]);
    }
    command.arg(plain.get_program()).args(args);
    command.current_dir(&space.project).env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Some(space.run_command(command))
}

/// Whether commands can be run as somebody else.
pub fn can_be_others() -> bool {
    let can = as_user((4001, 4000), OsStr::new("true")).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        skipped("only root can be two users (`setpriv`)");
    }
    can
}

/// A command of a user and group, with the umask that everybody has.
pub fn as_user((user, group): (u32, u32), program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={group}")])
        .args([
            "--clear-groups",
            "sh",
            "-c",
            "umask 022; exec \"$0\" \"$@\"",
        ])
        .arg(program);
    command
}
