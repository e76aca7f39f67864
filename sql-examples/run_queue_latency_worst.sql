-- In which windows did threads wait longest for a processor?
-- Cost: a day of windows of run_queue_latency, five columns; the probe is on from the start.
SELECT time, node, max(latency_p99_ns) / 1e6 AS p99_ms, max(latency_max_ns) / 1e6 AS max_ms, sum(events) AS wakes
FROM run_queue_latency
WHERE time > now() - interval '1 day'
GROUP BY time, node
ORDER BY p99_ms DESC
LIMIT 20;
