//! Damaged stores, full and read-only disks.

use super::*;
use crate::support::skipped::skipped;

#[test]
fn damaged_objects_are_found_and_made_again() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("truncated", |p| {
            fs::File::options()
                .write(true)
                .open(p)
                .and_then(|f| f.set_len(3))
                .expect("damage");
        }),
        ("emptied", |p| fs::write(p, "").expect("damage")),
        ("altered", |p| fs::write(p, "xxxxxxxxxx\n").expect("damage")),
        ("removed", |p| fs::remove_file(p).expect("damage")),
        ("a directory", |p| {
            fs::remove_file(p).expect("damage");
            fs::create_dir(p).expect("damage");
        }),
    ];
    for (what, damage) in damages {
        let space = space(
            "a: {run: 'echo 0123456789 > ${outputs.out}', outputs: {out: a.txt}}\nb: {run: 'cat ${needs.x} ${needs.x} > ${outputs.out}', needs: {x: a.out}, outputs: {out: b.txt}}",
        );
        space.ran(&[]).executes(&["a", "b"]);
        let object = space
            .store_files("objects")
            .into_iter()
            .find(|p| fs::read(p).is_ok_and(|b| b == b"0123456789\n"))
            .expect("the object");
        let _ = fs::set_permissions(&object, fs::Permissions::from_mode(0o644));
        damage(&object);
        space.remove("artifacts");
        let ran = space.ran(&[]);
        ran.executes(&["a"]);
        let reason = ran.event("started", "a")["reason"].to_string();
        assert!(reason.contains("result_lost"), "{what}: {reason}");
        assert_eq!(space.read("artifacts/a/a.txt"), "0123456789\n", "{what}");
        assert_eq!(
            space.read("artifacts/b/b.txt"),
            "0123456789\n0123456789\n",
            "{what}"
        );
        space.ran(&[]).executes(&[]);
    }
}

#[test]
fn damaged_records_are_misses() {
    for damage in ["", "{", "not json", "{\"key\": 1}"] {
        let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
        space.ran(&[]).executes(&["a"]);
        for record in space.store_files("actions") {
            let _ = fs::set_permissions(&record, fs::Permissions::from_mode(0o644));
            fs::write(&record, damage).expect("damage");
        }
        // What this project remembers would hide it.
        space.remove(".repro");
        let ran = space.ran(&[]);
        ran.executes(&["a"]);
        assert!(ran.talk().contains("corrupt"), "{damage:?}: {ran:#?}");
        space.remove(".repro");
        space.ran(&[]).executes(&[]);
    }
}

#[test]
fn damaged_memory_of_the_project_costs_nothing() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.ran(&[]).executes(&["a"]);
    for file in ["index", "stats"] {
        let path = space.path(".repro").join(file);
        if path.exists() {
            fs::write(&path, "garbage").expect("damage");
        }
    }
    space.ran(&[]).executes(&[]);
    assert_eq!(space.read("artifacts/a/a.txt"), "x\n");
}

#[test]
fn a_damaged_lock_file_is_an_error_that_says_what_to_do() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.ran(&[]).executes(&["a"]);
    space.write("repro.lock", "version = 1\n<<<<<<< ours\n");
    space.edit("pipeline.yaml", "echo x", "echo y");
    let said = space.run(&["run"]);
    assert_ne!(said.code, 0);
    assert!(
        said.err.contains("repro.lock:2") && said.err.contains("merge conflict"),
        "{}",
        said.err
    );
    assert_eq!(
        space.read("repro.lock"),
        "version = 1\n<<<<<<< ours\n",
        "not overwritten"
    );
    space.remove("repro.lock");
    space.ran(&[]).executes(&["a"]);
    assert!(space.exists("repro.lock"));
}

#[test]
fn a_directory_that_is_no_store() {
    let space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    fs::create_dir_all(&space.store).expect("a directory");
    fs::write(space.store.join("thesis.tex"), "precious").expect("a file");
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(
        said.err.contains("REPRO_STORE") && said.err.contains("not a store"),
        "{}",
        said.err
    );
    assert_eq!(
        fs::read_dir(&space.store).expect("it").count(),
        1,
        "nothing was put there"
    );
    fs::remove_file(space.store.join("thesis.tex")).expect("removed");
    fs::write(space.store.join("format"), "repro store 99\n").expect("a file");
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(said.err.contains("repro store 99"), "{}", said.err);
}

