//! Batch systems by description: those that the documentation ships (docs/executors), each with
//! programs that answer as that system documents.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{QUICK, files, local, project, warnings};
use crate::support::lab::summary;

/// What all stand-ins do: `begin NAME LOG` executes the script on standard input in the background
/// and sets `id`; `each FUNCTION` calls it with the number, the name, and `R`, `C` or `F` (runs, did
/// well, failed) of every job; `stop ID` asks one to end. A job ends when no process of it is left.
const COMMON: &str = r#"#!/bin/sh
d=@DIR@
begin() {
  id=$(($(ls $d/jobs | wc -l) + 1)); j=$d/jobs/$id; mkdir $j || exit 1
  cat > $j/script; echo "$1" > $j/name
  (setsid sh -c 'echo $$ > '$j'/group; exec sh '$j/script > "$2" 2>&1 < /dev/null; s=$?
   while kill -s 0 -- -$(cat $j/group); do sleep 0.05; done; echo $s > $j/end) > /dev/null 2>&1 &
  until [ -s $j/group ]; do sleep 0.01; done
}
each() {
  for j in $d/jobs/*; do
    [ -e $j/name ] || continue
    s=R; if [ -e $j/end ]; then if [ "$(cat $j/end)" = 0 ]; then s=C; else s=F; fi; fi
    $1 ${j##*/} "$(cat $j/name)" $s
  done
}
stop() { kill -s TERM -- -$(cat $d/jobs/$1/group) 2> /dev/null || true; }
"#;

