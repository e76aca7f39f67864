-- Which programs live for less than a tenth of a second, again and again?
-- Cost: an hour of process_exit, three columns; the probe is on from the start.
SELECT exe, count(*) AS processes,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY lifetime_ns) / 1e6 AS half_lived_ms,
       sum(user_ns + system_ns) / 1e9 AS cpu_s
FROM process_exit
WHERE time > now() - interval '1 hour' AND lifetime_ns < 100000000
GROUP BY exe
ORDER BY processes DESC
LIMIT 20;
