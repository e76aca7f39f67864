-- Was anything lost, and why?
-- Cost: the newest rows of system.probe_loss, written where something was lost.
SELECT *
FROM system.probe_loss
ORDER BY time DESC
LIMIT 20;
