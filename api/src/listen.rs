//! Opens a door's socket, and says who holds the port when it is taken.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Binds `address` for the door called `door`; port 0 takes a free one.
pub async fn bind(door: &str, flag: &str, address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = if error.kind() == io::ErrorKind::AddrInUse {
            let holder = holder_of_port(address.port());
            let holder = holder.unwrap_or_else(|| "a process that cannot be seen from here".to_owned());
            format!("it is taken by {holder}; stop that, or give another {flag}")
        } else {
            error.to_string()
        };
        io::Error::new(error.kind(), format!("cannot open the {door} door on {address}: {why}"))
    })
}

/// The process that listens on a TCP port of this host: `postgres (process 812)`.
///
/// Reads `/proc`: the socket's inode from `net/tcp`, then the process with a descriptor of that inode.
fn holder_of_port(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| listener_inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name().into_string().unwrap_or_default();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()));
        if holds {
            let command = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {name})", command.trim()));
        }
    }
    None
}

/// The inode in a line of `/proc/net/tcp` when it is a listener (state 0A) on `port`.
fn listener_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local_port = fields.get(1)?.rsplit_once(':')?.1;
    let listens = *fields.get(3)? == "0A";
    (listens && u16::from_str_radix(local_port, 16).ok()? == port)
        .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_holder() {
        let first = bind("test", "--test-listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let error = bind("test", "--test-listen", first.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(error.contains("--test-listen"), "{error}");
    }
}
