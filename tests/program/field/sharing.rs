//! Results that come from elsewhere: pulled, believed, collected, shared by a group.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::lab::{Lab, PIPELINE, summary};
use crate::support::observed::files_below;
use crate::support::skipped::skipped;
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

/// One project believes the CI machine and pulls; another project of the same user believes nobody, and is told whence what it does
/// not use comes.
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

/// Whoever is struck from the trust file is believed no more, though the results are here and the index knows them.
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

/// A clone that pulled: dry run and run agree, and every command understands what is on the remote only.
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
    // What is here now needs no memory either; that just heard of stays, since a run may be about to use it.
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

/// A server of one answer: what it says to every request, for ever where that never ends.
fn server(answer: impl Fn(&str, &mut std::net::TcpStream) + Send + Sync + 'static) -> String {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut head, mut length) = (String::new(), 0u64);
                    loop {
                        let mut line = String::new();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                            length = n.trim().parse().unwrap_or(0);
                        }
                        if line == "\r\n" {
                            break;
                        }
                        head.push_str(&line);
                    }
                    let _ = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink());
                    answer(&head, &mut writer);
                }
            });
        }
    });
    address
}

/// Sends pieces until nobody takes them any more.
fn endless(stream: &mut std::net::TcpStream, head: &str, piece: &str) {
    use std::io::Write;
    let piece = piece.repeat(1000);
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    let mut going = stream
        .write_all(format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes())
        .is_ok();
    while going {
        going = stream.write_all(chunk.as_bytes()).is_ok();
    }
}

/// The program with no more memory than this, in KiB.
fn with_memory(space: &TestSpace, kib: u64, args: &[&str]) -> crate::support::Said {
    let command = space.command(args);
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", &line])
        .arg(command.get_program())
        .args(args);
    limited.current_dir(&space.project).env_clear();
    limited.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    space.run_command(limited)
}

#[test]
fn case_57_an_endless_listing_is_an_error_and_takes_no_memory() {
    use std::io::Write;
    let nothing = |stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let dav = server(move |head, stream| match head.starts_with("PROPFIND") {
        true => endless(
            stream,
            "HTTP/1.1 207 Multi-Status\r\nContent-Type: application/xml",
            "<D:response><D:href>/dav/v1/objects/ab/cd</D:href></D:response>\n",
        ),
        false => nothing(stream),
    });
    let s3 = server(move |head, stream| match head.contains("list-type=") {
        true => endless(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/xml",
            "<Contents><Key>v1/objects/ab</Key><Size>1</Size></Contents>\n",
        ),
        false => nothing(stream),
    });
    // It announces more than there is memory in the world.
    let boast = server(move |head, stream| match head.contains("list-type=") {
        true => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n<L");
            std::thread::sleep(Duration::from_secs(1));
        }
        false => nothing(stream),
    });
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space.write("in.txt", "abc\n");
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y")
        .set_env("REPRO_REMOTE_PATIENCE", "2");
    space.ok(&[
        "remote",
        "add",
        "dav",
        &format!("http://{dav}/dav"),
        "--no-probe",
    ]);
    for (name, address) in [("s3", s3), ("boast", boast)] {
        let endpoint = format!("http://{address}");
        space.ok(&[
            "remote",
            "add",
            name,
            "s3://lab",
            "--endpoint",
            &endpoint,
            "--no-probe",
        ]);
    }
    for (name, why) in [
        ("dav", "more than 64 MiB"),
        ("s3", "more than 64 MiB"),
        ("boast", ""),
    ] {
        let said = with_memory(&space, 1_500_000, &["gc", "--remote", name]);
        assert_eq!(said.code, 5, "{name}: {}{}", said.out, said.err);
        assert!(said.err.contains(why), "{name}: {}", said.err);
        assert!(!said.err.contains("panicked"), "{name}: {}", said.err);
    }
}

#[test]
fn case_57_doctor_ends_on_a_server_that_is_silent() {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let silent = server(|_, _| std::thread::sleep(Duration::from_secs(600)));
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y")
        .set_env("REPRO_REMOTE_PATIENCE", "1");
    let ssh = space.path("ssh");
    space.write("ssh", "#!/bin/sh\nexec sleep 60\n");
    fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    space.set_env("REPRO_SSH", ssh.to_str().unwrap());
    space.ok(&[
        "remote",
        "add",
        "dav",
        &format!("http://{silent}/dav"),
        "--no-probe",
    ]);
    space.ok(&["remote", "add", "sftp", "sftp://host/x", "--no-probe"]);
    let endpoint = format!("http://{silent}");
    space.ok(&[
        "remote",
        "add",
        "s3",
        "s3://lab",
        "--endpoint",
        &endpoint,
        "--no-probe",
    ]);
    let said = space.run(&["remote", "doctor"]).expect(5, &["doctor"]);
    let silent = said.out.matches("answer").count();
    assert_eq!(silent, 3, "{}{}", said.out, said.err);
}

