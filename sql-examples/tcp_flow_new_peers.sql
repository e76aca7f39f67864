-- With whom did we talk for the first time in the last hour?
-- Cost: three columns of tcp_flow, all that is kept; the probe is on from the start.
SELECT remote_address, port, min(time) AS first_seen, sum(events) AS connections
FROM tcp_flow
WHERE direction = 'outgoing'
GROUP BY remote_address, port
HAVING min(time) > now() - interval '1 hour'
ORDER BY first_seen DESC
LIMIT 50;
