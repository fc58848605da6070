//! Push and pull beside `rclone` and `dvc`, on one S3 server on loopback: `cargo bench --bench
//! sharing`, described in benches/README.md. Nothing here passes or fails.

#![allow(
    clippy::unwrap_used,
    reason = "a wrong assumption here is a failed test"
)]

#[allow(dead_code)]
#[path = "../../tests/support/servers/s3.rs"]
mod s3;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use s3::S3;

const USAGE: &str = "\
cargo bench --bench sharing -- [--mib 1024] [--files 20000] [--rounds 3] [--dir DIR] [--repro FILE]

As many MiB of random bytes, once in one file and once in so many files, are pushed to an S3 server and pulled into an empty
place. RCLONE and DVC name the programs to compare with; one that is missing leaves its column empty.
DIR (default: target/bench) should be on the disk where studies are kept.";

const BUCKETS: [&str; 2] = ["lab", "two"];

struct Options {
    mib: usize,
    files: usize,
    rounds: usize,
    dir: PathBuf,
    repro: PathBuf,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        mib: 1024,
        files: 20_000,
        rounds: 3,
        dir: Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench"),
        repro: env!("CARGO_BIN_EXE_repro").into(),
    };
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(arg) = args.next() {
        let value = args.next().ok_or("a value is missing")?;
        match arg.as_str() {
            "--mib" => options.mib = value.parse()?,
            "--files" => options.files = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--dir" => options.dir = value.into(),
            "--repro" => options.repro = value.into(),
            _ => return Err(format!("`{arg}` is no option").into()),
        }
    }
    Ok(options)
}

/// Seconds by the clock, and of the processor.
#[derive(Clone, Copy)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
}

/// A program that can push what lies at a path, and pull it into an empty place.
trait Tool {
    fn name(&self) -> &'static str;
    /// Whatever it does before it can push.
    fn prepare(&mut self, data: &Path, dir: &Path, round: usize) -> Result<()>;
    fn push(&mut self) -> Command;
    fn pull(&mut self) -> Result<Command>;
    /// Where what was pulled must be.
    fn pulled(&self) -> PathBuf;
}

fn run(options: &Options) -> Result<()> {
    let server = S3::start(&BUCKETS);
    let dir = options.dir.join("sharing");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    println!(
        "{} MiB, {} files, medians of {} rounds in turns; seconds (of the processor)",
        options.mib, options.files, options.rounds
    );
    for (what, files) in [("one file", 1), ("many files", options.files)] {
        let data = dir.join("source").join("data");
        write_data(&data, options.mib << 20, files)?;
        let mut rows: Vec<(&'static str, Vec<Cost>, Vec<Cost>)> = Vec::new();
        for round in 0..options.rounds {
            for (position, mut tool) in tools(options, &server).into_iter().enumerate() {
                let place = dir.join(format!("{}-{round}", tool.name()));
                fs::create_dir_all(&place)?;
                tool.prepare(&data, &place, round)?;
                let push = measure(tool.push())?;
                let pull = measure(tool.pull()?)?;
                check(&data, &tool.pulled())?;
                if rows.len() <= position {
                    rows.push((tool.name(), Vec::new(), Vec::new()));
                }
                rows[position].1.push(push);
                rows[position].2.push(pull);
                fs::remove_dir_all(&place)?;
            }
            empty_buckets(&server)?;
        }
        let ours = (median(&rows[0].1), median(&rows[0].2));
        for (name, pushes, pulls) in &rows {
            let (push, pull) = (median(pushes), median(pulls));
            println!(
                "{what:10} {name:16} push {:7.2} ({:6.2})  {:5.2}x   pull {:7.2} ({:6.2})  {:5.2}x",
                push.wall_s,
                push.cpu_s,
                push.wall_s / ours.0.wall_s,
                pull.wall_s,
                pull.cpu_s,
                pull.wall_s / ours.1.wall_s
            );
        }
        fs::remove_dir_all(dir.join("source"))?;
    }
    Ok(())
}

fn tools(options: &Options, server: &S3) -> Vec<Box<dyn Tool>> {
    let mut tools: Vec<Box<dyn Tool>> = Vec::new();
    for links in [false, true] {
        tools.push(Box::new(Repro {
            program: options.repro.clone(),
            endpoint: server.endpoint.clone(),
            links,
            dir: PathBuf::new(),
        }));
    }
    let named = |variable: &str, default: &str| {
        let name = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        let mut probe = Command::new(&name);
        probe
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|s| s.success()).then_some(name)
    };
    if let Some(program) = named("RCLONE", "rclone") {
        tools.push(Box::new(Rclone {
            program,
            endpoint: server.endpoint.clone(),
            data: PathBuf::new(),
            dir: PathBuf::new(),
            prefix: String::new(),
        }));
    }
    if let Some(program) = named("DVC", "dvc") {
        tools.push(Box::new(Dvc {
            program,
            endpoint: server.endpoint.clone(),
            dir: PathBuf::new(),
            is_dir: false,
        }));
    }
    tools
}

