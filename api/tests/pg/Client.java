// JDBC against a server: what it is told of tables, values both ways, fetches, errors, a time limit.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;

class Client {
    static void print(String what, ResultSet rows, String... columns) throws SQLException {
        while (rows.next()) {
            StringBuilder line = new StringBuilder(what);
            for (String column : columns) line.append(' ').append(rows.getString(column));
            System.out.println(line);
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            metadata(connection.getMetaData());
            values(connection);
            fetches(connection);
            errors(connection);
            String sql = "SELECT count(*), max(time) FROM otel.metrics";
            ResultSet metrics = connection.createStatement().executeQuery(sql);
            metrics.next();
            OffsetDateTime newest = metrics.getObject(2, OffsetDateTime.class);
            System.out.println("metrics " + metrics.getInt(1) + " " + newest);
        }
    }

    static void metadata(DatabaseMetaData metadata) throws SQLException {
        System.out.println(metadata.getDatabaseProductName() + " " + metadata.getDatabaseMajorVersion());
        StringBuilder schemas = new StringBuilder("schema");
        ResultSet schema = metadata.getSchemas();
        while (schema.next()) schemas.append(' ').append(schema.getString("TABLE_SCHEM"));
        System.out.println(schemas);
        String[] shown = {"TABLE_NAME", "TABLE_TYPE", "REMARKS"};
        print("table", metadata.getTables(null, "public", "%", new String[] {"TABLE"}), shown);
        print("view", metadata.getTables(null, "public", "%_logs", new String[] {"VIEW"}), shown);
        ResultSet columns = metadata.getColumns(null, "otel", "metrics", "%");
        print("column", columns, "COLUMN_NAME", "TYPE_NAME", "DATA_TYPE", "IS_NULLABLE");
        print("catalog", metadata.getCatalogs(), "TABLE_CAT");
        int keys = 0;
        for (ResultSet key : new ResultSet[] {
            metadata.getImportedKeys(null, "public", "logs"),
            metadata.getPrimaryKeys(null, "public", "logs"),
            metadata.getIndexInfo(null, "public", "logs", false, true),
        }) {
            while (key.next()) keys++;
        }
        System.out.println("keys and indexes " + keys);
        System.out.println("words beyond the standard " + metadata.getSQLKeywords().split(",").length);
    }

    // After five runs the driver prepares the statement under a name and asks for binary results.
    static void values(Connection connection) throws SQLException {
        String sql = "SELECT ?::bigint + 1, ?::text, ?::float8, ?::boolean, ?::timestamptz, ARRAY[1, 2]::bigint[]";
        String before = null;
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int run = 0; run < 8; run++) {
                statement.setLong(1, 41);
                statement.setString(2, "ü");
                statement.setDouble(3, 2.5);
                statement.setBoolean(4, true);
                statement.setObject(5, OffsetDateTime.parse("2026-01-02T03:04:05.000006Z"));
                ResultSet row = statement.executeQuery();
                row.next();
                Object[] list = (Object[]) row.getArray(6).getArray();
                String line = row.getLong(1) + " " + row.getString(2) + " " + row.getDouble(3) + " " + row.getBoolean(4)
                    + " " + row.getObject(5, OffsetDateTime.class) + " " + java.util.Arrays.toString(list);
                if (before != null && !before.equals(line)) throw new AssertionError(before + " then " + line);
                before = line;
            }
        }
        System.out.println(before);
    }

    static void fetches(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(100);
            ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 1000) AS g(value)");
            long sum = 0;
            while (rows.next()) sum += rows.getLong(1);
            System.out.println("sum " + sum);
        }
        connection.rollback();
        connection.setAutoCommit(true);
    }

    static void errors(Connection connection) throws SQLException {
        String endless = "SELECT count(*) FROM generate_series(1, 100000000000)";
        for (String sql : new String[] {"SELECT * FROM nowhere", endless}) {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                statement.executeQuery(sql);
                throw new AssertionError("no error: " + sql);
            } catch (SQLException error) {
                System.out.println("error " + error.getSQLState());
            }
        }
    }
}
