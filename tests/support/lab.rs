//! A CI machine with a key that is believed, and a laptop with a clone of its project; between them
//! one remote.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::TestSpace;
use super::servers::s3::{ACCESS_KEY, S3, SECRET_KEY};

/// `big` is a megabyte that only `a` and `b` need; `a`, `b` and `table` are small.
pub const PIPELINE: &str = r#"
version: 1
name: shared
stages:
  big:
    needs: {seed: {file: in.txt}}
    run: "(yes $(cat ${needs.seed}) || true) | head -c 1000000 > ${outputs.data}; mkdir ${outputs.tree}; for i in 1 2 3 4 5; do echo $i > ${outputs.tree}/$i; done"
    outputs: {data: big.txt, tree: parts}
  count:
    matrix: {of: [a, b]}
    needs: {data: big.data, tree: big.tree}
    run: "echo ${matrix.of}; cat ${needs.tree}/* > ${outputs.n}; wc -c < ${needs.data} >> ${outputs.n}; echo ${matrix.of} >> ${outputs.n}"
    outputs: {n: n.txt}
  table:
    needs: {counts: "count[*].n"}
    run: "cat ${needs.counts} > ${outputs.table}"
    outputs: {table: table.txt}
"#;

pub struct Lab {
    pub ci: TestSpace,
    pub laptop: TestSpace,
    pub remote: PathBuf,
    pub _dir: tempfile::TempDir,
}

impl Lab {
    /// CI has a key that is believed; the laptop has a clone of its project.
    pub fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let remote = dir.path().join("remote");
        fs::create_dir(&remote).unwrap();
        let mut ci = TestSpace::with_pipeline(PIPELINE);
        ci.write("in.txt", "abc\n");
        let key = ci.ok(&["trust", "init", "--ci", "buildbot", "--no-passphrase"]);
        ci.set_env("REPRO_SIGNING_KEY", key);
        add_remote(&ci, &remote);
        let lab = Lab {
            ci,
            laptop: TestSpace::new(),
            remote,
            _dir: dir,
        };
        lab.clone_to(&lab.laptop);
        lab
    }

    /// The same on an S3 server, which is reached at `endpoint`.
    pub fn on_s3(server: &S3, endpoint: &str) -> Lab {
        let mut lab = Lab::new();
        lab.ci.remove("repro.remotes.toml");
        for space in [&mut lab.ci, &mut lab.laptop] {
            space.set_env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
            space.set_env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        }
        add_bucket(&lab.ci, endpoint);
        lab.remote = server.bucket_dir("lab");
        lab.clone_to(&lab.laptop);
        lab
    }

    /// What git would bring.
    pub fn clone_to(&self, space: &TestSpace) {
        for file in [
            "pipeline.yaml",
            "in.txt",
            "repro.lock",
            "repro.trust.toml",
            "repro.remotes.toml",
        ] {
            if self.ci.exists(file) {
                space.write(file, self.ci.read(file));
            }
        }
    }

    pub fn published(&self) {
        let (code, events) = self.ci.events(&["--push"]);
        assert_eq!(code, 0, "{events:#?}");
        let summary = summary(&events);
        assert_eq!(summary["remote"]["published"], 4, "{summary}");
        assert_eq!(summary["remote"]["warnings"], 0, "{events:#?}");
    }

    /// Files of the remote whose names hold this.
    pub fn objects(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.remote.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else if path.to_str().unwrap().contains(part) {
                    found.push(path);
                }
            }
        }
        found
    }
}

pub fn add_remote(space: &TestSpace, remote: &Path) {
    space.ok(&["remote", "add", "lab", remote.to_str().unwrap()]);
}

pub fn add_bucket(space: &TestSpace, endpoint: &str) {
    space.ok(&["remote", "add", "lab", "s3://lab", "--endpoint", endpoint]);
}

pub fn summary(events: &[Value]) -> Value {
    let last = events.last().expect("events").clone();
    assert_eq!(last["event"], "summary", "{events:#?}");
    last
}
