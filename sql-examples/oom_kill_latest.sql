-- Which processes did the kernel kill for want of memory?
-- Cost: the newest rows of oom_kill; the probe is on from the start.
SELECT *
FROM oom_kill
ORDER BY time DESC
LIMIT 20;
