//! Two clones of one project on different machines: users, paths and stores of their own, one
//! remote between them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::TestSpace;
use crate::support::lab::{Lab, summary};
use crate::support::network::Network;
use crate::support::processes::kill_dead;
use crate::support::servers::s3::S3;
use serde_json::Value;

fn executed(events: &[Value]) -> Vec<&str> {
    let started = events.iter().filter(|e| e["event"] == "started");
    started.map(|e| e["instance"].as_str().unwrap()).collect()
}

fn warnings(events: &[Value]) -> Vec<&str> {
    let told = events.iter().filter(|e| e["event"] == "warning");
    told.map(|e| e["text"].as_str().unwrap()).collect()
}

#[test]
fn a_second_machine_executes_nothing() {
    let lab = Lab::new();
    lab.published();
    let (code, events) = lab.laptop.events(&["--pull"]);
    let sum = summary(&events);
    assert_eq!((code, executed(&events)), (0, vec![]), "{events:#?}");
    assert_eq!(
        (sum["cached"].as_u64(), sum["executed"].as_u64()),
        (Some(4), Some(0))
    );
    let remote = &sum["remote"];
    assert_eq!(remote["hits"], 4, "{sum}");
    assert_eq!(remote["warnings"], 0, "{events:#?}");
    // A head for each of four keys, and the one object that artifacts/ shows.
    assert_eq!(remote["requests"], 5, "{sum}");
    assert!(remote["bytes_received"].as_u64().unwrap() < 40_000, "{sum}");
    assert_eq!(remote["bytes_sent"], 0);
    assert_eq!(
        lab.laptop.read("artifacts/table/table.txt"),
        lab.ci.read("artifacts/table/table.txt")
    );
    assert!(!lab.laptop.exists("artifacts/big"));
    assert_eq!(lab.laptop.read("repro.lock"), lab.ci.read("repro.lock"));
    // What is in between is known now, without the remote too.
    for args in [&["--pull"][..], &[], &["--offline", "--pull", "--push"]] {
        let (code, events) = lab.laptop.events(args);
        assert_eq!(
            (code, executed(&events)),
            (0, vec![]),
            "{args:?} {events:#?}"
        );
        let sum = summary(&events);
        assert!(
            sum["remote"].is_null() || sum["remote"]["requests"] == 0,
            "{sum}"
        );
    }
    let states = lab.laptop.json(&["status"]);
    assert!(
        states
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["state"] == "cached"),
        "{states}"
    );
    lab.laptop.ok(&["fsck"]);
}

