-- Which connections were opened and closed last?
-- Cost: the newest rows of tcp_state; needs ALTER PROBE tcp_state ENABLE, whose notice says what that costs.
SELECT time, old_state, new_state, local_address, local_port, remote_address, remote_port
FROM tcp_state
ORDER BY time DESC
LIMIT 20;
