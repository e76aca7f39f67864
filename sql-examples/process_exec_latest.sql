-- What was started last, by whom, with which arguments?
SELECT time, comm, filename, cmdline
FROM process_exec
ORDER BY time DESC
LIMIT 20;
