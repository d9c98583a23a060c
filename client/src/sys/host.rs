//! What this machine is called and what it runs.

/// The host name; empty when the kernel does not say.
pub fn name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The running kernel, for example `Linux version 6.1.0`.
pub fn kernel() -> String {
    match nix::sys::utsname::uname() {
        Ok(uname) => {
            format!("{} version {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())
        }
        Err(_) => String::new(),
    }
}

/// The machine's architecture as the kernel names it, for example `x86_64`.
pub fn machine() -> String {
    nix::sys::utsname::uname().map(|uname| uname.machine().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Number of the user that this process acts as.
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Seconds since the machine started, as `/proc/uptime` counts them: no setting of the clock changes it.
pub fn uptime() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split(['.', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_says_who_it_is() {
        assert!(super::kernel().starts_with("Linux version "));
        assert!(!super::machine().is_empty() && super::uptime().is_some());
    }
}
