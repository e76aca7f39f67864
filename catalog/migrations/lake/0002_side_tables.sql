-- What we need beside DuckLake's tables, in the same transactions, and indexes for our own reads.

-- What a table's rows are and how long they are kept. A table without its row here is not ours and is not served.
CREATE TABLE pp_table (table_id BIGINT PRIMARY KEY, kind VARCHAR NOT NULL, retention_seconds BIGINT, bytes_max BIGINT);

-- SQL types that DuckLake's own types do not tell apart: inet from text, timestamptz from timestamp.
CREATE TABLE pp_column (table_id BIGINT NOT NULL, column_id BIGINT NOT NULL, sql_type VARCHAR NOT NULL, PRIMARY KEY (table_id, column_id));

-- The committed sequence of each stream of the log, changed only by compare-and-set.
CREATE TABLE pp_watermark (stream VARCHAR PRIMARY KEY, seq BIGINT NOT NULL);

-- Where the log stood at each snapshot.
CREATE TABLE pp_snapshot_watermark (snapshot_id BIGINT NOT NULL, stream VARCHAR NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (snapshot_id, stream));

-- The highest committed envelope of each producer and epoch: what is at or below it is a replay.
CREATE TABLE pp_producer (producer VARCHAR NOT NULL, epoch BIGINT NOT NULL, last_number BIGINT NOT NULL, snapshot_id BIGINT NOT NULL, PRIMARY KEY (producer, epoch));

-- What the manifest knows of a segment beyond DuckLake's row: times are Unix nanoseconds.
CREATE TABLE pp_file_ext (data_file_id BIGINT PRIMARY KEY, level BIGINT NOT NULL, min_ts BIGINT NOT NULL, max_ts BIGINT NOT NULL);

CREATE INDEX pp_data_file_begin ON ducklake_data_file (begin_snapshot);
CREATE INDEX pp_data_file_end ON ducklake_data_file (end_snapshot);
CREATE INDEX pp_data_file_live ON ducklake_data_file (table_id) WHERE end_snapshot IS NULL;
CREATE INDEX pp_file_column_stats_file ON ducklake_file_column_stats (data_file_id);
CREATE INDEX pp_file_column_stats_column ON ducklake_file_column_stats (table_id, column_id);
CREATE INDEX pp_table_stats_table ON ducklake_table_stats (table_id);
