-- How much is stored, and how far back does it reach?
-- Cost: a row for each table, from the manifest; nothing is scanned.
SELECT *
FROM system.tables
ORDER BY 1, 2;
