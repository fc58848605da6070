//! Results that come from elsewhere: pulled, believed, collected, shared by a group.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::lab::{Lab, PIPELINE, summary};
use crate::support::observed::files_below;
use crate::support::{TestSpace, instances};

/// A second project of the laptop's user, on the same store, with the same pipeline.
fn second_project(lab: &Lab, name: &str) -> std::path::PathBuf {
    let dir = lab.laptop.other_project(name);
    for file in ["pipeline.yaml", "in.txt", "repro.lock"] {
        fs::write(dir.join(file), lab.ci.read(file)).unwrap();
    }
    dir
}

fn events_in(space: &TestSpace, dir: &Path, args: &[&str]) -> Vec<Value> {
    let args = [&["run", "--json"], args].concat();
    let said = space.run_in(dir, &args).expect(0, &args);
    let lines = said.out.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// One project believes the CI machine and pulls; another project of the same user believes nobody,
/// and is told whence what it does not use comes.
#[test]
fn case_54_a_result_serves_only_projects_that_believe_who_made_it() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull", "big", "count", "table"]);
    let states = lab.laptop.json(&["status"]);
    for row in states.as_array().unwrap() {
        assert_eq!(row["state"], "cached", "{states}");
        assert_eq!(row["origin"], "remote lab, signed by buildbot", "{states}");
    }
    let why = lab.laptop.ok(&["why", "table"]);
    assert!(why.contains("from: remote lab"), "{why}");
    assert!(lab.laptop.ok(&["status"]).contains("from remote lab"));

    let sceptic = second_project(&lab, "sceptic");
    let why = lab.laptop.run_in(&sceptic, &["why", "big"]).out;
    assert!(
        why.contains("from remote lab is not trusted") && why.contains("`repro trust init`"),
        "{why}"
    );
    let status = lab.laptop.run_in(&sceptic, &["status", "--json"]).out;
    let states: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(states[0]["state"], "missing", "{states}");
    let planned = instances(&events_in(&lab.laptop, &sceptic, &["-n"]), "planned");
    assert_eq!(planned.len(), 4, "{planned:?}");
    let show = lab.laptop.run_in(&sceptic, &["show", "big"]).out;
    assert!(show.contains("not trusted by this project"), "{show}");
    // It makes them itself, once: from then on they need nobody's word.
    let events = events_in(&lab.laptop, &sceptic, &[]);
    assert_eq!(instances(&events, "finished").len(), 4, "{events:#?}");
    let again = second_project(&lab, "again");
    for dir in [&sceptic, &again] {
        let events = events_in(&lab.laptop, dir, &[]);
        assert_eq!(instances(&events, "finished"), [""; 0], "{events:#?}");
    }
    let why = lab.laptop.run_in(&again, &["why", "table"]).out;
    assert!(!why.contains("from:"), "{why}");
}

/// Whoever is struck from the trust file is believed no more, though the results are here and the
/// index knows them.
#[test]
fn case_54_trust_is_asked_each_time() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    let trusting = lab.laptop.read("repro.trust.toml");
    assert_eq!(lab.laptop.executed(&["-n"]), [""; 0]);
    lab.laptop.ok(&["trust", "remove", "buildbot"]);
    let (_, events) = lab.laptop.events(&["-n"]);
    assert_eq!(summary(&events)["executed"], 4, "{events:#?}");
    // A wrong trust file is nobody's word either.
    lab.laptop.write("repro.trust.toml", "version = 77\n");
    let (_, events) = lab.laptop.events(&["-n"]);
    assert_eq!(summary(&events)["executed"], 4, "{events:#?}");
    // And back: nothing was lost.
    lab.laptop.write("repro.trust.toml", trusting);
    let (_, events) = lab.laptop.events(&["-n"]);
    assert_eq!(summary(&events)["executed"], 0, "{events:#?}");
}

