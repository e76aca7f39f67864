-- How slow was each device, window by window?
SELECT time, device_major, device_minor, operation, events, bytes, latency_p50_ns, latency_p99_ns, latency_max_ns
FROM block_latency
ORDER BY time DESC, latency_p99_ns DESC
LIMIT 20;
