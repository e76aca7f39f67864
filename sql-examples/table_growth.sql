-- Which tables grow fastest, and how long is what kept?
-- Cost: a row for each table, from the manifest; nothing is scanned.
SELECT name, rows, bytes / 1048576 AS mib, bytes_per_day / 1048576 AS mib_a_day, oldest, retention_s / 86400 AS kept_days
FROM system.tables
ORDER BY bytes_per_day DESC NULLS LAST
LIMIT 20;
