//! Files of the state directory that are not what they should be: moved aside with a warning, so
//! that nobody stumbles over them twice, and nothing is lost for whoever wants to look.

use std::io;
use std::path::Path;

/// Whether reading failed because of what the file is, not because of the disk or its rights.
pub fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, IsADirectory};
    matches!(
        error.kind(),
        FileTooLarge | InvalidData | InvalidInput | IsADirectory
    )
}

/// Moves a damaged file aside, and says so.
pub fn set_aside(path: &Path, why: &str) {
    let aside = format!("{}.damaged", path.display());
    let done = match crate::dir::remove_all(Path::new(&aside))
        .and_then(|()| std::fs::rename(path, &aside))
    {
        Ok(()) => format!("moved to {aside}"),
        Err(e) => format!("it cannot be moved aside: {e}"),
    };
    log::warn!(
        "{} is damaged ({why}) and is not used; {done}",
        path.display()
    );
}
