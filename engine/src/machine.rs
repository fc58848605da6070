//! What this machine gives to this process: processors, memory, GPUs. Not what is built in, but
//! what is left of it by the affinity mask, control groups (both versions), a job of Slurm, and the
//! variables that name visible GPUs.

mod gpus;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

pub use gpus::Maker;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors it may keep busy.
    pub cpus: u32,
    /// Numbers of the processors it may run on; may be more than `cpus`.
    pub cores: Vec<u32>,
    /// Memory it may use; a huge number where that cannot be told.
    pub memory_bytes: u64,
    /// Names of its GPUs, as the variables of their maker take them.
    pub gpus: Vec<Arc<str>>,
    /// Who made them.
    pub maker: Maker,
}

/// Where the answers come from.
struct Source<'a> {
    /// `/`, or a directory that looks like it.
    root: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    cores: Vec<u32>,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        Machine::seen(&Source {
            root: Path::new("/"),
            env: &|name| std::env::var(name).ok(),
            cores: affinity(),
        })
    }

    fn seen(source: &Source) -> Machine {
        let mut cpus = source.cores.len().max(1) as u32;
        for limit in [source.cpu_quota(), source.slurm_cpus()]
            .into_iter()
            .flatten()
        {
            cpus = cpus.min(limit.max(1));
        }
        let limits = [
            source.memory_built_in(),
            source.memory_group(),
            source.slurm_memory(cpus),
        ];
        let (maker, gpus) = source.gpus();
        Machine {
            cpus,
            cores: source.cores.clone(),
            memory_bytes: limits.into_iter().flatten().min().unwrap_or(u64::MAX / 2),
            gpus,
            maker,
        }
    }
}

/// How many processes of this control group the kernel has killed so far because its memory was
/// used up; 0 where that cannot be told.
pub fn killed_for_memory() -> u64 {
    Source::killed_for_memory(&Source {
        root: Path::new("/"),
        env: &|_| None,
        cores: Vec::new(),
    })
}

impl Source<'_> {
    fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path)).ok()
    }

    fn variable<T: FromStr>(&self, name: &str) -> Option<T> {
        (self.env)(name)?.trim().parse().ok()
    }

    /// The files of this process's control groups that hold a limit: of its own group and of all
    /// around it. `controller` is `None` for version 2.
    fn group_files(&self, controller: Option<&str>, file: &str) -> Vec<String> {
        let groups = self.text("proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_it = match controller {
                None => controllers.is_empty(),
                Some(wanted) => controllers.split(',').any(|c| c == wanted),
            };
            is_it.then(|| path.trim_start_matches('/').to_owned())
        });
        let mounts: &[&str] = match controller {
            None => &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
            Some("memory") => &["sys/fs/cgroup/memory"],
            Some(_) => &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"],
        };
        let mut found = Vec::new();
        for mount in mounts {
            // Within a container the path may be the host's; then only the mount itself is there.
            let own = PathBuf::from(own.clone().unwrap_or_default());
            for group in own.ancestors() {
                let path = Path::new(mount).join(group).join(file);
                found.extend(path.to_str().and_then(|p| self.text(p)));
            }
        }
        found
    }

    /// Whole processors that the tightest quota pays for.
    fn cpu_quota(&self) -> Option<u32> {
        let whole = |quota: f64, period: f64| (quota > 0.0 && period > 0.0).then(|| quota / period);
        let v2 = self
            .group_files(None, "cpu.max")
            .into_iter()
            .filter_map(|text| {
                let mut words = text.split_whitespace();
                whole(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
            });
        let number = |text: &String| text.trim().parse::<f64>().ok();
        let quotas = self.group_files(Some("cpu"), "cpu.cfs_quota_us");
        let periods = self.group_files(Some("cpu"), "cpu.cfs_period_us");
        let v1 = quotas
            .iter()
            .zip(&periods)
            .filter_map(|(quota, period)| whole(number(quota)?, number(period)?));
        v2.chain(v1).map(|cpus| cpus.floor() as u32).min()
    }

    fn memory_built_in(&self) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    fn memory_group(&self) -> Option<u64> {
        let v2 = self.group_files(None, "memory.max");
        let v1 = self.group_files(Some("memory"), "memory.limit_in_bytes");
        // "max" is no number; version 1 writes a huge one, which is more than any machine has.
        let limits = v2.iter().chain(&v1);
        limits
            .filter_map(|text| text.trim().parse::<u64>().ok())
            .filter(|bytes| *bytes > 0)
            .min()
    }

    /// See [`killed_for_memory`]: the nearest group that counts.
    fn killed_for_memory(&self) -> u64 {
        let v2 = self.group_files(None, "memory.events");
        let v1 = self.group_files(Some("memory"), "memory.oom_control");
        let count = |text: &String| {
            let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
            line.trim().parse::<u64>().ok()
        };
        let counts = [v2.first(), v1.first()].map(|text| text.and_then(count).unwrap_or(0));
        counts.iter().sum()
    }

    /// A step of a job has the processors of its task; the job's own script all that the job has on
    /// this node.
    fn slurm_cpus(&self) -> Option<u32> {
        (self.env)("SLURM_JOB_ID")?;
        let of_task = self.variable("SLURM_CPUS_PER_TASK");
        let of_node = self.variable("SLURM_CPUS_ON_NODE");
        match (self.env)("SLURM_STEP_ID") {
            Some(_) => of_task.or(of_node),
            None => of_node.or(of_task),
        }
    }

    /// In MiB; 0 is all the node has.
    fn slurm_memory(&self, cpus: u32) -> Option<u64> {
        (self.env)("SLURM_JOB_ID")?;
        let of_node: Option<u64> = self.variable("SLURM_MEM_PER_NODE");
        let of_cpu: Option<u64> = self.variable("SLURM_MEM_PER_CPU");
        let mib = of_node.or(of_cpu.map(|m| m.saturating_mul(u64::from(cpus))))?;
        (mib > 0).then(|| mib.saturating_mul(1 << 20))
    }
}

