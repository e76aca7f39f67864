-- With whom do we talk most?
-- Cost: an hour of windows of tcp_flow, five columns; the probe is on from the start.
SELECT remote_address, port, sum(events) AS connections, sum(failures) AS failures,
       (sum(sent_bytes) + sum(received_bytes)) / 1048576 AS mib
FROM tcp_flow
WHERE time > now() - interval '1 hour'
GROUP BY remote_address, port
ORDER BY mib DESC
LIMIT 20;
