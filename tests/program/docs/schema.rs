//! The schema of the pipeline file: whether it takes a file, and the tables docs/pipeline.md makes
//! of it.

use std::fmt::Write;

use serde_json::Value;

use super::yaml;

/// The schema the program prints.
pub struct Schema {
    /// As JSON.
    pub json: Value,
    validator: jsonschema::Validator,
}

impl Schema {
    /// Of the text `repro schema` prints.
    pub fn of(text: &str) -> Schema {
        let json: Value = serde_json::from_str(text).expect("`repro schema` prints JSON");
        let validator = jsonschema::validator_for(&json).expect("a valid JSON Schema");
        Schema { json, validator }
    }

    /// What is wrong with a file, with the places.
    pub fn problems(&self, text: &str) -> Vec<String> {
        match yaml::parse(text) {
            Ok(file) => self
                .validator
                .iter_errors(&file)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect(),
            Err(e) => vec![e],
        }
    }

    /// Fails the test when the schema refuses a file.
    #[track_caller]
    pub fn accepts(&self, place: &str, text: &str) {
        let problems = self.problems(text);
        assert!(
            problems.is_empty(),
            "{place} does not fit docs/pipeline.schema.json:\n{}\n{text}",
            problems.join("\n")
        );
    }

    /// Fails the test when the schema takes a file.
    #[track_caller]
    pub fn refuses(&self, text: &str) {
        assert!(!self.problems(text).is_empty(), "the schema takes\n{text}");
    }

    /// A Markdown table of the fields of a type; `File` is the file itself.
    pub fn table(&self, name: &str) -> String {
        let object = if name == "File" {
            &self.json
        } else {
            &self.json["definitions"][name]
        };
        let fields = object["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("there is no type `{name}`"));
        let required = object["required"].as_array().cloned().unwrap_or_default();
        let mut text = String::from("| key | value | meaning |\n|---|---|---|\n");
        for (key, field) in fields {
            let must = if required.iter().any(|r| r == key) {
                " **Required.**"
            } else {
                ""
            };
            let about = field["description"]
                .as_str()
                .unwrap_or_else(|| panic!("`{name}.{key}` has no doc comment"));
            let about = about
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace('|', "\\|");
            let _ = writeln!(text, "| `{key}` | {} | {about}{must} |", self.word(field));
        }
        text
    }

    /// What sort of value a field takes, in a few words.
    fn word(&self, field: &Value) -> String {
        if let Some(name) = field["$ref"]
            .as_str()
            .and_then(|r| r.strip_prefix("#/definitions/"))
        {
            return self.word(&self.json["definitions"][name]);
        }
        if let Some([whole]) = field["allOf"].as_array().map(Vec::as_slice) {
            return self.word(whole);
        }
        if field["pattern"] == "\\$\\{" || field["type"] == "null" {
            return String::new();
        }
        if field["enum"].is_array() || field["oneOf"].is_array() {
            let choices = field["enum"]
                .as_array()
                .cloned()
                .unwrap_or_default()
                .into_iter();
            let choices = choices.chain(
                field["oneOf"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|c| c["const"].clone()),
            );
            let choices: Vec<Value> = choices.collect();
            // More are better looked up than read in a cell.
            if choices.len() > 4 {
                return "text".to_owned();
            }
            return choices
                .iter()
                .map(|c| format!("`{}`", c.as_str().unwrap_or("?")))
                .collect::<Vec<_>>()
                .join(" or ");
        }
        if let Some(any) = field["anyOf"].as_array() {
            let mut words: Vec<String> = Vec::new();
            for word in any.iter().map(|f| self.word(f)).filter(|w| !w.is_empty()) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            return words.join(" or ");
        }
        let types = field["type"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![field["type"].clone()]);
        let word = types
            .iter()
            .filter_map(Value::as_str)
            .find(|t| *t != "null");
        match word {
            Some("integer") => "whole number",
            Some("number") => "number",
            Some("boolean") => "true or false",
            Some("array") => "list",
            Some("object") => "map",
            Some(_) => "text",
            None => "anything",
        }
        .to_owned()
    }
}