/// Buckets that refuse what does not say how it is to be encrypted.
#[test]
fn case_32_what_is_written_to_a_bucket_says_how_it_is_encrypted() {
    use std::io::Write;
    let heads: std::sync::Arc<std::sync::Mutex<Vec<String>>> = std::sync::Arc::default();
    let kept = heads.clone();
    let bucket = server(move |head, stream| {
        kept.lock().unwrap().push(head.to_lowercase());
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space
        .set_env("AWS_ACCESS_KEY_ID", "x")
        .set_env("AWS_SECRET_ACCESS_KEY", "y");
    let endpoint = format!("http://{bucket}");
    let add = [
        "remote",
        "add",
        "lab",
        "s3://lab",
        "--endpoint",
        &endpoint,
        "--no-probe",
    ];
    space.ok(&[
        &add[..],
        &["--sse", "aws:kms", "--sse-kms-key", "alias/lab"],
    ]
    .concat());
    assert!(
        space
            .read("repro.remotes.toml")
            .contains("sse = \"aws:kms\"")
    );
    space.run(&["remote", "doctor"]).expect(5, &["doctor"]);
    let puts = |heads: &[String]| {
        let puts = heads.iter().filter(|h| h.starts_with("put ")).cloned();
        puts.collect::<Vec<_>>()
    };
    let sent = puts(&heads.lock().unwrap());
    assert!(
        !sent.is_empty()
            && sent
                .iter()
                .all(|h| h.contains("x-amz-server-side-encryption: aws:kms\r")
                    && h.contains("x-amz-server-side-encryption-aws-kms-key-id: alias/lab\r")),
        "{sent:#?}"
    );
    let said = space.run(&[&add[..], &["--sse", "aes", "--replace"]].concat());
    assert!(
        said.code == 2 && said.err.contains("AES256"),
        "{}",
        said.err
    );
    let said = space.run(&[
        "remote",
        "add",
        "dir",
        "/tmp",
        "--sse",
        "AES256",
        "--no-probe",
    ]);
    assert!(said.code == 2 && said.err.contains("s3://"), "{}", said.err);
}

/// Two users of one group, a store whose directory is set-group, and the umask everybody has.
#[test]
fn case_33_a_group_shares_a_store_whatever_the_umask() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let can = std::process::Command::new("setpriv")
        .args(["--reuid=4001", "--regid=4000", "--clear-groups", "true"])
        .status();
    if !can.is_ok_and(|status| status.success()) {
        skipped("only root can be two users (`setpriv`)");
        return;
    }
    let (users, group) = ([4001, 4002], 4000);
    let top = tempfile::Builder::new()
        .prefix("repro-group-")
        .tempdir_in("/tmp")
        .unwrap();
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(top.path(), 0o755);
    let store = top.path().join("store");
    fs::create_dir(&store).unwrap();
    chown(&store, Some(0), Some(group)).unwrap();
    open(&store, 0o2775);
    let home = |user: u32| top.path().join(format!("user-{user}"));
    for user in users {
        fs::create_dir(home(user)).unwrap();
        for (file, text) in [("pipeline.yaml", PIPELINE), ("in.txt", "abc\n")] {
            fs::write(home(user).join(file), text).unwrap();
            chown(home(user).join(file), Some(user), Some(group)).unwrap();
        }
        chown(home(user), Some(user), Some(group)).unwrap();
    }
    let space = TestSpace::new();
    let run = |user: u32, args: &[&str]| {
        let program = space.command(&[]).get_program().to_owned();
        let mut command = std::process::Command::new("setpriv");
        let as_user = [
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--clear-groups".into(),
        ];
        command
            .args(as_user)
            .args(["sh", "-c", "umask 022; exec \"$0\" \"$@\""])
            .arg(program);
        command.args(args).current_dir(home(user)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home(user)).env("REPRO_STORE", &store);
        space.run_command(command).expect(0, args)
    };
    let [anna, ben] = users;
    run(anna, &["run"]);
    let said = run(ben, &["run"]);
    assert!(said.err.contains("0 executed, 4 cached"), "{}", said.err);
    // Each adds to what the other made, in directories the other made.
    for (n, user) in [(1, ben), (2, anna), (3, ben), (4, anna)] {
        let text = PIPELINE.replace("echo ${matrix.of} >>", &format!("echo {n} >>"));
        fs::write(home(user).join("pipeline.yaml"), text).unwrap();
        let said = run(user, &["run"]);
        assert!(said.err.contains("3 executed"), "{n}: {}", said.err);
        assert!(!said.err.contains("warning"), "{n}: {}", said.err);
    }
    run(anna, &["gc", "--yes", "--keep-days", "0"]);
    run(ben, &["gc", "--yes", "--keep-days", "0"]);
    run(ben, &["run", "--force", "table"]);
    run(anna, &["fsck"]);
}

/// A file system that refuses second names, renames without replacing, locks and permissions, as FAT and many a FUSE, SMB or NFS mount do.
fn on_a_poor_file_system(space: &TestSpace, args: &[&str]) -> Option<crate::support::Said> {
    let has = std::process::Command::new("strace")
        .arg("--version")
        .output();
    if !has.is_ok_and(|o| o.status.success()) {
        skipped("strace is not installed");
        return None;
    }
    let plain = space.command(args);
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    for inject in [
        "renameat2:error=EINVAL",
        "link,linkat:error=EPERM",
        "flock:error=ENOLCK",
        "chmod,fchmod,fchmodat:error=EPERM",
    ] {
        command.args(["-e", &format!("inject={inject}")]);
    }
    command.arg(plain.get_program()).args(args);
    command.current_dir(&space.project).env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Some(space.run_command(command))
}

#[test]
fn case_32_a_store_a_remote_and_artifacts_without_links_locks_and_modes() {
    let space = TestSpace::with_pipeline(PIPELINE);
    space.write("in.txt", "abc\n");
    let Some(said) = on_a_poor_file_system(&space, &["run"]) else {
        return;
    };
    let said = said.expect(0, &["run"]);
    assert!(said.err.contains("4 executed"), "{}", said.err);
    assert_eq!(space.read("artifacts/big/parts/3"), "3\n");
    // Another result in the place of the first.
    space.edit("pipeline.yaml", "echo $i", "echo x$i");
    on_a_poor_file_system(&space, &["run"])
        .unwrap()
        .expect(0, &["run"]);
    assert_eq!(space.read("artifacts/big/parts/3"), "x3\n");
    let said = on_a_poor_file_system(&space, &["run"])
        .unwrap()
        .expect(0, &["run"]);
    assert!(said.err.contains("0 executed"), "{}", said.err);
    let remote = space.project.with_file_name("remote");
    let add = ["remote", "add", "dir", remote.to_str().unwrap(), "--json"];
    let said = on_a_poor_file_system(&space, &add).unwrap().expect(0, &add);
    let probe: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(probe["checks"]["first_writer_wins"], true, "{probe}");
    space.ok(&["trust", "init", "--name", "anna", "--no-passphrase"]);
    on_a_poor_file_system(&space, &["push"])
        .unwrap()
        .expect(0, &["push"]);
    let other = TestSpace::new();
    for file in [
        "pipeline.yaml",
        "in.txt",
        "repro.lock",
        "repro.trust.toml",
        "repro.remotes.toml",
    ] {
        other.write(file, space.read(file));
    }
    on_a_poor_file_system(&other, &["pull"])
        .unwrap()
        .expect(0, &["pull"]);
    assert_eq!(
        other.read("artifacts/table/table.txt"),
        space.read("artifacts/table/table.txt")
    );
}

/// A server whose file system has no second names says that it is not permitted.
#[test]
fn case_32_sftp_without_hard_links() {
    let server = [
        "/usr/lib/openssh/sftp-server",
        "/usr/libexec/openssh/sftp-server",
        "/usr/lib/ssh/sftp-server",
    ];
    let Some(server) = server.iter().find(|path| Path::new(path).exists()) else {
        skipped("there is no sftp-server");
        return;
    };
    if std::process::Command::new("strace")
        .arg("--version")
        .output()
        .is_err()
    {
        skipped("strace is not installed");
        return;
    }
    let mut space = TestSpace::with_pipeline(PIPELINE);
    let ssh = space.path("ssh");
    let inject = "-e inject=link,linkat:error=EPERM";
    space.write(
        "ssh",
        format!("#!/bin/sh\nexec strace -f -qq -o /dev/null {inject} {server}\n"),
    );
    fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    space.set_env("REPRO_SSH", ssh.to_str().unwrap());
    let remote = space.project.with_file_name("remote");
    fs::create_dir(&remote).unwrap();
    let url = format!("sftp://host{}", remote.display());
    let added = space.json(&["remote", "add", "dir", &url]);
    assert_eq!(added["checks"]["write"], true, "{added}");
    assert_eq!(added["checks"]["first_writer_wins"], true, "{added}");
    space.write("in.txt", "abc\n");
    space.ok(&["trust", "init", "--name", "anna", "--no-passphrase"]);
    space.ok(&["run", "--push"]);
    assert!(space.ok(&["push"]).contains("4 were there"));
}