/// Two machines with users, paths and networks of their own, and one S3 server that both reach.
#[test]
fn a_second_machine_executes_nothing_over_s3() {
    let server = S3::start(&["lab"]);
    let lab = Lab::on_s3(&server, &server.endpoint);
    let (Some(ci_network), Some(laptop_network)) = (
        Network::new(&server.endpoint),
        Network::new(&server.endpoint),
    ) else {
        return;
    };
    let Lab {
        ci,
        laptop,
        remote,
        _dir,
    } = lab;
    let inside = |network: &Network, space: TestSpace, args: &'static [&'static str]| {
        let endpoint = network.endpoint.clone();
        network.inside(move || {
            let config = space.read("repro.remotes.toml");
            let line = config.lines().find(|l| l.starts_with("endpoint")).unwrap();
            space.edit(
                "repro.remotes.toml",
                line,
                &format!("endpoint = \"{endpoint}\""),
            );
            let answer = space.events(args);
            (space, answer)
        })
    };
    let outside = server.endpoint.trim_start_matches("http://").to_owned();
    let reached = laptop_network.inside(move || std::net::TcpStream::connect(outside).is_ok());
    assert!(
        !reached,
        "a network of its own has no way out but the relay"
    );
    let (ci, (code, events)) = inside(&ci_network, ci, &["--push"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(warnings(&events), [""; 0]);
    let sum = summary(&events);
    assert_eq!(
        (
            sum["executed"].as_u64(),
            sum["remote"]["published"].as_u64()
        ),
        (Some(4), Some(4))
    );
    // For each of four results: the head, the record, the signature, the head again; a file each,
    // for one of them a listing, looked at first, and a pack.
    assert_eq!(sum["remote"]["requests"], 4 * 4 + 4 + 2 + 1, "{sum}");
    assert!(ci_network.connections() > 0);
    laptop.write("repro.lock", ci.read("repro.lock"));
    let (laptop, (code, events)) = inside(&laptop_network, laptop, &["--offline", "--pull", "-n"]);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(laptop_network.connections(), 0, "--offline");
    let (laptop, (code, events)) = inside(&laptop_network, laptop, &["--pull", "--push"]);
    assert_eq!((code, events.len()), (2, 0), "no key to publish with");
    let (laptop, (code, events)) = inside(&laptop_network, laptop, &["--pull"]);
    assert_eq!((code, executed(&events)), (0, vec![]), "{events:#?}");
    let sum = summary(&events);
    assert_eq!(sum["remote"]["hits"], 4, "{sum}");
    assert_eq!(sum["remote"]["requests"], 5, "{sum}");
    assert!(
        sum["remote"]["bytes_received"].as_u64().unwrap() < 40_000,
        "{sum}"
    );
    assert!(laptop_network.connections() > 0);
    assert_eq!(
        laptop.read("artifacts/table/table.txt"),
        ci.read("artifacts/table/table.txt")
    );
    laptop.ok(&["fsck"]);
    assert!(remote.join("v1/heads").is_dir());
}

/// What a run would execute is known without a run, and without a byte of a result.
#[test]
fn a_dry_run_asks_and_takes_nothing() {
    let lab = Lab::new();
    lab.published();
    for object in lab.objects("/objects/") {
        fs::remove_file(object).unwrap();
    }
    let before = lab.objects("").len();
    let (code, events) = lab.laptop.events(&["-n", "--pull", "--push"]);
    assert_eq!(code, 0, "{events:#?}");
    let said = summary(&events);
    assert_eq!(
        (&said["executed"], &said["cached"]),
        (&0.into(), &4.into()),
        "{said}"
    );
    assert_eq!(said["remote"]["requests"], 4, "{said}");
    assert_eq!(lab.objects("").len(), before, "nothing was sent");
    assert!(!lab.laptop.exists("artifacts") && !lab.laptop.exists(".repro/runs"));
    // Behind a miss nothing is asked.
    lab.laptop.edit("pipeline.yaml", "of: [a, b]", "of: [a, c]");
    let (_, events) = lab.laptop.events(&["-n", "--pull"]);
    let planned = events.iter().filter(|e| e["event"] == "planned");
    let planned: Vec<&str> = planned.map(|e| e["instance"].as_str().unwrap()).collect();
    assert_eq!(planned, ["count[of=c]", "table"]);
    assert_eq!(summary(&events)["remote"]["requests"], 3, "{events:#?}");
    // A remote that is gone costs a warning.
    fs::remove_dir_all(&lab.remote).unwrap();
    let (code, events) = lab.laptop.events(&["-n", "--pull"]);
    assert_eq!((code, warnings(&events).len()), (0, 1), "{events:#?}");
    assert_eq!(summary(&events)["executed"], 4);
}

#[test]
fn an_intermediate_is_fetched_when_something_executed_needs_it() {
    let lab = Lab::new();
    lab.published();
    let (_, events) = lab.laptop.events(&["--pull"]);
    assert_eq!(executed(&events), [""; 0]);
    lab.laptop.edit(
        "pipeline.yaml",
        "cat ${needs.counts}",
        "echo new; cat ${needs.counts}",
    );
    let (code, events) = lab.laptop.events(&["--pull"]);
    assert_eq!((code, executed(&events)), (0, vec!["table"]), "{events:#?}");
    let remote = summary(&events)["remote"].clone();
    // The head of the new key, which is not there, and the two inputs; not the megabyte behind
    // them.
    assert_eq!(remote["requests"], 3, "{remote}");
    assert!(
        remote["bytes_received"].as_u64().unwrap() < 1000,
        "{remote}"
    );
    assert_eq!(warnings(&events), [""; 0]);
    lab.laptop.ok(&["fsck"]);
    // A tree as an input.
    lab.laptop.edit("pipeline.yaml", "wc -c <", "wc -l <");
    let (code, events) = lab.laptop.events(&["--pull"]);
    assert_eq!(code, 0);
    assert_eq!(executed(&events).len(), 3, "{events:#?}");
    assert!(
        lab.laptop
            .read("artifacts/table/table.txt")
            .starts_with("1\n2\n3\n")
    );
}

/// Without the remote, or where it has lost the bytes, they are made again; and only what is
/// needed.
#[test]
fn an_intermediate_that_is_nowhere_is_executed_again() {
    for (lose, args) in [
        (true, &["--pull"][..]),
        (true, &[]),
        (false, &["--offline"]),
    ] {
        let lab = Lab::new();
        lab.published();
        lab.laptop.ok(&["run", "--pull"]);
        lab.laptop.edit("pipeline.yaml", "wc -c <", "wc -l <");
        if lose {
            // The largest object: the megabyte.
            let objects = lab.objects("/objects/");
            let size = |p: &PathBuf| fs::metadata(p).unwrap().len();
            let packs = lab.objects("/packs/");
            for path in objects.iter().filter(|p| size(p) > 100).chain(&packs) {
                fs::remove_file(path).unwrap();
            }
        }
        let (code, events) = lab.laptop.events(args);
        assert_eq!(code, 0, "{events:#?}");
        let mut ran = executed(&events);
        ran.sort();
        assert_eq!(
            ran,
            ["big", "count[of=a]", "count[of=b]", "table"],
            "{args:?}"
        );
        let told = warnings(&events);
        assert!(
            told.iter().any(|t| t.contains("executed again")),
            "{told:#?}"
        );
        assert!(!told.iter().any(|t| t.contains("other bytes")), "{told:#?}");
        lab.laptop.ok(&["fsck"]);
    }
}

#[test]
fn a_result_that_comes_out_otherwise_is_told() {
    let lab = Lab::new();
    // Different on every machine.
    lab.ci.edit(
        "pipeline.yaml",
        "wc -c <",
        "cat /proc/sys/kernel/random/uuid >> ${outputs.n}; wc -c <",
    );
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["run", "--pull"]);
    lab.laptop.edit(
        "pipeline.yaml",
        "cat ${needs.counts} >",
        "(echo new; cat ${needs.counts}) >",
    );
    let (code, events) = lab.laptop.events(&["--offline"]);
    assert_eq!(code, 0, "{events:#?}");
    let told = warnings(&events);
    assert!(
        told.iter()
            .any(|t| t.contains("other bytes than the result that was published")),
        "{told:#?}"
    );
    assert!(lab.laptop.read("artifacts/table/table.txt").contains("new"));
}