/// `--unsigned` is said for the project it is said in.
#[test]
fn case_54_an_unsigned_bundle_serves_the_project_that_took_it() {
    let maker = TestSpace::with_pipeline(PIPELINE);
    maker.write("in.txt", "abc\n");
    maker.ok(&["run"]);
    maker.ok(&["export", "--bundle", "study.repro"]);
    let user = TestSpace::new();
    let bundle = maker.path("study.repro");
    let bundle = bundle.to_str().unwrap();
    let said = user.run(&["import", bundle, "--unsigned"]);
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(said.err.contains("--into"), "{}", said.err);
    let taken = user.project.with_file_name("taken");
    let into = taken.to_str().unwrap();
    user.ok(&["import", bundle, "--unsigned", "--into", into]);
    let events = events_in(&user, &taken, &["--offline"]);
    assert_eq!(instances(&events, "finished"), [""; 0], "{events:#?}");
    let other = user.other_project("other");
    for file in ["pipeline.yaml", "in.txt"] {
        fs::write(other.join(file), maker.read(file)).unwrap();
    }
    let events = events_in(&user, &other, &["-n"]);
    assert_eq!(instances(&events, "planned").len(), 4, "{events:#?}");
    let mut lines = events.iter().map(Value::to_string);
    assert!(
        lines.any(|l| l.contains("bundle study.repro")),
        "{events:#?}"
    );
}

/// A clone that pulled: dry run and run agree, and every command understands what is on the remote
/// only.
#[test]
fn case_2_who_pulled_may_use_the_remote_it_pulled_from() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    assert!(lab.laptop.exists("artifacts/table/table.txt"));
    let (_, events) = lab.laptop.events(&["-n", "big"]);
    let sum = summary(&events);
    assert_eq!(
        (
            sum["executed"].as_u64(),
            sum["cached"].as_u64(),
            sum["elsewhere"].as_u64()
        ),
        (Some(0), Some(1), Some(1)),
        "{sum}"
    );
    let said = lab.laptop.run(&["run", "-n", "big"]);
    assert!(
        said.err.contains("1 of them on the remote only"),
        "{}",
        said.err
    );
    // What is known of it is shown, without its bytes.
    let shown = lab.laptop.ok(&["show", "big"]);
    assert!(
        shown.contains("on the remote only; `repro pull 'big'` gets them")
            && shown.contains("origin: remote lab"),
        "{shown}"
    );
    let shown = lab.laptop.json(&["show", "count[of=a]"]);
    assert_eq!(shown["results"][0]["elsewhere"], true, "{shown}");
    let why = lab.laptop.ok(&["why", "big"]);
    assert!(
        why.contains("vouched for by: buildbot") && why.contains("its bytes are only there"),
        "{why}"
    );
    assert!(!why.contains("on ?"), "{why}");
    // An execution needs inputs that are there only.
    let said = lab.laptop.ok(&["replay", "count[of=a]"]);
    assert!(said.contains("identical"), "{said}");
    let said = lab.laptop.ok(&["verify", "table", "--no-sign"]);
    assert!(said.contains("identical"), "{said}");
    // And run fetches as it said it would.
    let (code, events) = lab.laptop.events(&["big"]);
    assert_eq!(
        (code, instances(&events, "finished")),
        (0, Vec::new()),
        "{events:#?}"
    );
    assert_eq!(lab.laptop.read("artifacts/big/parts/3"), "3\n");
    let events = lab.laptop.events(&[]).1;
    assert_eq!(instances(&events, "finished"), [""; 0]);
    lab.laptop.ok(&["fsck"]);
}

/// `a` was made before there was a remote, and only `b` afterwards.
const CHAIN: &str = "version: 1\nname: chain\nstages:\n  a: {run: 'echo a > ${outputs.o}', outputs: {o: o}}\n  \
    b: {needs: {a: a.o}, run: 'cat ${needs.a} > ${outputs.o}; echo b >> ${outputs.o}', outputs: {o: o}}\n";

