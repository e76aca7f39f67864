-- Which connections were opened and closed last?
SELECT time, old_state, new_state, local_address, local_port, remote_address, remote_port
FROM tcp_state
ORDER BY time DESC
LIMIT 20;
