-- How much is stored, and how far back does it reach?
SELECT *
FROM system.tables
ORDER BY 1, 2;
