-- TCP segments that were sent again. Timers send them, so the process is not known.
-- Cost: a few hundred nanoseconds for each segment sent again.
CREATE PROBE tcp_retransmit AS
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
    tcp_state_name(state) AS state                -- state of the connection
FROM tracepoint.tcp_retransmit_skb;
