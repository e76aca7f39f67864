-- How much goes to and from each device?
-- Cost: an hour of windows of block_latency, five columns; the probe is on from the start.
SELECT time_bucket('1 minute', time) AS minute, device_major, device_minor,
       sum(bytes) FILTER (WHERE operation = 'read') / 60.0 / 1048576 AS read_mib_per_s,
       sum(bytes) FILTER (WHERE operation = 'write') / 60.0 / 1048576 AS written_mib_per_s
FROM block_latency
WHERE time > now() - interval '1 hour'
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;
