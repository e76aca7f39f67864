-- When was a probe near its limits?
-- Cost: a day of system.probe_health, five columns; written each ten seconds while something changes.
SELECT time_bucket('5 minutes', time) AS time, probe, max(cpu_percent) AS cpu_percent,
       max(map_fill_percent) AS map_fill_percent, max(lag_ms) AS lag_ms
FROM system.probe_health
WHERE time > now() - interval '1 day'
GROUP BY 1, 2
HAVING max(cpu_percent) > 1 OR max(map_fill_percent) > 80
ORDER BY 1, 2;
