-- Who may do what, which probes are wanted, and settings of the whole. Times are Unix nanoseconds.
CREATE TABLE pp_setting (name VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);

-- Passwords are kept as two hashes, never as themselves: argon2id in PHC form, and what SCRAM-SHA-256 needs, in base64.
CREATE TABLE pp_account (
    name VARCHAR PRIMARY KEY,
    role VARCHAR NOT NULL,
    password_hash VARCHAR NOT NULL,
    scram_salt VARCHAR NOT NULL,
    scram_iterations BIGINT NOT NULL,
    scram_stored_key VARCHAR NOT NULL,
    scram_server_key VARCHAR NOT NULL,
    created_ns BIGINT NOT NULL,
    changed_ns BIGINT NOT NULL
);

-- shipped_name and shipped_sql: what the binary came with, for probes of origin 'builtin'. A built-in probe that was
-- dropped keeps its row, so that the next start does not bring it back.
CREATE TABLE pp_probe (
    probe_id BIGINT PRIMARY KEY,
    name VARCHAR NOT NULL,
    version BIGINT NOT NULL,
    sql VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL,
    table_id BIGINT NOT NULL,
    comment VARCHAR,
    created_ns BIGINT NOT NULL,
    changed_ns BIGINT NOT NULL,
    shipped_name VARCHAR,
    shipped_sql VARCHAR,
    changed_by_user BOOLEAN NOT NULL,
    dropped BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX pp_probe_name ON pp_probe (name) WHERE NOT dropped;
CREATE UNIQUE INDEX pp_probe_shipped_name ON pp_probe (shipped_name);

-- Every text a probe had.
CREATE TABLE pp_probe_version (
    probe_id BIGINT NOT NULL,
    version BIGINT NOT NULL,
    sql VARCHAR NOT NULL,
    created_ns BIGINT NOT NULL,
    PRIMARY KEY (probe_id, version)
);
