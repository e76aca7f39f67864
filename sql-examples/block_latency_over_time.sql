-- Did a device become slower?
-- Cost: a day of windows of block_latency, five columns; the probe is on from the start.
SELECT time_bucket('5 minutes', time) AS time, device_major, device_minor, operation,
       max(latency_p99_ns) / 1e6 AS worst_p99_ms, sum(events) AS requests
FROM block_latency
WHERE time > now() - interval '1 day'
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4;
