//! Python: virtual environments and the user's own packages.
//!
//! The freeze is read from the metadata that installers leave beside every package (`*.dist-info`):
//! its version, and a digest over the hashes that `RECORD` lists for its files. Left out of it is
//! what depends on where the environment lies or who made it: scripts in `bin`, `INSTALLER`,
//! `REQUESTED`, `direct_url.json`, compiled files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Captured, Packages, closed, dir_of, home, mark, names_in};
use crate::digest::Digest;
use crate::exec::Surroundings;
use crate::exec::{Asking, Memory, tool_version};
use crate::plan::{Environment, EnvironmentPlace, Tool};

/// Installers are no part of what a program computes with, and every way to make an environment
/// brings others.
const INSTALLERS: [&str; 2] = ["pip", "wheel"];

/// Looks at a virtual environment, or at what the user installed.
pub fn capture(environment: &Environment, root: &Path) -> anyhow::Result<Captured> {
    if environment.place == EnvironmentPlace::User {
        return user(root);
    }
    let dir = dir_of(
        environment,
        root,
        "make one: `python3 -m venv .venv`, then install what is needed (or `uv sync`)",
    )?;
    let dir = dir.as_path();
    let config = fs::read_to_string(dir.join("pyvenv.cfg")).with_context(|| {
        format!(
            "{} is not a virtual environment: it has no pyvenv.cfg; for conda write `conda:`",
            dir.display()
        )
    })?;
    let field = |name: &str| {
        config.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let interpreter = dir.join("bin/python");
    let real = interpreter.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            let target = fs::read_link(&interpreter).unwrap_or_else(|_| interpreter.clone());
            anyhow::anyhow!("its interpreter {}", closed(&dir.join("bin").join(target)))
        }
        _ => anyhow::anyhow!(
            "its interpreter {} does not exist (was Python updated or removed?); make the environment again",
            interpreter.display()
        ),
    })?;
    // An interpreter that lies in the project is code of the project, and is not run to look at it.
    let version = if real.starts_with(root) {
        field("version")
            .or_else(|| field("version_info"))
            .unwrap_or_default()
    } else {
        ask_version(&real.to_string_lossy(), root)?
    };
    let mut packages = Packages::new();
    let mut files = Packages::new();
    for site in sites(dir) {
        freeze(&site, &mut packages, &mut files)?;
    }
    let mut read = vec![dir.to_owned()];
    if field("include-system-site-packages").is_some_and(|v| v.eq_ignore_ascii_case("true"))
        && let Some(base) = real.parent().and_then(Path::parent)
    {
        for site in sites(base) {
            freeze(&site, &mut packages, &mut files)?;
        }
        read.push(base.to_owned());
    }
    let mut in_key = json!({"packages": packages, "version": version});
    if !files.is_empty() {
        in_key["files"] = json!(files);
    }
    let bin = dir.join("bin");
    Ok(Captured {
        in_key,
        surroundings: Surroundings {
            path_first: vec![bin],
            vars: [("VIRTUAL_ENV".to_owned(), dir.as_os_str().to_owned())].into(),
            programs: vec![interpreter],
            read,
            write: Vec::new(),
        },
    })
}

/// `pip install --user`: the packages of the interpreter that `PATH` finds.
fn user(root: &Path) -> anyhow::Result<Captured> {
    let version = ask_version("python3", root)?;
    let base = std::env::var_os("PYTHONUSERBASE")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .map_or_else(|| home().map(|h| h.join(".local")), Ok)?;
    let short: Vec<&str> = version.split('.').take(2).collect();
    let site = base.join(format!("lib/python{}/site-packages", short.join(".")));
    if !site.is_dir() {
        bail!(
            "nothing is installed for Python {version} by `pip install --user` ({} is missing)",
            site.display()
        );
    }
    let (mut packages, mut files) = (Packages::new(), Packages::new());
    freeze(&site, &mut packages, &mut files)?;
    let mut in_key = json!({"packages": packages, "version": version});
    if !files.is_empty() {
        in_key["files"] = json!(files);
    }
    Ok(Captured {
        in_key,
        surroundings: Surroundings {
            path_first: vec![base.join("bin")],
            vars: [("PYTHONUSERBASE".to_owned(), base.clone().into_os_string())].into(),
            programs: vec!["python3".into()],
            read: vec![site, base.join("bin")],
            write: Vec::new(),
        },
    })
}

fn ask_version(program: &str, root: &Path) -> anyhow::Result<String> {
    let tool = Tool {
        program: program.to_owned(),
        version_command: vec![program.to_owned(), "--version".to_owned()],
    };
    // A program of the machine, which every command may ask.
    let text = tool_version(&tool, Asking::Memory, &Memory::none(), root)?.text;
    Ok(text.strip_prefix("Python ").unwrap_or(&text).to_owned())
}

/// The directories of packages of an installation, each once.
pub(super) fn sites(dir: &Path) -> Vec<PathBuf> {
    let mut sites = BTreeSet::new();
    for lib in ["lib", "lib64"] {
        for name in names_in(&dir.join(lib)) {
            if name.starts_with("python") || name.starts_with("pypy") {
                for packages in ["site-packages", "dist-packages"] {
                    let site = dir.join(lib).join(&name).join(packages);
                    sites.extend(site.canonicalize().ok().filter(|s| s.is_dir()));
                }
            }
        }
    }
    sites.into_iter().collect()
}

