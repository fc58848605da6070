//! Which file system something lies on, and what is known of that sort: who else writes there, and
//! what it makes up.

use std::path::Path;

/// Who writes to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine alone.
    Local,
    /// Other machines, or a user process: its clock and inode numbers are its own.
    Remote,
    /// Nothing is known of this sort.
    Unknown,
}

/// A sort of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// What people call it.
    pub name: &'static str,
    /// Who writes there.
    pub reach: Reach,
}

const fn local(name: &'static str) -> FileSystem {
    let reach = Reach::Local;
    FileSystem { name, reach }
}

const fn remote(name: &'static str) -> FileSystem {
    let reach = Reach::Remote;
    FileSystem { name, reach }
}

const FAT: i64 = 0x4d44;
const EXFAT: i64 = 0x2011_bab0;
const NTFS: i64 = 0x5346_544e;
const NTFS3: i64 = 0x7366_746e;
const SMB: i64 = 0x517b;
const CIFS: i64 = 0xff53_4d42;
const SMB2: i64 = 0xfe53_4d42;
const V9FS: i64 = 0x0102_1997;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const HUGETLBFS: i64 = 0x9584_58f6;

/// The sorts by the numbers that Linux has for them.
#[rustfmt::skip]
const KNOWN: [(i64, FileSystem); 36] = [
    (0xef53, local("ext4")), (0x5846_5342, local("XFS")), (0x9123_683e, local("Btrfs")), (0x2fc1_2fc1, local("ZFS")),
    (0xf2f5_2010, local("F2FS")), (0xca45_1a4e, local("bcachefs")), (0x794c_7630, local("overlayfs")),
    (TMPFS, local("tmpfs")), (RAMFS, local("ramfs")), (HUGETLBFS, local("hugetlbfs")), (FAT, local("FAT")),
    (EXFAT, local("exFAT")), (NTFS, local("NTFS")), (NTFS3, local("NTFS")), (0x3153_464a, local("JFS")),
    (0x5265_4973, local("ReiserFS")), (0x3434, local("NILFS2")), (0x482b, local("HFS+")),
    (0x6969, remote("NFS")), (SMB, remote("SMB")), (CIFS, remote("SMB")), (SMB2, remote("SMB")),
    (0x6573_5546, remote("FUSE")), (V9FS, remote("9p")), (0x5346_414f, remote("AFS")), (0x6b41_4653, remote("AFS")),
    (0x00c3_6400, remote("Ceph")), (0x0bd0_0bd0, remote("Lustre")), (0x4750_4653, remote("GPFS")),
    (0x1983_0326, remote("BeeGFS")), (0xaad7_aaea, remote("PanFS")), (0x2003_0528, remote("OrangeFS")),
    (0x7461_636f, remote("OCFS2")), (0x0116_1970, remote("GFS2")), (0x786f_4256, remote("a folder of VirtualBox")),
    (0xbacb_acbc, remote("a folder of VMware")),
];

impl FileSystem {
    /// The one that holds `path`, as far as the system says.
    pub fn of(path: &Path) -> FileSystem {
        #[cfg(target_os = "linux")]
        {
            let unknown = FileSystem {
                name: "a file system of an unknown kind",
                reach: Reach::Unknown,
            };
            let Some(number) = number(path) else {
                return unknown;
            };
            let known = KNOWN.iter().find(|(n, _)| *n == number);
            known.map_or(unknown, |(_, sort)| *sort)
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = path;
            local("a file system")
        }
    }
}

/// The number by which Linux knows the sort of a file system.
#[cfg(target_os = "linux")]
fn number(path: &Path) -> Option<i64> {
    // By the C library, as locks are taken: who stands in front of it (the tests make one machine
    // look like several, and so do programs that fake a system) must be asked about both.
    let path = crate::dir::c_path(path).ok()?;
    let mut info = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is NUL-terminated and the buffer has the size statfs fills.
    if unsafe { libc::statfs(path.as_ptr(), info.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: statfs returned 0, so it has filled the buffer.
    let number = unsafe { info.assume_init() }.f_type & 0xffff_ffff;
    // C libraries disagree on its type; it has 32 bits.
    u32::try_from(number).ok().map(i64::from)
}

#[cfg(not(target_os = "linux"))]
fn number(_path: &Path) -> Option<i64> {
    None
}

/// Its clock and inode numbers are known to be its own.
pub(super) fn is_remote(path: &Path) -> bool {
    FileSystem::of(path).reach == Reach::Remote
}

/// Files keep the permissions they are given. Where permissions are made up (FAT, NTFS, what
/// Windows serves, disks of Windows below WSL) every file may be executed, or none, whatever was
/// meant.
pub(super) fn has_modes(path: &Path) -> bool {
    let made_up = [FAT, EXFAT, NTFS, NTFS3, SMB, CIFS, SMB2, V9FS];
    !number(path).is_some_and(|number| made_up.contains(&number))
}

/// The file system stamps a file when it is written to through a memory map, too. File systems in
/// memory do not: such a file can change without any of its times changing.
pub(super) fn changes_are_seen(path: &Path) -> bool {
    !number(path).is_some_and(|number| [TMPFS, RAMFS, HUGETLBFS].contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_local() {
        assert_eq!(FileSystem::of(Path::new("/proc")).reach, Reach::Unknown);
        assert_eq!(FileSystem::of(Path::new("/none")).reach, Reach::Unknown);
        assert!(!is_remote(Path::new("/proc")));
        let mut numbers: Vec<_> = KNOWN.iter().map(|(number, _)| number).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), KNOWN.len());
    }
}
