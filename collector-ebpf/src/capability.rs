//! Which rights this process lacks for loading probes, and how to give them to it.

use std::path::Path;

/// What loading, attaching and naming need, by the kernel's numbers. `CAP_SYS_ADMIN` holds the first two as well.
///
/// * `CAP_BPF`: maps and programs.
/// * `CAP_PERFMON`: programs that read kernel memory, and perf events for tracepoints of all tasks.
/// * `CAP_DAC_READ_SEARCH`: tracefs, which only root may read.
/// * `CAP_SYS_PTRACE`: the executables of other users' processes.
const NEEDED: [(&str, u32); 4] =
    [("cap_dac_read_search", 2), ("cap_sys_ptrace", 19), ("cap_perfmon", 38), ("cap_bpf", 39)];

/// From this one on they were once part of `CAP_SYS_ADMIN`, which still holds them.
const PERFMON: u32 = 38;

const SYS_ADMIN: u32 = 21;

/// The user namespace in which capabilities are those of the host maps every user to itself.
const HOST_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Rights that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The missing capabilities, `cap_bpf` and so on.
    pub capabilities: Vec<&'static str>,
    /// In a container's own user namespace: no capability there counts for the host's kernel.
    pub in_user_namespace: bool,
}

impl Missing {
    /// The command that gives `binary` all it needs; `setcap` replaces what a file had, so it names all of them.
    pub fn setcap_command(&self, binary: &Path) -> String {
        let all: Vec<&str> = NEEDED.iter().map(|(name, _)| *name).collect();
        format!("sudo setcap {}=ep {}", all.join(","), quoted(&binary.display().to_string()))
    }

    /// What is missing, as a sentence.
    pub fn sentence(&self) -> String {
        if self.in_user_namespace {
            return "Probes cannot be loaded from a user namespace.".to_string();
        }
        format!("This process lacks {}.", self.capabilities.join(", "))
    }

    /// What to do about it, as a sentence.
    pub fn advice(&self) -> String {
        if self.in_user_namespace {
            return "Run it in the host's user namespace.".to_string();
        }
        let binary = std::env::current_exe().unwrap_or_else(|_| "probepilot".into());
        format!("Run it as root, or give it what it lacks: {}", self.setcap_command(&binary))
    }
}

/// A word for a shell: as it is when nothing in it means something there.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%".contains(c);
    if word.chars().all(plain) { word.to_string() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The rights this process lacks; `None` when it has all.
pub fn missing() -> Option<Missing> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    missing_of(&status, &users)
}

fn missing_of(status: &str, users: &str) -> Option<Missing> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    let holds = |number: u32| (effective >> number) & 1 == 1;
    let has = |number: u32| holds(number) || (number >= PERFMON && holds(SYS_ADMIN));
    let in_user_namespace = !users.split_whitespace().eq(HOST_USERS);
    let capabilities: Vec<&str> = NEEDED.iter().filter(|(_, number)| !has(*number)).map(|(name, _)| *name).collect();
    (in_user_namespace || !capabilities.is_empty()).then_some(Missing { capabilities, in_user_namespace })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::missing_of;

    const HOST: &str = "         0          0 4294967295\n";

    #[test]
    fn what_is_missing_is_named_with_the_command_that_gives_it() {
        let missing = missing_of("Name:\tx\nCapEff:\t0000008000000000\n", HOST).unwrap();
        assert_eq!(missing.capabilities, ["cap_dac_read_search", "cap_sys_ptrace", "cap_perfmon"]);
        assert_eq!(
            missing.setcap_command(Path::new("/usr/bin/probepilot")),
            "sudo setcap cap_dac_read_search,cap_sys_ptrace,cap_perfmon,cap_bpf=ep /usr/bin/probepilot"
        );
        assert!(missing.setcap_command(Path::new("/it's here")).ends_with(r"=ep '/it'\''s here'"));
    }

    #[test]
    fn root_lacks_nothing_and_neither_does_the_exact_set() {
        assert_eq!(missing_of("CapEff:\t000001fffeffffff\n", HOST), None);
        let exact: u64 = (1 << 2) | (1 << 19) | (1 << 38) | (1 << 39);
        assert_eq!(missing_of(&format!("CapEff:\t{exact:016x}\n"), HOST), None);
    }

    #[test]
    fn capabilities_of_a_user_namespace_do_not_count() {
        let missing = missing_of("CapEff:\t000001ffffffffff\n", "0 100000 65536\n").unwrap();
        assert!(missing.in_user_namespace && missing.capabilities.is_empty());
        assert!(missing.sentence().contains("user namespace"));
    }
}
