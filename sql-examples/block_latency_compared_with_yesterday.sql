-- Which devices are slower than at this time yesterday?
-- Cost: two hours of windows of block_latency, four columns; the probe is on from the start.
WITH today AS (
    SELECT device_major, device_minor, operation, avg(latency_mean_ns) AS mean_ns
    FROM block_latency WHERE time > now() - interval '1 hour' GROUP BY 1, 2, 3
), yesterday AS (
    SELECT device_major, device_minor, operation, avg(latency_mean_ns) AS mean_ns
    FROM block_latency
    WHERE time BETWEEN now() - interval '25 hours' AND now() - interval '24 hours' GROUP BY 1, 2, 3
)
SELECT today.device_major, today.device_minor, today.operation,
       today.mean_ns / 1e6 AS today_ms, yesterday.mean_ns / 1e6 AS yesterday_ms
FROM today JOIN yesterday USING (device_major, device_minor, operation)
WHERE today.mean_ns > 1.5 * yesterday.mean_ns
ORDER BY today.mean_ns / yesterday.mean_ns DESC;
