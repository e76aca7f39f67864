//! The container a process runs in, read from the path of its cgroup.

/// Letters of a container id as docker, containerd, CRI-O and podman make them: a SHA-256 in hexadecimal.
const ID_LETTERS: usize = 64;

/// The container id in a cgroup's path, or `None` when the cgroup belongs to no container.
///
/// The innermost directory that carries an id wins, so a container inside a container is itself, not its host:
/// `/docker/<id>`, `/system.slice/docker-<id>.scope`, `/kubepods/pod…/<id>`, `…/cri-containerd-<id>.scope`,
/// `…:cri-containerd:<id>`, `…/crio-<id>.scope`, `…/libpod-<id>.scope/container`. The monitor beside a container
/// (`libpod-conmon-<id>.scope`) runs on the host and has none.
pub fn container_id(cgroup_path: &str) -> Option<&str> {
    cgroup_path.rsplit('/').find_map(|directory| {
        let name = directory.strip_suffix(".scope").unwrap_or(directory);
        let (runtime, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
        let is_monitor = runtime.ends_with("conmon");
        (is_id(id) && !is_monitor).then_some(id)
    })
}

/// The container id in the text of `/proc/PID/cgroup`: the unified hierarchy's line first, then the others, because on a
/// host with both hierarchies a runtime may make its directories in the old one only.
pub fn container_id_of_lines(cgroup_lines: &str) -> Option<&str> {
    let path = |line: &'_ str| line.splitn(3, ':').nth(2).map(str::len).map(|length| line.len() - length);
    let unified = cgroup_lines.lines().filter(|line| line.starts_with("0::"));
    let others = cgroup_lines.lines().filter(|line| !line.starts_with("0::"));
    unified.chain(others).find_map(|line| path(line).and_then(|start| container_id(&line[start..])))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LETTERS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(path: &str, expected: Option<&str>) {
        let path = path.replace("ID", ID);
        assert_eq!(container_id(&path), expected, "{path}");
    }

    #[test]
    fn every_runtime_s_path_gives_the_id() {
        check("/docker/ID", Some(ID));
        check("/system.slice/docker-ID.scope", Some(ID));
        check("/kubepods/burstable/pod6a2a-11/ID", Some(ID));
        check("/kubepods.slice/kubepods-burstable.slice/kubepods-pod6a.slice/cri-containerd-ID.scope", Some(ID));
        check("/system.slice/containerd.service/kubepods-pod6a.slice:cri-containerd:ID", Some(ID));
        check("/kubepods.slice/crio-ID.scope", Some(ID));
        check("/machine.slice/libpod-ID.scope/container", Some(ID));
        check("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", Some(ID));
    }

    #[test]
    fn a_host_s_cgroup_gives_none() {
        check("/", None);
        check("", None);
        check("/system.slice/ssh.service", None);
        check("/machine.slice/libpod-conmon-ID.scope", None);
        check("/kubepods.slice/crio-conmon-ID.scope", None);
        check("/docker/ID0", None);
        check("/docker/0123456789ABCDEF", None);
    }

    #[test]
    fn the_innermost_container_wins() {
        let inner = ID.replace('0', "f");
        assert_eq!(container_id(&format!("/docker/{ID}/docker/{inner}")), Some(inner.as_str()));
        assert_eq!(container_id(&format!("/docker/{ID}/init.scope")), Some(ID));
    }

    #[test]
    fn the_old_hierarchies_are_read_when_the_unified_one_says_nothing() {
        let lines = format!("4:memory:/docker/{ID}\n1:cpu:/\n0::/\n");
        assert_eq!(container_id_of_lines(&lines), Some(ID));
        assert_eq!(container_id_of_lines("1:cpu:/\n0::/init.scope\n"), None);
        assert_eq!(container_id_of_lines("not a cgroup file"), None);
    }
}
