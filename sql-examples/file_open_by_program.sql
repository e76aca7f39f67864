-- Which programs open most files?
-- Cost: an hour of file_open, two columns; needs ALTER PROBE file_open ENABLE, whose notice says what that costs.
SELECT exe, count(*) AS opens, count(DISTINCT path) AS different
FROM file_open
WHERE time > now() - interval '1 hour'
GROUP BY exe
ORDER BY opens DESC
LIMIT 20;
