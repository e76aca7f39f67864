-- Which programs needed most memory, of those that ended?
-- Cost: an hour of process_exit, three columns; the probe is on from the start.
SELECT exe, count(*) AS processes,
       max(max_rss_bytes) / 1048576 AS largest_mib,
       avg(max_rss_bytes) / 1048576 AS mean_mib
FROM process_exit
WHERE time > now() - interval '1 hour'
GROUP BY exe
ORDER BY largest_mib DESC
LIMIT 20;
