-- To which peers were segments sent again, and in which minute?
SELECT date_trunc('minute', time) AS minute, remote_address, remote_port, sum(events) AS segments
FROM tcp_retransmit_rate
GROUP BY 1, 2, 3
ORDER BY segments DESC
LIMIT 20;