/// A remote that has `b` without what it was made from is of no use to a clone.
#[test]
fn case_2_a_run_publishes_what_was_here_already() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", CHAIN);
    lab.ci.ok(&["run", "a"]);
    let published = |args: &[&str]| {
        let (code, events) = lab.ci.events(args);
        assert_eq!(code, 0, "{events:#?}");
        let sum = summary(&events);
        let number = |name: &str| sum["remote"][name].as_u64();
        (number("published"), number("requests"))
    };
    assert_eq!(published(&["--push"]).0, Some(2));
    // What is known to be there costs nothing, and what somebody took away is sent by `push`.
    assert_eq!(published(&["--push"]), (Some(0), Some(0)));
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    let (_, events) = lab.laptop.events(&["-n"]);
    assert_eq!(summary(&events)["executed"], 0, "{events:#?}");
    for file in lab.objects("") {
        fs::remove_file(file).unwrap();
    }
    let said = lab.ci.json(&["push"]);
    assert_eq!(said["published"], 2, "{said}");
    // A run that has nothing to execute publishes as well.
    fs::remove_dir_all(lab.ci.path(".repro/published")).unwrap();
    for file in lab.objects("") {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(published(&["--push"]).0, Some(2));
    lab.laptop.ok(&["pull"]);
}

/// Whoever pulled has what they pulled, though nobody can say what it was made from.
#[test]
fn case_2_what_was_pulled_without_its_producers_is_not_stale() {
    let lab = Lab::new();
    lab.ci.write("pipeline.yaml", CHAIN);
    lab.ci.ok(&["run", "--push"]);
    lab.clone_to(&lab.laptop);
    let key = lab.ci.json(&["status"])[0]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    for file in lab.objects(&key[2..]) {
        fs::remove_file(file).unwrap();
    }
    let said = lab.laptop.run(&["pull"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err
            .contains("pulled artifacts were made from it: a: the remote has no result"),
        "{}",
        said.err
    );
    let said = lab.laptop.json(&["pull"]);
    assert_eq!(said["missing_behind"][0]["instance"], "a", "{said}");
    let states = lab.laptop.json(&["status"]);
    assert_eq!(
        [&states[0]["state"], &states[1]["state"]],
        ["missing", "cached"],
        "{states}"
    );
    // A dry run says what the run will do.
    let counts = |args: &[&str]| {
        let (_, events) = lab.laptop.events(args);
        let sum = summary(&events);
        (sum["executed"].as_u64(), sum["cached"].as_u64())
    };
    assert_eq!(counts(&["-n"]), (Some(1), Some(1)));
    assert_eq!(counts(&[]), (Some(1), Some(1)));
    // repro.lock is nobody's word: what it says of another action serves nothing.
    lab.laptop.edit("pipeline.yaml", "echo a", "echo c");
    let states = lab.laptop.json(&["status"]);
    assert_eq!(states[1]["state"], "stale", "{states}");
    assert_eq!(counts(&["-n"]), (Some(2), Some(0)));
}

/// What a clone remembers of results on the remote goes when it has no use for it.
#[test]
fn case_2_records_of_results_elsewhere_do_not_pile_up() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    let remembered = || {
        let files = files_below(&lab.laptop.path(".repro/elsewhere"));
        files.into_keys().filter(|name| name != "remote").count()
    };
    let age = || {
        for name in files_below(&lab.laptop.path(".repro/elsewhere")).keys() {
            let file = fs::File::options()
                .append(true)
                .open(lab.laptop.path(".repro/elsewhere").join(name))
                .unwrap();
            let old = SystemTime::now() - Duration::from_secs(9 * 24 * 3600);
            file.set_modified(old).unwrap();
        }
    };
    let before = remembered();
    assert!(before > 1);
    age();
    // All of it is still wanted.
    lab.laptop.ok(&["gc", "--yes"]);
    assert_eq!(remembered(), before);
    lab.laptop.ok(&["show", "big"]);
    // Other results take their place.
    lab.laptop.edit("pipeline.yaml", "wc -c <", "wc -l <");
    lab.laptop.ok(&["run"]);
    age();
    lab.laptop.ok(&["gc", "--yes"]);
    let after = remembered();
    assert!(after < before, "{after} of {before}");
    // What is here now needs no memory either; that just heard of stays, since a run may be about
    // to use it.
    fs::remove_file(lab.laptop.path(".repro/index")).unwrap();
    let kept = lab.laptop.path(".repro/elsewhere/ab/young");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, "").unwrap();
    lab.laptop.ok(&["clean", "--failed"]);
    assert_eq!(remembered(), 1);
    assert!(kept.exists());
    assert!(lab.laptop.exists(".repro/elsewhere/remote"));
}