/// Runs the study on what `text` describes, with these programs.
#[track_caller]
fn holds(text: &str, programs: &[(&str, &str)]) {
    let dir = tempfile::Builder::new()
        .prefix("stand-in-")
        .tempdir()
        .unwrap();
    fs::create_dir(dir.path().join("jobs")).unwrap();
    for (name, script) in programs {
        let path = dir.path().join(name);
        let script = match script.strip_prefix("#!") {
            Some(_) => (*script).to_owned(),
            None => COMMON.replace("@DIR@", dir.path().to_str().unwrap()) + script,
        };
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let name = text.split(['[', ']']).nth(1).unwrap();
    // As it is shipped, but for what differs from site to site.
    let text = text
        .replace("remote = \"bucket\"\n", "")
        .replace("program = \"/usr/local/bin/repro\"\n", "")
        .replace("bundle = \"1m\"\n", "")
        .replacen(
            "kind = \"described\"\n",
            &format!("kind = \"described\"\nremote = \"dir\"\nwidth = 4\n{QUICK}"),
            1,
        );
    let (mut space, remote) = project(&text);
    let path = std::env::var("PATH").unwrap();
    space.set_env("PATH", format!("{}:{path}", dir.path().display()));
    let few = ["--set", "n=3"];
    let (lock, _) = local(&space, &few);
    let (code, events) = space.events(&[&["--on", name][..], &few].concat());
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(summary(&events)["executed"], 8);
    assert_eq!(warnings(&events), Vec::<&str>::new());
    assert_eq!(space.read("repro.lock"), lock);
    assert_eq!(files(remote.path()), 0);
    if name != "pbs" && name != "sge" {
        return;
    }
    // A job that fails by itself is seen to have failed, and its log is told.
    let text = space.read("repro.executors.toml");
    let broken = "prelude = \"echo no module named x; exit 7\"\n";
    let text = text.replacen("width = 4\n", &format!("width = 4\n{broken}"), 1);
    space.write("repro.executors.toml", text);
    space.edit("words.txt", "some", "other");
    let said = space
        .run(&["run", "--on", name, "--set", "n=1"])
        .expect(1, &["run"]);
    assert!(
        said.err.contains("its job failed before it could say why"),
        "{}",
        said.err
    );
    assert!(said.err.contains("no module named x"), "{}", said.err);
    // The shell alone would say "not found".
    let text = space.read("repro.executors.toml");
    let missing = "program = \"/nonexistent/my repro\"\n";
    space.write("repro.executors.toml", text.replacen(broken, missing, 1));
    let said = space.run(&["run", "--on", name, "--set", "n=1"]);
    let said = said.expect(1, &["run"]).err;
    for told in ["/nonexistent/my repro is not on ", ": see `program` of the"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(space.ok(&["jobs"]), "no jobs\n");
}

fn shipped(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/executors");
    fs::read_to_string(docs.join(name)).unwrap()
}

const OPTIONS_N_O: &str = r#"
while [ $# -gt 0 ]; do case "$1" in -N|-J) name=$2; shift;; -o) log=$2; shift;; -terse) ;; *) ;; esac; shift; done
begin "$name" "$log"
"#;

#[test]
fn pbs() {
    let submit = OPTIONS_N_O.to_owned() + "echo $id.server\n";
    let state = r#"
echo 'Job id            Name             User              Time Use S Queue'
echo '----------------  ---------------- ----------------  -------- - -----'
row() { s=$3; [ $s = R ] || s=F; printf '%-16s  %-15.15s  %-16s  00:00:01 %s batch\n' $1.server "$2" me $s; }
each row
"#;
    holds(
        &shipped("pbs.toml"),
        &[
            ("qsub", &submit),
            ("qstat", state),
            ("qdel", "stop ${1%%.*}\n"),
        ],
    );
}

#[test]
fn lsf() {
    let submit = OPTIONS_N_O.to_owned() + "echo \"Job <$id> is submitted to queue <normal>.\"\n";
    let state = r#"
ls $d/jobs/* > /dev/null 2>&1 || { echo 'No job found' >&2; exit 255; }
row() { case $3 in R) s=RUN;; C) s=DONE;; F) s=EXIT;; esac; echo "$1|$s|node1:node1"; }
each row
"#;
    holds(
        &shipped("lsf.toml"),
        &[("bsub", &submit), ("bjobs", state), ("bkill", "stop $1\n")],
    );
}

#[test]
fn sge() {
    let submit = OPTIONS_N_O.to_owned() + "echo $id\n";
    // What has ended is told of by the accounting only.
    let state = r#"
head=no
row() {
  [ $3 = R ] || return 0
  if [ $head = no ]; then head=yes
    echo 'job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID '
    echo '-----------------------------------------------------------------------------------------------------------------'
  fi
  printf '%7s 0.55500 %-10.10s me           r     11/30/2026 08:00:00 all.q@node1.cluster                1        \n' $1 "$2"
}
each row
"#;
    let account = r#"
[ -e $d/jobs/$2/end ] || { echo "error: job id $2 not found" >&2; exit 1; }
echo ==============================================================
echo "qname        all.q"
echo "jobnumber    $2"
echo "failed       0"
echo "exit_status  $(cat $d/jobs/$2/end)"
"#;
    holds(
        &shipped("sge.toml"),
        &[
            ("qsub", &submit),
            ("qstat", state),
            ("qacct", account),
            ("qdel", "stop $1\n"),
        ],
    );
}

#[test]
fn htcondor() {
    let submit = r#"
while [ $# -gt 1 ]; do case "$1" in -batch-name) name=$2; shift;; esac; shift; done
[ "$1" = - ] || exit 1
text=$(cat)
value() { echo "$text" | sed -n "s/^$1 = //p"; }
[ "$(echo "$text" | tail -n 1)" = queue ] || exit 1
begin "$name" "$(value output)" < "$(value executable)"
echo "$id.0 - $id.0"
"#;
    let queue = "row() { [ $3 != R ] || echo \"$1 2 undefined slot1@node1\"; }\neach row\n";
    let history = "row() { [ $3 = R ] || echo \"$1 4 undefined slot1@node1\"; }\neach row\n";
    holds(
        &shipped("htcondor.toml"),
        &[
            ("condor_submit", submit),
            ("condor_q", queue),
            ("condor_history", history),
            ("condor_rm", "stop $1\n"),
        ],
    );
}

#[test]
fn hyperqueue() {
    let hq = r#"
[ "$1" = --output-mode=quiet ] && shift
row() { case $3 in R) s=RUNNING;; C) s=FINISHED;; F) s=FAILED;; esac; echo "$1 $s"; }
case "$1 $2" in
  "job list") each row;;
  "job cancel") stop $3;;
  submit*)
    for a; do case "$a" in --name=*) name=${a#*=};; --stdout=*) log=${a#*=};; esac; done
    begin "$name" "$log"; echo $id;;
esac
"#;
    holds(&shipped("hyperqueue.toml"), &[("hq", hq)]);
}

#[test]
fn kubernetes() {
    let kubectl = r#"
row() {
  case $3 in R) s='Running|';; C) s='Succeeded|Completed';; F) s='Failed|Error';; esac
  echo "$2|$s|node1"
}
case "$1" in
  create)
    text=$(cat)
    name=$(echo "$text" | sed -n 's/^  name: //p')
    script=$(echo "$text" | sed -n 's/.*name: SCRIPT, value: \(.*\)}$/\1/p')
    echo "$script" | base64 -d > $d/script.$$
    begin "$name" /dev/null < $d/script.$$
    echo "job.batch/$name";;
  get) each row;;
  delete) ;;
esac
"#;
    holds(
        &shipped("kubernetes.toml"),
        &[
            ("kubectl", kubectl),
            ("repro-kubernetes", &shipped("kubernetes.sh")),
        ],
    );
}
