//! What survives when the process is killed, and when the disk is full.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{House, envelope, until};
use probepilot_catalog::batch::Durability;
use probepilot_catalog::ports::Rows;
use probepilot_collector::loss::Cause;
use probepilot_collector::source::Source;
use probepilot_collector::writer::Writer;
use probepilot_sql::error::SqlState;

/// Rows of an envelope.
const ROWS: u64 = 50;

/// How often the process is killed.
const KILLS: u64 = 12;

/// The child's folder, and the first envelope that is not acknowledged.
const CHILD_FOLDER: &str = "PROBEPILOT_TEST_CRASH_FOLDER";
const CHILD_NEXT: &str = "PROBEPILOT_TEST_CRASH_NEXT";

/// Not a test by itself: what the loop below kills. It appends and prints what was acknowledged, for ever.
#[tokio::test]
async fn child_that_appends() {
    let (Ok(folder), Ok(next)) = (std::env::var(CHILD_FOLDER), std::env::var(CHILD_NEXT)) else { return };
    let house = House::open(Path::new(&folder)).await;
    let table = house.table("events").await;
    let mut options = house.options();
    options.segments.cut_bytes = 100_000;
    options.segments.cut_after = Duration::from_millis(30);
    options.log.file_bytes_max = 50_000;
    let writer = Writer::start(options).await.expect("it starts after any crash");
    let first: u64 = next.parse().expect("a number");
    for number in first.. {
        let durability = if number.is_multiple_of(5) { Durability::Sync } else { Durability::Process };
        writer.append(envelope(&table, Source::new(99), number, ROWS), durability).await.expect("there is room");
        // Past the test harness, which would keep it until the end.
        let mut output = std::io::stdout().lock();
        writeln!(output, "\nacknowledged {number}").and_then(|()| output.flush()).expect("the parent reads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_every_acknowledged_row_is_there_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .env(CHILD_NEXT, (acknowledged + 1).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut numbers = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ").and_then(|number| number.parse::<u64>().ok()));
        let before = acknowledged;
        acknowledged = numbers.next().expect("it appends");
        // Different moments: while segments are cut, committed, while the log is trimmed.
        std::thread::sleep(Duration::from_millis(20 + kill * 23));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = numbers.last().unwrap_or(acknowledged);
        assert!(acknowledged > before);
    }
    let house = House::open(folder.path()).await;
    let writer = Writer::start(house.options()).await.unwrap();
    assert_eq!(writer.status().damage, &[]);
    writer.checkpoint().await.unwrap();
    let stored = house.check_rows("events", Source::new(99));
    let expected: Vec<u64> = (0..stored.len() as u64).collect();
    assert!(stored == expected, "each row once, none missing: {} rows", stored.len());
    assert!(stored.len() as u64 >= acknowledged * ROWS, "{} rows of {acknowledged} envelopes", stored.len());
    writer.shutdown().await;
}

/// A file system of 8 MiB, gone when it is dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    fn mount(path: &Path) -> Option<SmallDisk<'_>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(SmallDisk(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_rows_that_are_counted_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: needs root, to mount a small file system");
        return;
    };
    let house = House::open(disk.0).await;
    let table = house.table("events").await;
    let source = Source::new(98);
    let mut options = house.options();
    options.space.check_interval = Duration::from_millis(50);
    // The first time the disk itself refuses, then the watch of free space.
    for floor in [0, 2 * 1024 * 1024] {
        options.space.free_bytes_min = Some(floor);
        let writer = Writer::start(options).await.unwrap();
        let filler = disk.0.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        drop(file);
        if floor > 0 {
            until("it is noticed", || writer.status().paused.is_some()).await;
        }
        let first = writer.head() + 1;
        let mut number = first;
        let mut taken = 0;
        let refusal = loop {
            match writer.append(envelope(&table, source, number, ROWS), Durability::Sync).await {
                Ok(_) => (number, taken) = (number + 1, taken + 1),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal.state, SqlState::DISK_FULL, "{refusal}");
        assert!(floor == 0 || taken == 0);
        let lost = |cause| writer.status().rows_lost.iter().find(|(lost, _)| *lost == cause).map(|(_, rows)| *rows);
        assert_eq!(lost(Cause::DiskFull), Some(ROWS));
        let entries = writer.subscribe(0, std::sync::Arc::new(tokio::sync::Semaphore::new(1 << 20)));
        drop(entries);

        fs::remove_file(&filler).unwrap();
        until("rows are taken again", || writer.status().paused.is_none()).await;
        for number in number..number + 10 {
            writer.append(envelope(&table, source, number, ROWS), Durability::Sync).await.expect("there is room");
        }
        writer.checkpoint().await.unwrap();
        let stored = house.check_rows("events", source);
        assert_eq!(stored, (0..(number + 9) * ROWS).collect::<Vec<u64>>());
        writer.shutdown().await;
        options = house.options();
        options.space.check_interval = Duration::from_millis(50);
    }
}
