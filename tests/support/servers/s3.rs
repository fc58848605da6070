//! An S3 server that keeps buckets as directories.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

/// The access key it knows.
pub const ACCESS_KEY: &str = "AKTESTTESTTEST";
/// Its secret.
pub const SECRET_KEY: &str = "test/secret+key";

/// See the module. Its thread ends with the process.
pub struct S3 {
    dir: tempfile::TempDir,
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
}

impl S3 {
    /// Starts one with these buckets.
    pub fn start(buckets: &[&str]) -> S3 {
        let dir = tempfile::tempdir().expect("a directory");
        for bucket in buckets {
            std::fs::create_dir(dir.path().join(bucket)).expect("a bucket");
        }
        let (tell, told) = mpsc::channel();
        let root = dir.path().to_owned();
        std::thread::spawn(move || serve(&root, &tell));
        let port: u16 = told.recv().expect("the server starts");
        S3 {
            dir,
            endpoint: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Where the objects of a bucket are, as files.
    pub fn bucket_dir(&self, bucket: &str) -> PathBuf {
        self.dir.path().join(bucket)
    }

    /// The environment of a client that may do everything.
    pub fn env(&self, name: &str) -> Option<String> {
        match name {
            "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET_KEY.to_owned()),
            _ => None,
        }
    }
}

fn serve(root: &Path, tell: &mpsc::Sender<u16>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(async {
        let files = s3s_fs::FileSystem::new(root).expect("the directory");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("its address").port();
        tell.send(port).expect("somebody waits");
        let server = Builder::new(TokioExecutor::new());
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                continue;
            };
            let (root, service) = (root.to_owned(), service.clone());
            let answer = service_fn(move |request: Request<Incoming>| {
                // s3s-fs answers 500 when asked for the head of what is a directory to it; S3 knows
                // no directories.
                let named = root.join(request.uri().path().trim_start_matches('/'));
                let is_missing = request.method() == Method::HEAD
                    && named.is_dir()
                    && named.parent() != Some(&root);
                let service = service.clone();
                async move {
                    if is_missing {
                        let mut response = Response::new(s3s::Body::empty());
                        *response.status_mut() = StatusCode::NOT_FOUND;
                        return Ok(response);
                    }
                    service.call(request.map(s3s::Body::from)).await
                }
            });
            let connection = server
                .serve_connection(TokioIo::new(socket), answer)
                .into_owned();
            tokio::spawn(async move {
                let _ = connection.await;
            });
        }
    });
}
