-- Which programs ended with an error?
-- Cost: all that is kept of process_exit; the probe is on from the start.
SELECT comm, exit_code, count(*) AS exits
FROM process_exit
WHERE exit_code <> 0
GROUP BY comm, exit_code
ORDER BY exits DESC
LIMIT 20;