/// Adds the packages of a directory, and the loose files that Python runs or imports from it.
fn freeze(site: &Path, packages: &mut Packages, files: &mut Packages) -> anyhow::Result<()> {
    let unreadable = |path: &Path| format!("{} cannot be read", path.display());
    let mut recorded = BTreeSet::new();
    for entry in names_in(site) {
        let path = site.join(&entry);
        if entry.ends_with(".dist-info") {
            let (name, version) = name_and_version(&path, "METADATA", &entry);
            let record = fs::read_to_string(path.join("RECORD")).unwrap_or_default();
            let loose = lines_of(&record)
                .map(|(p, _)| p)
                .filter(|p| !p.contains('/'));
            recorded.extend(loose.map(str::to_owned));
            if INSTALLERS.contains(&name.as_str()) {
                continue;
            }
            let is_editable = fs::read_to_string(path.join("direct_url.json"))
                .is_ok_and(|text| text.replace(' ', "").contains("\"editable\":true"));
            let text = match (is_editable, record.is_empty()) {
                // Its files lie where its source is: those a command declares like any other file.
                (true, _) => format!("{version} editable"),
                // Distributions of the system keep no list of files.
                (false, true) => version,
                (false, false) => format!("{version} {}", mark(&of_record(&record, &entry))),
            };
            packages.insert(name, text);
        } else if entry.ends_with(".egg-info") {
            let (name, version) = name_and_version(&path, "PKG-INFO", &entry);
            packages.entry(name).or_insert(version);
        }
    }
    for entry in names_in(site) {
        let path = site.join(&entry);
        let is_loose = entry.ends_with(".py") || entry.ends_with(".pth");
        if is_loose
            && path.is_file()
            && !recorded.contains(&entry)
            && !INSTALLED_PTH.contains(&entry.as_str())
        {
            let (digest, _) = Digest::of_file(&path).with_context(|| unreadable(&path))?;
            files.insert(entry, mark(&digest));
        }
    }
    Ok(())
}

/// Written by the environment's maker itself.
const INSTALLED_PTH: [&str; 2] = ["_virtualenv.pth", "_virtualenv.py"];

/// Paths and hashes of a `RECORD`: the path may be quoted, and neither of the last two fields holds
/// a comma.
fn lines_of(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.lines().filter_map(|line| {
        let mut fields = line.rsplitn(3, ',');
        let (_, hash, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((path.trim_matches('"'), hash))
    })
}

fn of_record(record: &str, own: &str) -> Digest {
    let is_about_the_installation = |path: &str| {
        path.starts_with("../")
            || path.starts_with('/')
            || path.ends_with(".pyc")
            || path
                .strip_prefix(own)
                .is_some_and(|inner| !matches!(inner, "/METADATA" | "/entry_points.txt"))
    };
    let lines: BTreeSet<(&str, &str)> = lines_of(record)
        .filter(|(path, hash)| !hash.is_empty() && !is_about_the_installation(path))
        .collect();
    let mut text = String::new();
    for (path, hash) in lines {
        text.push_str(&format!("{path},{hash}\n"));
    }
    Digest::of(text.as_bytes())
}

/// The name is normalised (PEP 503): `Foo.Bar` and `foo-bar` are one package.
fn name_and_version(dir: &Path, file: &str, entry: &str) -> (String, String) {
    let text = fs::read(dir.join(file))
        .or_else(|_| fs::read(dir))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                Some(
                    line.strip_prefix(name)?
                        .strip_prefix(':')?
                        .trim()
                        .to_owned(),
                )
            })
    };
    let stem = entry.rsplit_once('.').map_or(entry, |(stem, _)| stem);
    let mut parts = stem.split('-');
    let (stem_name, stem_version) = (
        parts.next().unwrap_or(stem),
        parts.next().unwrap_or_default(),
    );
    (
        normal(&field("Name").unwrap_or_else(|| stem_name.to_owned())),
        field("Version").unwrap_or_else(|| stem_version.to_owned()),
    )
}

/// One spelling of a package's name.
pub(super) fn normal(name: &str) -> String {
    let mut out = String::new();
    for part in name.split(['-', '_', '.']).filter(|p| !p.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&part.to_lowercase());
    }
    out
}

/// What pip installed into an installation of another manager.
pub(super) fn from_pip(dir: &Path, managed: &Packages) -> anyhow::Result<Packages> {
    let (mut packages, mut files) = (Packages::new(), Packages::new());
    for site in sites(dir) {
        freeze(&site, &mut packages, &mut files)?;
    }
    packages.retain(|name, _| !managed.contains_key(name));
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_19_a_package_has_one_mark_wherever_and_by_whomever_it_was_installed() {
        let pip = "../../../bin/tool,sha256=AAA,233\nsix.py,sha256=BBB,1\nsix-1.dist-info/INSTALLER,sha256=CCC,4\nsix-1.dist-info/METADATA,sha256=DDD,4\nsix-1.dist-info/RECORD,,\n__pycache__/six.cpython-311.pyc,,\n";
        let uv = "six-1.dist-info/METADATA,sha256=DDD,4\nsix-1.dist-info/INSTALLER,sha256=EEE,2\nsix-1.dist-info/RECORD,,\nsix.py,sha256=BBB,1\n\"../../../bin/tool\",sha256=FFF,233\n";
        let other = uv.replace("BBB", "BBC");
        let mark = |text: &str| of_record(text, "six-1.dist-info");
        assert_eq!(mark(pip), mark(uv));
        assert_ne!(mark(pip), mark(&other));
        assert_eq!(normal("Foo._Bar"), normal("foo-bar"));
    }
}
