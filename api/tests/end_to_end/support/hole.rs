//! A network in which an address does not answer.

use std::process::{Command, Stdio};

/// A network namespace in which one address is a hole: its frames go to a neighbour that does not answer.
pub struct Hole(String);

impl Hole {
    /// The address nobody owns.
    pub const ADDRESS: &str = "10.231.7.2";

    /// Makes it; the name tells tests apart that run at once.
    pub fn create(name: &str) -> Hole {
        let hole = Hole(format!("pp_test_{name}_{}", std::process::id()));
        let ip = |line: String| {
            let output = Command::new("ip").args(line.split(' ')).output().expect("iproute2 is installed");
            assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let name = &hole.0;
        ip(format!("netns add {name}"));
        ip(format!("-n {name} link add pp_a type veth peer name pp_b"));
        ip(format!("-n {name} address add 10.231.7.1/24 dev pp_a"));
        ip(format!("-n {name} link set pp_a up"));
        ip(format!("-n {name} link set pp_b up"));
        ip(format!("-n {name} neighbour add {} lladdr 02:00:00:00:00:01 dev pp_a nud permanent", Hole::ADDRESS));
        hole
    }

    /// A command that runs in it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(arguments).stderr(Stdio::null());
        command
    }

    /// Segments that the kernel has sent again in it, by its own count.
    pub fn segments_sent_again(&self) -> u64 {
        let output = self.command(&["cat", "/proc/net/snmp"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let place = names.split(' ').position(|name| name == "RetransSegs").unwrap();
        values.split(' ').nth(place).unwrap().parse().unwrap()
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "delete", &self.0]).stderr(Stdio::null()).status().ok();
    }
}
