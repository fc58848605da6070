//! Credentials for S3, in the order of Amazon's own tools: environment, web identity, profile
//! (`~/.aws`), container, machine.
//!
//! `object_store` knows all but profiles. A profile with keys is read here; one that needs a
//! program or a log-in is asked of that program (`credential_process`) or of `aws` itself, and
//! asked again before what it gave ends.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use serde::Deserialize;

use super::Env;

/// The address every machine of Amazon's answers at.
const MACHINE: ([u8; 4], u16) = ([169, 254, 169, 254], 80);
/// Credentials that end sooner are asked for again.
const MARGIN_S: i64 = 300;

/// Where credentials are.
pub(super) enum Credentials {
    /// Nothing is signed.
    None,
    /// In variables, or in `~/.aws`.
    Keys(AwsCredentialProvider),
    /// A container, a cluster or the machine this runs on has a role; `object_store` finds its way.
    Role,
}

/// One profile of `~/.aws/config` and `~/.aws/credentials`.
#[derive(Default)]
pub(super) struct Profile {
    name: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    values: BTreeMap<String, String>,
}

impl Profile {
    /// Reads the profile `wanted`, or `AWS_PROFILE`, or `default`. No files at all are an empty
    /// profile.
    pub fn read(wanted: Option<&str>, env: Env<'_>) -> Result<Profile, String> {
        let asked = wanted.map(str::to_owned).or_else(|| env("AWS_PROFILE"));
        let name = asked.clone().unwrap_or_else(|| "default".to_owned());
        let place = |variable: &str, file: &str| {
            env(variable)
                .map(PathBuf::from)
                .or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".aws").join(file)))
        };
        let mut values = BTreeMap::new();
        let mut is_there = false;
        let mut services = String::new();
        for (path, section) in [
            (
                place("AWS_CONFIG_FILE", "config"),
                match name.as_str() {
                    "default" => "default".to_owned(),
                    other => format!("profile {other}"),
                },
            ),
            (
                place("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
                name.clone(),
            ),
        ] {
            let Some(path) = path else { continue };
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(format!("cannot read `{}`: {e}", path.display())),
            };
            if let Some(found) = section_of(&text, &section) {
                is_there = true;
                values.extend(found);
            }
            services.push_str(&text);
            services.push('\n');
        }
        if let (Some(asked), false) = (&asked, is_there) {
            return Err(format!(
                "there is no profile `{asked}` in ~/.aws/config or ~/.aws/credentials"
            ));
        }
        // A section of services may say where S3 is; it knows better than the profile.
        let of_service = values
            .get("services")
            .and_then(|name| nested_in(&services, &format!("services {name}"), "s3"))
            .and_then(|s3| s3.get("endpoint_url").cloned());
        let is_ignored = |text: &String| text.eq_ignore_ascii_case("true");
        let ignores_endpoints = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .or_else(|| values.get("ignore_configured_endpoint_urls").cloned())
            .is_some_and(|text| is_ignored(&text));
        Ok(Profile {
            region: values.get("region").cloned(),
            endpoint: of_service
                .or_else(|| values.get("endpoint_url").cloned())
                .filter(|_| !ignores_endpoints),
            name,
            values,
        })
    }

    fn provider(&self) -> Result<Option<AwsCredentialProvider>, String> {
        let get = |name: &str| self.values.get(name).cloned();
        if let (Some(key_id), Some(secret_key)) =
            (get("aws_access_key_id"), get("aws_secret_access_key"))
        {
            return Ok(Some(Arc::new(Fixed(Arc::new(AwsCredential {
                key_id,
                secret_key,
                token: get("aws_session_token"),
            })))));
        }
        let words: Vec<String> = match get("credential_process") {
            Some(line) => shlex::split(&line)
                .ok_or("`credential_process` in ~/.aws/config has a quote that does not end")?,
            None if ["role_arn", "sso_session", "sso_start_url", "login_session"]
                .iter()
                .any(|name| self.values.contains_key(*name)) =>
            {
                [
                    "aws",
                    "configure",
                    "export-credentials",
                    "--format",
                    "process",
                    "--profile",
                ]
                .into_iter()
                .map(str::to_owned)
                .chain([self.name.clone()])
                .collect()
            }
            None => return Ok(None),
        };
        Ok(Some(Arc::new(Asked {
            words,
            profile: self.name.clone(),
            last: Mutex::new(None),
        })))
    }
}

