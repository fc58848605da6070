//! Which machine, which programs, how busy.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that `variable` names, or `name` if it is on `PATH`.
pub fn program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable) {
        return std::path::absolute(given).ok();
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

/// The load averages.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Prints the machine and the programs.
pub fn describe(dir: &Path, programs: [Option<&PathBuf>; 3]) {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, m)| m);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "machine: {cpus} CPUs, {model}, Linux {}, {} for projects and store",
        kernel.trim(),
        file_system(dir)
    );
    for program in programs.into_iter().flatten() {
        let said = Command::new(program)
            .arg("--version")
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        println!("{name}: {}", said.unwrap_or_else(|e| e.to_string()));
    }
    println!("load at the start: {}", load());
}

/// The type of the file system that holds `dir`, by the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let rows = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let best = rows
        .filter(|(at, _)| dir.starts_with(at))
        .max_by_key(|(at, _)| at.len());
    best.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
