-- Which containers waited for a processor?
-- Cost: all that is kept of run_queue_latency; the probe is on from the start.
SELECT container_id, cgroup_id, sum(events) AS wakeups, max(latency_p99_ns) AS latency_p99_ns, max(latency_max_ns) AS latency_max_ns
FROM run_queue_latency
GROUP BY 1, 2
ORDER BY latency_p99_ns DESC
LIMIT 20;
