-- When did the kernel drop packets, and why?
-- Cost: an hour of windows of packet_drop, three columns; the probe is on from the start.
SELECT time_bucket('1 minute', time) AS minute,
       sum(events) AS dropped,
       sum(events) FILTER (WHERE reason LIKE '%NO_SOCKET%') AS no_socket,
       sum(events) FILTER (WHERE reason LIKE '%NETFILTER%') AS filtered
FROM packet_drop
WHERE time > now() - interval '1 hour'
GROUP BY 1
ORDER BY 1;