#[test]
fn a_clone_pulls_what_the_lock_names() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    let pulled = lab.laptop.json(&["pull"]);
    assert_eq!(
        (pulled["pulled"].as_u64(), pulled["here"].as_u64()),
        (Some(1), Some(0)),
        "{pulled}"
    );
    assert_eq!(pulled["remote"]["requests"], 5, "{pulled}");
    assert_eq!(
        lab.laptop.read("artifacts/table/table.txt"),
        lab.ci.read("artifacts/table/table.txt")
    );
    let (code, events) = lab.laptop.events(&["--offline"]);
    assert_eq!((code, executed(&events)), (0, vec![]), "{events:#?}");
    // Asked for by name, a tree and a large file come as well.
    let pulled = lab.laptop.json(&["pull", "big"]);
    assert_eq!(pulled["pulled"], 1, "{pulled}");
    assert_eq!(lab.laptop.read("artifacts/big/parts/3"), "3\n");
    assert_eq!(lab.laptop.read("artifacts/big/big.txt").len(), 1_000_000);
    let pulled = lab.laptop.json(&["pull", "big"]);
    assert_eq!(
        (
            pulled["here"].as_u64(),
            pulled["remote"]["requests"].as_u64()
        ),
        (Some(1), Some(0))
    );
    lab.laptop.ok(&["fsck"]);
}

/// What was pulled can be checked, though its inputs were not pulled with it.
#[test]
fn a_pulled_result_is_verified_once_its_inputs_are_here() {
    let lab = Lab::new();
    lab.published();
    lab.clone_to(&lab.laptop);
    lab.laptop.ok(&["pull"]);
    for command in ["verify", "replay"] {
        let args = [command, "table", "--offline"];
        let said = lab.laptop.run(&args).expect(2, &args);
        assert!(
            said.err.contains(
                "needs the output of `count[of=a]`, which is on the remote only (--offline)"
            ) && said.err.contains("repro run --pull 'count[of=a]'"),
            "{}",
            said.err
        );
    }
    let said = lab.laptop.ok(&["verify", "table"]);
    assert!(said.contains("table: identical, 1 outputs"), "{said}");
    lab.laptop.ok(&["replay", "table"]);
}

