//! A room: the file system as one command sees it, in a mount namespace of its own.
//!
//! The parent writes down what is to be done ([`Room`]: paths and numbers, nothing that must be
//! asked for later); the child does it between fork and exec, with system calls only. Mounts of the
//! room are gone with its last process. Order matters: first everything that is to stay visible is
//! taken hold of (a *slot*), then the rest becomes read-only and directories are covered, then the
//! slots are put where the command expects them. A ruleset of Landlock comes after this: who is
//! confined by one cannot mount, unmount, or enter another namespace.
//!
//! It needs the calls `open_tree`, `move_mount` and `mount_setattr` (Linux 5.12; Landlock itself
//! came with 5.13).

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sandbox;
use crate::dir::c_path;

/// How a command comes to namespaces of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespaces {
    /// By right.
    OfRoot,
    /// By a user namespace.
    OfUser,
}

/// What may be done in a place of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Files can be read and run; nothing about them can be changed, not even by their owner or by
    /// root.
    ReadOnly,
    /// As outside.
    AsOutside,
}

/// What a command shares with other processes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shared {
    /// The network, and System V memory.
    All,
    /// The network.
    Network,
    /// Neither.
    Nothing,
}

/// A part of the file system that is held, to be put somewhere.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Slot(usize);

#[derive(Serialize, Deserialize)]
enum Step {
    Hold {
        slot: Slot,
        from: CString,
        access: Access,
    },
    EverythingReadOnly,
    CoverByMemory {
        at: CString,
        /// What a ruleset is to allow there, for this kernel and for older ones.
        rights: [u64; 3],
    },
    MakeDir {
        at: CString,
    },
    MakeFile {
        at: CString,
    },
    Put {
        slot: Slot,
        at: CString,
    },
    GoTo {
        dir: CString,
    },
}

/// See the module.
#[derive(Serialize, Deserialize)]
pub struct Room {
    namespaces: Namespaces,
    shared: Shared,
    /// The lines of `uid_map` and `gid_map`: every user is themself.
    maps: [Vec<u8>; 2],
    steps: Vec<Step>,
    held: Vec<RawFd>,
}

