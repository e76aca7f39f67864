-- Which programs send and receive most?
-- Cost: an hour of windows of tcp_flow, five columns; the probe is on from the start.
SELECT comm, direction, sum(sent_bytes) / 1048576 AS sent_mib, sum(received_bytes) / 1048576 AS received_mib,
       sum(events) AS connections
FROM tcp_flow
WHERE time > now() - interval '1 hour'
GROUP BY comm, direction
ORDER BY sum(sent_bytes) + sum(received_bytes) DESC
LIMIT 20;
