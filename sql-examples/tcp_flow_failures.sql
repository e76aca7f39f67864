-- Where do connections fail?
-- Cost: an hour of windows of tcp_flow, five columns; the probe is on from the start.
SELECT comm, remote_address, port, sum(failures) AS failures, sum(events) AS connections
FROM tcp_flow
WHERE time > now() - interval '1 hour'
GROUP BY comm, remote_address, port
HAVING sum(failures) > 0
ORDER BY failures DESC
LIMIT 20;