/// What an edit makes necessary takes its inputs from there too.
#[test]
fn case_2_inputs_of_a_changed_stage_are_fetched() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    lab.laptop.edit("pipeline.yaml", "wc -c <", "wc -l <");
    let (_, planned) = lab.laptop.events(&["-n"]);
    let (_, events) = lab.laptop.events(&[]);
    assert_eq!(summary(&planned)["executed"], 3, "{planned:#?}");
    assert_eq!(summary(&events)["executed"], 3, "{events:#?}");
}

/// Without the remote both say the same before anything is executed.
#[test]
fn case_2_dry_run_and_run_agree_offline_too() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    for args in [&["big", "--offline"][..], &["count[of=b]", "--offline"]] {
        let dry = [args, &["-n"]].concat();
        let (_, planned) = lab.laptop.events(&dry);
        let text = format!("{planned:#?}");
        assert!(
            text.contains("on the remote only, and this run is --offline"),
            "{text}"
        );
        let (code, events) = lab.laptop.events(args);
        assert_eq!(code, 0, "{events:#?}");
        assert_eq!(
            summary(&planned)["executed"],
            summary(&events)["executed"],
            "{planned:#?} {events:#?}"
        );
    }
    let said = lab
        .laptop
        .run(&["export", "--bundle", "x.repro", "--offline"]);
    assert!(
        said.code == 0 || said.err.contains("on the remote only"),
        "{}",
        said.err
    );
}

/// Metrics, differences and bundles are made of bytes, which come when they are asked for.
#[test]
fn case_2_metrics_and_exports_get_what_they_read() {
    let lab = Lab::new();
    lab.ci.write(
        "pipeline.yaml",
        "version: 1\nname: n\nstages:\n  data: {uses: download, with: {dataset: shapes}}\n  \
         train: {uses: train, needs: {train: data.train, test: data.test}, with: {model: {mlp: {hidden: [4]}}, seed: 1, length: {epochs: 1}, optimizer: {sgd: {lr: 0.1}}}}\n  \
         last: {needs: {m: train.model}, run: \"wc -c < ${needs.m} > ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    lab.ci.ok(&["run", "--push"]);
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    let said = lab
        .laptop
        .run(&["metrics", "--offline"])
        .expect(0, &["metrics"]);
    assert!(
        said.err.contains("the metrics of train are on the remote only (--offline); `repro pull 'train'` gets them"),
        "{}", said.err
    );
    let said = lab.laptop.run(&["metrics"]).expect(0, &["metrics"]);
    assert_eq!(said.out, lab.ci.ok(&["metrics"]), "{}", said.err);
    assert!(said.err.contains("from `lab`"), "{}", said.err);
    let said = lab
        .laptop
        .run(&["export", "--bundle", "x.repro", "--offline"]);
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(
        said.err
            .contains("is on the remote only (--offline); `repro pull"),
        "{}",
        said.err
    );
    lab.laptop.ok(&["export", "--bundle", "x.repro"]);
}

/// Runs in a loop beside collections in a loop: what a run has found stays until it ends.
#[test]
fn case_55_what_a_run_has_found_is_not_collected_under_it() {
    let space = TestSpace::with_pipeline(
        "version: 1\nname: loop\nvars: {n: 0}\nstages:\n  base: {run: \"head -c 300000 /dev/zero > ${outputs.o}\", outputs: {o: o.bin}}\n  \
         mid: {needs: {b: base.o}, run: \"wc -c < ${needs.b} > ${outputs.o}\", outputs: {o: o.txt}}\n  \
         use: {needs: {b: base.o, m: mid.o}, run: \"echo ${vars.n}; cat ${needs.m} > ${outputs.o}; wc -c < ${needs.b} >> ${outputs.o}\", outputs: {o: o.txt}}\n",
    );
    space.ok(&["run"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(order) {
                space
                    .run(&["gc", "--budget", "1B", "--yes"])
                    .expect(0, &["gc"]);
            }
        });
        let mut failures = Vec::new();
        for n in 1..=25 {
            let said = space.run(&["run", "--set", &format!("n={n}")]);
            if said.code != 0 {
                failures.push(said.err);
            }
        }
        stop.store(true, order);
        assert!(
            failures.is_empty(),
            "{} of 25: {failures:#?}",
            failures.len()
        );
    });
    space.ok(&["fsck"]);
}
