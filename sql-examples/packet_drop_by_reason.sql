-- Why did the kernel drop packets?
SELECT reason, protocol, sum(events) AS packets
FROM packet_drop
GROUP BY 1, 2
ORDER BY packets DESC
LIMIT 20;