struct Repro {
    program: PathBuf,
    endpoint: String,
    links: bool,
    dir: PathBuf,
}

impl Repro {
    fn command(&self, machine: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(self.dir.join(machine).join("project"));
        command.env("HOME", self.dir.join(machine));
        command.env("REPRO_STORE", self.dir.join(machine).join("store"));
        if self.links {
            command.env("REPRO_LINK", "hardlink");
        }
        with_credentials(command)
    }
}

impl Tool for Repro {
    fn name(&self) -> &'static str {
        match self.links {
            false => "repro",
            true => "repro, hard links",
        }
    }

    fn prepare(&mut self, data: &Path, dir: &Path, _: usize) -> Result<()> {
        self.dir = dir.to_owned();
        let (a, b) = (dir.join("a/project"), dir.join("b/project"));
        fs::create_dir_all(&a)?;
        fs::create_dir_all(&b)?;
        let shape = if data.is_dir() { "dir" } else { "file" };
        let pipeline = format!(
            "version: 1\nname: bench\nstages:\n  data:\n    needs: {{from: {{{shape}: data}}}}\n    \
             run: \"cp -r ${{needs.from}} ${{outputs.data}}\"\n    outputs: {{data: copy}}\n"
        );
        fs::write(a.join("pipeline.yaml"), pipeline)?;
        fs::rename(data, a.join("data"))?;
        // No prefix: the server makes one file name of a whole name.
        let bucket = format!("s3://{}", BUCKETS[usize::from(self.links)]);
        let steps: [&[&str]; 3] = [
            &[
                "remote",
                "add",
                "lab",
                &bucket,
                "--endpoint",
                &self.endpoint,
            ],
            &["trust", "init", "--name", "me", "--no-passphrase"],
            &["run"],
        ];
        for step in steps {
            succeed(&mut self.command("a", step))?;
        }
        fs::rename(a.join("data"), data)?;
        for file in [
            "pipeline.yaml",
            "repro.lock",
            "repro.trust.toml",
            "repro.remotes.toml",
        ] {
            fs::copy(a.join(file), b.join(file))?;
        }
        // The input is part of both clones.
        for clone in [&a, &b] {
            match data.is_dir() {
                true => succeed(
                    Command::new("cp")
                        .arg("-rl")
                        .arg(data)
                        .arg(clone.join("data")),
                )?,
                false => fs::hard_link(data, clone.join("data"))?,
            }
        }
        succeed(&mut self.command("a", &["status"]))
    }

    fn push(&mut self) -> Command {
        self.command("a", &["push"])
    }

    fn pull(&mut self) -> Result<Command> {
        Ok(self.command("b", &["pull"]))
    }

    fn pulled(&self) -> PathBuf {
        self.dir.join("b/project/artifacts/data/copy")
    }
}

struct Rclone {
    program: String,
    endpoint: String,
    data: PathBuf,
    dir: PathBuf,
    prefix: String,
}

impl Rclone {
    fn copy(&self, from: &str, to: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([
            "copy",
            from,
            to,
            "--transfers",
            "32",
            "--checkers",
            "32",
            "-q",
        ]);
        for (name, value) in [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ACCESS_KEY_ID", s3::ACCESS_KEY),
            ("SECRET_ACCESS_KEY", s3::SECRET_KEY),
            ("ENDPOINT", &self.endpoint),
        ] {
            command.env(format!("RCLONE_CONFIG_LAB_{name}"), value);
        }
        command.env("HOME", &self.dir);
        // Its library refuses to start with it, and nothing here is encrypted.
        command.env_remove("AWS_CA_BUNDLE");
        command
    }
}

impl Tool for Rclone {
    fn name(&self) -> &'static str {
        "rclone"
    }

    fn prepare(&mut self, data: &Path, dir: &Path, round: usize) -> Result<()> {
        (self.data, self.dir) = (data.to_owned(), dir.to_owned());
        self.prefix = format!("lab:lab/rclone-{round}");
        Ok(())
    }

    fn push(&mut self) -> Command {
        self.copy(&self.data.to_string_lossy(), &self.prefix)
    }

    fn pull(&mut self) -> Result<Command> {
        Ok(self.copy(&self.prefix, &self.dir.join("pulled").to_string_lossy()))
    }

    fn pulled(&self) -> PathBuf {
        match self.data.is_dir() {
            true => self.dir.join("pulled"),
            false => self.dir.join("pulled/data"),
        }
    }
}

