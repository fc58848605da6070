//! Projects to measure: the same copies, written for `repro` and for ninja.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::measure::{Cost, measure};

/// How a project says what it wants.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// One `cp` stage per file.
    Stages,
    /// One `cp` stage with a matrix.
    Matrix,
    /// One build edge per file.
    Ninja,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Stages => "stages",
            Form::Matrix => "matrix",
            Form::Ninja => "edges",
        })
    }
}

/// A directory with a pipeline, its inputs, and a store of its own.
pub struct Project {
    /// Where it is.
    pub dir: PathBuf,
    form: Form,
}

type Made<T> = Result<T, String>;

impl Project {
    /// `size` independent copies of small files. What was there is removed.
    pub fn make(base: &Path, form: Form, size: u32) -> Made<Project> {
        let project = Project {
            dir: base.join(format!("{form}-{size}")),
            form,
        };
        project.remove();
        in_dir(&project.dir, || project.write(size))?;
        Ok(project)
    }

    /// As it was left, or made and run once.
    pub fn make_or_keep(base: &Path, form: Form, size: u32) -> Made<Project> {
        let project = Project {
            dir: base.join(format!("{form}-{size}-kept")),
            form,
        };
        if !project.dir.join("pipeline.yaml").exists() {
            in_dir(&project.dir, || project.write(size))?;
        }
        Ok(project)
    }

    fn write(&self, size: u32) -> std::io::Result<()> {
        fs::create_dir_all(self.dir.join("in"))?;
        for i in 0..size {
            fs::write(self.dir.join(format!("in/{i}.txt")), format!("line {i}\n"))?;
        }
        match self.form {
            Form::Stages => {
                let mut file = self.file("pipeline.yaml")?;
                writeln!(file, "version: 1\nstages:")?;
                for i in 0..size {
                    writeln!(
                        file,
                        "  s{i}: {{run: \"cp ${{needs.a}} ${{outputs.o}}\", needs: {{a: {{file: in/{i}.txt}}}}, outputs: {{o: o.txt}}}}"
                    )?;
                }
                file.flush()
            }
            Form::Matrix => {
                let mut file = self.file("pipeline.yaml")?;
                writeln!(
                    file,
                    "version: 1\nstages:\n  copy:\n    matrix: {{i: {{range: [0, {size}]}}}}"
                )?;
                writeln!(
                    file,
                    "    needs: {{a: {{file: \"in/${{matrix.i}}.txt\"}}}}\n    run: cp ${{needs.a}} ${{outputs.o}}\n    outputs: {{o: o.txt}}"
                )?;
                file.flush()
            }
            Form::Ninja => {
                let mut file = self.file("build.ninja")?;
                writeln!(file, "rule copy\n  command = cp $in $out")?;
                for i in 0..size {
                    writeln!(file, "build out/{i}.txt: copy in/{i}.txt")?;
                }
                file.flush()
            }
        }
    }

    fn file(&self, name: &str) -> std::io::Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(self.dir.join(name))?))
    }

    /// One file of 1 GiB, needed by one stage.
    pub fn one_file(base: &Path) -> Made<Project> {
        let project = Project {
            dir: base.join("one-file"),
            form: Form::Stages,
        };
        project.remove();
        in_dir(&project.dir, || {
            fs::create_dir_all(project.dir.join("data"))?;
            let mut file = File::create(project.dir.join("data/0"))?;
            let mut block = vec![0u8; 1 << 20];
            for i in 0..1024u32 {
                scramble(&mut block, i);
                file.write_all(&block)?;
            }
            project.needs_data()
        })?;
        Ok(project)
    }

    /// 20,000 files of 3 kB in a directory, needed by one stage.
    pub fn many_files(base: &Path) -> Made<Project> {
        let project = Project {
            dir: base.join("many-files"),
            form: Form::Stages,
        };
        project.remove();
        in_dir(&project.dir, || {
            fs::create_dir_all(project.dir.join("data"))?;
            let mut block = vec![0u8; 3_000];
            for i in 0..20_000u32 {
                scramble(&mut block, i);
                fs::write(project.dir.join(format!("data/{i}")), &block)?;
            }
            project.needs_data()
        })?;
        Ok(project)
    }

    fn needs_data(&self) -> std::io::Result<()> {
        fs::write(
            self.dir.join("pipeline.yaml"),
            "version: 1\nstages:\n  count: {run: \"ls ${needs.data} > ${outputs.o}\", needs: {data: {dir: data}}, outputs: {o: o.txt}}\n",
        )
    }

    /// The files of `data/`, relative to the project.
    pub fn data_files(&self) -> Made<Vec<PathBuf>> {
        let mut files = Vec::new();
        in_dir(&self.dir, || {
            for entry in fs::read_dir(self.dir.join("data"))? {
                files.push(Path::new("data").join(entry?.file_name()));
            }
            Ok(())
        })?;
        files.sort();
        Ok(files)
    }

    /// Runs the program on it.
    pub fn run(&self, program: &Path) -> Made<Cost> {
        match self.form {
            Form::Ninja => measure(program, ["--quiet"], &self.dir, &[]),
            _ => measure(
                program,
                ["run", "--quiet"],
                &self.dir,
                &[("REPRO_STORE", &self.store())],
            ),
        }
    }

    /// Lets `repro` hash the inputs, and remember nothing.
    pub fn hash(&self, repro: &Path) -> Made<Cost> {
        measure(
            repro,
            ["run", "--dry-run"],
            &self.dir,
            &[("REPRO_STORE", &self.store())],
        )
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Changes one input, another one in every round.
    pub fn change_one(&self, round: u32) -> Made<()> {
        in_dir(&self.dir, || {
            let mut file = File::options()
                .append(true)
                .open(self.dir.join(format!("in/{}.txt", 7 * round)))?;
            writeln!(file, "changed")
        })
    }

    /// Removes everything a run has made.
    pub fn forget(&self) -> Made<()> {
        for made in ["store", ".repro", "artifacts", "out"] {
            match fs::remove_dir_all(self.dir.join(made)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(format!("{made}: {e}"));
                }
                _ => {}
            }
        }
        for made in ["repro.lock", ".ninja_log", ".ninja_deps"] {
            let _ = fs::remove_file(self.dir.join(made));
        }
        Ok(())
    }

    /// Removes the project; what is left is only space.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn in_dir(dir: &Path, work: impl FnOnce() -> std::io::Result<()>) -> Made<()> {
    work().map_err(|e| format!("{}: {e}", dir.display()))
}

/// Bytes that do not repeat, quickly.
fn scramble(block: &mut [u8], seed: u32) {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for word in block.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bytes = state.to_le_bytes();
        word.copy_from_slice(&bytes[..word.len()]);
    }
}
