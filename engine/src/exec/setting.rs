//! The setting of a command: its private directory with its inputs, its walls, and the process to
//! be, all but its arguments.
//!
//! The environment is what the stage declares, and: `PATH` of the caller (tools are declared by
//! version), `HOME` and `TMPDIR` a directory of its own with a short name (`/tmp` where it has one
//! to itself), `LANG=C.UTF-8`, `TZ=UTC` and `PYTHONUNBUFFERED=1`, all of which the declared
//! environment may override. Standard input is empty.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::placing::{self, Ground, Placed};
use super::private_dir::PrivateDir;
use super::room::Room;
use super::secrets::Secrets;
use super::start::Program;
use super::walls::{Needs, Walls};
use super::{Cause, Request, Work, sandbox, searched};
use crate::plan::{self, SCRATCH, Scratch};

/// See the module.
pub struct Setting {
    /// Where it runs.
    pub dir: PrivateDir,
    /// What is around it.
    pub walls: Walls,
    /// What it sees.
    pub room: Option<Room>,
    /// Where its inputs are.
    pub placed: Placed,
}

impl Setting {
    /// Sets everything up in a private directory.
    ///
    /// # Errors
    /// What is missing, or cannot be made.
    pub fn of(
        request: &Request,
        command: &plan::Command,
        dir: PrivateDir,
        ground: Ground,
    ) -> Result<Setting, Cause> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |source| Cause::Io { what, source }
        };
        let mut programs: Vec<&str> = command
            .setup
            .tools
            .iter()
            .map(|t| t.program.as_str())
            .collect();
        programs.extend(command.setup.shell.first().map(String::as_str));
        let around = &request.surroundings;
        programs.extend(around.programs.iter().filter_map(|p| p.to_str()));
        around.make_caches().map_err(|(path, source)| Cause::Io {
            what: format!("making the cache {}", path.display()),
            source,
        })?;
        let mut write: Vec<&Path> = vec![&dir.work];
        write.extend(around.write.iter().map(PathBuf::as_path));
        if request.policy.scratch == Scratch::Kept {
            std::fs::create_dir_all(&request.scratch_dir)
                .map_err(io("making its scratch directory"))?;
            write.push(&request.scratch_dir);
        }
        let needs = Needs {
            programs,
            read: around.read.iter().map(PathBuf::as_path).collect(),
            write,
            inputs_in_place: false,
        };
        let walls = Walls::around(request, &dir, needs)?;
        let placed = placing::place(request, &dir.work, walls.means, ground)?;
        write_lists(request, &dir.work).map_err(io("writing the list of an input"))?;
        around
            .link_into(&dir.work, &request.project_root)
            .map_err(io("showing its environment"))?;
        if request.policy.scratch == Scratch::Kept {
            let link = dir.work.join(SCRATCH);
            match symlink(&request.scratch_dir, &link) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(io("showing its scratch directory")(e));
                }
                _ => {}
            }
        }
        let room = walls.room(&dir.work, &placed.mounts)?;
        Ok(Setting {
            dir,
            walls,
            room,
            placed,
        })
    }

    /// A process in this setting.
    pub fn process(
        &self,
        program: &str,
        request: &Request,
        command: &plan::Command,
        secrets: &Secrets,
    ) -> Program {
        let around = &request.surroundings;
        let has_callers_path = around.path_first.is_empty()
            && !around.vars.contains_key("PATH")
            && !command.setup.env.contains_key("PATH");
        // Else every child would search for it in all of `PATH`. Elsewhere than in the system it
        // may see less than this program.
        let found = match has_callers_path {
            true => searched::find_again(program).filter(|path| sandbox::is_system(path)),
            false => None,
        };
        let path = found.as_deref().unwrap_or(Path::new(program));
        let mut process = Program::new(path, &self.dir.work);
        process
            .called(program)
            .env("PATH", request.surroundings.path())
            .env("HOME", self.walls.tmp())
            .env("TMPDIR", self.walls.tmp());
        process
            // A line that a program has written is seen when it is written.
            .env("PYTHONUNBUFFERED", "1")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .envs(request.grant.variables())
            .envs(&request.surroundings.vars)
            .envs(&command.setup.env)
            .envs(secrets.pairs());
        process
    }
}

/// Files with the paths of inputs, one per line, and files of values.
fn write_lists(request: &Request, work: &Path) -> std::io::Result<()> {
    let Work::Command(command) = &request.work else {
        return Ok(());
    };
    for (at, text) in &command.setup.config {
        let to = at.under(work);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(to, text)?;
    }
    for list in &command.setup.lists {
        let mut text = String::new();
        for input in request
            .inputs
            .iter()
            .filter(|i| list.holds(&i.need, &i.group))
        {
            text.push_str(input.placed_at.as_str());
            text.push('\n');
        }
        let to = list.at.under(work);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(to, text)?;
    }
    Ok(())
}
