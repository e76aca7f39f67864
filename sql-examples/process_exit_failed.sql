-- Which programs ended with an error?
SELECT comm, exit_code, count(*) AS exits
FROM process_exit
WHERE exit_code <> 0
GROUP BY comm, exit_code
ORDER BY exits DESC
LIMIT 20;
