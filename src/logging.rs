//! What the bot logs, and what it never logs.

use std::{
    error::Error,
    io::{self, IsTerminal as _},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

/// Logs to standard error, as `filter` says: a level, or levels by module.
///
/// # Errors
///
/// When logging was set up before.
pub fn init(filter: &crate::config::LogFilter) -> Result<(), TryInitError> {
    // The filter was parsed when the configuration was read.
    let filter = parse(filter.as_str()).unwrap_or_default();
    tracing_subscriber::registry().with(layer(io::stderr, filter)).try_init()
}

fn layer<W>(writer: W, filter: EnvFilter) -> impl Layer<Registry>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    fmt::layer()
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .with_filter(filter.and(filter_fn(may_log)))
}

/// Parses a log filter.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, Box<dyn Error>> {
    // `EnvFilter` takes a misspelt level for the name of a module.
    for word in filter.split(',').map(str::trim).filter(|word| !word.contains('=')) {
        if !word.contains("::") && word.parse::<LevelFilter>().is_err() {
            return Err(format!("{word:?} is not a log level").into());
        }
    }
    Ok(EnvFilter::builder().parse(filter)?)
}

/// Tern's own code may log at every level, because it never puts a secret into a log line.
/// Dependencies make no such promise: below `WARN`, HTTP and TLS libraries write headers and bytes
/// as they are sent, and matrix-sdk writes requests, answers and the arguments of its functions
/// (its spans are at `INFO` and below). So theirs are left out whatever the filter says, and spans
/// with them. What remains are warnings, which are about what failed and not about what was sent.
///
/// Two of matrix-sdk's modules warn of what is well: that there is no key backup, which the bot does
/// not want, and each answer that is a "not found". The bot logs what failed itself.
fn may_log(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_noise = ["matrix_sdk_crypto::backups", "matrix_sdk::http_client"].contains(&target);
    target == "tern"
        || target.starts_with("tern::")
        || (*metadata.level() <= Level::WARN && !is_noise)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let layer = layer(move || writer.clone(), parse(filter).unwrap());
        with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn at_trace_a_dependency_logs_only_warnings_and_no_spans() {
        let log = logged("trace", || {
            let span = tracing::info_span!(target: "matrix_sdk", "login", token = "syt_token");
            let _inside = span.enter();
            tracing::info!(target: "hyper::proto", "syt_header");
            tracing::trace!(target: "ternary", "syt_other");
            tracing::warn!(target: "matrix_sdk", "something failed");
            tracing::trace!("a step");
        });
        assert!(!log.contains("syt_"), "{log}");
        assert!(log.contains("something failed") && log.contains("a step"), "{log}");
    }

    #[test]
    fn the_filter_holds_for_tern_too() {
        let log = logged("warn", || tracing::info!("a step"));
        assert_eq!(log, "");
    }
}
