-- Which programs crashed, and how often each day?
-- Cost: a week of process_exit, three columns; the probe is on from the start.
SELECT date_trunc('day', time) AS day, exe, exit_signal, count(*) AS crashes,
       count(*) FILTER (WHERE core_dumped) AS with_core
FROM process_exit
WHERE time > now() - interval '7 days' AND exit_signal IN ('SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGILL', 'SIGFPE')
GROUP BY 1, 2, 3
ORDER BY day DESC, crashes DESC;
