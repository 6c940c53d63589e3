//! Weights of cgroup version 1 as those of version 2.

/// docker's CPU shares (2 to 262144, usually 1024) as cpu.weight (1 to 10000, usually 100), by the
/// formula of runc 1.3 and crun 1.23, which leads from the usual value to the usual value. The linear
/// one of the OCI before made 39 of it: less than any process without limits has.
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // Rounded as there; a hair above a whole number is that number.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

/// docker's weight of block devices (10 to 1000) as io.weight (1 to 10000).
pub fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}
