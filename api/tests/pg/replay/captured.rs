//! The clients and their statements, in the order they were sent.

/// What a client sent, and how.
pub struct Statement {
    /// By the extended protocol; otherwise as a simple query.
    pub extended: bool,
    /// Its text; `{logs}` and its like stand for the oid of that table.
    pub sql: &'static str,
}

/// A client.
pub struct Captured {
    /// Its name and version.
    pub name: &'static str,
    /// Its statements; a query another client sent before is left out.
    pub statements: Vec<Statement>,
}

macro_rules! captured {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("captured/", $name, ".sql")))),*]
    };
}

/// Every client that was recorded.
pub fn clients() -> Vec<Captured> {
    let files = captured!("psql-16" "psql-15" "psql-18" "psql-15-completion" "jdbc" "sqlalchemy" "adbc" "asyncpg"
        "duckdb" "psycopg2" "psycopg3" "grafana");
    files.map(|(name, text)| Captured { name, statements: statements(text) }).into()
}

fn statements(text: &'static str) -> Vec<Statement> {
    let parts = text.split("\n--= ").skip(1); // The first part says what the file is.
    parts
        .map(|part| {
            let (how, sql) = part.split_once('\n').expect("a statement follows its mark");
            Statement { extended: how == "extended", sql: sql.trim_end_matches('\n') }
        })
        .collect()
}
