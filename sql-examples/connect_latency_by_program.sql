-- How long do programs wait for a connection?
-- Cost: an hour of connect_latency, three columns; needs ALTER PROBE connect_latency ENABLE, whose notice says what that costs.
SELECT comm, count(*) AS calls,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ns) / 1e6 AS p50_ms,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ns) / 1e6 AS p99_ms,
       count(*) FILTER (WHERE error IS NOT NULL AND error <> 'EINPROGRESS') AS failures
FROM connect_latency
WHERE time > now() - interval '1 hour'
GROUP BY comm
ORDER BY p99_ms DESC
LIMIT 20;
