//! Processes that cannot outlive the lab.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result};
use tokio::sync::watch;

/// What to run, and where its output goes.
pub(crate) struct Program<'a> {
    /// The interpreter that runs the guard.
    pub(crate) python: &'a Path,
    pub(crate) command: Vec<&'a OsStr>,
    pub(crate) environment: &'a [(String, String)],
    /// Working directory.
    pub(crate) directory: &'a Path,
    /// Standard output and standard error are appended here.
    pub(crate) log: &'a Path,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Starting,
    Running(u32),
    Exited(Option<i32>),
}

/// A process started through `guard.py`, which kills it when the lab ends, however it ends.
///
/// It depends on no async runtime, so it may be started in one test and used in another.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
    /// Closed to have the process killed.
    orders: Mutex<Option<ChildStdin>>,
    state: watch::Receiver<State>,
}

impl Guarded {
    pub(crate) fn spawn(program: &Program<'_>) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(program.log)?;
        let mut guard = Command::new(program.python)
            .args(["-I", "-S", "-c", include_str!("guard.py")])
            .args(&program.command)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(program.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the lab alone: the guard must outlive it to clean up.
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", program.python.display()))?;
        let orders = guard.stdin.take();
        let told = guard.stdout.take().context("the guard has a standard output")?;

        let (report, state) = watch::channel(State::Starting);
        thread::spawn(move || {
            let mut lines = BufReader::new(told).lines().map_while(Result::ok);
            if let Some(pid) = lines.next().and_then(|line| line.parse().ok()) {
                report.send_replace(State::Running(pid));
            }
            report.send_replace(State::Exited(lines.next().and_then(|line| line.parse().ok())));
        });
        Ok(Self { guard, orders: Mutex::new(orders), state })
    }

    /// The process ID of the program itself, not of its guard, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match *self.state.borrow() {
            State::Running(pid) => Some(pid),
            State::Starting | State::Exited(_) => None,
        }
    }

    pub(crate) fn has_exited(&self) -> bool {
        matches!(*self.state.borrow(), State::Exited(_))
    }

    /// Waits for the program to end. Its exit status is negative when a signal ended it, and `None`
    /// when it could not even be started (the log says why).
    pub(crate) async fn exited(&self) -> Option<i32> {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Exited(_))).await.as_deref() {
            Ok(State::Exited(status)) => *status,
            // The reporting thread is gone, and so is the guard.
            _ => None,
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.order(b"terminate\n");
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        self.order(b"kill\n");
    }

    fn order(&self, order: &[u8]) {
        let mut orders = self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A guard that is gone has seen its program end, which is what was asked for.
        let _gone = orders.as_mut().map(|orders| orders.write_all(order));
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.orders.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        // Awaited so that ports and files are free by the time this returns.
        let _status = self.guard.wait();
    }
}
