-- Which services were talked to in the last hour, how much, and how often in vain?
-- Cost: an hour of tcp_flow; the probe is on from the start.
SELECT direction, comm, port, sum(events) AS connections, sum(failures) AS failures,
       sum(sent_bytes) AS sent_bytes, sum(received_bytes) AS received_bytes
FROM tcp_flow
WHERE time > now() - interval '1 hour'
GROUP BY 1, 2, 3
ORDER BY connections DESC
LIMIT 20;