struct Dvc {
    program: String,
    endpoint: String,
    dir: PathBuf,
    is_dir: bool,
}

impl Dvc {
    fn command(&self, machine: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.dir.join(machine));
        command
            .env("DVC_NO_ANALYTICS", "1")
            .env("HOME", self.dir.join(machine));
        command.env("DVC_SITE_CACHE_DIR", self.dir.join(machine).join("site"));
        with_credentials(command)
    }
}

impl Tool for Dvc {
    fn name(&self) -> &'static str {
        "dvc"
    }

    fn prepare(&mut self, data: &Path, dir: &Path, round: usize) -> Result<()> {
        self.dir = dir.to_owned();
        self.is_dir = data.is_dir();
        for machine in ["a", "b"] {
            fs::create_dir_all(dir.join(machine))?;
        }
        succeed(
            Command::new("cp")
                .arg("-r")
                .arg(data)
                .arg(dir.join("a/data")),
        )?;
        let bucket = format!("s3://lab/dvc-{round}");
        let endpoint = self.endpoint.clone();
        let steps: [&[&str]; 4] = [
            &["init", "--no-scm", "-q"],
            &["remote", "add", "-q", "-d", "lab", &bucket],
            &["remote", "modify", "-q", "lab", "endpointurl", &endpoint],
            &["add", "-q", "data"],
        ];
        for step in steps {
            succeed(&mut self.command("a", step))?;
        }
        succeed(&mut self.command("b", steps[0]))?;
        fs::copy(dir.join("a/.dvc/config"), dir.join("b/.dvc/config"))?;
        fs::copy(dir.join("a/data.dvc"), dir.join("b/data.dvc"))?;
        Ok(())
    }

    fn push(&mut self) -> Command {
        self.command("a", &["push", "-q", "-j", "32"])
    }

    fn pull(&mut self) -> Result<Command> {
        Ok(self.command("b", &["pull", "-q", "-j", "32"]))
    }

    fn pulled(&self) -> PathBuf {
        self.dir.join("b/data")
    }
}

fn with_credentials(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY);
    command.env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY);
    command.env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let said = command.stdin(Stdio::null()).output()?;
    match said.status.success() {
        true => Ok(()),
        false => {
            let (out, err) = (&said.stdout, &said.stderr);
            let said = String::from_utf8_lossy(out) + String::from_utf8_lossy(err);
            Err(format!("{command:?}: {said}").into())
        }
    }
}

fn measure(mut command: Command) -> Result<Cost> {
    // What earlier steps wrote must not be waited for here.
    // SAFETY: takes no argument.
    unsafe { libc::sync() };
    let before = children_s();
    let started = Instant::now();
    succeed(&mut command)?;
    Ok(Cost {
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: children_s() - before,
    })
}

/// Processor seconds of all children that have ended.
fn children_s() -> f64 {
    // SAFETY: a structure of plain numbers, filled by the system.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn median(costs: &[Cost]) -> Cost {
    let mut costs = costs.to_vec();
    costs.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    costs[costs.len() / 2]
}

/// Random bytes in so many files; one file is the path itself.
fn write_data(path: &Path, bytes_total: usize, files: usize) -> Result<()> {
    let mut random = fs::File::open("/dev/urandom")?;
    let each = bytes_total / files;
    fs::create_dir_all(if files == 1 {
        path.parent().ok_or("no parent")?
    } else {
        path
    })?;
    for i in 0..files {
        let mut file = match files {
            1 => fs::File::create(path)?,
            _ => {
                let dir = path.join(format!("{:03}", i % 200));
                fs::create_dir_all(&dir)?;
                fs::File::create(dir.join(format!("{i:06}")))?
            }
        };
        std::io::copy(
            &mut std::io::Read::take(&mut random, each as u64),
            &mut file,
        )?;
        file.flush()?;
    }
    Ok(())
}

/// What was pulled is what was pushed.
fn check(data: &Path, pulled: &Path) -> Result<()> {
    succeed(Command::new("diff").arg("-rq").arg(data).arg(pulled))
}

fn empty_buckets(server: &S3) -> Result<()> {
    for bucket in BUCKETS {
        let dir = server.bucket_dir(bucket);
        fs::remove_dir_all(&dir)?;
        fs::create_dir(&dir)?;
    }
    Ok(())
}
