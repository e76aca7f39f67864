-- TCP connections that were established and that ended. Packets change states in interrupts, so the process is not known.
-- Cost: a comparison for each change of a socket's state, a few hundred nanoseconds for each of these.
CREATE PROBE tcp_state AS
SELECT
    pid,                                          -- NULL: it is not known which process
    tid,                                          -- NULL: it is not known which thread
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    inet(saddr_v6) AS local_address,              -- own address
    sport AS local_port,                          -- own port
    inet(daddr_v6) AS remote_address,             -- the peer's address
    dport AS remote_port,                         -- the peer's port
    CASE
        WHEN newstate = 1 AND oldstate = 2 THEN 'out'
        WHEN newstate = 1 AND oldstate = 3 THEN 'in'
    END AS direction,                             -- who connected: out is this side; NULL at the end
    tcp_state_name(oldstate) AS old_state,        -- state before
    tcp_state_name(newstate) AS new_state         -- state after
FROM tracepoint.inet_sock_set_state
WHERE protocol = 6 AND (oldstate = 1 OR newstate = 1);
