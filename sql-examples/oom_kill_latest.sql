-- Which processes did the kernel kill for want of memory?
SELECT *
FROM oom_kill
ORDER BY time DESC
LIMIT 20;
