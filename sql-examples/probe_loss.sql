-- Was anything lost, and why?
SELECT *
FROM system.probe_loss
ORDER BY time DESC
LIMIT 20;
