//! What one process costs, and tables of it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a process and all its waited-for children used.
#[derive(Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub wall_s: f64,
    /// User and system time.
    pub cpu_s: f64,
    /// The largest resident set of any one of them.
    pub rss_bytes: f64,
}

/// Runs a program to its end, its output thrown away.
///
/// # Errors
/// It cannot be started, or it fails; its standard error is in the message.
pub fn measure<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    dir: &Path,
    env: &[(&str, &Path)],
) -> Result<Cost, String> {
    let errors = tempfile::tempfile().map_err(|e| e.to_string())?;
    let said = errors.try_clone().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .envs(env.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    let started = Instant::now();
    let child = command
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let mut status = 0;
    // SAFETY: rusage is plain data for which zero is valid.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals; the child is ours and nobody else waits for it.
        if unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut used) } == child.id() as i32
        {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error.to_string());
        }
    }
    let wall_s = started.elapsed().as_secs_f64();
    if status != 0 {
        return Err(format!("{} failed:\n{}", program.display(), text(errors)));
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    Ok(Cost {
        wall_s,
        cpu_s: seconds(used.ru_utime) + seconds(used.ru_stime),
        rss_bytes: used.ru_maxrss as f64 * 1024.0,
    })
}

fn text(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    // What cannot be read is only missing from a message.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.chars().take(2_000).collect()
}

/// Rows of `repro` beside a peer.
pub struct Table {
    title: String,
    peer: &'static str,
    rows: Vec<String>,
}

impl Table {
    /// An empty table.
    pub fn new(title: &str, peer: &'static str) -> Table {
        Table {
            title: title.to_owned(),
            peer,
            rows: Vec::new(),
        }
    }

    /// Adds medians of both and their ratio.
    pub fn row(&mut self, name: &str, own: &[Cost], peer: &[Cost]) {
        let wall = pair(own, peer, |c| c.wall_s * 1e3);
        let cpu = pair(own, peer, |c| c.cpu_s * 1e3);
        let rss = pair(own, peer, |c| c.rss_bytes / 1e6);
        self.rows.push(format!("{name:<18}{wall}   {cpu}   {rss}"));
    }

    /// Writes it to standard output.
    pub fn print(&self) {
        println!("\n{}", self.title);
        let head = |what: &str| format!("{:>10} {:>9} {:>6}", what, self.peer, "ratio");
        println!(
            "{:<18}{}   {}   {}",
            "",
            head("wall ms"),
            head("CPU ms"),
            head("RSS MB")
        );
        for row in &self.rows {
            println!("{row}");
        }
    }
}

fn pair(own: &[Cost], peer: &[Cost], of: impl Fn(&Cost) -> f64) -> String {
    let own = median(own.iter().map(&of).collect());
    match peer {
        [] => format!("{own:>10.1} {:>9} {:>6}", "-", "-"),
        _ => {
            let peer = median(peer.iter().map(&of).collect());
            format!("{own:>10.1} {peer:>9.1} {:>6.2}", own / peer)
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}