/// Decides where credentials come from.
pub(super) fn credentials(
    profile: &Profile,
    anonymous: bool,
    env: Env<'_>,
) -> Result<Credentials, String> {
    if anonymous {
        return Ok(Credentials::None);
    }
    let is_set = |name: &str| env(name).is_some();
    if let (Some(key_id), Some(secret_key)) =
        (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Credentials::Keys(Arc::new(Fixed(Arc::new(
            AwsCredential {
                key_id,
                secret_key,
                token: env("AWS_SESSION_TOKEN"),
            },
        )))));
    }
    if is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN") {
        return Ok(Credentials::Role);
    }
    if let Some(provider) = profile.provider()? {
        return Ok(Credentials::Keys(provider));
    }
    let has_container = is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        || is_set("AWS_METADATA_ENDPOINT");
    let is_off = env("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    // Elsewhere nothing answers there, and asking properly would take half a minute.
    let has_machine = || {
        let patience = Duration::from_millis(500);
        TcpStream::connect_timeout(&SocketAddr::from(MACHINE), patience).is_ok()
    };
    if has_container || !is_off && has_machine() {
        return Ok(Credentials::Role);
    }
    Err("there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE and a profile in ~/.aws, \
         or write `anonymous = true` in repro.remotes.toml for a public bucket"
        .to_owned())
}

/// The values of one section of an INI file, as the AWS tools write it.
fn section_of(text: &str, wanted: &str) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let is_found = each_value(text, wanted, |name, value, group| {
        if group.is_none() {
            values.insert(name, value);
        }
    });
    is_found.then_some(values)
}

/// The values below `group =` in a section: lines that are indented.
fn nested_in(text: &str, wanted: &str, group: &str) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let is_found = each_value(text, wanted, |name, value, of| {
        if of == Some(group) {
            values.insert(name, value);
        }
    });
    is_found.then_some(values)
}

/// Crates that read INI files do not know Amazon's indented groups, hence this one. Hears name,
/// value and, where the line is nested, under which name it is. Whether there is such a section.
/// Lines and sections that mean nothing to us are passed over.
fn each_value(
    text: &str,
    wanted: &str,
    mut hear: impl FnMut(String, String, Option<&str>),
) -> bool {
    let (mut is_found, mut is_inside) = (false, false);
    let mut group: Option<String> = None;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            // `[profile "my lab"]` is the profile of that name.
            let name = name.split(']').next().unwrap_or_default();
            let name = name.replace(['"', '\''], "");
            is_inside = name.split_whitespace().eq(wanted.split_whitespace());
            is_found |= is_inside;
            group = None;
        } else if is_inside && let Some((name, value)) = line.split_once('=') {
            let (name, value) = (name.trim().to_lowercase(), value.trim().to_owned());
            if is_nested {
                hear(name, value, group.as_deref());
            } else {
                // Only what has no value of its own has lines below it.
                group = value.is_empty().then(|| name.clone());
                hear(name, value, None);
            }
        }
    }
    is_found
}

/// Keys that stay.
struct Fixed(Arc<AwsCredential>);

impl std::fmt::Debug for Fixed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("keys of a profile")
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Fixed {
    type Credential = AwsCredential;
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.0.clone())
    }
}

/// Keys that a program gives.
struct Asked {
    words: Vec<String>,
    profile: String,
    last: Mutex<Option<(Arc<AwsCredential>, Option<jiff::Timestamp>)>>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "keys of the profile {}", self.profile)
    }
}

