//! nginx with its WebDAV modules, asking for a log-in.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, free_port, is_root, program, start};

/// The user it knows.
pub const USER: &str = "lab";
/// The user's password.
pub const PASSWORD: &str = "pass-word";

/// See the module.
pub struct Nginx {
    _running: Running,
    dir: tempfile::TempDir,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

/// How it is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dav {
    /// As WebDAV demands: directories are made by MKCOL.
    Strict,
    /// Directories are made where they are missing.
    Relaxed,
    /// No PROPFIND: it cannot list.
    WithoutListing,
}

impl Nginx {
    /// Starts one; `None` where it is not installed.
    pub fn start(dav: Dav) -> Option<Nginx> {
        let nginx = program("nginx")?;
        let module = Path::new("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so");
        if !module.exists() {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        for made in ["files", "tmp"] {
            std::fs::create_dir(dir.path().join(made)).expect("a directory");
        }
        let port = free_port();
        let at = dir.path().display();
        let user = if is_root() { "user root;" } else { "" };
        let ext = match dav {
            Dav::WithoutListing => String::new(),
            _ => "dav_ext_methods PROPFIND OPTIONS;".to_owned(),
        };
        let full = if dav == Dav::Relaxed { "on" } else { "off" };
        std::fs::write(
            dir.path().join("users"),
            format!("{USER}:{{PLAIN}}{PASSWORD}\n"),
        )
        .expect("the users");
        let config = format!(
            "daemon off; master_process off; {user} pid {at}/pid; error_log stderr warn;\n\
             load_module {module};\nevents {{}}\n\
             http {{\n access_log off; client_body_temp_path {at}/tmp; proxy_temp_path {at}/tmp/p; fastcgi_temp_path {at}/tmp/f;\n\
             uwsgi_temp_path {at}/tmp/u; scgi_temp_path {at}/tmp/s; client_max_body_size 0;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/files;\n\
             location / {{ auth_basic lab; auth_basic_user_file {at}/users; dav_methods PUT DELETE MKCOL COPY MOVE; {ext}\n\
             create_full_put_path {full}; }} }} }}\n",
            module = module.display(),
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).expect("the configuration");
        let mut command = Command::new(nginx);
        command.arg("-c").arg(&file).arg("-p").arg(dir.path());
        let running = start(&mut command, port, &dir.path().join("log"));
        Some(Nginx {
            _running: running,
            dir,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    /// What it serves.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// The environment of a client that has a log-in.
    pub fn env(&self, name: &str) -> Option<String> {
        let file = self.dir.path().join("netrc");
        let text = format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n");
        (name == "NETRC").then(|| {
            std::fs::write(&file, text).expect("a netrc");
            file.display().to_string()
        })
    }
}
