-- What we keep of views beside DuckLake's rows.

-- A view's query in our SQL: DuckLake's own row has it in DuckDB's. It is that of the view's newest version.
CREATE TABLE pp_view (view_id BIGINT PRIMARY KEY, sql VARCHAR NOT NULL);

-- The columns a view had when it was made, with PostgreSQL's names of their types.
CREATE TABLE pp_view_column (view_id BIGINT NOT NULL, position BIGINT NOT NULL, name VARCHAR NOT NULL, sql_type VARCHAR NOT NULL, comment VARCHAR, PRIMARY KEY (view_id, position));

-- The tables and views that a view reads: they cannot be dropped without it.
CREATE TABLE pp_view_reads (view_id BIGINT NOT NULL, relation_id BIGINT NOT NULL, PRIMARY KEY (view_id, relation_id));
