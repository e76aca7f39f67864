-- Why did the kernel drop packets?
-- Cost: all that is kept of packet_drop; the probe is on from the start.
SELECT reason, protocol, sum(events) AS packets
FROM packet_drop
GROUP BY 1, 2
ORDER BY packets DESC
LIMIT 20;