/// Numbers of the processors this process may run on.
fn affinity() -> Vec<u32> {
    #[cfg(target_os = "linux")]
    {
        let allowed = rustix::thread::sched_getaffinity(None).map_or_else(
            |_| Vec::new(),
            |set| {
                let cpus = 0..rustix::thread::CpuSet::MAX_CPU;
                cpus.filter(|cpu| set.is_set(*cpu))
                    .map(|cpu| cpu as u32)
                    .collect()
            },
        );
        if !allowed.is_empty() {
            return allowed;
        }
    }
    let count = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    (0..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn lay_out(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    pub(super) fn seen(files: &[(&str, &str)], env: &[(&str, &str)]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path(), files);
        let env: HashMap<&str, &str> = env.iter().copied().collect();
        Machine::seen(&Source {
            root: root.path(),
            env: &|name| env.get(name).map(|v| (*v).to_owned()),
            cores: (0..8).collect(),
        })
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       16777216 kB\n");
    const GIB: u64 = 1 << 30;

    #[test]
    fn the_kernel_counts_whom_it_kills_for_memory() {
        let killed = |files: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            lay_out(root.path(), files);
            let source = Source {
                root: root.path(),
                env: &|_| None,
                cores: Vec::new(),
            };
            source.killed_for_memory()
        };
        assert_eq!(killed(&[]), 0);
        let v2 = [
            ("proc/self/cgroup", "0::/job/step\n"),
            (
                "sys/fs/cgroup/job/step/memory.events",
                "low 0\noom 4\noom_kill 3\n",
            ),
            ("sys/fs/cgroup/job/memory.events", "oom_kill 7\n"),
        ];
        assert_eq!(killed(&v2), 3);
        let v1 = [
            ("proc/self/cgroup", "4:memory:/slurm/job\n0::/\n"),
            (
                "sys/fs/cgroup/memory/slurm/job/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            ),
        ];
        assert_eq!(killed(&v1), 1);
    }

    #[test]
    fn case_24_limits_of_control_groups_count() {
        let machine = seen(&[MEMINFO], &[]);
        assert_eq!((machine.cpus, machine.memory_bytes), (8, 16 * GIB));
        let machine = seen(
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/user/job\n"),
                ("sys/fs/cgroup/user/job/memory.max", "max\n"),
                ("sys/fs/cgroup/user/memory.max", "4294967296\n"),
                ("sys/fs/cgroup/user/job/cpu.max", "350000 100000\n"),
                ("sys/fs/cgroup/user/cpu.max", "max 100000\n"),
            ],
            &[],
        );
        assert_eq!((machine.cpus, machine.memory_bytes), (3, 4 * GIB));
        let machine = seen(
            &[
                MEMINFO,
                ("proc/self/cgroup", "4:memory:/d/x\n3:cpu,cpuacct:/d/x\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
            &[],
        );
        assert_eq!((machine.cpus, machine.memory_bytes), (1, 2 * GIB));
    }

    #[test]
    fn case_24_a_job_of_slurm_has_what_it_asked_for() {
        let job = [
            ("SLURM_JOB_ID", "7"),
            ("SLURM_CPUS_ON_NODE", "4"),
            ("SLURM_CPUS_PER_TASK", "2"),
            ("SLURM_MEM_PER_CPU", "1024"),
        ];
        let machine = seen(&[MEMINFO], &job);
        assert_eq!((machine.cpus, machine.memory_bytes), (4, 4 * GIB));
        let step: Vec<_> = job.into_iter().chain([("SLURM_STEP_ID", "0")]).collect();
        let machine = seen(&[MEMINFO], &step);
        assert_eq!((machine.cpus, machine.memory_bytes), (2, 2 * GIB));
        // Left over from elsewhere.
        assert_eq!(seen(&[MEMINFO], &job[1..]).cpus, 8);
    }

    #[test]
    fn this_machine_has_a_processor() {
        let machine = Machine::here();
        assert!(machine.cpus >= 1 && machine.cpus as usize <= machine.cores.len().max(1));
    }
}