#[test]
fn a_store_that_cannot_be_made() {
    let mut space = space("a: {run: 'echo x > ${outputs.out}', outputs: {out: a.txt}}");
    space.write("file", "x");
    let inside = space.path("file/store");
    space.set_env("REPRO_STORE", inside.clone().into_os_string());
    let said = space.run(&["run"]).expect(5, &[]);
    assert!(
        said.err.contains(&inside.display().to_string()),
        "{}",
        said.err
    );
}

/// Runs `steps` (argument lists of the program) one after the other in a mount namespace made by
/// `mounts` (shell lines). `None`, with the reason printed, where this machine does not allow that.
fn in_namespace(space: &TestSpace, mounts: &str, steps: &[(&str, &[&str])]) -> Option<Vec<Said>> {
    let out = space.project.with_file_name("said");
    fs::create_dir_all(&out).expect("a directory");
    let mut script = format!("set -e\n{mounts}\nset +e\n");
    for (i, (before, args)) in steps.iter().enumerate() {
        let args: String = args.iter().map(|a| format!(" '{a}'")).collect();
        script.push_str(&format!(
            "{before}\ncd '{}'; '{}'{args} > '{out}/{i}.out' 2> '{out}/{i}.err'; echo $? > '{out}/{i}.code'\n",
            space.project.display(),
            env!("CARGO_BIN_EXE_repro"),
            out = out.display()
        ));
    }
    let probe = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    if !probe.as_ref().is_ok_and(|o| o.status.success()) {
        skipped(format_args!("no mount namespaces here: {probe:?}"));
        return None;
    }
    let mut command = space.command(&[]);
    let mut shell = Command::new("unshare");
    shell.args(["-rm", "sh", "-c", &script]).env_clear();
    shell.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command = shell;
    let said = space.run_command(command);
    let read = |name: String| {
        fs::read_to_string(out.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}\n{said:?}"))
    };
    let step = |i| Said {
        code: read(format!("{i}.code")).trim().parse().expect("a code"),
        out: read(format!("{i}.out")),
        err: read(format!("{i}.err")),
    };
    Some((0..steps.len()).map(step).collect())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

const SMALL_AND_BIG: &str = "small: {run: 'echo small > ${outputs.out}', outputs: {out: small.txt}}
big: {run: 'head -c 8000000 /dev/urandom > ${outputs.out}', outputs: {out: big.bin}}
last: {run: 'cat ${needs.x} > ${outputs.out}', needs: {x: small.out}, outputs: {out: last.txt}}";

#[test]
fn a_full_disk_under_the_store() {
    let space = space(SMALL_AND_BIG);
    fs::create_dir(&space.store).expect("the store");
    let mounts = format!(
        "mount -t tmpfs -o size=4m,mode=755 none {}",
        quoted(&space.store)
    );
    let json = ["run", "--json"];
    let steps: [(&str, &[&str]); 4] = [
        ("", &["run", "--json", "small"]),
        ("", &["run", "--json", "big"]),
        ("", &["run", "--json", "last"]),
        ("", &json),
    ];
    let Some(said) = in_namespace(&space, &mounts, &steps) else {
        return;
    };
    let ran: Vec<Ran> = said.into_iter().map(Ran::of).collect();
    ran[0].executes(&["small"]);
    // The command itself fills the disk, in its private directory: its own failure, or the store's.
    assert!([1, 5].contains(&ran[1].code), "{:#?}", ran[1]);
    let text = ran[1].event("failed", "big").to_string().to_lowercase();
    assert!(
        text.contains("no space left") || text.contains("disk is full"),
        "{text}"
    );
    assert_eq!(ran[1].count("executed"), 0);
    // The failure took no space, and the rest goes on.
    ran[2].executes(&["last"]);
    assert_eq!(ran[3].count("cached"), 2, "{:#?}", ran[3]);
    assert!(!space.exists("artifacts/big"), "nothing partial");
    assert_eq!(space.read("artifacts/last/last.txt"), "small\n");
}

#[test]
fn a_disk_under_the_store_that_is_full_from_the_start() {
    let space = space(SMALL_AND_BIG);
    fs::create_dir(&space.store).expect("the store");
    let mounts = format!(
        "mount -t tmpfs -o size=1m,mode=755 none {}",
        quoted(&space.store)
    );
    let fill = format!(
        "cat /dev/zero > {}/fill 2> /dev/null; true",
        space.store.display()
    );
    let free = format!("rm {}/fill", space.store.display());
    let run: &[&str] = &["run", "--json", "small"];
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            (&fill, &["run", "small"]),
            (&free, run),
            (&fill, run),
            ("", &["run", "last"]),
            (&free, &["run", "--json", "last"]),
        ],
    ) else {
        return;
    };
    assert_eq!(said[0].code, 5, "{said:#?}");
    assert!(
        said[0].err.contains("disk is full") || said[0].err.contains("not a store"),
        "{}",
        said[0].err
    );
    let again = |i: usize| {
        Ran::of(Said {
            code: said[i].code,
            out: said[i].out.clone(),
            err: said[i].err.clone(),
        })
    };
    again(1).executes(&["small"]);
    // What is cached needs no space in the store.
    again(2).executes(&[]);
    assert!([1, 5].contains(&said[3].code), "{:?}", said[3]);
    assert!(
        said[3].err.to_lowercase().contains("disk is full")
            || said[3].err.contains("No space left"),
        "{}",
        said[3].err
    );
    again(4).executes(&["last"]);
}

