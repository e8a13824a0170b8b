//! How much memory the process has held at most.

/// Forgets the highest value so far, where the system can (Linux).
pub fn reset_peak_rss() {
    // "5" resets VmHWM (proc(5)). Where it is refused the peak is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident set since the start of the process or the last [`reset_peak_rss`], in MiB; `None` where the
/// system does not say. A software adapter's buffers are part of it, as are mapped files while they are resident.
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_seen() {
        let before = peak_rss_mb().unwrap();
        let block = vec![1u8; 64 << 20];
        let after = peak_rss_mb().unwrap();
        assert!(after >= before + 60.0 || before > 1000.0, "{before} {after} {}", block[12345]);
    }
}
