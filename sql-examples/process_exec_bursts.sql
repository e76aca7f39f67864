-- In which minutes did far more programs start than usual?
-- Cost: a day of process_exec, the time alone; the probe is on from the start.
WITH minutes AS (
    SELECT date_trunc('minute', time) AS minute, count(*) AS executions
    FROM process_exec
    WHERE time > now() - interval '1 day'
    GROUP BY 1
), usual AS (
    SELECT avg(executions) AS mean, coalesce(stddev(executions), 0) AS spread FROM minutes
)
SELECT minute, executions, round(mean) AS usual
FROM minutes CROSS JOIN usual
WHERE executions > mean + 3 * spread
ORDER BY minute DESC;