impl Room {
    /// A room that looks like the file system outside.
    pub fn new(namespaces: Namespaces, shared: Shared) -> Room {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        Room {
            namespaces,
            shared,
            maps: [user, group].map(|id| format!("{id} {id} 1").into_bytes()),
            steps: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Takes hold of a file or a directory with all that is mounted below it.
    pub fn hold(&mut self, from: &Path, access: Access) -> io::Result<Slot> {
        let slot = Slot(self.held.len());
        self.held.push(-1);
        let from = c_path(from)?;
        self.steps.push(Step::Hold { slot, from, access });
        Ok(slot)
    }

    /// From here on nothing outside of slots can be changed.
    pub fn everything_read_only(&mut self) {
        self.steps.push(Step::EverythingReadOnly);
    }

    /// Covers a directory by an empty one in memory that every user may write, whatever the ruleset
    /// says of what was there.
    pub fn cover_by_memory(&mut self, at: &Path) -> io::Result<()> {
        let at = c_path(at)?;
        let rights = sandbox::writing_bits();
        self.steps.push(Step::CoverByMemory { at, rights });
        Ok(())
    }

    /// Makes a directory, unless it is there.
    pub fn make_dir(&mut self, at: &Path) -> io::Result<()> {
        let at = c_path(at)?;
        self.steps.push(Step::MakeDir { at });
        Ok(())
    }

    /// Makes an empty file, unless something is there.
    pub fn make_file(&mut self, at: &Path) -> io::Result<()> {
        let at = c_path(at)?;
        self.steps.push(Step::MakeFile { at });
        Ok(())
    }

    /// Lets what is held appear over the file or directory that is there.
    pub fn put(&mut self, slot: Slot, at: &Path) -> io::Result<()> {
        let at = c_path(at)?;
        self.steps.push(Step::Put { slot, at });
        Ok(())
    }

    /// Enters a directory, anew where something was put over it.
    pub fn go_to(&mut self, dir: &Path) -> io::Result<()> {
        let dir = c_path(dir)?;
        self.steps.push(Step::GoTo { dir });
        Ok(())
    }

    /// Moves the calling process into the room, and with it all that it starts. Async-signal-safe:
    /// called between fork and exec. Directories that exist only in here are added to the ruleset
    /// that is applied next. What cannot be done is written to standard error, which is the log,
    /// because an error number alone does not say where.
    ///
    /// # Errors
    /// The system's; the process is in an unfinished room then, and must end.
    #[cfg(target_os = "linux")]
    pub fn enter(&mut self, ruleset: Option<RawFd>) -> io::Result<()> {
        let mut flags = libc::CLONE_NEWNS;
        if self.namespaces == Namespaces::OfUser {
            flags |= libc::CLONE_NEWUSER;
        }
        flags |= match self.shared {
            Shared::All => 0,
            Shared::Network => libc::CLONE_NEWIPC,
            Shared::Nothing => libc::CLONE_NEWIPC | libc::CLONE_NEWNET,
        };
        // SAFETY: a system call on a plain value.
        check(unsafe { libc::unshare(flags) }).inspect_err(|_| complain(c"the namespaces"))?;
        if self.namespaces == Namespaces::OfUser {
            self.map_users()
                .inspect_err(|_| complain(c"the user namespace"))?;
        }
        // Nothing done here reaches the outside. What is mounted outside later still appears, as
        // for everybody. SAFETY: the pointers are null or to strings that end in NUL.
        check(unsafe {
            libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_SLAVE,
                std::ptr::null(),
            )
        })
        .inspect_err(|_| complain(c"the mount namespace"))?;
        if self.shared == Shared::Nothing {
            // A program that speaks to itself over the loopback device may go on to.
            start_loopback().inspect_err(|_| complain(c"the loopback device"))?;
        }
        for step in &self.steps {
            step.take(&mut self.held, ruleset)?;
        }
        Ok(())
    }

    /// Moves the calling process into the room.
    ///
    /// # Errors
    /// Always: only Linux has rooms.
    #[cfg(not(target_os = "linux"))]
    pub fn enter(&mut self, _ruleset: Option<RawFd>) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// The user keeps their number, and has the rights of root in the namespace until exec.
    #[cfg(target_os = "linux")]
    fn map_users(&self) -> io::Result<()> {
        // The files below belong to root for a process that must not be looked into, as this
        // program may be. It is one again afterwards: the reaper stays what it was forked from, and
        // a command becomes another program. SAFETY: system calls on plain values.
        let before = unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) };
        set_dumpable(1)?;
        let [user, group] = &self.maps;
        write_file(c"/proc/self/uid_map", user)?;
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/gid_map", group)?;
        set_dumpable((before == 1).into())
    }
}

#[cfg(target_os = "linux")]
mod calls {
    //! Async-signal-safe wrappers: each makes system calls on what it is given, and neither
    //! allocates nor locks.

    use super::*;
    use std::ffi::CStr;

    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const AT_RECURSIVE: libc::c_uint = 0x8000;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    const MOUNT_ATTR_RDONLY: u64 = 1;

