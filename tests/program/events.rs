//! `repro export --tensorboard`: event files have what `repro metrics --all` says.
//!
//! Read here by a reader of their own, and by TensorBoard where it is installed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::python::script;
use crate::support::skipped::skipped;
use crate::support::{TestSpace, python};

const PIPELINE: &str = r#"
version: 1
stages:
  data: {uses: download, with: {dataset: shapes, shapes: {train: 200, test: 100, noise: 20}}}
  train:
    uses: train
    matrix: {lr: [0.01, 0.1], seed: [0, 1]}
    needs: {train: data.train, test: data.test}
    with:
      model: {mlp: {hidden: [8]}}
      seed: "${matrix.seed}"
      length: {epochs: 3}
      batch_size: 32
      optimizer: {sgd: {lr: "${matrix.lr}"}}
  mine:
    run: |
      echo '[{"step": 20, "loss": 0.25}, {"step": 10, "loss": 0.5}]' > ${outputs.metrics}
    outputs: {metrics: metrics.json}
"#;

/// Run, tag, step: value and time.
type Events = BTreeMap<(String, String, i64), (f32, f64)>;

/// One record; what follows it. Checksums are those of TensorFlow's `masked_crc32c`.
fn record(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_at(8);
    let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (sum, rest) = rest.split_at(4);
    assert_eq!(sum, masked(length).to_le_bytes());
    let (data, rest) = rest.split_at(size);
    let (sum, rest) = rest.split_at(4);
    assert_eq!(sum, masked(data).to_le_bytes());
    (data, rest)
}

/// By the definition, bit by bit.
fn masked(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The fields of a message: number, and bytes; numbers as eight of them.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = match tag & 7 {
            0 => varint(&mut message).to_le_bytes().to_vec(),
            wire => {
                let size = match wire {
                    1 => 8,
                    2 => varint(&mut message) as usize,
                    5 => 4,
                    other => panic!("the wire type {other}"),
                };
                let (value, rest) = message.split_at(size);
                message = rest;
                value.to_vec()
            }
        };
        fields.push((tag >> 3, value));
    }
    fields
}

fn read(dir: &Path, run: &str, found: &mut Events) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = format!("{run}{}{name}", if run.is_empty() { "" } else { "/" });
            read(&entry.path(), &below, found);
            continue;
        }
        assert!(name.contains("tfevents"), "{name}");
        let bytes = std::fs::read(entry.path()).unwrap();
        let (first, mut rest) = record(&bytes);
        assert!(fields(first).contains(&(3, b"brain.Event:2".to_vec())));
        while !rest.is_empty() {
            let (event, after) = record(rest);
            rest = after;
            let event: BTreeMap<u64, Vec<u8>> = fields(event).into_iter().collect();
            let summary: BTreeMap<u64, Vec<u8>> = fields(&event[&5]).into_iter().collect();
            let value: BTreeMap<u64, Vec<u8>> = fields(&summary[&1]).into_iter().collect();
            let tag = String::from_utf8(value[&1].clone()).unwrap();
            let step = i64::from_le_bytes(event[&2][..].try_into().unwrap());
            let time = f64::from_le_bytes(event[&1][..].try_into().unwrap());
            let value = f32::from_le_bytes(value[&2][..].try_into().unwrap());
            let before = found.insert((run.to_owned(), tag, step), (value, time));
            assert!(before.is_none(), "{before:?}");
        }
    }
}

fn events(space: &TestSpace, dir: &str) -> Events {
    let mut found = Events::new();
    read(&space.path(dir), "", &mut found);
    found
}

#[test]
fn event_files_have_what_metrics_says() {
    let space = TestSpace::with_pipeline(PIPELINE);
    space.ok(&["run"]);
    let all = space.ok(&["metrics", "--all", "--json"]);
    space.write("metrics.json", &all);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
    let said = space.ok(&["export", "--tensorboard", "tb"]);
    assert_eq!(
        said,
        format!("wrote tb: 5 runs, {} values\n", rows.len()),
        "{said}"
    );

    let found = events(&space, "tb");
    assert_eq!(found.len(), rows.len());
    for row in &rows {
        let instance = row["instance"].as_str().unwrap();
        let run = instance.replace('[', "/").replace(']', "");
        let split = row["split"].as_str().map(|split| format!("{split}/"));
        let tag = split.unwrap_or_default() + row["name"].as_str().unwrap();
        let step = row["epoch"].as_i64().or(row["step"].as_i64()).unwrap();
        let (value, _) = found[&(run, tag, step)];
        assert_eq!(value, row["value"].as_f64().unwrap() as f32, "{row}");
    }
    // The time is that of the record: when the execution had ended.
    let shown = space.json(&["show", "mine"]);
    let seen = &shown["results"][0]["observation"];
    let (_, time) = found[&("mine".to_owned(), "loss".to_owned(), 20)];
    let begun: jiff::Timestamp = seen["at"].as_str().unwrap().parse().unwrap();
    let ended = begun.as_microsecond() as f64 / 1e6 + seen["wall_s"].as_f64().unwrap();
    assert!((time - ended).abs() < 1e-3, "{time} {ended}");

    match python::with(&["tensorboard"]) {
        Ok(python) => script(&space, &python, "events.py", &["tb", "metrics.json"]),
        Err(why) => skipped(why),
    }
}

#[test]
fn the_same_results_give_the_same_event_files() {
    let mut space = TestSpace::with_pipeline(PIPELINE);
    space.ok(&["run", "mine"]);
    let said = space.run(&["export", "--tensorboard", "a"]).expect(0, &[]);
    assert!(said.out.contains("1 runs, 2 values"), "{}", said.out);
    assert!(
        said.err.contains("4 tables have no result yet"),
        "{}",
        said.err
    );
    space.set_env("TZ", "Asia/Tokyo");
    space.ok(&["export", "--tensorboard", "b", "mine"]);
    let file = "mine/events.out.tfevents.repro";
    let bytes = |dir: &str| std::fs::read(space.path(&format!("{dir}/{file}"))).unwrap();
    assert_eq!(bytes("a"), bytes("b"));

    // Another export replaces the files, and leaves what is not its own.
    space.write("a/mine/notes.txt", "mine");
    space.edit("pipeline.yaml", "0.25", "0.125");
    space.ok(&["run", "mine"]);
    let said = space.json(&["export", "--tensorboard", "a", "mine"]);
    assert_eq!(
        said,
        serde_json::json!({"runs": 1, "values": 2, "open": 0, "left_out": []})
    );
    assert_eq!(space.read("a/mine/notes.txt"), "mine");
    space.remove("a/mine/notes.txt");
    let (value, _) = events(&space, "a")[&("mine".to_owned(), "loss".to_owned(), 20)];
    assert_eq!(value, 0.125);
}
