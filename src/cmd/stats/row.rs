//! One line of `stats`: docker's columns, and podman's fields.

use jiff::SignedDuration;

use super::sample::Sample;
use crate::cmd::format::human::{binary_size, decimal_size};
use crate::cmd::format::list::{Extra, Listing, Row};

pub const LISTING: Listing = Listing {
    go_type: "*container.statsContext",
    titles: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
        ("PIDS", "PIDS"),
        ("AVGCPU", "AVG CPU %"),
        ("AvgCPU", "AVG CPU %"),
        ("BlockInput", "BLOCK INPUT"),
        ("BlockOutput", "BLOCK OUTPUT"),
        ("CPU", "CPU"),
        ("CPUNano", "CPU NANO"),
        ("CPUSystemNano", "CPU SYSTEM NANO"),
        ("ContainerID", "CONTAINER ID"),
        ("Duration", "DURATION"),
        ("MemLimit", "MEM LIMIT"),
        ("MemUsageBytes", "MEM USAGE / LIMIT"),
        ("SystemNano", "SYSTEM NANO"),
        ("Up", "UP"),
        ("UpTime", "CPU TIME"),
    ],
};

/// Builds a row. A container that was named is `Container` as typed.
pub fn row(sample: &Sample, typed: Option<&str>, no_trunc: bool) -> Row {
    let id = if no_trunc { sample.id.as_str() } else { sample.id.get(..12).unwrap_or(&sample.id) };
    Row::new([
        ("Container", typed.unwrap_or(id).to_owned()),
        ("ID", id.to_owned()),
        ("Name", sample.name.clone()),
        ("CPUPerc", format!("{:.2}%", sample.cpu_percent)),
        ("MemUsage", format!("{} / {}", binary_size(sample.memory), binary_size(sample.memory_limit))),
        ("MemPerc", format!("{:.2}%", sample.memory_percent())),
        ("NetIO", pair(sample.received, sample.sent)),
        ("BlockIO", pair(sample.read, sample.written)),
        ("PIDs", sample.pids.to_string()),
    ])
}

fn pair(one: u64, other: u64) -> String {
    format!("{} / {}", decimal_size(one, 3), decimal_size(other, 3))
}

/// As Go prints a duration, to the millisecond.
fn duration(nanoseconds: u64) -> String {
    let milliseconds = i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX);
    let duration = SignedDuration::from_millis(milliseconds);
    let (hours, minutes) = (duration.as_hours(), duration.as_mins() % 60);
    let seconds = (milliseconds % 60_000) as f64 / 1000.0;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// podman's further fields, for templates that name them.
pub const EXTRA: &Extra<Sample> = &[
    ("AVGCPU", |sample| format!("{:.2}%", sample.average_percent)),
    ("AvgCPU", |sample| sample.average_percent.to_string()),
    ("BlockInput", |sample| sample.read.to_string()),
    ("BlockOutput", |sample| sample.written.to_string()),
    ("CPU", |sample| sample.cpu_percent.to_string()),
    ("CPUNano", |sample| sample.cpu.to_string()),
    ("CPUSystemNano", |sample| sample.cpu_system.to_string()),
    ("ContainerID", |sample| sample.id.clone()),
    ("Duration", |sample| sample.up.to_string()),
    ("MemLimit", |sample| sample.memory_limit.to_string()),
    ("MemUsageBytes", |sample| format!("{}B / {}B", sample.memory, sample.memory_limit)),
    ("PIDS", |sample| sample.pids.to_string()),
    ("SystemNano", |sample| sample.up.to_string()),
    ("Up", |sample| duration(sample.up)),
    ("UpTime", |sample| duration(sample.cpu)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_in_dockers_words() {
        let sample = Sample {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            cpu_percent: 12.345,
            memory: 328 << 10,
            memory_limit: 1 << 30,
            received: 1500,
            pids: 3,
            ..Sample::default()
        };
        let row = row(&sample, None, false);
        let text = |field| row.text(field).unwrap();
        assert_eq!(text("CPUPerc"), "12.35%");
        assert_eq!(text("MemUsage"), "328KiB / 1GiB");
        assert_eq!((text("MemPerc"), text("NetIO"), text("PIDs")), ("0.03%", "1.5kB / 0B", "3"));
        assert_eq!((text("Container"), text("ID")), ("0123456789ab", "0123456789ab"));
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (nanoseconds, text) in
            [(0, "0s"), (1_500_000_000, "1.5s"), (61_000_000_000, "1m1s"), (3_600_000_000_000, "1h0m0s")]
        {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
