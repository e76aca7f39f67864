-- Where did the processors' time go? One line for each stack, as flame graph tools read it.
-- Cost: an hour of cpu_profile; the probe is on from the start.
SELECT concat_ws(';', comm, user_stack, kernel_stack) AS stack, sum(events) AS samples
FROM cpu_profile
WHERE time > now() - interval '1 hour'
GROUP BY 1
ORDER BY samples DESC
LIMIT 1000;
