//! What fields are called in other tools: DVC, Snakemake, GitHub Actions, Nextflow, docker-compose.
//!
//! Knows words, and nothing of what they do there. Used only where a field is unknown here.

/// What a field of a type of [`super::model`] that is not known here is called, or where it
/// belongs.
pub fn meant(owner: &str, field: &str) -> Option<Meant> {
    let field = field.to_lowercase().replace('-', "_");
    let field = field.as_str();
    let is = Meant::Field;
    let hint = Meant::Hint;
    Some(match (owner, field) {
        (
            "Stage",
            "cmd" | "command" | "commands" | "script" | "scripts" | "exec" | "execute" | "bash"
            | "sh" | "shell_command",
        ) => is("run"),
        (
            "Stage",
            "deps" | "dep" | "dependencies" | "depends_on" | "dependson" | "depends" | "input"
            | "inputs" | "requires" | "needed",
        ) => is("needs"),
        (
            "Stage",
            "outs" | "out" | "output" | "outputs_dir" | "products" | "produces" | "artifacts"
            | "metrics" | "plots" | "outs_persist" | "results",
        ) => is("outputs"),
        (
            "Stage",
            "params" | "param" | "parameters" | "args" | "arguments" | "kwargs" | "config"
            | "options" | "settings" | "hyperparameters" | "hparams",
        ) => hint(
            "parameters of a kind belong under `with`; a command takes `${vars.name}` in `run`, where `vars: {file: params.yaml}` reads a file of parameters",
        ),
        ("Stage", "environment" | "envs" | "environ" | "env_vars" | "envvars") => is("env"),
        (
            "Stage",
            "foreach" | "for_each" | "strategy" | "wildcards" | "sweep" | "grid" | "expand",
        ) => is("matrix"),
        ("Stage", "kind" | "type" | "action" | "op" | "using" | "use") => is("uses"),
        ("Stage", "doc" | "docs" | "comment" | "name" | "title" | "label" | "message" | "help") => {
            is("description")
        }
        ("Stage", "threads" | "cores" | "cpu" | "cpus" | "nproc") => {
            hint("write `resources: {cpus: 2}`")
        }
        ("Stage", "mem" | "mem_mb" | "memory" | "ram") => hint("write `resources: {memory: 2GB}`"),
        ("Stage", "gpu" | "gpus") => hint("write `resources: {gpus: 1}`"),
        ("Stage", "mutex" | "lock") => hint("write `resources: {mutex: NAME}`"),
        ("Stage", "timeout_minutes" | "time" | "walltime" | "time_limit" | "time_min") => {
            is("timeout")
        }
        ("Stage", "retry" | "max_retries" | "restarts" | "restart_times" | "attempts") => {
            is("retries")
        }
        ("Stage", "on" | "place" | "cluster" | "profile" | "queue" | "partition") => is("executor"),
        ("Stage", "programs" | "software" | "modules" | "tool") => is("tools"),
        ("Stage", "repeat" | "loop" | "iterations" | "iterate") => is("rounds"),
        ("Stage", "steps" | "jobs" | "rules" | "tasks") => is("stages"),
        ("Stage", "wdir" | "workdir" | "cwd" | "working_dir" | "working_directory") => hint(
            "a command runs in a directory of its own, where its inputs lie: leave it out, or begin `run` with `cd`",
        ),
        (
            "File",
            "rule" | "rules" | "step" | "steps" | "job" | "jobs" | "task" | "tasks" | "stage"
            | "pipeline" | "nodes" | "processes" | "targets",
        ) => is("stages"),
        (
            "File",
            "variables" | "var" | "params" | "parameters" | "config" | "globals" | "constants"
            | "values",
        ) => is("vars"),
        ("File", "includes" | "import" | "imports" | "extends") => is("include"),
        ("File", "environments" | "configs" | "profile") => is("profiles"),
        ("File", "hypotheses" | "asserts" | "assertions" | "tests" | "checks" | "claim") => {
            is("claims")
        }
        ("File", "plots" | "plot" | "figure" | "charts") => is("figures"),
        ("Figure", "metric" | "value" | "y_metric") => is("of"),
        ("Figure", "kind" | "type" | "shape") => is("show"),
        ("Figure", "scale" | "logscale") => is("log"),
        ("File", "desc" | "about" | "title" | "doc") => is("description"),
        ("File", "default") => is("defaults"),
        ("File", "env" | "environment") => hint("`env` belongs to a stage"),
        ("File", "resources" | "timeout" | "retries" | "sandbox") => {
            hint("for all stages, write it under `defaults`")
        }
        ("Resources", "threads" | "cores" | "cpu" | "nproc" | "num_cpus" | "ncpus") => is("cpus"),
        ("Resources", "mem" | "mem_mb" | "ram") => is("memory"),
        ("Resources", "gpu" | "num_gpus" | "ngpus") => is("gpus"),
        ("Resources", "lock" | "locks" | "mutexes") => is("mutex"),
        ("Rounds", "n" | "times" | "rounds" | "number" | "max") => is("count"),
        ("Claim", "expected" | "expectation" | "expects" | "assert") => is("expect"),
        ("Claim", "measurement" | "metric" | "value") => is("measure"),
        ("Claim", "comparison" | "test") => is("compare"),
        _ => return None,
    })
}

/// An answer of [`meant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// The field of the same meaning.
    Field(&'static str),
    /// What to write instead.
    Hint(&'static str),
}
