//! How long is waited, and how often something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::remote::BackendError;

/// Says how many seconds a remote may be silent, for networks that are slower, or for who would
/// rather know sooner.
const VARIABLE: &str = "REPRO_REMOTE_PATIENCE";
/// Seconds, where nothing is said.
const SILENCE_S: u64 = 60;

/// Without a byte from the other side. It spans the sending of a request too, so a part of
/// [`PART_BYTES`] must get through in this time: 140 kB/s.
pub(super) fn silence() -> Duration {
    static SAID: OnceLock<Duration> = OnceLock::new();
    *SAID.get_or_init(|| {
        let said = std::env::var(VARIABLE).ok();
        let seconds = said.and_then(|text| text.trim().parse::<u64>().ok());
        Duration::from_secs(seconds.unwrap_or(SILENCE_S).clamp(1, 86_400))
    })
}

/// Until a connection stands.
pub(super) fn connect() -> Duration {
    silence() / 6
}

/// Size of the pieces large bodies are sent in, and of the largest that is sent in one.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// How often a request is tried, the first time included.
const TRIES: u32 = 4;

/// For the requests `object_store` repeats itself.
pub(super) fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(8),
            base: 2.0,
        },
        max_retries: TRIES as usize - 1,
        retry_timeout: silence() * 3 / 2,
    }
}

pub(super) fn client() -> ClientOptions {
    ClientOptions::new()
        // A whole large body may take long; silence may not.
        .with_timeout_disabled()
        .with_connect_timeout(connect())
        .with_read_timeout(silence())
        .with_user_agent(http_agent())
}

fn http_agent() -> object_store::HeaderValue {
    object_store::HeaderValue::from_static(concat!("repro/", env!("CARGO_PKG_VERSION")))
}

/// Tries again what failed for a transient cause.
pub(super) fn with_patience<T>(
    mut call: impl FnMut(u32) -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    let mut tried = 0;
    loop {
        match call(tried) {
            Err(e) if e.cause.is_transient() && tried + 1 < TRIES => {
                tried += 1;
                std::thread::sleep(pause(tried));
            }
            other => return other,
        }
    }
}

/// Longer each time, and different for each of many clients that failed at the same moment.
fn pause(tried: u32) -> Duration {
    let longest = 200u64 << tried.min(5);
    let random = RandomState::new().hash_one(tried);
    Duration::from_millis(longest / 2 + random % (longest / 2))
}

/// A word no other process makes.
pub(super) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static MADE: AtomicU64 = AtomicU64::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:016x}",
        RandomState::new().hash_one((std::process::id(), made))
    )
}
