//! Names that the pipeline file takes, made of paths and of names in DVC.

use super::expand::{Instance, Path};
use super::file::{Role, Stage};
use super::references::Bit;

/// A name that is not taken, as close to the wanted one as can be.
pub fn free(wanted: &str, taken: &dyn Fn(&str) -> bool) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    let mut number = 2;
    loop {
        let name = format!("{wanted}-{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// A name for an input or output: the last part of its path that has words of its own.
pub fn name_of(path: &Path) -> String {
    let literal = [Bit::Text(path.own.clone())];
    let bits = path.bits.as_deref().unwrap_or(&literal);
    let mut steps: Vec<String> = vec![String::new()];
    for bit in bits {
        match bit {
            Bit::Text(text) => {
                for (i, piece) in text.split('/').enumerate() {
                    if i > 0 {
                        steps.push(String::new());
                    }
                    if let Some(last) = steps.last_mut() {
                        last.push_str(piece);
                    }
                }
            }
            Bit::Value { .. } => {
                if let Some(last) = steps.last_mut() {
                    last.push('\0');
                }
            }
        }
    }
    for step in steps.iter().rev() {
        let stem = match step.rfind('.') {
            Some(at) if at > 0 => &step[..at],
            Some(_) if step.starts_with('.') && step.len() > 1 => &step[1..],
            _ => step,
        };
        let name = sanitised(stem);
        if name.bytes().any(|b| b.is_ascii_alphanumeric()) && (name.len() > 1 || steps.len() == 1) {
            return name;
        }
    }
    "data".to_owned()
}

/// A name that the pipeline file takes.
pub fn sanitised(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.trim_matches('-').to_owned()
}

/// Names of the outputs of a stage.
pub fn output_names(def: &Stage, instance: &Instance) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let metrics = def.outs.iter().filter(|o| o.role == Role::Metrics).count();
    for (out, path) in def.outs.iter().zip(&instance.outs) {
        let wanted = match out.role {
            Role::Metrics if metrics == 1 => "metrics".to_owned(),
            _ => name_of(path),
        };
        let taken = |name: &str| names.iter().any(|n| n == name);
        // `model.pkl` and `model.pth` are told apart by what they end in.
        let longer = sanitised(path.own.rsplit('/').next().unwrap_or_default());
        let wanted = match taken(&wanted) && path.bits.is_some() && !longer.is_empty() {
            true => longer,
            false => wanted,
        };
        names.push(free(&wanted, &taken));
    }
    names
}
