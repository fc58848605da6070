//! What an editor makes of the schema: the YAML language server that editors use, asked as they
//! ask it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::TestSpace;
use crate::support::npm;
use crate::support::skipped::skipped;

const PIPELINE: &str = "version: 1
stages:
  data: {uses: download, with: {dataset: shapes}}
  fit:
    uses: train
    needs: {train: data.train}
    with:
      seed: 1
      length: {epochs: 2}
      optimizer: {sgd: {lr: 0.1}}
      model: {mlp: {hidden: [4]}}
      batch_sise: 3
";

struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    schema: String,
    asked: u64,
}

impl Server {
    fn start(program: &std::path::Path, schema: String) -> Server {
        let mut child = Command::new(program)
            .arg("--stdio")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Server {
            child,
            to,
            from: BufReader::new(from),
            schema,
            asked: 0,
        }
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        self.to.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        self.await_message(|m| m["id"] == id && m.get("method").is_none())["result"].take()
    }

    /// The next message that is wanted; what the server asks meanwhile is answered.
    fn await_message(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                let read = self.from.read_line(&mut line).unwrap();
                assert!(read > 0, "the language server has ended");
                match line.trim().split_once(": ") {
                    Some(("Content-Length", bytes)) => length = bytes.parse().unwrap(),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            self.from.read_exact(&mut body).unwrap();
            let message: Value = serde_json::from_slice(&body).unwrap();
            if is_wanted(&message) {
                return message;
            }
            if let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) {
                let settings = json!({"schemas": {&self.schema: "pipeline.yaml"}, "validate": true,
                    "completion": true, "hover": true});
                let result = match method {
                    "workspace/configuration" => message["params"]["items"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|item| match item["section"] == "yaml" {
                            true => settings.clone(),
                            false => json!({}),
                        })
                        .collect(),
                    _ => Value::Null,
                };
                self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_editor_completes_explains_and_finds_a_misspelt_field() {
    let program = match npm::file(".bin/yaml-language-server") {
        Ok(program) => program,
        Err(why) => return skipped(why),
    };
    if Command::new("node").arg("--version").output().is_err() {
        return skipped("node is not installed");
    }
    let space = TestSpace::with_pipeline(PIPELINE);
    space.write("schema.json", space.ok(&["schema"]));
    let uri = |name: &str| format!("file://{}", space.project.join(name).display());
    let mut server = Server::start(&program, uri("schema.json"));
    let configuration = json!({"workspace": {"configuration": true}});
    let root = json!({"processId": null, "rootUri": uri(""), "capabilities": configuration});
    server.ask("initialize", root);
    server.tell("initialized", json!({}));
    let file = uri("pipeline.yaml");
    let document = json!({"uri": file, "languageId": "yaml", "version": 1, "text": PIPELINE});
    server.tell("textDocument/didOpen", json!({"textDocument": document}));

    let told = server.await_message(|m| {
        m["method"] == "textDocument/publishDiagnostics"
            && m["params"]["diagnostics"]
                .as_array()
                .is_some_and(|d| !d.is_empty())
    });
    let told = told["params"]["diagnostics"].as_array().unwrap().clone();
    assert_eq!(told.len(), 1, "one mistake, one message: {told:?}");
    assert_eq!(told[0]["range"]["start"]["line"], 11);
    assert!(
        told[0]["message"].as_str().unwrap().contains("batch_sise"),
        "{told:?}"
    );

    let at = |line: u64, character: u64| json!({"textDocument": {"uri": file}, "position": {"line": line, "character": character}});
    let offered = server.ask("textDocument/completion", at(11, 11));
    let offered: Vec<&str> = offered["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item["label"].as_str())
        .collect();
    assert!(offered.contains(&"batch_size"), "{offered:?}");
    assert!(
        !offered.iter().any(|label| label.contains("Params")),
        "{offered:?}"
    );

    let hover = server.ask("textDocument/hover", at(10, 8));
    let text = hover["contents"]["value"].as_str().unwrap_or_default();
    assert!(text.contains("The network"), "{hover}");
    let hover = server.ask("textDocument/hover", at(9, 20));
    assert!(
        hover["contents"]["value"]
            .as_str()
            .is_some_and(|t| !t.is_empty()),
        "{hover}"
    );
}
