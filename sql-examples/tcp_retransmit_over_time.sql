-- Does the network lose more than before, minute by minute?
-- Cost: an hour of windows of tcp_retransmit_rate, three columns; the probe is on from the start.
SELECT time_bucket_gapfill('1 minute', time) AS minute, coalesce(sum(events), 0) AS retransmits,
       coalesce(count(DISTINCT remote_address), 0) AS peers
FROM tcp_retransmit_rate
WHERE time > now() - interval '1 hour' AND time <= now()
GROUP BY 1
ORDER BY 1;
