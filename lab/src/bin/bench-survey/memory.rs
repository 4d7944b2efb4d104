//! How much memory a process takes at most while something is measured.

use std::fs;

use serde::{Deserialize, Serialize};

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// When the measurement began.
    before: u64,
    /// The most there was until it ended.
    pub(crate) peak: u64,
}

impl Memory {
    /// What was taken on top of what was there before.
    pub(crate) fn more(&self) -> u64 {
        self.peak.saturating_sub(self.before)
    }
}

/// A process whose memory is measured.
#[derive(Debug)]
pub(crate) struct Gauge {
    pid: u32,
    before: Option<u64>,
}

impl Gauge {
    /// Measures from now on.
    pub(crate) fn begin(pid: u32) -> Self {
        // Forgets the peak so far
        // (https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html). Where that is not
        // possible, the peak is that of the whole life of the process.
        let _kept = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        Self { pid, before: figure(pid, "VmRSS:") }
    }

    /// What was measured; `None` on systems without a `/proc` that tells.
    pub(crate) fn read(&self) -> Option<Memory> {
        Some(Memory { before: self.before?, peak: figure(self.pid, "VmHWM:")? })
    }
}

/// A line of <https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>, in bytes.
fn figure(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
