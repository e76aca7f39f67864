-- To which peers were segments sent again, and in which minute?
-- Cost: all that is kept of tcp_retransmit_rate; the probe is on from the start.
SELECT date_trunc('minute', time) AS minute, remote_address, remote_port, sum(events) AS segments
FROM tcp_retransmit_rate
GROUP BY 1, 2, 3
ORDER BY segments DESC
LIMIT 20;