#[test]
fn a_full_disk_under_the_project() {
    let space = space(SMALL_AND_BIG);
    let mounts = format!(
        "cp {p}/pipeline.yaml {p}/../keep.yaml; mount -t tmpfs -o size=2m none {p}; cp {p}/../keep.yaml {p}/pipeline.yaml",
        p = space.project.display()
    );
    let look = format!(
        "ls -R {}/artifacts > {}/../listing",
        space.project.display(),
        space.project.display()
    );
    let free = "true".to_owned();
    let all: &[&str] = &["run", "--json"];
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            ("", &["run", "--json", "small"]),
            (&free, all),
            (&look, all),
        ],
    ) else {
        return;
    };
    let ran: Vec<Ran> = said.into_iter().map(Ran::of).collect();
    ran[0].executes(&["small"]);
    // The result is made and kept; it cannot be shown, and a script that would read it must not go
    // on.
    assert_eq!(ran[1].all("finished"), ["big", "last"], "{:#?}", ran[1]);
    assert_eq!(ran[1].code, 5, "{:#?}", ran[1]);
    assert!(
        ran[1].talk().contains("disk is full") && ran[1].talk().contains("big.bin"),
        "{:#?}",
        ran[1]
    );
    let listing = fs::read_to_string(space.project.with_file_name("listing")).expect("the listing");
    assert!(!listing.contains("big.bin"), "nothing partial: {listing}");
    assert_eq!(
        (
            ran[2].code,
            ran[2].count("executed"),
            ran[2].count("cached")
        ),
        (5, 0, 3),
        "still told, nothing done twice: {:#?}",
        ran[2]
    );
}

#[test]
fn a_read_only_store_serves_what_it_has() {
    let space = space(SMALL_AND_BIG);
    space.ran(&["small"]).executes(&["small"]);
    let store = quoted(&space.store);
    let mounts = format!("mount --bind {store} {store}; mount -o remount,bind,ro {store}");
    let remove = format!("rm -r {}", quoted(&space.path("artifacts")));
    let Some(said) = in_namespace(
        &space,
        &mounts,
        &[
            (&remove, &["run", "--json", "small"]),
            ("", &["run", "last"]),
        ],
    ) else {
        return;
    };
    let mut said = said.into_iter();
    let ran = Ran::of(said.next().expect("the first"));
    ran.executes(&[]);
    assert_eq!(space.read("artifacts/small/small.txt"), "small\n");
    let refused = said.next().expect("the second");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.err.contains("read-only") && refused.err.contains("REPRO_STORE"),
        "{}",
        refused.err
    );
    // Nothing was lost.
    space.ran(&[]).executes(&["big", "last"]);
}

#[test]
fn a_read_only_project_says_so() {
    let space = space(SMALL_AND_BIG);
    let project = quoted(&space.project);
    let mounts = format!("mount --bind {project} {project}; mount -o remount,bind,ro {project}");
    let Some(said) = in_namespace(&space, &mounts, &[("", &["run", "small"])]) else {
        return;
    };
    assert_ne!(said[0].code, 0, "its outputs cannot be shown: {said:?}");
    assert!(
        said[0].err.contains("read-only") || said[0].err.contains("Read-only"),
        "{}",
        said[0].err
    );
    assert!(!said[0].err.contains("panicked"), "{}", said[0].err);
}
