-- TCP segments that were sent again, in windows of 10 s, by cgroup, peer and state. Timers send them, so the process is not
-- known; the socket has the cgroup. On. Each of them is a row of tcp_retransmit.
-- Cost: some 400 ns for each segment sent again; 1 MiB of memory for each processor.
CREATE PROBE tcp_retransmit_rate WITH (max_keys = 4096) AS
SELECT
    time_bucket('10 seconds', time) AS time,      -- when the window began
    (skaddr::sock).sk_cgrp_data.cgroup.kn.id AS cgroup_id, -- id of the cgroup (version 2) of the socket
    container((skaddr::sock).sk_cgrp_data.cgroup.kn.id) AS container_id, -- id of the container; NULL outside of one
    inet(daddr_v6) AS remote_address,             -- the peer's address
    dport AS remote_port,                         -- the peer's port
    tcp_state_name(state) AS state,               -- state of the connection
    count(*) AS events                            -- segments sent again
FROM tracepoint.tcp_retransmit_skb
GROUP BY 1, 2, 3, 4, 5, 6;
