-- Does the network lose more than before, minute by minute?
-- Cost: an hour of windows of tcp_retransmit_rate, three columns; the probe is on from the start.
SELECT time_bucket('1 minute', time) AS minute, sum(events) AS retransmits, count(DISTINCT remote_address) AS peers
FROM tcp_retransmit_rate
WHERE time > now() - interval '1 hour'
GROUP BY 1
ORDER BY 1;
