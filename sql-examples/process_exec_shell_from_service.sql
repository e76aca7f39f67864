-- Did a service start a shell?
-- Cost: a day of process_exec, joined with the processes that are remembered; the probe is on from the start.
SELECT shell.time, parent.exe AS started_by, shell.exe, shell.cmdline, shell.uid, shell.container_id
FROM process_exec AS shell
JOIN system.processes AS parent ON parent.pid = shell.ppid
WHERE shell.time > now() - interval '1 day'
  AND shell.exe ~ '/(ba|da|z|k)?sh$'
  AND parent.exe ~ '(nginx|httpd|apache2|java|node|postgres|mysqld|redis-server|php-fpm)'
ORDER BY shell.time DESC
LIMIT 50;