    /// The kernel's `struct mount_attr`.
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }

    pub fn check(result: i32) -> io::Result<()> {
        if result == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Says on standard error what could not be done.
    pub fn complain(about: &CStr) {
        for part in [
            &b"repro: cannot prepare what this command sees: "[..],
            about.to_bytes(),
            b"\n",
        ] {
            // SAFETY: pointer and length describe a live slice. A log that cannot be written
            // changes nothing.
            unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
        }
    }

    pub fn set_dumpable(whether: libc::c_ulong) -> io::Result<()> {
        // SAFETY: a system call on plain values.
        check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, whether, 0, 0, 0) })
    }

    pub fn write_file(path: &CStr, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: the path ends in NUL, pointer and length describe a live slice, and the
        // descriptor is ours.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            check(fd)?;
            let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
            let result = check(written as i32);
            libc::close(fd);
            result
        }
    }

    pub fn start_loopback() -> io::Result<()> {
        // SAFETY: `ifreq` is plain data for which zero is valid; the socket is ours, the pointer to
        // a live local.
        unsafe {
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            check(fd)?;
            let mut request: libc::ifreq = std::mem::zeroed();
            request.ifr_name[0] = b'l' as libc::c_char;
            request.ifr_name[1] = b'o' as libc::c_char;
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            let result = check(libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &request));
            libc::close(fd);
            result
        }
    }

    /// Sets a mount, and all below it, read-only. `path` may be empty for the descriptor itself.
    fn set_read_only(fd: RawFd, path: &CStr) -> io::Result<()> {
        let attr = MountAttr {
            set: MOUNT_ATTR_RDONLY,
            clear: 0,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: the path ends in NUL; pointer and size describe a live local of the kernel's
        // layout.
        check(unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                fd,
                path.as_ptr(),
                AT_RECURSIVE | libc::AT_EMPTY_PATH as libc::c_uint,
                &attr as *const MountAttr,
                size_of::<MountAttr>(),
            )
        } as i32)
    }

    impl Step {
        /// Does it.
        pub(super) fn take(&self, held: &mut [RawFd], ruleset: Option<RawFd>) -> io::Result<()> {
            let (result, about) = match self {
                Step::Hold { slot, from, access } => {
                    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as libc::c_uint;
                    // SAFETY: the path ends in NUL.
                    let fd = unsafe {
                        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags)
                    } as RawFd;
                    let mut result = check(fd);
                    if result.is_ok() && *access == Access::ReadOnly {
                        result = set_read_only(fd, c"");
                    }
                    if let Some(place) = held.get_mut(slot.0) {
                        *place = fd;
                    }
                    (result, from)
                }
                Step::EverythingReadOnly => {
                    return set_read_only(libc::AT_FDCWD, c"/")
                        .inspect_err(|_| complain(c"/, read-only"));
                }
                Step::CoverByMemory { at, rights } => {
                    let flags = libc::MS_NOSUID | libc::MS_NODEV;
                    let kind = c"tmpfs".as_ptr();
                    // SAFETY: every pointer is to a string that ends in NUL.
                    let mut result = check(unsafe {
                        let options = c"mode=1777".as_ptr().cast();
                        libc::mount(kind, at.as_ptr(), kind, flags, options)
                    });
                    if let (Ok(()), Some(ruleset)) = (&result, ruleset) {
                        result = allow(ruleset, at, rights);
                    }
                    (result, at)
                }
                Step::MakeDir { at } => {
                    // SAFETY: the path ends in NUL.
                    let result = check(unsafe { libc::mkdir(at.as_ptr(), 0o755) });
                    (but_existing(result), at)
                }
                Step::MakeFile { at } => {
                    // SAFETY: the path ends in NUL.
                    let result =
                        check(unsafe { libc::mknod(at.as_ptr(), libc::S_IFREG | 0o644, 0) });
                    (but_existing(result), at)
                }
                Step::Put { slot, at } => {
                    let fd = held.get(slot.0).copied().unwrap_or(-1);
                    // SAFETY: both paths end in NUL; the descriptor is this room's own, and closed
                    // once, here.
                    let result = unsafe {
                        let moved = libc::syscall(
                            libc::SYS_move_mount,
                            fd,
                            c"".as_ptr(),
                            libc::AT_FDCWD,
                            at.as_ptr(),
                            MOVE_MOUNT_F_EMPTY_PATH,
                        );
                        let result = check(moved as i32);
                        libc::close(fd);
                        result
                    };
                    (result, at)
                }
                // SAFETY: the path ends in NUL.
                Step::GoTo { dir } => (check(unsafe { libc::chdir(dir.as_ptr()) }), dir),
            };
            result.inspect_err(|_| complain(about))
        }
    }

    /// Adds a directory to a ruleset of Landlock.
    fn allow(ruleset: RawFd, dir: &CStr, rights: &[u64]) -> io::Result<()> {
        const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;
        /// The kernel's `struct landlock_path_beneath_attr`.
        #[repr(C, packed)]
        struct PathBeneath {
            rights: u64,
            dir: i32,
        }
        // SAFETY: the path ends in NUL; the pointer is to a live local of the kernel's layout; the
        // descriptor is ours.
        unsafe {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
            let fd = libc::open(dir.as_ptr(), flags);
            check(fd)?;
            let mut result = Ok(());
            for rights in rights {
                let rule = PathBeneath {
                    rights: *rights,
                    dir: fd,
                };
                result = check(libc::syscall(
                    libc::SYS_landlock_add_rule,
                    ruleset,
                    LANDLOCK_RULE_PATH_BENEATH,
                    &rule as *const PathBeneath,
                    0,
                ) as i32);
                if result.is_ok() {
                    break;
                }
            }
            libc::close(fd);
            result
        }
    }

    fn but_existing(result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }
}
#[cfg(target_os = "linux")]
use calls::{check, complain, set_dumpable, start_loopback, write_file};
