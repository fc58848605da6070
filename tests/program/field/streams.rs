//! Output that nobody reads, and terminals that go.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use super::durability::TWO;
use super::durability::two;
use super::processes::until;
use crate::support::{TestSpace, wait};

/// Standard error that is full, closed, or a pipe nobody reads ends neither the program nor a
/// worker.
#[test]
fn case_14_nobody_dies_because_nobody_listens() {
    let space = two();
    space.write(
        "pipeline.yaml",
        format!("{TWO}  data: {{uses: download, with: {{dataset: shapes, shapes: {{train: 20, test: 10}}}}}}\n"),
    );
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for (n, stderr) in ["full", "gone"].into_iter().enumerate() {
        space.write("in.txt", format!("{n}\n"));
        let mut command = space.command(&["run"]);
        command.stdout(Stdio::null());
        let status = match stderr {
            "full" => command.stderr(full()).status().unwrap(),
            _ => {
                let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
                drop(child.stderr.take());
                child.wait().unwrap()
            }
        };
        assert_eq!(status.code(), Some(0), "standard error is {stderr}");
        assert_eq!(space.read("artifacts/b/b.txt"), format!("{n}\n{n}\n"));
    }
    // A mistake is told by the exit code, then.
    let mut command = space.command(&["run", "none"]);
    let status = command.stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

/// A terminal that is hung up: writing to it fails, and bars are drawn on it.
#[test]
fn case_14_a_terminal_that_is_gone_does_not_end_the_run() {
    let space = TestSpace::new();
    let (started, go) = (space.path("started"), space.path("go"));
    let first = format!("touch {}; {}", started.display(), until(&go));
    space.write(
        "pipeline.yaml",
        "
version: 1
name: slow
stages:
  a: {run: 'FIRST; echo a > ${outputs.o}', outputs: {o: a.txt}, sandbox: off}
  b: {needs: {a: a.o}, run: 'sleep 1; echo b > ${outputs.o}', outputs: {o: b.txt}}
"
        .replace("FIRST", &first),
    );
    let (master, slave) = terminal();
    let mut command = space.command(&["run"]);
    command.env("TERM", "xterm").stdout(Stdio::null());
    command.stderr(Stdio::from(slave));
    let child = command.spawn().unwrap();
    drop(command);
    space.wait_for("started");
    // The window is closed. (The signal that usually goes with it is another matter: this is no
    // controlling terminal.)
    drop(master);
    space.write("go", "");
    assert_eq!(wait(child).status.code(), Some(0));
    assert_eq!(space.read("artifacts/b/b.txt"), "b\n");
}

/// Both ends of a new terminal.
fn terminal() -> (File, File) {
    use std::os::fd::{AsRawFd, FromRawFd};
    // SAFETY: plain calls on a descriptor that was just opened; the name is copied out of the
    // buffer given.
    unsafe {
        let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(fd >= 0);
        let master = File::from_raw_fd(fd);
        assert_eq!((libc::grantpt(fd), libc::unlockpt(fd)), (0, 0));
        let mut name = [0u8; 64];
        assert_eq!(
            libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), 64),
            0
        );
        let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap();
        let options = &mut File::options();
        let slave = options.read(true).write(true).open(name.to_str().unwrap());
        (master, slave.unwrap())
    }
}

#[test]
fn case_61_a_full_standard_output_is_an_error() {
    let space = two();
    space.ok(&["run"]);
    for args in [
        &["run", "--json"][..],
        &["run", "-f", "a", "--json"],
        &["status"],
        &["status", "--json"],
        &["logs", "a"],
        &["why", "a"],
        &["log"],
        &["dag"],
        &["kinds"],
        &["--version"],
        &["--help"],
        &["completions", "bash"],
    ] {
        let mut command = space.command(args);
        command.stdout(File::options().write(true).open("/dev/full").unwrap());
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let output = wait(child);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{args:?}: {err}");
        assert!(
            err.contains("cannot write to standard output"),
            "{args:?}: {err}"
        );
        // A reader who has seen enough is no error.
        let mut command = space.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = wait(child);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
        assert!(!err.contains("error"), "{args:?}: {err}");
    }
}

#[test]
fn case_61_escape_codes_never_reach_the_terminal() {
    let space = TestSpace::with_pipeline(
        "
version: 1
name: loud
stages:
  good: {run: 'printf \"\\033]0;title\\007\\033[2J\\033[31mred\\033[0m\\n\"; echo x > ${outputs.o}', outputs: {o: o.txt}}
  bad: {run: 'printf \"\\033[2Jgone \\302\\2331A\\n\" >&2; exit 3', outputs: {o: o.txt}}
",
    );
    let is_raw = |text: &str| text.contains(['\u{1b}', '\u{7}', '\u{9b}']);
    let said = space.run(&["run", "-k"]).expect(1, &["run"]);
    assert!(said.err.contains("\\x1b[2Jgone \\x9b1A"), "{}", said.err);
    assert!(!is_raw(&said.err), "{}", said.err);
    for (args, shown) in [
        (["logs", "good"], "\\x1b]0;title\\x07\\x1b[2Jred\n"),
        (["logs", "bad"], "\\x1b[2Jgone \\x9b1A\n"),
    ] {
        assert_eq!(space.ok(&args), shown);
    }
    assert!(is_raw(&space.ok(&["logs", "good", "--raw"])));
    for args in [
        &["why", "bad"][..],
        &["show", "last"],
        &["log"],
        &["status"],
    ] {
        let said = space.run(args);
        assert!(
            !is_raw(&said.out) && !is_raw(&said.err),
            "{args:?}: {}",
            said.out
        );
    }
    // On a terminal, with colours and bars.
    let (mut master, slave) = terminal();
    let mut command = space.command(&["run", "-k"]);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdout(Stdio::null()).stderr(Stdio::from(slave));
    let child = command.spawn().unwrap();
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Ends with an error when the last writer has closed it.
        let _ = master.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    assert_eq!(wait(child).status.code(), Some(1));
    let shown = reader.join().unwrap();
    assert!(shown.contains("\\x1b[2Jgone"), "{shown:?}");
    assert!(
        !shown.contains("\u{1b}[2J") && !shown.contains("\u{1b}]"),
        "{shown:?}"
    );
}
