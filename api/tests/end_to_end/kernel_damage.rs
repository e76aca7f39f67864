//! A damaged entry, a log cut short and a damaged segment: named, counted, and the rest is served.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::{Numbered, Server, may_attach, numbered_probe};

/// A directory whose log holds rows of the probe `numbered`, none of them in a segment.
struct Killed {
    directory: tempfile::TempDir,
    /// How many rows.
    made: u64,
    /// Bytes of the log's longest file when it held half of them at least.
    half_bytes: usize,
}

/// A server that is killed when it has `rows` rows at least.
fn killed_with_rows(rows: u64) -> Killed {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    server.psql("ALTER PROBE process_exec DISABLE; ALTER PROBE process_exit DISABLE");
    server.psql(&numbered_probe());
    let events = Numbered::start(3_000);
    server.wait_for(&format!("SELECT count(*) >= {} FROM numbered", rows / 2), "t");
    let half_bytes = fs::metadata(longest(&directory.path().join("log"), "")).unwrap().len() as usize;
    // Made from here on, so in entries that come behind.
    let rows = rows.max(events.made() + rows / 2);
    server.wait_for(&format!("SELECT count(*) > {rows} FROM numbered"), "t");
    let made = events.stop();
    server.wait_for("SELECT count(*) FROM numbered", &made.to_string());
    server.kill();
    Killed { directory, made, half_bytes }
}

/// The longest file with this ending below `folder`.
fn longest(folder: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push((fs::metadata(&path).unwrap().len(), path));
            }
        }
    }
    found.into_iter().max().unwrap_or_else(|| panic!("no file *{ending} below {}", folder.display())).1
}

/// Turns over bytes of a file.
fn damage(path: &Path, from: usize, bytes: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut there = vec![0; bytes];
    file.read_exact_at(&mut there, from as u64).unwrap();
    there.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&there, from as u64).unwrap();
}

/// Bytes of a header of the log's files and entries.
const LOG_HEADER_BYTES: usize = 32;

/// A place in the payload of the first entry of a log file that begins `from` bytes behind its start or later.
fn in_a_payload(path: &Path, from: usize) -> usize {
    let bytes = fs::read(path).unwrap();
    // The first entry follows the file's header, and every entry begins with the same four bytes.
    let magic = &bytes[LOG_HEADER_BYTES..LOG_HEADER_BYTES + 4];
    let entry = bytes[from..].windows(4).position(|four| four == magic).expect("there are many entries");
    from + entry + LOG_HEADER_BYTES + 8
}

#[test]
fn kernel_a_damaged_entry_of_the_log_is_named_and_its_rows_are_counted() {
    if !may_attach() {
        return;
    }
    let Killed { directory, made, half_bytes } = killed_with_rows(1_000);
    let log = longest(&directory.path().join("log"), "");
    damage(&log, in_a_payload(&log, half_bytes), 4);

    let server = Server::start(directory.path(), &[]);
    let printed = server.printed();
    let file = log.file_name().unwrap().to_string_lossy().into_owned();
    assert!(printed.contains(&file) && printed.contains("damaged"), "the file is not named in:\n{printed}");
    let stored: u64 = server.psql("SELECT count(DISTINCT number) FROM numbered").parse().unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM numbered"), stored.to_string(), "a row is there twice");
    let lost = "SELECT count FROM system.probe_loss WHERE cause = 'restart' AND probe = '*'";
    server.wait_for(&format!("SELECT count(*) FROM ({lost})"), "1");
    let counted: u64 = server.psql(lost).parse().unwrap();
    // An entry has the rows of every probe that was drained then.
    assert!(counted > 0 && made - stored <= counted, "{made} made, {stored} stored, {counted} counted as lost");

    server.wait_for("SELECT count(*) FROM system.segments WHERE table_name = 'numbered'", "1");
    let (status, _, _) = server.terminate();
    assert!(status.success());
    let server = Server::start(directory.path(), &[]);
    assert_eq!(server.psql(&format!("SELECT count(*) FROM ({lost})")), "1", "damage is counted once");
    assert_eq!(server.psql("SELECT count(*) FROM numbered"), stored.to_string());
}

#[test]
fn kernel_a_log_cut_short_is_read_up_to_the_cut() {
    if !may_attach() {
        return;
    }
    let Killed { directory, made, half_bytes } = killed_with_rows(1_000);
    let log = longest(&directory.path().join("log"), "");
    // In the middle of an entry, with half of the rows before it and the last ones behind it.
    let cut = in_a_payload(&log, half_bytes);
    OpenOptions::new().write(true).open(&log).unwrap().set_len(cut as u64).unwrap();

    let server = Server::start(directory.path(), &[]);
    let printed = server.printed();
    let file = log.file_name().unwrap().to_string_lossy().into_owned();
    assert!(printed.contains(&file) && printed.contains("torn"), "the file is not named in:\n{printed}");
    let counts = server.psql("SELECT count(*), count(DISTINCT number), min(number), max(number) FROM numbered");
    let counts: Vec<u64> = counts.split('|').map(|count| count.parse().unwrap()).collect();
    let [rows, distinct, first, last] = counts[..] else { panic!("{counts:?}") };
    assert_eq!((rows, last - first + 1), (distinct, distinct), "what is left has no gap and nothing twice");
    assert!((500..made).contains(&rows), "{rows} of {made}");
    // New rows come behind them.
    let events = Numbered::start_from(1_000_000, 1_000);
    server.wait_for(&format!("SELECT count(*) > {rows} FROM numbered"), "t");
    drop(events);
}

#[test]
fn kernel_a_damaged_segment_is_named_and_everything_else_is_served() {
    if !may_attach() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    server.psql(&numbered_probe());
    let events = Numbered::start(3_000);
    server.wait_for("SELECT count(*) > 2000 FROM numbered", "t");
    events.stop();
    server.psql("CHECKPOINT");
    let (status, _, _) = server.terminate();
    assert!(status.success());
    let segment = longest(&directory.path().join("lake"), ".parquet");
    assert!(segment.to_string_lossy().contains("numbered"), "{}", segment.display());
    let whole = fs::read(&segment).unwrap();
    let file = segment.file_name().unwrap().to_string_lossy().into_owned();

    for cut_short in [false, true] {
        fs::write(&segment, &whole).unwrap();
        if cut_short {
            OpenOptions::new().write(true).open(&segment).unwrap().set_len(whole.len() as u64 / 2).unwrap();
        } else {
            damage(&segment, whole.len() / 4, whole.len() / 4);
        }
        let server = Server::start(directory.path(), &[]);
        let error = server.psql_error("SELECT * FROM numbered ORDER BY number");
        assert!(error.contains(&file), "cut short: {cut_short}: the file is not named in {error}");
        assert!(error.contains("58030") || error.contains("XX001"), "{error}");
        // The others, and new rows of the same probe, are served.
        assert_eq!(server.psql("SELECT count(*) > 0 FROM system.processes"), "t");
        server.psql("SELECT count(*) FROM process_exec; SELECT * FROM system.segments; CHECKPOINT");
        let events = Numbered::start_from(1_000_000, 1_000);
        server.wait_for(
            "SELECT rows > 0 FROM system.probe_health WHERE probe = 'numbered' ORDER BY time DESC LIMIT 1",
            "t",
        );
        drop(events);
        let (status, printed, _) = server.terminate();
        assert!(status.success() && !printed.contains("panicked"), "{printed}");
    }
}
