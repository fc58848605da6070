//! Threads whose end is noticed: one that panics says so, and whoever would wait for it can ask
//! instead.
//!
//! A panic is a fault of this program. It is told in one line, and ends the run with an error,
//! never with silence.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

static TROUBLE: Mutex<Option<String>> = Mutex::new(None);

/// Starts a thread.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let its_name = name.to_owned();
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(what) = caught(work) {
            let mut trouble = TROUBLE.lock().unwrap_or_else(|e| e.into_inner());
            trouble.get_or_insert(format!("the thread `{its_name}` broke down: {what}"));
        }
    })
}

/// Starts the threads that share large work (hashing), if they are not there. Whoever uses them
/// first would start them too, but could only panic where the system has no thread to give.
///
/// # Errors
/// The system has no thread to give.
pub fn start_pool() -> std::io::Result<()> {
    match rayon::ThreadPoolBuilder::new().build_global() {
        // Without a cause: they are there.
        Err(e) if std::error::Error::source(&e).is_some() => Err(std::io::Error::other(e)),
        _ => Ok(()),
    }
}

/// What the first thread that panicked said.
pub fn trouble() -> Option<String> {
    TROUBLE.lock().unwrap_or_else(|e| e.into_inner()).clone()
}

/// Does the work; a panic in it becomes an error.
///
/// # Errors
/// What the panic said.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What the work was changing is given up with it: callers use nothing of it afterwards.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("it did not say why").to_owned()
}

/// From now on a panic is told in one line, with its place in the source.
pub fn tell_panics(tell: fn(&str)) {
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let place = info
            .location()
            .map_or_else(String::new, |l| format!(", {}:{}", l.file(), l.line()));
        let what = message(info.payload());
        tell(&format!(
            "BUG: {what} (thread {name}{place}); this is a fault in repro: please report it"
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_37_a_panic_becomes_an_error() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| panic!("no {}", 1)), Err::<(), _>("no 1".into()));
        assert_eq!(caught(|| panic!("no")), Err::<(), _>("no".into()));
        assert_eq!(trouble(), None);
        spawn("case", || panic!("gone")).unwrap().join().unwrap();
        let told = trouble().unwrap();
        assert_eq!(told, "the thread `case` broke down: gone");
    }
}
