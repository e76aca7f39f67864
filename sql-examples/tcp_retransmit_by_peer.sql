-- Which peers lose packets?
SELECT remote_address, remote_port, count(*) AS retransmits
FROM tcp_retransmit
GROUP BY remote_address, remote_port
ORDER BY retransmits DESC
LIMIT 20;