#[test]
fn push_sends_what_is_missing_and_nothing_twice() {
    let lab = Lab::new();
    lab.ci.ok(&["run"]);
    let first = lab.ci.json(&["push"]);
    assert_eq!(
        (first["published"].as_u64(), first["known"].as_u64()),
        (Some(4), Some(0)),
        "{first}"
    );
    // What is published is signed, and the signatures are here too.
    let said = lab.ci.ok(&["export", "--bundle", "all.repro"]);
    assert!(said.contains("4 results, 4 signatures"), "{said}");
    let again = lab.ci.json(&["push"]);
    assert_eq!(
        (again["published"].as_u64(), again["known"].as_u64()),
        (Some(0), Some(4)),
        "{again}"
    );
    assert_eq!(again["remote"]["bytes_sent"], 0, "{again}");
    // Four heads; three files, one listing with its pack.
    assert_eq!(again["remote"]["requests"], 4 + 4 + 2, "{again}");
    for path in lab.objects("/packs/") {
        fs::remove_file(path).unwrap();
    }
    let healed = lab.ci.json(&["push"]);
    assert!(
        healed["remote"]["bytes_sent"].as_u64().unwrap() > 0,
        "{healed}"
    );
    let (_, events) = lab.laptop.events(&["--pull"]);
    assert_eq!(executed(&events), [""; 0]);
}

#[test]
fn who_is_not_believed_is_a_miss_with_a_reason() {
    let lab = Lab::new();
    lab.published();
    lab.laptop.ok(&["trust", "remove", "buildbot"]);
    lab.laptop
        .ok(&["trust", "init", "--name", "ben", "--no-passphrase"]);
    let (code, events) = lab.laptop.events(&["--pull"]);
    assert_eq!((code, executed(&events).len()), (0, 4), "{events:#?}");
    let told = warnings(&events);
    assert!(
        told.len() == 1 && told[0].contains("does not list"),
        "{told:#?}"
    );
    let said = lab.laptop.run(&["pull"]);
    assert_eq!(
        said.code, 0,
        "what is here needs nobody's word: {}",
        said.err
    );
    lab.laptop.remove("repro.trust.toml");
    let said = lab.laptop.run(&["run", "--pull"]).expect(2, &["run"]);
    assert!(said.err.contains("`repro trust init`"), "{}", said.err);
}

/// One warning, the work is done, and the exit code is that of the work.
#[test]
fn a_dead_remote_costs_a_warning() {
    let lab = Lab::new();
    lab.published();
    fs::remove_dir_all(&lab.remote).unwrap();
    fs::write(&lab.remote, "no directory any more").unwrap();
    let (code, events) = lab.laptop.events(&["--pull", "--push"]);
    assert_eq!(code, 2, "no key to push with");
    drop(events);
    let (code, events) = lab.laptop.events(&["--pull"]);
    assert_eq!((code, executed(&events).len()), (0, 4), "{events:#?}");
    let told = warnings(&events);
    assert!(
        told.len() == 1 && told[0].contains("going on without it"),
        "{told:#?}"
    );
    lab.ci.edit(
        "pipeline.yaml",
        "cat ${needs.counts}",
        "echo new; cat ${needs.counts}",
    );
    let (code, events) = lab.ci.events(&["--push", "--pull"]);
    assert_eq!((code, executed(&events)), (0, vec!["table"]), "{events:#?}");
    assert_eq!(warnings(&events).len(), 1);
    let said = lab.laptop.run(&["pull", "big"]);
    assert!(said.code == 0 || said.code == 5, "{}", said.err);
}

/// Killed at any moment, both sides stay whole, and the next command completes what was begun.
#[test]
fn kills_during_push_and_pull_lose_nothing() {
    let lab = Lab::new();
    lab.ci
        .edit("pipeline.yaml", "for i in 1 2 3 4 5", "for i in $(seq 400)");
    lab.ci.ok(&["run"]);
    lab.clone_to(&lab.laptop);
    for delay_ms in [5, 15, 25, 35, 50, 70, 90, 120] {
        let mut child = lab.ci.start(&["push"]);
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill_dead(&mut child);
        let other = TestSpace::new();
        lab.clone_to(&other);
        let said = other.run(&["pull"]);
        assert!(matches!(said.code, 0 | 1), "{}", said.err);
        assert!(!said.err.contains("warning"), "{}", said.err);
        lab.ci.ok(&["fsck"]);
    }
    lab.ci.ok(&["push"]);
    for delay_ms in [5, 15, 25, 35, 50, 70, 90, 120] {
        let mut child = lab.laptop.start(&["pull", "big", "table"]);
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill_dead(&mut child);
        lab.laptop.ok(&["fsck"]);
    }
    lab.laptop.ok(&["pull", "big", "table"]);
    assert_eq!(lab.laptop.read("artifacts/big/parts/399"), "399\n");
    lab.laptop.ok(&["fsck"]);
}
