-- Which programs read and wrote most, of those that ended?
-- Cost: an hour of process_exit, three columns; the probe is on from the start.
SELECT exe, sum(read_bytes) / 1048576 AS read_mib, sum(write_bytes) / 1048576 AS written_mib
FROM process_exit
WHERE time > now() - interval '1 hour'
GROUP BY exe
ORDER BY sum(read_bytes) + sum(write_bytes) DESC
LIMIT 20;
