//! A Slurm of its own: a controller and two nodes on loopback, with munge on a socket of its own. It
//! needs root, no control groups, no accounting: the poorest of sites.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Running, free_port, is_root, program, start};

/// See the module.
pub struct Slurm {
    controller: Option<Running>,
    nodes: [Option<Running>; 2],
    _munge: Running,
    dir: tempfile::TempDir,
    port: u16,
    node_ports: [u16; 2],
}

/// Limits that bite: what a site has by thousands, here by tens.
pub const TINY: &str = "MaxArraySize=11\nMaxJobCount=40\nMinJobAge=2\n";

impl Slurm {
    /// Starts one with these further lines of `slurm.conf`; the reason where that is impossible.
    pub fn start(more: &str) -> Result<Slurm, &'static str> {
        let needed = [
            "slurmctld",
            "slurmd",
            "munged",
            "sbatch",
            "squeue",
            "scancel",
            "scontrol",
        ];
        if needed.iter().any(|name| program(name).is_none()) {
            return Err("Slurm (slurmctld, slurmd, munged, sbatch) is not installed");
        }
        if !is_root() {
            return Err("only root can start Slurm's daemons");
        }
        let dir = tempfile::Builder::new()
            .prefix("slurm-")
            .tempdir()
            .expect("a directory");
        for name in ["state", "spool", "log", "munge"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let munge = munge(dir.path());
        let (port, node_ports) = (free_port(), [free_port(), free_port()]);
        let at = dir.path().display();
        let mut conf = format!(
            "ClusterName=test\nSlurmctldHost=localhost\nSlurmctldPort={port}\nAuthType=auth/munge\n\
             AuthInfo=socket={at}/munge/socket\nCredType=cred/munge\nSlurmUser=root\nSlurmdUser=root\n\
             StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool/%n\nSlurmctldPidFile={at}/ctld.pid\n\
             SlurmdPidFile={at}/slurmd.%n.pid\nSlurmctldLogFile={at}/log/ctld.log\nSlurmdLogFile={at}/log/slurmd.%n.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSchedulerType=sched/backfill\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\n\
             SlurmdParameters=config_overrides\nJobAcctGatherType=jobacct_gather/none\nMpiDefault=none\n\
             SlurmdTimeout=10\nKillWait=5\nInactiveLimit=0\nSchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0\n\
             PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
        );
        for (number, port) in (1..).zip(node_ports) {
            conf += &format!(
                "NodeName=n{number} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=8000 State=UNKNOWN\n"
            );
        }
        conf += "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1\n\
                 PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF\n";
        conf += more;
        std::fs::write(dir.path().join("slurm.conf"), conf).expect("the configuration");
        let mut slurm = Slurm {
            controller: None,
            nodes: [None, None],
            _munge: munge,
            dir,
            port,
            node_ports,
        };
        slurm.start_controller();
        slurm.start_node(0);
        slurm.start_node(1);
        slurm.wait_for("both nodes", |slurm| {
            let nodes = slurm.call(&["sinfo", "-h", "-N", "-p", "main", "-o", "%T"]);
            nodes.lines().filter(|l| *l == "idle").count() == 2
        });
        Ok(slurm)
    }

    /// Its configuration.
    pub fn conf(&self) -> PathBuf {
        self.dir.path().join("slurm.conf")
    }

    /// Starts the controller (again).
    pub fn start_controller(&mut self) {
        let mut command = Command::new(program("slurmctld").expect("slurmctld"));
        command.arg("-D").arg("-f").arg(self.conf());
        self.controller = Some(start(
            &mut command,
            self.port,
            &self.dir.path().join("log/ctld.out"),
        ));
    }

    /// Kills the controller as `kill -9` does.
    pub fn kill_controller(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.0.kill().expect("a child");
            controller.0.wait().expect("a child");
        }
    }

    /// Waits until the controller has written down what is true now.
    pub fn wait_for_state(&self) {
        let now = std::time::SystemTime::now();
        let file = self.dir.path().join("state/job_state");
        self.wait_for("the controller's state", |_| {
            let written = file.metadata().and_then(|meta| meta.modified());
            written.is_ok_and(|written| written > now)
        });
    }

    /// Starts a node (again).
    pub fn start_node(&mut self, number: usize) {
        let name = format!("n{}", number + 1);
        let mut command = Command::new(program("slurmd").expect("slurmd"));
        command.args(["-D", "-N", &name, "-f"]).arg(self.conf());
        let log = self.dir.path().join(format!("log/{name}.out"));
        self.nodes[number] = Some(start(&mut command, self.node_ports[number], &log));
    }

    /// Ends a node with everything that runs on it, as a power failure does.
    pub fn lose_node(&mut self, number: usize) {
        if let Some(mut node) = self.nodes[number].take() {
            node.0.kill().expect("a child");
            node.0.wait().expect("a child");
        }
        let mark = format!("SLURMD_NODENAME=n{}", number + 1);
        let conf = format!("SLURM_CONF={}", self.conf().display());
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<i32>().ok())
            else {
                continue;
            };
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ).into_owned();
            let has = |text: &str| environ.split('\0').any(|v| v == text);
            if has(&mark) && has(&conf) {
                // SAFETY: a process of a job of this test's own cluster.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }

    /// Calls one of its programs; what it wrote.
    pub fn call(&self, words: &[&str]) -> String {
        let output = Command::new(program(words[0]).expect("a program of Slurm"))
            .args(&words[1..])
            .env("SLURM_CONF", self.conf())
            .stdin(Stdio::null())
            .output()
            .expect("a program of Slurm");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Jobs that wait or run.
    pub fn jobs(&self) -> Vec<String> {
        let jobs = self.call(&["squeue", "-h", "-r", "-o", "%i %T %N"]);
        jobs.lines().map(str::to_owned).collect()
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, holds: impl Fn(&Slurm) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "waited in vain for {what}; jobs: {:?}",
                self.jobs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = self.call(&["scancel", "--user=root"]);
        let begun = Instant::now();
        while self.controller.is_some()
            && !self.jobs().is_empty()
            && begun.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn munge(dir: &Path) -> Running {
    let dir = dir.join("munge");
    let key: Vec<u8> = (0..128u8)
        .map(|i| i.wrapping_mul(37) ^ std::process::id() as u8)
        .collect();
    let at = |name: &str| dir.join(name);
    std::fs::write(at("key"), key).expect("a key");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(at("key"), private).expect("its mode");
    let with = |flag: &str, name: &str| format!("{flag}={}", at(name).display());
    let child = Command::new(program("munged").expect("munged"))
        .args(["--foreground", "--force"])
        .args([
            with("--socket", "socket"),
            with("--key-file", "key"),
            with("--pid-file", "pid"),
        ])
        .args([with("--log-file", "log"), with("--seed-file", "seed")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("munged");
    let mut running = Running(child);
    let begun = Instant::now();
    while !at("socket").exists() {
        let ended = running.0.try_wait().expect("a child");
        assert!(
            ended.is_none() && begun.elapsed() < super::PATIENCE,
            "munged does not begin: {ended:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}
