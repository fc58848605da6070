#!/usr/bin/env python3
"""A cluster beside its peers: what an action costs on Slurm, and what a large study costs to submit.

    benches/cluster/bench.py --repro target/release/repro submit --instances 100000
    benches/cluster/bench.py --repro target/release/repro overhead --actions 2000 --snakemake PATH

`submit`: a batch system that takes everything and executes nothing; how long, and with how much
memory, a study is planned, its keys made, and all of it submitted.
`overhead`: short actions on a real Slurm of two nodes on this machine (as root; slurmctld, slurmd
and munged installed): `repro run --on`, an array job of one element per action by `sbatch`, and
Snakemake's Slurm plugin, in one run. Nothing passes or fails here.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """version: 1
name: bench
stages:
  work:
    matrix: {i: {range: [0, COUNT]}}
    run: "echo ${matrix.i} > ${outputs.o}"
    outputs: {o: o.txt}
"""

EXECUTOR = """[lab]
kind = "slurm"
remote = "dir"
poll = {first = "1s", longest = "5s", reports = "1s", late = "5s"}
MORE
"""


def measured(command, env, cwd, until=None):
    """Wall seconds, processor seconds of the process itself, its memory in MB, and its status."""
    begun = time.monotonic()
    # Read by nobody; a pipe that is full would hold it up.
    with open(Path(cwd) / "bench.log", "w") as log:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log)
        if until:
            while child.poll() is None and not until():
                time.sleep(0.05)
            wall = time.monotonic() - begun
            # As it is at this moment.
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
            ticks = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
            child.send_signal(signal.SIGTERM)
            child.wait()
            return wall, cpu, peak, 0
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, status


def project(dir, count, more, repro, env):
    dir.mkdir()
    (dir / "pipeline.yaml").write_text(STUDY.replace("COUNT", str(count)))
    (dir / "repro.executors.toml").write_text(EXECUTOR.replace("MORE", more))
    remote = dir.parent / (dir.name + "-remote")
    remote.mkdir()
    subprocess.run([repro, "remote", "add", "dir", remote], cwd=dir, env=env, check=True, stdout=subprocess.DEVNULL)
    return remote


def submit(options, work):
    taken = work / "taken"
    programs = work / "bin"
    programs.mkdir()
    scripts = {
        "sbatch": f'cat > /dev/null; for a; do case "$a" in --array=0-*) echo ${{a#--array=0-}} >> {taken};; esac; done; wc -l < {taken}',
        "squeue": "exit 1",
        "scancel": "exit 0",
        "scontrol": "exit 1",
    }
    for name, text in scripts.items():
        (programs / name).write_text("#!/bin/sh\n" + text + "\n")
        (programs / name).chmod(0o755)
    env = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", REPRO_STORE=str(work / "store"))
    at = work / "project"
    # Every action by itself, so that as much as possible is submitted.
    more = f'width = {options.instances}\nbundle = "1s"\narray = 1000'
    project(at, options.instances, more, options.repro, env)

    def elements():
        text = taken.read_text() if taken.exists() else ""
        return sum(int(line) + 1 for line in text.split())

    command = [options.repro, "run", "--json", "--on", "lab"]
    wall, cpu, peak, _ = measured(command, env, at, lambda: elements() >= options.instances)
    print(f"{options.instances} instances planned, keyed and submitted in {elements()} elements of "
          f"{len(taken.read_text().split())} array jobs: {wall:.1f} s, {cpu:.1f} s of processor, {peak:.0f} MB")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Slurm:
    def __init__(self, dir):
        for name in ["state", "spool", "log", "munge"]:
            (dir / name).mkdir(parents=True)
        key = dir / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        m = dir / "munge"
        self.all = [subprocess.Popen(["munged", "--foreground", "--force", f"--socket={m}/socket", f"--key-file={key}",
                                      f"--pid-file={m}/pid", f"--log-file={m}/log", f"--seed-file={m}/seed"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
        while not (m / "socket").exists():
            time.sleep(0.05)
        conf = f"""ClusterName=bench
