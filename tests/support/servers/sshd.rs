//! OpenSSH's server with a throw-away host key and one throw-away user key.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Running, free_port, program, start};

/// See the module.
pub struct Sshd {
    running: Option<Running>,
    dir: tempfile::TempDir,
    port: u16,
}

fn key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.is_ok_and(|s| s.success()), "ssh-keygen failed");
}

impl Sshd {
    /// Starts one; `None` where it is not installed.
    pub fn start() -> Option<Sshd> {
        program("sshd")?;
        program("ssh")?;
        program("ssh-keygen")?;
        let sftp = [
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/openssh/sftp-server",
        ]
        .into_iter()
        .find(|p| Path::new(p).exists())?;
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path();
        std::fs::create_dir(at.join("files")).expect("a directory");
        key(&at.join("host"));
        key(&at.join("user"));
        key(&at.join("stranger"));
        std::fs::copy(at.join("user.pub"), at.join("authorized")).expect("the key");
        let port = free_port();
        // Where root starts it, it wants this directory.
        let _ = std::fs::create_dir_all("/run/sshd");
        let at = at.display();
        std::fs::write(
            dir.path().join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host\nPidFile {at}/pid\nAuthorizedKeysFile {at}/authorized\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nMaxStartups 100\nSubsystem sftp {sftp}\n"
            ),
        )
        .expect("the configuration");
        let known = std::fs::read_to_string(dir.path().join("host.pub")).expect("the host key");
        std::fs::write(
            dir.path().join("known_hosts"),
            format!("[127.0.0.1]:{port} {known}"),
        )
        .expect("the known hosts");
        std::fs::write(dir.path().join("no_hosts"), "").expect("no known hosts");
        let mut sshd = Sshd {
            running: None,
            dir,
            port,
        };
        sshd.restart();
        Some(sshd)
    }

    /// Starts it (again).
    pub fn restart(&mut self) {
        self.running = None;
        let mut command = Command::new(program("sshd").expect("sshd"));
        command
            .args(["-D", "-e", "-f"])
            .arg(self.dir.path().join("sshd_config"));
        self.running = Some(start(&mut command, self.port, &self.dir.path().join("log")));
    }

    /// The address of a directory on it; the directory is made.
    pub fn address(&self, name: &str) -> String {
        let dir = self.files(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        format!("sftp://127.0.0.1:{}{}", self.port, dir.display())
    }

    /// What lies in that directory.
    pub fn files(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    /// Kills the processes that serve connections to it; how many.
    pub fn break_connections(&self) -> usize {
        let Some(server) = &self.running else {
            return 0;
        };
        let mut broken = 0;
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<i32>().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // `pid (name) state parent ...`
            let parent = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            if parent == Some(server.0.id()) {
                // SAFETY: a child of a server that this test started and still holds.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                broken += 1;
            }
        }
        broken
    }

    fn ssh(&self, key: &str, known: &str) -> String {
        let at = self.dir.path().display();
        format!(
            "ssh -F none -oIdentitiesOnly=yes -oIdentityAgent=none -i {at}/{key} -oUserKnownHostsFile={at}/{known} \
             -oGlobalKnownHostsFile=none -oStrictHostKeyChecking=yes"
        )
    }

    /// The environment of a client with the right key.
    pub fn env(&self, name: &str) -> Option<String> {
        (name == "REPRO_SSH").then(|| self.ssh("user", "known_hosts"))
    }

    /// The environment of a client whose key is unknown there.
    pub fn env_of_stranger(&self, name: &str) -> Option<String> {
        (name == "REPRO_SSH").then(|| self.ssh("stranger", "known_hosts"))
    }

    /// The environment of a client that does not know the host.
    pub fn env_without_host(&self, name: &str) -> Option<String> {
        (name == "REPRO_SSH").then(|| self.ssh("user", "no_hosts"))
    }
}
