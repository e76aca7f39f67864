-- TCP connections that ended, in windows of 10 s, by cgroup, who connected, direction, port and peer; with their bytes and how
-- long they were. Those that began before the probe are left out. The owner is remembered when it connects; of those
-- that were accepted only the cgroup is known: the socket has it. On. (The kernel's bytes_received has one more when the peer
-- ended its stream; a flag of the socket says so.)
-- Cost: some 500 ns for each connection; 2 MiB of memory for each processor.
CREATE PROBE tcp_flow WITH (max_keys = 4096) AS
SELECT
    time_bucket('10 seconds', c.time) AS time,    -- when the window began
    (c.skaddr::sock).sk_cgrp_data.cgroup.kn.id AS cgroup_id, -- id of the cgroup (version 2) of the socket
    container((c.skaddr::sock).sk_cgrp_data.cgroup.kn.id) AS container_id, -- id of the container; NULL outside of one
    CASE WHEN o.newstate = 2 THEN o.current.comm END AS comm, -- name of the thread that connected; NULL when the peer did
    CASE WHEN o.newstate = 2 THEN 'out' ELSE 'in' END AS direction, -- who connected: out is this side
    CASE WHEN o.newstate = 2 THEN c.dport ELSE c.sport END AS port, -- port of the service: the peer's when out, own when in
    inet(c.daddr_v6) AS remote_address,           -- the peer's address
    count(*) AS events,                           -- connections that ended
    count(*) FILTER (WHERE c.oldstate IN (2, 3)) AS failures, -- those that were never established
    sum((c.skaddr::tcp_sock).bytes_sent - (c.skaddr::tcp_sock).bytes_retrans) AS sent_bytes, -- sent, each byte once; bytes
    sum((c.skaddr::tcp_sock).bytes_received - (c.skaddr::sock_common).skc_flags / 2 % 2) AS received_bytes, -- received, each byte once; bytes
    sum((c.skaddr::tcp_sock).total_retrans) AS retransmits, -- segments that were sent again
    avg(c.nsecs - o.nsecs) AS duration_mean_ns,   -- mean time from connect or its first answer to the end; ns
    max(c.nsecs - o.nsecs) AS duration_max_ns     -- the longest; ns
FROM tp_btf.inet_sock_set_state o JOIN tracepoint.inet_sock_set_state c
    -- from SYN_SENT or SYN_RECV to CLOSE
    ON o.sk = c.skaddr AND o.newstate IN (2, 3) AND c.newstate = 7 AND c.protocol = 6
GROUP BY 1, 2, 3, 4, 5, 6, 7;
