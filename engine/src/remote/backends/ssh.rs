//! How `ssh` is started for SFTP, and what it says when it refuses.

use super::failure;
use super::patience::{self};
use super::sftp_connection::Connection;
use crate::remote::location::SftpPlace;
use crate::remote::{BackendError, BackendFault};
use openssh_sftp_client::{Sftp, SftpOptions};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Bytes of what ssh says that are kept.
pub(super) const SAID: usize = 2000;

pub(super) async fn connect(
    ssh: &str,
    place: &SftpPlace,
    described: &str,
) -> Result<Connection, BackendError> {
    let fail = |cause: BackendFault, why: String| failure::error(cause, "reach", described, why);
    let Some(words) = shlex::split(ssh) else {
        let why = "REPRO_SSH has a quote that does not end";
        return Err(fail(BackendFault::Local, why.to_owned()));
    };
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_else(|| "ssh".to_owned());
    let mut command = Command::new(&program);
    command.args(words).args([
        "-oBatchMode=yes",
        &format!("-oConnectTimeout={}", patience::connect().as_secs().max(1)),
        "-oServerAliveInterval=15",
        "-oServerAliveCountMax=3",
    ]);
    if let Some(port) = place.port {
        command.arg(format!("-oPort={port}"));
    }
    if let Some(user) = &place.user {
        command.arg(format!("-oUser={user}"));
    }
    command.args(["-s", "--", &place.host, "sftp"]);
    // Ctrl-C is for the program to handle: its calls end, and ssh with them.
    command.process_group(0);
    let mut ssh = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            fail(
                BackendFault::Local,
                format!("cannot start `{program}`: {e}; install OpenSSH's client"),
            )
        })?;
    let (Some(stdin), Some(stdout), Some(mut stderr)) =
        (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take())
    else {
        return Err(fail(BackendFault::Local, "ssh has no pipes".to_owned()));
    };
    let said = Arc::new(Mutex::new(Vec::new()));
    let listening = tokio::spawn({
        let said = said.clone();
        async move {
            let mut buffer = [0; 500];
            while let Ok(bytes @ 1..) = stderr.read(&mut buffer).await {
                let mut said = said.lock().unwrap_or_else(|e| e.into_inner());
                let room = SAID.saturating_sub(said.len()).min(bytes);
                said.extend_from_slice(&buffer[..room]);
            }
        }
    });
    let started = tokio::time::timeout(
        patience::connect() * 2,
        Sftp::new(
            stdin,
            stdout,
            SftpOptions::new().flush_interval(Duration::ZERO),
        ),
    )
    .await;
    match started {
        Ok(Ok(sftp)) => Ok(Connection::new(sftp, ssh)),
        Ok(Err(_)) => {
            // It has ended or will in a moment, and then everything it says is said.
            let _ = tokio::time::timeout(Duration::from_secs(2), listening).await;
            let said = said.lock().unwrap_or_else(|e| e.into_inner());
            let (cause, why) = refusal(&String::from_utf8_lossy(&said));
            Err(fail(cause, why))
        }
        Err(_) => Err(fail(
            BackendFault::Unreachable,
            "no answer in time".to_owned(),
        )),
    }
}

/// What ssh said before it ended, and what to do about it.
pub(super) fn refusal(said: &str) -> (BackendFault, String) {
    let line = said
        .lines()
        .map(str::trim)
        .rfind(|l| !l.is_empty() && !l.contains("Connection closed"))
        .or_else(|| said.lines().map(str::trim).rfind(|l| !l.is_empty()))
        .unwrap_or("ssh ended without a message");
    let line = failure::clean(line.strip_prefix("ssh: ").unwrap_or(line));
    if said.contains("Permission denied") {
        let remedy = "load a key into the ssh agent, or name one in ~/.ssh/config; `ssh HOST` must work without a password";
        return (BackendFault::Refused, format!("ssh: {line}; {remedy}"));
    }
    if said.contains("Host key verification failed") || said.contains("host key") {
        let remedy = "the host is not known here: `ssh HOST` once, and compare its key";
        return (BackendFault::Refused, format!("ssh: {line}; {remedy}"));
    }
    if said.contains("subsystem request failed") {
        return (
            BackendFault::Unsupported,
            format!("ssh: {line}; the server offers no sftp"),
        );
    }
    (BackendFault::Unreachable, format!("ssh: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_becomes_advice() {
        let said: Vec<String> = [
            "me@host: Permission denied (publickey).\r\nConnection closed\r\n",
            "Host key verification failed.\r\n",
            "ssh: connect to host x port 22: Connection refused\r\n",
            "ssh: Could not resolve hostname x: Name or service not known\r\n",
            "subsystem request failed on channel 0\nConnection closed\n",
            "",
        ]
        .iter()
        .map(|text| format!("{:?}", refusal(text)))
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
