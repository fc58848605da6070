//! Opening files that are files: a FIFO in the place of one would wait for a writer for ever, a
//! device or a terabyte of zeros would fill the memory, a link would lead elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What a symbolic link in the place of the file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The file it leads to: files of the user.
    Follow,
    /// Nothing good: files of this program.
    Refuse,
}

/// Opens a regular file for reading.
///
/// # Errors
/// Of the system; [`io::ErrorKind::InvalidInput`] for what is no regular file.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_with(path, links, File::options().read(true))
}

/// Opens a regular file with these options.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, links: Links, options: &mut OpenOptions) -> io::Result<File> {
    // Without waiting for whoever is at the other end of a FIFO; it means nothing for regular
    // files.
    let flags = match links {
        Links::Follow => libc::O_NONBLOCK,
        Links::Refuse => libc::O_NONBLOCK | libc::O_NOFOLLOW,
    };
    let file = options.custom_flags(flags).open(path).map_err(|e| {
        match e.raw_os_error() {
            Some(libc::ELOOP) if links == Links::Refuse => not_regular("a symbolic link"),
            // A socket, or a FIFO that nobody reads, opened for writing.
            Some(libc::ENXIO) => not_regular("a pipe or a socket"),
            _ => e,
        }
    })?;
    let kind = file.metadata()?.file_type();
    match () {
        () if kind.is_file() => Ok(file),
        () if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        () => Err(not_regular("a pipe, a socket or a device")),
    }
}

fn not_regular(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("this is {what}, not a file"),
    )
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] before anything is read.
pub fn read(path: &Path, links: Links, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let bytes_total = file.metadata()?.len();
    if bytes_total > bytes_max {
        return Err(too_large(bytes_total, bytes_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(bytes_total).unwrap_or(0));
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(too_large(bytes.len() as u64, bytes_max)),
        false => Ok(bytes),
    }
}

fn too_large(bytes: u64, bytes_max: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it has {bytes} bytes, and no such file has more than {bytes_max}"),
    )
}

/// Reads a regular text file of at most so many bytes.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] for what is no UTF-8.
pub fn read_text(path: &Path, links: Links, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, links, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn case_61_only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("fifo"))
            .status();
        assert!(made.unwrap().success());
        let kind = |name: &str, links| {
            let text = read_text(&path(name), links, 4);
            text.map_err(|e| e.kind())
        };
        assert_eq!(kind("file", Links::Refuse).unwrap(), "text");
        assert_eq!(kind("link", Links::Follow).unwrap(), "text");
        assert_eq!(kind("link", Links::Refuse), Err(ErrorKind::InvalidInput));
        assert_eq!(kind("dir", Links::Follow), Err(ErrorKind::IsADirectory));
        assert_eq!(kind("fifo", Links::Follow), Err(ErrorKind::InvalidInput));
        assert_eq!(kind("socket", Links::Follow), Err(ErrorKind::InvalidInput));
        let device = read(Path::new("/dev/zero"), Links::Follow, 4);
        assert_eq!(device.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(kind("none", Links::Follow), Err(ErrorKind::NotFound));
        let large = read(&path("file"), Links::Follow, 3);
        assert_eq!(large.unwrap_err().kind(), ErrorKind::FileTooLarge);
        let write = open_with(&path("fifo"), Links::Refuse, File::options().append(true));
        assert_eq!(write.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