/// What such a program writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl Asked {
    fn ask(&self) -> Result<Arc<AwsCredential>, String> {
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((credential, end)) = &*last
            && end.is_none_or(|end| end.as_second() - jiff::Timestamp::now().as_second() > MARGIN_S)
        {
            return Ok(credential.clone());
        }
        let failed = |why: String| {
            format!(
                "the profile `{}` gives no credentials: {why}; log in (`aws sso login --profile {}`), or set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY",
                self.profile, self.profile
            )
        };
        let (program, args) = self
            .words
            .split_first()
            .ok_or_else(|| failed("`credential_process` is empty".to_owned()))?;
        let output = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| failed(format!("cannot run `{program}`: {e}")))?;
        if !output.status.success() {
            return Err(failed(format!("`{program}` ended with {}", output.status)));
        }
        // What it wrote is secret, and so is where in it an error lies.
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed(format!("`{program}` wrote no credentials")))?;
        let credential = Arc::new(AwsCredential {
            key_id: answer.access_key_id,
            secret_key: answer.secret_access_key,
            token: answer.session_token,
        });
        let end = answer.expiration.and_then(|text| text.parse().ok());
        *last = Some((credential.clone(), end));
        Ok(credential)
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Asked {
    type Credential = AwsCredential;
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        tokio::task::block_in_place(|| self.ask()).map_err(|why| {
            object_store::Error::Unauthenticated {
                path: String::new(),
                source: why.into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
[default]
region = eu-central-1
s3 =
  addressing_style = path
  region = nested
[profile lab]
region=eu-west-1
endpoint_url = https://s3.example.org
[profile program]
credential_process = sh -c \"printf '{\\\"AccessKeyId\\\":\\\"A\\\",\\\"SecretAccessKey\\\":\\\"s\\\",\\\"Expiration\\\":\\\"2001-01-01T00:00:00Z\\\"}'\"
[profile sso]
sso_session = work
";
    const KEYS: &str = "# mine\n[lab]\naws_access_key_id = AK\naws_secret_access_key = a=b/c+d\n\n[half]\naws_access_key_id = AK\n";

    const SERVICES: &str = "\
[sso-session work]
sso_start_url = https://example.awsapps.com/start
sso_region = eu-west-1
[profile \"my lab\"]
services = lab
sso_session = work
region = eu-west-1
endpoint_url = https://all.example.org
[services lab]
dynamodb =
  endpoint_url = https://dynamodb.example.org
s3 =
  endpoint_url = https://s3.example.org
  addressing_style = path
";

    #[test]
    fn case_32_sections_of_services_and_of_single_sign_on_are_understood() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config");
        std::fs::write(&path, SERVICES).unwrap();
        let env =
            |name: &str| (name == "AWS_CONFIG_FILE").then(|| path.to_str().unwrap().to_owned());
        let profile = Profile::read(Some("my lab"), &env).unwrap();
        assert_eq!(profile.endpoint.as_deref(), Some("https://s3.example.org"));
        assert_eq!(profile.region.as_deref(), Some("eu-west-1"));
        assert!(profile.provider().unwrap().is_some(), "asked of `aws`");
        let ignoring = |name: &str| match name {
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" => Some("true".to_owned()),
            other => env(other),
        };
        let profile = Profile::read(Some("my lab"), &ignoring).unwrap();
        assert_eq!(profile.endpoint, None);
    }

    fn files() -> (tempfile::TempDir, impl Fn(&str) -> Option<String>) {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        std::fs::write(aws.join("config"), CONFIG).unwrap();
        std::fs::write(aws.join("credentials"), KEYS).unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        (home, move |name: &str| {
            (name == "HOME").then(|| path.clone())
        })
    }

    #[test]
    fn a_profile_is_read_as_the_aws_tools_do() {
        let (_home, env) = files();
        let lab = Profile::read(Some("lab"), &env).unwrap();
        assert_eq!(lab.region.as_deref(), Some("eu-west-1"));
        assert_eq!(lab.endpoint.as_deref(), Some("https://s3.example.org"));
        assert_eq!(lab.values["aws_secret_access_key"], "a=b/c+d");
        assert!(lab.provider().unwrap().is_some());
        let default = Profile::read(None, &env).unwrap();
        assert_eq!(default.region.as_deref(), Some("eu-central-1"));
        assert!(default.provider().unwrap().is_none());
        assert!(Profile::read(Some("none"), &env).is_err());
        assert!(Profile::read(None, &|_| None).is_ok());
    }

    #[test]
    fn the_environment_comes_first() {
        let (_home, env) = files();
        let profile = Profile::read(Some("lab"), &env).unwrap();
        let found = |set: &[&str], anonymous| {
            let found = credentials(&profile, anonymous, &|name| {
                set.contains(&name).then(|| name.to_owned())
            });
            match found.unwrap() {
                Credentials::None => "none".to_owned(),
                Credentials::Role => "role".to_owned(),
                Credentials::Keys(provider) => {
                    let runtime = crate::remote::backends::runtime::Runtime::new().unwrap();
                    let found = runtime.wait(provider.get_credential()).unwrap();
                    found.key_id.clone()
                }
            }
        };
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let web = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"];
        let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
        assert_eq!(found(&keys, false), "AWS_ACCESS_KEY_ID");
        assert_eq!(found(&keys[..1], false), "AK");
        assert_eq!(found(&web, false), "role");
        assert_eq!(found(&container, false), "AK");
        assert_eq!(found(&keys, true), "none");
    }

    #[test]
    fn a_program_is_asked_for_keys_and_nothing_secret_is_shown() {
        let asked = |words: &[&str]| Asked {
            words: words.iter().map(|w| (*w).to_owned()).collect(),
            profile: "p".to_owned(),
            last: Mutex::new(None),
        };
        let (_home, env) = files();
        let profile = Profile::read(Some("program"), &env).unwrap();
        let words = shlex::split(&profile.values["credential_process"]);
        assert_eq!(words.as_ref().map(Vec::len), Some(3), "{words:?}");
        let good = asked(&[
            "printf",
            "%s",
            r#"{"AccessKeyId":"A","SecretAccessKey":"s3cret"}"#,
        ]);
        let credential = good.ask().unwrap();
        assert_eq!(
            (&*credential.key_id, &*credential.secret_key),
            ("A", "s3cret")
        );
        assert!(!format!("{good:?}").contains("s3cret"));
        for bad in [
            asked(&["printf", "s3cret"]),
            asked(&["false"]),
            asked(&["no-such-program-here"]),
            asked(&[]),
        ] {
            let error = bad.ask().err().unwrap();
            assert!(
                !error.contains("s3cret") && error.contains("aws sso login"),
                "{error}"
            );
        }
        assert!(shlex::split("a 'b").is_none());
    }
}
