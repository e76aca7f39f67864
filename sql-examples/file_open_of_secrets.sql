-- Who opened files with secrets?
-- Cost: a day of file_open, six columns; needs ALTER PROBE file_open ENABLE, whose notice says what that costs.
SELECT time, path, exe, uid, pid, container_id
FROM file_open
WHERE time > now() - interval '1 day'
  AND (path IN ('/etc/shadow', '/etc/gshadow', '/etc/sudoers') OR path LIKE '%/.ssh/id_%' OR path LIKE '%.pem')
ORDER BY time DESC
LIMIT 50;