SlurmctldHost=localhost
SlurmctldPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={m}/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool/%n
SlurmctldPidFile={dir}/ctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/log/ctld.log
SlurmdLogFile={dir}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MaxArraySize=10001
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
        self.conf = dir / "slurm.conf"
        self.conf.write_text(conf)
        for command in [["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]:
            self.all.append(subprocess.Popen([*command, "-f", self.conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        self.env = dict(os.environ, SLURM_CONF=str(self.conf))
        while self.call("sinfo", "-h", "-N", "-o", "%T").split() != ["idle", "idle"]:
            time.sleep(0.2)

    def call(self, *words):
        return subprocess.run(words, env=self.env, capture_output=True, text=True).stdout

    def stop(self):
        self.call("scancel", "--user=root")
        for process in reversed(self.all):
            process.terminate()
            process.wait()


SNAKEFILE = """N = COUNT
rule all:
    input: expand("o/{i}.txt", i=range(N))
rule work:
    output: "o/{i}.txt"
    resources: mem_mb=10, runtime=10
    shell: "echo {wildcards.i} > {output}"
"""


def overhead(options, work):
    slurm = Slurm(work / "slurm")
    rows = []
    try:
        n = options.actions
        env = dict(slurm.env, REPRO_STORE=str(work / "store"))
        at = work / "repro"
        project(at, n, 'width = 8\nscratch = "/tmp"', options.repro, env)
        wall, cpu, _, status = measured([options.repro, "run", "--json", "--on", "lab"], env, at)
        rows.append(("repro run --on", n, wall, cpu, status))

        n = options.sbatch or options.actions
        at = work / "sbatch"
        at.mkdir()
        script = f'#!/bin/sh\necho $SLURM_ARRAY_TASK_ID > {at}/$SLURM_ARRAY_TASK_ID.txt\n'
        (at / "job.sh").write_text(script)
        command = ["sbatch", "--wait", "-o", "/dev/null", f"--array=0-{n - 1}", at / "job.sh"]
        wall, cpu, _, status = measured(command, slurm.env, at)
        rows.append(("sbatch, one element each", n, wall, cpu, status))

        if options.snakemake:
            n = options.snakemake_actions or options.actions
            at = work / "snakemake"
            at.mkdir()
            (at / "Snakefile").write_text(SNAKEFILE.replace("COUNT", str(n)))
            # Its plugin takes SLURM_* out of a job's environment; a site has its slurm.conf in /etc.
            tools = work / "tools"
            tools.mkdir()
            (tools / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={slurm.conf} exec {shutil.which("srun")} "$@"\n')
            (tools / "srun").chmod(0o755)
            path = f"{tools}:{Path(options.snakemake).parent}:{os.environ['PATH']}"
            command = [options.snakemake, "--executor", "slurm", "--jobs", "8", "--latency-wait", "5",
                       "--slurm-init-seconds-before-status-checks", "1", "--slurm-status-command", "squeue",
                       "--default-resources", "slurm_partition=main"]
            wall, cpu, _, status = measured(command, dict(slurm.env, PATH=path), at)
            rows.append(("snakemake --executor slurm", n, wall, cpu, status))
            if status:
                logs = sorted((at / ".snakemake/slurm_logs").rglob("*.log"))
                for log in [at / "bench.log", *logs[:1]]:
                    print(log.read_text()[-3000:], file=sys.stderr)
    finally:
        slurm.stop()
    print(f"{'':28}{'actions':>8}{'wall s':>9}{'ms/action':>11}{'CPU ms/action here':>20}")
    for name, n, wall, cpu, status in rows:
        failed = "" if status == 0 else f"  (ended with {status})"
        print(f"{name:28}{n:8}{wall:9.1f}{1000 * wall / n:11.1f}{1000 * cpu / n:20.2f}{failed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repro", type=lambda p: str(Path(p).resolve()), required=True)
    parser.add_argument("scenario", choices=["submit", "overhead"])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--actions", type=int, default=2_000)
    parser.add_argument("--sbatch", type=int, help="elements of the plain array, if others than --actions")
    parser.add_argument("--snakemake", help="the program; without, it is left out")
    parser.add_argument("--snakemake-actions", type=int, help="as --sbatch")
    options = parser.parse_args()
    # Its Slurm ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    load = os.getloadavg()
    print(f"{os.cpu_count()} processors, load before: {load[0]:.1f} {load[1]:.1f} {load[2]:.1f}")
    work = Path(tempfile.mkdtemp(prefix="bench-cluster-"))
    try:
        {"submit": submit, "overhead": overhead}[options.scenario](options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
